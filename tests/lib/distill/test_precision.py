"""What a network is worth that was trained on images distilled fast, and on those distilled exactly."""

import pytest
import torch
from ddbias.datasets.synthesis import synthesize_dataset
from ddbias.debias.real_side import RealSettings
from ddbias.distill import engine
from ddbias.evaluation import protocol
from ddbias.learning import device
from ddbias.learning.training import Recipe
from ddbias.runtime.checkpoint import Checkpoint

CPU = torch.device("cpu")
POINTS = 3  # what the mean accuracy of two networks may differ by
# Large rates and noise, so that the images are what was learnt, and rounding had its effect on them.
NETWORK = {"kind": "convnet", "width": 32, "depth": 2}
AUGMENT = "crop_cutout_scale_rotate"
KINDS = {
    "dm": {"learning_rate": 30.0, "distance": "squared", "warm_up": 0, "iterations": 60},
    "dsa": {
        "learning_rate": 3.0,
        "distance": "ours",
        "outer_loop": 2,
        "inner_loop": 5,
        "network_learning_rate": 0.01,
        "network_batch": 256,
        "iterations": 10,
    },
}
needs_fast = pytest.mark.skipif(
    device.machine_obstacle(CPU) is not None, reason=f"no fast path: {device.machine_obstacle(CPU)}"
)


@needs_fast
@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["dm", "dsa"])
def test_final_accuracy_is_the_same_within_points(kind):
    train, test = synthesize_dataset(
        source={"kind": "digits"}, bias={"kind": "none"}, ratio=None, test="natural", size=16, seed=0, data={}
    )
    accuracy, images = {}, {}
    for precision in ("exact", "fast"):
        settings = {"kind": kind, "momentum": 0.5, "init": "noise", "real_batch": 64, "augment": AUGMENT, **KINDS[kind]}
        made = engine.run(
            train,
            real=RealSettings.plain(len(train)),
            settings=settings,
            network=NETWORK,
            ipc=5,
            seed=0,
            device=CPU,
            precision=precision,
            checkpoint=Checkpoint(None),
        )
        images[precision] = made.images
        outcome = protocol.evaluate(
            made.images,
            made.labels,
            test,
            network=NETWORK,
            recipe=Recipe(augment=AUGMENT),
            epochs=30,
            steps=None,
            repeats=2,
            seed=0,
            device=CPU,
        )
        accuracy[precision] = [100 * row["value"] for row in protocol.rows(outcome, {}) if row["metric"] == "accuracy"]
    means = {precision: sum(values) / len(values) for precision, values in accuracy.items()}
    assert not torch.equal(images["exact"], images["fast"])
    assert means["exact"] > 60  # chance is 10: there is something to lose
    assert abs(means["exact"] - means["fast"]) < POINTS, accuracy
