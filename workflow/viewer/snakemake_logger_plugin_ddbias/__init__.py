"""What `make run` shows instead of Snakemake's messages: a logger plugin, `snakemake --logger ddbias`.

A failed job has one line, with its reason and the path of its log; how far the study is shows the `screen`. Whatever
fails in here, the run goes on.
"""

from __future__ import annotations

import os
import sys
from logging import WARNING, LogRecord
from pathlib import Path

from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter, get_event
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1] / "scripts")]
# Only the Snakemake that `make run` starts looks for plugins here, none of its jobs.
given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
os.environ["PYTHONPATH"] = os.pathsep.join(folder for folder in given if folder != str(HERE.parent))

from snakemake_logger_plugin_ddbias.screen import Screen  # noqa: E402

# From the beginning, since Snakemake names its profile before it makes the handler.
FIRST = Screen() if "--logger" in sys.argv else None

# What Snakemake says beside the error of a job.
BESIDE = ("Exiting because a job execution failed", "At least one job did not complete", "CalledProcessError in file")


class LogHandler(LogHandlerBase):
    """Passes on what a person wants to know of Snakemake's messages; all of them in a dry run."""

    writes_to_stream, writes_to_file, has_filter, has_formatter, needs_rulegraph = True, False, True, True, False

    def __post_init__(self) -> None:
        settings = self.common_settings
        self._screen = FIRST or Screen()
        if settings.dryrun:
            self._screen.end()
            self._screen = None
        self._usual = ColorizingTextHandler(settings.nocolor, sys.stdout if settings.dryrun else self._screen)
        self._usual.setFormatter(DefaultFormatter(settings.quiet, settings.show_failed_logs))
        self._usual.addFilter(DefaultFilter(settings.quiet, False, False, settings.dryrun, False))

    def emit(self, record: LogRecord) -> None:
        """Show one message of Snakemake, or not."""
        try:
            if self._screen is None or not self._is_dealt_with(record, get_event(record)):
                self._usual.handle(record)
        except Exception:
            self.handleError(record)

    def _is_dealt_with(self, record: LogRecord, event: LogEvent | None) -> bool:
        if event == LogEvent.RUN_INFO:
            self._screen.begin()
        elif event == LogEvent.JOB_ERROR:
            self._screen.failed(record.rule_name, list(record.log))
        elif event == LogEvent.GROUP_ERROR:
            for job in record.job_error_info:
                self._screen.failed(job["rule_name"], list(job["log"]))
        elif record.levelno >= WARNING:
            return any(words in str(record.msg) for words in BESIDE)
        return not str(record.msg).startswith("Nothing to be done")

    def close(self) -> None:
        """End the view, with how far the study is."""
        if self._screen is not None:
            self._screen.end()
        super().close()
