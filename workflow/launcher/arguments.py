"""What the user asked of `make`, and what Snakemake is called with."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from launcher import LaunchError, gpus

PROFILES = Path("workflow/profiles")
PROFILE = "workstation"


def parse(arguments: list[str]) -> tuple[dict[str, str], list[str]]:
    """Split ``--config= --cores= --scale= --profile= --to= -- ARGUMENTS OF SNAKEMAKE``; empty means the default."""
    ours, extra = arguments, []
    if "--" in arguments:
        at = arguments.index("--")
        ours, extra = arguments[:at], arguments[at + 1 :]
    options = {"config": "", "cores": "", "scale": "", "profile": "", "to": ""}
    for word in ours:
        name, _, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or name not in options:
            known = ", ".join(f"--{name}=" for name in options)
            raise LaunchError(f"unknown option {word}; known: {known}, and -- before Snakemake's")
        options[name] = value
    cores = options["cores"]
    if cores not in ("", "all") and not (cores.isdecimal() and int(cores) > 0):
        raise LaunchError(f"CORES={cores} is neither a positive number nor 'all'")
    return options, extra


def find_profile(name: str) -> Path:
    """Return the folder of a profile, given its name under `workflow/profiles` or a folder of one's own."""
    for folder in (PROFILES / name, Path(name)):
        if (folder / "config.yaml").is_file():
            return folder
    known = ", ".join(sorted(path.parent.name for path in PROFILES.glob("*/config.yaml")))
    raise LaunchError(f"there is no profile '{name}'; known profiles: {known}, or a folder with a config.yaml")


def submits(profile: Path) -> bool:
    """Tell whether a profile hands jobs to a cluster; the cores of this machine are then not what they run on."""
    return any(line.startswith("executor:") for line in (profile / "config.yaml").read_text().splitlines())


def profile_settings(name: str) -> dict:
    """Return what a profile says; for who has the environment, since the standard library reads no YAML."""
    import yaml

    path = find_profile(name) / "config.yaml"
    try:
        found = yaml.safe_load(path.read_bytes())
    except yaml.YAMLError as error:
        raise LaunchError(f"{path} is no YAML ({' '.join(str(error).split())}); correct it") from None
    if found is not None and not isinstance(found, dict):
        raise LaunchError(f"{path}: a profile is a mapping of Snakemake's options such as executor, jobs; correct it")
    return found or {}


def jobs_at_once(profile: Mapping, name: str, cores: str, threads: int) -> tuple[int, str]:
    """Return how many jobs run at a time, and what says so.

    Parameters
    ----------
    profile : mapping
        The settings of the profile called `name`; empty for this machine.
    name : str
    cores : str
        As the user gave them, ``all`` or nothing for what is here.
    threads : int
        Of a job.
    """
    if profile.get("executor", "local") != "local" and isinstance(profile.get("jobs"), int):
        return profile["jobs"], f"profile {name}"
    given = cores if cores.isdecimal() else str(profile.get("cores", ""))
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = int(given) if given.isdecimal() and int(given) else available
    return max(1, count // threads), f"{count} cores, {threads} a job"


def snakemake_arguments(
    config: str, cores: str, scale: str, extra: list[str], to: str = "", profile: str = "", gpus: int = 0
) -> list[str]:
    """Return Snakemake's command-line arguments; `extra` are the user's own, which win.

    `gpus` is how many jobs this machine's GPUs hold at once, 0 without one. An option that takes several values
    swallows a target after it, hence the order.
    """
    if config and not Path(config).is_file():
        known = ", ".join(str(path) for path in sorted(Path("studies").glob("*.yaml"))) or "none in studies/"
        raise LaunchError(f"there is no configuration file '{config}'; known studies: {known}")
    extra = list(extra)
    arguments = ["--configfile", config] if config else []
    if " #" in to or ": " in to or to.endswith(":"):
        raise LaunchError(f"TO={to}: Snakemake reads ' #' and ': ' in a way of its own; choose another folder")
    if to and not to.startswith(("/", "~", "./", "../")):
        to = f"./{to}"  # so that Snakemake reads the folder 2024 as text
    settings = [f"{key}={value}" for key, value in (("scale", scale), ("export_to", to)) if value]
    arguments += _joined("--config", "-C", settings, extra)
    if gpus and not any(re.match(r"(--res(ources)?=)?gpu=", word) for word in extra):
        arguments += _joined("--resources", "--res", [f"gpu={gpus}"], extra)
    folder = find_profile(profile or PROFILE)
    if cores != "all" or not submits(folder):
        arguments += ["--cores", cores]
    if not any(word.split("=")[0] == "--workflow-profile" for word in extra):
        arguments += ["--workflow-profile", str(folder)]
    return [*arguments, "--rerun-incomplete", *extra]  # a profile of the user's own need not say it


def _joined(option: str, alias: str, values: list[str], extra: list[str]) -> list[str]:
    """Return an option with its values, or nothing where they join the user's own: a second one would replace it."""
    own = [at for at, word in enumerate(extra) if _value(option, alias, word) is not None]
    if not own or not values:
        return [option, *values] if values else []
    at = own[-1]  # the one that counts
    if value := _value(option, alias, extra[at]):
        # In one word with its value, so what follows may be a target: an option without a value keeps it apart.
        extra[at : at + 1] = [option, *values, value, "--rerun-incomplete"]
    else:
        extra[at + 1 : at + 1] = values
    return []


def _value(option: str, alias: str, word: str) -> str | None:
    """Return the value that a word gives to an option: empty if it follows by itself, None if it is another word."""
    if word in (option, alias):
        return ""
    name, equals, value = word.partition("=")
    if equals and name in (option, alias):
        return value
    if not alias.startswith("--") and word.startswith(alias):
        return word.removeprefix(alias)
    return None


def study_files(config: str, extra: list[str]) -> list[str]:
    """Return the study files that Snakemake may read: those that are named, else the default ones of its folders."""
    words = [re.sub(r"^--configf\w*", "--configfile", word) for word in extra]  # --configfiles, or abbreviated
    named = [*filter(None, [config]), *_values("--configfile", "--configfile", words)]
    return named or [str(Path(folder, "config.yaml")) for folder in ("", *_values("--directory", "-d", extra))]


def _values(option: str, alias: str, extra: list[str]) -> list[str]:
    """Return all words that may be values of an option, however it is written; a target behind them is among them."""
    found, follows = [], False
    for word in extra:
        value = _value(option, alias, word)
        if value is None and not word.startswith("-"):
            found += [word] if follows else []
        else:
            found += [value] if value else []
            follows = value == ""
    return found


def gpu_jobs(extra: list[str]) -> int:
    """Return how many jobs the GPUs of this machine hold at once; 0 where jobs may run on another one."""
    elsewhere = ("--executor", "-e", "--profile", "--workflow-profile")
    if os.environ.get("SNAKEMAKE_PROFILE") or any(word.split("=")[0] in elsewhere for word in extra):
        return 0
    return gpus.count()
