"""Work of networks, against counts in the real ones."""

import pytest
import torch
from ddbias.learning import networks
from ddbias.planning.costs.network_work import COUNTED, features, relative, size


def counted(network, side):
    options = {key: value for key, value in network.items() if key != "kind"}
    model = networks.build(network["kind"], channels=3, size=side, classes=10, seed=0, **options).eval()
    found = [0, 0]

    def count(module, _, output):
        found[0] += output[0].numel() * module.weight[0].numel()
        found[1] += output[0].numel()

    layers = [module for module in model.modules() if isinstance(module, torch.nn.Conv2d | torch.nn.Linear)]
    for layer in layers:
        layer.register_forward_hook(count)
    model(torch.zeros(1, 3, side, side))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return found[0] / 1e6, found[1] / 1e3, parameters / 1e6, layers[-1].in_features


CONVNETS = [
    ({"kind": "convnet", "width": 128, "depth": 3, "pooling": "avg"}, 32),
    ({"kind": "convnet", "width": 32, "depth": 2, "pooling": "avg"}, 16),
    ({"kind": "convnet", "width": 16, "depth": 4, "pooling": "avg"}, 64),
    ({"kind": "convnet_bn", "width": 8, "depth": 2, "pooling": "none"}, 20),
]


@pytest.mark.parametrize(("network", "side"), CONVNETS)
def test_convnets_are_counted_by_a_formula(network, side):
    products, values, parameters, last = counted(network, side)
    assert size(network, 3, side) == pytest.approx((products, values, parameters), rel=0.01)
    assert features(network, side) == last


@pytest.mark.parametrize("kind", COUNTED)
def test_others_are_in_a_table(kind):
    products, values, parameters, _ = counted({"kind": kind}, 32)
    assert size({"kind": kind}, 3, 32) == pytest.approx((products, values, parameters), rel=0.05, abs=0.05)


def test_the_published_network_is_the_unit():
    published = CONVNETS[0][0]
    assert relative(published, 3, 32) == pytest.approx(1)
    assert relative({**published, "width": 64}, 3, 32) < 1 < relative({"kind": "resnet18"}, 3, 32)
    assert relative(published, 3, 64) == pytest.approx(4, rel=0.01)
    assert relative({"kind": "of_a_plugin"}, 3, 32) == relative({"kind": "resnet18"}, 3, 32)
