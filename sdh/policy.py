"""What an owner grants: uses of columns to receivers, a floor of contributors, how counts and facts are published.

Standard library only. The planner (`planners/authorize.py`) decides whether a plan stays within the grants.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sdh.errors import UnknownDeclaration
from sdh.privacy import PrivacyPolicy, privacy_from_message


class Use(StrEnum):
    """What the receiver may come to see of a column.

    JOIN: which of the keys that it may know (its own, public, revealed) a column equals, and how often; PAYLOAD: the values
    beside one of its own. COMPARE is asked for all that tells values apart: casts that round, divisors and operators that
    may fail too. AGGREGATE: of distinct values too. RANK: which rows LIMIT leaves; what a result is sorted by comes with it.
    """

    REVEAL = "REVEAL"
    JOIN = "JOIN"
    PAYLOAD = "PAYLOAD"
    COMPARE = "COMPARE"
    GROUP = "GROUP"
    AGGREGATE = "AGGREGATE"
    EXTREMES = "EXTREMES"
    RANK = "RANK"
    DP = "DP"
    COMPUTE = "COMPUTE"


SYNONYMS: Mapping[str, tuple[Use, ...]] = {
    "PLAINTEXT": (Use.REVEAL,),
    "PLAINTEXT_AFTER_JOIN": (Use.JOIN, Use.PAYLOAD),
    "PLAINTEXT_AFTER_COMPARE": (Use.COMPARE,),
    "PLAINTEXT_AFTER_GROUP_BY": (Use.GROUP,),
    "PLAINTEXT_AFTER_AGGREGATE": (Use.AGGREGATE,),
    "ENCRYPTED_ONLY": (Use.COMPUTE,),
}
"""SCQL's column control levels."""

ANYONE = "*"
"""As a receiver: whichever client asks. As a table or column: all of them."""

ROWS = ("exact", "padded", "hidden")
FACTS = ("types", "measured")


@dataclass(frozen=True, slots=True)
class Grant:
    """`uses` of `columns` (() = all) of `table` ('*' = all) to `receiver` ('*' = the client that asks).

    party: whose table, where the grant says so; another's grant is refused when a store is attached.
    """

    uses: tuple[Use, ...]
    table: str
    columns: tuple[str, ...]
    receiver: str
    party: str = ""

    def covers(self, use: Use, table: str, column: str, receiver: str) -> bool:
        return (
            use in self.uses
            and self.table in (ANYONE, table)
            and (not self.columns or column in self.columns)
            and self.receiver in (ANYONE, receiver)
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """An owner's policy. Immutable; the constructors are `open`, `none` and `parse`.

    floor: least number of distinct contributors behind every released aggregate.
    unit: (table, column) pairs: the column that tells contributors apart; without one, each row is one.
    rows: 'exact', 'padded' or 'hidden' row counts; above a floor of 1 only those of whole tables are exact.
    facts: 'types' or 'measured'.
    privacy: the budgets and limits of DP; without one no use DP is granted.
    """

    grants: tuple[Grant, ...] = ()
    floor: int = 10
    unit: tuple[tuple[str, str], ...] = ()
    rows: str = "padded"
    facts: str = "types"
    privacy: PrivacyPolicy | None = None

    def __post_init__(self) -> None:
        if self.rows not in ROWS:
            raise UnknownDeclaration(f"Row counts cannot be {self.rows!r}.", advice=f"Use one of {', '.join(ROWS)}.")
        if self.facts not in FACTS:
            raise UnknownDeclaration(f"Facts cannot be {self.facts!r}.", advice=f"Use one of {', '.join(FACTS)}.")
        if self.floor < 1:
            raise UnknownDeclaration(f"A floor of {self.floor} contributors makes no sense.", advice="Use 1 or more.")

    @staticmethod
    def open(*, rows: str = "padded") -> Policy:
        """Every use to the client that asks; other parties may compute on shares and see nothing."""
        return Policy((Grant(tuple(Use), ANYONE, (), ANYONE),), floor=1, rows=rows, facts="measured")

    @staticmethod
    def none() -> Policy:
        """Grants nothing: what a store has that is attached without a policy."""
        return Policy()

    @staticmethod
    def parse(text: str, *, floor: int = 10, unit: Mapping[str, str] | None = None, rows: str = "padded",
              facts: str = "types", privacy: PrivacyPolicy | None = None) -> Policy:
        """A policy from `GRANT use, ... ON [party.]table [(column, ...)] TO receiver; ...`.

        Raises UnknownDeclaration for anything else.
        """
        statements = [statement.strip() for statement in text.split(";") if statement.strip()]
        return Policy(tuple(_grant(statement) for statement in statements), floor, tuple(sorted((unit or {}).items())),
                      rows, facts, privacy)

    def allows(self, use: Use, table: str, column: str, receiver: str) -> bool:
        """Whether `receiver` may come to see `column` by `use`. REVEAL includes every other use but DP."""
        wanted = (use,) if use in (Use.REVEAL, Use.DP) else (use, Use.REVEAL)
        return any(grant.covers(one, table, column, receiver) for grant in self.grants for one in wanted)

    def unit_of(self, table: str) -> str | None:
        return dict(self.unit).get(table)

    def to_message(self) -> dict[str, Any]:
        return {
            "grants": [[list(g.uses), g.table, list(g.columns), g.receiver, g.party] for g in self.grants],
            "floor": self.floor, "unit": [list(pair) for pair in self.unit], "rows": self.rows, "facts": self.facts,
            "privacy": self.privacy and self.privacy.to_message(),
        }


def policy_from_message(message: dict[str, Any]) -> Policy:
    grants = tuple(Grant(tuple(Use(use) for use in uses), table, tuple(columns), receiver, party)
                   for uses, table, columns, receiver, party in message["grants"])
    unit = tuple((str(table), str(column)) for table, column in message["unit"])
    privacy = message["privacy"]
    return Policy(grants, int(message["floor"]), unit, str(message["rows"]), str(message["facts"]),
                  None if privacy is None else privacy_from_message(privacy))


_GRANT = re.compile(
    r"GRANT\s+(?P<uses>[\w\s,]+?)\s+ON\s+(?:(?P<party>\w+)\s*\.\s*)?(?P<table>\w+|\*)\s*"
    r"(?:\(\s*(?P<columns>[\w\s,\"*]+?)\s*\))?\s+TO\s+(?P<receiver>\w+|\*)",
    re.IGNORECASE,
)


def _grant(statement: str) -> Grant:
    found = _GRANT.fullmatch(statement)
    if found is None:
        raise UnknownDeclaration(f"Not a grant: {statement!r}.",
                                 advice="Write GRANT use, ... ON party.table (column, ...) TO receiver.")
    columns = tuple(name.strip().strip('"') for name in (found["columns"] or "").split(",") if name.strip() not in ("", "*"))
    uses = tuple(use for word in found["uses"].split(",") for use in _uses(word.strip().upper()))
    return Grant(uses, found["table"], columns, found["receiver"], found["party"] or "")


def _uses(word: str) -> tuple[Use, ...]:
    if word in SYNONYMS:
        return SYNONYMS[word]
    if word not in Use.__members__:
        raise UnknownDeclaration(f"There is no use named {word!r}.", advice=f"Uses: {', '.join(Use.__members__)}.")
    return (Use[word],)
