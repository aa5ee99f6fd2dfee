import errno
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from ddbias.base.environment import CACHE, DATA
from ddbias.base.versions import LIBRARIES
from ddbias.data import store
from ddbias.datasets import sources
from ddbias.runtime import cache, processor
from ddbias.runtime.cache import Entry
from snakemake.iocontainers import InputFiles, OutputFiles, Params

LIBRARY = Path(cache.__file__).parents[2]
CONTENT = {"model.safetensors": b"weights" * 1000, "history.parquet": b"losses" * 10}
FACTS = {"torch": "2.13.0", "device": "cpu", "threads": 1}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE, str(tmp_path / "the cache"))
    return tmp_path / "the cache"


@pytest.fixture
def job(tmp_path):
    """Build what Snakemake hands to a script, of a study of some name."""

    def build(study="one", *, data=b"images", rule="train_surrogate", **params):
        results = tmp_path / study / "results"
        results.mkdir(parents=True, exist_ok=True)
        (results / "train.arrow").write_bytes(data)
        return SimpleNamespace(
            rule=rule,
            config={"plugins": []},
            input=InputFiles([str(results / "train.arrow")]),
            output=OutputFiles(fromdict={name.split(".")[0]: str(results / "made" / name) for name in CONTENT}),
            params=Params(
                fromdict={"settings": {"epochs": 3, "a": 0.1}, "seed": 0, **params, "state": str(results / "s")}
            ),
        )

    return build


def make(job):
    for path in job.output:
        store.write_bytes(path, CONTENT[Path(path).name])


def made(job):
    return {Path(path).name: Path(path).read_bytes() for path in job.output if Path(path).exists()}


def run(job, facts=FACTS):
    """Do what the scripts do; tell whether the outputs were taken."""
    entry = Entry(job, lambda: facts)
    taken = entry.take()
    if not taken:
        make(job)
        entry.keep()
    assert made(job) == CONTENT
    return taken


def entries(folder):
    return list(folder.glob("*/*"))


def test_off_by_default(monkeypatch):
    monkeypatch.delenv(CACHE, raising=False)
    for value in (None, ""):
        if value is not None:
            monkeypatch.setenv(CACHE, value)
        entry = Entry(SimpleNamespace(), None)  # asks nothing of the job
        assert not entry.take()
        entry.keep()


def test_another_study_takes_what_the_first_one_made(job, folder, log_lines):
    assert not run(job("one"))
    assert run(job("two"))
    (entry,) = entries(folder)
    assert log_lines == [f"kept in the cache: {entry}", f"taken from the cache: {entry}"]
    for path in job("two").output:
        assert not os.path.islink(path)
        assert os.stat(path).st_nlink == 1  # an output is nobody else's file


def test_results_outlive_the_cache(job, folder):
    run(job("one"))
    run(job("two"))
    for entry in entries(folder):
        for path in entry.iterdir():
            path.write_bytes(b"overwritten")
    assert made(job("one")) == made(job("two")) == CONTENT


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        ({"settings": {"epochs": 4, "a": 0.1}}, {}),
        ({"settings": {"epochs": 3, "a": 0.1, "b": None}}, {}),
        ({"seed": 1}, {}),
        ({"code": "0123456789abcdef"}, {}),
        ({"threads": 2}, {}),
        ({"data": b"Images"}, {}),
        ({"rule": "pretrain_models"}, {}),
        ({}, {"torch": "2.14.0"}),
        ({}, {"device": "cuda"}),
        ({}, {"threads": 2}),
        ({}, {"precision": "fast"}),
    ],
)
def test_what_changes_a_result_is_another_entry(job, folder, change, facts):
    run(job("one"))
    assert not run(job("two", **change), FACTS | facts)
    assert run(job("three"))
    assert len(entries(folder)) == 2


@pytest.mark.parametrize("package", LIBRARIES.values())
def test_another_version_of_a_package_is_another_entry(job, folder, monkeypatch, package):
    run(job("one"))
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "99" if name == package else version(name))
    assert not run(job("two"))


def test_another_processor_is_another_entry(job, folder, monkeypatch):
    run(job("one"))
    monkeypatch.setattr(processor, "describe", lambda: "another one")
    assert not run(job("two"))


