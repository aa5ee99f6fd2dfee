"""Which GPUs a run shares among its jobs, and a whole run on a made-up GPU."""

import json
import os
import re
import sys
import uuid
from pathlib import Path

import pytest
import yaml
from ddbias.base.environment import GPU_SLOTS
from ddbias.data import store
from launcher import LaunchError
from launcher import gpus as gpus_module

ROOT = Path(__file__).resolve().parents[2]
# As nvidia-smi 550 prints it, the second of three GPUs divided in two.
LISTING = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-11111111-aaaa)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-22222222-bbbb)
  MIG 3g.20gb     Device  0: (UUID: MIG-77777777-cccc)
  MIG 3g.20gb     Device  1: (UUID: MIG-88888888-dddd)
GPU 2: NVIDIA A100-SXM4-40GB (UUID: GPU-33333333-eeee)
"""
WHOLE = "".join(line for line in LISTING.splitlines(True) if "MIG" not in line)
FIRST, SECOND, THIRD = re.findall(r"GPU-\d+-\w+", WHOLE)


@pytest.fixture
def gpus(monkeypatch):
    for name in ("DDBIAS_GPUS", "DDBIAS_JOBS_PER_GPU", "DDBIAS_GPU_SLOTS", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)
    return gpus_module


@pytest.fixture
def machine(gpus, monkeypatch, tmp_path):
    """Put an `nvidia-smi` on the path that prints a listing, beside a torch that can use it."""

    def set_up(listing, *, status=0):
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\ncat <<'end'\n{listing}end\nexit {status}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        monkeypatch.setattr(gpus, "_torch_is_for_the_cpu", lambda: False)
        return gpus

    return set_up


def test_the_gpus_of_the_machine_by_uuid(machine):
    assert machine(WHOLE).devices() == [FIRST, SECOND, THIRD]


def test_a_divided_gpu_is_its_parts(machine):
    assert machine(LISTING).devices() == [FIRST, "MIG-77777777-cccc", "MIG-88888888-dddd", THIRD]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("2,0", [THIRD, FIRST]),
        (" 1 , 1", [SECOND]),
        (f"{SECOND},GPU-111", [SECOND, FIRST]),
        (f"1,{SECOND}", [SECOND]),
        ("0,7,1", [FIRST]),  # CUDA, too, stops at the first that is none
        ("0,-1,1", [FIRST]),
        ("GPU-9,0", []),
        ("NoDevFiles", []),
        ("-1", []),
        ("", []),
    ],
)
def test_the_visible_ones_of_them(machine, monkeypatch, visible, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert machine(WHOLE).devices() == expected


def test_the_visible_parts_of_a_divided_gpu(machine, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"MIG-7777,{THIRD},2")
    assert machine(LISTING).devices() == ["MIG-77777777-cccc", THIRD, "MIG-88888888-dddd"]


def test_no_gpu(gpus, machine, monkeypatch):
    assert machine("NVIDIA-SMI has failed because it couldn't communicate with the driver.\n", status=9).devices() == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")  # says nothing about what there is
    assert gpus.devices() == []
    assert gpus.count() == 0


def test_torch_for_the_cpu_shares_no_gpu(machine, monkeypatch, tmp_path):
    gpus = machine(WHOLE)
    monkeypatch.undo()
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").write_text("raise AssertionError('imported')")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    for line, expected in (("cuda: Optional[str] = None", True), ("cuda: Optional[str] = '13.0'", False)):
        (tmp_path / "torch/version.py").write_text(f"__version__ = '2.13.0'\n{line}\nhip: Optional[str] = None\n")
        assert gpus._torch_is_for_the_cpu() is expected


def test_what_jobs_are_told(gpus, monkeypatch):
    monkeypatch.setenv("DDBIAS_GPUS", "GPU-a, GPU-b,GPU-c")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0")
    monkeypatch.setenv("DDBIAS_JOBS_PER_GPU", "2")
    gpus.share(True)
    told = json.loads(os.environ[GPU_SLOTS])
    assert told == {"gpus": ["GPU-c", "GPU-a"], "jobs_per_gpu": 2, "folder": f"/tmp/ddbias-gpus-{os.getuid()}"}
    assert gpus.count() == 4
    gpus.share(False)  # what was told is taken back: a scheduler copies the environment to other machines
    assert GPU_SLOTS not in os.environ
    monkeypatch.setenv("DDBIAS_GPUS", "")
    gpus.share(True)
    assert GPU_SLOTS not in os.environ


@pytest.mark.parametrize("number", ["0", "-1", "two", "1.5"])
def test_jobs_per_gpu_is_a_positive_number(gpus, monkeypatch, number):
    monkeypatch.setenv("DDBIAS_JOBS_PER_GPU", number)
    with pytest.raises(LaunchError, match=f"DDBIAS_JOBS_PER_GPU={number} is not a positive number"):
        gpus.count()


# ---- a whole run ----------------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_a_run_on_made_up_gpus_takes_turns_and_computes_on_the_cpu(checkout):
    """Three distillations and evaluations of `device: auto` share one GPU that torch cannot see."""
    gpu = f"GPU-{uuid.uuid4()}"
    tiny = yaml.safe_load((checkout / checkout.study()).read_text())
    study = checkout.study(
        device="auto",
        surrogates={},
        debias={"uniform": {"kind": "uniform"}},
        distillers={"random": {"kind": "random"}},
        evaluations={"convnet": tiny["evaluations"]["convnet"]},
        grid=[tiny["grid"][1] | {"seeds": [0, 1], "evaluations": ["convnet"]}],
        figures={},
    )
    status, output = checkout.run(study, "evaluations", DDBIAS_GPUS=gpu)
    for slot in Path(f"/tmp/ddbias-gpus-{os.getuid()}").glob(f"{gpu}.*"):
        slot.unlink()
    assert status == 0, output
    assert "with 2 cores, at most 1 GPU jobs at once" in output
    for log in (checkout / "results/tiny/quick/logs").rglob("*.log"):
        asks = {"distill", "evaluate"} & set(log.parts)
        assert "waiting" not in log.read_text(), "Snakemake started more jobs than the launcher counted"
        assert re.findall(r"computing on the GPU (\S+)", log.read_text()) == [gpu] * len(asks), log
    evaluations = list((checkout / "results/tiny/quick/evaluations").rglob("*.parquet"))
    assert [store.read_table(path)[1]["provenance"]["device"] for path in evaluations] == ["cpu"] * 2
