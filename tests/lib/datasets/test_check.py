from dataclasses import replace

import numpy as np
import pytest
import torch
from ddbias.data.split import Split
from ddbias.data.whitening import Whitening
from ddbias.datasets.check import check_data, duplicates, write_check


def split_of(cells, convention="natural", attributes=True, **meta):
    """A split with ``cells[label][attribute]`` images that all differ, also from those of another convention."""
    cells = np.asarray(cells)
    pairs = np.array([(y, a) for (y, a), n in np.ndenumerate(cells) for _ in range(n)]).reshape(-1, 2)
    images = np.zeros((len(pairs), 1, 2, 2), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = np.arange(len(pairs)) % 256, np.arange(len(pairs)) // 256
    images[:, 0, 1, 0] = 200
    images[:, 0, 1, 1] = {"natural": 0, "balanced": 1, "anti": 2}[convention]
    names = {"label_names": [f"l{i}" for i in range(cells.shape[0])], "attribute_names": None}
    if attributes:
        names["attribute_names"] = [f"a{i}" for i in range(cells.shape[1])]
    meta = {
        **names,
        "mean": [0.0],
        "std": [1.0],
        "own_mean": [0.25],
        "own_std": [0.5],
        "source": {"source": "toy"},
        "bias": {"kind": "none"},
        "convention": convention,
        "counts": cells.tolist(),
        **meta,
    }
    return Split(images, pairs[:, 0], pairs[:, 1] if attributes else None, np.arange(len(pairs)), meta)


def checked(train, test, ipc=1):
    sources = {"train": train.images, "test": test.images}
    lines, problems = check_data(train, test, sources, title="toy, aligned ratio 0.9", ipc=ipc)
    return "\n".join(lines), problems


def test_levels_of_12_bits_in_files_of_16_are_told():
    train = split_of([[20, 2], [2, 20]])
    dark = replace(train, images=train.images // 16)
    _, problems = checked(dark, split_of([[5, 5], [5, 5]], "balanced"))
    assert (
        "the brightest training pixel is 12 of 255: if the files have 16 bits, are their levels of 10 to 14?"
        in problems[0]
    )


def test_a_sound_data_set():
    text, problems = checked(split_of([[1800, 20], [10, 90]]), split_of([[5, 5], [5, 5]], "balanced"), ipc=50)
    assert problems == []
    assert text.endswith("## What would go wrong\n\n- nothing found\n")
    for line in (
        "# toy, aligned ratio 0.9",
        "- 1,920 training and 20 test images, 1x2x2 (channels first)",
        "- test convention: balanced (every attribute equally often in every class)",
        "- training split: 1,890 aligned, 30 conflicting (aligned ratio 0.9844)",
        "| l0 | **1,800** | 20 | 1,820 |",
        "| l1 | 10 | **90** | 100 |",
        "per channel: 0.2500 ± 0.5000",
    ):
        assert line in text


def test_aligned_cells_follow_the_pairing():
    text, _ = checked(split_of([[7, 2]] * 2, pairing=[1, 0]), split_of([[5, 5], [5, 5]], "balanced", pairing=[1, 0]))
    assert "| l0 | 7 | **2** | 9 |" in text
    assert "training split: 9 aligned, 9 conflicting" in text


@pytest.mark.parametrize(
    ("train", "test", "ipc", "said"),
    [
        (
            [[9, 1], [2, 3]],
            [[5, 5], [5, 5]],
            6,
            "class 'l1' has 5 training images, fewer than the 6 per class asked for",
        ),
        ([[9, 1], [0, 3]], [[5, 5], [5, 5]], 1, "every training image of 'l1' has the attribute 'a1'"),
        ([[9, 1], [2, 3]], [[5, 0], [5, 5]], 1, "no test image of l0 / a1: unbiased_accuracy will be missing"),
        ([[9, 1], [2, 3]], [[5, 5], [0, 0]], 1, "no test image of: l1"),
    ],
)
def test_what_would_go_wrong(train, test, ipc, said):
    text, problems = checked(split_of(train), split_of(test, "balanced"), ipc)
    assert any(said in problem for problem in problems), problems
    assert f"- {problems[0]}\n" in text


def test_counts_that_were_not_reached():
    train = split_of([[9, 1], [2, 18]], wanted=[[18, 2], [2, 18]])
    _, problems = checked(train, split_of([[5, 5], [5, 5]], "balanced"))
    assert problems == ["fewer training images than asked for, to keep the aligned ratio: l0 10 of 20"]


def test_only_conflicting_test_images():
    _, problems = checked(split_of([[9, 1], [2, 18]]), split_of([[0, 5], [5, 0]], "anti"))
    assert problems == ["no aligned test images (anti): tables show conflicting_accuracy, unbiased_accuracy is missing"]


def test_unknown_attributes():
    text, problems = checked(split_of([[9], [8]], attributes=False), split_of([[5], [5]], "balanced", attributes=False))
    assert "| l1 | 8 |" in text
    assert problems == [
        "the attribute is unknown: only accuracy will be reported, and debias group_balanced is refused; "
        "make advise looks for a bias without it"
    ]


def test_duplicates_are_those_of_the_source():
    train, test = split_of([[9, 1], [2, 18]]), split_of([[5, 5], [5, 5]], "balanced")
    test.images[3] = train.images[7]
    test.images[4] = test.images[5]
    train.images[0] = train.images[1] = train.images[2]
    text, problems = checked(train, test)
    assert problems == ["1 test images are also training images: accuracy will be too high"]
    assert (
        "1 test images also in the training split, 2 repeats within the training split, 1 within the test split" in text
    )


def test_an_image_that_a_split_holds_twice_on_purpose_is_no_duplicate():
    train, test = split_of([[2, 2], [2, 2]]), split_of([[2, 2], [2, 2]], "balanced")
    twice = Split(*(np.concatenate([a, a]) for a in (test.images, test.labels, test.attributes, test.index)), test.meta)
    _, problems = check_data(train, twice, {"train": train.images, "test": test.images}, title="t", ipc=1)
    assert problems == []


def test_count_of_duplicates():
    a = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1)
    assert duplicates(a, a + 4) == (0, 0, 0)
    assert duplicates(a[[0, 0, 0, 1]], a[[1, 1, 2]]) == (2, 2, 1)


def test_file(tmp_path):
    write_check(tmp_path / "check.md", ["# a", "ü"])
    assert (tmp_path / "check.md").read_text(encoding="utf-8") == "# a\nü"


def test_names_are_text_in_the_report():
    """Names of classes and attributes, endings of files: none adds a cell, a line or markup."""
    names = ["a|b", "<script>x</script>", "two\nlines\n# head", "\x1b[31mred"]
    meta = {"label_names": names, "attribute_names": names, "source": {"source": "toy", "files": {}}}
    meta["source"]["files"]["train"] = {"left_out": {".a|<b>\n# c": 2}}
    cells = np.eye(4, dtype=int) * 3
    text, problems = checked(split_of(cells, **meta), split_of(cells * [[1], [1], [1], [0]], "balanced", **meta), ipc=5)
    assert problems
    assert "<" not in text
    assert "\x1b" not in text
    assert r"| a\|b | **3** | 0 | 0 | 0 | 3 |" in text
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# toy, aligned ratio 0.9",
        "## training split",
        "## test split",
        "## What would go wrong",
    ]
    assert all(line[:2] in ("- ", "# ", "##", "| ", "|-", "") for line in text.splitlines())


