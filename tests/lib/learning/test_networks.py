"""Networks: published sizes, embeddings, and weights that come from a generator only."""

from __future__ import annotations

import math

import pytest
import torch
from ddbias.base import plugins
from ddbias.base.errors import DdbiasError
from ddbias.learning import networks
from torch import nn

# Published numbers of parameters for 1 x 28 x 28 and 3 x 32 x 32 images and ten classes.
PARAMETERS = {
    "convnet": (317706, 320010),
    "mlp": (118282, 411146),
    "lenet": (61706, 62006),
    "alexnet": (1865802, 1872202),
    "alexnet_bn": (1867722, 1874122),
    "vgg11": (9229962, 9231114),
    "resnet18": (11172810, 11173962),
    "resnet18_bn_ap": (11213770, 11250762),
}
# Embedding sizes for 1 x 28 x 28, 3 x 28 x 28, 3 x 32 x 32 and 3 x 64 x 64 images, counted by hand.
EMBEDDINGS = {
    "convnet": (2048, 1152, 2048, 8192),
    "convnet_bn": (2048, 1152, 2048, 8192),
    "mlp": (128, 128, 128, 128),
    "lenet": (84, 84, 84, 84),
    "alexnet": (3072, 1728, 3072, 12288),
    "alexnet_bn": (3072, 1728, 3072, 12288),
    "vgg11": (512, 512, 512, 2048),
    "vgg11_bn": (512, 512, 512, 2048),
    "resnet18": (512, 512, 512, 2048),
    "resnet18_bn": (512, 512, 512, 2048),
    "resnet18_bn_ap": (4608, 4608, 8192, 32768),
}
SHAPES = ((1, 28), (3, 28), (3, 32), (3, 64))


def build(name, channels=3, size=32, classes=10, seed=0, **options):
    return networks.build(name, channels=channels, size=size, classes=classes, seed=seed, **options)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def weights(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


@pytest.mark.parametrize("name", PARAMETERS)
def test_numbers_of_parameters_are_the_published_ones(name):
    counts = tuple(weights(build(name, channels, size)).numel() for channels, size in ((1, 28), (3, 32)))
    assert counts == PARAMETERS[name]


@pytest.mark.parametrize("name", ["convnet", "vgg11", "resnet18"])
def test_a_batch_norm_network_has_as_many_parameters_as_its_instance_norm_form(name):
    assert weights(build(name)).numel() == weights(build(f"{name}_bn")).numel()


def test_every_network_is_covered():
    assert set(EMBEDDINGS) == set(plugins.kinds("network"))


@pytest.mark.slow
@pytest.mark.parametrize("name", EMBEDDINGS)
def test_heads_fit_all_image_sizes(name):
    for (channels, size), embedding_size in zip(SHAPES, EMBEDDINGS[name], strict=True):
        network = build(name, channels, size, classes=7).eval()
        images = noise(2, channels, size, size)
        with torch.no_grad():
            embedding = network.embed(images)
            logits = network(images)
        assert embedding.shape == (2, network.embedding_size) == (2, embedding_size)
        assert embedding.dtype == torch.float32
        assert logits.shape == (2, 7)
        assert torch.equal(logits, network.head(embedding))
        # The two images must not be told apart by the bias only.
        assert not torch.allclose(embedding[0], embedding[1], atol=1e-6)


@pytest.mark.parametrize("name", EMBEDDINGS)
@pytest.mark.parametrize("size", [32, 64])
def test_padded_one_channel_images_work(name, size):
    with torch.no_grad():
        assert build(name, 1, size).eval()(noise(2, 1, size, size)).shape == (2, 10)


@pytest.mark.parametrize(("channels", "embedding_size"), [(1, 128 * 5 * 5), (3, 128 * 4 * 4)])
def test_a_flat_convnet_takes_16_pixels(channels, embedding_size):
    network = build("convnet", channels, 16, depth=2)
    assert network.embed(noise(2, channels, 16, 16)).shape == (2, embedding_size)


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "instance", "group"])
@pytest.mark.parametrize("activation", ["relu", "sigmoid", "leakyrelu", "swish"])
@pytest.mark.parametrize("pooling", ["none", "max", "avg"])
def test_all_variants_of_the_convnet_learn(norm, activation, pooling):
    network = build("convnet", 1, 8, width=8, depth=2, norm=norm, activation=activation, pooling=pooling)
    network(noise(3, 1, 8, 8)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert network.head.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["alexnet", "vgg11", "resnet18"])
