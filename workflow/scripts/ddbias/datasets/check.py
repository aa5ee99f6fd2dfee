"""Check of a data set before it is used: counts, duplicates and problems to expect later."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ddbias.base import escape, groups
from ddbias.data import store
from ddbias.data.split import Split

DARK = 64  # the white of 14 bits in files of 16; images of which no pixel is brighter have perhaps no more bits


def check_data(
    train: Split, test: Split, sources: Mapping[str, np.ndarray], *, title: str, ipc: int
) -> tuple[list[str], list[str]]:
    """Describe a data set and list its problems.

    Parameters
    ----------
    train, test : Split
    sources : mapping of str to ndarray of uint8
        The source's images of ``"train"`` and ``"test"``, before any bias, since noise hides duplicates.
    title : str
    ipc : int
        Largest number of images per class in the study.

    Returns
    -------
    lines : list of str
        The report, Markdown.
    problems : list of str
        One line for each, also at the end of the report; empty if there are none.
    """
    repeated = duplicates(sources["train"][np.unique(train.index)], sources["test"][np.unique(test.index)])
    facts = [*_facts(train, test), _repeated(*repeated)]
    lines = [f"# {escape.markdown(title)}", "", *(f"- {escape.markdown(fact)}" for fact in facts), ""]
    for name, split in (("training", train), ("test", test)):
        lines += [f"## {name} split", "", *_table(split), ""]
    problems = [*_problems(train, test, ipc)]
    if repeated[0]:
        problems.append(f"{repeated[0]:,} test images are also training images: accuracy will be too high")
    lines += [
        "## What would go wrong",
        "",
        *(f"- {escape.markdown(problem)}" for problem in problems or ["nothing found"]),
        "",
    ]
    return lines, problems


def duplicates(train: np.ndarray, test: np.ndarray) -> tuple[int, int, int]:
    """Return how many test images occur in the training split, and how many images repeat another of their split.

    Pixel by pixel; an image and its copies count as one less than there are.
    """
    seen = [[hashlib.sha256(np.ascontiguousarray(image)).digest() for image in part] for part in (train, test)]
    known = set(seen[0])
    return sum(code in known for code in seen[1]), len(seen[0]) - len(known), len(seen[1]) - len(set(seen[1]))


def _repeated(across: int, in_train: int, in_test: int) -> str:
    return (
        f"equal images: {across:,} test images also in the training split, {in_train:,} repeats within the training "
        f"split, {in_test:,} within the test split (before the bias)"
    )


def _facts(train: Split, test: Split) -> list[str]:
    shape = "x".join(map(str, train.shape))
    convention = test.meta["convention"]
    lines = [
        f"source {train.meta['source'].get('source', 'unknown')}, bias {train.meta['bias']['kind']}",
        f"{len(train):,} training and {len(test):,} test images, {shape} (channels first)",
        f"test convention: {convention} ({groups.CONVENTIONS[convention]})",
        "mean and standard deviation of the training pixels, per channel: "
        + ", ".join(f"{m:.4f} ± {s:.4f}" for m, s in zip(train.meta["own_mean"], train.meta["own_std"], strict=True)),
        "networks see pixels less "
        + ", ".join(f"{m:.4f} over {s:.4f}" for m, s in zip(train.meta["mean"], train.meta["std"], strict=True))
        + (", whitened (ZCA)" if train.whitening is not None else ""),
    ]
    files = train.meta["source"].get("files") or {}
    for split, part in ({"": files} if "left_out" in files else files).items():
        if isinstance(part, Mapping) and part.get("left_out"):
            others = ", ".join(f"{count:,} {ending}" for ending, count in part["left_out"].items())
            folder = f"the {split} folder" if split else "the folder"
            lines.append(f"left out of {folder}, since it is no image that can be read: {others}")
    for name, split in (("training", train), ("test", test)):
        if split.conflicting is not None:
            conflicting = int(split.conflicting.sum())
            lines.append(
                f"{name} split: {len(split) - conflicting:,} aligned, {conflicting:,} conflicting "
                f"(aligned ratio {1 - conflicting / len(split):.4g})"
            )
    return lines


def _table(split: Split) -> list[str]:
    """Return images by label and attribute as a Markdown table, the aligned cells in bold."""
    labels = list(map(escape.markdown, split.meta["label_names"]))
    if split.attributes is None:
        sizes = np.bincount(split.labels, minlength=len(labels))
        return ["| label | images |", "|---|--:|", *(f"| {n} | {c:,} |" for n, c in zip(labels, sizes, strict=True))]
    names = list(map(escape.markdown, split.meta["attribute_names"]))
    table = groups.counts(split.labels, split.attributes, len(labels), len(names))
    aligned = groups.aligned_cells(split.meta.get("pairing", groups.IDENTITY), len(names), len(labels))
    lines = [f"| label | {' | '.join(names)} | all |", "|---|" + "--:|" * (len(names) + 1)]
    for label, row in enumerate(table):
        cells = [
            f"**{count:,}**" if aligned is not None and aligned[attribute, label] else f"{count:,}"
            for attribute, count in enumerate(row)
        ]
        lines.append(f"| {labels[label]} | {' | '.join(cells)} | {row.sum():,} |")
    return lines


def _problems(train: Split, test: Split, ipc: int):
    """Yield a line for everything that a later stage would stumble over."""
    labels = train.meta["label_names"]
    sizes = np.bincount(train.labels, minlength=len(labels))
    for label, size in enumerate(sizes):
        if size < ipc:
            yield f"class '{labels[label]}' has {size:,} training images, fewer than the {ipc:,} per class asked for"
    brightest = int(train.images.max(initial=0))
    if 0 < brightest <= DARK:
        yield (
            f"the brightest training pixel is {brightest} of 255: if the files have 16 bits, are their levels of 10 to "
            "14? Then scale them to 0 to 65535 first"
        )
    missing = np.flatnonzero(np.bincount(test.labels, minlength=len(labels)) == 0)
    if len(missing):
        yield f"no test image of: {', '.join(labels[label] for label in missing)}"
    if train.attributes is None:
        yield (
            "the attribute is unknown: only accuracy will be reported, and debias group_balanced is refused; "
            "make advise looks for a bias without it"
        )
        return
    yield from _group_problems(train, test)
    wanted, counts = train.meta.get("wanted"), np.array(train.meta["counts"])
    if wanted is not None and (np.array(wanted) != counts).any():
        short = [
            f"{labels[label]} {has:,} of {asked:,}"
            for label, (has, asked) in enumerate(zip(counts.sum(1), np.sum(wanted, axis=1), strict=True))
            if has != asked
        ]
        yield f"fewer training images than asked for, to keep the aligned ratio: {'; '.join(short)}"


def _group_problems(train: Split, test: Split):
    labels, names = train.meta["label_names"], train.meta["attribute_names"]
    shape = len(labels), len(names)
    in_train = groups.counts(train.labels, train.attributes, *shape)
    in_test = groups.counts(test.labels, test.attributes, *shape)
    for label in np.flatnonzero((in_train > 0).sum(1) == 1):
        attribute = names[int(in_train[label].argmax())]
        yield f"every training image of '{labels[label]}' has the attribute '{attribute}': no weights can undo that"
    if train.meta.get("pairing", groups.IDENTITY) is None:
        yield "no attribute is paired with a label: aligned and conflicting accuracy will be missing (set pairs:)"
    if test.meta["convention"] == "anti":
        yield "no aligned test images (anti): tables show conflicting_accuracy, unbiased_accuracy is missing"
    elif (in_test == 0).any():
        empty = [f"{labels[label]} / {names[attribute]}" for label, attribute in np.argwhere(in_test == 0)]
        more = f" and {len(empty) - 3} more" if len(empty) > 3 else ""
        yield f"no test image of {', '.join(empty[:3])}{more}: unbiased_accuracy will be missing"


def write_check(path: str | Path, lines: list[str]) -> None:
    """Write the report as text."""
    store.write_bytes(path, "\n".join(lines).encode())
