"""The six comparisons of two columns of values: numbers by their ranges' width, texts word by word."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sdh.errors import InternalError
from sdh.executors import bits
from sdh.executors.bits import Bits
from sdh.executors.compare import is_zero, is_zero_many, less, less_many, less_wide
from sdh.executors.runtime import Session
from sdh.executors.text import LENGTH_WIDTH, TEXT_WIDTH
from sdh.executors.values import Number, Text, Value
from sdh.planners.intervals import Range


@dataclass(frozen=True, slots=True)
class Compared:
    """A Number with its range, or a Text (whose range says nothing)."""

    value: Value
    range: Range


def compare(session: Session, function: str, a: Compared, b: Compared) -> Bits:
    """The outcome where neither side is NULL; anything elsewhere."""
    match function:
        case "=":
            return equal(session, a, b)
        case "<>":
            return bits.not_(session, equal(session, a, b))
        case "<":
            return smaller(session, a, b)
        case ">":
            return smaller(session, b, a)
        case "<=":
            return bits.not_(session, smaller(session, b, a))
        case ">=":
            return bits.not_(session, smaller(session, a, b))
        case _:
            raise InternalError(f"{function} is no comparison.")


def equal(session: Session, a: Compared, b: Compared) -> Bits:
    match a.value, b.value:
        case Number(x), Number(y):
            return is_zero(session, x - y, equality_width(a.range, b.range))
        case Text(), Text():
            return bits.all_of(session, _equal_words(session, a.value, b.value))
        case _:
            raise InternalError("Values of two kinds are compared.")


def equality_width(a: Range, b: Range) -> int:
    """Bits that a difference needs so that it is 0 mod 2^bits only if it is 0."""
    difference = a - b
    return min(64, max(abs(difference.low), abs(difference.high), 1).bit_length())


def smaller(session: Session, a: Compared, b: Compared) -> Bits:
    match a.value, b.value:
        case Number(x), Number(y):
            width = (a.range - b.range).bits
            return less(session, x, y, width) if width <= 64 else less_wide(session, x, y)
        case Text(), Text():
            return _smaller_text(session, a.value, b.value)
        case _:
            raise InternalError("Values of two kinds are compared.")


def _aligned(session: Session, a: Text, b: Text) -> list[tuple[torch.Tensor, torch.Tensor, int]]:
    """Pairs of words from the first to the length, with their widths; the shorter text has words of 0."""
    count = max(len(a.words), len(b.words)) - 1
    rows = len(a.words[0])
    zero = torch.zeros(rows, dtype=torch.int64, device=session.device)
    first = [*a.words[:-1], *[zero] * (count + 1 - len(a.words))]
    second = [*b.words[:-1], *[zero] * (count + 1 - len(b.words))]
    pairs = [(x, y, TEXT_WIDTH) for x, y in zip(first, second, strict=True)]
    return [*pairs, (a.words[-1], b.words[-1], LENGTH_WIDTH)]


def _equal_words(session: Session, a: Text, b: Text) -> list[Bits]:
    return is_zero_many(session, [(x - y, width) for x, y, width in _aligned(session, a, b)])


def _smaller_text(session: Session, a: Text, b: Text) -> Bits:
    """Word by word from the last: lt = lt_hi ^ (eq_hi & lt_lo)."""
    pairs = _aligned(session, a, b)
    lower = less_many(session, [(x, y, width + 1) for x, y, width in pairs])
    same = is_zero_many(session, [(x - y, width) for x, y, width in pairs[:-1]])
    found = lower[-1]
    for lt, eq in zip(reversed(lower[:-1]), reversed(same), strict=True):
        found = bits.xor(lt, bits.and_(session, eq, found))
    return found
