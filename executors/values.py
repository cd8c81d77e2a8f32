"""SQL values on shares, in the columns of a relation of n rows (slots).

Number: an integer, DECIMAL (times 10^scale), DATE (days), TIMESTAMP (microseconds) or DOUBLE (a 64-bit code in its
order). Text: words of 7 UTF-8 bytes, first byte highest, then the length. Truth: a BOOLEAN. `null` is None where the
column cannot be NULL; what stands under NULL has no meaning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from sdh.executors import bits
from sdh.executors.bits import Bits
from sdh.executors.permute import Record
from sdh.executors.runtime import Session
from sdh.executors.shares import Shared, raw


@dataclass(frozen=True, slots=True)
class Number:
    share: Tensor
    """int64 [rows], arithmetic mod 2^64."""
    null: Bits | None = None


@dataclass(frozen=True, slots=True)
class Text:
    words: tuple[Tensor, ...]
    """ceil(bytes / 7) words and the length, each int64 [rows]."""
    null: Bits | None = None


@dataclass(frozen=True, slots=True)
class Truth:
    """Three-valued: `true` and `false` are never both set; NULL is neither. `false` is None where it is NOT true."""

    true: Bits
    false: Bits | None = None


Value = Number | Text | Truth


@dataclass(frozen=True, slots=True)
class Clear:
    """A column that this party knows in the clear, row by row: words as in Number (one), Text, Truth (one, 0 or 1).

    words: int64 [slots] each, 0 under NULL. null: bool [slots] or None.
    """

    words: tuple[Tensor, ...]
    null: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Relation:
    """Rows on shares. valid: None where every slot is a row, publicly.

    clear, real: what this party knows: columns, and which rows it takes for real (bool [slots]); empty, None elsewhere.
    """

    slots: int
    valid: Bits | None
    columns: dict[int, Value]
    clear: dict[int, Clear] = field(default_factory=dict)
    real: Tensor | None = None

    def with_valid(self, valid: Bits | None) -> Relation:
        return replace(self, valid=valid)


def null_of(value: Value, session: Session) -> Bits | None:
    match value:
        case Truth(true, false):
            return None if false is None else bits.not_(session, bits.xor(true, false))
        case Number() | Text():
            return value.null


def false_of(value: Truth, session: Session) -> Bits:
    return bits.not_(session, value.true) if value.false is None else value.false


def columns_of(value: Value) -> list[Shared | Bits]:
    """The parts of a value as columns of a record, for moving rows."""
    match value:
        case Number(share, null):
            return [share, *optional(null)]
        case Text(words, null):
            return [*words, *optional(null)]
        case Truth(true, false):
            return [true, *optional(false)]


def from_columns(like: Value, parts: Record) -> Value:
    """The value whose `columns_of` are `parts`."""
    ring = [raw(part) for part in parts if not isinstance(part, Bits)]
    flags = [part for part in parts if isinstance(part, Bits)]
    match like:
        case Number(_, null):
            return Number(ring[0], None if null is None else flags[0])
        case Text(_, null):
            return Text(tuple(ring), None if null is None else flags[0])
        case Truth(_, false):
            return Truth(flags[0], None if false is None else flags[1])


def optional(column: Bits | None) -> list[Bits]:
    """The column, if there is one, as part of a record."""
    return [] if column is None else [column]


def flatten(columns: dict[int, Value]) -> list[Shared | Bits]:
    """All parts of all columns as one record."""
    return [part for value in columns.values() for part in columns_of(value)]


def unflatten(like: dict[int, Value], record: Record) -> dict[int, Value]:
    """The columns whose `flatten` is `record`."""
    found: dict[int, Value] = {}
    place = 0
    for number, value in like.items():
        size = len(columns_of(value))
        found[number] = from_columns(value, record[place : place + size])
        place += size
    return found


def repeated(value: Value, times: int, *, each: bool) -> Value:
    """Every row `times` in a row (each), or all rows `times` over: local."""
    parts: list[Shared | Bits] = []
    for part in columns_of(value):
        if isinstance(part, Bits):
            parts.append(bits.repeat(part, times, each=each))
        else:
            parts.append(repeat_rows(raw(part), times, each=each))
    return from_columns(value, parts)


def repeat_rows(rows: Tensor, times: int, *, each: bool) -> Tensor:
    return rows.repeat_interleave(times) if each else rows.repeat(times)


def spread(relation: Relation, times: int, *, each: bool) -> Relation:
    """Every row `times` times: each at once, or all rows one round after the other. Local."""
    valid = None if relation.valid is None else bits.repeat(relation.valid, times, each=each)
    columns = {n: repeated(value, times, each=each) for n, value in relation.columns.items()}
    clear = {
        n: Clear(
            tuple(repeat_rows(word, times, each=each) for word in c.words),
            None if c.null is None else repeat_rows(c.null, times, each=each),
        )
        for n, c in relation.clear.items()
    }
    real = None if relation.real is None else repeat_rows(relation.real, times, each=each)
    return Relation(relation.slots * times, valid, columns, clear, real)


def joined(values: Sequence[Value]) -> Value:
    """The rows of all values, one after the other; they have one shape."""
    import torch

    first = values[0]
    parts: list[Shared | Bits] = []
    for column in zip(*(columns_of(value) for value in values), strict=True):
        if isinstance(column[0], Bits):
            parts.append(bits.concat([part for part in column if isinstance(part, Bits)]))
        else:
            parts.append(torch.cat([raw(part) for part in column]))
    return from_columns(first, parts)
