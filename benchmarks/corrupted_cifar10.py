"""The ten corruptions of CCIFAR10-DD on 50,000 images, ours against a loop over images as public code does it.

One core and CPU seconds, so other programs do not count. The loops use Pillow, SciPy, scikit-image, OpenCV and plain
NumPy, on a sample of the images; their seconds are scaled up. Real CIFAR-10 is used when DDBIAS_DATA has it, otherwise
smooth random images.

The published frost reads its picture from disk for every image and reduces it to a fifth. Its loop here only reduces:
the pictures, of the published sizes, stay in memory.
"""

import functools
import io
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before NumPy is imported: it reads them once

import math  # noqa: E402
import resource  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from ddbias.datasets.bias.corruption import corrupt_by_attribute  # noqa: E402
from ddbias.datasets.corruptions import FAMILIES, corrupt, substitute_textures  # noqa: E402
from ddbias.datasets.sources.parquet import load_parquet  # noqa: E402
from PIL import Image  # noqa: E402
from scipy import ndimage  # noqa: E402
from skimage import color, filters  # noqa: E402

COUNT, SAMPLE, SEVERITY = 50_000, 300, 2  # severity 2 is column 3 of the tables: the constants below
CIFAR10 = Path("cifar10") / "train.parquet"


def zoomed(layer: np.ndarray, factor: float) -> np.ndarray:
    """Enlarge the middle with SciPy's spline of order 1, trimmed to 32 x 32."""
    crop = math.ceil(32 / factor)
    top = (32 - crop) // 2
    large = ndimage.zoom(layer[top : top + crop, top : top + crop], factor, order=1)
    trim = (large.shape[0] - 32) // 2
    return large[trim : trim + 32, trim : trim + 32]


def plain_motion(layer: np.ndarray, radius: int, sigma: float, angle: float) -> np.ndarray:
    """Sum shifted copies of one picture."""
    weights = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    out = np.zeros((32, 32), np.float32)
    for i, weight in enumerate(weights):
        dx = math.ceil(i * math.cos(math.radians(angle)) - 0.5)
        dy = math.ceil(i * math.sin(math.radians(angle)) - 0.5)
        if max(abs(dx), abs(dy)) >= 32:
            break
        rows, columns = (np.arange(32) + dy).clip(0, 31), (np.arange(32) + dx).clip(0, 31)
        out += weight * layer[rows][:, columns]
    return out


