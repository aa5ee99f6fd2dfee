"""Start Snakemake in this folder: the command behind `make run`.

``python workflow/launch.py --config= --cores= --scale= --profile= --to= -- ARGUMENTS OF SNAKEMAKE``, or ``--clean``.
It *becomes* Snakemake (``exec``), whose Snakefile takes the lock of the folder (`launcher.lock`). Before that the study
files that ``CONFIG`` and ``ARGS`` name are read by ourselves: Snakemake's reader would run what a file holds for yte.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "scripts")]  # also where Python leaves the folder of a script out (`-I`)

from ddbias.base import environment
from launcher import LaunchError, say
from launcher.arguments import parse, study_files
from launcher.start import clean, launch


def main(arguments: list[str]) -> int:
    """Launch or clean; return the exit status where Snakemake is not started."""
    try:
        if arguments == ["--clean"]:
            clean()
        else:
            options, extra = parse(arguments)
            if wrong := environment.problems():
                raise LaunchError(wrong[0])
            for path in study_files(options["config"], extra):
                check(path)
            launch(options, extra)
    except LaunchError as error:
        say(str(error))
        return 1
    except OSError as error:
        say(f"{error.strerror}: {error.filename}; change its owner or rights and run again")
        return 1
    return 0


def check(path: str) -> None:
    """Refuse a study file that cannot be read, or that would run code while it is read."""
    from ddbias.base.errors import DdbiasError
    from ddbias.planning.study_file import read_yaml

    if not Path(path).is_file():
        return  # which is told together with the files that there are
    try:
        found = read_yaml(path)
    except DdbiasError as error:
        raise LaunchError(f"{path}: {error}") from None
    if not isinstance(found, dict):
        raise LaunchError(f"{path}: a study is a mapping of keys such as study, datasets, grid; see docs/config.md")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
