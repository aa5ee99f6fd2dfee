"""Keep `.venv` equal to a lock file: run by the Makefile, standard library only.

``python envs/install.py KIND``, run, dev or slurm, builds what is missing, ``--check`` only answers by its exit status.
A stamp inside `.venv` holds the lock's text and the Python version it was installed for, and is written last: an
interrupted installation has no stamp and is made afresh, a changed lock or Python does not match it.
"""

from __future__ import annotations

import fcntl
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

ENVS = Path(__file__).resolve().parent
VENV = Path(".venv")  # relative: the folder of the checkout may hold spaces, and may be moved
LIBRARY = "../../../../workflow/scripts"  # seen from where Python looks for packages; relative, as above
LOCKS = {
    "run": ["requirements.lock"],
    "dev": ["requirements.lock", "requirements-dev.lock"],
    "slurm": ["requirements.lock", "requirements-slurm.lock"],
}


class InstallError(Exception):
    """What went wrong and what to do about it, in one line."""


def expected_stamp(kind: str, version: tuple[int, int]) -> str:
    """Return the stamp of a finished environment of `kind` ("run", "dev" or "slurm") for Python `version`."""
    locks = "".join((ENVS / name).read_text() for name in LOCKS[kind])
    return f"python {version[0]}.{version[1]} {sys.platform} {platform.machine()}, library {LIBRARY}\n{locks}"


def is_current(kind: str, version: tuple[int, int]) -> bool:
    """Tell whether `.venv` was completely installed for this lock and this Python."""
    try:
        return stamp_path(kind).read_text() == expected_stamp(kind, version)
    except OSError:
        return False


def stamp_path(kind: str) -> Path:
    """Return where the stamp of `kind` lies."""
    return VENV / f"ddbias-{kind}.stamp"


def works(version: tuple[int, int]) -> bool:
    """Tell whether `.venv/bin/python` starts and still is Python `version`."""
    code = "import sys, pip; sys.exit(list(sys.version_info[:2]) != [int(v) for v in sys.argv[1:]])"
    try:
        done = subprocess.run([VENV / "bin/python", "-I", "-c", code, *map(str, version)], capture_output=True)
    except OSError:
        return False
    return done.returncode == 0


def create() -> None:
    """Make an empty `.venv` with this Python, in place of whatever is there."""
    try:
        import ensurepip  # noqa: F401  Debian's python3 comes without it
    except ImportError:
        name = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        raise InstallError(
            f"{sys.executable} cannot make virtual environments; install its venv package "
            f"(Debian and Ubuntu: apt-get install {name}-venv) or name another Python with PYTHON=/path/to/python3"
        ) from None
    if VENV.exists():
        refuse_during_run()
        say(f"replacing {VENV}: it is incomplete, or its Python or the lock file has changed")
    command = [sys.executable, "-I", "-m", "venv", "--clear", VENV]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise InstallError(f"could not create {VENV}: {last_words(done.stdout)}")


def refuse_during_run() -> None:
    """Raise `InstallError` while a run, which uses the present environment, holds this folder's lock."""
    path = Path(".snakemake/ddbias.lock")
    if not path.exists():
        return
    with path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InstallError(
                f"{VENV} must be made anew, but a run (pid {lock.read().strip()}) is using it; wait for it or stop it"
            ) from None


def install(kind: str) -> None:
    """Let pip install the lock of `kind` into `.venv`; its full output goes to `.venv/install.log`."""
    lock = os.path.relpath(ENVS / LOCKS[kind][-1])
    say(f"installing {lock} into {VENV} with Python {platform.python_version()} (once, a minute or more)")
    log = VENV / "install.log"
    command = [VENV / "bin/python", "-I", "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    # PIP_USER=1, common in shared accounts, would put the packages outside the environment
    environment = os.environ | {"PIP_USER": "0", "PIP_PROGRESS_BAR": "off"}
    with log.open("w") as out:
        done = subprocess.run([*command, "-r", lock], stdout=out, stderr=subprocess.STDOUT, env=environment)
    if done.returncode != 0:
        raise InstallError(
            f"could not install {lock}: {last_words(log.read_text(errors='replace'))} "
            f"(full output: {log}; check the network and the free disk space, then run the same command again)"
        )


def link_library() -> None:
    """Make ``import ddbias`` find the library of this checkout, whatever the working directory is."""
    for folder in VENV.glob("lib/python*/site-packages"):
        (folder / "ddbias.pth").write_text(f"{LIBRARY}\n")


def last_words(text: str) -> str:
    """Return the most telling line of a failed command's output."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith(("error", "fatal"))]
    return (errors or lines or ["no output"])[-1]


def ensure(kind: str) -> None:
    """Bring `.venv` to the lock of `kind`: nothing to do, an addition to the runtime packages, or a new one."""
    version = sys.version_info[:2]
    if is_current(kind, version) and works(version):
        return
    started = time.monotonic()
    if not (is_current("run", version) and works(version)):
        create()
    kept = [other for other in LOCKS if is_current(other, version)]  # additions do not disturb each other
    for other in LOCKS:  # from here until pip is done, nothing is valid
        stamp_path(other).unlink(missing_ok=True)
    install(kind)
    link_library()
    for other in {"run", kind, *kept}:
        write_stamp(other, expected_stamp(other, version))
    say(f"environment ready after {time.monotonic() - started:.0f} s")


def write_stamp(kind: str, text: str) -> None:
    """Write a stamp whole or not at all."""
    partial = stamp_path(kind).with_suffix(".partial")
    partial.write_text(text)
    partial.replace(stamp_path(kind))


def say(line: str) -> None:
    """Tell the user one line."""
    print(f"ddbias: {line}", file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """Install or check; return the exit status."""
    kind = arguments[-1]
    if "--check" in arguments:
        return 0 if is_current(kind, sys.version_info[:2]) else 1
    try:
        Path(".snakemake").mkdir(exist_ok=True)
        with open(".snakemake/environment.lock", "w") as lock:  # two makes at once: the second one waits
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("another make is installing the environment; waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            ensure(kind)
    except InstallError as error:
        say(str(error))
        return 1
    except PermissionError as error:
        say(f"no permission for {error.filename}; give this folder to the user who runs make, or work in a copy")
        return 1
    except OSError as error:
        say(f"could not prepare {VENV}: {error.strerror or error} ({error.filename})")
        return 1
    except KeyboardInterrupt:
        say("interrupted; the next make starts the installation afresh")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
