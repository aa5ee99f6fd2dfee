"""Start Snakemake in this folder, once: the command behind `make run`. Standard library only.

It holds an exclusive ``flock`` on `.snakemake/ddbias.lock` and then *becomes* Snakemake (``exec``), so the lock is
held by the run itself and ends exactly when the run ends, however it ends. Who holds it may clear the lock files
that a killed Snakemake left behind, which Snakemake alone cannot tell from those of a live run. The Snakefile calls
`hold_lock` when it starts, so that a `snakemake` started by hand holds the same lock.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import slurm_leftovers

LOCK = Path(".snakemake/ddbias.lock")
SNAKEMAKE_LOCKS = Path(".snakemake/locks")
LOCK_FD = "DDBIAS_LOCK_FD"  # tells the Snakefile which descriptor holds the lock
RUN_PID = "DDBIAS_RUN_PID"  # tells jobs which process they belong to and end with
COMMIT = "DDBIAS_COMMIT"  # tells jobs which commit to show
GIVEN = "DDBIAS_GIVEN"  # tells jobs which study files and settings were given, quoted for a shell
PROFILES = Path("workflow/profiles")
PROFILE = "workstation"
DYING = 2.0  # seconds that a killed process may take to let go of the lock
# With these Snakemake only looks and takes no lock of its own, so they may be asked during a run.
LOOKING = {"-n", "--dry-run", "--dryrun", "--lint", "--summary", "-S", "--detailed-summary", "-D"}
LOOKING |= {"--list-rules", "--list", "-l", "--dag", "--rulegraph", "--filegraph", "--help", "-h", "--version", "-v"}


class LaunchError(Exception):
    """What is wrong and what to do about it, in one line."""


class ExecutableName(str):
    """A path that is quoted for the shell whenever it is formatted into a command, and plain text otherwise."""

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        return format(shlex.quote(str(self)), spec)


def quote_executable() -> None:
    """Make script jobs work when the environment's path holds a space.

    Snakemake 9.27 formats ``sys.executable`` unquoted into the shell commands of its jobs. To be called at the top of
    the Snakefile, which every Snakemake process reads.
    """
    if shlex.quote(sys.executable) != sys.executable:
        sys.executable = ExecutableName(sys.executable)


def name_run(
    checkout: str, configfiles: Iterable[str | os.PathLike] = (), settings: Mapping[str, object] | None = None
) -> None:
    """Tell the jobs of this Snakemake process which run they belong to; for the top of the Snakefile.

    A job ends with its run (``ddbias.job``). The commit, the study files and the settings of the command line are
    shown, in tables and in the command that makes a distilled set again; they are never parameters, so a new commit
    alone reruns nothing.
    """
    os.environ[RUN_PID] = str(os.getpid())
    os.environ[COMMIT] = commit(checkout)
    given = [word for path in configfiles for word in ("--configfile", os.path.relpath(path))]
    if settings:
        given += ["--config", *(f"{key}={value}" for key, value in settings.items())]
    os.environ[GIVEN] = shlex.join(given)


def commit(checkout: str) -> str:
    """Return the short name of a checkout's commit, with a + when it has changes, or ``unknown``."""
    call = ["git", "-C", checkout, "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def take_lock(path: str | os.PathLike = LOCK) -> int:
    """Take the exclusive lock on `path` and return the descriptor that holds it until it is closed.

    The file holds the owner's process id, for the message to others. A killed owner keeps the lock until the last of
    its threads is gone, so a taken lock is tried again for a moment. Raises `LaunchError` when another process holds
    the lock or the file cannot be opened.
    """
    path = Path(path)
    deadline = time.monotonic() + DYING
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise LaunchError(
                f"cannot write {path} ({error.strerror}); give this folder to the user who runs, or work in a copy"
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            if time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            raise LaunchError(f"another run (pid {owner}) is working in this folder; wait for it or stop it") from None
        if _is_open_on(descriptor, path):
            break
        os.close(descriptor)  # the file was removed (make clean) between opening and locking it
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def hold_lock() -> int:
    """Hold this folder's lock for the life of the process: what the Snakefile does before the first job.

    Under the launcher the lock is already held, through the descriptor named in the environment; a Snakemake started
    by hand takes it here. Returns the descriptor, which jobs do not inherit. Raises `LaunchError` when another run
    holds the lock.
    """
    inherited = os.environ.get(LOCK_FD, "")
    if inherited.isdecimal() and _is_open_on(int(inherited), LOCK):
        descriptor = int(inherited)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # no change where it is ours already
        except BlockingIOError:
            descriptor = take_lock()
    else:
        descriptor = take_lock()
    os.set_inheritable(descriptor, False)
    return descriptor


def _is_open_on(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


def live_snakemake() -> int | None:
    """Return the id of a Snakemake process that works in this folder, or None (also where there is no /proc)."""
    here = os.stat(".")
    for process in Path("/proc").glob("[0-9]*"):
        if int(process.name) == os.getpid():
            continue
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
            if _is_snakemake(command) and os.path.samestat(os.stat(process / "cwd"), here):
                return int(process.name)
        except OSError:  # it ended meanwhile, or is another user's, whose lock files are not ours to clear
            continue
    return None


def _is_snakemake(command: list[bytes]) -> bool:
    names = [os.path.basename(word) for word in command]
    if names[0] == b"snakemake":
        return True
    is_module = any(pair == (b"-m", b"snakemake") for pair in itertools.pairwise(command))
    return names[0].startswith(b"python") and (is_module or b"snakemake" in names[1:4])


def clear_stale_lock(patience: float = 0) -> None:
    """Remove the lock files of a Snakemake that is gone; to be called by the holder of our lock only.

    One that is about to end is waited for, `patience` seconds at most.

    Between Snakemake's own lock and `hold_lock` in its Snakefile lies a moment in which a run started by hand does
    not hold our lock yet: a live Snakemake in this folder therefore keeps its files, and ends the launch.
    """
    left = sorted(SNAKEMAKE_LOCKS.glob("*.lock"))
    if not left:
        return
    deadline = time.monotonic() + patience
    while (pid := live_snakemake()) is not None and time.monotonic() < deadline:
        time.sleep(0.2)
    if pid is not None:
        raise LaunchError(f"another Snakemake (pid {pid}) is working in this folder; wait for it or stop it")
    try:
        for path in left:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise LaunchError(
            f"cannot remove the lock {error.filename} of a run that was killed ({error.strerror}); remove it by hand"
        ) from None
    say("cleared the lock of a run that was killed; finished work is kept")


def use_writable_cache() -> None:
    """Point the caches of Snakemake and matplotlib into `.snakemake` where the home folder cannot be written."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    existing = next((folder for folder in (cache, *cache.parents) if os.path.exists(folder)), Path("/"))
    if cache.is_absolute() and os.path.isdir(existing) and os.access(existing, os.W_OK | os.X_OK):
        return
    local = Path(".snakemake/cache").absolute()
    os.environ["XDG_CACHE_HOME"] = str(local)
    os.environ.setdefault("MPLCONFIGDIR", str(local / "matplotlib"))


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
    if cores != "all" and not (cores.isdecimal() and int(cores) > 0):
        raise LaunchError(f"CORES={cores} is neither a positive number nor 'all'")
    extra = list(extra)
    arguments = ["--configfile", config] if config else []
    settings = [f"{key}={value}" for key, value in (("scale", scale), ("export_to", to)) if value]
    arguments += _joined("--config", "-C", settings, extra)
    if gpus and not any(word.startswith("gpu=") for word in extra):
        arguments += _joined("--resources", "--res", [f"gpu={gpus}"], extra)
    folder = find_profile(profile or PROFILE)
    if cores != "all" or not submits(folder):
        arguments += ["--cores", cores]
    if not any(word.split("=")[0] == "--workflow-profile" for word in extra):
        arguments += ["--workflow-profile", str(folder)]
    return [*arguments, "--rerun-incomplete", *extra]


def _joined(option: str, alias: str, values: list[str], extra: list[str]) -> list[str]:
    """Return an option with its values, or nothing where they join the user's own: a second one would replace it."""
    given = next((i for i, word in enumerate(extra) if word in (option, alias)), None)
    if given is None:
        return [option, *values] if values else []
    extra[given + 1 : given + 1] = values
    return []


def gpu_jobs(extra: list[str]) -> int:
    """Return how many jobs the GPUs of this machine hold at once; 0 where jobs may run on another one."""
    elsewhere = ("--executor", "-e", "--profile", "--workflow-profile")
    if os.environ.get("SNAKEMAKE_PROFILE") or any(word.split("=")[0] in elsewhere for word in extra):
        return 0
    import gpus  # beside this file; `--clean` and the tests of this file alone do without

    try:
        return gpus.count()
    except gpus.GpuError as error:
        raise LaunchError(str(error)) from None


def launch(options: dict[str, str], extra: list[str]) -> None:
    """Become Snakemake, holding the lock; returns only by an exception."""
    config, cores = options["config"], options["cores"] or "all"
    folder = find_profile(options["profile"] or PROFILE)
    gpus = 0 if LOOKING.intersection(extra) or submits(folder) else gpu_jobs(extra)
    arguments = snakemake_arguments(config, cores, options["scale"], extra, options["to"], str(folder), gpus)
    use_writable_cache()
    os.environ.pop(LOCK_FD, None)
    if LOOKING.isdisjoint(extra):
        if submits(folder) and shlex.quote(sys.executable) != sys.executable:  # Snakemake writes it unquoted into jobs
            raise LaunchError(
                f"jobs of a cluster cannot start {sys.executable}, because of a space or another special character in "
                "its path; work in a checkout whose path has none"
            )
        descriptor = take_lock()
        cancelled = slurm_leftovers.cancel(say)
        # A Snakemake inside a cancelled job, if on this machine, passes for a live run until it has ended.
        clear_stale_lock(patience=30 if cancelled else 0)
        os.set_inheritable(descriptor, True)  # through the exec; Snakemake's own children close it
        os.environ[LOCK_FD] = str(descriptor)
        available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        shown = f"all {available}" if cores == "all" else cores
        at_once = f", at most {gpus} GPU jobs at once" if gpus else ""
        where = f"with {shown} cores{at_once}" if "--cores" in arguments else f"with the profile {folder}"
        say(f"running {config or 'config.yaml'} {where}")
    os.execv(sys.executable, [sys.executable, "-m", "snakemake", *arguments])


def clean() -> None:
    """Remove `results` and `.snakemake`, unless a run is working there."""
    if not (Path("results").exists() or Path(".snakemake").exists()):
        say("nothing to clean")
        return
    descriptor = take_lock()
    clear_stale_lock()
    say("removing results/ and .snakemake/")
    for folder in map(Path, ("results", ".snakemake")):
        if folder.is_symlink():
            say(f"{folder} is a link: its target {folder.resolve()} is kept")
            folder.unlink()
        elif folder.exists():
            shutil.rmtree(folder)
    os.close(descriptor)


def say(line: str) -> None:
    """Tell the user one line."""
    print(f"ddbias: {line}", file=sys.stderr, flush=True)


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
    return options, extra


def main(arguments: list[str]) -> int:
    """Launch or clean; return the exit status where Snakemake is not started."""
    try:
        if arguments == ["--clean"]:
            clean()
        else:
            launch(*parse(arguments))
    except (LaunchError, slurm_leftovers.LeftoverError) as error:
        say(str(error))
        return 1
    except OSError as error:
        say(f"{error.strerror}: {error.filename}; change its owner or rights and run again")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
