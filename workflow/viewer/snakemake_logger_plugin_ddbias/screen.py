"""The terminal of a run, or its log: a live view that nothing tears, or a line a minute."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections import deque
from dataclasses import replace

from ddbias.base.terminal import terminal, terminal_line
from ddbias.runtime.progress import last_words

REFRESH, LINE = 1.0, 60.0  # seconds between two pictures, and between two lines of a log
HOLD = 10.0  # seconds that a line of a job waits for Snakemake to say that the job failed
PROFILE = "Using workflow specific profile"


class Screen:
    """What is shown of a run. What jobs write comes through a pipe, which is emptied whatever happens to the view.

    It is a text stream, too, for what Snakemake itself has to say.
    """

    def __init__(self) -> None:
        self._terminal, self._born = os.isatty(2), time.time() - 5  # the file system's clock may be another one
        self._kept = {number: os.dup(number) for number in (2, 1) if number == 2 or (self._terminal and os.isatty(1))}
        self._out = os.fdopen(os.dup(2), "w", errors="backslashreplace")
        self._lines: deque[tuple[float, str]] = deque()
        self._lock, self._ended = threading.RLock(), threading.Event()
        self._live = self._viewer = None
        self._most, self._looked, self._overview = 1, 0.0, None
        source, sink = os.pipe()
        for number in self._kept:
            os.dup2(sink, number)
        os.close(sink)
        self._reader = threading.Thread(target=self._read, args=[source], name="screen", daemon=True)
        self._reader.start()
        atexit.register(self.end)  # also where Snakemake does not get as far as closing its log

    def isatty(self) -> bool:
        """Tell whether a person looks."""
        return self._terminal

    def write(self, text: str) -> None:
        """Show a text at once, above the view."""
        with self._lock:
            try:
                if self._live is not None:
                    from rich.text import Text

                    for line in text.rstrip("\n").split("\n") if text.strip() else ():
                        self._live.console.print(Text(terminal_line(line)), soft_wrap=True)
                else:
                    self._out.write(text)
                    self._out.flush()
            except (OSError, ValueError):  # nobody is left to see it
                pass

    def flush(self) -> None:
        """Do nothing, since all is shown at once."""

    # ---- what jobs write -------------------------------------------------------------------------------------------

    def _read(self, source: int) -> None:
        with open(source, errors="backslashreplace", newline="\n") as pipe:
            for line in pipe:
                if line.startswith(PROFILE):
                    continue
                with self._lock:
                    self._lines.append((time.monotonic(), line.rstrip("\n")))
                    if self._viewer is None:
                        self._say_held(0)

    def _say_held(self, seconds: float) -> None:
        while self._lines and time.monotonic() - self._lines[0][0] >= seconds:
            self.write(self._lines.popleft()[1] + "\n")

    def failed(self, rule: str, logs: list[str]) -> None:
        """Say in one line which job failed, why, and where its log is; what that holds is not shown besides."""
        log = logs[0] if logs else ""
        try:
            with open(log, errors="replace") as file:
                of_this_run = os.fstat(file.fileno()).st_mtime > self._born
                there = deque((line.rstrip("\n") for line in file if of_this_run), 200)
        except OSError:
            there = deque()
        said = {part for line in there for part in (line, line[9:])}  # with and without the time
        with self._lock:
            self._lines = deque(held for held in self._lines if held[1] not in said)
            self._say_held(0)
        last = last_words(log) if there else ""
        if not last.startswith("ddbias: "):  # it was killed, or has a traceback
            last = f"ddbias: failed after: {last}" if last else "ddbias: failed"
        what = log.partition("/logs/")[2].removesuffix(".log").replace("/", " ") or rule
        self.write(f"{terminal(last)} [{terminal(what)}{'; log: ' * bool(log)}{terminal(log)}]\n")

    # ---- how far the run is ----------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Show from now on how far the run is."""
        with self._lock:
            if self._viewer is None and not self._ended.is_set():
                self._viewer = threading.Thread(target=self._view, name="view", daemon=True)
                self._viewer.start()

    def _view(self) -> None:
        said = time.monotonic()
        while not self._ended.wait(REFRESH):
            with self._lock:
                self._say_held(HOLD)
            try:
                self._look()
                if self._terminal:
                    self._draw()
                elif self._overview is not None and time.monotonic() - said >= LINE:
                    said = time.monotonic()
                    self.write(f"ddbias: {self._overview.headline()}\n")
            except Exception as error:
                self._stop_live()
                self._terminal, self._overview, self._look = False, None, lambda: None
                self.write(f"ddbias: no more view of the run, which goes on ({terminal(repr(error))})\n")

    def _look(self) -> None:
        """Look how far the study is, so seldom that looking takes a twentieth of the time."""
        module = sys.modules.get("ddbias.planning.progress")
        began = time.monotonic()
        if module is None or not module.watched or began < self._looked:
            return
        study, outputs = module.watched[-1]
        found = module.overview(study, at_once=self._most, outputs=outputs)
        # What ended in an earlier run is about to begin again.
        lately = [told for told in found.ended if told.seconds <= time.time() - self._born]
        self._overview = replace(found, ended=lately)
        self._most = max(self._most, len(self._overview.running))
        self._looked = time.monotonic() + 20 * (time.monotonic() - began)

    def _draw(self) -> None:
        if self._overview is None:
            return
        from ddbias.planning.progress import columns
        from rich.console import Console, Group
        from rich.live import Live
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        found = self._overview
        with self._lock:
            if self._ended.is_set():
                return
            if self._live is None:
                console = Console(file=self._out, highlight=False)
                self._live = Live(console=console, auto_refresh=False, transient=True)
                self._live._redirect_stdout = self._live._redirect_stderr = False
                self._live.start()
                console.show_cursor(True)  # a killed run cannot do it
            console = self._live.console
            console.size = size = os.get_terminal_size(self._out.fileno())
            table = Table.grid(padding=(0, 2), expand=True)
            for number in range(5):
                table.add_column(no_wrap=True, ratio=1 if number == 1 else None)
            shown = found.running[: max(1, size.lines - 4)]
            for told in shown:
                stage, cell, far, more = map(Text, columns(told))
                bar = ProgressBar(told.steps, told.step, width=12) if told.steps and size.columns >= 110 else Text("")
                table.add_row(stage, cell, bar, far, more)
            rest = len(found.running) - len(shown)
            rows = [table, *([Text(f"and {rest} more")] if rest else []), Text(found.headline(), style="bold")]
            self._live.update(Group(*rows), refresh=True)

    def _stop_live(self) -> None:
        with self._lock:
            live, self._live = self._live, None
        try:
            if live is not None:
                live.stop()
        except Exception:  # the terminal is gone
            pass

    def end(self) -> None:
        """Give the terminal back, and say how far the study is."""
        if self._ended.is_set():
            return
        self._ended.set()
        if self._viewer is not None:
            self._viewer.join(10)
        self._stop_live()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for number, kept in self._kept.items():
            os.dup2(kept, number)
        self._reader.join(0.5)  # jobs that outlive the run keep the pipe open
        with self._lock:
            self._say_held(0)
        try:
            self._looked = 0.0
            self._look()
        except Exception:
            return
        if self._viewer is not None and self._overview is not None:
            page = f"; look at {self._overview.page}" if self._overview.page else ""
            self.write(f"ddbias: {self._overview.headline()}{page}\n")
