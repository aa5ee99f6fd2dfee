"""Reading and writing the files between the stages: whole or not at all, and without pickle.

Every writer writes to ``.<name>.part`` beside its target and renames it, so a killed job leaves at most a part
file that the next attempt overwrites. Metadata is one key, ``ddbias``, holding sorted JSON: with several keys
the bytes of a safetensors file differ from save to save.

That JSON also holds a checksum of itself and of every column or tensor, which the readers compare and take out again.
Files of earlier versions have none and are read as they are.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa

from ddbias.base.errors import DdbiasError

META_KEY = "ddbias"
FORMAT_KEY, CHECKSUM_KEY, CHECKSUMS_KEY = "format", "checksum", "checksums"  # of the metadata
FORMAT = 2  # of the metadata: the first one with checksums
# Said of a file that cannot be used, which may be a result or a wrong name that somebody gave.
AGAIN = "give another path, or, if a run wrote it, delete it and run again"


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
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and not error.filename:  # a full disk, while writing
            error.filename = str(path)
        raise


@contextmanager
def new_folder(folder: str | Path, what: str) -> Iterator[Path]:
    """Yield a folder to write in; what it holds is moved to `folder` if the block succeeds, else removed.

    Parameters
    ----------
    folder : path
        Must not exist, or be an empty folder, which stays the same one.
    what : str
        What will be in it, for messages, e.g. ``"the images"``.

    Raises
    ------
    DdbiasError
        If it holds something, is a file, or cannot be written.
    """
    folder = Path(folder).resolve()
    try:
        there = folder.is_dir()
        if there and any(folder.iterdir()):
            raise DdbiasError(f"{folder} is not empty; choose a new folder for {what}")
        part = folder / ".part" if there else folder.with_name(f".{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        moved: list[Path] = []
        try:
            part.mkdir(parents=True)
            yield part
            if not there:
                part.rename(folder)
                return
            for one in sorted(part.iterdir()):
                moved.append(one.rename(folder / one.name))
            part.rmdir()
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            for one in moved:
                shutil.rmtree(one) if one.is_dir() else one.unlink()
            raise
    except OSError as error:
        raise DdbiasError(f"{folder} cannot be written ({error.strerror}); choose another folder for {what}") from error


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    with whole(path) as part:
        part.write_bytes(content)


def write_json(path: str | Path, value: object) -> None:
    """Write `value` as indented JSON with sorted keys."""
    write_bytes(path, (json.dumps(value, sort_keys=True, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: str | Path) -> dict:
    """Read a JSON file that holds a mapping; a damaged one raises `DdbiasError`."""
    with _damage(path):
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it holds no mapping")
        return found


def damaged(path: str | Path, reason: object) -> DdbiasError:
    """Build the error for a file whose content is damaged."""
    return DdbiasError(f"{path} is damaged or not a ddbias file ({reason}); {AGAIN}")


def require(path: str | Path, what: str, present: Collection[str], wanted: Iterable[str]) -> None:
    """Raise `DdbiasError` unless the names of columns, tensors or metadata in a file hold all that are wanted.

    Parameters
    ----------
    path : path
    what : str
        What the file should be, e.g. ``"a file of weights"``.
    present, wanted : collection of str
    """
    lacking = [name for name in wanted if name not in present]
    if lacking:
        raise DdbiasError(f"{path} is not {what}: it lacks {', '.join(lacking)}; {AGAIN}")


def require_finite(path: str | Path, what: str, values: np.ndarray) -> None:
    """Raise `DdbiasError` unless all of a file's `values` are numbers, neither infinite nor NaN."""
    if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        raise damaged(path, f"{what} holds values that are not finite numbers")


def load_state(path: str | Path, model: object, tensors: Mapping[str, object]) -> None:
    """Give a network the parameters that were read from `path`; those of another network, or NaN, are refused."""
    for name, tensor in tensors.items():
        require_finite(path, name, tensor.numpy())
    try:
        model.load_state_dict(tensors)
    except RuntimeError:
        raise damaged(path, "its tensors are not those of this network") from None


