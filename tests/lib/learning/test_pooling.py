"""Torch's average pooling is the truth, to the bit."""

import pytest
import torch
from ddbias.learning.networks.pooling import AveragePooling
from torch import nn

OURS, TORCHS = AveragePooling(), nn.AvgPool2d(2)


def images(*shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(3, 5, 8, 6), (2, 1, 7, 8), (2, 3, 5, 5), (1, 4, 2, 2)])
def test_result_and_gradient_have_torchs_bits(shape, form):
    leaf = images(*shape).contiguous(memory_format=form).requires_grad_(True)
    slope = images(*shape[:2], shape[2] // 2, shape[3] // 2)
    for each in (slope, slope.contiguous(memory_format=form)):
        ours, torchs = ([pool(leaf), *torch.autograd.grad(pool(leaf), leaf, each)] for pool in (OURS, TORCHS))
        assert all(map(torch.equal, ours, torchs))
    assert torch.equal(OURS(leaf.detach()), TORCHS(leaf.detach()))


def test_special_values_pass_as_torch_lets_them():
    given = torch.tensor([[float("inf"), -float("inf")], [1.0, float("nan")], [3e38, 3e38], [3e38, 1e-45]])
    given = given.view(1, 1, 4, 2)
    torch.testing.assert_close(OURS(given), TORCHS(given), rtol=0, atol=0, equal_nan=True)


def test_derivatives_of_all_orders():
    leaf = images(2, 3, 4, 6, dtype=torch.float64).requires_grad_(True)
    assert torch.autograd.gradcheck(OURS, leaf)
    assert torch.autograd.gradgradcheck(OURS, leaf)
    ours, torchs = (
        torch.autograd.grad(torch.autograd.grad(pool(leaf.sin()).exp().sum(), leaf, create_graph=True)[0].sum(), leaf)
        for pool in (OURS, TORCHS)
    )
    torch.testing.assert_close(ours, torchs, rtol=1e-12, atol=1e-12)


def test_many_sets_of_images_at_once():
    """As the gradients of all classes at once ask for it."""
    many, slopes = images(4, 2, 3, 4, 4), images(4, 2, 3, 2, 2)

    def gradient(pool):
        return lambda given, slope: torch.func.vjp(pool, given)[1](slope)[0]

    ours, torchs = (torch.func.vmap(gradient(pool))(many, slopes) for pool in (OURS, TORCHS))
    assert torch.equal(ours, torchs)
