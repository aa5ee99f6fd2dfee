"""The public names: their examples, what they load, and the package that they are installed from."""

import doctest
import importlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import ddbias
import numpy as np
import pytest
import torch
from ddbias import calls
from ddbias.data import store
from ddbias.data.split import save_split
from ddbias.datasets.synthesis import synthesize_dataset

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(ddbias.__all__)
# Refuses to import all but some packages outside the standard library.
ONLY = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {refused}:
            raise ImportError(name + " is not installed")

sys.meta_path.insert(0, Refuse())
"""
OPTIONAL = {"pandas", "snakemake", "torchvision", "seaborn", "matplotlib", "sklearn", "scipy", "tqdm", "jinja2"}
OPTIONAL |= {"PIL", "cv2", "jsonschema", "yaml"}


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A folder in which the files lie that examples open."""
    monkeypatch.chdir(tmp_path)
    train, _ = synthesize_dataset(
        source={"kind": "digits"},
        bias={"kind": "foreground", "severity": 4},
        ratio=0.95,
        test="balanced",
        size=16,
        seed=0,
        data={},
    )
    save_split("results/digits/quick/data/digits_fg/0.95/train.arrow", train)
    folder = Path("results/digits/quick/distilled/digits_fg/0.95/random/uniform/ipc10/seed0")
    tensors = {"images": torch.zeros(100, 3, 16, 16), "labels": torch.arange(10).repeat_interleave(10)}
    meta = {"kind": "distilled", "mean": [0.5] * 3, "std": [0.5] * 3, "label_names": [str(i) for i in range(10)]}
    store.write_tensors(folder / "distilled.safetensors", tensors, meta)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("DistilledSet", "Split")])
def test_examples_run(results, name):
    found = calls.distill if name == "distill" else getattr(ddbias, name)
    tests = doctest.DocTestFinder(recurse=False).find(found, name, globs={})
    assert sum(len(test.examples) for test in tests) >= 2
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in tests:
        assert runner.run(test).failed == 0


def test_every_example_of_the_library_runs(results, monkeypatch):
    monkeypatch.chdir(ROOT)
    from ddbias.planning import load

    assert doctest.testmod(load).failed == 0


def test_names_are_told_and_others_refused():
    assert set(NAMES) <= set(dir(ddbias))
    with pytest.raises(AttributeError, match="no attribute 'load_distiled'; public are DSA"):
        ddbias.load_distiled  # noqa: B018


def run(code, folder, refused=(), path=ROOT / "workflow/scripts"):
    """Run code in a process that cannot import some packages."""
    code = (ONLY.format(refused=set(refused)) if refused else "") + code
    variables = {"PYTHONPATH": str(path), "PATH": os.environ["PATH"]}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_loads_nothing_large(tmp_path):
    code = "import sys, ddbias; print({'torch', 'pandas', 'numpy', 'pyarrow'} & set(sys.modules))"
    assert run(code, tmp_path) == "set()\n"


def test_formulas_without_torch(tmp_path):
    code = """
import numpy as np
from ddbias import assign_attributes, density_weights, group_metrics
print(assign_attributes([0, 0, 1, 1], 0.5, 2), density_weights(np.zeros(2), [0, 0]))
print(group_metrics(np.ones((2, 2, 2), int))["accuracy"])
"""
    assert run(code, tmp_path, {"torch", *OPTIONAL}) == "[0 1 0 1] [1. 1.]\n0.5\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this checkout, built without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    call = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, ROOT]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = folder.glob("ddbias-*.whl")
    return found


@pytest.mark.thorough
def test_a_wheel_from_an_empty_folder(wheel, results, tmp_path, monkeypatch):
    """Loading a distilled set and training on it needs torch, numpy, pyarrow and safetensors only."""
    assert wheel.name == f"ddbias-{ddbias.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as file:
        file.extractall(tmp_path / "installed")
    code = f"""
import ddbias, torch
assert ddbias.__file__.startswith({str(tmp_path / "installed")!r})
from ddbias import {", ".join(NAMES)}
chosen = load_distilled("results/digits/quick/distilled/digits_fg/0.95/random/uniform/ipc10/seed0")
network = build_network("convnet", channels=3, size=16, classes=10, seed=0, width=8, depth=2)
for images, labels in chosen.dataloader(batch_size=50):
    torch.nn.functional.cross_entropy(network(images), labels).backward()
print(len(chosen), len(load_split("results/digits/quick/data/digits_fg/0.95/train.arrow")))
"""
    assert run(code, Path.cwd(), OPTIONAL, tmp_path / "installed") == "100 1200\n"
    code = """
from ddbias import load_distilled
try:
    load_distilled("results/digits/quick/distilled/digits_fg/0.95/random/uniform/ipc10/seed0").to_image_folder("pngs")
except Exception as error:
    print(error)
"""
    said = run(code, Path.cwd(), OPTIONAL, tmp_path / "installed")
    assert said == "PNG files are written with Pillow, which is not installed; pip install pillow\n"
    code = "from ddbias.planning.config import load_schema; from ddbias.planning.costs.work import cost\n"
    code += "from ddbias.evaluation.records import schema; print(bool(cost), bool(load_schema()), bool(schema()))"
    assert run(code, tmp_path, path=tmp_path / "installed") == "True True True\n"
    shutil.rmtree(tmp_path / "installed")


def test_what_the_package_needs_is_told_apart():
    """The runtime requirements of the lock are those of the package and of its extra `workflow`."""
    import re
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["dependencies"] == ["torch", "numpy", "pyarrow", "safetensors"]
    extra = project["optional-dependencies"]["workflow"]
    told = {re.split("[=<>]", name)[0].lower() for name in [*project["dependencies"], *extra]}
    lines = "\n".join((ROOT / "envs" / name).read_text() for name in ("requirements.in", "requirements-torch.lock"))
    assert told == {
        re.split("[=<>]", line)[0].lower() for line in lines.splitlines() if line and not line.startswith("#")
    }


def test_names_work_on_arrays_and_lists():
    assert ddbias.assign_attributes([0, 1], 1.0, 2).tolist() == [0, 1]
    assert importlib.import_module("ddbias").density_weights(np.zeros(3), [0, 0, 0]).tolist() == [1, 1, 1]
