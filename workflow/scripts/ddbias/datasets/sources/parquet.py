"""Any images with labels, and an attribute if there is one, from two Parquet files (as Hugging Face writes them)."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import compute

from ddbias.base import lookup
from ddbias.base.errors import DdbiasError, nearest
from ddbias.data import store
from ddbias.datasets.sources.codes import Column, check_no_gap, encode, shown
from ddbias.datasets.sources.images import check_size, decode
from ddbias.datasets.sources.record import RawImages

PLUGIN = {
    "source": {
        "parquet": {
            "description": "Your own images as Parquet, also the layout that Hugging Face datasets writes.",
            "use": "load_parquet",
            "required": ["train", "test"],
            "options": {
                "train": {
                    "type": "string",
                    "description": "Training file; searched in the working directory and the folders of `data`.",
                },
                "test": {"type": "string", "description": "Test file."},
                "image": {
                    "type": "string",
                    "default": "image",
                    "description": "Column: encoded bytes, or struct{bytes, path}.",
                },
                "label": {"type": "string", "default": "label", "description": "Column: integers, or strings."},
                "attribute": {
                    "type": "string",
                    "default": "attribute",
                    "description": "Column: integers or strings; may be absent.",
                },
                "label_names": {"$ref": "#/$defs/class_names"},
                "attribute_names": {"$ref": "#/$defs/class_names"},
            },
            "files": ["train", "test"],
            "seconds": 2e-4,
        }
    }
}

BINARY = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
SHARD = re.compile(r"(?P<first>.*)-(?P<number>\d+)-of-(?P<count>\d+)\.parquet")  # as Hugging Face calls them
ENDING = ".parquet"
IMAGE, LABEL, ATTRIBUTE = "image", "label", "attribute"


def load_parquet(
    *,
    train: str,
    test: str,
    image: str = IMAGE,
    label: str = LABEL,
    attribute: str = ATTRIBUTE,
    label_names: list[str] | None = None,
    attribute_names: list[str] | None = None,
    size: int | None = None,
    data: Mapping[str, object],
) -> dict[str, RawImages]:
    """Return the images of two Parquet files.

    Parameters
    ----------
    train, test : str
        Paths of files, of folders of them, or patterns (``train-*.parquet``), whose files are read in the order of
        their names; relative ones are looked for in the working directory, then as `ddbias.base.lookup.places` says.
    image : str
        Column of encoded images: binary, or a struct with a field ``bytes``.
    label : str
        Column of labels: integers 0..K-1, or strings, which are numbered in sorted order.
    attribute : str
        Column of the bias attribute, integers or strings. Only the default, ``attribute``, may be absent.
    label_names, attribute_names : list of str or None
        Names in the order of the numbers; None takes those of Hugging Face's metadata, else the numbers.
    size : int or None
        Side in pixels to resize to while decoding; needed when the images differ in size.
    data : mapping
        ``root`` and ``mirrors``.

    Raises
    ------
    DdbiasError
        For a missing file or column, an empty or damaged file, an undecodable image (with its row), labels that
        are missing, negative, have gaps, or are named differently in the two files.
    """
    check_size(size)
    files = {"train": lookup.find_files(train, data, ENDING), "test": lookup.find_files(test, data, ENDING)}
    paths = {split: common_path(found) for split, found in files.items()}
    both = {file.resolve() for file in files["train"]} & {file.resolve() for file in files["test"]}
    if both:
        raise DdbiasError(
            f"{min(both)} is named for both splits, so that networks would be tested on what they were trained on; "
            f"name the files of each, as train-*{ENDING} and test-*{ENDING}"
        )
    tables = {split: read_parts(found, (image, label), attribute) for split, found in files.items()}
    labels, names = encode("label", [column_of(t, paths[s], label) for s, t in tables.items()], label_names)
    check_no_gap(labels[0], names, f"column '{label}' of {paths['train']}")
    tags, tag_names = _attributes(tables, paths, attribute, attribute_names)
    pixels = {split: encoded_images(table, paths[split], image, size) for split, table in tables.items()}
    if pixels["train"].shape[1:] != pixels["test"].shape[1:]:
        shapes = " and ".join("x".join(map(str, p.shape[1:])) for p in pixels.values())
        raise DdbiasError(
            f"{paths['train']} and {paths['test']} hold images of different shape ({shapes}, channels first); "
            "set size: for one size, and store both files as grey or both as RGB"
        )
    provenance = {
        "source": "parquet",
        "files": {split: fingerprint(found) for split, found in files.items()},
        "licence": "as stated by the provider of the files",
    }
    return {
        split: RawImages(pixels[split], labels[i], names, tags[i], tag_names, provenance)
        for i, split in enumerate(paths)
    }


def common_path(files: list[Path]) -> Path:
    """Return the file, or the folder of several, for messages."""
    return files[0] if len(files) == 1 else files[0].parent


def fingerprint(files: list[Path]) -> dict[str, object]:
    """Return name and SHA-256 of a file; of several those of all."""
    found = [{"name": path.name, "sha256": store.file_sha256(path)} for path in files]
    return found[0] if len(found) == 1 else {"name": files[0].parent.name, "parts": found}


def read_parts(files: list[Path], needed: tuple[str, ...], attribute: str) -> pa.Table:
    """Read the parts of a split and put them together."""
    _check_shards(files)
    tables = [_read(path, needed, attribute) for path in files]
    for path, table in zip(files[1:], tables[1:], strict=True):
        if table.schema.remove_metadata() != tables[0].schema.remove_metadata():
            raise DdbiasError(f"{path} and {files[0]} have columns of different types; write all parts alike")
        for column in table.column_names:
            names, first = (_class_names(one.schema, column) for one in (table, tables[0]))
            if names != first:
                raise DdbiasError(
                    f"the class names of column '{column}' in {files[0]} ({shown(first)}) and {path} ({shown(names)}) "
                    "differ, so that a number means another class there; write all parts with the same"
                )
    table = pa.concat_tables([table.replace_schema_metadata(tables[0].schema.metadata) for table in tables])
    if not len(table):
        raise DdbiasError(f"{common_path(files)} is empty; a split needs at least one image")
    return table


def _check_shards(files: list[Path]) -> None:
    """Refuse a part of a set of numbered files without the others."""
    shards = [found for path in files if (found := SHARD.fullmatch(path.name))]
    there = Counter((found["first"], found["count"]) for found in shards)
    for found in shards:
        named, count = there[found["first"], found["count"]], int(found["count"])
        if count > named:
            raise DdbiasError(
                f"{files[0].parent / found[0]} is one of {count} parts, of which {named} are named; write "
                f"{found['first']}-*.parquet for all, or rename the file if it is meant to stand alone"
            )


def _read(path: Path, needed: tuple[str, ...], attribute: str) -> pa.Table:
    """Read the columns that are needed, and the attribute unless it has its default name and is absent."""
    from pyarrow import parquet

    try:
        schema = parquet.read_schema(path)
        for column in (*needed, *([attribute] if attribute != ATTRIBUTE else [])):
            if column not in schema.names:
                raise DdbiasError(
                    f"{path} has no column '{column}'; it has: {', '.join(schema.names)}."
                    f"{nearest(column, schema.names)}"
                )
            if schema.names.count(column) > 1:
                raise DdbiasError(f"{path} has {schema.names.count(column)} columns '{column}'; rename all but one")
        wanted = [*needed, *([attribute] if attribute in schema.names else [])]
        table = parquet.read_table(path, columns=list(dict.fromkeys(wanted)))
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise DdbiasError(f"{path} is damaged or not a Parquet file ({str(error).splitlines()[0]})") from error
    return table


def column_of(table: pa.Table, path: Path, name: str) -> Column:
    """Return a column with the class names that its file states."""
    values = table.column(name)
    if pa.types.is_dictionary(values.type):  # whose chunks may number their values differently
        values = pa.chunked_array([chunk.dictionary_decode() for chunk in values.chunks])
    values = values.combine_chunks()
    return Column(values, path, name, _class_names(table.schema, name))


def _class_names(schema: pa.Schema, column: str) -> list[str] | None:
    """Return the names of a Hugging Face ``ClassLabel``; None when the (optional) metadata has none."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        feature = features[column]
        return [str(name) for name in feature["names"]] if feature["_type"] == "ClassLabel" else None
    except (ValueError, KeyError, TypeError):
        return None


