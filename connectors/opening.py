"""The owner's DuckDB: one connection that can read the store's own files and nothing else, with every setting pinned.

No error here carries DuckDB's own text, which quotes values and paths.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa
from pyarrow import ipc

from sdh.connectors.sources import FileKind, Source, StoreFile, from_path, refuse_clashes
from sdh.errors import (
    CorruptStore,
    LockedStore,
    MissingStore,
    NameTaken,
    ParameterError,
    StoreError,
    UnsupportedStore,
    memory_exceeded,
)

Connection = duckdb.DuckDBPyConnection

RESERVED = frozenset({"main", "memory", "temp", "system", "information_schema", "pg_catalog"})
"""Names of DuckDB's own that a party cannot have."""

SETTINGS: Mapping[str, object] = {
    "default_order": "ASC",
    "default_null_order": "NULLS_LAST",
    "default_collation": "",
    "integer_division": False,
    "error_on_division_by_zero": True,
    "ieee_floating_point_ops": True,
    "scalar_subquery_error_on_multiple_rows": True,
    "order_by_non_integer_literal": False,
    "preserve_insertion_order": True,
    "arrow_large_buffer_size": False,
    "arrow_lossless_conversion": False,
    "produce_arrow_string_view": False,
    "disabled_optimizers": "common_subexpressions",
}
"""What changes the meaning or the Arrow types of a fragment: pinned to DuckDB's defaults, part of the plan's digest. Common
subexpressions are left where they stand: DuckDB would take them out of TRY, and fail where a row is not in the result."""

_LOCKED_DOWN: Mapping[str, object] = {
    "autoload_known_extensions": False,
    "autoinstall_known_extensions": False,
    "allow_community_extensions": False,
    "allow_unsigned_extensions": False,
    "allow_persistent_secrets": False,
    "python_enable_replacements": False,
    "python_scan_all_frames": False,
}

STORE = "sdh store "
"""Names of attached databases start so; a party's name cannot be one of them."""


def connect(source: Source | None, party: str, public: Mapping[str, Path], timezone: str = "UTC", threads: int = 1,
            memory: int = 1 << 31, temporary: Path | None = None) -> Connection:
    """A locked DuckDB connection: a party's tables are "party"."table", those of party '' and public ones plain names.

    memory: DuckDB's limit in bytes. temporary: a folder that only the owner can read (plaintext spills there);
    without one nothing spills. Afterwards nothing but the store's own files can be read, and no setting changed.
    A .duckdb file stays attached read-only, so that nobody writes to it; a CSV file is read once, here.
    Raises MissingStore, CorruptStore, LockedStore, UnsupportedStore, NameTaken, ParameterError (the time zone).
    """
    _refuse_reserved(party)
    options = {**_LOCKED_DOWN, "threads": threads, "async_threads": threads, "memory_limit": f"{memory >> 10}KiB",
               "temp_directory": "" if temporary is None else str(temporary)}
    connection = duckdb.connect(":memory:", config={name: _option(value) for name, value in options.items()})
    try:
        _pin(connection, timezone)
        for name, path in public.items():
            _add(connection, "main", replace(from_path(path).files[0], table=name))
        if source is not None:
            _add_store(connection, source, party)
        _lock(connection, [Path(file.path) for file in source.files] if source else [], public.values())
    except BaseException:
        connection.close()
        raise
    return connection


def table_names(connection: Connection, party: str) -> list[str]:
    """The tables that `connect` made reachable for `party`, in order of name; '' for the public ones."""
    listing = ("SELECT table_name FROM information_schema.tables WHERE table_catalog = 'memory' "
               f"AND table_schema = {literal(party or 'main')} ORDER BY ALL")
    return [name for (name,) in connection.sql(listing).fetchall()]


