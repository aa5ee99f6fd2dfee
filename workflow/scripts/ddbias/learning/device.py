"""Device, threads and precision of a job."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import sysconfig
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F

from ddbias import __version__
from ddbias.base.errors import DdbiasError
from ddbias.base.versions import versions


def resolve(name: str) -> torch.device:
    """Turn ``auto``, ``cpu`` or ``cuda`` into a device; others, and ``cuda`` without a GPU, raise `DdbiasError`."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise DdbiasError("device: cuda, but torch sees no GPU here; set device: auto or cpu")
    if name not in KINDS:
        raise DdbiasError(f"device: {name}, but nothing was ever run on one; set device: auto, cpu or cuda")
    return torch.device(name)


def prepare(name: str, threads: int, precision: str = "exact") -> torch.device:
    """Fix the number of CPU threads, on a GPU ask for deterministic algorithms and set TF32, and return the device.

    The thread count comes from the config, never from ``--cores``: it changes the last bits of CPU results.

    Parameters
    ----------
    name : {"auto", "cpu", "cuda"}
    threads : int
    precision : {"exact", "fast"}
        Only ``fast`` lets a GPU multiply float32 as TF32.
    """
    keep_freed_memory()
    torch.set_num_threads(threads)
    # Sub-normal numbers appear in late training and cost a hundred times an ordinary one.
    torch.set_flush_denormal(True)
    device = resolve(name)
    kind(device).set_up(precision)
    return device


def allow_tf32(allowed: bool) -> None:
    """Let a GPU round the factors of float32 products to 10 bits (TF32), or not; torch itself does in convolutions."""
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed


def keep_freed_memory() -> None:
    """Ask the C library to keep freed memory for the next tensor instead of returning it to the system.

    glibc maps every block above 32 MiB anew, and touching its pages for the first time then took nearly half of a step
    on 100 images with the published network (0.35 s with, 0.19 s without, one thread). Other C libraries: nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
        mallopt(mmap_threshold, 2**30)
        mallopt(trim_threshold, 2**31 - 1)


def fast_dtype(device: torch.device) -> torch.dtype:
    """Return what ``precision: fast`` multiplies in on a device: bfloat16 if that is faster there than float32.

    Of processors it is on those with matrix units (AMX: 416 and 185 GFLOP/s were measured, on two cores); without them
    bfloat16, where a processor has it at all, took twice as long as float32 (156 and 310).
    """
    return kind(device).fast_dtype()


def machine_obstacle(device: torch.device) -> str | None:
    """Return why ``precision: fast`` is not possible on this machine, or None if it is."""
    return kind(device).obstacle()


def _cpu_obstacle() -> str | None:
    if not any(shutil.which(name) for name in ("g++", "clang++", "c++")):
        return "there is no C++ compiler"
    if " " in torch.__file__:  # torch 2.13 passes its folder to the linker unquoted
        return "torch lies in a folder with a space in its name, where it cannot compile"
    return None


def _gpu_obstacle() -> str | None:
    # Emulated bfloat16, of GPUs before Ampere, is slower than float32.
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        return "this GPU has no bfloat16 units"
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed, with which torch compiles for a GPU"
    if not any(shutil.which(name) for name in ("cc", "gcc", "clang")):  # triton compiles what starts a kernel
        return "there is no C compiler"
    if not Path(sysconfig.get_paths()["include"], "Python.h").is_file():
        return "the headers of Python, which triton compiles against, are not installed (python3-dev)"
    return None


def _set_up_gpu(precision: str) -> None:
    # Not on the CPU, whose algorithms are deterministic anyway: the call loads torch's compiler, a second a job.
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # nobody reads it; filling writes everything twice
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read at the first product of matrices
    allow_tf32(precision == "fast")


class Kind(NamedTuple):
    """What a kind of device can do; by default nothing but compute exactly."""

    micro_batches: bool = False  # computes as many images at a time as a core's cache holds, in a worker for each core
    captures: bool = False  # fast, it computes all classes in one batch, as captured graphs
    pins: bool = False  # copies from page-locked memory while the host goes on
    obstacle: Callable[[], str | None] = lambda: "nothing was ever run on such a device"
    fast_dtype: Callable[[], torch.dtype] = lambda: torch.bfloat16
    model: Callable[[torch.device], str] = str
    set_up: Callable[[str], None] = lambda precision: None


KINDS = {
    "cpu": Kind(
        micro_batches=True,
        obstacle=_cpu_obstacle,
        fast_dtype=lambda: torch.bfloat16 if torch.cpu._is_amx_tile_supported() else torch.float32,
        model=lambda device: torch.backends.cpu.get_cpu_capability(),
    ),
    "cuda": Kind(
        captures=True,
        pins=True,
        obstacle=_gpu_obstacle,
        model=lambda device: torch.cuda.get_device_name(device),
        set_up=_set_up_gpu,
    ),
}


def kind(device: torch.device) -> Kind:
    """Return what a device can do."""
    return KINDS.get(device.type, Kind())


def transfer(tensors: Iterable[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
    """Return CPU tensors on a device, copied in one piece: for each copy the host waits for all that the device does.

    Examples
    --------
    >>> import torch
    >>> rows, shares = transfer([torch.tensor([3, 1]), torch.tensor([0.5])], torch.device("cpu"))
    >>> shares
    tensor([0.5000])
    """
    tensors = list(tensors)
    if device.type == "cpu" or not tensors:
        return tensors
    # Each begins at a multiple of what any kernel reads at once.
    parts = [F.pad(one, (0, -len(one) % 64)) for one in (t.contiguous().flatten().view(torch.uint8) for t in tensors)]
    whole = torch.cat(parts)
    whole = whole.pin_memory().to(device, non_blocking=True) if kind(device).pins else whole.to(device)
    return [
        part[: t.numel() * t.element_size()].view(t.dtype).view(t.shape)
        for t, part in zip(tensors, whole.split([len(part) for part in parts]), strict=True)
    ]


def provenance(device: torch.device, threads: int, precision: str, *, compiles: bool = True) -> dict:
    """Return what the last bits of a result depend on: versions, device type, instruction set, threads, precision.

    The precision is the one that this machine computes with, not the one asked for. `compiles` says whether the work
    has a compiled way; what has none differs under ``fast`` by TF32 only, which `prepare` allows on a GPU.
    """
    compiled = compiles and precision == "fast" and not machine_obstacle(device)
    multiplied_in = str(fast_dtype(device) if compiled else torch.float32).removeprefix("torch.")
    if kind(device).captures and not compiled and torch.get_float32_matmul_precision() != "highest":
        multiplied_in = "tf32"
    return {
        "ddbias": __version__,
        **versions(),
        "device": device.type,
        "device_type": kind(device).model(device),
        "threads": threads,
        "precision": "fast" if compiled or multiplied_in == "tf32" else "exact",
        "multiplied_in": multiplied_in,
    }
