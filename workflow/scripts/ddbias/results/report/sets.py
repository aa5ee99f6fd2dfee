"""Content of the report for each distilled set: its results, its weights, and how it was made.

A set is identified by `KEYS`, which are in the files of evaluations and weights, so their paths do not matter. Parts
that were not run are missing.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ddbias.base import groups
from ddbias.base.cell import shortest
from ddbias.base.errors import DdbiasError
from ddbias.data import store
from ddbias.evaluation import undefined
from ddbias.results.report.pictures import Curve, Histogram, Preview, curve, histogram, preview, probe_curve
from ddbias.results.tables.formats import MARK, metric_words
from ddbias.results.tables.read import distillation, read_evaluation
from ddbias.results.tables.tabulate import convention

KEYS = ("dataset", "ratio", "distiller", "debias", "ipc", "seed")
NOT_OF_CLASSES = ("classes", "pairing", "trial_gains", "trial_errors")  # lists in the metadata of weights
WEIGHTS_KEYS = ("dataset", "ratio", "debias", "seed")


@dataclass(frozen=True)
class Result:
    """One metric of a set under one evaluation: percent over `n` networks; `std` (ddof 0) is None for one."""

    mean: float
    std: float | None
    n: int
    support: str


@dataclass(frozen=True)
class Evaluation:
    """The results of one evaluation by metric, the convention of its test set, its settings.

    ``lacking`` are the metrics without a result, by the reason; ``diverged`` is how many of its networks have.
    """

    results: dict[str, Result]
    convention: str
    settings: dict[str, str]
    lacking: dict[str, list[str]]
    diverged: int


@dataclass(frozen=True)
class Weights:
    """What a file of weights says: numbers in words, a table by class (its head first), a drawing, settings."""

    facts: dict[str, str]
    classes: list[list[str]]
    histogram: Histogram | None
    settings: dict[str, str]


@dataclass(frozen=True)
class Run:
    """A finished distilled set and all that is known about it; ``converged`` as in a table, ``classes`` are names."""

    folder: Path
    key: dict[str, str]
    preview: Preview | None
    curves: list[Curve]
    seconds: float | None
    facts: dict[str, str]
    versions: dict[str, str]
    settings: dict[str, str]
    command: str
    converged: str = ""
    evaluations: dict[str, Evaluation] = field(default_factory=dict)
    weights: Weights | None = None
    classes: list[str] = field(default_factory=list)


def collect(
    folders: Sequence[str | Path], evaluations: Sequence[str | Path], weights: Sequence[str | Path]
) -> tuple[list[Run], list[str]]:
    """Read everything about some distilled sets.

    Parameters
    ----------
    folders : sequence of path
        ``distilled/{dataset}/.../seed{seed}``.
    evaluations, weights : sequence of path
        Files that `evaluate` and `estimate_weights` write; those that do not exist (yet) are passed over.

    Returns
    -------
    tuple of list of Run and list of str
        The sets there are, in the order of `folders`, and the folders without one.

    Raises
    ------
    DdbiasError
        If an existing file is damaged or not what it should be.
    """
    finished = [Path(folder) for folder in folders if (Path(folder) / "distilled.safetensors").is_file()]
    results: dict[tuple, dict[str, Evaluation]] = {}
    for path in _existing(evaluations):
        key, name, evaluation = _evaluation(path)
        results.setdefault(key, {})[name] = evaluation
    found = dict(map(_weights, _existing(weights)))
    runs = [_run(folder, len(finished), results, found) for folder in finished]
    there = set(finished)
    return runs, [str(folder) for folder in folders if Path(folder) not in there]


def _existing(paths: Sequence[str | Path]) -> list[Path]:
    return [path for path in dict.fromkeys(map(Path, paths)) if path.is_file()]


def _key(values: Mapping, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(shortest(values[name]) if name == "ratio" else str(values[name]) for name in names)


def _evaluation(path: Path) -> tuple[tuple, str, Evaluation]:
    """Return the key of the set, the name of the evaluation, and its results."""
    table, meta = read_evaluation(path)
    columns = {name: table[name].to_pylist() for name in (*KEYS, "evaluation", "metric", "value", "support")}
    if not table.num_rows:
        raise DdbiasError(f"{path} holds no result; delete it and evaluate again")
    by_metric: dict[str, list[tuple[float, int]]] = {}
    for metric, value, support in zip(columns["metric"], columns["value"], columns["support"], strict=True):
        by_metric.setdefault(metric, []).append((value, support))
    results = {metric: _result(*zip(*pairs, strict=True)) for metric, pairs in by_metric.items()}
    first = {name: values[0] for name, values in columns.items()}
    settings = flatten(_mapping(meta, "settings", path)) | flatten(_mapping(meta, "network", path), "network.")
    test_set = convention(str(meta.get("convention", "unknown")))
    lacking: dict[str, list[str]] = {}
    for metric, reason in undefined.reasons(set(results), meta).items():
        lacking.setdefault(reason, []).append(metric_words(metric))
    diverged = sum(undefined.diverged(meta))
    return _key(first, KEYS), str(first["evaluation"]), Evaluation(results, test_set, settings, lacking, diverged)


def _result(values: Sequence[float], supports: Sequence[int]) -> Result:
    low, high = min(supports), max(supports)
    percent = 100 * np.asarray(values, np.float64)
    std = float(percent.std()) if len(percent) > 1 else None
    return Result(float(percent.mean()), std, len(percent), str(low) if low == high else f"{low} to {high}")


def _weights(path: Path) -> tuple[tuple, Weights]:
    """Return what a file of weights is for, and what it says."""
    table, meta = store.read_table(path)
    store.require(path, "a file of weights", [*table.column_names, *meta], ("label", "weight", *WEIGHTS_KEYS))
    label, weight = table["label"].to_numpy(), table["weight"].to_numpy()
    attribute = table["attribute"].to_numpy() if "attribute" in table.column_names else None
    conflicting = groups.conflicting(label, attribute, meta.get("pairing", groups.IDENTITY))
    surrogate = _mapping(meta, "surrogate", path)
    settings = flatten(_mapping(surrogate, "settings", path), "surrogate.")
    drawing = histogram(weight, conflicting)
    return _key(meta, WEIGHTS_KEYS), Weights(_in_words(meta, len(weight)), _classes(meta), drawing, settings)


def _in_words(meta: Mapping, samples: int) -> dict[str, str]:
    """Word the diagnostics of `ddbias.debias.weights.diagnosis`; the unknown is left out."""
    facts = {"samples": str(samples)}
    share, ratio = meta.get("conflicting_share"), meta.get("conflicting_ratio")
    if share is not None and ratio is not None:
        facts["held by conflicting"] = f"{_percent(share)} of the weight; they are {_percent(ratio)} of the samples"
    if meta.get("effective_sample_size") is not None:
        facts["effective sample size"] = f"{meta['effective_sample_size']:.0f}"
    if meta.get("largest_share") is not None:
        facts["held by the largest 1 %"] = f"{_percent(meta['largest_share'])} of the weight"
    if meta.get("trial_gains") is not None:
        chosen, gains, errors = (meta.get(f"trial_{name}") for name in ("chosen", "gains", "errors"))
        best = max(range(len(gains)), key=gains.__getitem__) if chosen is None else chosen
        told = "passed" if chosen is not None else "did not pass, so that all samples count alike"
        facts["trial"] = f"gain {gains[best]:+.2f} (standard error {errors[best]:.2f}), {told}"
    if meta.get("auc") is not None:
        facts["AUC"] = f"{meta['auc']:.3f} (low density against conflicting)"
    return facts


def _classes(meta: Mapping) -> list[list[str]]:
    """Return the diagnostics by class as a table with its head, without the columns that nothing is known of."""
    classes = meta.get("classes") or []
    texts = {
        "class": [str(one["label"]) for one in classes],
        "samples": [str(one["samples"]) for one in classes],
        "conflicting samples": [_percent(one.get("conflicting_ratio")) for one in classes],
        "conflicting weight": [_percent(one.get("conflicting_share")) for one in classes],
        "effective size": [f"{one['effective_sample_size']:.0f}" for one in classes],
        "AUC": ["" if one.get("auc") is None else f"{one['auc']:.3f}" for one in classes],
    }
    # What an estimate found of each class: variances, silhouettes.
    for name, values in meta.items():
        if name not in NOT_OF_CLASSES and isinstance(values, list) and len(values) == len(classes):
            texts[name] = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in values]
    known = {name: column for name, column in texts.items() if any(column)}
    return [list(known), *map(list, zip(*known.values(), strict=True))] if known else []


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _run(folder: Path, sharing: int, results: Mapping[tuple, dict], weights: Mapping[tuple, Weights]) -> Run:
    path = folder / "distilled.safetensors"
    _, meta = store.read_tensors(path, framework="np", prefix=None)
    store.require(path, "a distilled set", meta, KEYS)
    seconds, facts, command, probe = _record(folder / "run.json")
    found = distillation(meta, path)
    key = dict(zip(KEYS, _key(meta, KEYS), strict=True))
    return Run(
        folder=folder,
        key=key,
        preview=preview(folder / "preview.png", sharing),
        curves=[*([probe] if probe else []), *_curves(folder / "history.parquet")],
        seconds=seconds,
        classes=list(map(str, meta.get("label_names") or [])),
        facts=_went(meta.get("distillation") or {}, found) | facts,
        converged=str(found["converged"]),
        versions=flatten(_mapping(meta, "provenance", path)),
        settings=flatten(_mapping(meta, "settings", path)),
        command=command,
        evaluations=results.get(tuple(key.values()), {}),
        weights=weights.get(_key(key, WEIGHTS_KEYS)),
    )


def _went(facts: Mapping, found: Mapping) -> dict[str, str]:
    """Word how far a distillation went; the unknown is left out."""
    words = {}
    if found["converged"]:
        words["converged"] = "yes" if found["converged"] == "true" else f"no {MARK}"
    if facts.get("iterations"):
        words["iterations"] = f"{facts['iterations']} of at most {facts.get('at_most')}"
    if np.isfinite(found["moved"]):
        words["moved"] = f"{found['moved']:.1f} of 255, a pixel on average from its first value"
    if np.isfinite(found["first_conflicting"]):
        words["conflicting first images"] = f"{found['first_conflicting']:.0f}"
    return words


def _mapping(meta: Mapping, name: str, path: Path) -> Mapping:
    value = meta.get(name) or {}
    if not isinstance(value, Mapping):
        raise DdbiasError(f"{path} is damaged: {name} is no list of settings; delete it and run again")
    return value


def _record(path: Path) -> tuple[float | None, dict[str, str], str, Curve | None]:
    """Return the seconds, what a reader wants to know, the command and the probe in ``run.json``, all if there."""
    if not path.is_file():
        return None, {}, "", None
    record = store.read_json(path)
    try:
        return _facts(record)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DdbiasError(f"{path} is not the record of a run ({error}); delete it and distill again") from error


def _facts(record: Mapping) -> tuple[float | None, dict[str, str], str, Curve | None]:
    facts = {}
    if record.get("commit"):
        facts["commit"] = str(record["commit"]).replace("+", " with uncommitted changes")
    if record.get("device"):
        facts["device"] = str(record["device"])
    if record.get("date"):
        facts["date"] = str(record["date"]).replace("T", " ").replace("+00:00", " UTC")
    seconds = None if record.get("seconds") is None else float(record["seconds"])
    if seconds is not None:
        facts["time"] = duration(seconds)
    if record.get("peak_memory_mb") is not None:
        facts["peak memory"] = f"{float(record['peak_memory_mb']):.0f} MB"
    command = record.get("command") or ""
    command = shlex.join(map(str, command)) if isinstance(command, list) else str(command)
    probe = record.get("probe") or {}
    course = probe_curve(*(probe[name] for name in ("iteration", "loss", "standard_error"))) if probe else None
    return seconds, facts, command, course


def duration(seconds: float) -> str:
    """Write a time as people say it: ``75.2 s``, ``12 min 5 s``, ``2.4 h``."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 100 else f"{minutes / 60:.1f} h"


def flatten(tree: Mapping, prefix: str = "") -> dict[str, str]:
    """Turn nested settings into ``{"optimizer.lr": "0.1"}``."""
    flat = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": str(value)}
    return flat


def _curves(path: Path) -> list[Curve]:
    """Return the course of all that a distiller recorded, the loss first."""
    if not path.is_file():
        return []
    table, _ = store.read_table(path)
    names = sorted(set(table.column_names) - {"step"}, key=lambda name: (name != "loss", name))
    curves = [curve(name, table[name].to_pylist()) for name in names]
    return [one for one in curves if one]
