"""From what a Python program holds to a `Source`: paths stay, tables in memory become Arrow IPC files."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from pyarrow import ipc

from sdh.connectors.opening import quoted
from sdh.connectors.sources import FileKind, Source, StoreFile, from_path, refuse_clashes
from sdh.errors import CorruptStore, MissingStore, UnsupportedStore

ADVICE = 'Give a path, a DuckDB connection, or a dictionary of tables: hub.attach("shop", {"orders": table}).'


def from_python(value: object, folder: Path, name: str) -> Source:
    """The store that `value` is; `name` is its party's, for messages.

    A path (str or Path) is read in place. A dictionary of table name to pyarrow Table or RecordBatchReader, pandas or
    polars frame, or anything else with `__arrow_c_stream__`, and a DuckDB connection's committed tables and views, are
    written into `folder` (which must exist) as Arrow IPC files that their owner alone can read.
    Raises MissingStore, CorruptStore, UnsupportedStore, NameTaken.
    """
    match value:
        case str() | Path():
            return from_path(value)
        case Mapping():
            return _write_all(_named(value, name), folder, f"the tables of {name}")
        case _ if _is_duckdb_connection(value):
            return _write_all(_tables_of(value, name), folder, f"the connection of {name}")
        case _ if _is_table(value):
            raise UnsupportedStore(f"The table given for {name!r} has no name.", advice=ADVICE)
        case _:
            raise UnsupportedStore(f"SDH does not read a {type(value).__name__} as the store of {name!r}.",
                                   advice=ADVICE)


def write_table(value: object, folder: Path, label: str) -> Path:
    """Write one table in memory as an Arrow IPC file (mode 0600) into `folder`, under a name that tells nothing."""
    reader = _reader(value, label)
    schema = pa.schema([_plain_field(field, label) for field in reader.schema])
    refuse_twins(schema.names, label)
    path = folder / f"{secrets.token_hex(8)}.arrow"
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file, ipc.new_file(file, schema) as writer:
            for batch in reader:
                writer.write_batch(_plain_batch(batch, schema))
    except (pa.ArrowException, OSError, ValueError) as error:
        path.unlink(missing_ok=True)
        raise UnsupportedStore(f"The table {label!r} could not be read ({type(error).__name__}).") from None
    return path


def refuse_twins(names: Iterable[str], label: str) -> None:
    """Raises UnsupportedStore where two columns have one name to SQL."""
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            raise UnsupportedStore(f"The table {label!r} has two columns that SQL calls {name!r}.",
                                   advice="Rename one.")
        seen.add(name.lower())


def _write_all(tables: Iterable[tuple[str, object]], folder: Path, place: str) -> Source:
    files: list[StoreFile] = []
    try:
        for name, table in tables:
            files.append(StoreFile(FileKind.ARROW, str(write_table(table, folder, name)), name))
        refuse_clashes([file.table for file in files], place)
        if not files:
            raise MissingStore(f"There is no table in {place}.")
    except BaseException:
        for file in files:
            Path(file.path).unlink(missing_ok=True)
        raise
    return Source(tuple(files), place)


def _named(tables: Mapping[Any, Any], party: str) -> Iterable[tuple[str, object]]:
    for name, table in tables.items():
        if not isinstance(name, str) or not name:
            raise UnsupportedStore(f"A table of {party!r} is named {name!r}.", advice="A table's name is a string.")
        if not _is_table(table):
            raise UnsupportedStore(f"SDH does not read a {type(table).__name__} as the table {name!r} of {party!r}.",
                                   advice="Give a pyarrow, pandas or polars table.")
        yield name, table


def _is_table(value: object) -> bool:
    return hasattr(value, "__arrow_c_stream__") or (hasattr(value, "collect") and _library(value) == "polars")


def _library(value: object) -> str:
    return type(value).__module__.partition(".")[0].removeprefix("_")


def _is_duckdb_connection(value: object) -> bool:
    return _library(value) == "duckdb" and type(value).__name__ == "DuckDBPyConnection"


def _tables_of(connection: Any, party: str) -> Iterable[tuple[str, object]]:
    """The tables and views of the connection's current schema, read through a cursor of it."""

    listing = ("SELECT table_name FROM information_schema.tables "
               "WHERE table_catalog = current_database() AND table_schema = current_schema() ORDER BY ALL")
    try:
        cursor = connection.cursor()
        for (name,) in cursor.sql(listing).fetchall():
            yield name, cursor.sql(f"FROM {quoted(name)}").to_arrow_reader()
    except duckdb.ConnectionException:
        raise UnsupportedStore(f"The DuckDB connection given for {party!r} is closed.") from None
    except duckdb.Error:
        raise CorruptStore(f"The DuckDB connection given for {party!r} could not be read.") from None


def _reader(value: Any, label: str) -> pa.RecordBatchReader:
    """The rows of any table in memory, batch by batch."""
    if isinstance(value, pa.RecordBatchReader):
        return value
    try:
        if isinstance(value, pa.Table):
            return value.to_reader()
        if _library(value) == "pandas":   # an index is no column, in DuckDB too
            return pa.Table.from_pandas(value, preserve_index=False).to_reader()
        if hasattr(value, "collect") and not hasattr(value, "__arrow_c_stream__"):
            value = value.collect()
        return pa.RecordBatchReader.from_stream(value)
    except (pa.ArrowException, TypeError, ValueError):
        raise UnsupportedStore(f"The columns of the table {label!r} have values of mixed or unknown types.",
                               advice="Give each column one type.") from None


def _plain_field(field: pa.Field[Any], label: str) -> pa.Field[Any]:
    """The field as it is written: dictionaries as their values, a column of no type as INTEGER, as DuckDB has it."""
    kind = field.type
    if pa.types.is_dictionary(kind):
        return field.with_type(kind.value_type)
    if pa.types.is_null(kind):
        return field.with_type(pa.int32())
    negative = pa.types.is_decimal(kind) and kind.scale < 0
    if negative or pa.types.is_decimal256(kind) or pa.types.is_float16(kind):   # DuckDB 2.0 fails on these
        raise UnsupportedStore(f"The column {field.name!r} of the table {label!r} has the type {kind}, "
                               "which DuckDB does not read.", advice="Cast it to another.")
    return field


def _plain_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    if batch.schema.equals(schema):
        return batch
    columns = [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
