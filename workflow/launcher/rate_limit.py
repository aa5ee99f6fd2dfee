"""Snakemake's limit of job starts in a time, which a single machine does not need."""

from __future__ import annotations

from collections.abc import Callable


def lift(workflow: object) -> None:
    """Let a run on this machine start jobs as soon as there is room for them; for the Snakefile.

    Snakemake 9.27 starts 100 jobs a second at most. Under a limit every look for jobs to start sets a timer for the
    next, and so does every job that ends (snakemake/snakemake#3744): after n jobs it looks n times a second, which took
    a fifth of a core after 140 jobs of 250. Schedulers of clusters keep the limit.
    """
    execute: Callable = workflow.execute

    def execute_at_once(*, executor_plugin: object, **settings: object) -> object:
        if executor_plugin.common_settings.local_exec:
            workflow.scheduling_settings.max_jobs_per_timespan = None
        return execute(executor_plugin=executor_plugin, **settings)

    workflow.execute = execute_at_once
