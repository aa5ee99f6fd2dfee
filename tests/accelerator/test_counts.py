"""What a step costs beside arithmetic: 10 classes, 10 images each, float32, a network of three blocks.

Bounds of kernels, of copies to the device and of waits for it, a step. Counted on the emulated accelerator, so a kernel
is an operation of torch. They are to be lowered; a bound that is raised needs a reason.
"""

import emulated_gpu
import pytest
from ddbias import testing
from ddbias.distill import distribution_matching

TEN = {"syn_steps": 10}
MOST = [  # kernels, copies, waits
    ("dm", {}, 293, 9, 1),
    ("dc", {"outer_loop": 1}, 5377, 3, 1),
    ("dsa", {"outer_loop": 1}, 5564, 9, 1),
    ("idc", {"outer_loop": 1, "factor": 2}, 5283, 3, 1),
    ("mtt", {"memory": "graph", **TEN}, 6342, 12, 2),
    ("mtt", {"memory": "replay", **TEN}, 6087, 22, 3),
    ("mtt", {"memory": "constant", **TEN}, 5607, 22, 3),
]


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
    runs = []
    for iterations in (1, 2):
        with emulated_gpu.counting() as counts:
            case.run(iterations=iterations)
        runs.append(counts)
    second = runs[1].minus(runs[0])
    assert second.launches <= kernels
    assert second.total("h2d") <= copies, second.places()
    assert second.total("sync") + second.total("d2h") <= waits, second.places()
