import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ddbias.base.errors import DdbiasError
from ddbias.data import store
from ddbias.data.distilled import load_distilled
from ddbias.data.soft_labels import SoftLabels
from ddbias.data.split import save_split
from ddbias.data.training_set import training_set, training_soft_labels
from ddbias.distill import write
from ddbias.distill.engine import Distilled
from ddbias.distill.write import Run, save
from PIL import Image

CELL = {"study": "digits", "scale": "quick", "dataset": "digits_fg", "ratio": "0.95", "distiller": "dm"}
CELL |= {"debias": "kde", "ipc": "2", "seed": "3"}
NAMES = {
    "distilled": "distilled.safetensors",
    "history": "history.parquet",
    "preview": "preview.png",
    "run": "run.json",
}


def learnt(split, **options):
    images = torch.randn(6, *split.shape, generator=torch.Generator().manual_seed(0))
    return Distilled(torch.arange(3).repeat_interleave(2), images, None, {"loss": [3.0, 2.0, 1.5]}, **options)


def selected(split, rows, images=True):
    rows = torch.tensor(rows)
    pixels = split.normalize(torch.from_numpy(split.images[rows.numpy()])) if images else None
    return Distilled(torch.from_numpy(split.labels[rows.numpy()]), pixels, rows, {})


def written(folder, result, split):
    outputs = SimpleNamespace(**{key: str(folder / name) for key, name in NAMES.items()})
    save(
        result,
        split,
        cell=CELL,
        settings={"distiller": {"kind": "dm"}, "debias": {"kind": "kde"}, "network": None},
        provenance={"device": "cpu", "device_type": "AVX2", "torch": "x"},
        outputs=outputs,
        run=Run(),
    )
    return outputs


def test_learnt_images_come_back(tmp_path, split):
    result = learnt(split)
    outputs = written(tmp_path, result, split)
    images, labels = training_set(outputs.distilled, None)
    assert torch.equal(images, result.images)
    assert torch.equal(labels, result.labels)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(NAMES.values())


def test_export_reads_what_was_saved(tmp_path, split):
    result = learnt(split)
    written(tmp_path, result, split)
    loaded = load_distilled(tmp_path)
    assert torch.equal(loaded.images, result.images)
    assert torch.equal(loaded.labels, result.labels)
    assert loaded.meta["label_names"] == split.meta["label_names"] == ["0", "1", "2"]
    assert (loaded.meta["mean"], loaded.meta["std"]) == (split.meta["mean"], split.meta["std"])
    expected = {**CELL, "seed": 3, "kind": "distilled", "classes": 3, "shape": [3, 8, 8]}
    assert {key: loaded.meta[key] for key in expected} == expected
    real = np.random.default_rng(0).permutation(len(split))[:6].tolist()
    written(tmp_path / "real", selected(split, real), split)
    np.testing.assert_array_equal(load_distilled(tmp_path / "real").pixels(), split.images[real])


def test_several_images_in_each_come_back_decoded(tmp_path, split):
    result = learnt(split, formation=2)
    outputs = written(tmp_path, result, split)
    tensors, meta = store.read_tensors(outputs.distilled)
    assert torch.equal(tensors["images"], result.images)
    assert meta["formation"] == 2
    images, labels = training_set(outputs.distilled, None)
    assert labels.tolist() == [0] * 8 + [1] * 8 + [2] * 8
    expected = torch.nn.functional.interpolate(result.images[:, :, 4:, :4], size=(8, 8), mode="bilinear")
    torch.testing.assert_close(images[2::4], expected, rtol=1e-6, atol=1e-6)  # the tile at the bottom left
    exported = load_distilled(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(exported.tensors(), (images, labels), strict=True))
    # The preview shows what networks train on: eight images a class.
    cell = 48 + 6
    sheet = np.asarray(Image.open(outputs.preview))
    assert sheet.shape == (3 * cell + 6, 8 * cell + 6, 3)
    tile = sheet[6:54:6, 2 * cell + 6 : 2 * cell + 54 : 6].transpose(2, 0, 1)
    np.testing.assert_array_equal(tile, exported.pixels()[2])


def test_one_image_in_each_is_not_mentioned(tmp_path, split):
    _, meta = store.read_tensors(written(tmp_path, learnt(split), split).distilled)
    assert "formation" not in meta


def test_rows_come_back_as_raw_images_of_the_training_split(tmp_path, split):
    save_split(tmp_path / "train.arrow", split)
    outputs = written(tmp_path / "whole", selected(split, list(range(60)), images=False), split)
    images, labels = training_set(outputs.distilled, tmp_path / "train.arrow")
    assert images.dtype == torch.uint8
    np.testing.assert_array_equal(images, split.images)
    np.testing.assert_array_equal(labels, split.labels)
    images[0] = 0  # a copy, not the file's pages
    with pytest.raises(DdbiasError, match="holds only indices of training samples"):
        load_distilled(tmp_path / "whole")


