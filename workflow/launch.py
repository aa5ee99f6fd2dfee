"""Start Snakemake in this folder: the command behind `make run`. Standard library only.

``python workflow/launch.py --config= --cores= --scale= --profile= --to= -- ARGUMENTS OF SNAKEMAKE``, or ``--clean``.
It *becomes* Snakemake (``exec``), whose Snakefile takes the lock of the folder (`launcher.lock`).
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "scripts")]  # also where Python leaves the folder of a script out (`-I`)

from launcher import LaunchError, say
from launcher.arguments import parse
from launcher.start import clean, launch


def main(arguments: list[str]) -> int:
    """Launch or clean; return the exit status where Snakemake is not started."""
    try:
        if arguments == ["--clean"]:
            clean()
        else:
            launch(*parse(arguments))
    except LaunchError as error:
        say(str(error))
        return 1
    except OSError as error:
        say(f"{error.strerror}: {error.filename}; change its owner or rights and run again")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
