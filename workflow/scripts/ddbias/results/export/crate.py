"""The provenance of a data set repository as a Workflow Run RO-Crate: every set is the result of a run of the workflow.

Source: the profiles Process Run Crate and Workflow Run Crate 0.5 (https://w3id.org/ro/wfrun/workflow/0.5) of RO-Crate
1.1. It says what ``run.json``, the sets and their training splits record, and neither paths nor the name of a machine.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from ddbias import __version__
from ddbias.base import paths
from ddbias.data import store
from ddbias.results.export.croissant import licence
from ddbias.results.export.sets import CELL, ExportedSet

WORKFLOW = "workflow/Snakefile"
CONTEXT = ["https://w3id.org/ro/crate/1.1/context", "https://w3id.org/ro/terms/workflow-run/context"]
CRATE, WORKFLOW_CRATE = "https://w3id.org/ro/crate/1.1", "https://w3id.org/workflowhub/workflow-ro-crate/1.0"
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    WORKFLOW_CRATE: "Workflow RO-Crate",
}
SNAKEMAKE = "https://w3id.org/workflowhub/workflow-ro-crate#snakemake"
FORMATS = {
    ".parquet": "application/x-parquet",
    ".safetensors": "application/octet-stream",
    ".md": "text/markdown",
    ".json": "application/ld+json",
    "": "text/plain",
}


def write_crate(folder: Path, sets: Sequence[ExportedSet], *, study: str, scale: str, parts: Sequence[str]) -> None:
    """Write ``ro-crate-metadata.json``, and the workflow, into a folder whose other files are there.

    Parameters
    ----------
    folder : Path
    sets : sequence of ExportedSet
    study, scale : str
    parts : sequence of str
        Patterns of the files of a set, with ``{name}``.
    """
    store.write_bytes(folder / WORKFLOW, paths.SNAKEFILE.read_bytes())
    results = {entry.name: [part.format(name=entry.name) for part in parts] for entry in sets}
    files = [WORKFLOW, "README.md", "croissant.json", *(path for found in results.values() for path in found)]
    sources = {entry.meta["dataset"]: entry.source for entry in sets}
    last = max((entry.date for entry in sets if entry.date), default=date.today().isoformat())  # the profile needs one
    graph = [
        {
            "@id": "ro-crate-metadata.json",
            "@type": "CreativeWork",
            "about": _to("./"),
            "conformsTo": [_to(CRATE), _to(WORKFLOW_CRATE)],
        },
        {
            "@id": "./",
            "@type": "Dataset",
            "name": f"Distilled sets of the ddbias study {study} ({scale})",
            "description": (
                f"{len(sets)} image sets distilled from biased data, and how each was made. README.md says what not to "
                "use them for."
            ),
            "datePublished": last,
            "license": _to("#licence"),
            "conformsTo": list(map(_to, PROFILES)),
            "mainEntity": _to(WORKFLOW),
            "hasPart": list(map(_to, files)),
            "mentions": [_to(_action_id(entry)) for entry in sets],
        },
        *({"@id": one, "@type": "CreativeWork", "name": name} for one, name in PROFILES.items()),
        {"@id": "#licence", "@type": "CreativeWork", "name": licence(sets)},
        {"@id": "#runner", "@type": "Organization", "name": f"who ran the ddbias study {study}"},
        {"@id": "#authors", "@type": "Organization", "name": "the ddbias authors"},
        {"@id": SNAKEMAKE, "@type": "ComputerLanguage", "name": "Snakemake", "url": "https://snakemake.github.io"},
        *(_file(folder, path) for path in files),
        *(_source(dataset, credits) for dataset, credits in sources.items()),
        *(entity for entry in sets for entity in _run(entry, results[entry.name])),
    ]
    store.write_json(folder / "ro-crate-metadata.json", {"@context": CONTEXT, "@graph": graph})


def _to(name: str) -> dict:
    return {"@id": name}


def _action_id(entry: ExportedSet) -> str:
    return f"#run-{entry.name}"


def _file(folder: Path, path: str) -> dict:
    about = {
        "@id": path,
        "@type": "File",
        "name": path,
        "contentSize": str((folder / path).stat().st_size),
        "encodingFormat": FORMATS[Path(path).suffix],
        "sha256": store.file_sha256(folder / path),
    }
    if path != WORKFLOW:
        return about
    return about | {
        "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
        "name": "ddbias",
        "description": "The entry of the workflow; it includes the rest of the repository.",
        "version": __version__,
        "creator": _to("#authors"),
        "license": "https://spdx.org/licenses/MIT",
        "programmingLanguage": _to(SNAKEMAKE),
    }


def _source_id(dataset: str) -> str:
    return f"#source-{dataset}"


def _source(dataset: str, credits: Mapping) -> dict:
    """Return the images that a data set was made from."""
    about = {
        "@id": _source_id(dataset),
        "@type": "CreativeWork",
        "name": f"images of {credits.get('source', 'an unknown source')}, as the data set {dataset}",
        "license": credits.get("licence", "unknown"),
    }
    return about | ({"citation": credits["citation"]} if "citation" in credits else {})


def _run(entry: ExportedSet, results: Sequence[str]) -> list[dict]:
    """Return the run that made a set, and the values that it was given."""
    given = {key: entry.meta[key] for key in CELL}
    given |= {f"settings of the {key}": value for key, value in entry.meta["settings"].items() if value is not None}
    versions = entry.meta["provenance"]
    values = [_value(f"{entry.name}-{name.replace(' ', '-')}", name, value) for name, value in given.items()]
    environment = [_value(f"{entry.name}-on-{name}", name, versions[name]) for name in versions if name != "host"]
    action = {
        "@id": _action_id(entry),
        "@type": "CreateAction",
        "name": f"Distillation of {entry.name}",
        "description": f"By ddbias {versions.get('ddbias', 'of an unknown version')}, commit {entry.commit}.",
        "actionStatus": "http://schema.org/CompletedActionStatus",
        "agent": _to("#runner"),
        "instrument": _to(WORKFLOW),
        "object": [_to(_source_id(entry.meta["dataset"])), *(_to(value["@id"]) for value in values)],
        "environment": [_to(value["@id"]) for value in environment],
        "result": list(map(_to, results)),
        **_times(entry.run),
    }
    return [action, *values, *environment]


def _value(name: str, key: str, value: object) -> dict:
    text = value if isinstance(value, str) else store.canonical_json(value)
    return {"@id": f"#{name}", "@type": "PropertyValue", "name": key, "value": text}


def _times(run: Mapping) -> dict:
    """Return when a run began and ended, as far as that is known."""
    with contextlib.suppress(KeyError, TypeError, ValueError):
        began = datetime.fromisoformat(run["date"]).astimezone(UTC)
        ended = began + timedelta(seconds=run["seconds"])
        return {"startTime": began.isoformat(), "endTime": ended.isoformat(timespec="seconds")}
    return {}
