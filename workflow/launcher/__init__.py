"""What surrounds the jobs of a folder: starting Snakemake, its lock, its GPUs. Runs before there is an environment.

Standard library only; of the library it uses `environment`, `locks` and `terminal` of `ddbias.base`.
"""

from __future__ import annotations

import sys

from ddbias.base.terminal import terminal


class LaunchError(Exception):
    """What is wrong and what to do about it, in one line."""


def say(line: str) -> None:
    """Tell the user one line."""
    print(f"ddbias: {terminal(line)}", file=sys.stderr, flush=True)
