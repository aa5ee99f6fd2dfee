"""Calls on arrays give the bits of the scripts of the rules, which read and write files."""

import base64
import io
import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import ddbias
import distill
import estimate_weights
import numpy as np
import pretrain_models
import pytest
import torch
import train_surrogate
from ddbias.base.errors import DdbiasError
from ddbias.data import store
from ddbias.data.split import save_split
from ddbias.planning.load import load
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
SEED = 3
CELL = {"study": "files", "scale": "paper", "dataset": "digits", "ratio": "0.8", "seed": str(SEED), "ipc": "2"}
CELL |= {"distiller": "called", "debias": "called", "surrogate": "surrogate"}
NETWORK = {"kind": "convnet", "width": 4, "depth": 2}
SURROGATE = {"kind": "supcon", "steps": 6, "batch_size": 16}
DM = {"iterations": 4, "real_batch": 12, "init": "weighted_real", "augment": "crop_scale"}
EXPERTS = {"count": 2, "epochs": 3, "batch_size": 16, "augment": "crop"}
MTT = {"iterations": 3, "syn_steps": 2, "expert_epochs": 1, "max_start": 2, "init": "real", "augment": "crop"}
GUIDED = {**DM, "guidance": {"kind": "clom", "real_batch": 12}}


def study(debias, distillers, models):
    """A study file with the settings that the calls get, completed as one."""
    entry = {"dataset": "digits", "ratios": [0.8], "ipc": [2], "seeds": [SEED], "evaluations": ["plain"]}
    return load(
        {
            "study": "files",
            "scale": "paper",
            "datasets": {"digits": {"source": "digits", "bias": "foreground"}},
            "networks": {"network": NETWORK},
            "surrogates": {"surrogate": {**SURROGATE, "network": "network"}},
            "models": models,
            "debias": debias,
            "distillers": distillers,
            "evaluations": {"plain": {"network": "network"}},
            "grid": [{**entry, "debias": list(debias), "distillers": list(distillers)}],
        }
    ).config


@pytest.fixture
def files(snakemake, tmp_path):
    """What the scripts of the rules write for one cell with the settings of a study."""

    def run(script, input, output, **params):
        params = {"threads": 1, "precision": "exact", "device": "cpu", "state": None, **params}
        script.main(snakemake(script.__name__, input=input, output=output, params=params, wildcards=CELL))
        return next(iter(output.values()))

    def make(split, config, distiller, debias):
        train, network = str(tmp_path / "train.arrow"), config["networks"]["network"]
        save_split(train, split)
        settings, weights, pools = config["debias"][debias], [], []
        if settings.get("surrogate"):
            output = {name: tmp_path / name for name in ("embeddings", "model", "history")}
            how = {"settings": config["surrogates"]["surrogate"], "network": network, "seed": SEED}
            embeddings = str(run(train_surrogate, {"train": train}, output, **how))
            read, output = {"train": train, "embeddings": embeddings}, {"weights": tmp_path / "weights"}
            weights = str(run(estimate_weights, read, output, settings=settings, seed=SEED))
        for name, pool in config["models"].items():
            for member in range(pool["count"]):
                output = {"member": tmp_path / name / debias / f"member{member}.safetensors"}
                how = {"settings": pool, "network": network, "debias": settings, "member": member}
                pools.append(str(run(pretrain_models, {"train": train, "weights": weights}, output, **how)))
        names = ("distilled.safetensors", "history.parquet", "preview.png", "run.json")
        output = {name.split(".")[0]: tmp_path / "files" / name for name in names}
        settings = {"settings": config["distillers"][distiller], "debias": settings}
        settings["network"] = network if "network" in settings["settings"] else None
        read = {"train": train, "weights": weights, "models": pools}
        run(distill, read, output, **settings, ipc=2, seed=SEED, precision="exact")
        return SimpleNamespace(**output, weights=weights)

    return make


