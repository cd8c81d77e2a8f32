"""The record of what was revealed: one entry for each thing that leaves the shares or a party. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Reveal:
    """`what` is shown `to` a receiver for `reason`. EXPLAIN lists a plan's reveals; a run passes the same to `reveal`.

    reason: 'result' (the released rows), 'error' (one bit: did any operator fail), 'slots' (a padded count).
    to: a party, client or 'everyone'.
    """

    reason: str
    what: str
    to: str

    def __str__(self) -> str:
        return f"{self.what} -> {self.to} ({self.reason})"
