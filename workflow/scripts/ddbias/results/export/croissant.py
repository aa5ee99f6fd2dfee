"""The description of a data set repository in the Croissant format, version 1.0 (JSON-LD on top of schema.org).

Source: MLCommons, "Croissant Format Specification", version 1.0. ``workflow/schemas/croissant.schema.json`` says which
parts of it are written here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ddbias import __version__
from ddbias.data import store
from ddbias.results.export.sets import ExportedSet, different

CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
VERSION = "1.0.0"  # of a data set; whoever passes on a second one counts on
CITE_AS = (
    "@software{ddbias, title = {ddbias: measuring and undoing the bias that dataset distillation amplifies}, "
    f"author = {{{{the ddbias authors}}}}, version = {{{__version__}}}}}"
)
# As the specification gives it; every consumer compares it.
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def write_croissant(
    folder: Path, sets: Sequence[ExportedSet], *, study: str, scale: str, data_file: str, tensor_file: str
) -> None:
    """Write ``croissant.json`` into a folder whose other files are there.

    Parameters
    ----------
    folder : Path
    sets : sequence of ExportedSet
    study, scale : str
    data_file, tensor_file : str
        Patterns of the files of a set, with ``{name}``.
    """
    files = []
    for entry in sets:
        files.append(_file(folder, data_file.format(name=entry.name), "application/x-parquet"))
        files.append(_file(folder, tensor_file.format(name=entry.name), "application/octet-stream"))
    labels = {entry.meta["dataset"]: list(map(str, entry.meta["label_names"])) for entry in sets}
    description = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": f"ddbias_{study}_{scale}",
        "description": (
            f"{len(sets)} image sets distilled from biased training sets in the study {study} at scale {scale}, to "
            "measure the bias that distillation keeps. README.md says how they were made and what not to use them for."
        ),
        "license": licence(sets),
        "creator": {"@type": "sc:Organization", "name": f"who ran the ddbias study {study}"},
        "version": VERSION,
        "citeAs": CITE_AS,
        "keywords": ["dataset distillation", "dataset bias", "spurious correlations"],
        "isLiveDataset": False,
        "distribution": files,
        "recordSet": [_label_names(dataset, names) for dataset, names in labels.items()]
        + [_records(entry, data_file.format(name=entry.name)) for entry in sets],
    }
    dates = [entry.date for entry in sets if entry.date]
    if dates:  # when the last set was made, not the day of the export: the same sets give the same bytes
        description["datePublished"] = max(dates)
    store.write_json(folder / "croissant.json", description)


def _file(folder: Path, path: str, encoding: str) -> dict:
    return {
        "@type": "cr:FileObject",
        "@id": path,
        "name": path,
        "contentUrl": path,
        "contentSize": f"{(folder / path).stat().st_size} B",
        "encodingFormat": encoding,
        "sha256": store.file_sha256(folder / path),
    }


def licence(sets: Sequence[ExportedSet]) -> str:
    """Return whose terms apply to the images of some sets."""
    known = [f"{entry.meta['dataset']}: {entry.source.get('licence', 'unknown')}" for entry in sets]
    return f"That of the source data set, from which the pixels derive ({'; '.join(different(known))})"


def _label_names(dataset: str, names: Sequence[str]) -> dict:
    """Return the record set of a data set's class names; its name has no "-", so it is no set's."""
    name = f"{dataset}_labels"
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": f"The class names of {dataset}.",
        "dataType": "sc:Enumeration",
        "key": {"@id": f"{name}/label"},
        "field": [
            {"@type": "cr:Field", "@id": f"{name}/label", "name": "label", "dataType": "sc:Integer"},
            {"@type": "cr:Field", "@id": f"{name}/name", "name": "name", "dataType": "sc:Text"},
        ],
        "data": [{f"{name}/label": label, f"{name}/name": text} for label, text in enumerate(names)],
    }


def _records(entry: ExportedSet, path: str) -> dict:
    def field(column: str, data_type: str, words: str, **more: object) -> dict:
        source = {"fileObject": {"@id": path}, "extract": {"column": column}}
        transform = more.pop("transform", None)
        return {
            "@type": "cr:Field",
            "@id": f"{entry.name}/{column}",
            "name": column,
            "description": words,
            "dataType": data_type,
            "source": source | ({"transform": transform} if transform else {}),
            **more,
        }

    meta, soft = entry.meta, []
    if entry.distilled.soft_labels:
        soft = [field("soft_label", "sc:Float", "Probability of each class, at `temperature`.", repeated=True)]
    return {
        "@type": "cr:RecordSet",
        "@id": entry.name,
        "name": entry.name,
        "description": (
            f"{meta['dataset']} with aligned ratio {meta['ratio']}, distilled by {meta['distiller']} with "
            f"{meta['debias']}, {meta['ipc']} images per class, seed {meta['seed']}."
        ),
        "field": [
            field("image", "sc:ImageObject", "PNG; rounded and clipped to 8 bits.", transform={"jsonPath": "bytes"}),
            field(
                "label", "sc:Integer", "The class.", references={"field": {"@id": f"{meta['dataset']}_labels/label"}}
            ),
            *soft,
        ],
    }
