import numpy as np
import pytest
from ddbias.data.preview import save_grid
from PIL import Image


def picture(path, images, **options):
    save_grid(path, images, **options)
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("height", "width", "factor", "border"), [(8, 8, 6, 6), (32, 32, 2, 2), (64, 64, 1, 2), (4, 10, 5, 5)]
)
@pytest.mark.parametrize(("gap_before", "gap"), [(None, 0), (1, 4)])
def test_every_pixel_is_where_it_belongs(tmp_path, channels, height, width, factor, border, gap_before, gap):
    images = np.random.default_rng(0).integers(0, 255, (2, 3, channels, height, width), dtype=np.uint8)
    sheet = picture(tmp_path / "grid.png", images, gap_before=gap_before)
    tall, wide = height * factor + border, width * factor + border
    assert sheet.shape == (2 * tall + border, 3 * wide + border + gap * border, 3)
    inked = np.zeros(sheet.shape[:2], bool)
    for row in range(2):
        for column in range(3):
            y = row * tall + border
            x = column * wide + border + (gap * border if gap_before is not None and column >= gap_before else 0)
            for i in range(height * factor):
                for j in (0, factor - 1, width * factor - 1):
                    expected = images[row, column, :, i // factor, j // factor]
                    assert (sheet[y + i, x + j] == expected).all()
            inked[y : y + height * factor, x : x + width * factor] = True
    assert (sheet[~inked] == 255).all()  # white between them
    assert (sheet[inked] < 255).all()


def test_equal_images_give_equal_bytes(tmp_path):
    images = np.zeros((1, 1, 1, 8, 8), np.uint8)
    for name in ("a", "b"):
        save_grid(tmp_path / "new" / f"{name}.png", images)
    assert (tmp_path / "new" / "a.png").read_bytes() == (tmp_path / "new" / "b.png").read_bytes()
    assert len(list((tmp_path / "new").iterdir())) == 2


def test_captions_are_under_their_images_and_stay_in_their_columns(tmp_path):
    images = np.full((2, 2, 1, 48, 48), 90, np.uint8)
    bare = picture(tmp_path / "bare.png", images)
    sheet = picture(tmp_path / "grid.png", images, captions=["seven", "", "a name that is far too long for its column"])
    tall = (len(sheet) - 2) // 2
    assert tall > (len(bare) - 2) // 2
    assert sheet.shape[1] == bare.shape[1]
    dark = (sheet < 80).all(2)
    for row, column, written in ((0, 0, True), (0, 1, False), (1, 0, True), (1, 1, False)):
        under = dark[row * tall + 50 : (row + 1) * tall + 2, column * 50 + 2 : column * 50 + 50]
        assert under.any() == written
        dark[row * tall + 50 : (row + 1) * tall + 2, column * 50 + 2 : column * 50 + 50] = False
    assert not dark.any()
