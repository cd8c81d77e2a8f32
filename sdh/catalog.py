"""What is known of the tables before a query: what their owners published. Standard library only.

A plan is a function of these facts, so every node holds the same catalog and its digest covers it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from sdh.errors import NameTaken, TypeMismatch, UnknownColumn, UnknownDeclaration, UnknownTable
from sdh.policy import Policy, policy_from_message
from sdh.schema import Column, Schema, parse_type

LADDER_START = 1024
"""First step of the public ladder of padded counts: ceil(1024 * 2^(j/4))."""


def padded(count: int) -> int:
    """The least step ceil(1024 * 2^(j/4)), j >= 0, that is at least `count`; 0 falls on the first step."""
    if count <= LADDER_START:
        return LADDER_START
    j = max(0, (4 * (count - 1).bit_length()) - 48)
    while (value := _step(j)) >= count:
        j -= 1
    while value < count:
        j += 1
        value = _step(j)
    return value


def _step(j: int) -> int:
    """ceil(1024 * 2^(j/4)) in integers: the fourth root of 2^(40 + j), rounded up."""
    root = math.isqrt(math.isqrt(1 << (40 + j)))
    return root if root**4 == 1 << (40 + j) else root + 1


@dataclass(frozen=True, slots=True)
class Facts:
    """What an owner published of a column. None: not published.

    bits: bit length of the largest |value| * 10^scale (days, microseconds for DATE, TIMESTAMP).
    bytes: greatest UTF-8 length of a VARCHAR, rounded up to 8.
    low, high: declared bounds, times 10^scale.
    """

    bits: int | None = None
    bytes: int | None = None
    low: int | None = None
    high: int | None = None


@dataclass(frozen=True, slots=True)
class TableFacts:
    """A table as its owner published it. `party` is '' for a public table.

    rows: the count under the owner's row-count policy: exact, or the ladder's step for 'padded' and 'hidden'.
    keys: unique keys (column names). snapshot: an id of the version these facts describe.
    repeats: of other keys, the most rows that agree on one and have no NULL in it.
    """

    party: str
    name: str
    columns: Schema
    facts: tuple[Facts, ...]
    rows: int
    keys: tuple[tuple[str, ...], ...] = ()
    snapshot: str = ""
    repeats: tuple[tuple[tuple[str, ...], int], ...] = ()

    @property
    def full_name(self) -> str:
        return f"{self.party}.{self.name}" if self.party else self.name

    def to_message(self) -> dict[str, Any]:
        return {
            "party": self.party, "name": self.name, "rows": self.rows, "snapshot": self.snapshot,
            "columns": [[c.name, str(c.type), c.nullable] for c in self.columns],
            "facts": [[f.bits, f.bytes, f.low, f.high] for f in self.facts],
            "keys": [list(key) for key in self.keys],
            "repeats": [[list(key), times] for key, times in self.repeats],
        }


def table_from_message(message: dict[str, Any]) -> TableFacts:
    return TableFacts(
        party=str(message["party"]), name=str(message["name"]), rows=int(message["rows"]),
        columns=tuple(Column(name, parse_type(text), nullable) for name, text, nullable in message["columns"]),
        facts=tuple(Facts(*values) for values in message["facts"]),
        keys=tuple(tuple(key) for key in message["keys"]), snapshot=str(message["snapshot"]),
        repeats=tuple((tuple(key), int(times)) for key, times in message["repeats"]),
    )


@dataclass(frozen=True, slots=True)
class Party:
    """An owner: its tables and published policy."""

    name: str
    tables: tuple[TableFacts, ...]
    policy: Policy

    def to_message(self) -> dict[str, Any]:
        return {"name": self.name, "tables": [t.to_message() for t in self.tables], "policy": self.policy.to_message()}


def party_from_message(message: dict[str, Any]) -> Party:
    return Party(str(message["name"]), tuple(table_from_message(t) for t in message["tables"]),
                 policy_from_message(message["policy"]))


@dataclass(frozen=True, slots=True)
class Federated:
    """A table whose rows are those of `parts`, tables of owners by full name.

    name: 'table' or 'database.table'. keys: columns that the client declared unique over all parts. No owner can check
    that, so no floor and no grant counts on it; a join that does checks it on shares.
    """

    name: str
    parts: tuple[str, ...]
    keys: tuple[tuple[str, ...], ...] = ()

    def to_message(self) -> dict[str, Any]:
        return {"name": self.name, "parts": list(self.parts), "keys": [list(key) for key in self.keys]}


def federated_from_message(message: dict[str, Any]) -> Federated:
    keys = tuple(tuple(str(column) for column in key) for key in message["keys"])
    return Federated(str(message["name"]), tuple(str(part) for part in message["parts"]), keys)


@dataclass(frozen=True, slots=True)
class Catalog:
    """All parties, in the order they are ranked, the public tables that everyone holds, and the federated ones."""

    parties: tuple[Party, ...] = ()
    public: tuple[TableFacts, ...] = ()
    federated: tuple[Federated, ...] = ()

    def party(self, name: str) -> Party:
        """Raises KeyError."""
        return next(party for party in self.parties if party.name == name) if name in self.names else _missing(name)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(party.name for party in self.parties)

    @property
    def tables(self) -> tuple[TableFacts, ...]:
        """Those that hold rows."""
        return tuple(table for party in self.parties for table in party.tables) + self.public

    @property
    def named(self) -> tuple[TableFacts, ...]:
        """All that a query can name. Raises what `parts_of` does."""
        return self.tables + tuple(federated_facts(table, self) for table in self.federated)

    def to_message(self) -> dict[str, Any]:
        return {"parties": [p.to_message() for p in self.parties], "public": [t.to_message() for t in self.public],
                "federated": [t.to_message() for t in self.federated]}


def _missing(name: str) -> Party:
    raise KeyError(name)


def catalog_from_message(message: dict[str, Any]) -> Catalog:
    return Catalog(tuple(party_from_message(p) for p in message["parties"]),
                   tuple(table_from_message(t) for t in message["public"]),
                   tuple(federated_from_message(t) for t in message["federated"]))


# --- federated tables ----------------------------------------------------------------------------


def check_federated(catalog: Catalog) -> None:
    """Every federated table has a name of its own and parts of equal columns. Raises NameTaken and as `parts_of` does."""
    taken = {name.lower(): "party" for name in catalog.names} | {t.full_name.lower(): "table" for t in catalog.tables}
    for table in catalog.federated:
        database, dot, _ = table.name.rpartition(".")
        for name in (table.name, database) if dot else (table.name,):
            if name.lower() in taken:
                raise NameTaken(f"The federated table {table.name} would hide the {taken[name.lower()]} {name}.",
                                advice="Choose another name.")
        taken[table.name.lower()] = "federated table"
        if len(table.parts) < 2 or len({part.lower() for part in table.parts}) != len(table.parts):
            raise UnknownDeclaration(f"The federated table {table.name} needs two parts or more, each once.")
        parts_of(table, catalog)
    databases = {table.name.lower().rpartition(".")[0] for table in catalog.federated} - {""}
    for name in (*(table.full_name for table in catalog.public), *(table.name for table in catalog.federated)):
        if name.lower() in databases:
            raise NameTaken(f"{name} is a table and the database of a federated table.", advice="Choose another name.")


def parts_of(table: Federated, catalog: Catalog) -> tuple[TableFacts, ...]:
    """The parts as their owners published them, each with the columns of the first in its order.

    Raises UnknownTable, UnknownColumn, TypeMismatch, and UnknownDeclaration for a key of columns that are not there.
    """
    owned = {facts.full_name.lower(): facts for party in catalog.parties for facts in party.tables}
    found = []
    for part in table.parts:
        if part.lower() not in owned:
            raise UnknownTable(f"No owner has a table {part}, a part of the federated table {table.name}.",
                               advice="Attach its owner, or federate other tables.")
        found.append(owned[part.lower()])
    first = found[0]
    names = {column.name.lower() for column in first.columns}
    for column in (column for key in table.keys for column in key if column.lower() not in names):
        raise UnknownDeclaration(f"The federated table {table.name} has no column {column} to be a key of.")
    return tuple(_arranged(part, first, table) for part in found)


def _arranged(part: TableFacts, first: TableFacts, table: Federated) -> TableFacts:
    """The part with the first one's columns, in that order."""
    places = {column.name.lower(): i for i, column in enumerate(part.columns)}
    for name in _unlike(first, part):
        raise UnknownColumn(f"{name} of the federated table {table.name} is not a column of both {first.full_name} and "
                            f"{part.full_name}.", advice="Its parts need columns of the same names.")
    order = [places[column.name.lower()] for column in first.columns]
    for column, i in zip(first.columns, order, strict=True):
        if part.columns[i].type != column.type:
            raise TypeMismatch(f"{column.name} of the federated table {table.name} is {column.type} in {first.full_name} and "
                               f"{part.columns[i].type} in {part.full_name}.", advice="Its parts need columns of the same types.")
    return replace(part, columns=tuple(part.columns[i] for i in order), facts=tuple(part.facts[i] for i in order))


def _unlike(first: TableFacts, part: TableFacts) -> Iterator[str]:
    """Columns that one has and the other has not."""
    ours, theirs = ({column.name.lower(): column.name for column in one.columns} for one in (first, part))
    yield from (name for key, name in ours.items() if key not in theirs)
    yield from (name for key, name in theirs.items() if key not in ours)


def federated_facts(table: Federated, catalog: Catalog) -> TableFacts:
    """The federated table as one: columns that may be NULL in some part, all rows. Raises as `parts_of` does."""
    parts = parts_of(table, catalog)
    columns = tuple(replace(same[0], nullable=any(column.nullable for column in same))
                    for same in zip(*(part.columns for part in parts), strict=True))
    database, _, name = table.name.rpartition(".")
    return TableFacts(database, name, columns, (Facts(),) * len(columns), sum(part.rows for part in parts), table.keys)
