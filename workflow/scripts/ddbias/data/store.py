"""Reading and writing the files between the stages: whole or not at all, and without pickle.

Every writer writes to ``.<name>.part`` beside its target and renames it, so a killed job leaves at most a part
file that the next attempt overwrites. Metadata is one key, ``ddbias``, holding sorted JSON: with several keys
the bytes of a safetensors file differ from save to save.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa

from ddbias.base.errors import DdbiasError

META_KEY = "ddbias"


def canonical_json(value: object) -> str:
    """Return `value` as JSON with sorted keys and no spaces: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: object) -> str:
    """Return the first 16 hex digits of the SHA-256 of `value` as canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` if the block succeeds, else remove it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    with whole(path) as part:
        part.write_bytes(content)


def write_json(path: str | Path, value: object) -> None:
    """Write `value` as indented JSON with sorted keys."""
    write_bytes(path, (json.dumps(value, sort_keys=True, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: str | Path) -> object:
    """Read a JSON file; a damaged one raises `DdbiasError`."""
    with _damage(path):
        return json.loads(Path(path).read_text())


@contextmanager
def _damage(path: str | Path) -> Iterator[None]:
    """Turn what the readers raise for a damaged file into one line."""
    from safetensors import SafetensorError

    if not Path(path).is_file():
        raise DdbiasError(f"no file {path}; has the stage that writes it run?")
    try:
        yield
    except (pa.ArrowInvalid, SafetensorError, ValueError, KeyError, OSError) as error:
        if isinstance(error, OSError) and error.errno:  # a full disk or a missing right is not damage
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DdbiasError(f"{path} is damaged or not a ddbias file ({reason}); delete it and run again") from error


def write_tensors(path: str | Path, tensors: Mapping[str, object], meta: Mapping[str, object]) -> None:
    """Write torch tensors and JSON metadata as a safetensors file with reproducible bytes."""
    from safetensors.torch import save

    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(content, metadata={META_KEY: canonical_json(meta)}))


def read_tensors(path: str | Path, framework: str = "pt", *, prefix: str | None = "") -> tuple[dict, dict]:
    """Return the tensors and the metadata of a safetensors file.

    Parameters
    ----------
    path : path
    framework : {"pt", "np"}
        ``np`` gives arrays without torch.
    prefix : str or None
        Only the tensors whose names start with it are read, None reads the metadata only. The cost is that of the
        file's header and of the tensors read, whatever else the file holds.
    """
    from safetensors import safe_open

    with _damage(path), safe_open(str(path), framework=framework) as file:
        meta = json.loads((file.metadata() or {})[META_KEY])
        names = [] if prefix is None else [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
        return {name: file.get_tensor(name) for name in names}, meta


def write_table(path: str | Path, columns: Mapping[str, object] | pa.Table, meta: Mapping[str, object]) -> None:
    """Write columns (or an Arrow table) and JSON metadata as a Parquet file."""
    from pyarrow import parquet

    table = columns if isinstance(columns, pa.Table) else pa.table(dict(columns))
    table = table.replace_schema_metadata({META_KEY: canonical_json(meta)})
    with whole(path) as part:
        parquet.write_table(table, part, compression="zstd")


def read_table(path: str | Path) -> tuple[pa.Table, dict]:
    """Return the Arrow table and the metadata of a Parquet file that `write_table` wrote."""
    from pyarrow import parquet

    with _damage(path):
        table = parquet.read_table(path)
        return table, json.loads(table.schema.metadata[META_KEY.encode()])


def fixed_size_binary(rows: np.ndarray) -> pa.FixedSizeBinaryArray:
    """View a C-contiguous array with one row per sample as an Arrow column without copying it."""
    rows = np.ascontiguousarray(rows)
    width = rows.nbytes // max(len(rows), 1)
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(rows), [None, pa.py_buffer(rows)])


def write_arrow(path: str | Path, columns: Mapping[str, object], meta: Mapping[str, object]) -> None:
    """Write columns and JSON metadata as an uncompressed Arrow IPC file that can be memory-mapped."""
    table = pa.table(dict(columns)).replace_schema_metadata({META_KEY: canonical_json(meta)})
    table = table.combine_chunks()
    with whole(path) as part, pa.ipc.new_file(str(part), table.schema) as writer:
        writer.write_table(table)


def read_arrow(path: str | Path) -> tuple[dict[str, np.ndarray], dict]:
    """Memory-map an Arrow IPC file: read-only arrays that share the file's pages, and the metadata.

    Fixed-size binary columns come back as ``(N, width)`` uint8, the others with their own dtype.
    """
    with _damage(path):
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        meta = json.loads(reader.schema.metadata[META_KEY.encode()])
        if reader.num_record_batches != 1:
            raise ValueError(f"{reader.num_record_batches} record batches instead of 1")
        batch = reader.get_batch(0)
        columns = {}
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if pa.types.is_fixed_size_binary(column.type):
                width = column.type.byte_width
                flat = np.frombuffer(column.buffers()[1], np.uint8, len(column) * width, column.offset * width)
                columns[name] = flat.reshape(len(column), width)
            else:
                columns[name] = column.to_numpy(zero_copy_only=True)
        return columns, meta
