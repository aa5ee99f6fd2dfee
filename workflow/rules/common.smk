# Reads and checks the study. The functions of the rules are in code, inputs, params, resources, shown and targets.
import functools
import logging
import os
import sys

SCRIPTS = os.path.join(workflow.basedir, "workflow", "scripts")
sys.path[:0] = [SCRIPTS, os.path.dirname(SCRIPTS)]

from snakemake.iocontainers import Wildcards

from ddbias.base import environment, folders, lookup, plugins
from ddbias.base.cell import NATURAL, WHOLE
from ddbias.base.errors import DdbiasError
from ddbias.base.terminal import terminal
from ddbias.data import store
from ddbias.planning import code_digest, metric_kinds
from ddbias.planning.costs.report import summary
from ddbias.planning.costs.work import request
from ddbias.planning.load import load
from ddbias.planning.study import needed_cells
from ddbias.planning.study_file import read_yaml
from ddbias.results.export.folder import is_exported
from ddbias.runtime import compile_cache
from launcher import gpus, job_environment, lock

# On a full disk, a line that Snakemake cannot write to its log is on the screen all the same, without a traceback.
logging.raiseExceptions = False
if not workflow.subprocess_exec and (wrong := environment.problems()):
    sys.exit("\n".join(f"ddbias: {line}" for line in wrong))
lock.lock_work(workflow)
job_environment.quote_executable()
job_environment.put_library_first(SCRIPTS)
given = {key: value for key, value in workflow.config_settings.config.items() if key != "export_to"}
job_environment.name_run(workflow.basedir, workflow.overwrite_configfiles, given)
compile_cache.use()
if not workflow.subprocess_exec:  # a part of a run: what the run has told holds for it, too
    gpus.share(False)

# SIGTERM often reaches all processes around a job. The shell waits for it then, and Snakemake with it, until the job has
# removed its part files: without the trap it would end at once, and what follows (a SLURM step ends) would kill the job.
shell.prefix("set -euo pipefail; trap : TERM; ")

origins = [os.path.relpath(path) for path in workflow.configfiles]
try:
    for path in workflow.configfiles:  # Snakemake has read them in its own way, which takes more than a study may hold
        read_yaml(path)
    study = load(config)
except DdbiasError as error:
    origins += [f"--config {key}" for key in workflow.config_settings.config]
    mistakes = [f"{', '.join(origins)}: {line}" for line in str(error).split("\n")]
    sys.exit("\n".join(f"ddbias: {terminal(line)}" for line in mistakes))

# What captions and scripts may read; everything that changes a result reaches them as a parameter.
config |= {key: study.config[key] for key in ("study", "scale", "data", "plugins")}


if workflow.output_settings.dryrun:
    print(f"ddbias: {summary(study)}", file=sys.stderr)


onstart:
    gpus.share(workflow.local_exec and not workflow.remote_exec)


wildcard_constraints:
    study=study.name,
    scale=study.scale,
    dataset="|".join(study.config["datasets"]),
    ratio=r"[0-9.]+|natural",
    distiller="|".join(study.config["distillers"]),
    debias="|".join(study.config["debias"]),
    models="|".join(study.config["models"]) or "none",
    member=r"[0-9]+",
    surrogate="|".join(study.config["surrogates"]) or "none",
    ipc=r"[0-9]+|all",
    seed=r"[0-9]+",
    evaluation="|".join(study.config["evaluations"]),
    table="|".join(study.config["tables"]) or "none",
    figure="|".join(study.config["figures"]) or "none",