def plain_snow(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    x = x.astype(np.float32) / 255
    layer = zoomed(rng.normal(0.15, 0.3, (32, 32)), 1.75)
    layer[layer < 0.55] = 0
    layer = (np.clip(layer, 0, 1) * 255).astype(np.uint8)
    layer = plain_motion(layer, 10, 4, rng.uniform(-135, -45))[:, :, None] / 255
    white = np.maximum(x, cv2.cvtColor(x, cv2.COLOR_RGB2GRAY)[:, :, None] * 1.5 + 0.5)
    return np.clip(0.9 * x + 0.1 * white + layer + np.rot90(layer, 2), 0, 1) * 255


def plain_frost(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    texture = cv2.resize(frost_pictures()[rng.integers(5)], (0, 0), fx=0.2, fy=0.2)
    top, left = rng.integers(0, texture.shape[0] - 32), rng.integers(0, texture.shape[1] - 32)
    return np.clip(0.9 * x + 0.4 * texture[top : top + 32, left : left + 32], 0, 255)


@functools.cache
def frost_pictures() -> list[np.ndarray]:
    """Return the substitute textures at five times their size, uint8: as large as the published pictures."""
    return [texture.astype(np.uint8).repeat(5, axis=0).repeat(5, axis=1) for texture in substitute_textures()]


def plain_plasma(decay: float, rng: np.random.Generator) -> np.ndarray:
    """Diamond-square on a torus of side 32."""
    field, step, wibble = np.empty((32, 32)), 32, 100.0
    field[0, 0] = 0

    def wibbled(total: np.ndarray) -> np.ndarray:
        return total / 4 + wibble * rng.uniform(-wibble, wibble, total.shape)

    while step >= 2:
        half = step // 2
        corners = field[::step, ::step]
        total = corners + np.roll(corners, -1, 0)
        total = total + np.roll(total, -1, 1)
        field[half::step, half::step] = wibbled(total)
        centres, corners = field[half::step, half::step], field[::step, ::step]
        field[::step, half::step] = wibbled(centres + np.roll(centres, 1, 0) + corners + np.roll(corners, -1, 1))
        field[half::step, ::step] = wibbled(centres + np.roll(centres, 1, 1) + corners + np.roll(corners, -1, 0))
        step, wibble = half, wibble / decay
    field -= field.min()
    return field / field.max()


def plain_fog(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    x = x / 255.0
    brightest = x.max()
    x = x + 0.75 * plain_plasma(2.5, rng)[:, :, None]
    return np.clip(x * brightest / (brightest + 0.75), 0, 1) * 255


def plain_brightness(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    hsv = color.rgb2hsv(x / 255.0)
    hsv[:, :, 2] = np.clip(hsv[:, :, 2] + 0.15, 0, 1)
    return np.clip(color.hsv2rgb(hsv), 0, 1) * 255


def plain_contrast(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    x = x / 255.0
    means = x.mean((0, 1), keepdims=True)
    return np.clip((x - means) * 0.4 + means, 0, 1) * 255


def plain_spatter(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    x = x.astype(np.float32) / 255
    layer = filters.gaussian(rng.normal(0.65, 0.3, (32, 32)), sigma=1)
    layer[layer < 0.69] = 0
    liquid = (np.clip(layer, 0, 1) * 255).astype(np.uint8)
    distance = cv2.distanceTransform(255 - cv2.Canny(liquid, 50, 150), cv2.DIST_L2, 5)
    _, distance = cv2.threshold(distance, 20, 20, cv2.THRESH_TRUNC)
    distance = cv2.equalizeHist(cv2.blur(distance, (3, 3)).astype(np.uint8))
    kernel = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
    distance = cv2.blur(cv2.filter2D(distance, cv2.CV_8U, kernel), (3, 3)).astype(np.float32)
    mask = (liquid * distance)[:, :, None]
    mask = mask / max(mask.max(), 1) * 0.5
    return np.clip(x + mask * np.array([175, 238, 238], np.float32) / 255, 0, 1) * 255


def plain_elastic(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    x = x.astype(np.float32) / 255
    points = np.array([[26, 26], [26, 6], [6, 6]], np.float32)
    moved = points + rng.uniform(-1.92, 1.92, points.shape).astype(np.float32)
    x = cv2.warpAffine(x, cv2.getAffineTransform(points, moved), (32, 32), borderMode=cv2.BORDER_REFLECT_101)
    dx, dy = (
        2.56 * filters.gaussian(rng.uniform(-1, 1, (32, 32)), 1.92, mode="reflect", truncate=3)[:, :, None]
        for _ in range(2)
    )
    columns, rows, channels = np.meshgrid(np.arange(32), np.arange(32), np.arange(3))
    places = (rows + dy).reshape(-1, 1), (columns + dx).reshape(-1, 1), channels.reshape(-1, 1)
    return np.clip(ndimage.map_coordinates(x, places, order=1, mode="reflect").reshape(x.shape), 0, 1) * 255


def plain_jpeg(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(x).save(file, "JPEG", quality=58)
    return np.array(Image.open(file))


def plain_pixelate(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    small = Image.fromarray(x).resize((27, 27), Image.Resampling.BOX)
    return np.array(small.resize((32, 32), Image.Resampling.BOX))


def plain_saturate(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    hsv = color.rgb2hsv(x / 255.0)
    hsv[:, :, 1] = np.clip(hsv[:, :, 1] * 1.5, 0, 1)
    return np.clip(color.hsv2rgb(hsv), 0, 1) * 255


def load_images() -> np.ndarray:
    """Return 50,000 images, uint8 (N, 3, 32, 32)."""
    file = Path(os.environ.get("DDBIAS_DATA", "")) / CIFAR10
    if os.environ.get("DDBIAS_DATA") and file.is_file():
        test = str(file.with_name("test.parquet"))
        columns = {"image": "img"} if "img" in column_names(file) else {}
        return load_parquet(train=str(file), test=test, **columns, data={})["train"].images[:COUNT]
    print("smooth random images; DDBIAS_DATA names no folder with", CIFAR10)
    rng, images = np.random.default_rng(0), np.empty((COUNT, 3, 32, 32), np.uint8)
    for part in np.split(images, 50):
        smooth = ndimage.gaussian_filter(rng.standard_normal(part.shape, dtype=np.float32), (0, 0.5, 2, 2))
        part[:] = np.clip(128 + 50 * smooth / smooth.std(), 0, 255)
    return images


def column_names(file: Path) -> list[str]:
    from pyarrow import parquet

    return parquet.read_schema(file).names


def time_loop(name: str, images: np.ndarray) -> float:
    """Return the plain loop's seconds per image: the faster of two rounds."""
    plain, rng, seconds = globals()[f"plain_{name}"], np.random.default_rng(0), []
    for _ in range(2):
        began = time.process_time()
        for image in images:
            np.asarray(plain(image, rng)).astype(np.uint8)
        seconds.append(time.process_time() - began)
    return min(seconds) / len(images)


def main() -> None:
    """Print seconds of each corruption (its 5,000 images) and of all, and the memory."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    images = load_images()
    attributes, index = np.arange(len(images)) % 10, np.arange(len(images))
    arguments = {"severity": SEVERITY, "seed": 0, "split": "train"}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ours = []
    for _ in range(3):  # the first makes tables and textures
        began = time.process_time()
        corrupt_by_attribute(images, attributes, family="type0", index=index, **arguments)
        ours.append(time.process_time() - began)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    total = 0.0
    for attribute, name in enumerate(FAMILIES["type0"]):
        rows = np.flatnonzero(attributes == attribute)
        some = images[rows]
        began = time.process_time()
        corrupt(some, name, index=rows, **arguments)
        seconds = time.process_time() - began
        loop = len(rows) * time_loop(name, np.ascontiguousarray(some[:SAMPLE].transpose(0, 2, 3, 1)))
        total += loop
        print(f"{name:10s} x {len(rows)}: {seconds:6.3f} s, loop {loop:6.2f} s, {loop / seconds:5.1f} times ours")
    print(f"all {len(images)} images: {min(ours):.2f} s, the first time in a process {ours[0]:.2f} s")
    print(f"loop over them: {total:.1f} s (scaled from {SAMPLE} images of each kind)")
    print(f"the loop takes {total / min(ours):.1f} times ours, {total / ours[0]:.1f} the first (target: at least 10)")
    print(f"memory: {after / 1024:.0f} MiB at most, {(after - before) / 1024:.0f} MiB more than before (target: 3072)")


if __name__ == "__main__":
    main()
