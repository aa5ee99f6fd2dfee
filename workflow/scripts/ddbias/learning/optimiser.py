"""Stochastic gradient descent with momentum and weight decay.

The same update as ``torch.optim.SGD``, bit for bit (a test compares them). Importing that class loads torch's
compiler, which costs every job more than a second; and a state that is a list of tensors is easily saved and restored.
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