SOUND = [[5, 5], [5, 5]]


def test_a_class_of_as_many_images_as_asked_for_is_no_problem():
    assert checked(split_of([[9, 1], [2, 8]]), split_of(SOUND, "balanced"), ipc=10)[1] == []


def test_labels_that_are_paired_with_nothing_are_a_problem():
    train, test = (split_of(SOUND, name, pairing=None) for name in ("natural", "balanced"))
    text, problems = checked(train, test)
    said = "no attribute is paired with a label: aligned and conflicting accuracy will be missing (set pairs:)"
    assert problems == [said]
    assert "conflicting (aligned ratio" not in text
    assert "| l0 | 5 | 5 | 10 |" in text


def test_images_that_the_training_split_leaves_out_are_no_duplicates():
    train, test = split_of([[4, 4], [4, 4]]), split_of(SOUND, "balanced")
    test.images[3] = train.images[15]  # which a subsample did not draw
    part = Split(*(a[:15] for a in (train.images, train.labels, train.attributes, train.index)), train.meta)
    sources = {"train": train.images, "test": test.images}
    assert check_data(part, test, sources, title="t", ipc=1)[1] == []
    assert len(check_data(train, test, sources, title="t", ipc=1)[1]) == 1


def test_what_networks_see_and_what_was_left_out_is_told():
    facts = {"mean": [0.125], "std": [0.75]}
    facts["source"] = {"source": "toy", "files": {"train": {"left_out": {".heic": 1200, ".md": 1}}, "sha256": "00"}}
    train, test = split_of(SOUND, **facts), split_of(SOUND, "balanced", **facts)
    text, _ = checked(train, test)
    assert "- networks see pixels less 0.1250 over 0.7500\n" in text
    assert "left out of the train folder, since it is no image that can be read: 1,200 .heic, 1 .md" in text
    train.meta["source"]["files"] = {"left_out": {".txt": 2}, "images": 5}  # of one folder, as UTKFace is
    assert "left out of the folder, since it is no image that can be read: 2 .txt" in checked(train, test)[0]
    white = replace(train, whitening=Whitening.of([train.scaled(torch.from_numpy(train.images))]))
    assert "0.7500, whitened (ZCA)\n" in checked(white, test)[0]


def test_a_few_empty_groups_are_named_and_of_many_the_number_is_told():
    for cells, said in (
        ([[0, 5, 0], [0, 5, 5], [5, 5, 5]], "l0 / a0, l0 / a2, l1 / a0: unbiased"),
        ([[0, 5, 0], [0, 5, 0], [0, 5, 5]], "l0 / a0, l0 / a2, l1 / a0 and 2 more: unbiased"),
    ):
        (problem,) = checked(split_of(np.full((3, 3), 4)), split_of(cells, "balanced"))[1]
        assert f"no test image of {said}" in problem
