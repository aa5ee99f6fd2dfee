"""Print what a study takes, stage by stage, and what it took so far: the command behind `make estimate`.

Reads the study and the files that there are, and tries out how fast this machine is; starts no Snakemake and writes
nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "scripts")]

from ddbias.base.errors import DdbiasError
from ddbias.planning import load
from ddbias.planning.costs import networks
from ddbias.planning.costs.report import lines, report
from launcher import LaunchError, say
from launcher.arguments import find_profile, jobs_at_once

OPTIONS = {"config": "config.yaml", "scale": "", "profile": "", "cores": ""}


def main(arguments: list[str]) -> int:
    """Print the table; return the exit status."""
    options, profile = dict(OPTIONS), {}
    try:
        for word in arguments:
            key, _, value = word.removeprefix("--").partition("=")
            if key not in options:
                raise LaunchError(f"unknown option {word}; known: {', '.join(OPTIONS)}")
            options[key] = value or options[key]
        if name := options["profile"]:
            profile = yaml.safe_load((find_profile(name) / "config.yaml").read_text()) or {}
        study = load.read(options["config"], options["scale"])
    except (LaunchError, DdbiasError) as error:
        where = "" if isinstance(error, LaunchError) else f"{options['config']}: "
        for line in str(error).splitlines():
            say(f"{where}{line}")
        return 1
    quiet = os.environ | {"OMP_NUM_THREADS": "1"}
    tried = subprocess.run([sys.executable, str(HERE / "speed.py")], capture_output=True, text=True, env=quiet)
    speed = float(tried.stdout) / networks.PASS if tried.returncode == 0 else 1.0
    at_once, where = jobs_at_once(profile, name, options["cores"], study.config["threads"])
    print("\n".join(lines(study, report(study, speed=speed), at_once, where)))
    print(f"Tried out just now: a core of this machine takes {speed:.2f} times as long as the measured one.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