@pytest.mark.parametrize(
    ("method", "options", "debias", "settings"),
    [
        ("dm", DM, "kde", {"variance": 0.1}),
        ("dm", DM, "fairdd", {"groups": "clusters", "clusters": 2, "known": 0.3}),
        ("random", {}, "group_balanced", {"groups": "attribute"}),
        ("mtt", MTT, "kde", {"variance": 0.1}),
        ("rded", {"candidates": 9, "soft_labels": True}, "kde", {"variance": 0.1}),
        ("dm", GUIDED, "kde", {"variance": 0.1}),
    ],
)
def test_a_call_gives_the_bits_of_the_files(few_digits, files, tmp_path, method, options, debias, settings):
    split, models = few_digits(), {}
    grouped = settings.get("groups") == "attribute"
    named = {"kind": debias, **settings, **({} if grouped else {"surrogate": "surrogate"})}
    distiller = {"kind": method, **options}
    if method == "dm":
        distiller["network"] = "network"
    if method in ("mtt", "rded") or "guidance" in options:
        models = {"models": {"kind": "experts" if method == "mtt" else "classifiers", "network": "network", **EXPERTS}}
        distiller |= {"models": "models"} if method != "dm" else {}
        distiller |= {"guidance": {**options["guidance"], "models": ["models"]}} if method == "dm" else {}
        models["models"]["seed"] = SEED  # the pool gets the weights of its own seed
    written = files(split, study({debias: named}, {method: distiller}, models), method, debias)

    normalise = split.meta["mean"], split.meta["std"]
    same = {"network": NETWORK, "attributes": split.attributes, "pairing": "identity", "normalise": normalise}
    same |= {"seed": SEED, "device": "cpu"}
    weights = ddbias.estimate_weights(
        split.images.transpose(0, 2, 3, 1),  # (N, H, W, C)
        torch.from_numpy(split.labels),
        debias,
        surrogate=None if grouped else SURROGATE,
        progress=False,
        **same,
        **settings,
    )
    if not grouped:
        table, meta = store.read_table(written.weights)
        assert np.asarray(weights).tobytes() == table["weight"].to_numpy().tobytes()
        for name, value in weights.diagnostics.items():
            np.testing.assert_equal(meta[name], value)
        if weights.groups is not None:
            assert weights.groups.tolist() == table["group"].to_pylist()
    made = ddbias.distill(
        torch.from_numpy(np.array(split.images)),
        split.labels,
        ipc=2,
        method=method,
        weights=weights,
        models={**EXPERTS, "seed": SEED} if models else None,
        label_names=split.meta["label_names"],
        progress=False,
        **same,
        **options,
    )
    made.save(tmp_path / "called")
    called, meta = store.read_tensors(tmp_path / "called/distilled.safetensors")
    theirs, their_meta = store.read_tensors(written.distilled)
    assert {k: v.numpy().tobytes() for k, v in called.items() if k not in ("index",)} == {
        k: v.numpy().tobytes()
        for k, v in theirs.items()
        if k != "index"  # the arrays have no positions in a source
    }
    assert torch.equal(made.images, theirs["images"])
    assert (tmp_path / "called/preview.png").read_bytes() == written.preview.read_bytes()
    for name, values in store.read_table(written.history)[0].to_pydict().items():
        if name != "step":
            np.testing.assert_array_equal(made.history[name], values)
    assert meta["settings"] == their_meta["settings"]
    assert meta["provenance"] == their_meta["provenance"]
    assert meta["distillation"] == their_meta["distillation"]
    assert torch.equal(ddbias.load_distilled(tmp_path / "called").tensors()[0], made.tensors()[0])
    with pytest.raises(DdbiasError, match="is not empty; choose a new folder"):
        made.save(tmp_path / "called")


@pytest.mark.slow
def test_the_example_of_the_page_runs(tmp_path):
    """With the arrays of examples/python_call.py, which is run as it is; the page's own lines do less work here."""
    page = (ROOT / "docs/python.md").read_text()
    assert "`.venv/bin/python examples/python_call.py my_set`" in page
    run = {"cwd": tmp_path, "capture_output": True, "text": True}
    script = [sys.executable, ROOT / "examples/python_call.py", "my_set"]
    done = subprocess.run(script, **run, env={**os.environ, "PYTHONPATH": str(ROOT / "workflow/scripts")})
    assert done.returncode == 0, done.stderr
    rare, given, count = map(int, re.findall(r"(\d+)%? (?:of|images)", done.stdout))
    assert (rare, count) == (5, 50)
    assert given > 15
    made = ddbias.load_distilled(tmp_path / "my_set")
    assert made.images.shape == (50, 3, 8, 8)


@pytest.mark.slow
def test_the_notebook_runs_and_is_the_script(tmp_path, monkeypatch, capsys):
    notebook = json.loads((ROOT / "examples/python_call.ipynb").read_text())
    assert (notebook["nbformat"], notebook["metadata"]["language_info"]["name"]) == (4, "python")
    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    script = (ROOT / "examples/python_call.py").read_text()
    assert all(cell in script for cell in code[:-1])
    monkeypatch.setattr(ddbias, "distill", partial(ddbias.distill, progress=False))
    exec("\n".join(code), names := {})
    assert len(names["axes"].flat) == len(names["made"]) == 50
    shown = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    kept, printed = "".join(shown[0]["text"]), capsys.readouterr().out
    words, number = re.split(r"\d+", kept), r"(\d+)"
    (again,) = re.findall(number.join(map(re.escape, words)), printed)
    # Bits are equal on one type of processor only, and the notebook was run on another one.
    assert list(map(int, again)) == pytest.approx(list(map(int, re.findall(number, kept))), abs=2)
    drawn = Image.open(io.BytesIO(base64.b64decode(shown[-1]["data"]["image/png"])))
    assert len(drawn.getcolors(2**20)) > 100, "the pictures are in colour"


@pytest.mark.thorough
def test_the_lines_of_the_page_run(few_digits, tmp_path, monkeypatch):
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(), re.DOTALL)[1]
    split = few_digits(per_class=30)
    small = {"network": NETWORK, "progress": False}
    for name, less in (("estimate_weights", {"surrogate": SURROGATE}), ("distill", {"iterations": 2})):
        monkeypatch.setattr(ddbias, name, partial(getattr(ddbias, name), **less, **small))
    monkeypatch.chdir(tmp_path)
    exec(code, names := {"images": split.images, "labels": split.labels})
    assert names["x"].shape == (30, 3, 8, 8)
    assert (tmp_path / "my_set/preview.png").is_file()
