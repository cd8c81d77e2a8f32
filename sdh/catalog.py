"""What is known of the tables before a query: what their owners published. Standard library only.

A plan is a function of these facts, so every node holds the same catalog and its digest covers it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

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
    """

    party: str
    name: str
    columns: Schema
    facts: tuple[Facts, ...]
    rows: int
    keys: tuple[tuple[str, ...], ...] = ()
    snapshot: str = ""

    @property
    def full_name(self) -> str:
        return f"{self.party}.{self.name}" if self.party else self.name

    def to_message(self) -> dict[str, Any]:
        return {
            "party": self.party, "name": self.name, "rows": self.rows, "snapshot": self.snapshot,
            "columns": [[c.name, str(c.type), c.nullable] for c in self.columns],
            "facts": [[f.bits, f.bytes, f.low, f.high] for f in self.facts],
            "keys": [list(key) for key in self.keys],
        }


def table_from_message(message: dict[str, Any]) -> TableFacts:
    return TableFacts(
        party=str(message["party"]), name=str(message["name"]), rows=int(message["rows"]),
        columns=tuple(Column(name, parse_type(text), nullable) for name, text, nullable in message["columns"]),
        facts=tuple(Facts(*values) for values in message["facts"]),
        keys=tuple(tuple(key) for key in message["keys"]), snapshot=str(message["snapshot"]),
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
class Catalog:
    """All parties, in the order they are ranked, and the public tables that everyone holds."""

    parties: tuple[Party, ...] = ()
    public: tuple[TableFacts, ...] = ()

    def party(self, name: str) -> Party:
        """Raises KeyError."""
        return next(party for party in self.parties if party.name == name) if name in self.names else _missing(name)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(party.name for party in self.parties)

    @property
    def tables(self) -> tuple[TableFacts, ...]:
        return tuple(table for party in self.parties for table in party.tables) + self.public

    def to_message(self) -> dict[str, Any]:
        return {"parties": [p.to_message() for p in self.parties], "public": [t.to_message() for t in self.public]}


def _missing(name: str) -> Party:
    raise KeyError(name)


def catalog_from_message(message: dict[str, Any]) -> Catalog:
    return Catalog(tuple(party_from_message(p) for p in message["parties"]),
                   tuple(table_from_message(t) for t in message["public"]))
