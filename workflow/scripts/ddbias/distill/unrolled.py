"""Gradients through a number of SGD steps on synthetic images: exactly, exactly in little memory, or as TESLA does.

Parameters start at theta_0 and take N steps ``theta_{i+1} = theta_i - a g_i`` with ``g_i = grad L(X_i, theta_i)``. The
loss of MTT (Cazenavette et al., arXiv 2203.11932) is ``|theta_N - theta*|^2 / |theta_0 - theta*|^2``, wanted are its
gradients with respect to the images X and the step size a. With the adjoint ``l_N = 2 (theta_N - theta*) / |theta_0 -
theta*|^2`` they are

    dX = -a sum_i (d g_i / dX)^T l_{i+1},    da = -sum_i g_i . l_{i+1},    l_i = l_{i+1} - a H_i l_{i+1},

H_i being the Hessian of step i. Three ways to them:

``graph``
    one graph through all steps, as the public code of MTT. Memory grows by the graph of a step with each step.
``replay``
    the same values by the recursion above: the steps are done once without a graph, then backwards, each one again
    with its own graph. Memory grows by one set of parameters a step; costs one forward and backward pass more.
``constant``
    TESLA (Cui et al., arXiv 2211.10586), whose memory does not depend on N. It expands the numerator into ``|theta_0 -
    theta*|^2 - 2 a (theta_0 - theta*) . G + a^2 |G|^2`` with ``G = sum_i g_i`` and differentiates each g_i with respect
    to its own images *at fixed theta_i*. That is the recursion with ``l_i = l_N``: the Hessian terms, through which the
    images and the size of a step act on later gradients, are dropped. So it is exact for one step, and otherwise an
    approximation whose error grows with ``a N |H|``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

Tensors = Sequence[torch.Tensor]
# slopes(images, parameters, turn, create_graph) -> the gradients g of step `turn`, one tensor per parameter
Slopes = Callable[[torch.Tensor, Tensors, int, bool], Tensors]
# loss, its gradient with respect to the images, and to the step size
Result = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def graph(
    slopes: Slopes, images: torch.Tensor, rate: torch.Tensor, start: Tensors, target: Tensors, steps: int
) -> Result:
    """Return the loss and its gradients by one graph through all steps.

    Parameters
    ----------
    slopes : callable
        The gradients of a step, see `Slopes`; differentiable in images and parameters when asked for a graph, and the
        same whenever it is called for the same turn.
    images : Tensor of float, shape (M, C, H, W)
    rate : Tensor of float, a scalar
        The step size.
    start, target : sequence of Tensor
        Parameters theta_0 and theta*, in the same order and shapes.
    steps : int
        N, at least 1.

    Returns
    -------
    tuple of Tensor
        The loss, a scalar; its gradient with respect to the images, (M, C, H, W), and to the step size, a scalar.
    """
    images, rate = (tensor.detach().requires_grad_(True) for tensor in (images, rate))
    parameters = _leaves(start)
    for turn in range(steps):
        parameters = [p - rate * g for p, g in zip(parameters, slopes(images, parameters, turn, True), strict=True)]
    loss = squared_distance(parameters, target) / squared_distance(start, target)
    return loss.detach(), *torch.autograd.grad(loss, [images, rate])


def replay(
    slopes: Slopes, images: torch.Tensor, rate: torch.Tensor, start: Tensors, target: Tensors, steps: int
) -> Result:
    """Return what `graph` returns, holding the graph of one step at a time."""
    passed, back = [start], -rate.item()
    for turn in range(steps):
        passed.append(_moved(slopes, images, back, passed[-1], turn))
    loss, adjoint = _end(start, passed.pop(), target)
    images = images.detach().requires_grad_(True)
    gradient, rate_gradient = torch.zeros_like(images), torch.zeros_like(rate)
    for turn in reversed(range(steps)):
        parameters = _leaves(passed.pop())
        given = slopes(images, parameters, turn, True)
        rate_gradient -= _dot(given, adjoint)
        to_images, *to_parameters = torch.autograd.grad(
            given, [images, *parameters], grad_outputs=adjoint, materialize_grads=True
        )
        gradient -= rate.detach() * to_images
        adjoint = torch._foreach_add(adjoint, to_parameters, alpha=back)
    return loss, gradient.detach(), rate_gradient.detach()


def constant(
    slopes: Slopes, images: torch.Tensor, rate: torch.Tensor, start: Tensors, target: Tensors, steps: int
) -> Result:
    """Return the loss and TESLA's gradients; parameters and result as in `graph`."""
    final, back = start, -rate.item()
    for turn in range(steps):
        final = _moved(slopes, images, back, final, turn)
    loss, adjoint = _end(start, final, target)
    images = images.detach().requires_grad_(True)
    gradient, rate_gradient = torch.zeros_like(images), torch.zeros_like(rate)
    parameters = start
    for turn in range(steps):
        parameters = _leaves(parameters)
        given = slopes(images, parameters, turn, True)
        (to_images,) = torch.autograd.grad(given, [images], grad_outputs=adjoint)
        given = [g.detach() for g in given]
        gradient -= rate.detach() * to_images
        rate_gradient -= _dot(given, adjoint)
        parameters = torch._foreach_add([p.detach() for p in parameters], given, alpha=back)
    return loss, gradient.detach(), rate_gradient.detach()


WAYS: dict[str, Callable[..., Result]] = {"graph": graph, "replay": replay, "constant": constant}


def squared_distance(a: Tensors, b: Tensors) -> torch.Tensor:
    """Return the squared distance of two sets of parameters, a scalar."""
    return torch.stack([(x - y).square().sum() for x, y in zip(a, b, strict=True)]).sum()


def _leaves(parameters: Tensors) -> list[torch.Tensor]:
    return [parameter.detach().requires_grad_(True) for parameter in parameters]


def _moved(slopes: Slopes, images: torch.Tensor, back: float, parameters: Tensors, turn: int) -> Tensors:
    """Return the parameters after a step of minus the rate, without a graph."""
    given = slopes(images.detach(), _leaves(parameters), turn, False)
    return torch._foreach_add([p.detach() for p in parameters], list(given), alpha=back)


def _end(start: Tensors, final: Tensors, target: Tensors) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return the loss and its gradient with respect to the last parameters."""
    whole = squared_distance(start, target)
    return squared_distance(final, target) / whole, [2 / whole * (x - y) for x, y in zip(final, target, strict=True)]


def _dot(a: Tensors, b: Tensors) -> torch.Tensor:
    return torch.stack([(x.detach() * y).sum() for x, y in zip(a, b, strict=True)]).sum()
