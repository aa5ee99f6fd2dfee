"""What a step costs beside arithmetic: 10 classes, 10 images each, float32, a network of three blocks.

Bounds of kernels, of copies to the device and of waits for it, of the second step: the losses of up to 50 are read
together after it (`ddbias.distill.engine`). Counted on the emulated accelerator, so a kernel
is an operation of torch. They are to be lowered; a bound that is raised needs a reason.
"""

import emulated_gpu
import pytest
from ddbias import testing
from ddbias.distill import distribution_matching
from ddbias.learning import device
from ddbias.learning.precision import compiling
from ddbias.runtime.checkpoint import Checkpoint

TEN = {"syn_steps": 10}
MOST = [  # kernels, copies, waits
    ("dm", {}, 97, 4, 0),
    ("dc", {"outer_loop": 1}, 389, 3, 0),
    ("dsa", {"outer_loop": 1}, 424, 4, 0),
    ("idc", {"outer_loop": 1, "factor": 2}, 2848, 3, 0),
    ("mtt", {"memory": "graph", **TEN}, 2097, 1, 1),
    ("mtt", {"memory": "replay", **TEN}, 2570, 1, 2),
    ("mtt", {"memory": "constant", **TEN}, 2450, 1, 2),
]


class AfterSteps(Checkpoint):
    """Keeps what was counted up to the end of each step."""

    def __init__(self, counts):
        super().__init__(None)
        self.counts, self.taken = counts, []

    def due(self):
        self.taken.append(self.counts.minus(emulated_gpu.Counts()))
        return False


@pytest.fixture(scope="module")
def split():
    return testing.tiny_split(classes=10, per_class=20)


@pytest.fixture
def of_a_step(emulated, unprobed, split, tmp_path, monkeypatch):
    """Returns what was counted in the second step of a distiller."""
    monkeypatch.setattr(distribution_matching.Distiller, "probe_loss", None)
    monkeypatch.setitem(testing.STUDY, "networks", {"small": {"kind": "convnet", "width": 4, "depth": 3}})

    def of_a_step(kind, options):
        case = testing.Case(kind, split=split, folder=tmp_path, device=emulated, ipc=10, **options)
        with emulated_gpu.counting() as counts:
            steps = AfterSteps(counts)
            case.run(checkpoint=steps, iterations=2)
        return steps.taken[1].minus(steps.taken[0])

    return of_a_step


@pytest.mark.parametrize(("kind", "options", "kernels", "copies", "waits"), MOST)
def test_a_step_takes_no_more_than(of_a_step, kind, options, kernels, copies, waits):
    step = of_a_step(kind, options)
    assert step.launches <= kernels
    assert step.total("h2d") <= copies, step.places()
    assert step.total("sync") + step.total("d2h") <= waits, step.places()


AS_GRAPHS = [
    ("dm", {}, 38),
    ("dc", {"outer_loop": 1}, 21),
    ("dsa", {"outer_loop": 1}, 28),
    ("mtt", {"memory": "graph", **TEN}, 309),
    pytest.param("mtt", {"memory": "replay", **TEN}, 440, marks=pytest.mark.thorough),
    ("mtt", {"memory": "constant", **TEN}, 440),
]


@pytest.mark.parametrize(("kind", "options", "kernels"), AS_GRAPHS)
def test_a_step_of_graphs_starts_no_more_than(of_a_step, emulated, monkeypatch, kind, options, kernels):
    """As on a GPU, which captures the kernels of ``exact``; each graph is one kernel."""
    monkeypatch.setitem(device.KINDS, emulated.type, device.kind(emulated)._replace(captures=True))
    monkeypatch.setattr(compiling, "graphed", emulated_gpu.as_one_kernel)
    assert of_a_step(kind, options).launches <= kernels