# ---- damage ---------------------------------------------------------------------------------------------------------


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def other_seed(path):
    manifest = json.loads(path.read_text())
    manifest["facts"]["params"]["seed"] = 7
    path.write_text(json.dumps(manifest))


DAMAGE = {
    "flipped bit": ("model.safetensors", flip),
    "cut": ("model.safetensors", lambda path: os.truncate(path, 100)),
    "empty": ("history.parquet", lambda path: os.truncate(path, 0)),
    "missing": ("history.parquet", Path.unlink),
    "exchanged": ("history.parquet", lambda path: path.write_bytes(CONTENT["model.safetensors"])),
    "list missing": (cache.MANIFEST, Path.unlink),
    "list cut": (cache.MANIFEST, lambda path: os.truncate(path, 50)),
    "list empty": (cache.MANIFEST, lambda path: os.truncate(path, 0)),
    "list of another": (cache.MANIFEST, lambda path: path.write_text("[]")),
    "list changed": (cache.MANIFEST, other_seed),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_made_again_and_said_in_one_line(job, folder, log_lines, damage):
    run(job("one"))
    (entry,) = entries(folder)
    name, change = DAMAGE[damage]
    change(entry / name)
    log_lines.clear()
    assert not run(job("two"))
    said, kept = log_lines
    assert said.startswith(f"ddbias: {entry} in the cache is damaged ({name} is ")
    assert said.endswith("); making it anew")
    assert kept == f"kept in the cache: {entry}"
    assert run(job("three"))
    assert entries(folder) == [entry]


def test_a_damaged_file_never_becomes_an_output(job, folder):
    run(job("one"))
    (entry,) = entries(folder)
    flip(entry / "model.safetensors")
    given = job("two")
    assert not Entry(given, lambda: FACTS).take()
    assert "model.safetensors" not in made(given)
    assert not list(Path(given.output[0]).parent.glob(".*"))


# ---- what else can go wrong: the job makes its outputs all the same -----------------------------------------------


def one_line(lines):
    (line,) = lines
    assert line.startswith("ddbias: cannot write the cache ")
    assert line.endswith(f"free space or change the rights there, or correct or unset {CACHE}")
    assert "\n" not in line
    return line


def test_a_place_that_is_no_folder(job, tmp_path, monkeypatch, log_lines):
    (tmp_path / "file").touch()
    monkeypatch.setenv(CACHE, str(tmp_path / "file"))
    assert not run(job())
    assert f"{tmp_path / 'file'} (Not a directory), so this result is not shared" in one_line(log_lines)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_may_only_be_read(job, folder, log_lines):
    run(job("one"))
    for path in (folder, *folder.iterdir(), *entries(folder)):
        path.chmod(0o555)
    log_lines.clear()
    try:
        assert run(job("two"))
        assert not run(job("two", seed=1))
    finally:
        for path in (folder, *folder.iterdir(), *entries(folder)):
            path.chmod(0o755)
    assert "Permission denied" in one_line(log_lines[1:])


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_folder_that_cannot_be_written(job, folder, monkeypatch, log_lines, code):
    copy = cache._copy

    def refuse(source, target, expected=None):
        if folder in target.parents and target.name == "history.parquet":  # the second file
            raise OSError(code, os.strerror(code), str(target))
        return copy(source, target, expected)

    monkeypatch.setattr(cache, "_copy", refuse)
    assert not run(job())
    assert os.strerror(code) in one_line(log_lines)
    assert entries(folder) == []


def test_an_entry_that_cannot_be_read(job, folder, monkeypatch, log_lines):
    run(job("one"))
    log_lines.clear()

    def refuse(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Entry, "_checksums", refuse)
    assert not run(job("two"))
    (line,) = log_lines
    assert line.startswith("ddbias: cannot take ")
    assert line.endswith(" from the cache (Input/output error); making it anew")


def test_a_job_that_is_stopped_leaves_no_part_of_an_entry(job, folder, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "write_json", stop)
    with pytest.raises(KeyboardInterrupt):
        run(job())
    assert entries(folder) == []


def test_inputs_that_change_while_the_job_works_are_not_kept(job, folder, log_lines):
    given = job()
    entry = Entry(given, lambda: FACTS)
    Path(given.input[0]).write_bytes(b"other images")
    make(given)
    entry.keep()
    assert entries(folder) == []
    assert log_lines == ["not kept in the cache: a file that it is made from has changed meanwhile"]


def test_emptied_at_any_time(job, folder):
    run(job("one"))
    for entry in entries(folder):
        for path in entry.iterdir():
            path.unlink()
        entry.rmdir()
    assert not run(job("two"))
    assert run(job("three"))


def test_what_may_read_unknown_files_is_not_shared(job, folder, log_lines):
    given = job()
    given.config["plugins"].append("plug-in.py")
    assert not run(given)
    assert not run(job(), None)
    assert not folder.exists()
    assert set(log_lines) == {"not shared through the cache: not all of what it is made from is known beforehand"}


ROUNDS = """
import contextlib, os, random, sys
from pathlib import Path
from types import SimpleNamespace
from ddbias.runtime import cache
from ddbias.base.log import log_to

number, folder, given = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
content = {name: name.encode() * 1000 for name in ("model", "history")}
results = folder.parent / f"study {number}"
results.mkdir()
output = [results / name for name in content]
job = SimpleNamespace(rule="rule", input=[given], output=output, params={}, config={"plugins": []})
log_to(os.devnull)
draw = random.Random(number)
taken = 0
for _ in range(20):
    entry = cache.Entry(job, lambda: {})
    if entry.take():
        taken += 1
    else:
        for path in output:
            path.write_bytes(content[path.name])
        entry.keep()
    for path in output:
        assert path.read_bytes() == content[path.name], path
        path.unlink()
    if draw.random() < 0.3:
        with contextlib.suppress(OSError):  # somebody was quicker
            for path in list(folder.glob("*/*/*")):
                os.truncate(path, 3) if draw.random() < 0.5 else path.unlink()
print(taken)
"""


def test_many_processes_at_once_while_entries_are_damaged(tmp_path, folder):
    """Each takes, makes and damages the same entry twenty times, and always ends with the right bytes."""
    (tmp_path / "train.arrow").touch()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ROUNDS, str(number), str(folder), str(tmp_path / "train.arrow")],
            env={**os.environ, "PYTHONPATH": str(LIBRARY)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    taken = []
    for process in processes:
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        taken.append(int(output))
    assert sum(taken) > 3
    assert not [path for path in entries(folder) if path.name.startswith(".part")]


# ---- what tells the files of sources apart --------------------------------------------------------------------------


def test_every_source_says_what_it_would_read(tmp_path, monkeypatch):
    monkeypatch.delenv(DATA, raising=False)
    data = {"root": str(tmp_path)}
    for name in ("bffhq", "UTKFace", "celeba", "train", "test"):
        (tmp_path / name).mkdir()
    for kind in sources.SOURCES:
        settings = {"kind": kind}
        if kind in ("parquet", "image_folder"):
            settings |= {"train": "train", "test": "test"}
        if kind == "pth":
            settings["file"] = "digits.pth"
        before = sources.origin(settings, data=data)
        assert isinstance(before, list), kind
        for folder in ("bffhq", "UTKFace", "celeba", "train"):
            (tmp_path / folder / f"{kind}.png").touch()
        reads_a_folder = kind in ("bffhq", "utkface", "celeba", "image_folder")
        assert (sources.origin(settings, data=data) != before) == reads_a_folder, kind
    assert sources.origin({"kind": "of a plug-in"}, data=data) is None


def test_copies_of_cifar10_are_not_taken_for_the_originals(tmp_path, monkeypatch):
    monkeypatch.delenv(DATA, raising=False)
    data = {"root": str(tmp_path / "root"), "mirrors": [str(tmp_path / "mirror")]}
    settings = {"kind": "cifar10"}
    nothing = sources.origin(settings, data=data)  # it would be downloaded
    (tmp_path / "mirror" / "cifar10").mkdir(parents=True)
    for split in ("train", "test"):
        (tmp_path / "mirror" / "cifar10" / f"{split}.parquet").write_bytes(split.encode())
    copies = sources.origin(settings, data=data)
    (tmp_path / "mirror" / "cifar10" / "train.parquet").write_bytes(b"others")
    others = sources.origin(settings, data=data)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "cifar-10-python.tar.gz").touch()
    originals = sources.origin(settings, data=data)
    assert nothing == originals == []
    assert len({str(found) for found in (originals, copies, others)}) == 3
