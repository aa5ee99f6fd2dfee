"""Torch's own group norm is the truth: to the bit where it has a kernel, in float64 for the second derivative."""

import pytest
import torch
from ddbias.learning.networks.group_norm import GroupNorm
from torch import nn
from torch.func import functional_call

FORMATS = (torch.contiguous_format, torch.channels_last)


@pytest.fixture(params=FORMATS, ids=("contiguous", "channels_last"))
def given(request):
    """Values (4, 6, 5, 3), weight and bias, leaves in float64."""
    generator = torch.Generator().manual_seed(0)
    values, weight, bias = (torch.randn(s, generator=generator, dtype=torch.float64) for s in ((4, 6, 5, 3), 6, 6))
    leaves = values.contiguous(memory_format=request.param), weight, bias
    return [leaf.requires_grad_(True) for leaf in leaves]


def both(groups):
    """Ours and torch's, as functions of values, weight and bias."""
    return [
        lambda values, weight, bias, norm=norm: functional_call(norm, {"weight": weight, "bias": bias}, (values,))
        for norm in (GroupNorm(groups, 6), nn.GroupNorm(groups, 6))
    ]


@pytest.mark.parametrize("slope_format", FORMATS)
@pytest.mark.parametrize("groups", [1, 3, 6])
def test_result_and_gradient_have_torchs_bits(given, groups, slope_format):
    given = [leaf.detach().float().requires_grad_(True) for leaf in given]
    slope = torch.rand(given[0].shape).contiguous(memory_format=slope_format)
    ours, torchs = ([norm(*given), *torch.autograd.grad(norm(*given), given, slope)] for norm in both(groups))
    assert all(map(torch.equal, ours, torchs))


@pytest.mark.parametrize("which", [(0,), (1,), (2,), (0, 1, 2)])
@pytest.mark.parametrize("groups", [1, 3, 6])
def test_the_second_derivative_is_torchs(given, groups, which):
    def twice(norm):
        result = norm(*given)
        slopes = torch.autograd.grad(result.square().sin().sum(), given, create_graph=True)
        return torch.autograd.grad(sum(slopes[i].square().sum() for i in which), given)

    ours, torchs = map(twice, both(groups))
    torch.testing.assert_close(ours, torchs, rtol=1e-9, atol=1e-9)


def test_the_second_derivative_is_that_of_the_gradient(given):
    assert torch.autograd.gradgradcheck(both(3)[0], given, fast_mode=True)
