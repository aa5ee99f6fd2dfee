"""Print what a study takes, stage by stage, and what it took so far: the command behind `make estimate`.

Reads the study and the files that there are; starts no Snakemake and writes nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "scripts")]

from ddbias.base.errors import DdbiasError
from ddbias.planning import load
from ddbias.planning.costs.report import jobs_at_once, report
from launcher import LaunchError, say
from launcher.arguments import find_profile

DEFAULT = "config.yaml"
OPTIONS = ("config", "scale", "profile", "cores")


def main(arguments: list[str]) -> int:
    """Print the table; return the exit status."""
    options = dict.fromkeys(OPTIONS, "")
    for word in arguments:
        name, _, value = word.removeprefix("--").partition("=")
        if name not in options:
            say(f"unknown option {word}; known: {', '.join(OPTIONS)}")
            return 1
        options[name] = value
    path, profile = options["config"] or DEFAULT, {}
    try:
        if options["profile"]:
            profile = yaml.safe_load((find_profile(options["profile"]) / "config.yaml").read_text()) or {}
        study = load.read(path, options["scale"])
    except LaunchError as error:
        say(str(error))
        return 1
    except DdbiasError as error:
        for line in str(error).splitlines():
            say(f"{path}: {line}")
        return 1
    at_once, where = jobs_at_once(profile, options["profile"], options["cores"], study.config["threads"])
    print("\n".join(report(study).lines(at_once, where)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
