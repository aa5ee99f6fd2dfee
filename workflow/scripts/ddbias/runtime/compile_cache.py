"""Where jobs keep the code that torch compiles for them: beside the results, for all jobs and runs of a folder.

By default it lies in the temporary folder, of which every node of a cluster has its own and a restart leaves nothing.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from ddbias.base import locks
from ddbias.data import store
from ddbias.runtime import processor

VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
FOLDER = Path(".snakemake/compiled")


def use() -> None:
    """Point torch's compiler into this folder, unless the user has pointed it elsewhere; for the Snakefile.

    Every kind of processor has a part of its own: what is compiled for one (``-march=native``) may end with an
    illegal instruction on another, and the nodes of a cluster share this folder. Programs of several jobs do not
    disturb each other: torch writes whole files, under locks, so that it keeps its own place where this file system
    has none.
    """
    base = FOLDER.absolute()
    given = os.environ.get(VARIABLE)
    if given and base not in Path(given).parents:  # else from the machine where the run was started
        return
    os.environ.pop(VARIABLE, None)
    # torch 2.13 names the folder to the C++ compiler unquoted
    if shlex.quote(str(base)) == str(base) and locks.exist(Path.cwd()):
        os.environ[VARIABLE] = str(base / store.digest(processor.describe()))
