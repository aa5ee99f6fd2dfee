"""Group norm whose second derivative is a few operations.

Torch has one kernel for group norm and one for its gradient. Asked for the derivative of the gradient, which gradient
and trajectory matching need, it spells both out in some 150 small operations. Here each is the one kernel, with the
same bits, and what follows is written down.

Of a group of n values x let r = 1 / sqrt(var + eps), h = r (x - mean) and J = r (1 - 1 1^T / n - h h^T / n), the
Jacobian of h. It is symmetric. With affine parameters w and b the gradients for a slope s are J (w s), sum(s h) and
sum(s). The derivatives of v . J (w s) are w J v for s, sum(s J v) for w, and for x

    -(r / n) [(v . J (w s)) h + (h . w s) J v + (h . v) J (w s)].
"""

from __future__ import annotations

import torch
from torch import nn

aten = torch.ops.aten


class GroupNorm(nn.GroupNorm):
    """``nn.GroupNorm``, of images (B, C, H, W), with affine parameters.

    Examples
    --------
    >>> import torch
    >>> values = torch.randn(2, 6, 4, 4)
    >>> torch.equal(GroupNorm(3, 6)(values), torch.nn.GroupNorm(3, 6)(values))
    True
    """

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return values (B, C, H, W) normalised."""
        if not torch.is_grad_enabled():  # a function of Python costs small images time
            return super().forward(values)
        return _Normal.apply(_dense(values, values), self.weight, self.bias, self.num_groups, self.eps)[0]


class _Normal(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(values, weight, bias, groups, eps):
        return aten.native_group_norm(values, weight, bias, *_sizes(values), groups, eps)

    @staticmethod
    def setup_context(ctx, inputs, output):
        values, weight, _, *ctx.given = inputs
        _, mean, deviation = output
        ctx.mark_non_differentiable(mean, deviation)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(values, weight, mean, deviation)

    @staticmethod
    def backward(ctx, slope, *_):
        wanted = list(ctx.needs_input_grad[:3])
        return *_Gradient.apply(slope, *ctx.saved_tensors, *ctx.given, wanted), None, None


class _Gradient(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(slope, values, weight, mean, deviation, groups, eps, wanted):
        return _pulled_back(slope, values, weight, mean, deviation, groups, wanted)

    @staticmethod
    def setup_context(ctx, inputs, output):
        slope, values, weight, mean, deviation, groups, eps, _ = inputs
        ctx.given = groups, eps
        ctx.save_for_backward(slope, values, weight, mean, deviation)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, v, to_weight, to_bias):
        slope, values, weight, mean, deviation = ctx.saved_tensors
        groups, eps = ctx.given
        count, channels, pixels = _sizes(values)

        def jacobian(given: torch.Tensor) -> torch.Tensor:
            return _pulled_back(given, values, None, mean, deviation, groups, [True, False, False])[0]

        def of_group(sums: torch.Tensor) -> torch.Tensor:  # (B, C, 1, 1), the same for all channels of a group
            if groups == channels:
                return sums
            return _of_channels(sums.view(count, groups, -1).sum(2), channels)

        h = aten.native_group_norm(values, None, None, count, channels, pixels, groups, eps)[0]
        to_weight, to_bias = (None if one is None else one.view(-1, 1, 1) for one in (to_weight, to_bias))
        if v is None:
            v = torch.zeros_like(values)
        w, jv = weight.view(-1, 1, 1), jacobian(v)
        factor = _of_channels(deviation, channels) * (w * (-groups / (channels * pixels)))  # -w r / n
        along = _dot(jv, slope)
        inner = factor * of_group(_dot(v, h))
        to_slope = w * jv
        if to_weight is not None:
            inner = inner + to_weight
            to_slope = torch.addcmul(to_slope, to_weight, h)
        if to_bias is not None:
            to_slope = to_slope + to_bias
        to_values = jacobian(inner * slope)
        to_values = torch.addcmul(to_values, of_group(factor * along), h)
        to_values = torch.addcmul(to_values, of_group(factor * _dot(slope, h)), jv)
        return to_slope, to_values, along.sum(0).flatten(), None, None, None, None, None


def _pulled_back(slope, values, weight, mean, deviation, groups, wanted):
    sizes, slope = _sizes(values), _dense(slope, values)
    return aten.native_group_norm_backward(slope, values, mean, deviation, weight, *sizes, groups, wanted)


def _dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the products (B, C, 1, 1) of the channels of two tensors."""
    return (a * b).sum((2, 3), keepdim=True)


def _of_channels(values: torch.Tensor, channels: int) -> torch.Tensor:
    """Return values (B, G) of groups for their channels, (B, C, 1, 1)."""
    return values[:, :, None].expand(-1, -1, channels // values.shape[1]).reshape(len(values), channels, 1, 1)


def _sizes(values: torch.Tensor) -> tuple[int, int, int]:
    count, channels, height, width = values.shape
    return count, channels, height * width


def _dense(given: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return a tensor in the memory format of another that the kernels of its device know."""
    last = like.device.type == "cpu" and like.is_contiguous(memory_format=torch.channels_last)
    return given.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
