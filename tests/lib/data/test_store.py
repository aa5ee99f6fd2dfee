"""Files between the stages that are not what they should be: flipped bits, another stage's file, no file at all."""

import errno
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from ddbias.base import paths
from ddbias.base.environment import RUN_PID
from ddbias.base.errors import DdbiasError
from ddbias.data import store
from ddbias.data.distilled import load_distilled
from ddbias.data.split import load_split, save_split
from ddbias.data.training_set import training_set
from ddbias.debias import apply, surrogate
from ddbias.distill import pretraining
from ddbias.evaluation.images import attribute_model, measures
from ddbias.results.tables.read import read_evaluation
from ddbias.runtime import job
from pyarrow import parquet

CELL = {"study": "s", "scale": "quick", "dataset": "d", "ratio": "0.95", "distiller": "dm", "debias": "kde"}


def distilled(path, images):
    meta = {"kind": "distilled", **CELL, "mean": [0.1] * 3, "std": [0.2] * 3, "label_names": list("abc")}
    store.write_tensors(path, {"images": images, "labels": torch.arange(len(images)) % 3}, meta)


def weights(path, split, values):
    columns = {"index": split.index, "label": split.labels, "weight": values}
    store.write_table(path, columns, {"settings": {"kind": "kde"}, "share": 0.25, "name": "café"})


def evaluation(path):
    row = {**CELL, "ratio": 0.95, "ipc": "1", "seed": 0, "evaluation": "convnet", "metric": "accuracy"}
    rows = [{**row, "repeat": repeat, "value": 0.5 + repeat / 10, "support": 30} for repeat in range(3)]
    store.write_table(path, {name: [row[name] for row in rows] for name in rows[0]}, {"convention": "balanced"})


@pytest.fixture(scope="module")
def files(tmp_path_factory, few_digits):
    """One file of every kind, and how a later stage reads it."""
    folder, split = tmp_path_factory.mktemp("files"), few_digits()
    rng = np.random.default_rng(0)
    split = type(split)(split.images[:8], split.labels[:8], split.attributes[:8], split.index[:8], split.meta)
    save_split(folder / "train.arrow", split)
    embedding = rng.normal(size=(8, 4)).astype(np.float32)
    surrogate.save_embeddings(folder / "embeddings.arrow", embedding, split, {"seed": 0}, logits=embedding[:, :3])
    weights(folder / "weights.parquet", split, rng.random(8))
    evaluation(folder / "evaluation.parquet")
    distilled(folder / "distilled.safetensors", torch.from_numpy(rng.normal(size=(3, 3, 2, 2)).astype(np.float32)))
    snapshots = {f"{epoch}.{name}": torch.full((2,), epoch / 3) for epoch in (0, 1) for name in ("weight", "bias")}
    pretraining.save_member(
        folder / "member.safetensors",
        snapshots,
        split,
        network={"kind": "mlp"},
        settings={"epochs": 1},
        member=0,
        provenance={},
    )
    table = {"epoch": [1, 2], "name": ["a", None], "some": pa.array([1, None])}
    store.write_table(folder / "history.parquet", table, {})
    return folder, split


def load_weights(path, split):
    return apply.real_settings({"kind": "kde", "surrogate": "supcon"}, split, path)


def load_member(path):
    member = pretraining.open_member(path)
    return [vars(member) | {"path": None}, member.state(1)]


def load_verified(path):
    return load_split(path, verify=True)


READERS = {
    "train.arrow": load_verified,
    "embeddings.arrow": surrogate.load_embeddings,
    "weights.parquet": store.read_table,
    "evaluation.parquet": read_evaluation,
    "distilled.safetensors": load_distilled,
    "member.safetensors": load_member,
    "history.parquet": store.read_table,
}


def plain(value):
    """Turn what a reader returned into something that can be compared bit by bit."""
    if isinstance(value, (np.ndarray, torch.Tensor)):
        value = np.asarray(value)
        return str(value.dtype), value.shape, value.tobytes()
    if isinstance(value, pa.Table):
        return value.column_names, [str(field.type) for field in value.schema], repr(value.to_pylist())
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return plain(vars(value)) if hasattr(value, "__dict__") else value