def _option(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _pin(connection: Connection, timezone: str) -> None:
    for name, value in SETTINGS.items():
        connection.execute(f"SET {name} = {literal(_option(value))}")
    try:
        connection.execute(f"SET TimeZone = {literal(timezone)}")
    except duckdb.Error:
        raise ParameterError(f"There is no time zone named {timezone!r}.",
                             advice="Use a name such as 'Europe/Berlin'.") from None


def _add(connection: Connection, schema: str, file: StoreFile, number: int = 0) -> None:
    """Make the tables of one file reachable in `schema`."""
    name = f"{quoted(schema)}.{quoted(file.table)}"
    with _opening(file):
        match file.kind:
            case FileKind.DUCKDB:
                _attach(connection, schema, file, f"{STORE}{number}")
            case FileKind.PARQUET:
                connection.execute(f"CREATE VIEW {name} AS FROM read_parquet({literal(file.path)})")
            case FileKind.CSV:
                options = _csv_options(file.path)
                connection.execute(f"CREATE TABLE {name} AS FROM read_csv({literal(file.path)}, {options})")
            case FileKind.ARROW:
                registered = f"sdh arrow {schema} {file.table}"
                connection.register(registered, ipc.open_file(pa.memory_map(file.path)).read_all())
                connection.execute(f"CREATE VIEW {name} AS FROM {quoted(registered)}")


def _attach(connection: Connection, schema: str, file: StoreFile, alias: str) -> None:
    connection.execute(f"ATTACH {literal(file.path)} AS {quoted(alias)} (READ_ONLY)")
    listing = ("SELECT table_name FROM information_schema.tables "
               f"WHERE table_catalog = {literal(alias)} AND table_schema = 'main' ORDER BY ALL")
    tables = [name for (name,) in connection.sql(listing).fetchall()]
    if not tables:
        raise MissingStore(f"{Path(file.path).name!r} has no table in its schema main.")
    for table in tables:
        view = f"CREATE VIEW {quoted(schema)}.{quoted(table)} AS FROM {quoted(alias)}.main.{quoted(table)}"
        try:
            connection.execute(view)
        except duckdb.CatalogException:
            raise NameTaken(f"Two files of one store hold a table named {table!r}.") from None


def _csv_options(path: str) -> str:
    """Options that make DuckDB strict: left alone it skips or merges the lines that do not fit the rest.

    The separator is the one that the line of names has most of; types are detected over all rows.
    """
    with open(path, encoding="utf-8", errors="replace") as file:
        header = file.readline()
    separator = max(",;\t|", key=header.count)
    return (f"delim = {literal(separator)}, quote = '\"', escape = '\"', header = true, skip = 0, sample_size = -1, "
            "strict_mode = true, null_padding = false, ignore_errors = false")


def _add_store(connection: Connection, source: Source, party: str) -> None:
    if party:
        connection.execute(f"CREATE SCHEMA {quoted(party)}")
    for number, file in enumerate(source.files):
        _add(connection, party or "main", file, number)
    refuse_clashes(table_names(connection, party), source.place)


def _lock(connection: Connection, own: Iterable[Path], public: Iterable[Path]) -> None:
    """From here on only these files can be opened (attached databases are open already), and no setting changes."""
    paths = ", ".join(literal(str(path.resolve())) for path in (*own, *public))
    connection.execute(f"SET allowed_paths = [{paths}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


@contextmanager
def _opening(file: StoreFile) -> Iterator[None]:
    """DuckDB's and Arrow's errors while a file is opened, as SDH's."""
    name = Path(file.path).name
    try:
        yield
    except StoreError:
        raise
    except (MemoryError, duckdb.OutOfMemoryException):
        raise memory_exceeded("its node", f"the opening of {name!r}") from None
    except FileNotFoundError:
        raise MissingStore(f"There is no file {name!r}.") from None
    except (duckdb.Error, pa.ArrowException, OSError, UnicodeError) as error:
        raise _opening_error(name, Path(file.path), str(error)) from None


def _opening_error(name: str, path: Path, text: str) -> StoreError:
    """DuckDB has one IOException for many faults; its fixed words, never its values, tell them apart."""
    if not path.exists():
        return MissingStore(f"There is no file {name!r}.")
    if "Could not set lock on file" in text or "handle conflict" in text or "different configuration" in text:
        return LockedStore(f"Another process has {name!r} open for writing.",
                           advice="Close it there, attach a copy of the file, or attach the DuckDB connection itself.")
    if "encrypted" in text.lower():
        return UnsupportedStore(f"{name!r} is encrypted.", advice="Attach a decrypted copy.")
    if "version number" in text:
        return UnsupportedStore(f"{name!r} has a storage version that DuckDB {duckdb.__version__} does not read.",
                                advice="Export its tables to Parquet.")
    return CorruptStore(f"{name!r} cannot be read: it is damaged or not what its name says.")


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _refuse_reserved(party: str) -> None:
    if party.lower() in RESERVED or party.startswith(STORE):
        raise NameTaken(f"A party cannot be called {party!r}: the name is DuckDB's own.")
