"""Become Snakemake, or remove what runs have made."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from launcher import LaunchError, say
from launcher.arguments import PROFILE, find_profile, gpu_jobs, snakemake_arguments, submits
from launcher.lock import take_lock

VIEWER = Path(__file__).resolve().parents[1] / "viewer/snakemake_logger_plugin_ddbias"


def launch(options: dict[str, str], extra: list[str]) -> None:
    """Become Snakemake; returns only by an exception."""
    config, cores = options["config"], options["cores"] or "all"
    folder = find_profile(options["profile"] or PROFILE)
    if submits(folder) and shlex.quote(sys.executable) != sys.executable:  # Snakemake writes it unquoted into jobs
        raise LaunchError(
            f"jobs of a cluster cannot start {sys.executable}, because of a space or another special character in "
            "its path; work in a checkout whose path has none"
        )
    gpus = 0 if submits(folder) else gpu_jobs(extra)
    arguments = snakemake_arguments(config, cores, options["scale"], extra, options["to"], str(folder), gpus)
    use_writable_cache()
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    shown = f"all {available}" if cores == "all" else cores
    at_once = f", at most {gpus} GPU jobs at once" if gpus else ""
    where = f"with {shown} cores{at_once}" if "--cores" in arguments else f"with the profile {folder}"
    say(f"starting Snakemake on {config or 'config.yaml'} {where}")
    if wants_view(extra):
        arguments = ["--logger", VIEWER.name.removeprefix("snakemake_logger_plugin_"), *arguments]
        folders = [*filter(None, [os.environ.get("PYTHONPATH")]), str(VIEWER.parent)]
        os.environ["PYTHONPATH"] = os.pathsep.join(folders)
    os.execv(sys.executable, [sys.executable, "-m", "snakemake", *arguments])


def wants_view(extra: list[str]) -> bool:
    """Tell whether our view takes the place of Snakemake's messages: unless these were asked for, or less of them."""
    own = {"--quiet", "-q", "--verbose", "--logger", "--debug-dag", "-p", "--printshellcmds", "--lint"}
    return not os.environ.get("VERBOSE") and not any(word.split("=")[0] in own for word in extra)


def clean() -> None:
    """Remove `results` and `.snakemake`, unless a run is working there."""
    if not (Path("results").exists() or Path(".snakemake").exists()):
        say("nothing to clean")
        return
    descriptor = take_lock()
    say("removing results/ and .snakemake/")
    for folder in map(Path, ("results", ".snakemake")):
        if folder.is_symlink():
            say(f"{folder} is a link: its target {folder.resolve()} is kept")
            folder.unlink()
        elif folder.exists():
            shutil.rmtree(folder)
    if descriptor is not None:
        os.close(descriptor)


def use_writable_cache() -> None:
    """Point the caches of Snakemake and matplotlib into `.snakemake` where no home folder can be written."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    existing = next((folder for folder in (cache, *cache.parents) if os.path.exists(folder)), Path("/"))
    if cache.is_absolute() and os.path.isdir(existing) and os.access(existing, os.W_OK | os.X_OK):
        return
    local = Path(".snakemake/cache").absolute()
    os.environ["XDG_CACHE_HOME"] = str(local)
    os.environ.setdefault("MPLCONFIGDIR", str(local / "matplotlib"))
