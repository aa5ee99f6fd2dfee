"""Where fast is possible, and what a GPU is asked for. There need be none here: what torch is asked is set by hand."""

import importlib.util
import os
import shutil

import pytest
import torch
from ddbias.base.errors import DdbiasError
from ddbias.learning import device

CUDA = torch.device("cuda")


@pytest.fixture
def gpu(monkeypatch):
    """A machine with a GPU, a C compiler and triton, as far as `device` can see."""

    def set_up(*, bf16=True, triton=True, compiler=True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or bf16
        )
        found = importlib.util.find_spec

        def find_spec(name, package=None):
            return (object() if triton else None) if name == "triton" else found(name, package)

        monkeypatch.setattr(importlib.util, "find_spec", find_spec)
        monkeypatch.setattr(shutil, "which", lambda name: name if compiler and name == "gcc" else None)

    return set_up


@pytest.mark.parametrize(
    ("lacks", "reason"),
    [
        ({}, None),
        ({"bf16": False}, "this GPU has no bfloat16 units"),
        ({"triton": False}, "triton is not installed, with which torch compiles for a GPU"),
        ({"compiler": False}, "there is no C compiler"),
    ],
)
def test_what_fast_needs_on_a_gpu(gpu, monkeypatch, lacks, reason):
    gpu(**lacks)
    assert device.machine_obstacle(CUDA) == reason
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    told = {precision: device.provenance(CUDA, 1, precision)["precision"] for precision in ("exact", "fast")}
    assert told == {"exact": "exact", "fast": "exact" if lacks else "fast"}


@pytest.fixture
def undone(monkeypatch):
    """What `prepare` sets is set back."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    tf32, fill = torch.backends.cudnn.allow_tf32, torch.utils.deterministic.fill_uninitialized_memory
    before = torch.get_float32_matmul_precision(), torch.get_num_threads()
    yield
    torch.set_flush_denormal(False)
    torch.set_float32_matmul_precision(before[0])
    torch.set_num_threads(before[1])
    torch.backends.cudnn.allow_tf32 = tf32
    torch.utils.deterministic.fill_uninitialized_memory = fill
    torch.use_deterministic_algorithms(False)
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


def tf32():
    return torch.get_float32_matmul_precision() != "highest", torch.backends.cudnn.allow_tf32


def test_tf32_only_under_precision_fast(gpu, undone):
    gpu()
    for precision, allowed in (("fast", True), ("exact", False)):
        assert device.prepare("cuda", 1, precision) == CUDA
        assert tf32() == (allowed, allowed)
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.utils.deterministic.fill_uninitialized_memory
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    device.prepare("cuda", 1, "fast")
    device.prepare("cuda", 1)
    assert tf32() == (False, False)


@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_a_cpu_is_asked_for_none_of_it(undone, precision):
    before = tf32()
    assert device.prepare("cpu", 1, precision).type == "cpu"
    assert tf32() == before
    assert not torch.are_deterministic_algorithms_enabled()
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


@pytest.mark.parametrize("name", ["mps", "xpu", "gpu"])
def test_another_device_is_refused_in_one_line(name):
    with pytest.raises(DdbiasError, match=rf"^device: {name}, but nothing .*; set device: auto, cpu or cuda$"):
        device.resolve(name)


@pytest.mark.parametrize(("amx", "dtype"), [(True, "bfloat16"), (False, "float32")])
def test_a_processor_multiplies_bfloat16_only_with_units_for_matrices(monkeypatch, amx, dtype):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(device, "machine_obstacle", lambda where: None)
    told = {name: device.provenance(torch.device("cpu"), 1, name)["multiplied_in"] for name in ("exact", "fast")}
    assert told == {"exact": "float32", "fast": dtype}


def test_another_device_given_in_code_only_computes_exactly():
    told = device.provenance(torch.device("mps"), 1, "fast")
    assert (told["device"], told["device_type"], told["precision"]) == ("mps", "mps", "exact")
