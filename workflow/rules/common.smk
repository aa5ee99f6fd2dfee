# Reads and checks the study. The functions of the rules are in code, inputs, params, resources, shown and targets.
import functools
import os
import sys

from snakemake.iocontainers import Wildcards

from ddbias.base import folders, lookup, paths, plugins
from ddbias.base.cell import NATURAL, WHOLE
from ddbias.base.errors import DdbiasError, unreadable
from ddbias.base.terminal import terminal
from ddbias.data import store
from ddbias.planning import code_digest, metric_kinds
from ddbias.planning.costs.report import summary
from ddbias.planning.costs.work import request
from ddbias.planning.load import load
from ddbias.planning.study import needed_cells
from ddbias.planning.study_file import read_yaml
from ddbias.results.export.folder import is_exported

origins = [os.path.relpath(path) for path in workflow.configfiles] if ALONE else ["the config of the module"]
try:
    if ALONE:
        for (
            path
        ) in workflow.configfiles:  # Snakemake has read them in its own way, which takes more than a study may hold
            read_yaml(path)
    study = load(config)
except DdbiasError as error:
    origins += [f"--config {key}" for key in workflow.config_settings.config]
    mistakes = [f"{', '.join(origins)}: {line}" for line in str(error).split("\n")]
    sys.exit("\n".join(f"ddbias: {terminal(line)}" for line in mistakes))

# What scripts may read; everything that changes a result reaches them as a parameter. Not in the dictionary of an importer.
config = config | {key: study.config[key] for key in ("study", "scale", "data", "plugins")}


def resource(name):
    """Return a file of the library as seen from here: one name wherever the checkout lies."""
    return os.path.relpath(paths.RESOURCES / name)


if workflow.output_settings.dryrun:
    print(f"ddbias: {summary(study)}", file=sys.stderr)


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
