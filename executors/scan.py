"""Extremes of groups and of whole columns, and what undoes a prefix sum (protocols.md section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from sdh.executors.arithmetic import mux
from sdh.executors.bits import Bits, and_, concat, constant, not_, or_, slice_, xor
from sdh.executors.compare import less, less_wide, msb
from sdh.executors.runtime import Session
from sdh.executors.shares import ArithmeticSharedTensor, Shared, arithmetic, raw


def same_segment(session: Session, owner: int, segment: Tensor | None, rows: int) -> list[Bits]:
    """For j = 0, 1, ...: bit i says that rows i and i + 2^j have one segment id (clear at `owner`). Free.

    List j has rows - 2^j rows.
    """
    found, step = [], 1
    while step < rows:
        bits = session.at(owner, partial(_same, segment, step))
        found.append(session.share_bits(owner, bits, rows - step))
        step *= 2
    return found


def _same(segment: Tensor | None, step: int) -> Tensor:
    assert segment is not None
    return segment[step:] == segment[:-step]


def segmented_extreme(session: Session, value: Shared, null: Bits | None, same: Sequence[Bits], width: int,
                      greatest: bool) -> tuple[ArithmeticSharedTensor, Bits]:
    """Row i: the least (greatest) non-null value of its segment's rows up to i, and whether there is none.

    Rows of a segment are neighbours; `same` is `same_segment`'s. Values are in [-2^(width-1), 2^(width-1)). The last
    row of a segment holds its result; the value under null is 0. For j = 0, 1, ...: row i takes row i - 2^j's
    value if that is better and of its segment: a comparison, an AND and a mux a step, ceil(log2 rows) steps.
    """
    best, step = _begin(session, value, null, width, greatest), 1
    for bits in same:
        late, early = best.part(step, best.rows), best.part(0, best.rows - step)
        take = and_(session, early.beats(late), bits)
        best = best.part(0, step).then(late.take(early, take))
        step *= 2
    return best.end()


def tournament(session: Session, value: Shared, null: Bits | None, width: int,
               greatest: bool) -> tuple[ArithmeticSharedTensor, Bits]:
    """The least (greatest) non-null value of all rows as one row, and whether there is none. Halves meet.

    A comparison and a mux a row in all, ceil(log2 rows) rounds of them.
    """
    if not len(raw(value)):
        return arithmetic(torch.zeros(1, dtype=torch.int64, device=session.device)), constant(session, 1, True)
    best = _begin(session, value, null, width, greatest)
    while best.rows > 1:
        half = best.rows // 2
        first, second, odd = best.part(0, half), best.part(half, 2 * half), best.part(2 * half, best.rows)
        best = first.take(second, second.beats(first)).then(odd)
    return best.end()


def adjacent_differences(share: Tensor) -> Tensor:
    """Each row less the one before it: undoes a prefix sum."""
    out = share.clone()
    out[1:] -= share[:-1]
    return out


_MERGED = 62
"""Up to this width NULL is a value above all others, so that one comparison of width + 2 bits orders both."""


def _begin(session: Session, value: Shared, null: Bits | None, width: int, greatest: bool) -> _Best:
    u = raw(value)
    if greatest:
        u = -u - 1 if session.rank == 0 else -u
    if width > _MERGED or null is None:
        return _Best(session, u, null, null is not None, width, greatest)
    top = 1 << (width - 1)
    u = u + raw(mux(session, null, top - u if session.rank == 0 else -u))
    return _Best(session, u, None, True, width, greatest)


@dataclass(frozen=True, slots=True)
class _Best:
    """Candidates for a least value. `value` is u = x, or -1 - x for a greatest.

    NULL is u = 2^(width-1), or for wider values a bit in `null`.
    """

    session: Session
    value: Tensor
    null: Bits | None
    nullable: bool
    width: int
    greatest: bool

    @property
    def rows(self) -> int:
        return len(self.value)

    def part(self, start: int, stop: int) -> _Best:
        null = None if self.null is None else slice_(self.null, start, stop)
        return replace(self, value=self.value[start:stop], null=null)

    def then(self, other: _Best) -> _Best:
        null = None if self.null is None or other.null is None else concat([self.null, other.null])
        return replace(self, value=torch.cat([self.value, other.value]), null=null)

    def beats(self, other: _Best) -> Bits:
        """Whether each of these is strictly better than the other's."""
        if self.width <= _MERGED:
            return less(self.session, self.value, other.value, self.width + 2)
        smaller = less_wide(self.session, self.value, other.value)
        if self.null is None or other.null is None:
            return smaller
        return and_(self.session, or_(self.session, smaller, other.null), not_(self.session, self.null))

    def take(self, other: _Best, where: Bits) -> _Best:
        """The other's candidate where the bit is set."""
        value = self.value + raw(mux(self.session, where, other.value - self.value))
        if self.null is None or other.null is None:
            return replace(self, value=value)
        changed = and_(self.session, where, xor(self.null, other.null))
        return replace(self, value=value, null=xor(self.null, changed))

    def end(self) -> tuple[ArithmeticSharedTensor, Bits]:
        """The values, 0 under null, and the null bits."""
        session, u = self.session, self.value
        x = u if not self.greatest else (-u - 1 if session.rank == 0 else -u)
        if not self.nullable:
            return arithmetic(x), constant(session, self.rows, False)
        null = self.null
        if null is None:
            top = 1 << (self.width - 1)
            null = not_(session, msb(session, u - top if session.rank == 0 else u, self.width + 2))
        return mux(session, not_(session, null), x), null
