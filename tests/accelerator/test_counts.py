"""What a step costs beside arithmetic: 10 classes, 10 images each, float32, a network of three blocks.

Bounds of kernels, of copies to the device and of waits for it, of the second step: the losses of up to 50 are read
together after it (`ddbias.distill.engine`). Counted on the emulated accelerator, so a kernel
is an operation of torch. They are to be lowered; a bound that is raised needs a reason.
"""

import emulated_gpu
import pytest
from ddbias import testing
from ddbias.distill import distribution_matching
from ddbias.runtime.checkpoint import Checkpoint

TEN = {"syn_steps": 10}
MOST = [  # kernels, copies, waits
    ("dm", {}, 294, 9, 0),
    ("dc", {"outer_loop": 1}, 5378, 3, 0),
    ("dsa", {"outer_loop": 1}, 5565, 9, 0),
    ("idc", {"outer_loop": 1, "factor": 2}, 5284, 3, 0),
    ("mtt", {"memory": "graph", **TEN}, 6343, 12, 1),
    ("mtt", {"memory": "replay", **TEN}, 6088, 22, 2),
    ("mtt", {"memory": "constant", **TEN}, 5608, 22, 2),
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


@pytest.mark.parametrize(("kind", "options", "kernels", "copies", "waits"), MOST)
def test_a_step_takes_no_more_than(
    emulated, unprobed, split, tmp_path, monkeypatch, kind, options, kernels, copies, waits
):
    monkeypatch.setattr(distribution_matching.Distiller, "probe_loss", None)
    monkeypatch.setitem(testing.STUDY, "networks", {"small": {"kind": "convnet", "width": 4, "depth": 3}})
    case = testing.Case(kind, split=split, folder=tmp_path, device=emulated, ipc=10, **options)
    with emulated_gpu.counting() as counts:
        steps = AfterSteps(counts)
        case.run(checkpoint=steps, iterations=2)
    second = steps.taken[1].minus(steps.taken[0])
    assert second.launches <= kernels
    assert second.total("h2d") <= copies, second.places()
    assert second.total("sync") + second.total("d2h") <= waits, second.places()
