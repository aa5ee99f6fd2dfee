"""`benchmarks/gpu.py`, on the CPU and on the emulated accelerator, with little work."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ddbias.distill import distribution_matching
from ddbias.learning import device

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"
REFUSED = {
    "torchvision",
    "scipy",
    "pandas",
    "seaborn",
    "matplotlib",
    "sklearn",
    "tqdm",
    "jinja2",
    "pygments",
    "PIL",
    "cv2",
}
REFUSED |= {"jsonschema", "yaml", "snakemake"}
REFUSING = f"""
import runpy, sys
class Refuse:
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] in {REFUSED!r}:
            raise ImportError(name)
sys.meta_path.insert(0, Refuse)
runpy.run_path({str(SCRIPT)!r})
"""


@pytest.fixture
def gpu(monkeypatch):
    """The benchmark as a module; nothing is compiled."""
    spec = importlib.util.spec_from_file_location("gpu_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(device, "machine_obstacle", lambda where: "nothing is compiled in this test")
    return module


def small(folder):
    return ["--device", "cpu", "--width", "8", "--images", "120", "--steps", "1", "--to", str(folder)]


def test_a_part_that_fails_leaves_the_others(gpu, monkeypatch, tmp_path):
    def one(*_, **__):
        yield {"what": "this"}

    def broken(*_, **__):
        yield {"what": "first", "seconds": 1.0}
        raise RuntimeError("CUDA error: unspecified launch failure\nmore")

    for name, part in (("correctness", one), ("speed", broken), ("convergence", one), ("at_once", one)):
        monkeypatch.setattr(gpu, name, part)
    assert gpu.main(small(tmp_path)) == 1
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert [row["what"] for row in parts["Speed"]] == ["first", "the rest of this part"]
    assert parts["Speed"][1]["not run"] == "RuntimeError: CUDA error: unspecified launch failure"
    assert parts["At once"] == [{"what": "this"}]


def test_the_glyphs_are_biased_images_of_ten_classes(gpu):
    split = gpu.drawn(2000, 0.95, 0)
    assert np.bincount(split.labels).tolist() == [200] * 10
    assert (split.attributes != split.labels).mean() == pytest.approx(0.05, abs=0.01)
    assert np.array_equal(gpu.drawn(2000, 0.95, 0).images, split.images)
    shapes = (split.images.max(1) > 0).reshape(2000, -1)
    means = np.stack([shapes[split.labels == label][:100].mean(0) for label in range(10)])
    rest = np.concatenate([np.flatnonzero(split.labels == label)[100:] for label in range(10)])
    nearest = ((shapes[rest, None] - means) ** 2).sum(2).argmin(1)
    assert (nearest == split.labels[rest]).mean() > 0.5  # by chance .1: the shape tells the class
    lit = shapes.sum(1)
    assert lit.min() > 10


@pytest.mark.thorough
def test_it_writes_what_it_measured(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "PATHS", gpu.PATHS[:1])
    monkeypatch.setattr(gpu, "PROCESSES", (1,))
    assert gpu.main([*small(tmp_path), "--budget", "300"]) == 0
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert [row["difference"] for row in found["parts"]["Correct"]] == [0.0, 0.0]
    assert {row["what"] for row in found["parts"]["Speed"]} >= {"dm, plain loop", "dm, exact", "dsa, fast"}
    assert all(row["steps a second"] > 0 for row in found["parts"]["Speed"])
    assert all(0 <= row["accuracy"] <= 1 for row in found["parts"]["Convergence"])
    assert [row["what"] for row in found["parts"]["At once"]] == ["1 processes"]
    page = (tmp_path / "gpu.md").read_text()
    assert all(f"## {part}" in page for part in found["parts"])
    assert f"| dm, uniform, exact | 0 | {gpu.EXACT:.3g} | True |" in page


def test_what_the_budget_does_not_allow_is_listed(gpu, tmp_path):
    assert gpu.main([*small(tmp_path), "--budget", "0"]) == 0
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert {row.get("not run") for rows in parts.values() for row in rows} == {"budget"}


def test_a_wrong_result_is_told(gpu, tmp_path, monkeypatch):
    right = gpu.engine.run

    def wrong(split, *, precision, **how):
        made = right(split, precision=precision, **how)
        if precision == "fast":
            made.images.neg_()
        return made

    monkeypatch.setattr(gpu.engine, "run", wrong)
    monkeypatch.setattr(gpu, "PATHS", gpu.PATHS[:1])
    for part in ("speed", "convergence", "at_once"):
        monkeypatch.setattr(gpu, part, lambda *_, **__: iter(()))
    assert gpu.main([*small(tmp_path), "--budget", "300"]) == 1
    exact, fast = json.loads((tmp_path / "gpu.json").read_text())["parts"]["Correct"]
    assert (exact["ok"], fast["ok"]) == (True, False)


@pytest.mark.usefixtures("unprobed")
def test_an_accelerator_gives_what_the_cpu_does(gpu, emulated, monkeypatch):
    monkeypatch.setattr(gpu, "PATHS", [path for path in gpu.PATHS if path[:2] in (("dm", "groups"), ("dc", "uniform"))])
    monkeypatch.setattr(distribution_matching.Distiller, "probe_loss", None)
    rows = list(gpu.correctness(emulated, 4, lambda: 1.0))
    assert len(rows) == 4
    assert all(row["ok"] for row in rows), rows


def test_it_needs_nothing_of_the_workflow():
    subprocess.run([sys.executable, "-c", REFUSING], check=True, capture_output=True, timeout=120)
