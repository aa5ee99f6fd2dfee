"""The data sets of studies/worst_group.yaml, from tiny copies in their layout."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from ddbias.datasets.synthesis import synthesize_dataset
from ddbias.planning import load
from PIL import Image

STUDY = Path(__file__).parents[3] / "studies/worst_group.yaml"
NAMES = ("source", "bias", "test", "channels", "size", "pad", "normalise", "seed")
# Split, label and attribute of every image: more training images on the diagonal; and as many of each group for test.
ROWS = [("0", y, y) for y in (0, 1) for _ in range(4)] + list(itertools.product("012", (0, 1), (0, 1)))


def picture(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((200, 180, 3), 10 * number, np.uint8)).save(path, quality=95)


def wilds(folder, columns, text):
    """Write one folder with a table, as WILDS has Waterbirds."""
    lines = [f"img_id,img_filename,y,split,{','.join(columns)}"]
    for i, (split, y, a) in enumerate(ROWS):
        picture(folder / f"class_{y}/{i:02d}.jpg", i)
        lines.append(
            ",".join(map(str, [i, f"class_{y}/{i:02d}.jpg", text[y], split, *(text[c(a)] for c in columns.values())]))
        )
    (folder / "metadata.csv").write_text("\n".join(lines))


def celeba(folder):
    lists = {"list_attr_celeba": ["image_id,Male,Blond_Hair,Young"], "list_eval_partition": ["image_id,partition"]}
    for i, (split, blond, man) in enumerate(ROWS):
        name = f"{i:06d}.jpg"
        picture(folder / "img_align_celeba" / name, i)
        lists["list_attr_celeba"].append(f"{name},{2 * (1 - man) - 1},{2 * blond - 1},1")
        lists["list_eval_partition"].append(f"{name},{split}")
    for name, lines in lists.items():
        (folder / f"{name}.csv").write_text("\n".join(lines))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("copies")
    wilds(root / "waterbirds_v1.0", {"place": lambda a: a}, ["0", "1"])
    wilds(root / "urbancars", {"place": lambda a: a, "object": lambda a: 1 - a}, ["country", "urban"])
    celeba(root / "celebA_v1.0")
    return {"root": str(root)}


@pytest.mark.parametrize(
    ("name", "conflicting"),
    [("waterbirds", False), ("celeba_blond", False), ("urbancars_background", False), ("urbancars_object", True)],
)
def test_groups_are_those_of_the_copy(data, name, conflicting):
    settings = load.read(STUDY).config["datasets"][name]
    train, test = synthesize_dataset(ratio="natural", data=data, **{key: settings[key] for key in NAMES})
    for split, part in ((train, "0"), (test, "2")):
        rows = [row for row in ROWS if row[0] == part]
        wanted = sorted((y, (y == a) == conflicting) for _, y, a in rows)
        assert sorted(zip(split.labels.tolist(), split.conflicting.tolist(), strict=True)) == wanted
        assert split.shape == (3, 64, 64)


def test_the_worst_group_comes_first():
    assert load.read(STUDY).config["tables"]["main"]["metrics"][0] == "worst_group_accuracy"