@contextmanager
def _damage(path: str | Path) -> Iterator[None]:
    """Turn what the readers raise for a damaged file, or for what is no file, into one line."""
    from safetensors import SafetensorError

    _require_file(path)
    try:
        yield
    except MemoryError:  # Arrow's, too
        raise
    except (pa.ArrowException, SafetensorError, ValueError, LookupError, TypeError, OSError, RecursionError) as error:
        if isinstance(error, OSError) and error.errno:  # a full disk or a missing right is not damage
            raise
        raise damaged(path, str(error).partition("\n")[0] or type(error).__name__) from error


def _require_file(path: str | Path) -> None:
    """Raise `DdbiasError` unless `path` is a file; nothing is opened, which would wait for ever at a FIFO."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        if os.path.islink(path):
            raise DdbiasError(f"{path} is a link to nothing; {AGAIN}") from None
        raise DdbiasError(f"no file {path}; has the stage that writes it run?") from None
    except OSError as error:  # a circle of links, a folder that may not be entered
        raise DdbiasError(f"{path} cannot be opened ({error.strerror}); {AGAIN}") from None
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise DdbiasError(f"{path} is {what}; name a file, or move it away if a run writes a file there")


# ---- metadata and checksums ---------------------------------------------------------------------------------------


def _with_checksums(meta: Mapping[str, object], columns: Mapping[str, object]) -> str:
    """Return metadata as JSON with the checksums of itself and of every column."""
    plain = json.loads(canonical_json(meta))  # as it is read: keys are strings
    sums = {name: _checksum(name, values) for name, values in columns.items()}
    facts = {**plain, FORMAT_KEY: FORMAT, CHECKSUMS_KEY: sums}
    return canonical_json({**facts, CHECKSUM_KEY: _crc32(canonical_json(facts).encode())})


def _read_meta(text: str | bytes | None) -> tuple[dict, dict[str, str] | None]:
    """Return metadata and the checksums of the columns, None for a file of an earlier version."""
    if text is None:
        raise ValueError("it has no metadata of ddbias")
    meta = json.loads(text)
    if not isinstance(meta, dict):
        raise ValueError("its metadata is no mapping")
    # Two keys say that there are checksums, so that no single damaged one makes a file an earlier version's.
    if not meta.keys() & {FORMAT_KEY, CHECKSUM_KEY}:
        return meta, None
    stored = meta.pop(CHECKSUM_KEY, None)
    if _crc32(canonical_json(meta).encode()) != stored:
        raise ValueError("its metadata does not have the checksum it was written with")
    del meta[FORMAT_KEY]
    return meta, meta.pop(CHECKSUMS_KEY)


def _verify(columns: Mapping[str, object], sums: Mapping[str, str] | None, expected: Collection[str]) -> None:
    """Raise `ValueError` unless the columns are the expected ones and have the checksums they were written with."""
    if sums is None:
        return
    if columns.keys() != set(expected):
        raise ValueError(f"it does not hold {', '.join(sorted(columns.keys() ^ set(expected)))} as it was written")
    for name, values in columns.items():
        if _checksum(name, values) != sums[name]:
            raise ValueError(f"{name} does not have the checksum it was written with")


def _checksum(name: str, values: object) -> str:
    """Return the CRC-32 of an array's, a tensor's or an Arrow column's name, type, shape and content."""
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        numeric = pa.types.is_primitive(values.type) and not values.null_count
        if not numeric:  # texts, lists, nulls: how these lie in memory, their values do not tell
            return _crc32(f"{name} {values.to_pylist()!r}".encode(errors="surrogatepass"))
        values = values.to_numpy(zero_copy_only=False) if isinstance(values, pa.Array) else values.to_numpy()
    head = f"{name} {str(values.dtype).removeprefix('torch.')} {tuple(values.shape)}".encode()
    if not isinstance(values, np.ndarray):  # a tensor, perhaps of a type that NumPy lacks
        byte = values.new_empty(0).byte().dtype  # torch's: an import of it would make tables depend on its version
        values = values.reshape(-1).view(byte).numpy()  # reshape: a scalar has no bytes to view
    return _crc32(np.ascontiguousarray(values).reshape(-1).view(np.uint8), zlib.crc32(head))


def _crc32(content: object, start: int = 0) -> str:
    """Return a CRC-32 in hexadecimal: it finds every flipped bit, for a fifth of the cost of a cryptographic hash."""
    return f"{zlib.crc32(content, start):08x}"


# ---- formats ------------------------------------------------------------------------------------------------------


