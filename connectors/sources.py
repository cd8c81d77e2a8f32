"""Which files an owner's tables are in. Standard library only: a `Source` travels to the node as JSON."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from sdh.errors import CorruptStore, MissingStore, NameTaken, UnsupportedStore


class FileKind(StrEnum):
    DUCKDB = "duckdb"
    PARQUET = "parquet"
    CSV = "csv"
    ARROW = "arrow"


SUFFIXES = {
    ".duckdb": FileKind.DUCKDB,
    ".db": FileKind.DUCKDB,
    ".parquet": FileKind.PARQUET,
    ".csv": FileKind.CSV,
    ".arrow": FileKind.ARROW,
}

_SALT = secrets.token_bytes(16)
"""Snapshots are published: without a salt, the size in one would tell a padded row count."""


@dataclass(frozen=True, slots=True)
class StoreFile:
    """One file of a store. `path` is absolute; `table` is the name of its table, '' for a database of many."""

    kind: FileKind
    path: str
    table: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """A store: its files, and `place`, what its owner calls it ('bank.duckdb', 'tables in memory')."""

    files: tuple[StoreFile, ...]
    place: str

    def to_message(self) -> dict[str, Any]:
        return {"files": [[file.kind.value, file.path, file.table] for file in self.files], "place": self.place}


def source_from_message(message: dict[str, Any]) -> Source:
    files = tuple(StoreFile(FileKind(kind), str(path), str(table)) for kind, path, table in message["files"])
    return Source(files, str(message["place"]))


def from_path(path: str | Path) -> Source:
    """The store at `path`: a .duckdb or .db, .parquet, .csv or .arrow file, or a folder of those.

    A file that holds one table gives it its own name (accounts.parquet: accounts). Raises MissingStore,
    UnsupportedStore, CorruptStore and, where two files hold a table of one name, NameTaken.
    """
    found = Path(path).expanduser()
    if not found.exists():
        raise MissingStore(f"There is no file or folder {str(path)!r}.")
    found = found.resolve()
    if found.is_dir():
        return _folder(found)
    return Source((_file(found),), found.name)


def _folder(folder: Path) -> Source:
    visible = (path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith("."))
    files = tuple(_file(path) for path in visible if path.suffix.lower() in SUFFIXES)
    if not files:
        raise MissingStore(f"The folder {str(folder)!r} holds no table.",
                           advice=f"SDH reads {', '.join(SUFFIXES)} files.")
    refuse_clashes([file.table for file in files if file.table], folder.name)
    return Source(files, folder.name)


def _file(path: Path) -> StoreFile:
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise UnsupportedStore(f"SDH does not read {path.name!r}.",
                               advice=f"It reads {', '.join(SUFFIXES)} files, folders of them and tables in memory.")
    _check_magic(kind, path)
    return StoreFile(kind, str(path), "" if kind is FileKind.DUCKDB else path.stem)


def _check_magic(kind: FileKind, path: Path) -> None:
    """Refuse what is plainly another kind of file: DuckDB would try to download an extension for it."""
    with path.open("rb") as file:
        start = file.read(16)
    match kind:
        case FileKind.DUCKDB if start.startswith(b"SQLite format 3"):
            raise UnsupportedStore(f"{path.name!r} is an SQLite database.", advice="Export its tables to Parquet.")
        case FileKind.DUCKDB if start[8:12] != b"DUCK":
            raise CorruptStore(f"{path.name!r} is not a DuckDB database.")
        case FileKind.PARQUET if start[:4] == b"PARE":
            raise UnsupportedStore(f"{path.name!r} is encrypted Parquet.", advice="Attach a decrypted copy.")
        case FileKind.PARQUET if start[:4] != b"PAR1":
            raise CorruptStore(f"{path.name!r} is not a Parquet file.")
        case FileKind.CSV if not start:
            raise CorruptStore(f"{path.name!r} is empty.", advice="A CSV file starts with a line of column names.")
        case FileKind.ARROW if start[:6] != b"ARROW1":
            raise CorruptStore(f"{path.name!r} is not an Arrow IPC file.")
        case _:
            return


def refuse_clashes(names: list[str], place: str) -> None:
    """Raises NameTaken where two names are one to SQL, which does not look at case."""
    seen: dict[str, str] = {}
    for name in names:
        if name.lower() in seen:
            raise NameTaken(f"{place!r} holds two tables that SQL calls the same: {seen[name.lower()]!r} and {name!r}.")
        seen[name.lower()] = name


def snapshot(source: Source, salt: bytes | None = None) -> str:
    """An id of the version that the store's files have now: it changes when a file is replaced or written to.

    Comparable under one salt; without one, within this process only. Raises MissingStore.
    """
    digest = hmac.new(salt or _SALT, digestmod=hashlib.sha256)
    for file in source.files:
        for path in (Path(file.path), Path(file.path + ".wal")):
            digest.update(_identity(path, required=path.suffix != ".wal").encode())
    return digest.hexdigest()[:32]


def _identity(path: Path, *, required: bool) -> str:
    try:
        status = path.stat()
    except OSError:
        if required:
            raise MissingStore(f"{path.name!r} is no longer there.") from None
        return "absent\0"
    return f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ino}\0"