@pytest.mark.slow
@pytest.mark.parametrize("most", [600, pytest.param(2500, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("name", READERS)
def test_a_flipped_bit_is_reported_or_changes_nothing(files, tmp_path, name, most):
    content, read = (files[0] / name).read_bytes(), READERS[name]
    before, path = plain(read(files[0] / name)), tmp_path / name
    said = []
    bits = np.random.default_rng(1).integers(8, size=len(content))
    for position in range(0, len(content), 1 + len(content) // most):
        flipped = bytearray(content)
        flipped[position] ^= 1 << int(bits[position])
        path.write_bytes(flipped)
        try:
            after = plain(read(path))
        except DdbiasError as error:
            said.append(str(error))
        else:
            assert after == before, f"bit {bits[position]} of byte {position} of {len(content)}"
        path.unlink()
    assert len(said) > 100
    assert all(str(path) in line and "\n" not in line for line in said)


def test_every_bit_of_the_numbers_is_watched(files, tmp_path):
    """What earlier versions overlooked: the weights themselves, which Parquet stores as they are."""
    content = (files[0] / "weights.parquet").read_bytes()
    table, _ = store.read_table(files[0] / "weights.parquet")
    found = 0
    for weight in table["weight"].to_numpy():
        place = content.find(weight.tobytes())
        found += place >= 0
        for bit in range(64) if place >= 0 else ():
            flipped = bytearray(content)
            flipped[place + bit // 8] ^= 1 << (bit % 8)
            (tmp_path / "weights.parquet").write_bytes(flipped)
            with pytest.raises(DdbiasError, match="checksum"):
                store.read_table(tmp_path / "weights.parquet")
    assert found


def test_images_of_a_split_are_compared_on_demand_only(files, tmp_path):
    content = bytearray((files[0] / "train.arrow").read_bytes())
    pixels = files[1].images.tobytes()
    content[content.find(pixels) + 5] ^= 4
    (tmp_path / "train.arrow").write_bytes(content)
    assert (load_split(tmp_path / "train.arrow").images != files[1].images).sum() == 1
    with pytest.raises(DdbiasError, match=r"train\.arrow is damaged .*\(image does not have the checksum"):
        load_split(tmp_path / "train.arrow", verify=True)


def test_files_of_earlier_versions_are_read(files, tmp_path):
    """They hold the metadata alone."""
    from safetensors.torch import save_file

    meta = {"kind": "distilled", "mean": [0.1] * 3, "std": [0.2] * 3, "label_names": list("abc"), "seed": 3}
    tensors = {"images": torch.zeros(3, 3, 2, 2), "labels": torch.arange(3)}
    save_file(tensors, tmp_path / "d.safetensors", metadata={"ddbias": json.dumps(meta)})
    assert load_distilled(tmp_path / "d.safetensors").meta == meta
    table = pa.table({"weight": [1.0, 2.0]}).replace_schema_metadata({"ddbias": json.dumps(meta)})
    parquet.write_table(table, tmp_path / "w.parquet")
    assert store.read_table(tmp_path / "w.parquet")[1] == meta
    with pa.ipc.new_file(str(tmp_path / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    assert store.read_arrow(tmp_path / "a.arrow")[1] == meta


def test_the_same_content_gives_the_same_bytes(files, tmp_path):
    for name in READERS:
        assert (files[0] / name).stat().st_size
    for folder in ("a", "b"):
        weights(tmp_path / folder / "weights.parquet", files[1], np.arange(8) / 7)
        distilled(tmp_path / folder / "distilled.safetensors", torch.ones(3, 3, 2, 2) / 3)
        save_split(tmp_path / folder / "train.arrow", files[1])
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_metadata_comes_back_as_it_was_given(tmp_path):
    meta = {"a": 0.1, "nested": {"b": [1, None, "é"]}, "z": True}
    given = {**meta, "seeds": {2: 1, 10: 2}}
    store.write_tensors(tmp_path / "t.safetensors", {"x": torch.tensor(3, dtype=torch.bfloat16)}, given)
    tensors, found = store.read_tensors(tmp_path / "t.safetensors")
    assert found == {**meta, "seeds": {"2": 1, "10": 2}}
    assert tensors["x"] == 3


def test_a_full_disk_is_one_line_with_the_file(files, tmp_path, monkeypatch, capsys):
    """Neither the writers, whose errors name no file, nor the log file, which is full as well, may say more."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write(*given, **more):
        raise full

    def refuse(handler):
        raise full

    monkeypatch.delenv(RUN_PID, raising=False)
    monkeypatch.setattr(logging.FileHandler, "flush", refuse)
    monkeypatch.setattr(Path, "write_bytes", write)
    monkeypatch.setattr(os, "fsync", write)
    path = tmp_path / "data"
    writers = [
        lambda given: weights(path, files[1], np.ones(8)),
        lambda given: save_split(path, files[1]),
        lambda given: distilled(path, torch.zeros(3, 3, 2, 2)),
        lambda given: store.write_json(path, {}),
    ]
    for number, main in enumerate(writers):
        full.filename = None
        given = SimpleNamespace(rule="r", log=[str(tmp_path / f"log{number}.txt")], config={"plugins": []})
        with pytest.raises(SystemExit):
            job.run(main, given)
        said = f"ddbias: the disk is full while writing {path}; free some space and run again, finished work is kept\n"
        assert capsys.readouterr().err == said
        assert not path.exists()
        assert not path.with_name(".data.part").exists()


# ---- another stage's file, or none ---------------------------------------------------------------------------------


def readers_of_jobs(split):
    network = {"kind": "convnet", "width": 4, "depth": 1}
    return {
        "train.arrow": lambda path: load_split(path, "train"),
        "test.arrow": lambda path: load_split(path, "test"),
        "embeddings.arrow": surrogate.load_embeddings,
        "weights.parquet": lambda path: load_weights(path, split),
        "evaluation.parquet": read_evaluation,
        "distilled.safetensors": lambda path: training_set(path, None),
        "member.safetensors": load_member,
        "attribute_model.safetensors": lambda path: attribute_model.load(path, network, split),
        "model.safetensors": lambda path: measures.learnt(str(path), split, torch.device("cpu")),
        "run.json": store.read_json,
    }


def test_another_stages_file_is_one_line(files, tmp_path):
    folder, split = files
    for wanted, read in readers_of_jobs(split).items():
        for other in sorted(folder.iterdir()):
            if other.name == wanted:
                continue
            path = tmp_path / wanted
            path.write_bytes(other.read_bytes())
            with pytest.raises(DdbiasError) as caught:
                read(path)
            said = str(caught.value)
            assert said.startswith(str(path)), (wanted, other.name, said)
            assert said.count("\n") == 0
            assert "again" in said or "stage" in said, said


def odd(path, kind):
    if kind == "folder":
        path.mkdir()
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind == "link loop":
        path.symlink_to(path.name)
    elif kind == "link to nothing":
        path.symlink_to("nowhere")
    elif kind == "below a file":
        path.parent.rmdir()
        path.parent.write_bytes(b"")
    else:
        deep = b"[" * 200_000 + b"]" * 200_000
        path.write_bytes({"empty": b"", "text": b"<html>", "deep": deep, "list": b"[1]"}[kind])


ODD = {
    "folder": "is a folder; name a file, or move it away",
    "FIFO": "is no regular file",
    "link loop": "cannot be opened (Too many levels of symbolic links); give another path",
    "link to nothing": "is a link to nothing; give another path",
    "below a file": "has the stage that writes it run?",
    "empty": "is damaged",
    "text": "is damaged",
    "deep": "is damaged",
    "list": "is damaged",
}


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_such_file_is_one_line_and_never_waited_for(files, tmp_path, kind):
    """In a process of its own, which a reader that waits for a FIFO cannot hang."""
    names = list(readers_of_jobs(files[1]))
    for name in names:
        (tmp_path / name).mkdir()
        odd(tmp_path / name / name, kind)
    program = f"""
import sys; sys.path[:0] = [{str(paths.SCRIPTS)!r}]
from ddbias.base.environment import RUN_PID
from ddbias.base.errors import DdbiasError
from ddbias.data import store
for name in {names!r}:
    read = {{"arrow": store.read_arrow, "quet": store.read_table, "json": store.read_json}}.get(
        name.rpartition(".")[2].removeprefix("par"), store.read_tensors)
    try:
        read({str(tmp_path)!r} + "/" + name + "/" + name)
    except DdbiasError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == len(names)
    for name, line in zip(names, lines, strict=True):
        assert f"{tmp_path}/{name}/{name}" in line
        assert ODD[kind] in line


@pytest.mark.parametrize("meta", [None, "[1]", "3", "null", "{", "[" * 200_000], ids=lambda meta: str(meta)[:4])
def test_metadata_that_is_none_is_one_line(tmp_path, meta):
    from safetensors.torch import save_file

    given = None if meta is None else {"ddbias": meta}
    save_file({"x": torch.zeros(2)}, tmp_path / "t.safetensors", metadata=given)
    table = pa.table({"x": [1.0]}).replace_schema_metadata(given)
    parquet.write_table(table, tmp_path / "t.parquet")
    with pa.ipc.new_file(str(tmp_path / "t.arrow"), table.schema) as writer:
        writer.write_table(table)
    readers = {"safetensors": store.read_tensors, "parquet": store.read_table, "arrow": store.read_arrow}
    for ending, read in readers.items():
        with pytest.raises(DdbiasError, match=rf"t\.{ending} is damaged or not a ddbias file .*; give another path"):
            read(tmp_path / f"t.{ending}")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_one_line(files, tmp_path, value):
    split = files[1]
    images = torch.zeros(3, 3, 2, 2)
    images[1, 0, 0, 0] = value
    distilled(tmp_path / "distilled.safetensors", images)
    values = np.ones(8)
    values[3] = value
    weights(tmp_path / "weights.parquet", split, values)
    embedding = np.ones((8, 4), np.float32)
    embedding[2, 1] = value
    surrogate.save_embeddings(tmp_path / "embeddings.arrow", embedding, split, {})
    said = {"distilled.safetensors": "images", "weights.parquet": "weight", "embeddings.arrow": "embedding"}
    for name, what in said.items():
        read = readers_of_jobs(split)[name]
        with pytest.raises(DdbiasError, match=rf"{name} is damaged .*\({what} holds values that are not finite"):
            read(tmp_path / name)


def test_the_parameters_of_another_network_are_one_line(few_digits, tmp_path):
    split, network = few_digits(), {"kind": "convnet", "width": 4, "depth": 1}
    facts = {"accuracy": 0.9, "support": 10}
    good = attribute_model.build(network, split).state_dict()
    path = tmp_path / "attribute_model.safetensors"
    store.write_tensors(path, good, facts)
    assert attribute_model.load(path, network, split).accuracy == 0.9
    nan = {name: tensor * float("nan") if tensor.is_floating_point() else tensor for name, tensor in good.items()}
    for tensors, said in (({"x": torch.ones(1)}, "not those of this network"), (nan, "not finite")):
        store.write_tensors(path, tensors, facts)
        with pytest.raises(DdbiasError, match=said):
            attribute_model.load(path, network, split)


@pytest.mark.parametrize("other", [["label"], ["attribute", "label"]])  # one is gone; they are exchanged
def test_columns_under_other_names_are_reported(tmp_path, other):
    import pyarrow as pa

    path = tmp_path / "s.arrow"
    store.write_arrow(path, {"label": np.arange(4), "attribute": np.ones(4, int)}, {})
    whole = pa.ipc.open_file(str(path)).read_all()
    part = pa.table(dict(zip(other, whole.columns, strict=False))).replace_schema_metadata(whole.schema.metadata)
    with pa.ipc.new_file(str(path), part.schema) as writer:
        writer.write_table(part)
    with pytest.raises(DdbiasError, match=r"as it was written|the checksum it was written with"):
        store.read_arrow(path)


def test_what_was_moved_before_a_failure_is_gone(tmp_path, monkeypatch):
    folder, rename, moved = tmp_path / "empty", Path.rename, []
    folder.mkdir()

    def full(path, target):
        if moved:
            raise OSError(28, "No space left on device")
        moved.append(target)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", full)

    def write():
        with store.new_folder(folder, "the images") as part:
            (part / "a").mkdir()
            (part / "b.txt").write_text("b")

    with pytest.raises(DdbiasError, match="cannot be written"):
        write()
    assert moved
    assert list(folder.iterdir()) == []