@pytest.mark.parametrize("norm", ["none", "layer", "group"])
def test_other_norms_fit_other_networks(name, norm):
    with torch.no_grad():
        assert build(name, 3, 28, norm=norm)(noise(2, 3, 28, 28)).shape == (2, 10)


def test_convnet_equals_its_formula():
    network = build("convnet", 3, 8, width=4, depth=1).double()
    convolution, norm = network.body[0], network.body[1]
    images = noise(2, 3, 8, 8).double()
    maps = torch.nn.functional.conv2d(images, convolution.weight, convolution.bias, padding=1)
    mean, variance = maps.mean((2, 3), keepdim=True), maps.var((2, 3), keepdim=True, unbiased=False)
    maps = (maps - mean) / (variance + 1e-5).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]
    pooled = maps.clamp_min(0).reshape(2, 4, 4, 2, 4, 2).mean((3, 5))
    torch.testing.assert_close(network.embed(images), pooled.flatten(1))


def test_the_average_pooling_shortcut_equals_the_published_order():
    """Published: 1 x 1 convolution, average pooling, BatchNorm; here the first two are exchanged."""
    block = next(
        b
        for b in build("resnet18_bn_ap").eval().body
        if getattr(b, "conv1", None) and b.conv1.in_channels == 64 and b.conv1.out_channels == 128
    )
    maps = noise(2, 64, 8, 8)
    _, convolution, norm = block.shortcut
    expected = norm(nn.functional.avg_pool2d(convolution(maps), 2))
    torch.testing.assert_close(block.shortcut(maps), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32)])
@pytest.mark.parametrize("name", ["resnet18", "resnet18_bn"])
def test_resnet18_equals_its_formula(name, channels, size):
    """Every convolution pads by 1, whatever the channels; the side is halved thrice, the last map averaged."""
    network = build(name, channels, size).eval()
    values = iter([value.double() for key, value in network.state_dict().items() if "num_batches" not in key])

    def normalised(maps):
        weight, bias = next(values)[:, None, None], next(values)[:, None, None]
        if name.endswith("_bn"):
            mean, variance = next(values)[:, None, None], next(values)[:, None, None]
        else:
            mean, variance = maps.mean((2, 3), keepdim=True), maps.var((2, 3), keepdim=True, unbiased=False)
        return (maps - mean) / (variance + 1e-5).sqrt() * weight + bias

    images = noise(2, channels, size, size)
    maps = normalised(nn.functional.conv2d(images.double(), next(values), padding=1)).relu()
    for width, stride in zip((64, 64, 128, 128, 256, 256, 512, 512), (1, 1, 2, 1, 2, 1, 2, 1), strict=True):
        inner = normalised(nn.functional.conv2d(maps, next(values), stride=stride, padding=1)).relu()
        inner = normalised(nn.functional.conv2d(inner, next(values), padding=1))
        if maps.shape[1] != width:
            maps = normalised(nn.functional.conv2d(maps, next(values), stride=stride))
        maps = (inner + maps).relu()
    assert maps.shape == (2, 512, 4, 4)
    expected = nn.functional.linear(maps.mean((2, 3)), next(values), next(values))
    with torch.no_grad():
        torch.testing.assert_close(network(images).double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "side"), [("convnet", 32), ("alexnet", 32), ("vgg11", 32), ("lenet", 28)])
def test_other_networks_pad_one_channel_of_28_pixels_themselves(name, side):
    """As published, so that a padded copy of grey MNIST would be padded twice."""
    first = build(name, 1, 28).body[0]
    assert first(noise(1, 1, 28, 28)).shape[-1] == side


