"""The one writer of evaluation files: every row is checked against ``workflow/schemas/results.schema.yaml``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ddbias.base import paths
from ddbias.base.cell import Cell
from ddbias.data import store

SCHEMA = paths.SCHEMAS / "results.schema.yaml"
COLUMNS = ("study", "scale", *Cell.fields, "repeat", "metric", "value", "support")


def schema() -> dict:
    """Return the JSON schema of a row."""
    import yaml

    return yaml.safe_load(SCHEMA.read_text())


def write(path: str | Path, rows: Sequence[Mapping[str, object]], meta: Mapping) -> None:
    """Write rows of results as a Parquet file.

    Parameters
    ----------
    path : path
    rows : sequence of mapping
        At least one; all with the same keys, those of the schema.
    meta : mapping
        Metadata of the file.

    Raises
    ------
    jsonschema.ValidationError
        If a row is not what the schema says: a fault of the program, not of the user.
    """
    import jsonschema

    validator = jsonschema.Draft202012Validator(schema())
    for row in rows:
        validator.validate(row)
    store.write_table(path, {name: [row[name] for row in rows] for name in rows[0]}, meta)
