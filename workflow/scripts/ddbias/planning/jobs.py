"""The jobs behind the cells of a study, and where the files of each lie. Without torch.

Snakemake asks for a job only when something needs its output. Here are the jobs behind `make run` with
``unfinished: run``; a test compares their numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from ddbias.base.cell import Cell
from ddbias.planning import metric_kinds
from ddbias.planning.study import Study

CELL = "{dataset}/{ratio}/{distiller}/{debias}/ipc{ipc}/seed{seed}"
# Folder and name of a job's files, which its benchmark has too, and what its last output adds to that; in the order
# in which stages run.
STAGES = {
    "synthesize_dataset": ("data", "{dataset}/{ratio}", "/preview.png"),
    "train_surrogate": ("surrogates", "{dataset}/{ratio}/{surrogate}/seed{seed}", "/history.parquet"),
    "estimate_weights": ("weights", "{dataset}/{ratio}/{debias}/seed{seed}", "/weights.parquet"),
    "pretrain_models": ("models", "{dataset}/{ratio}/{models}/{debias}/member{member}", ".safetensors"),
    "distill": ("distilled", CELL, "/distilled.safetensors"),
    "train_attribute_model": ("attribute_models", "{dataset}/{ratio}/{evaluation}", ".safetensors"),
    "evaluate": ("evaluations", f"{CELL}/{{evaluation}}", ".parquet"),
    "measure_images": ("evaluations", f"{CELL}/{{evaluation}}", ".parquet"),
    "make_table": ("tables", "{table}", ".csv"),
    "plot": ("figures", "{figure}", ".png"),
    "write_report": ("report", "index", ".html"),
}


@dataclass(frozen=True)
class Job:
    """One job of a study.

    Attributes
    ----------
    stage : str
        The rule.
    wildcards : namespace
        As the rule has them, without study and scale.
    output, benchmark : str
        Its last output, and where Snakemake writes what it took (not of tables, figures and the page); relative to the
        working directory.
    """

    stage: str
    wildcards: SimpleNamespace
    output: str
    benchmark: str


def jobs(study: Study) -> list[Job]:
    """Return every job of a study, every one once, in the order of `STAGES`."""
    looking = set(metric_kinds.of_kind(study.config, metric_kinds.IMAGES))
    found = {stage: {} for stage in STAGES}
    for cell in study.cells:
        for stage, fields in _of_cell(study, cell, cell.evaluation in looking):
            found[stage][tuple(fields.items())] = None
    for stage, wildcard, names in (("make_table", "table", "tables"), ("plot", "figure", "figures")):
        found[stage] = {((wildcard, name),): None for name in study.config[names]}
    found["write_report"] = {(): None}
    return [_job(study, stage, dict(fields)) for stage, several in found.items() for fields in several]


def stem(study: Study, stage: str, fields: Mapping[str, str]) -> str:
    """Return the folder of a job's files, or their common beginning, relative to the working directory."""
    folder, pattern, _ = STAGES[stage]
    return f"{study.folder}/{folder}/{pattern.format(**fields)}"


def is_done(job: Job, folder: Path = Path()) -> bool:
    """Tell whether what a job writes is there, whatever its age: its outputs come together or not at all."""
    return (folder / job.output).exists()


def _job(study: Study, stage: str, fields: dict[str, str]) -> Job:
    _, pattern, last = STAGES[stage]
    benchmark = f"{study.folder}/benchmarks/{stage}/{pattern.format(**fields)}.tsv"
    return Job(stage, SimpleNamespace(**fields), stem(study, stage, fields) + last, benchmark)


def _of_cell(study: Study, cell: Cell, looks: bool) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the jobs behind a cell, by stage and wildcards; many cells share one."""
    where = {"dataset": cell.dataset, "ratio": cell.ratio}
    debias = study.config["debias"][cell.debias]
    embeddings = [(debias.get("surrogate"), cell.seed)]
    yield "synthesize_dataset", where
    for name in study.pools(cell.distiller):
        pool = study.config["models"][name]
        if pool["domain"]:
            yield "synthesize_dataset", {**where, "dataset": pool["domain"]}
        else:  # its training is weighted
            embeddings.append((debias.get("surrogate"), str(pool["seed"])))
        for member in range(pool["count"]):
            yield "pretrain_models", {**where, "models": name, "debias": cell.debias, "member": str(member)}
    for surrogate, seed in embeddings:
        if surrogate:
            yield "train_surrogate", {**where, "surrogate": surrogate, "seed": seed}
            yield "estimate_weights", {**where, "debias": cell.debias, "seed": seed}
    if looks:
        yield "train_attribute_model", {**where, "evaluation": cell.evaluation}
        if surrogate := study.config["evaluations"][cell.evaluation]["surrogate"]:
            yield "train_surrogate", {**where, "surrogate": surrogate, "seed": cell.seed}
    yield "distill", {field: getattr(cell, field) for field in Cell.fields[:-1]}
    yield "measure_images" if looks else "evaluate", {field: getattr(cell, field) for field in Cell.fields}
