"""Distillers, debias and guidance on the accelerator: the contract, and the results of the CPU."""

from dataclasses import replace

import emulated_gpu
import pytest
import torch
from ddbias import testing
from ddbias.base import plugins
from ddbias.base.errors import DdbiasError
from ddbias.base.seeding import stream
from ddbias.datasets import normalisation
from ddbias.distill import distribution_matching, engine, gradient_matching, idc, mtt
from ddbias.distill.precision.frozen import ExactEmbedding
from ddbias.learning import networks
from ddbias.learning.augment import siamese
from ddbias.learning.precision import compiling

CPU = torch.device("cpu")
KINDS = [kind for kind, plugin in plugins.kinds("distiller").items() if "files" not in plugin.facts]  # these only read
PSEUDO = [
    {"kind": "fairdd", "groups": "clusters", "surrogate": "probe", "reduction": "mean"},
    {"kind": "cobra", "groups": "predicted", "surrogate": "probe", "draw": "proportional"},
]
CLOM = {"kind": "clom", "alpha": 1.0, "trained": [0, 1], "real_batch": 12, "models": ["pool"]}
# Ways through a method besides those of its defaults.
OPTIONS = [
    ("dm", {"distance": "absolute", "augment": "scale_rotate", "init": "noise"}),
    ("dm", {"warm_up": 1, "init": "weighted_real"}),
    ("dc", {"distance": "mse"}),
    ("dc", {"distance": "cos"}),
    ("dsa", {"augment": "color_crop"}),
    ("idc", {"factor": 3, "init": "noise", "distance": "l1", "cutmix": 1.0}),
    ("mtt", {"memory": "replay", "syn_batch": 3}),
    ("mtt", {"memory": "constant"}),
    ("dm", {"distance": "characteristic", "frequencies": 64, "learning_rate": 0.001}),
    ("rded", {"factor": 2, "soft_labels": True}),
    ("lgm", {"views": 3}),
    ("dm", {"guidance": CLOM}),
    ("dsa", {"guidance": CLOM | {"loss": "cos"}}),
]


@pytest.fixture(scope="module")
def split():
    return testing.tiny_split()


@pytest.fixture(autouse=True)
def without_plugins():
    yield
    plugins.use([])


@pytest.fixture
def images_of(split, tmp_path):
    """`images_of(device, kind, ...)` is what a distiller learns, and its losses."""

    def images_of(device, kind, **options):
        made = testing.Case(kind, split=split, folder=tmp_path, device=device, **options).run()
        return made.images if made.rows is None else made.rows, made.history

    return images_of


def close(given, wanted):
    torch.testing.assert_close(given, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "dc"])  # dsa has all of it
def test_every_distiller_keeps_the_contract(emulated, unprobed, split, tmp_path, kind):
    made = testing.check_distiller(kind, device=emulated, split=split, folder=tmp_path)
    wanted = testing.Case(kind, split=split, folder=tmp_path).run()
    close((made.images, made.rows, made.history), (wanted.images, wanted.rows, wanted.history))


@pytest.mark.parametrize(("kind", "options"), OPTIONS, ids=str)
def test_options_give_what_they_give_on_the_cpu(emulated, unprobed, images_of, kind, options):
    close(images_of(emulated, kind, **options), images_of(CPU, kind, **options))


@pytest.mark.parametrize("kind", ["dm", "mtt", "rded", "random"])
def test_whitened_images_give_what_they_give_on_the_cpu(emulated, unprobed, split, tmp_path, kind):
    white = replace(split, whitening=normalisation.whitening("zca", split))
    made = [testing.Case(kind, split=white, folder=tmp_path, device=device).run() for device in (emulated, CPU)]
    close(*[one.rows if one.images is None else one.images for one in made])


