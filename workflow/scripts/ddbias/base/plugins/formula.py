"""Formulas in a declaration: what a kind costs, in its options and in what planning knows of the data.

A formula is text, like ``"0.05 + network * classes * (real_batch / 3 + ipc)"``: numbers, names, ``+ - * /``, ``or``,
``a if b == 'c' else d``, and the functions `min`, `max` and `at`. Nothing else is let through, so that working one out
runs no code of a plug-in.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping

NODES = (
    *(ast.Expression, ast.Constant, ast.Name, ast.Load, ast.Call, ast.UnaryOp, ast.USub, ast.BinOp, ast.operator),
    *(ast.BoolOp, ast.Or, ast.IfExp, ast.Compare, ast.Eq),
)
NO_OPERATORS = (ast.Pow, ast.LShift)  # a short text must not make a number that fills the memory


def at(value: float, *steps: float) -> float:
    """Return what holds at a value, of steps ``first, result, first, result, ...``; below the first, its result.

    Examples
    --------
    >>> at(1, 1, 50, 10, 30), at(49, 1, 50, 10, 30)
    (50, 30)
    """
    pairs = list(zip(steps[::2], steps[1::2], strict=True))
    return next((result for first, result in reversed(pairs) if first <= value), pairs[0][1])


FUNCTIONS = {"min": min, "max": max, "at": at}


def names(text: str) -> set[str]:
    """Return the names in a formula that are no functions.

    Raises
    ------
    ValueError
        If it is no formula, with the reason.
    """
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, TypeError, ValueError):
        raise ValueError("is no formula") from None
    for node in nodes:
        called = node.func if isinstance(node, ast.Call) else None
        if not isinstance(node, NODES) or isinstance(node, NO_OPERATORS) or getattr(node, "keywords", None):
            raise ValueError(f"holds {type(node).__name__}, which no formula may")
        if called is not None and getattr(called, "id", None) not in FUNCTIONS:
            raise ValueError(f"calls another function than {', '.join(FUNCTIONS)}")
    return {node.id for node in nodes if isinstance(node, ast.Name)} - set(FUNCTIONS)


def value(text: str, given: Mapping[str, object]) -> float | None:
    """Return what a formula comes to; None where a name is not given or null, so that it cannot be told."""
    names(text)
    try:
        return float(eval(text, {"__builtins__": {}, **FUNCTIONS}, dict(given)))
    except (NameError, TypeError, ValueError, ZeroDivisionError, OverflowError, MemoryError, IndexError):
        return None
