"""Traits: what is public of a relation on shares, whoever holds it."""

from __future__ import annotations

from dataclasses import dataclass

from sdh.planners.intervals import Shared
from sdh.planners.repeats import Repeats, most_rows


@dataclass(frozen=True, slots=True)
class Traits:
    """What is public of a relation on shares.

    keys: unique among valid rows; placed_keys: among all rows that the party which knows them takes for real; so repeats.
    known: for each party, numbers of the columns that it still knows in the clear, row by row.
    """

    slots: int
    columns: tuple[Shared, ...]
    known: tuple[tuple[str, frozenset[int]], ...]
    keys: tuple[frozenset[int], ...]
    single: frozenset[str]
    placed_keys: tuple[frozenset[int], ...] = ()
    repeats: Repeats = ()
    placed_repeats: Repeats = ()

    def times(self, numbers: frozenset[int]) -> int | None:
        """The most valid rows that agree on these columns, none NULL. None: nothing is known."""
        return most_rows(self.keys, self.repeats, numbers)

    def placed_times(self, numbers: frozenset[int]) -> int | None:
        """The same of all rows that the party which knows them takes for real."""
        return most_rows(self.placed_keys, self.placed_repeats, numbers)

    @property
    def ranges(self) -> dict[int, Shared]:
        return {column.field.number: column for column in self.columns}

    def known_by(self, party: str) -> frozenset[int]:
        return dict(self.known).get(party, frozenset())
