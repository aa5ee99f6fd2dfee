"""Pictures as people see them, and every bad one named at once."""

import io
import struct
import subprocess

import numpy as np
import pytest
from ddbias.base.errors import DdbiasError
from ddbias.datasets.sources import images
from ddbias.datasets.sources.images import decode
from PIL import Image

RNG = np.random.default_rng(0)


def encoded(image, form="PNG", **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def decoded(*blobs, size=None, **options):
    return decode(blobs, size=size, name=lambda i: f"image {i}", **options)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_a_picture_is_upright(orientation, form):
    shown = RNG.integers(0, 256, (4, 6, 3), np.uint8)
    # What a camera stores whose EXIF data say how to turn it, by the definition of the tag: row 0 is its visual ...
    stored = {1: shown, 2: shown[:, ::-1], 3: shown[::-1, ::-1], 4: shown[::-1]}
    turned = shown.transpose(1, 0, 2)
    stored |= {5: turned, 6: turned[::-1], 7: turned[::-1, ::-1], 8: turned[:, ::-1]}
    exif = Image.Exif()
    exif[0x0112] = orientation
    blob = encoded(Image.fromarray(np.ascontiguousarray(stored[orientation])), form, exif=exif)
    np.testing.assert_array_equal(decoded(blob, encoded(Image.fromarray(shown)))[0], shown.transpose(2, 0, 1))
    assert decoded(blob, size=3).shape == (1, 3, 3, 3)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "PA"])
def test_transparent_pixels_are_on_white(mode):
    pixels = np.array([[[200, 200, 200, 255], [10, 10, 10, 0], [100, 100, 100, 128]]], np.uint8)
    image = Image.fromarray(pixels).convert("LA" if mode == "LA" else "RGBA")
    blob = encoded(image.quantize(8) if mode.startswith("P") else image)
    found = decoded(blob)
    assert found.shape == (1, 1 if mode == "LA" else 3, 1, 3)
    wanted = [200, 255, round(100 * 128 / 255 + 255 * 127 / 255)]
    np.testing.assert_allclose(found[0, 0, 0], wanted, atol=1 if mode.startswith("P") else 0)


def test_grey_of_16_bits_is_scaled():
    levels = np.array([[0, 128, 129, 257, 32896, 65535]], np.uint16)
    found = decoded(encoded(Image.fromarray(levels)), encoded(Image.fromarray(levels), "TIFF"))
    assert found.shape == (2, 1, 1, 6)
    assert found[0].tolist() == found[1].tolist() == [[[0, 0, 1, 1, 128, 255]]]


def tiff(bits, white_is_zero, data):
    """One grey pixel, stored as scanners and microscopes do, which Pillow does not write."""
    tags = [(256, 1), (257, 1), (258, bits), (259, 1), (262, 0 if white_is_zero else 1), (277, 1), (278, 1)]
    entries = [struct.pack("<HHII", tag, 3, 1, value) for tag, value in tags]
    entries[5:5] = [struct.pack("<HHII", 273, 4, 1, 8 + 2 + 9 * 12 + 4)]
    entries.append(struct.pack("<HHII", 279, 4, 1, len(data)))
    return b"II*\0" + struct.pack("<IH", 8, 9) + b"".join(entries) + bytes(4) + data


@pytest.mark.parametrize(
    ("blob", "level"),
    [
        (tiff(12, False, b"\xff\xf0"), 255),  # 4095
        (tiff(12, False, b"\x80\x00"), 128),
        (tiff(8, True, b"\x40"), 191),
        (tiff(16, True, b"\x00\x40"), 191),
        (tiff(16, False, b"\x00\x40"), 64),
        (b"P5\n1 1\n65535\n\xff\xff", 255),
        (b"P5\n1 1\n65535\n\x40\x00", 64),
    ],
)
def test_grey_is_scaled_by_what_its_format_calls_white(blob, level):
    assert decoded(blob).tolist() == [[[[level]]]]


@pytest.mark.parametrize("form", ["PNG", "WEBP", "JPEG"])
def test_a_picture_with_damaged_exif_data_is_read_as_it_is(form):
    picture = Image.new("RGB", (8, 4), (200, 0, 0))
    blobs = [encoded(picture, form, exif=b"Exif\0\0" + b"\0" * 20), encoded(picture, form)]
    read = decode(blobs, size=None, name=str)
    assert read.shape == (2, 3, 4, 8)
    np.testing.assert_array_equal(*read)


def test_exif_data_that_are_odd_elsewhere_turn_a_picture():
    exif = Image.Exif()
    exif[0x0112], exif[0x011A] = 6, 72.0
    blob = bytearray(encoded(Image.new("RGB", (8, 4)), "JPEG", exif=exif))
    place = blob.index(struct.pack(">HH", 0x011A, 5))
    blob[place : place + 8] = struct.pack(">HHI", 0x011A, 2, 8)  # a resolution that is text
    assert decoded(bytes(blob)).shape == (1, 3, 8, 4)


def test_whatever_a_decoder_raises_names_the_image():
    blob = encoded(Image.new("RGB", (8, 8)), "AVIF")
    start = blob.index(b"mdat") + 4
    with pytest.raises(DdbiasError, match=r"image 1 cannot be decoded as an image \(Failed to decode"):
        decoded(encoded(Image.new("RGB", (8, 8))), blob[:start] + bytes(len(blob) - start))


def test_32_bits_are_told():
    with pytest.raises(DdbiasError, match="image 0 has 32 bits per channel"):
        decoded(encoded(Image.fromarray(np.zeros((2, 2), np.float32)), "TIFF"))


@pytest.mark.parametrize("form", ["JPEG", "AVIF", "JPEG2000", "WEBP", "GIF", "BMP", "PPM"])
def test_formats_that_people_have(form):
    plain = Image.new("RGB", (8, 8), (200, 100, 50))
    found = decoded(encoded(plain, form))
    np.testing.assert_allclose(found.mean((0, 2, 3)), (200, 100, 50), atol=4)


def test_eps_does_not_start_ghostscript(monkeypatch):
    def started(*_, **__):
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "check_call", started)
    monkeypatch.setattr(subprocess, "Popen", started)
    text = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n%%EOF\n"
    with pytest.raises(DdbiasError, match="image 0 cannot be decoded as an image"):
        decoded(text)


@pytest.mark.parametrize("size", [None, 4])
def test_all_bad_images_are_named_at_once(size, log_lines, monkeypatch):
    good = encoded(Image.new("RGB", (4, 4)))
    cut = encoded(Image.fromarray(RNG.integers(0, 256, (64, 64, 3), np.uint8)).resize((4, 4)))[:-30]
    blobs = [good, b"no image", good, cut, b""]
    with pytest.raises(DdbiasError, match=r"3 images cannot be used: image 1 .*; image 3 .*; image 4 "):
        decoded(*blobs, size=size)
    monkeypatch.setattr(images, "MOST_NAMED", 2)
    with pytest.raises(DdbiasError, match=r"image 3 .*; and 1 more, named in the log") as error:
        decoded(*blobs, size=size)
    assert "image 4" not in str(error.value)
    assert [line for line in log_lines if "image 4 cannot be decoded" in line]
    with pytest.raises(DdbiasError, match=r"^image 1 cannot be decoded"):
        decoded(good, b"no image", size=size)
