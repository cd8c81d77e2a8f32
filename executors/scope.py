"""Where expressions on shares are evaluated: a relation's rows, the ranges of its columns, the errors found so far."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from sdh.executors import bits
from sdh.executors.bits import Bits
from sdh.executors.runtime import Session
from sdh.executors.values import Relation, Value, null_of
from sdh.planners.expressions import Expression, walk
from sdh.planners.intervals import Columns
from sdh.planners.overflow import overflows


@dataclass(slots=True)
class Scope:
    """Where expressions are evaluated: a relation, the ranges of its columns, and the error bits found so far."""

    session: Session
    relation: Relation
    columns: Columns
    errors: list[Bits] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return self.relation.slots

    def constant(self, value: int) -> Tensor:
        """A public integer in every row, as shares: party 0 holds it."""
        own = value if self.session.rank == 0 else 0
        return torch.full((self.rows,), own, dtype=torch.int64, device=self.session.device)

    def bit(self, value: bool) -> Bits:
        return bits.constant(self.session, self.rows, value)

    def fail(self, bad: Bits) -> None:
        """An operator failed in these rows, which counts where they are valid."""
        valid = self.relation.valid
        self.errors.append(bad if valid is None else bits.and_(self.session, bad, valid))

    def where(self, condition: Bits) -> Scope:
        """The same rows, of which only those count that meet the condition."""
        valid = self.relation.valid
        valid = condition if valid is None else bits.and_(self.session, valid, condition)
        return Scope(self.session, self.relation.with_valid(valid), self.columns, self.errors)

    def may_fail(self, e: Expression) -> bool:
        return any(overflows(part, self.columns) for part in walk(e))


def either_null(scope: Scope, *values: Value) -> Bits | None:
    """NULL where any of the values is."""
    found = [null for value in values if (null := null_of(value, scope.session)) is not None]
    while len(found) > 1:
        met = bits.or_many(scope.session, list(zip(found[0::2], found[1::2], strict=False)))
        found = met + found[2 * len(met) :]
    return found[0] if found else None
