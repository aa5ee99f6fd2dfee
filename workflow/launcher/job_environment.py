"""What the Snakefile tells its jobs, through the environment: for the top of the Snakefile.

The names of the variables are in `ddbias.base.environment`.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping

from ddbias.base.environment import COMMIT, GIVEN, RUN_PID


class ExecutableName(str):
    """A path that is quoted for the shell whenever it is formatted into a command, and plain text otherwise."""

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        return format(shlex.quote(str(self)), spec)


def quote_executable() -> None:
    """Make script jobs work when the environment's path holds a space.

    Snakemake 9.27 formats ``sys.executable`` unquoted into the shell commands of its jobs. To be called at the top of
    the Snakefile, which every Snakemake process reads.
    """
    if shlex.quote(sys.executable) != sys.executable:
        sys.executable = ExecutableName(sys.executable)


def put_library_first(scripts: str) -> None:
    """Make jobs import the library in the folder `scripts`, the one that was planned with, whatever else is installed.

    Snakemake 9.27 puts the folder of a script behind the packages of the environment.
    """
    given = os.environ.get("PYTHONPATH", "")
    if given.split(os.pathsep)[0] != scripts:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [scripts, given]))


def name_run(checkout: str) -> None:
    """Tell the jobs of this Snakemake process which run they belong to; for the top of the Snakefile.

    A job ends with its run (`ddbias.runtime.job`). The commit is shown in tables; it is never a parameter, so a new
    commit alone reruns nothing.
    """
    os.environ[RUN_PID] = str(os.getpid())
    os.environ[COMMIT] = commit(checkout)


def name_given(configfiles: Iterable[str | os.PathLike], settings: Mapping[str, object]) -> None:
    """Tell jobs the study files and settings of the command line, for the command that makes a distilled set again."""
    given = [word for path in configfiles for word in ("--configfile", os.path.relpath(path))]
    if settings:
        given += ["--config", *(f"{key}={value}" for key, value in settings.items())]
    os.environ[GIVEN] = shlex.join(given)


def commit(checkout: str) -> str:
    """Return the short name of a checkout's commit, with a + when it has changes, or ``unknown``."""
    call = ["git", "-C", checkout, "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
