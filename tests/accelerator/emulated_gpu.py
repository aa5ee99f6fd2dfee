"""An emulated accelerator: CPU memory under another device name, with the refusals and the costs of a CUDA device.

`install` registers the device ``emu`` (PrivateUse1), once a process; that cannot be undone. A DLPack capsule of a CPU
tensor is relabelled, so nothing is copied, storages are real, and views, in-place operations and autograd work as on
any device. Every operation of the backend goes through `run`, which

- refuses what CUDA refuses: CPU tensors of one or more dimensions beside device tensors, CPU generators, ``numpy()``;
- allows what CUDA allows: 0-dim CPU tensors in pointwise operations, CPU index tensors in advanced indexing;
- counts kernels, copies between host and device, and whatever else waits for the device, with file and line.

It needs no compiler. It cannot tell: streams, races and asynchronous errors, capture of graphs, the choices of cuDNN,
TF32, speed, memory of the device.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import functools
import sys
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "emu"
aten = torch.ops.aten

# ---- memory: a device tensor and a CPU tensor that share it ---------------------------------------------------------

CPU, EXT_DEV = 1, 12  # DLDeviceType of dlpack.h


class _DLDevice(ctypes.Structure):
    _fields_ = (("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32))


class _DLTensor(ctypes.Structure):  # its beginning
    _fields_ = (("data", ctypes.c_void_p), ("device", _DLDevice))


_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)


def _relabelled(tensor: torch.Tensor, device_type: int) -> torch.Tensor:
    capsule = torch._C._to_dlpack(tensor)
    device = ctypes.cast(_pointer(capsule, b"dltensor"), ctypes.POINTER(_DLTensor)).contents.device
    device.device_type, device.device_id = device_type, 0
    return torch._C._from_dlpack(capsule)


def _to_emu(tensor: torch.Tensor) -> torch.Tensor:
    return _relabelled(tensor.detach(), EXT_DEV)


def _to_cpu(tensor: torch.Tensor) -> torch.Tensor:
    """Return a CPU tensor on the memory of a device tensor; its storage offset is 0."""
    return _relabelled(tensor, CPU)


# ---- what is counted ------------------------------------------------------------------------------------------------


class Counts:
    """What happened while it was active.

    Attributes
    ----------
    kernels : Counter of str
        Operations that are at least one kernel on a GPU, by name.
    events : Counter of (str, str, str)
        Kind (``h2d``, ``d2h``, ``sync``, ``h2d_async``), operation and place.
    """

    def __init__(self) -> None:
        self.kernels: collections.Counter[str] = collections.Counter()
        self.events: collections.Counter[tuple[str, str, str]] = collections.Counter()

    def total(self, kind: str) -> int:
        """Return how often a kind of event happened."""
        return sum(number for (of, _, _), number in self.events.items() if of == kind)

    @property
    def launches(self) -> int:
        """Number of operations that are at least one kernel."""
        return self.kernels.total()

    def minus(self, other: Counts) -> Counts:
        """Return what happened here and not in a shorter run."""
        left = Counts()
        left.kernels, left.events = self.kernels - other.kernels, self.events - other.events
        return left

    def places(self) -> str:
        """Return where events happened, one line each, the most frequent first."""
        return "\n".join(f"{number} {' '.join(event)}" for event, number in self.events.most_common())


_active: list[Counts] = []


@contextlib.contextmanager
def counting() -> Iterator[Counts]:
    """Yield the `Counts` of everything that runs on the device inside."""
    counts = Counts()
    _active.append(counts)
    try:
        yield counts
    finally:
        _active.remove(counts)


def _event(kind: str, op: str) -> None:
    if _active:
        place = _place()
        for counts in _active:
            counts.events[kind, op, place] += 1


def _place() -> str:
    """Return ``file:line`` of the innermost callers outside torch and this file; of the main thread in a backward."""
    for frame in (sys._getframe(2), sys._current_frames().get(threading.main_thread().ident)):
        found = []
        while frame is not None and len(found) < 2:
            name = frame.f_code.co_filename
            if name != __file__ and not name.startswith("<") and not any(x in name for x in ("/torch/", "/threading.")):
                found.append(f"{name.rsplit('/ddbias/', 1)[-1]}:{frame.f_lineno}")
            frame = frame.f_back
        if found:
            return " < ".join(found)
    return "?"


# ---- one function for every operation -------------------------------------------------------------------------------

# Without a kernel of their own.
FREE = {
    *("detach", "alias", "view", "as_strided", "_reshape_alias", "unfold"),
    *("empty", "empty_strided", "resize_", "set_"),
}
# They read a value or a size off the device.
WAIT = {
    *("nonzero", "masked_select", "equal", "bincount", "histogram"),
    *("_unique", "_unique2", "unique_dim", "unique_consecutive", "unique_dim_consecutive"),
    *("linalg_eigh", "_linalg_eigh", "_linalg_svd", "_linalg_solve_ex"),
}
# They move CPU tensors that are indices themselves.
INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}
# Beside pointwise operations, these take CPU tensors of no dimension.
TAKE_SCALARS = {"masked_fill", "masked_fill_", "fill_", "where", "copy_"} | INDEXED


class Refused(RuntimeError):
    """What would be an error on a CUDA device."""


def _is_emu(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.device.type == NAME


@functools.cache
def _takes_cpu_scalars(name: str) -> bool:
    if name in TAKE_SCALARS or name.startswith("_foreach_"):
        return True
    packet = getattr(aten, name)
    return any(torch.Tag.pointwise in getattr(packet, overload).tags for overload in packet.overloads())


class _Argument(NamedTuple):
    """What matters of an argument, or of something returned."""

    name: str
    aliased: bool
    written: bool
    is_out: bool


@functools.cache
def _signature(op) -> tuple[str, list[_Argument], list[_Argument]]:
    """Return the name of an operation, its arguments and what it returns; torch makes these anew at every look."""

    def facts(one) -> _Argument:
        alias = one.alias_info
        return _Argument(one.name, alias is not None, alias is not None and alias.is_write, one.is_out)

    schema = op._schema
    return schema.name.removeprefix("aten::"), [facts(a) for a in schema.arguments], [facts(r) for r in schema.returns]


class _Call:
    """One call of an operation: CPU stand-ins of its arguments, and what stands for what."""

    def __init__(self, op) -> None:
        self.op = op
        self.name, self.arguments, self.returns = _signature(op)
        self.pairs: list[tuple[torch.Tensor, torch.Tensor]] = []  # device tensor, CPU stand-in

    def plain(self, value, argument: _Argument):
        if isinstance(value, torch.Tensor):
            return self._stand_in(value, argument) if _is_emu(value) else self._checked(value, argument)
        if isinstance(value, list | tuple) and not isinstance(value, torch.Size):
            return type(value)([self.plain(item, argument) for item in value])
        if isinstance(value, torch.device):
            return torch.device("cpu") if value.type == NAME else value
        if isinstance(value, torch.Generator):
            raise Refused(f"{self.op}: Expected a 'cuda' device type for generator but found '{value.device.type}'")
        return value

    def _stand_in(self, value: torch.Tensor, argument: _Argument) -> torch.Tensor:
        fresh = argument.written and argument.is_out and value.numel() == 0
        plain = torch.empty(value.shape, dtype=value.dtype) if fresh else _to_cpu(value)
        self.pairs.append((value, plain))
        return plain

    def _checked(self, value: torch.Tensor, argument: _Argument) -> torch.Tensor:
        """Refuse a CPU tensor that a CUDA device would refuse."""
        if self.name in INDEXED and argument.name == "indices":
            _event("h2d", f"{self.name} by a CPU index")
        elif argument.written or value.ndim or not _takes_cpu_scalars(self.name):
            raise Refused(
                f"{self.op}: Expected all tensors to be on the same device, but '{argument.name}' "
                f"{tuple(value.shape)} {value.dtype} is on cpu"
            )
        return value

    def wrapped(self, result):
        if isinstance(result, tuple) and len(self.returns) > 1:
            return tuple(self._wrap(value, returned) for value, returned in zip(result, self.returns, strict=True))
        return self._wrap(result, self.returns[0]) if self.returns else None

    def _wrap(self, value, returned: _Argument):
        if isinstance(value, list | tuple):
            return [self._wrap(item, returned) for item in value]
        if not isinstance(value, torch.Tensor):
            return value
        if not returned.aliased:
            return _to_emu(value)
        if not returned.written:
            device, _ = self.pairs[0]
            return _as_strided(device, value.shape, value.stride(), device.storage_offset() + value.storage_offset())
        for device, plain in self.pairs:
            if value is plain or (value.data_ptr() == plain.data_ptr() and value.shape == plain.shape):
                return device
        raise AssertionError(f"{self.op}: a written tensor is none of the arguments")


def run(op, *args, **kwargs):
    """Run an operation of the backend on the CPU memory behind its tensors."""
    call = _Call(op)
    by_name = {argument.name: argument for argument in call.arguments}
    plain_args = [call.plain(value, argument) for value, argument in zip(args, call.arguments, strict=False)]
    plain_kwargs = {name: call.plain(value, by_name[name]) for name, value in kwargs.items()}
    if _active:
        _count(call.name, dict(zip(by_name, args, strict=False)) | kwargs)
    result = op(*plain_args, **plain_kwargs)
    for device, plain in call.pairs:
        if plain.shape != device.shape:  # an output that was resized
            device.data = _to_emu(plain)
    return call.wrapped(result)


def _count(name: str, given: dict) -> None:
    if name in WAIT or (name == "repeat_interleave" and given.get("output_size") is None):
        _event("sync", name)
    elif name in INDEXED and any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in given["indices"]):
        _event("sync", f"{name} by a mask")
    if name not in FREE:
        _kernel(name)


def _kernel(name: str) -> None:
    for counts in _active:
        counts.kernels[name] += 1


def as_one_kernel(function: Callable) -> Callable:
    """Return `function` counted as one kernel: what a captured graph of it would be."""

    def replayed(*given: object) -> object:
        _kernel("graph")
        inside, _active[:] = _active[:], []
        try:
            return function(*given)
        finally:
            _active[:] = inside

    return replayed


# ---- operations that are no plain call ------------------------------------------------------------------------------


def _as_strided(self, size, stride, storage_offset=None):
    offset = self.storage_offset() if storage_offset is None else storage_offset
    return aten.alias.default(self).as_strided_(size, stride, offset)


def _empty(size, *, dtype=None, layout=None, device=None, pin_memory=None, memory_format=None):
    return _to_emu(torch.empty(size, dtype=dtype, memory_format=memory_format or torch.contiguous_format))


def _empty_strided(size, stride, *, dtype=None, layout=None, device=None, pin_memory=None):
    return _to_emu(torch.empty_strided(size, stride, dtype=dtype))


def _copy(self, source, non_blocking=False):
    if not self.numel():
        return self
    if not _is_emu(source):
        _event("h2d", "copy_")
        _to_cpu(self).copy_(source)
    elif not _is_emu(self):
        _event("d2h", "copy_")
        self.copy_(_to_cpu(source))
    else:
        _kernel("copy_")
        _to_cpu(self).copy_(_to_cpu(source))
    return self


def _copy_from(self, target, non_blocking=False):
    return _copy(target, self, non_blocking)


def _item(self):
    _event("sync", "item")
    return _to_cpu(self).item()


def _view_dtype(self, dtype):
    return _to_emu(_to_cpu(self).view(dtype))


def _resize(self, size, *, memory_format=None):
    if tuple(self.shape) != tuple(size):
        old, new = _to_cpu(self).flatten(), torch.empty(size, dtype=self.dtype)
        kept = min(old.numel(), new.numel())
        new.flatten()[:kept] = old[:kept]
        self.data = _to_emu(new)
    return self


SPECIAL = {
    "as_strided": _as_strided,
    "empty.memory_format": _empty,
    "empty_strided": _empty_strided,
    "copy_": _copy,
    "_copy_from": _copy_from,
    "_local_scalar_dense": _item,
    "resize_": _resize,
    "view.dtype": _view_dtype,
}
# CUDA has kernels for these; unless told so, torch decomposes them.
KERNELS = (
    *("convolution", "convolution_backward", "native_group_norm", "native_layer_norm", "index"),
    *sorted({name[6:].split(".")[0] for name in torch._C._dispatch_get_all_op_names() if "::_foreach_" in name}),
)

_libraries: list[torch.library.Library] = []


class _Module:
    """What torch asks a device module for; without random numbers of its own, which the library never draws there."""

    @staticmethod
    def is_available() -> bool:
        return True

    is_initialized = is_available

    @staticmethod
    def device_count() -> int:
        return 1

    @staticmethod
    def current_device() -> int:
        return 0

    @staticmethod
    def _is_in_bad_fork() -> bool:
        return False

    @staticmethod
    def manual_seed_all(seed: int) -> None:
        pass

    @staticmethod
    def get_rng_state(device: object = None) -> torch.Tensor:  # fork_rng asks every device
        return torch.empty(0, dtype=torch.uint8)

    @staticmethod
    def set_rng_state(state: torch.Tensor, device: object = None) -> None:
        pass

    @staticmethod
    def get_amp_supported_dtype() -> list[torch.dtype]:
        return [torch.bfloat16]


def install() -> torch.device:
    """Register the device, once, and return it."""
    if not _libraries:
        _setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
        everything, own = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
        everything.fallback(run, "PrivateUse1")
        for name, function in SPECIAL.items():
            own.impl(name, function, "PrivateUse1")
        for op in (op for name in KERNELS for op in _overloads(name)):
            with contextlib.suppress(RuntimeError):  # no kernel of its own can be given to it
                own.impl(op._schema.name + f".{op._overloadname}".replace(".default", ""), _bound(op), "PrivateUse1")
        _libraries.extend([everything, own])
    return torch.device(NAME, 0)


def _overloads(name: str) -> list:
    packet = getattr(aten, name, None)
    return [getattr(packet, overload) for overload in packet.overloads()] if hasattr(packet, "overloads") else []


def _bound(op):
    return lambda *args, **kwargs: run(op, *args, **kwargs)
