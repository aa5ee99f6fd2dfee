"""What surrounds the jobs of a folder: starting Snakemake, its lock, its GPUs. Runs before there is an environment.

Standard library only; of the library it uses the names of environment variables (`ddbias.base.environment`).
"""

from __future__ import annotations

import sys


class LaunchError(Exception):
    """What is wrong and what to do about it, in one line."""


def say(line: str) -> None:
    """Tell the user one line."""
    print(f"ddbias: {line}", file=sys.stderr, flush=True)
