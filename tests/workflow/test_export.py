"""`make export`: the finished sets of a study for other people's tools, and what its page promises."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/export.md").read_text()
SET = "digits_fg-0.95-dm-kde-ipc1-seed0"
DIGITS = "results/digits/quick/distilled/digits_fg/0.95/dm/kde/ipc10/seed0"
FENCED = re.MULTILINE | re.DOTALL
FOLDER = "distilled/digits_fg/0.95/dm/kde/ipc1/seed0"
EXPORT = "results/tiny/quick/export"


def test_make_target_and_commands_of_the_page():
    (recipe,) = re.findall(r"^export:.*\n\t(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert '--to="$$TO" -- export ' in recipe
    blocks = [block for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, FENCED) if not language]
    assert [line.split("#")[0].split() for block in blocks for line in block.splitlines()] == [
        ["make", "export"],
        ["make", "export", "CONFIG=studies/lu2024_cmnist_dd.yaml", "TO=exported"],
        [".venv/bin/python", "examples/train_on_distilled.py", DIGITS],
    ]
    assert (ROOT / "studies/lu2024_cmnist_dd.yaml").exists()


@pytest.mark.thorough
def test_a_partial_study_is_exported_and_again_when_a_set_is_added(finished):
    shutil.rmtree(finished / "results/tiny/quick/distilled/digits_fg/0.95/random")
    status, output = finished.run("tiny.yaml", "export")
    assert status == 0, output
    assert "2 distilled sets" in output
    assert "missing: 1 of 4 sets of the study are not finished" in output
    assert "left out: results/tiny/quick/distilled/digits_fg/0.95/whole/uniform/ipcall/seed0: it holds only" in output
    assert not (finished / "results/tiny/quick/distilled/digits_fg/0.95/random").exists()
    card = (finished / EXPORT / "huggingface/README.md").read_text()
    assert f"| `{SET}` | convnet |" in card
    assert "images of digits" in card

    assert finished.planned("tiny.yaml", "export") == {"export": 1}  # which shows the summary every time
    shutil.rmtree(finished / EXPORT / "dd-ranking")
    assert finished.planned("tiny.yaml", "export") == {"export": 1, "write_export": 1}
    status, output = finished.run("tiny.yaml", "distilled_sets")
    assert status == 0, output
    status, output = finished.run("tiny.yaml", "export")
    assert status == 0, output
    assert "3 distilled sets" in output
    assert "missing:" not in output
    assert "digits_fg-0.95-random-uniform-ipc1-seed0" in (finished / EXPORT / "huggingface/README.md").read_text()
    assert (finished / EXPORT / "dd-ranking" / SET / "images.pt").exists()


@pytest.mark.thorough
def test_snippets_and_commands_of_the_page_run(finished):
    launch = ["workflow/launch.py", "--config=tiny.yaml", "--cores=2", "--to=an export", "--", "export"]
    status, output = finished.finish(finished.start(*launch))
    assert status == 0, output
    hub = finished / "an export/huggingface"
    assert (hub / "croissant.json").exists()
    assert os.listdir(finished / EXPORT) == ["summary.md"]
    (hub / "mine.txt").write_text("mine")
    (finished / "results/tiny/quick/export/summary.md").unlink()
    status, output = finished.finish(finished.start(*launch))
    assert status != 0
    assert "an export/huggingface holds mine.txt, which was not exported; move it away" in output
    assert (hub / "mine.txt").read_text() == "mine"

    python, hub_snippet, tensors = re.findall(r"^```python\n(.*?)^```", PAGE, FENCED)
    run = {"cwd": finished.folder, "check": True, "timeout": 120, "capture_output": True, "text": True}
    folder = f"results/tiny/quick/{FOLDER}"
    python = python.replace(DIGITS, folder)
    assert folder in python
    subprocess.run([sys.executable, "-c", python], **run)
    assert "load_dataset(" in hub_snippet  # by hand, and in tests/lib/test_publish.py where the library is installed
    for snippet in (hub_snippet, tensors):
        assert "results/digits/quick/export/huggingface" in snippet
        assert "digits_fg-0.95-dm-kde-ipc10-seed0" in snippet
    tensors = tensors.replace("results/digits/quick/export", "an export").replace("kde-ipc10", "kde-ipc1")
    subprocess.run([sys.executable, "-c", tensors], **run)
    for distilled in (folder, hub / "data" / SET):
        done = subprocess.run([sys.executable, "examples/train_on_distilled.py", distilled], **run)
        assert re.fullmatch(r"\d+% of 10 distilled images learned\n", done.stdout)
