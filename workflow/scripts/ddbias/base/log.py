"""Messages of a job: lines in its log file, a progress bar on a terminal."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from ddbias.base.terminal import terminal_line

logger = logging.getLogger("ddbias")
SECONDS_BETWEEN_LINES = 10.0


class _LogFile(logging.FileHandler):
    """A log file that is left as it is when the disk is full: the screen still says why the job ends."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def log_to(path: str | Path | None) -> None:
    """Send the package's messages to the file `path` (warnings also to stderr), or all to stderr when None."""
    logger.handlers.clear()
    logger.setLevel(logging.INFO)
    logger.propagate = False
    screen = logging.StreamHandler(sys.stderr)
    screen.setFormatter(_Lines("%(message)s"))
    logger.addHandler(screen)
    if path is not None:
        screen.setLevel(logging.WARNING)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        file = _LogFile(path, mode="a")
        file.setFormatter(_Lines("%(asctime)s %(message)s", "%H:%M:%S"))
        logger.addHandler(file)


class _Lines(logging.Formatter):
    """Writes a message as a terminal may show it: Snakemake prints the log of a job that failed."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(terminal_line, super().format(record).split("\n")))


class Progress:
    """Counts steps of a loop: a line in the log every ten seconds, and a tqdm bar when stderr is a terminal.

    What it last showed is in `latest`, for whoever tells others (`ddbias.runtime.progress`).
    Neither line nor bar where messages are off.

    Parameters
    ----------
    total : int
        Number of steps.
    what : str
        What is counted, e.g. ``"dm kde ipc10 seed0"``.
    start : int
        Steps done before (a resumed run).
    """

    latest: ClassVar[dict] = {}

    def __init__(self, total: int, what: str, start: int = 0) -> None:
        Progress.latest = {"step": start, "steps": total}
        self.total, self.what, self.start = total, what, start
        self._began = self._said = time.monotonic()
        self._bar = None
        if sys.stderr.isatty() and logger.isEnabledFor(logging.INFO):
            from tqdm import tqdm

            self._bar = tqdm(total=total, initial=start, desc=what, leave=False, dynamic_ncols=True)

    def __iter__(self) -> Iterator[int]:
        try:
            for step in range(self.start, self.total):
                yield step
                if self._bar is not None:
                    self._bar.update(1)
        finally:  # also when the loop fails: its last words then have a line of their own
            if self._bar is not None:
                self._bar.close()

    def show(self, step: int, **values: float) -> None:
        """Show named values (a loss) of the step just done."""
        text = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
        now, done = time.monotonic(), step + 1
        rate = (done - self.start) / max(now - self._began, 1e-9)
        left = (self.total - done) / rate
        Progress.latest = {"step": done, "steps": self.total, "values": text, "left": left}
        if now - self._said >= SECONDS_BETWEEN_LINES or done == self.total:
            self._said = now
            text = f"{text}, " if text else ""
            logger.info("%s: %d/%d, %s%.3g steps/s, %.0f s left", self.what, done, self.total, text, rate, left)
