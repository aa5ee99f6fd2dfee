"""Where DSA's random numbers come from: one for the whole batch, or one for each image."""

from __future__ import annotations

import torch

# A parameter of the whole batch, or one per image, shape (B,).
Parameter = float | int | torch.Tensor


class SeededDraws:
    """One number per draw for the whole batch, each from a generator seeded one higher than the last.

    The published code draws B numbers and keeps the first, which is the number that is drawn alone here.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._generator = torch.Generator()

    def _next(self) -> torch.Generator:
        self._generator.manual_seed(self._seed)
        self._seed += 1
        return self._generator

    def choice(self, count: int) -> int:
        """Return one of 0 .. count - 1, for the whole batch."""
        return int(torch.randint(count, (1,), generator=self._next()).item())

    def integer(self, low: int, high: int) -> int:
        """Return a whole number of low .. high - 1."""
        return int(torch.randint(low, high, (1,), generator=self._next()).item())

    def uniform(self) -> float:
        """Return a number in 0 .. 1."""
        return torch.rand(1, generator=self._next()).item()


class BatchDraws:
    """One number per image and draw, shape (count,), all from one generator that is not seeded again, on its device."""

    def __init__(self, generator: torch.Generator, count: int) -> None:
        self._generator = generator
        self._count = count

    def choice(self, count: int) -> int:
        """Return one of 0 .. count - 1, for the whole batch."""
        return int(torch.randint(count, (1,), generator=self._generator, device=self._generator.device).item())

    def integer(self, low: int, high: int) -> torch.Tensor:
        """Return whole numbers of low .. high - 1, int64 (B,)."""
        return torch.randint(low, high, (self._count,), generator=self._generator, device=self._generator.device)

    def uniform(self) -> torch.Tensor:
        """Return numbers in 0 .. 1, float32 (B,)."""
        return torch.rand(self._count, generator=self._generator, device=self._generator.device)


Draws = SeededDraws | BatchDraws
