"""What a job tells those who look on: a small file, renewed while the job runs, gone when it is done.

The files of a study lie in one folder, ``results/{study}/{scale}/progress/``, which all nodes of a cluster see. A job
that fails leaves its file with what happened; one that is killed leaves a file that nobody renews.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from ddbias.base.log import Progress
from ddbias.base.terminal import line, shortened

EACH, AT_LEAST, SILENT = 1.0, 10.0, 60.0  # seconds: between two writes, without a step, until a job counts as gone
RUNNING, FAILED, STOPPED = "running", "failed", "stopped"
FOLDER = "progress"


@dataclass(frozen=True)
class Told:
    """What one job has told.

    Attributes
    ----------
    log : str
        Path of its log, which names the stage and the cell.
    state : str
        `RUNNING`, `FAILED` or `STOPPED`.
    seconds : float
        Since it told this.
    step, steps : int
        0 of 0 without a loop.
    values : str
        What the loop shows of its last step, as ``loss 0.12``.
    left : float or None
        Seconds that the loop will take.
    """

    log: str
    state: str
    seconds: float
    step: int = 0
    steps: int = 0
    values: str = ""
    left: float | None = None

    @property
    def stage(self) -> str:
        """The rule."""
        return line(_inside(self.log)[1].split("/")[0])

    @property
    def cell(self) -> str:
        """The other wildcards of the job, with spaces."""
        return line(_inside(self.log)[1].removesuffix(".log").partition("/")[2].replace("/", " "))


def last_words(log: str | Path) -> str:
    """Return the last line of a job's log without its time, empty where nothing was written."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 10_000))
            words = file.read().decode(errors="replace").strip()
    except OSError:
        return ""
    last = line(words.rpartition("\n")[2])
    told_at, _, said = last.partition(" ")
    return shortened(said if told_at.count(":") == 2 and told_at.replace(":", "").isdecimal() else last, 1000)


class Telling:
    """Tells of this process's job until it is `end`-ed, in a thread; whatever fails there harms nothing.

    Parameters
    ----------
    log : str or None
        The job's log, below ``results/{study}/{scale}/logs/``; a job without such a log tells nothing.
    """

    def __init__(self, log: str | None) -> None:
        folder, name = _inside(log or "")
        self._path = folder / FOLDER / f"{hashlib.blake2b(name.encode(), digest_size=8).hexdigest()}.json"
        self._about = {"log": log, "pid": os.getpid(), "host": socket.gethostname()}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tell, name="progress", daemon=True)
        Progress.latest = {}
        if name:
            self._write(RUNNING)
            self._thread.start()

    def end(self, state: str | None = None) -> None:
        """Say how the job ended; with None it is done, and there is nothing left to tell."""
        self._ended.set()
        if not self._thread.ident:
            return
        self._thread.join()
        if state:
            self._write(state)
            return
        try:
            self._path.unlink(missing_ok=True)
            self._path.parent.rmdir()
        except OSError:  # others tell there
            pass

    def _tell(self) -> None:
        written, at = Progress.latest, time.monotonic()
        while not self._ended.wait(EACH):
            if Progress.latest is not written or time.monotonic() - at >= AT_LEAST:
                written, at = Progress.latest, time.monotonic()
                self._write(RUNNING)

    def _write(self, state: str) -> None:
        part = self._path.with_suffix(".part")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps({**self._about, **Progress.latest, "state": state}))
            part.replace(self._path)
        except (OSError, ValueError):
            pass


def read(folder: str | Path) -> list[Told]:
    """Return what the jobs of a study's folder tell, in the order of their logs; files that tell nothing are left out.

    A job that has not renewed its file for a minute, or whose process is gone from this machine, was stopped.
    """
    found = [told for path in Path(folder, FOLDER).glob("*.json") if (told := _read(path))]
    return sorted(found, key=lambda told: told.log)


def _read(path: Path) -> Told | None:
    try:
        about = json.loads(path.read_text())
        seconds = max(0.0, time.time() - path.stat().st_mtime)
        state, log, left = about["state"], str(about["log"]), about.get("left")
        here = about.get("host") == socket.gethostname()
        if state == RUNNING and (seconds > SILENT or (here and not alive(int(about["pid"])))):
            state = STOPPED
        if state not in (RUNNING, FAILED, STOPPED):
            return None
        values = line(about.get("values", ""))
        steps = int(about.get("step", 0)), int(about.get("steps", 0))
        return Told(log, state, seconds, *steps, values, None if left is None else float(left))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # being written, or somebody else's
        return None


def alive(pid: int) -> bool:
    """Tell whether there is a process of this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _inside(log: str) -> tuple[Path, str]:
    """Return the study's folder of a log, and the name of the log below it; without a name where it is none of them."""
    folder, _, name = log.partition("/logs/")
    return Path(folder), name
