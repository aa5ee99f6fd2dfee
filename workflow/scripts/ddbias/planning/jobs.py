"""The jobs of a study with the files that each writes, as the rules make them; a test compares both.

Snakemake asks for a job only when something needs its output. Here are the jobs behind `make run` with
``unfinished: run``. Without torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

from ddbias.base.cell import Cell
from ddbias.planning import metric_kinds
from ddbias.planning.study import Study

# Folder of a job's files and its benchmark, what it writes there, in the order in which stages run.
STAGES = {
    "synthesize_dataset": ("data", "{dataset}/{ratio}", ("train.arrow", "test.arrow", "preview.png")),
    "train_surrogate": (
        "surrogates",
        "{dataset}/{ratio}/{surrogate}/seed{seed}",
        ("model.safetensors", "embeddings.arrow", "history.parquet"),
    ),
    "estimate_weights": ("weights", "{dataset}/{ratio}/{debias}/seed{seed}", ("weights.parquet",)),
    "pretrain_models": ("models", "{dataset}/{ratio}/{models}/{debias}/member{member}", (".safetensors",)),
    "distill": (
        "distilled",
        "{dataset}/{ratio}/{distiller}/{debias}/ipc{ipc}/seed{seed}",
        ("distilled.safetensors", "history.parquet", "preview.png", "run.json"),
    ),
    "train_attribute_model": ("attribute_models", "{dataset}/{ratio}/{evaluation}", (".safetensors",)),
    "evaluate": (
        "evaluations",
        "{dataset}/{ratio}/{distiller}/{debias}/ipc{ipc}/seed{seed}/{evaluation}",
        (".parquet",),
    ),
    "measure_images": (
        "evaluations",
        "{dataset}/{ratio}/{distiller}/{debias}/ipc{ipc}/seed{seed}/{evaluation}",
        (".parquet",),
    ),
    "make_table": ("tables", "{table}", (".csv", ".md", ".tex", ".html")),
    "plot": ("figures", "{figure}", (".png", ".svg")),
    "write_report": ("report", "index", (".html",)),
}
SHOWING = ("make_table", "plot", "write_report")  # seconds each, without a benchmark


@dataclass(frozen=True)
class Job:
    """One job of a study.

    Attributes
    ----------
    stage : str
        The rule.
    wildcards : namespace
        As the rule has them, without study and scale.
    outputs : tuple of str
        Relative to the working directory.
    benchmark : str or None
        Where Snakemake writes what the job took.
    """

    stage: str
    wildcards: SimpleNamespace
    outputs: tuple[str, ...]
    benchmark: str | None


def jobs(study: Study) -> list[Job]:
    """Return every job of a study, every one once, in the order of `STAGES`."""
    return [_job(study, stage, dict(fields)) for stage in STAGES for fields in dict.fromkeys(_fields(study, stage))]


def stem(study: Study, stage: str, fields: Mapping[str, str]) -> str:
    """Return the folder of a job's files, or their common beginning, relative to the working directory."""
    folder, pattern, _ = STAGES[stage]
    return f"{study.folder}/{folder}/{pattern.format(**fields)}"


def _job(study: Study, stage: str, fields: dict[str, str]) -> Job:
    _, pattern, names = STAGES[stage]
    beginning = stem(study, stage, fields)
    outputs = tuple(f"{beginning}{name if name[0] == '.' else '/' + name}" for name in names)
    benchmark = None if stage in SHOWING else f"{study.folder}/benchmarks/{stage}/{pattern.format(**fields)}.tsv"
    return Job(stage, SimpleNamespace(**fields), outputs, benchmark)


def _fields(study: Study, stage: str) -> Iterator[tuple[tuple[str, str], ...]]:
    """Yield the wildcards of the jobs of a stage; of some jobs several times."""
    if stage in SHOWING:
        names = {"make_table": ("table", "tables"), "plot": ("figure", "figures")}.get(stage)
        yield from ((((names[0], name),) for name in study.config[names[1]]) if names else [()])
        return
    for cell in _needed(study, stage):
        yield tuple(cell.items())


def _needed(study: Study, stage: str) -> Iterator[dict[str, str]]:
    looking = set(metric_kinds.of_kind(study.config, metric_kinds.IMAGES))
    seen: set[tuple] = set()
    for cell in study.cells:
        if stage in ("evaluate", "measure_images"):
            if (cell.evaluation in looking) == (stage == "measure_images"):
                yield {field: getattr(cell, field) for field in Cell.fields}
            continue
        if stage == "train_attribute_model":
            if cell.evaluation in looking:
                yield _of(cell, "dataset", "ratio", "evaluation")
            continue
        if stage == "distill":
            yield _of(cell, *Cell.fields[:-1])
            continue
        evaluation = cell.evaluation if cell.evaluation in looking else ""
        what = (cell.dataset, cell.ratio, cell.distiller, cell.debias, cell.seed, evaluation)
        if what not in seen:
            seen.add(what)
            yield from _before(study, stage, cell, evaluation)


def _before(study: Study, stage: str, cell: Cell, looking: str) -> Iterator[dict[str, str]]:
    """Yield the wildcards of the jobs of a stage that come before a cell is distilled, or looked at."""
    pools = [(name, study.config["models"][name]) for name in study.pools(cell.distiller)]
    if stage == "synthesize_dataset":
        yield _of(cell, "dataset", "ratio")
        yield from ({"dataset": pool["domain"], "ratio": cell.ratio} for _, pool in pools if pool["domain"])
    if stage == "pretrain_models":
        for name, pool in pools:
            where = {**_of(cell, "dataset", "ratio"), "models": name, "debias": cell.debias}
            yield from ({**where, "member": str(member)} for member in range(pool["count"]))
    weighted = [cell] if study.needs_surrogate(cell.debias) else []
    weighted += [replace(cell, seed=str(pool["seed"])) for _, pool in pools if weighted and not pool["domain"]]
    if stage == "estimate_weights":
        yield from (_of(one, "dataset", "ratio", "debias", "seed") for one in weighted)
    if stage == "train_surrogate":
        name = study.config["debias"][cell.debias].get("surrogate")
        yield from (_with_surrogate(one, name) for one in weighted)
        embedding = study.config["evaluations"][looking]["surrogate"] if looking else None
        if embedding:
            yield _with_surrogate(cell, embedding)


def _of(cell: Cell, *fields: str) -> dict[str, str]:
    return {field: getattr(cell, field) for field in fields}


def _with_surrogate(cell: Cell, surrogate: str) -> dict[str, str]:
    return {**_of(cell, "dataset", "ratio"), "surrogate": surrogate, "seed": cell.seed}


def is_done(job: Job, folder: Path = Path()) -> bool:
    """Tell whether all that a job writes is there, whatever its age."""
    return all((folder / path).exists() for path in job.outputs)