def _attributes(
    tables: Mapping[str, pa.Table], paths: Mapping[str, Path], column: str, names: list[str] | None
) -> tuple[list[np.ndarray | None], list[str] | None]:
    """Return the attributes of both splits and their names; all None when the files have no such column."""
    present = [column in table.column_names for table in tables.values()]
    if not any(present):
        return [None, None], None
    if not all(present):
        lacking = paths["test" if present[0] else "train"]
        raise DdbiasError(f"{lacking} has no column '{column}' though the other split has; add it or drop it there")
    return encode("attribute", [column_of(t, paths[s], column) for s, t in tables.items()], names)


def encoded_images(table: pa.Table, path: Path, column: str, size: int | None, mode: str | None = None) -> np.ndarray:
    """Decode a column of encoded images; `size` and `mode` as of `ddbias.datasets.sources.images.decode`."""
    values = table.column(column)  # in chunks: together they may be more than a 32-bit offset reaches
    if pa.types.is_dictionary(values.type):
        values = pa.chunked_array([chunk.dictionary_decode() for chunk in values.chunks])
    if pa.types.is_struct(values.type) and "bytes" in [f.name for f in values.type]:
        values = compute.struct_field(values, "bytes")
    if not any(is_kind(values.type) for is_kind in BINARY):
        raise DdbiasError(
            f"column '{column}' of {path} is {values.type}; it must hold encoded images (PNG or JPEG) "
            "as binary, or as a struct with a field 'bytes'"
        )
    if values.null_count:
        row = compute.is_null(values).to_pylist().index(True)
        raise DdbiasError(f"row {row} of column '{column}' of {path} holds no image bytes; embed or remove it")
    views = [memoryview(value.as_buffer()) for chunk in values.chunks for value in chunk]
    return decode(views, size=size, mode=mode, name=lambda row: f"the image in row {row} of {path}")