def test_weights_depend_on_the_seed_only():
    first = weights(build("resnet18_bn", seed=1))
    torch.rand(5)
    assert torch.equal(first, weights(build("resnet18_bn", seed=1)))
    assert not torch.equal(first, weights(build("resnet18_bn", seed=2)))


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_global_generator_is_left_alone(name):
    before = torch.get_rng_state()
    network = build(name)
    networks.reset(network, torch.Generator().manual_seed(3))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_weights_fill_the_bounds_of_the_default_initialisation(name):
    for module in build(name).modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            fan_in = module.weight.numel() // len(module.weight)
            bound = 1 / math.sqrt(fan_in)
            for values in (module.weight, module.bias):
                if values is None:
                    continue
                assert values.abs().max() <= bound
                if values.numel() > 5000:
                    assert values.abs().max() > 0.99 * bound
                    assert values.mean().abs() < 0.03 * bound
                    assert values.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
        elif isinstance(module, nn.GroupNorm | nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()


def test_reset_draws_in_place_and_advances_its_generator():
    network = build("convnet", width=16)
    storage = [p.data_ptr() for p in network.parameters()]
    generator = torch.Generator().manual_seed(5)
    networks.reset(network, generator)
    first = weights(network)
    networks.reset(network, generator)
    second = weights(network)
    networks.reset(network, torch.Generator().manual_seed(5))
    assert not torch.equal(first, second)
    assert torch.equal(first, weights(network))
    assert storage == [p.data_ptr() for p in network.parameters()]
    assert all(p.requires_grad and p.is_leaf for p in network.parameters())


def test_reset_clears_running_statistics():
    network = build("convnet_bn", width=16)
    network.train()(noise(4, 3, 32, 32) + 3)
    norm = network.body[1]
    assert norm.running_mean.abs().sum() > 0
    networks.reset(network, torch.Generator())
    assert (norm.running_mean == 0).all()
    assert (norm.running_var == 1).all()
    assert norm.num_batches_tracked == 0


@pytest.mark.parametrize("form", [{"memory_format": torch.channels_last}, {"dtype": torch.float64}])
def test_memory_format_and_type_do_not_change_the_draw(form):
    plain, other = build("convnet", width=16), build("convnet", width=16, seed=9).to(**form)
    networks.reset(plain, torch.Generator().manual_seed(4))
    networks.reset(other, torch.Generator().manual_seed(4))
    assert torch.equal(weights(plain), weights(other).float())


def test_reset_refuses_layers_that_it_cannot_draw():
    with pytest.raises(DdbiasError, match=r"cannot initialise layer '0' \(PReLU\)"):
        networks.reset(nn.Sequential(nn.PReLU()), torch.Generator())


def test_options_are_those_of_the_architecture():
    assert networks.options("convnet") == ("width", "depth", "norm", "activation", "pooling")
    assert networks.options("convnet_bn") == ("width", "depth", "activation", "pooling")
    assert networks.options("resnet18") == ("norm",)
    assert networks.options("lenet") == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "convent"}, r"unknown network kind 'convent'; known: .*Did you mean 'convnet'\?$"),
        ({"name": "convnet", "dept": 3}, r"network convnet has no option 'dept'; .*Did you mean 'depth'\?$"),
        ({"name": "convnet_bn", "norm": "batch"}, "network convnet_bn has no option 'norm'"),
        ({"name": "lenet", "width": 3}, "network lenet has no option 'width'; it has none"),
        ({"name": "convnet", "norm": "instanse"}, r"unknown norm 'instanse'.*Did you mean 'instance'\?$"),
        ({"name": "convnet", "activation": "gelu"}, "unknown activation 'gelu'; known: leakyrelu, relu, sigmoid"),
        ({"name": "convnet", "pooling": "mean"}, "unknown pooling 'mean'; known: avg, max, none"),
        ({"name": "convnet", "norm": "group", "width": 6}, "4 groups, got width 6"),
        ({"name": "convnet", "depth": 0}, "depth of a network must be a whole number of at least 1, got 0"),
        ({"name": "mlp", "width": 1.5}, "width of a network must be a whole number of at least 1, got 1.5"),
        ({"name": "convnet", "channels": "3"}, "channels of a network must be .* got '3'"),
        ({"name": "convnet", "size": 16, "depth": 5}, "depth 5 shrinks images of 16 pixels .* use depth 4 or less"),
        ({"name": "vgg11", "size": 16}, "vgg11 needs images of at least 28 pixels, got 16; enlarge"),
        ({"name": "lenet", "size": 8}, "lenet needs images of at least 16 pixels, got 8"),
        ({"name": "alexnet", "size": 4}, "alexnet needs images of at least 8 pixels, got 4"),
        ({"name": "resnet18", "size": 8}, "resnet18 needs images of at least 9 pixels, got 8"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, message):
    with pytest.raises(DdbiasError, match=message):
        build(**arguments)


@pytest.mark.parametrize(
    ("name", "channels", "size"),
    [("vgg11", 3, 28), ("vgg11", 1, 28), ("lenet", 3, 16), ("alexnet", 3, 8), ("resnet18", 3, 9), ("convnet", 3, 8)],
)
def test_the_smallest_size_that_a_message_names_works(name, channels, size):
    with torch.no_grad():
        assert build(name, channels, size)(noise(2, channels, size, size)).isfinite().all()
