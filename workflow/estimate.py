"""Print what a study takes, stage by stage, and what it took so far: the command behind `make estimate`.

Reads the study and the files that there are; starts no Snakemake and writes nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import launch
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent / "scripts"))

from ddbias import cost_report
from ddbias.errors import DdbiasError
from ddbias.study import Study

DEFAULT = "config.yaml"
OPTIONS = ("config", "scale", "profile", "cores")


def read_study(path: str, scale: str) -> Study:
    """Return the study of a file, at another scale if one is given."""
    try:
        config = yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise DdbiasError(f"cannot be read as a study ({reason}); name a file of studies/ with CONFIG=") from None
    return Study(config | {"scale": scale} if scale and isinstance(config, Mapping) else config)


def read_profile(name: str) -> dict:
    """Return the settings of a profile, given its name or its folder; raises `launch.LaunchError` if there is none."""
    return yaml.safe_load((launch.find_profile(name) / "config.yaml").read_text()) or {}


def jobs_at_once(profile: Mapping, name: str, cores: str, threads: int) -> tuple[int, str]:
    """Return how many jobs run at a time, and what says so."""
    if profile.get("executor", "local") != "local" and isinstance(profile.get("jobs"), int):
        return profile["jobs"], f"profile {name}"
    given = cores if cores.isdecimal() else str(profile.get("cores", ""))
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = int(given) if given.isdecimal() and int(given) else available
    return max(1, count // threads), f"{count} cores, {threads} a job"


def main(arguments: list[str]) -> int:
    """Print the table; return the exit status."""
    options = dict.fromkeys(OPTIONS, "")
    for word in arguments:
        name, _, value = word.removeprefix("--").partition("=")
        if name not in options:
            print(f"ddbias: unknown option {word}; known: {', '.join(OPTIONS)}", file=sys.stderr)
            return 1
        options[name] = value
    path = options["config"] or DEFAULT
    try:
        profile = read_profile(options["profile"]) if options["profile"] else {}
        study = read_study(path, options["scale"])
    except launch.LaunchError as error:
        launch.say(str(error))
        return 1
    except DdbiasError as error:
        print("\n".join(f"ddbias: {path}: {line}" for line in str(error).splitlines()), file=sys.stderr)
        return 1
    at_once, where = jobs_at_once(profile, options["profile"], options["cores"], study.config["threads"])
    print("\n".join(cost_report.report(study).lines(at_once, where)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
