"""Stochastic gradient descent with momentum and weight decay, and Adam.

The same updates as ``torch.optim.SGD``, bit for bit, and ``torch.optim.Adam`` (tests compare them). Importing these
loads torch's compiler, which costs every job more than a second; and a state that is a list of tensors is easily saved
and restored.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch


class SGD:
    """``b <- momentum * b + (grad + weight_decay * p)``; ``p <- p - learning_rate * b`` (b starts as its first term).

    Parameters
    ----------
    parameters : iterable of Tensor
        Leaves that require a gradient; changed in place.
    learning_rate : float
    momentum : float
        0 keeps no buffers.
    weight_decay : float
    """

    def __init__(
        self, parameters: Iterable[torch.Tensor], *, learning_rate: float, momentum: float, weight_decay: float = 0.0
    ) -> None:
        self.parameters = list(parameters)
        self.learning_rate, self.momentum, self.weight_decay = learning_rate, momentum, weight_decay
        self.buffers: list[torch.Tensor] | None = None

    @torch.no_grad()
    def step(self, loss: torch.Tensor) -> None:
        """Differentiate `loss`, which must depend on every parameter, and move them all."""
        self.apply(torch.autograd.grad(loss, self.parameters))

    @torch.no_grad()
    def apply(self, gradients: Iterable[torch.Tensor]) -> None:
        """Move every parameter by its gradient; the gradients are not changed."""
        gradients = list(gradients)
        if self.weight_decay:
            gradients = list(torch._foreach_add(gradients, self.parameters, alpha=self.weight_decay))
        if self.momentum:
            if self.buffers is None:
                self.buffers = [gradient.clone() for gradient in gradients]
            else:
                torch._foreach_mul_(self.buffers, self.momentum)
                torch._foreach_add_(self.buffers, gradients)
            gradients = self.buffers
        torch._foreach_add_(self.parameters, gradients, alpha=-self.learning_rate)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the momentum buffers by position; empty before the first step."""
        return {f"momentum.{i}": buffer for i, buffer in enumerate(self.buffers or [])}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Restore the momentum buffers that `state_dict` returned; other keys of `state` are ignored."""
        self.buffers = None
        if "momentum.0" in state:
            self.buffers = [
                state[f"momentum.{i}"].to(parameter.device).clone() for i, parameter in enumerate(self.parameters)
            ]


class Adam:
    """``m <- 0.9 m + 0.1 grad``, ``v <- 0.999 v + 0.001 grad ** 2``, ``p <- p - rate * m' / (sqrt(v') + 1e-8)``.

    m' and v' are without their first value, 0: divided by 1 - 0.9 ** t and 1 - 0.999 ** t after t steps. Source: Kingma
    and Ba (arXiv 1412.6980).

    Parameters
    ----------
    parameters : iterable of Tensor
        Changed in place.
    learning_rate : float
    """

    BETAS, EPSILON = (0.9, 0.999), 1e-8

    def __init__(self, parameters: Iterable[torch.Tensor], *, learning_rate: float) -> None:
        self.parameters, self.learning_rate, self.steps = list(parameters), learning_rate, 0
        self.moments = [[torch.zeros_like(p, requires_grad=False) for p in self.parameters] for _ in self.BETAS]

    @torch.no_grad()
    def step(self, loss: torch.Tensor) -> None:
        """Differentiate `loss`, which must depend on every parameter, and move them all."""
        self.apply(torch.autograd.grad(loss, self.parameters))

    @torch.no_grad()
    def apply(self, gradients: Iterable[torch.Tensor]) -> None:
        """Move every parameter by its gradient; the gradients are not changed."""
        self.steps += 1
        for parameter, gradient, first, second in zip(self.parameters, gradients, *self.moments, strict=True):
            first.lerp_(gradient, 1 - self.BETAS[0])
            second.lerp_(gradient.square(), 1 - self.BETAS[1])
            mean, square = (m / (1 - beta**self.steps) for m, beta in zip((first, second), self.BETAS, strict=True))
            parameter -= self.learning_rate * mean / (square.sqrt() + self.EPSILON)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return both moments by position, and the number of steps."""
        named = {f"adam.{k}.{i}": m for k, moments in enumerate(self.moments) for i, m in enumerate(moments)}
        return named | {"adam.steps": torch.tensor(self.steps)}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Restore what `state_dict` returned; other keys of `state` are ignored."""
        self.steps = int(state["adam.steps"])
        for k, moments in enumerate(self.moments):
            for i, moment in enumerate(moments):
                moment.copy_(state[f"adam.{k}.{i}"])