def write_tensors(path: str | Path, tensors: Mapping[str, object], meta: Mapping[str, object]) -> None:
    """Write torch tensors and JSON metadata as a safetensors file with reproducible bytes."""
    from safetensors.torch import save

    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(content, metadata={META_KEY: _with_checksums(meta, content)}))


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
        meta, sums = _read_meta((file.metadata() or {}).get(META_KEY))
        if prefix is None:
            return {}, meta
        tensors = {name: file.get_tensor(name) for name in file.keys() if name.startswith(prefix)}  # noqa: SIM118
        _verify(tensors, sums, [name for name in sums or () if name.startswith(prefix)])
        return tensors, meta


def write_table(path: str | Path, columns: Mapping[str, object] | pa.Table, meta: Mapping[str, object]) -> None:
    """Write columns (or an Arrow table) and JSON metadata as a Parquet file."""
    from pyarrow import parquet

    table = columns if isinstance(columns, pa.Table) else pa.table(dict(columns))
    table = table.replace_schema_metadata({META_KEY: _with_checksums(meta, _columns(table))})
    with whole(path) as part:
        parquet.write_table(table, part, compression="zstd")


def read_table(path: str | Path) -> tuple[pa.Table, dict]:
    """Return the Arrow table and the metadata of a Parquet file that `write_table` wrote."""
    from pyarrow import parquet

    with _damage(path):
        with parquet.ParquetFile(path) as file:  # `read_table` takes columns from a path such as seed=0/, too
            table = file.read()
        meta, sums = _read_meta((table.schema.metadata or {}).get(META_KEY.encode()))
        _verify(_columns(table), sums, sums or ())
        return table, meta


def _columns(table: pa.Table | pa.RecordBatch) -> dict[str, pa.Array | pa.ChunkedArray]:
    return dict(zip(table.schema.names, table.columns, strict=True))


def fixed_size_binary(rows: np.ndarray) -> pa.FixedSizeBinaryArray:
    """View a C-contiguous array with one row per sample as an Arrow column without copying it."""
    rows = np.ascontiguousarray(rows)
    width = rows.nbytes // max(len(rows), 1)
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(rows), [None, pa.py_buffer(rows)])


def write_arrow(path: str | Path, columns: Mapping[str, object], meta: Mapping[str, object]) -> None:
    """Write columns and JSON metadata as an uncompressed Arrow IPC file that can be memory-mapped."""
    table = pa.table(dict(columns)).combine_chunks()
    batch = {name: _array(column.chunk(0)) for name, column in _columns(table).items() if column.num_chunks}
    table = table.replace_schema_metadata({META_KEY: _with_checksums(meta, batch)})
    with whole(path) as part, pa.ipc.new_file(str(part), table.schema) as writer:
        writer.write_table(table)


def read_arrow(path: str | Path, *, unverified: Collection[str] = ("image",)) -> tuple[dict[str, np.ndarray], dict]:
    """Memory-map an Arrow IPC file: read-only arrays that share the file's pages, and the metadata.

    Fixed-size binary columns come back as ``(N, width)`` uint8, the others with their own dtype.

    Parameters
    ----------
    path : path
    unverified : collection of str
        Columns whose checksum is not compared, since that reads them: the images of a split are nearly all of it, and
        `make check-data` compares them.
    """
    with _damage(path):
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        meta, sums = _read_meta((reader.schema.metadata or {}).get(META_KEY.encode()))
        if reader.num_record_batches != 1:
            raise ValueError(f"{reader.num_record_batches} record batches instead of 1")
        batch = reader.get_batch(0)
        batch.validate()
        columns = {name: _array(column) for name, column in _columns(batch).items()}
        compared = {name: values for name, values in columns.items() if name not in unverified}
        _verify(compared, sums, [name for name in sums or () if name not in unverified])
        return columns, meta


def _array(column: pa.Array) -> np.ndarray:
    """View an Arrow column without nulls as an array, fixed-size binary as ``(N, width)`` uint8."""
    if not pa.types.is_fixed_size_binary(column.type):
        return column.to_numpy(zero_copy_only=True)
    width = column.type.byte_width
    return np.frombuffer(column.buffers()[1], np.uint8, len(column) * width, column.offset * width).reshape(
        len(column), width
    )
