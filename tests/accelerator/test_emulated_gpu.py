"""The emulated accelerator computes what the CPU computes, and refuses and counts what CUDA does."""

import emulated_gpu
import pytest
import torch
from torch import nn

NOISE = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def images(emulated):
    return NOISE.to(emulated)


def gradients(images):
    """Gradients of a small network, and the gradient of their length with respect to the images."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(8, 8), nn.ReLU(inplace=True), nn.AvgPool2d(2), nn.Flatten()
        network = nn.Sequential(*layers, nn.Linear(128, 5)).to(images.device)
    leaf = images.clone().requires_grad_(True)
    loss = nn.functional.cross_entropy(network(leaf), torch.arange(4, device=images.device))
    given = torch.autograd.grad(loss, list(network.parameters()), create_graph=True)
    return [*(g.detach() for g in given), torch.autograd.grad(sum(g.square().sum() for g in given), leaf)[0]]


def test_gradients_of_gradients_are_those_of_the_cpu(images):
    for wanted, given in zip(gradients(NOISE), gradients(images), strict=True):
        assert given.device == images.device
        assert torch.equal(given.cpu(), wanted)


def test_views_share_memory(images):
    images[1:3, :, 2].zero_()
    assert not images.cpu()[1:3, :, 2].any()
    assert torch.equal(images.cpu()[0], NOISE[0])


@pytest.mark.parametrize(
    "mistake",
    [
        lambda images: images + NOISE,
        lambda images: NOISE.clone().add_(images),
        lambda images: torch.cat([images, NOISE]),
        lambda images: images @ torch.ones(8, 8),
        lambda images: NOISE[torch.zeros(1, dtype=torch.int64, device=images.device)],
        lambda images: torch.rand(3, generator=torch.Generator(), device=images.device),
        lambda images: images.numpy(),
    ],
)
def test_what_cuda_refuses_is_refused(images, mistake):
    with pytest.raises((RuntimeError, TypeError)):
        mistake(images)


def test_what_cuda_allows_is_allowed_and_counted(images):
    with emulated_gpu.counting() as counts:
        images * torch.tensor(2.0)
        assert not counts.events, "a CPU tensor of no dimension is an argument of the kernel"
        images[torch.tensor([0, 1])]
        assert counts.total("h2d") == 1, "a CPU index is uploaded"
        images[images > 0]
        assert counts.total("sync") == 1, "the number of true elements is read"
        images.sum().item()
        assert counts.total("sync") == 2
        images.cpu()
        assert counts.total("d2h") == 1
    assert counts.kernels == {"mul": 1, "index": 2, "gt": 1, "sum": 1}
    assert "test_emulated_gpu.py:" in counts.places()
    before = counts.launches
    images + images
    assert counts.launches == before