def test_learned_soft_labels_are_those_of_the_cpu(emulated, split, tmp_path, monkeypatch):
    pool = {**testing.STUDY["models"]["pool"], "epochs": 20, "learning_rate": 0.1}  # which must know some images
    monkeypatch.setitem(testing.STUDY["models"], "pool", pool)
    options = {"split": split, "folder": tmp_path, "soft_labels": True}
    made, wanted = (testing.Case("mtt", device=device, **options).run() for device in (emulated, CPU))
    close(made.images, wanted.images)
    close(made.soft_labels.probabilities, wanted.soft_labels.probabilities)
    assert made.soft_labels.probabilities.device == CPU


@pytest.mark.parametrize("network", [{"kind": "convnet_bn", "width": 8, "depth": 2}, {"kind": "mlp"}], ids=str)
@pytest.mark.parametrize("kind", ["dm", "dc"])
def test_networks_give_what_they_give_on_the_cpu(emulated, unprobed, images_of, monkeypatch, kind, network):
    monkeypatch.setitem(testing.STUDY, "networks", {"small": network})
    close(images_of(emulated, kind), images_of(CPU, kind))


@pytest.mark.parametrize("how", [*plugins.kinds("debias"), *PSEUDO], ids=str)
@pytest.mark.parametrize("kind", ["dm", "dsa"])
def test_debias_gives_what_it_gives_on_the_cpu(emulated, unprobed, images_of, kind, how):
    options = {"debias": how, "iterations": 1}
    close(images_of(emulated, kind, **options), images_of(CPU, kind, **options))


def test_a_loss_that_is_not_finite_ends_the_run_with_its_step(emulated, images_of):
    """Though the device's losses are read later."""
    said = []
    for device in (CPU, emulated):
        with pytest.raises(DdbiasError, match=r"is not finite at step [1-9]\d*; lower") as caught:
            images_of(device, "dm", learning_rate=1e30, iterations=9)
        said.append(str(caught.value))
    assert said[0] == said[1]


@pytest.mark.parametrize("every", [1, 2, 50])
def test_the_history_is_the_same_whenever_it_is_read(emulated, images_of, monkeypatch, every):
    monkeypatch.setattr(engine, "READ_EVERY", every)
    close(images_of(emulated, "dm", iterations=5), images_of(CPU, "dm", iterations=5))


# ---- what it catches ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "module", "old", "new"),
    [
        ("dm", distribution_matching, ".to(device)\n        # A network", "\n        # A network"),
        ("dm", distribution_matching, "batch.scale], lifted.device)", 'batch.scale], torch.device("cpu"))'),
        ("dc", gradient_matching, "torch.arange(self.classes, device=device)", "torch.arange(self.classes)"),
        ("dm", siamese, "images.shape[1:]), images.device)", 'images.shape[1:]), torch.device("cpu"))'),
        ("mtt", mtt, "torch.arange(split.classes, device=device)", "torch.arange(split.classes)"),
        ("idc", idc, "label, device=images.device)", "label)"),
    ],
)
def test_a_tensor_left_on_the_cpu_is_caught(emulated, unprobed, images_of, mutant, kind, module, old, new):
    images_of(emulated, kind)
    mutant(module, old, new)
    with pytest.raises(emulated_gpu.Refused):
        images_of(emulated, kind)


def test_real_images_are_embedded_a_part_at_a_time(emulated, monkeypatch):
    monkeypatch.setattr(compiling, "CAPTURED_IMAGES", 7)
    network = networks.of_settings({"kind": "convnet", "width": 4}, (3, 8, 8), 2, 0)
    networks.reset(network, stream(0, "test"))
    images, sizes = torch.randn(20, 3, 8, 8, generator=stream(1, "test")), []
    wanted = network.embed(images)
    network.to(emulated).body.register_forward_pre_hook(lambda module, given: sizes.append(len(given[0])))
    given = ExactEmbedding(network, emulated)(images.to(emulated))
    assert sizes == [7, 7, 6]
    torch.testing.assert_close(given.cpu(), wanted.detach(), rtol=1e-5, atol=1e-5)
