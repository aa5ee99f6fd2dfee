"""Keep `.venv` equal to a lock file: run by the Makefile, standard library only.

``python envs/install.py KIND``, run, dev, slurm, audit or docs, builds what is missing, ``--check`` only answers by its
exit status. A stamp inside `.venv` holds the locks' text and the Python version it was installed for, and is written
last: an interrupted installation has no stamp and is made afresh, a changed lock or Python does not match it.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

ENVS = Path(__file__).resolve().parent
sys.path[:0] = [str(ENVS.parent / "workflow"), str(ENVS.parent / "workflow/scripts")]

from launcher import LaunchError, say
from launcher.lock import take_lock

VENV = Path(".venv")  # relative: the folder of the checkout may hold spaces, and may be moved
LIBRARY = "../../../../workflow/scripts"  # seen from where Python looks for packages; relative, as above
BOOTSTRAP, RUN, TORCH = "bootstrap.lock", "requirements.lock", "requirements-torch.lock"
ADDED = {"run": [], **{kind: [f"requirements-{kind}.lock"] for kind in ("dev", "slurm", "audit", "docs")}}
BUILT = "connection-pool" if sys.version_info < (3, 14) else "connection-pool,immutables"
HASHED = ("--no-deps", "--require-hashes", "--only-binary=:all:", f"--no-binary={BUILT}", "--no-build-isolation")


def expected_stamp(kind: str) -> str:
    """Return the stamp of a finished environment of `kind`, a key of `ADDED`, for this Python."""
    locks = "".join((ENVS / name).read_text() for name in (BOOTSTRAP, RUN, TORCH, *ADDED[kind]))
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return f"python {version} {sys.platform} {platform.machine()}, library {LIBRARY}\n{locks}"


def stamp_path(kind: str) -> Path:
    """Return where the stamp of `kind` lies."""
    return VENV / f"ddbias-{kind}.stamp"


def is_current(kind: str) -> bool:
    """Tell whether `.venv` was completely installed for this lock and this Python."""
    try:
        return stamp_path(kind).read_text() == expected_stamp(kind)
    except OSError:
        return False


def works() -> bool:
    """Tell whether the Python of `.venv` still starts, and has pip."""
    try:
        return subprocess.run([VENV / "bin/python", "-I", "-c", "import pip"], capture_output=True).returncode == 0
    except OSError:
        return False


def ensure(kind: str) -> None:
    """Bring `.venv` to the lock of `kind`: nothing to do, an addition to the runtime packages, or a new one."""
    if is_current(kind) and works():
        return
    if VENV.is_symlink():
        raise LaunchError(
            f"{VENV} is a link to {os.path.realpath(VENV)}, which is not what these locks say, and belongs to another "
            f"folder: remove the link (rm {VENV}), or run make there"
        )
    fresh = not (is_current("run") and works())
    if fresh:
        take_lock()  # until this process ends: no run uses the environment that goes, no other make builds one
        remedy = (
            "on Debian and Ubuntu: apt-get install python3-venv; or name another Python with PYTHON=/path/to/python3"
        )
        for stamp in VENV.glob("ddbias-*.stamp"):  # first of all: a removal that is stopped midway leaves no whole one
            stamp.unlink()
        do(f"create {VENV} with {sys.executable}", sys.executable, "-m", "venv", "--clear", VENV, remedy=remedy)
    locks = [*([BOOTSTRAP, RUN, TORCH] if fresh else []), *ADDED[kind]]
    last = os.path.relpath(ENVS / (ADDED[kind] or [RUN])[-1])
    say(f"installing {last} into {VENV} with Python {platform.python_version()} (once, a minute or more)")
    stamp_path(kind).unlink(missing_ok=True)  # not valid from here until pip is done
    log = VENV / "install.log"
    remedy = f"full output: {log}; check the network and the free disk space, then run the same command again"
    for name in locks:
        lock = os.path.relpath(ENVS / name)
        pip = ("-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--log", log, "-r", lock)
        how = () if name == TORCH else HASHED
        do(f"install {lock}", VENV / "bin/python", *pip, *how, remedy=remedy)
    for folder in VENV.glob("lib/python*/site-packages"):  # `import ddbias` finds this checkout from any folder
        (folder / "ddbias.pth").write_text(f"{LIBRARY}\n")
    for done in {"run", kind}:
        stamp_path(done).write_text(expected_stamp(done))
    say("environment ready")


def do(what: str, python: str | Path, *arguments: str | Path, remedy: str) -> None:
    """Run Python with its output hidden; `LaunchError` with the most telling line of it, and a remedy, if it fails."""
    # PIP_USER=1, common in shared accounts, would put the packages outside the environment
    environment = os.environ | {"PIP_USER": "0"}
    command = [python, "-I", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    if done.returncode != 0:
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()] or ["no output"]
        errors = [line for line in lines if line.lower().startswith(("error", "fatal"))]
        raise LaunchError(f"could not {what}: {(errors or lines)[-1]} ({remedy})")


def main(arguments: list[str]) -> int:
    """Install or check; return the exit status."""
    kind = arguments[-1]
    if "--check" in arguments:
        return 0 if is_current(kind) else 1
    try:
        ensure(kind)
    except LaunchError as error:
        say(str(error))
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
