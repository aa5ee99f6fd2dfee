"""Print how far a study is and what its jobs do: the command behind `make status`.

Reads the study, the files that there are and what running jobs tell (`ddbias.runtime.progress`), on this machine or on
the nodes of a cluster; starts no Snakemake and writes nothing.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing is written, so Ctrl-C may end this at once, imports included
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "scripts")]

from ddbias.base.errors import DdbiasError, unreadable
from ddbias.planning import load, progress
from launcher import LaunchError, say
from launcher.arguments import jobs_at_once, parse


def main(words: list[str]) -> int:
    """Print the overview; return the exit status."""
    config = ""
    try:
        options, _ = parse(words)
        config = options["config"] or "config.yaml"
        study = load.read(config, options["scale"])
        found = progress.overview(study)
        if not found.running:  # as many as a run would start here
            at_once, _ = jobs_at_once({}, "", options["cores"], study.config["threads"])
            found = progress.overview(study, at_once=at_once)
    except (LaunchError, DdbiasError) as error:
        where = "" if isinstance(error, LaunchError) else f"{config}: "
        for line in str(error).splitlines():
            say(f"{where}{line}")
        return 1
    except PermissionError as error:
        say(unreadable(error))
        return 1
    print("\n".join(progress.lines(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
