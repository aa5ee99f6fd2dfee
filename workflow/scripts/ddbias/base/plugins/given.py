"""What code of a kind gave is looked at where it is given, so that a mistake is not met much later, in other code."""

from __future__ import annotations

from collections.abc import Sequence

from ddbias.base.errors import Misuse


def need(value: object, what: str, of: str | None, *, shape: Sequence[int | None], types: Sequence[str]) -> None:
    """Refuse what is no array or tensor of a shape and type.

    Parameters
    ----------
    value : ndarray, Tensor or anything else
    what : str
        Its name for the message.
    of : str or None
        The function that gave it.
    shape : sequence of int or None
        None stands for any number.
    types : sequence of str
        Names of types that are taken, such as ``float32``.

    Raises
    ------
    Misuse

    Examples
    --------
    >>> import numpy as np
    >>> need(np.ones(3), "the weights", "sample_weights", shape=[3], types=["float64"])
    >>> need([1, 1, 1], "the weights", "sample_weights", shape=[3], types=["float64"])
    Traceback (most recent call last):
    ddbias.base.errors.Misuse: gives list for the weights, not float64 (3,)
    """
    given, name = getattr(value, "shape", None), str(getattr(value, "dtype", "")).removeprefix("torch.")
    fits = given is not None and len(given) == len(shape)
    fits = fits and all(size in (None, own) for own, size in zip(given, shape, strict=True))
    if not fits or name not in types:
        told = type(value).__name__ if given is None else f"{name} {tuple(given)}"
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        wanted = f"{' or '.join(types)} ({sizes}{',' if len(shape) == 1 else ''})"
        raise Misuse(f"gives {told} for {what}, not {wanted}", of)


def need_kind(value: object, kind: type, what: str, of: str | None) -> None:
    """Refuse what is not of a class; raises `Misuse`."""
    if not isinstance(value, kind):
        raise Misuse(f"gives {type(value).__name__} for {what}, not {kind.__name__}", of)
