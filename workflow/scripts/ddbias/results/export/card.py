"""The card of a data set repository: YAML for the hub, then a description of the images and their limits."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

import yaml

from ddbias.base import escape
from ddbias.data import store
from ddbias.results.export.sets import CELL, METRICS, Accuracy, ExportedSet, different

TAGS = ["dataset-distillation", "dataset-condensation", "dataset-bias", "spurious-correlations", "synthetic", "ddbias"]
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
PROVENANCE = ("ddbias", "torch", "numpy", "device", "device_type", "precision", "threads")


def write_card(
    path: Path,
    sets: Sequence[ExportedSet],
    *,
    study: str,
    scale: str,
    template: str | Path,
    data_file: str,
    sizes: Mapping[str, int],
) -> None:
    """Write ``README.md`` of a repository.

    Parameters
    ----------
    path : Path
    sets : sequence of ExportedSet
    study, scale : str
    template : path
        The text, with ``$names`` for what is filled in.
    data_file : str
        Pattern of the Parquet file of a set, with ``{name}``.
    sizes : mapping of str to int
        Bytes of every set's table in memory, by name.
    """
    text = Template(Path(template).read_text(encoding="utf-8")).substitute(
        front_matter=front_matter(sets, study=study, scale=scale, data_file=data_file, sizes=sizes),
        study=study,
        scale=scale,
        count=len(sets),
        first=sets[0].name,
        sources=_sources(sets),
        sets=_set_table(sets),
        normalisation=_normalisation(sets),
        accuracies=_accuracy_table(sets),
        selected=_selected(sets),
        settings=_settings(sets),
        made=_made(sets),
    )
    store.write_bytes(path, text.encode())


def front_matter(
    sets: Sequence[ExportedSet], *, study: str, scale: str, data_file: str, sizes: Mapping[str, int]
) -> str:
    """Return the YAML at the top of the card, without its fences."""
    images = sum(len(entry.distilled) for entry in sets)
    head = {
        "pretty_name": f"Distilled sets of the study {study} ({scale})",
        "license": "other",
        "license_name": "that-of-the-source-data-set",
        "task_categories": ["image-classification"],
        "size_categories": [next((name for limit, name in SIZES if images < limit), "n>1M")],
        "tags": TAGS,
        "configs": [
            {"config_name": entry.name, "data_files": [{"split": "train", "path": data_file.format(name=entry.name)}]}
            for entry in sets
        ],
        "dataset_info": [_info(entry, sizes[entry.name]) for entry in sets],
    }
    return yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=1000).rstrip()


def _info(entry: ExportedSet, size: int) -> dict:
    names = {str(label): str(name) for label, name in enumerate(entry.meta["label_names"])}
    soft = [{"name": "soft_label", "sequence": "float32"}] if entry.distilled.soft_labels else []
    return {
        "config_name": entry.name,
        "features": [
            {"name": "image", "dtype": "image"},
            {"name": "label", "dtype": {"class_label": {"names": names}}},
            *soft,
        ],
        "splits": [{"name": "train", "num_bytes": size, "num_examples": len(entry.distilled)}],
    }


def _sources(sets: Sequence[ExportedSet]) -> str:
    lines = []
    for dataset in different(entry.meta["dataset"] for entry in sets):
        source = next(entry.source for entry in sets if entry.meta["dataset"] == dataset)
        credit = f"images of {source.get('source', 'an unknown source')}"
        credit += f" ({source['citation']})" if "citation" in source else ""
        credit += f"; licence: {source.get('licence', 'unknown')}."
        lines.append(f"- {escape.markdown_code(dataset)}: {escape.markdown(credit)}")
    return "\n".join(lines)


def _set_table(sets: Sequence[ExportedSet]) -> str:
    rows = []
    for entry in sets:
        channels, height, width = entry.distilled.images.shape[1:]
        cell = [escape.markdown(entry.meta[key]) for key in CELL]
        rows.append(
            [escape.markdown_code(entry.name), *cell, str(len(entry.distilled)), f"{channels} x {height} x {width}"]
        )
        rows[-1] += [f"{100 * entry.clipped:.1f} %", escape.markdown(entry.commit)]
    return _table(["subset", *CELL, "images", "shape", "clipped", "commit"], rows)


def _normalisation(sets: Sequence[ExportedSet]) -> str:
    facts = [(*(entry.meta[key] for key in ("dataset", "ratio", "mean", "std")), _seen(entry.meta)) for entry in sets]
    return "\n".join(
        f"- {escape.markdown_code(dataset)}, ratio {escape.markdown(ratio)}: mean {_numbers(mean)}, std {_numbers(std)}"
        f"{seen}"
        for dataset, ratio, mean, std, seen in different(facts)
    )


def _seen(meta: Mapping) -> str:
    return (
        "; made for networks that see them ZCA-whitened, which the files here are not" if meta.get("whitened") else ""
    )


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def _accuracy_table(sets: Sequence[ExportedSet]) -> str:
    rows = []
    for entry in sets:
        for evaluation in different(accuracy.evaluation for accuracy in entry.accuracies):
            found = {a.metric: a for a in entry.accuracies if a.evaluation == evaluation}
            values = [_percent(found[metric]) if metric in found else "" for metric in METRICS]
            rows.append(
                [
                    escape.markdown_code(entry.name),
                    escape.markdown(evaluation),
                    *values,
                    str(max(a.n for a in found.values())),
                ]
            )
    if not rows:
        return "None of these sets has been evaluated."
    return _table(["subset", "evaluation", *(metric.replace("_", " ") for metric in METRICS), "networks"], rows)


def _percent(accuracy: Accuracy) -> str:
    deviation = "" if accuracy.std is None else f" ± {accuracy.std:.1f}"
    diverged = f" ({accuracy.diverged} diverged)" if accuracy.diverged else ""
    return f"{accuracy.mean:.1f}{deviation}{diverged}"


def _selected(sets: Sequence[ExportedSet]) -> str:
    names = [escape.markdown_code(entry.name) for entry in sets if entry.selected]
    if not names:
        return "No subset is a plain selection of training images."
    return f"These subsets are real images of the (biased) training set, not synthetic ones: {', '.join(names)}."


def _settings(sets: Sequence[ExportedSet]) -> str:
    """Return every different setting once, as JSON, under the name that the table above has for it."""
    parts = []
    for kind in ("distiller", "debias"):
        for name in different(entry.meta[kind] for entry in sets):
            used = [entry.meta["settings"] for entry in sets if entry.meta[kind] == name]
            for settings in different(_used(kind, each) for each in used):
                block = json.dumps(settings, sort_keys=True, indent=2, ensure_ascii=False)
                head = f"{kind} {escape.markdown_code(name)}:"
                parts.append(f"{head}\n\n{escape.markdown_block(block, 'json')}")
    return "\n\n".join(parts)


def _used(kind: str, settings: Mapping) -> Mapping:
    """Return a setting by itself, a distiller's together with its network."""
    network = settings.get("network") if kind == "distiller" else None
    return settings[kind] if network is None else {"settings": settings[kind], "network": network}


def _made(sets: Sequence[ExportedSet]) -> str:
    lines = []
    for facts in different(_facts(entry) for entry in sets):
        words = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in facts.items())
        lines.append(f"- {escape.markdown(words)}")
    return "\n".join(lines)


def _facts(entry: ExportedSet) -> Mapping:
    return {key: entry.meta["provenance"][key] for key in PROVENANCE if key in entry.meta["provenance"]}


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
