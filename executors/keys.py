"""Keys on shares: limbs of up to 63 bits, the highest first, and unique keys in one order with them.

A limb is a share and the bits that hold the difference of two of its values, as compare.less_rows takes them: values are in
[0, 2^(width-1)), or those of the first limb may be signed, in [-2^(width-2), 2^(width-2)). NULLS LAST is a first limb that
is 1 where the value is NULL, of width 2; NULLS FIRST the same descending.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from sdh.errors import InternalError, WidthError
from sdh.executors.runtime import Session
from sdh.executors.shares import Shared, raw
from sdh.planners.sorting import WIDEST, joined, place_bits

Limb = tuple[Shared, int]
"""A share, and the bits that hold the difference of two values."""


def limbs_of(x: Shared, bits: int) -> list[Limb]:
    """A shared value of up to 63 bits, signed or not. Raises WidthError for others: they are two limbs (`share_limbs`)."""
    if not 1 <= bits <= WIDEST:
        raise WidthError(f"A key on shares has 1 to {WIDEST} bits in one limb, not {bits}.")
    return [(x, bits + 1)]


def share_limbs(session: Session, owner: int, column: Tensor | None, rows: int) -> list[Limb]:
    """Any int64 column of an owner, shared as two limbs: the signed high 32 bits, the low 32."""
    high = session.share(owner, None if column is None else column >> 32, rows)
    low = session.share(owner, None if column is None else column & 0xffffffff, rows)
    return [(high, 33), (low, 33)]


def rows_of(limbs: Sequence[Limb]) -> int:
    """The row count of all. Raises InternalError."""
    counts = {len(raw(x)) for x, _ in limbs}
    if len(counts) != 1 or not all(2 <= width <= WIDEST + 1 for _, width in limbs):
        raise InternalError(f"A key has limbs of one row count, with differences of 2 to {WIDEST + 1} bits.")
    [rows] = counts
    return rows


def falling(limbs: Sequence[Limb], descending: Sequence[bool]) -> list[bool]:
    """Whether each limb falls; those after the flags given rise."""
    if len(descending) > len(limbs):
        raise InternalError("More limbs of a key descend than there are.")
    return [*descending, *[False] * (len(limbs) - len(descending))]


def unique(limbs: Sequence[Limb], descending: Sequence[bool], numbers: Tensor) -> list[tuple[Tensor, int]]:
    """Limbs, the highest first, whose order is that of the key, then of the rows' numbers: no two rows are equal.

    A descending limb is negated: differences decide alone. Neighbours that fit together are one, high * 2^bits + low.
    """
    shares = [-raw(x) if falls else raw(x) for (x, _), falls in zip(limbs, falling(limbs, descending), strict=True)]
    shares.append(numbers)
    found = []
    for group in joined([*(width - 1 for _, width in limbs), place_bits(len(numbers))]):
        part, *lower = shares[:len(group)]
        for share, bits in zip(lower, group[1:], strict=True):
            part = (part << bits) + share
        found.append((part, sum(group) + 1))
        shares = shares[len(group):]
    return found
