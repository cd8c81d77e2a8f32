"""MIN and MAX of values of several limbs (texts): tournaments of rows, of a column's halves or within groups.

A candidate is a row of limbs, highest first, in which what is NULL or not counted is worse than all values
(key_limbs.coded). Compared lexicographically: compare.less_rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sdh.executors.arithmetic import mux_many
from sdh.executors.bits import Bits, and_
from sdh.executors.compare import less_rows
from sdh.executors.runtime import Session
from sdh.executors.shares import raw


@dataclass(frozen=True, slots=True)
class Candidates:
    """limbs: int64 [rows] each. widths: bits that hold a difference of two values of each."""

    limbs: tuple[Tensor, ...]
    widths: tuple[int, ...]
    greatest: bool

    @property
    def rows(self) -> int:
        return len(self.limbs[0])

    def part(self, start: int, stop: int) -> Candidates:
        return replace(self, limbs=tuple(limb[start:stop] for limb in self.limbs))

    def then(self, other: Candidates) -> Candidates:
        return replace(self, limbs=tuple(torch.cat(pair) for pair in zip(self.limbs, other.limbs, strict=True)))

    def beats(self, session: Session, other: Candidates) -> Bits:
        """Whether each of these is strictly better than the other's."""
        less, more = (other, self) if self.greatest else (self, other)
        return less_rows(session, list(zip(less.limbs, more.limbs, self.widths, strict=True)))

    def take(self, session: Session, other: Candidates, where: Bits) -> Candidates:
        """The other's candidate where the bit is set."""
        [moved] = mux_many(session, [(where, [b - a for a, b in zip(self.limbs, other.limbs, strict=True)])])
        return replace(self, limbs=tuple(a + raw(b) for a, b in zip(self.limbs, moved, strict=True)))


def best_of_all(session: Session, found: Candidates) -> Candidates:
    """The best of all rows, of which there is one at least: a comparison and a mux a row in all, ceil(log2 rows) steps."""
    while found.rows > 1:
        half = found.rows // 2
        first, second, odd = found.part(0, half), found.part(half, 2 * half), found.part(2 * half, found.rows)
        found = first.take(session, second, second.beats(session, first)).then(odd)
    return found


def best_of_groups(session: Session, found: Candidates, same: Sequence[Bits]) -> Candidates:
    """Row i: the best of its group's rows up to i. `same` as scan.segmented_extreme takes it."""
    step = 1
    for bits in same:
        late, early = found.part(step, found.rows), found.part(0, found.rows - step)
        take = and_(session, early.beats(session, late), bits)
        found = found.part(0, step).then(late.take(session, early, take))
        step *= 2
    return found