@pytest.mark.parametrize("known", [True, False])
def test_chosen_images_say_which_samples_they_are(tmp_path, few_digits, known):
    split = few_digits(known=known)
    rows = [5, 1, 30, 22, 59, 40]
    tensors, meta = store.read_tensors(written(tmp_path, selected(split, rows), split).distilled)
    assert tensors["rows"].tolist() == rows
    assert tensors["index"].tolist() == split.index[rows].tolist()
    assert ("attributes" in tensors) == known
    if known:
        assert tensors["attributes"].tolist() == split.attributes[rows].tolist()
    assert meta["attribute_names"] == split.meta["attribute_names"]


def test_equal_sets_have_equal_bytes(tmp_path, split):
    for name in ("a", "b"):
        written(tmp_path / name, learnt(split), split)
    for key in ("distilled", "history", "preview"):
        assert (tmp_path / "a" / NAMES[key]).read_bytes() == (tmp_path / "b" / NAMES[key]).read_bytes()


def test_history_has_a_row_a_step_and_no_times(tmp_path, split):
    table, meta = store.read_table(written(tmp_path, learnt(split), split).history)
    assert table.to_pydict() == {"step": [1, 2, 3], "loss": [3.0, 2.0, 1.5]}
    assert not {"seconds", "date", "host", "commit", "dirty"} & set(json.dumps(meta).replace('"', " ").split())
    empty, _ = store.read_table(written(tmp_path, selected(split, [0, 20, 40]), split).history)
    assert empty.to_pydict() == {"step": []}
    assert empty.schema.field("step").type == table.schema.field("step").type


def test_run_holds_what_differs_between_runs(tmp_path, split, monkeypatch):
    monkeypatch.setenv("DDBIAS_COMMIT", "0123456789ab+")
    outputs = written(tmp_path, learnt(split), split)
    facts = store.read_json(outputs.run)
    assert set(facts) == {
        *("seconds", "processor_seconds", "peak_memory_mb", "host", "date", "commit", "device", "command"),
        "distillation",
    }
    assert facts["processor_seconds"] >= 0
    assert (facts["commit"], facts["device"]) == ("0123456789ab+", "cpu AVX2")
    assert 0 <= facts["seconds"] < 60
    assert 10 < facts["peak_memory_mb"] < 1e5
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", facts["date"])
    assert facts["command"].endswith(f" -- {outputs.distilled}")


def test_the_preview_shows_at_most_ten_images_a_class(tmp_path, split):
    write.save_preview(tmp_path / "p.png", selected(split, list(range(60)), images=False), split)
    sheet = np.asarray(Image.open(tmp_path / "p.png"))
    cell = 48 + 6  # 8 pixels enlarged six times, and a border
    assert sheet.shape == (3 * cell + 6, 10 * cell + 6, 3)
    for label, column in ((0, 0), (1, 3), (2, 9)):
        y, x = label * cell + 6, column * cell + 6
        tile = sheet[y : y + 48 : 6, x : x + 48 : 6].transpose(2, 0, 1)
        np.testing.assert_array_equal(tile, split.images[20 * label + column])
    written(tmp_path, learnt(split), split)
    assert np.asarray(Image.open(tmp_path / "preview.png")).shape == (3 * cell + 6, 2 * cell + 6, 3)


def test_the_command_names_study_and_settings(monkeypatch):
    monkeypatch.delenv("DDBIAS_GIVEN", raising=False)  # as in a module of another workflow, whose profile is not known
    assert write.command("a/b") == "snakemake --cores 1 --force -- a/b"
    monkeypatch.setenv("DDBIAS_GIVEN", "")
    plain = "snakemake --cores 1 --workflow-profile workflow/profiles/workstation --force -- a/b"
    assert write.command("a/b") == plain
    monkeypatch.setenv("DDBIAS_GIVEN", "--configfile 'my study.yaml' --config scale=fast")
    assert " --configfile 'my study.yaml' --config scale=fast --force -- a/b" in write.command("a/b")


def test_soft_labels_are_written_with_their_temperature(tmp_path, split):
    soft = SoftLabels(torch.full((6, 3), 1 / 3), 20)
    outputs = written(tmp_path, learnt(split, soft_labels=soft), split)
    found = training_soft_labels(outputs.distilled)
    assert torch.equal(found.probabilities, soft.probabilities)
    assert found.temperature == 20
