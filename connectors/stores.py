"""An owner's store: made from what a program holds, opened behind a locked connection, published by its policy.

`from_python` makes a `Source` in the hub's process; a node publishes it with `describe` and reads it through `connect`.
No error here carries DuckDB's own text, which quotes values and paths.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from sdh.catalog import Facts, Party, TableFacts, padded
from sdh.connectors.facts import (
    Bounds,
    Key,
    Keys,
    Measured,
    Repeats,
    bounds_of,
    check_bounds,
    check_key,
    check_repeats,
    count_rows,
    describe_columns,
    keys_of,
    measure,
    repeats_of,
    stated_keys,
    unique_columns,
)
from sdh.connectors.memory import from_python, write_table
from sdh.connectors.opening import SETTINGS, Connection, connect, quoted, table_names
from sdh.connectors.sources import FileKind, Source, from_path, snapshot, source_from_message
from sdh.errors import CorruptStore, UnknownDeclaration, UnsupportedStore, memory_exceeded
from sdh.policy import ANYONE, Grant, Policy
from sdh.privacy import PrivacyPolicy
from sdh.schema import Column

__all__ = ["SETTINGS", "Source", "connect", "declarations_to_message", "describe", "describe_public", "from_python",
           "publish", "snapshot", "source_from_message"]

T = TypeVar("T")


def describe(source: Source, party: str, policy: Policy, keys: Keys | None = None, bounds: Bounds | None = None,
             connection: Connection | None = None, repeats: Repeats | None = None) -> Party:
    """What `party` publishes of its store, by its policy; party '' for public tables.

    keys, bounds, repeats: as in sdh.connectors.facts. connection: one that `connect` gave for this source, to open it once.
    The policy comes back with tables and columns spelled as in the store.
    Raises what `connect` does, UnknownDeclaration, BoundsViolated and KeyViolated.
    """
    if connection is not None:
        return _describe(connection, source, party, policy, keys or {}, bounds or {}, repeats or {})
    with tempfile.TemporaryDirectory() as folder, connect(source, party, {}, temporary=Path(folder)) as opened:
        return _describe(opened, source, party, policy, keys or {}, bounds or {}, repeats or {})


def publish(value: object, folder: Path, name: str) -> Path:
    """The file of a public table: a path to one is kept, a table in memory is written into `folder`.

    Raises MissingStore, CorruptStore, UnsupportedStore.
    """
    if not isinstance(value, str | Path):
        return write_table(value, folder, name)
    files = from_path(value).files
    if len(files) != 1 or files[0].kind is FileKind.DUCKDB:
        raise UnsupportedStore(f"The public table {name!r} is not one table.",
                               advice="Give a Parquet, CSV or Arrow file, or a table in memory.")
    return Path(files[0].path)


def describe_public(path: Path, name: str, keys: Any = (), bounds: Mapping[str, Any] | None = None) -> TableFacts:
    """The facts of a public table, measured, with its exact count; every unique column is a key.

    keys: of this table; bounds: by column.
    Raises as `describe`.
    """
    file = replace(from_path(path).files[0], table=name)
    declared = {f"{name}.{column}": pair for column, pair in (bounds or {}).items()}
    party = describe(Source((file,), path.name), "", Policy.open(rows="exact"), {name: keys}, declared)
    return party.tables[0]


def declarations_to_message(keys: Keys | None, bounds: Bounds | None, repeats: Repeats | None = None) -> dict[str, Any]:
    """keys=, bounds= and repeats= of hub.attach as JSON values, which `describe` takes as they are.

    Raises UnknownDeclaration.
    """
    try:
        return {"keys": {table: [list(key) for key in keys_of(declared)] for table, declared in (keys or {}).items()},
                "bounds": {column: [_plain(low), _plain(high)] for column, (low, high) in (bounds or {}).items()},
                "repeats": {table: [[list(key), times] for key, times in repeats_of(declared)]
                            for table, declared in (repeats or {}).items()}}
    except (TypeError, ValueError, AttributeError):
        raise UnknownDeclaration("keys=, bounds= and repeats= are dictionaries.",
                                 advice='Write keys={"accounts": [("id",)]}, bounds={"accounts.x": (0, 10)}, '
                                        'repeats={"orders": {("customer",): 20}}.') from None


def _plain(value: Any) -> int | float | str:
    """Decimals and dates travel as text."""
    return value if isinstance(value, int | float | str) else str(value)


def _describe(connection: Connection, source: Source, party: str, policy: Policy, keys: Keys, bounds: Bounds,
              repeats: Repeats) -> Party:
    version = snapshot(source)   # before the measurements: a change in between shows later
    tables = {name: _Table(connection, party, name) for name in table_names(connection, party)}
    spelling = _Spelling(party, {name: [column.name for column in table.columns] for name, table in tables.items()})
    declared_keys = spelling.keys(keys)
    declared_bounds = spelling.bounds(bounds)
    declared_repeats = spelling.repeats(repeats)
    policy = spelling.policy(policy)
    published = tuple(table.published(policy, declared_keys.get(name, ()), declared_bounds.get(name, {}), version,
                                      declared_repeats.get(name, ())) for name, table in tables.items())
    return Party(party, published, policy)


class _Table:
    """One table of an open store, while it is described."""

    def __init__(self, connection: Connection, party: str, name: str) -> None:
        self.connection, self.party, self.name = connection, party, name
        self.sql = f"{quoted(party)}.{quoted(name)}" if party else quoted(name)
        self.columns = self._read(lambda: describe_columns(connection, self.sql))

    def published(self, policy: Policy, keys: tuple[Key, ...], bounds: Mapping[str, Any], snapshot: str,
                  repeats: tuple[tuple[Key, int], ...]) -> TableFacts:
        """Raises BoundsViolated, KeyViolated, UnknownDeclaration, CorruptStore."""
        everything = policy.facts == "measured"
        chosen = tuple(column for column in self.columns if everything or column.name in bounds)
        found = self._read(lambda: measure(self.connection, self.sql, chosen))
        measured = {column.name: one for column, one in zip(chosen, found, strict=True)}
        for key in keys:
            self._read(partial(check_key, self.connection, self.sql, self._label(), key))
        for key, times in repeats:
            self._read(partial(check_repeats, self.connection, self.sql, self._label(), key, times))
        stated = self._read(lambda: stated_keys(self.connection, self.name)) if everything else ()
        if not self.party:
            stated += self._read(lambda: unique_columns(self.connection, self.sql, self.columns))
        count = self._read(lambda: count_rows(self.connection, self.sql))
        return TableFacts(
            party=self.party, name=self.name, snapshot=snapshot,
            columns=tuple(_narrowed(column, measured) if everything else column for column in self.columns),
            facts=tuple(self._facts(column, measured.get(column.name), bounds.get(column.name))
                        for column in self.columns),
            rows=count if policy.rows == "exact" else padded(count),
            keys=tuple(dict.fromkeys(keys + stated)), repeats=repeats,
        )

    def _facts(self, column: Column, measured: Measured | None, declared: Any) -> Facts:
        if measured is None:
            return Facts()
        if declared is None:
            return measured.facts
        label = f"{self._label()}.{column.name}"
        return check_bounds(label, column.type, bounds_of(label, column.type, declared), measured)

    def _label(self) -> str:
        return f"{self.party}.{self.name}" if self.party else self.name

    def _read(self, task: Callable[[], T]) -> T:
        try:
            return task()
        except duckdb.OutOfMemoryException:
            raise memory_exceeded("its node", f"the measuring of {self._label()}") from None
        except duckdb.Error:
            raise CorruptStore(f"The data of {self._label()} cannot be read.",
                               advice="The file is damaged or was changed while it was read.") from None


def _narrowed(column: Column, measured: Mapping[str, Measured]) -> Column:
    return replace(column, nullable=column.nullable and measured[column.name].has_null)


class _Spelling:
    """Names in declarations and grants, as SQL takes them (any case), to the store's own spelling.

    Every method raises UnknownDeclaration for a table or column that is not there.
    """

    def __init__(self, party: str, columns: Mapping[str, list[str]]) -> None:
        self._party = party
        self._tables = {table.lower(): table for table in columns}
        self._columns = {(table, name.lower()): name for table, names in columns.items() for name in names}

    def keys(self, declared: Keys) -> dict[str, tuple[Key, ...]]:
        found: dict[str, tuple[Key, ...]] = {}
        for written, keys in declared.items():
            table = self._table(written, "keys=")
            found[table] = tuple(tuple(self._column(table, name, "keys=") for name in key) for key in keys_of(keys))
        return found

    def repeats(self, declared: Repeats) -> dict[str, tuple[tuple[Key, int], ...]]:
        found: dict[str, tuple[tuple[Key, int], ...]] = {}
        for written, keys in declared.items():
            table = self._table(written, "repeats=")
            found[table] = tuple((tuple(self._column(table, name, "repeats=") for name in key), times)
                                 for key, times in repeats_of(keys))
        return found

    def bounds(self, declared: Bounds) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for written, pair in declared.items():
            before, _, column = written.rpartition(".")
            table = self._table(before, "bounds=", example=' Write bounds={"table.column": (low, high)}.')
            found.setdefault(table, {})[self._column(table, column, "bounds=")] = pair
        return found

    def policy(self, policy: Policy) -> Policy:
        unit = [(self._table(table, "unit="), column) for table, column in policy.unit]
        return replace(policy, grants=tuple(map(self._grant, policy.grants)),
                       unit=tuple((table, self._column(table, column, "unit=")) for table, column in unit),
                       privacy=policy.privacy and self._privacy(policy.privacy))

    def _privacy(self, privacy: PrivacyPolicy) -> PrivacyPolicy:
        what = "A policy of privacy"
        bounds = [(self._table(table, what), column, low, high) for table, column, low, high in privacy.bounds]
        public = [(self._table(table, what), column, values) for table, column, values in privacy.public]
        return replace(privacy, bounds=tuple((t, self._column(t, column, what), low, high) for t, column, low, high in bounds),
                       public=tuple((t, self._column(t, column, what), values) for t, column, values in public))

    def _grant(self, grant: Grant) -> Grant:
        if grant.party.lower() not in ("", self._party.lower()):
            raise UnknownDeclaration(f"A grant names a table of {grant.party!r}, in the policy of {self._party!r}.",
                                     advice="Each owner grants its own tables.")
        if grant.table != ANYONE:
            table = self._table(grant.table, "A grant")
            columns = tuple(self._column(table, name, "A grant") for name in grant.columns)
            return replace(grant, table=table, columns=columns)
        for name in grant.columns:
            if all(name.lower() != column for _, column in self._columns):
                raise UnknownDeclaration(f"A grant names a column {name!r} that no table of {self._party!r} has.")
        return grant

    def _table(self, written: str, what: str, example: str = "") -> str:
        plain = written.lower().removeprefix(f"{self._party.lower()}.")
        table = self._tables.get(plain)
        if table is None:
            raise UnknownDeclaration(f"{what} names a table {written!r} that {self._party!r} does not have.",
                                     advice=f"Its tables: {', '.join(self._tables.values())}.{example}")
        return table

    def _column(self, table: str, written: str, what: str) -> str:
        column = self._columns.get((table, written.lower()))
        if column is None:
            names = [name for (of, _), name in self._columns.items() if of == table]
            raise UnknownDeclaration(f"{what} names a column {written!r} that {table!r} does not have.",
                                     advice=f"Its columns: {', '.join(names)}.")
        return column
