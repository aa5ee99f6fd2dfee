import pytest
from ddbias.base import plugins


@pytest.fixture(scope="module")
def split(few_digits):
    return few_digits(normalised=True)


@pytest.fixture
def unprobed(monkeypatch):
    """Nobody looks whether a run has converged: most of the time of a short one; test_convergence.py is about it."""
    for kind in ("dm", "dc", "idc"):
        monkeypatch.setattr(plugins.module("distiller", kind).Distiller, "probe_loss", None)
