"""What a result is recorded as: the settings that its job read, and which results have no record; for the Snakefile."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from snakemake_interface_executor_plugins.settings import SharedFSUsage

from launcher import say

COPIES = Path(".snakemake/ddbias_studies")


def keep_records_true(workflow: object) -> None:
    """Let the jobs of a run read copies of its study files, and tell after it which results have no record.

    Each job reads the study again, on a cluster perhaps days later. From the user's file it would read what has been
    changed since, and Snakemake would record its result as one of the settings that the run began with.

    A result without a record, as of a `results` that was copied without the hidden `.snakemake`, is never out of date
    for Snakemake, whatever the study says; it tells so in dry runs only.
    """
    execute: Callable = workflow.execute

    def execute_recorded(*, executor_plugin: object, **settings: object) -> object:
        runs = workflow.is_main_process and not executor_plugin.common_settings.dryrun_exec
        # Where jobs do not see this folder, Snakemake sends them the study files.
        if runs and SharedFSUsage.SOURCES in workflow.storage_settings.shared_fs_usage:
            workflow.config_settings.configfiles = copies(workflow.configfiles)
        try:
            return execute(executor_plugin=executor_plugin, **settings)
        finally:
            if runs and (dag := getattr(workflow, "_dag", None)) is not None:
                count = sum(dag.reason(job).no_metadata and not dag.needrun(job) for job in dag.jobs)
                if count:
                    say(
                        f"{count} results have no record of the settings that they were made with, so nothing says "
                        "whether they fit this study. Copy the folder .snakemake, too, where results/ comes from, or "
                        "make them again (ARGS=--forceall)"
                    )

    workflow.execute = execute_recorded


def copies(paths: Iterable[str | os.PathLike]) -> list[Path]:
    """Return copies of study files in `.snakemake`, named by their content so that no other run changes them.

    Where one cannot be written, the file itself: what else is to be written here will say why.
    """
    return [_copied(Path(path)) for path in paths]


def _copied(path: Path) -> Path:
    content = path.read_bytes()
    copy = Path(COPIES, f"{hashlib.sha256(content).hexdigest()[:16]}.yaml").absolute()
    part = copy.with_suffix(f".{os.getpid()}.part")
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        part.replace(copy)
    except OSError:
        return path.absolute()
    return copy
