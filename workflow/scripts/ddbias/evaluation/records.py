"""The files of evaluations, one row per network and metric: their one writer and their one reader.

Every row that is written is checked against ``workflow/schemas/results.schema.yaml``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ddbias.base import paths
from ddbias.base.cell import Cell
from ddbias.base.errors import DdbiasError
from ddbias.data import store
from ddbias.evaluation.images import image_metrics

if TYPE_CHECKING:
    import pyarrow as pa

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


def read(path: str | Path) -> tuple[pa.Table, dict]:
    """Return the rows (the columns of `COLUMNS`) and the metadata of one evaluation file.

    Raises
    ------
    DdbiasError
        If the file is damaged, lacks a column or holds a value outside 0..1.
    """
    table, meta = store.read_table(path)
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise DdbiasError(f"{path} is not an evaluation: it lacks the columns {', '.join(missing)}; evaluate again")
    value, metric = table["value"].to_numpy(), np.array(table["metric"].to_pylist())
    most = np.where(np.isin(metric, image_metrics.ABOVE_ONE), np.inf, 1)
    if not ((value >= 0) & (value <= most)).all():  # False for NaN too
        raise DdbiasError(f"{path} holds a value outside 0..1; metrics are stored as fractions, evaluate again")
    return table.select(COLUMNS), meta
