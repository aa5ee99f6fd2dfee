"""Gradients through a number of SGD steps on what is learned: exactly, exactly in little memory, or as TESLA does.

Parameters start at theta_0 and take N steps ``theta_{i+1} = theta_i - a g_i`` with ``g_i = grad L(X_i, theta_i)``. The
loss of MTT (Cazenavette et al., arXiv 2203.11932) is ``|theta_N - theta*|^2 / |theta_0 - theta*|^2``, wanted are its
gradients with respect to what is learned, X (the images, perhaps with their soft labels), and the step size a. With the
adjoint ``l_N = 2 (theta_N - theta*) / |theta_0 - theta*|^2`` they are

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
# slopes(learned, parameters, turn, create_graph) -> the gradients g of step `turn`, one tensor per parameter
Slopes = Callable[[Tensors, Tensors, int, bool], Tensors]
# loss, its gradients with respect to what is learned, and to the step size
Result = tuple[torch.Tensor, list[torch.Tensor], torch.Tensor]


def graph(slopes: Slopes, learned: Tensors, rate: torch.Tensor, start: Tensors, target: Tensors, steps: int) -> Result:
    """Return the loss and its gradients by one graph through all steps.

    Parameters
    ----------
    slopes : callable
        The gradients of a step, see `Slopes`; differentiable in what is learned and in the parameters when asked for a
        graph, and the same whenever it is called for the same turn.
    learned : sequence of Tensor of float
        The images, and whatever else is learned and enters a step.
    rate : Tensor of float, a scalar
        The step size.
    start, target : sequence of Tensor
        Parameters theta_0 and theta*, in the same order and shapes.
    steps : int
        N, at least 1.

    Returns
    -------
    tuple
        The loss, a scalar; the list of its gradients with respect to what is learned; that to the step size, a scalar.
    """
    *learned, rate = _leaves([*learned, rate])
    parameters = _leaves(start)
    for turn in range(steps):
        parameters = [p - rate * g for p, g in zip(parameters, slopes(learned, parameters, turn, True), strict=True)]
    loss = squared_distance(parameters, target) / squared_distance(start, target)
    *gradients, rate_gradient = torch.autograd.grad(loss, [*learned, rate])
    return loss.detach(), gradients, rate_gradient


def replay(slopes: Slopes, learned: Tensors, rate: torch.Tensor, start: Tensors, target: Tensors, steps: int) -> Result:
    """Return what `graph` returns, holding the graph of one step at a time."""
    passed, back = [start], -rate.item()
    for turn in range(steps):
        passed.append(_moved(slopes, learned, back, passed[-1], turn))
    loss, adjoint = _end(start, passed.pop(), target)
    learned, rate_gradient = _leaves(learned), torch.zeros_like(rate)
    gradients = [torch.zeros_like(tensor) for tensor in learned]
    for turn in reversed(range(steps)):
        parameters = _leaves(passed.pop())
        given = slopes(learned, parameters, turn, True)
        rate_gradient -= _dot(given, adjoint)
        found = torch.autograd.grad(given, [*learned, *parameters], grad_outputs=adjoint, materialize_grads=True)
        to_learned, to_parameters = found[: len(learned)], found[len(learned) :]
        _subtract(gradients, rate, to_learned)
        adjoint = torch._foreach_add(adjoint, to_parameters, alpha=back)
    return loss, gradients, rate_gradient.detach()


def constant(
    slopes: Slopes, learned: Tensors, rate: torch.Tensor, start: Tensors, target: Tensors, steps: int
) -> Result:
    """Return the loss and TESLA's gradients; parameters and result as in `graph`."""
    final, back = start, -rate.item()
    for turn in range(steps):
        final = _moved(slopes, learned, back, final, turn)
    loss, adjoint = _end(start, final, target)
    learned, rate_gradient = _leaves(learned), torch.zeros_like(rate)
    gradients = [torch.zeros_like(tensor) for tensor in learned]
    parameters = start
    for turn in range(steps):
        parameters = _leaves(parameters)
        given = slopes(learned, parameters, turn, True)
        _subtract(gradients, rate, torch.autograd.grad(given, learned, grad_outputs=adjoint))
        given = [g.detach() for g in given]
        rate_gradient -= _dot(given, adjoint)
        parameters = torch._foreach_add([p.detach() for p in parameters], given, alpha=back)
    return loss, gradients, rate_gradient.detach()


WAYS: dict[str, Callable[..., Result]] = {"graph": graph, "replay": replay, "constant": constant}


def squared_distance(a: Tensors, b: Tensors) -> torch.Tensor:
    """Return the squared distance of two sets of parameters, a scalar."""
    return torch.stack([(x - y).square().sum() for x, y in zip(a, b, strict=True)]).sum()


def _leaves(parameters: Tensors) -> list[torch.Tensor]:
    return [parameter.detach().requires_grad_(True) for parameter in parameters]


def _subtract(sums: Tensors, rate: torch.Tensor, terms: Tensors) -> None:
    """Subtract from each sum the rate times its term."""
    for total, term in zip(sums, terms, strict=True):
        total -= rate.detach() * term.detach()


def _moved(slopes: Slopes, learned: Tensors, back: float, parameters: Tensors, turn: int) -> Tensors:
    """Return the parameters after a step of minus the rate, without a graph."""
    given = slopes([tensor.detach() for tensor in learned], _leaves(parameters), turn, False)
    return torch._foreach_add([p.detach() for p in parameters], list(given), alpha=back)


def _end(start: Tensors, final: Tensors, target: Tensors) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return the loss and its gradient with respect to the last parameters."""
    whole = squared_distance(start, target)
    return squared_distance(final, target) / whole, [2 / whole * (x - y) for x, y in zip(final, target, strict=True)]


def _dot(a: Tensors, b: Tensors) -> torch.Tensor:
    return torch.stack([(x.detach() * y).sum() for x, y in zip(a, b, strict=True)]).sum()
