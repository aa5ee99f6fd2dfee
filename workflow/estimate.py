"""Print what a study takes, stage by stage, and what it took so far: the command behind `make estimate`.

Reads the study and the files that there are, and tries out how fast this machine is; starts no Snakemake and writes
nothing.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing is written, so Ctrl-C may end this at once, imports included
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "scripts")]

from ddbias.base.errors import DdbiasError, unreadable
from ddbias.planning import load
from ddbias.planning.costs import networks
from ddbias.planning.costs.report import lines, report
from launcher import LaunchError, say
from launcher.arguments import jobs_at_once, parse, profile_settings


def main(words: list[str]) -> int:
    """Print the table; return the exit status."""
    config = ""
    try:
        options, _ = parse(words)
        config, name = options["config"] or "config.yaml", options["profile"]
        profile = profile_settings(name) if name else {}
        study = load.read(config, options["scale"])
        import speed  # here, since it loads torch, which no mistake has to wait for

        factor = speed.seconds_per_pass() / networks.PASS
        stages = report(study, speed=factor)
    except (LaunchError, DdbiasError) as error:
        where = "" if isinstance(error, LaunchError) else f"{config}: "
        for line in str(error).splitlines():
            say(f"{where}{line}")
        return 1
    except PermissionError as error:
        say(unreadable(error))
        return 1
    at_once, where = jobs_at_once(profile, name, options["cores"], study.config["threads"])
    print("\n".join(lines(study, stages, at_once, where)))
    print(
        f"Measured just now: a core of this machine takes {factor:.2f} times as long as that of the reference machine."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
