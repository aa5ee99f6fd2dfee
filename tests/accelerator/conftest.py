import types
from pathlib import Path

import emulated_gpu
import pytest
import torch
from ddbias.base import plugins
from ddbias.runtime.checkpoint import Checkpoint

# Now, as tests are collected: torch starts a thread for each device at the first backward pass of the process.
DEVICE = emulated_gpu.install()


class Killed(Exception):
    """Stands for a kill."""


class _Stopping(Checkpoint):
    """Saves after every step, and is killed after a given one."""

    def __init__(self, path, stop):
        super().__init__(path, "accelerator", every=0)
        self.stop = stop

    def save(self, step, tensors):
        super().save(step, tensors)
        if step == self.stop:
            raise Killed


@pytest.fixture(scope="session")
def emulated():
    """The emulated accelerator, see `emulated_gpu`."""
    return DEVICE


@pytest.fixture(autouse=True)
def as_in_a_job(one_thread):
    """Numbers below the normal range are zero, as `ddbias.learning.device.prepare` sets it."""
    torch.set_flush_denormal(True)
    yield
    torch.set_flush_denormal(False)


@pytest.fixture
def unprobed(monkeypatch):
    """Nobody looks whether a run of these has converged, which is most of the time of a short one."""
    for kind in ("dc", "idc"):
        monkeypatch.setattr(plugins.module("distiller", kind).Distiller, "probe_loss", None)


@pytest.fixture
def resumed(tmp_path):
    """`resumed(run, stop)` is what ``run(checkpoint)`` returns if it was killed after a step and went on."""

    def resumed(run, stop):
        with pytest.raises(Killed):
            run(_Stopping(tmp_path / "state", stop))
        return run(_Stopping(tmp_path / "state", None))

    return resumed


@pytest.fixture
def alike(emulated, resumed):
    """`alike(run, stop)` asserts that ``run(device, checkpoint)`` gives on the accelerator what it gives on the CPU.

    With `stop`, also that a run on the accelerator that was killed after that step goes on to the same.
    """

    def alike(run, stop=None):
        wanted, given = run(torch.device("cpu"), Checkpoint(None)), run(emulated, Checkpoint(None))
        torch.testing.assert_close(given, wanted, check_device=False, equal_nan=True, rtol=1e-4, atol=2e-5)
        if stop is not None:
            again = resumed(lambda checkpoint: run(emulated, checkpoint), stop)
            torch.testing.assert_close(again, given, equal_nan=True, rtol=0, atol=0)

    return alike


@pytest.fixture
def mutant(monkeypatch):
    """`mutant(module, old, new)` puts names of a copy of a module, in which a text is another, in their place."""

    def mutant(module, old, new=""):
        text = Path(module.__file__).read_text()
        assert text.count(old) == 1
        copy = types.ModuleType(module.__name__)
        exec(compile(text.replace(old, new), module.__file__, "exec"), copy.__dict__)
        for name, value in vars(copy).items():
            if getattr(value, "__module__", None) == module.__name__:
                monkeypatch.setattr(module, name, value)
        return copy

    return mutant
