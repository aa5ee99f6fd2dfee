import logging
import os
import signal
import sys
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # processes with two threads each slow each other down by more than they gain
    os.environ["OMP_NUM_THREADS"] = "1"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Begin with the runs of the workflow, which are slow: two processes then end at about the same time."""
    workflow, accelerator = (Path(__file__).parent / name for name in ("workflow", "accelerator"))
    for item in items:
        if {workflow, accelerator} & set(item.path.parents):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: workflow not in item.path.parents)


@pytest.fixture(scope="session", autouse=True)
def told_in_one_line():
    """Every message for a user that any test meets is one line; only the mistakes of a study file are a list."""
    from ddbias.base.errors import DdbiasError

    def check(error, *words):
        Exception.__init__(error, *words)
        of_study = hasattr(error, "lines") or hasattr(sys.exception(), "lines")
        assert of_study or "\n" not in str(error), f"more than one line: {words}"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DdbiasError, "__init__", check)
        yield


@pytest.fixture(autouse=True)
def ended_by_sigterm():
    """A job ignores SIGTERM at its end; these tests and what they start must not."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def data_home():
    """The folder of real data sets; laid out as `data.mirrors` describes. Only read."""
    folder = os.environ.get("DDBIAS_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("DDBIAS_DATA does not name a folder with real data sets")
    return Path(folder).resolve()


@pytest.fixture
def one_thread():
    """Computes with one thread of torch, as results are compared to the bit."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def multiply_in(monkeypatch):
    """Let ``precision: fast`` multiply in another precision on this processor."""

    def multiply_in(dtype):
        from ddbias.learning import device

        monkeypatch.setitem(device.KINDS, "cpu", device.KINDS["cpu"]._replace(fast_dtype=lambda: dtype))

    return multiply_in


@pytest.fixture(scope="session")
def few_digits():
    """Real digits with a colour bias, 8x8 pixels: `few_digits(part, classes=, per_class=, known=)` is a `Split`.

    Their own normalisation is none; `normalised=True` gives each channel numbers that are neither 0 nor 1, so that what
    forgets to normalise is seen.
    """
    # Here, since most tests need neither torch nor a data set.
    import numpy as np
    from ddbias.data.split import Split
    from ddbias.datasets.synthesis import synthesize_dataset

    whole = dict(
        zip(
            ("train", "test"),
            synthesize_dataset(
                source={"kind": "digits"},
                bias={"kind": "foreground", "severity": 1},
                ratio=0.8,
                test="balanced",
                seed=0,
                data={},
            ),
            strict=True,
        )
    )

    def cut(part="train", *, classes=3, per_class=20, known=True, normalised=False):
        split = whole[part]
        members = [np.flatnonzero(split.labels == label) for label in range(classes)]
        # Evenly spread, since attributes ascend with the position.
        rows = np.concatenate([some[np.arange(per_class) * len(some) // per_class] for some in members])
        meta = {**split.meta, "label_names": split.meta["label_names"][:classes]}
        if normalised:
            meta |= {"mean": [0.1, 0.2, 0.3], "std": [0.25, 0.3, 0.2]}
        if not known:
            meta["attribute_names"] = None
        attributes = split.attributes[rows] if known else None
        return Split(split.images[rows], split.labels[rows], attributes, split.index[rows], meta)

    return cut


@pytest.fixture(autouse=True)
def own_log():
    """Whatever a test does to the package's log is undone: the folder of a log file is gone after the test."""
    logger = logging.getLogger("ddbias")
    before = logger.handlers[:], logger.level, logger.propagate
    yield logger
    for handler in set(logger.handlers) - set(before[0]):
        handler.close()
    logger.handlers[:], logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


@pytest.fixture
def log_lines(own_log):
    """Messages of the package's log, one string each."""
    lines = []

    class Keep(logging.Handler):
        def emit(self, record):
            lines.append(record.getMessage())

    own_log.addHandler(Keep())
    own_log.setLevel(logging.INFO)
    return lines


@pytest.fixture
def pooled():
    """Return the function that makes a batch whose targets are the rows (R, M) of a matrix."""
    from ddbias.debias.real_side import RealBatch, Target

    def pooled(batch, pool, classes, scale=None):
        scales = [1.0] * len(pool) if scale is None else scale.tolist()
        rows = zip(classes.tolist(), (row.nonzero().flatten() for row in pool), pool, scales, strict=True)
        targets = [Target(label, images, row[images], one) for label, images, row, one in rows]
        return RealBatch(batch.index, batch.labels, tuple(targets))

    return pooled
