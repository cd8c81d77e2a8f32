"""Records in parts: the columns of several values as one record, to be sorted or moved, and each value's again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from sdh.executors import bits
from sdh.executors.arithmetic import to_arithmetic
from sdh.executors.bits import Bits
from sdh.executors.key_limbs import Coded
from sdh.executors.keys import Limb
from sdh.executors.permute import Record
from sdh.executors.runtime import Session
from sdh.executors.scope import Scope
from sdh.executors.shares import Shared, raw
from sdh.executors.values import Relation, Value, columns_of, from_columns

Parts = Sequence[Record]
"""Columns of one row count in groups that are used together: what a record is made of."""


def flat(parts: Parts) -> list[Shared | Bits]:
    """The record that the parts make, one after the other."""
    return [column for part in parts for column in part]


def regrouped(like: Parts, record: Record) -> list[Record]:
    """A record in parts again, as many columns in each as in `like`."""
    columns = iter(record)
    return [[next(columns) for _ in part] for part in like]


def hollow(parts: Parts) -> list[Record]:
    """Columns of no rows in the stead of all: what says how a record is divided."""
    return [[bits.slice_(column, 0, 0) if isinstance(column, Bits) else raw(column).new_empty(0) for column in part]
            for part in parts]


def shapes(values: Sequence[Value]) -> list[Value]:
    """The values without rows: what puts the columns of a record together again."""
    return [from_columns(value, hollow([columns_of(value)])[0]) for value in values]


def coded_shapes(keys: Sequence[Coded]) -> list[Coded]:
    """The same of keys."""
    return [key.of(hollow([key.record])[0]) for key in keys]


def without_columns(scope: Scope) -> Scope:
    """As many rows, of which nothing is held any more: it is in a record."""
    return replace(scope, relation=Relation(scope.rows, None, {}))


def row_limbs(session: Session, keys: Sequence[Coded], valid: Bits | None) -> list[Limb]:
    """Rows that are not there last, then by the keys."""
    flag: list[Limb] = [] if valid is None else [(raw(to_arithmetic(session, bits.not_(session, valid))), 2)]
    return [*flag, *(limb for key in keys for limb in key.limbs)]


def rows_between(record: Record, start: int, stop: int) -> list[Shared | Bits]:
    """Rows start .. stop - 1."""
    return [bits.slice_(column, start, stop) if isinstance(column, Bits) else raw(column)[start:stop] for column in record]


def bit_of(record: Record) -> Bits | None:
    """The bit of a part that has one; None of one without columns."""
    return next((column for column in record if isinstance(column, Bits)), None)


def as_bits(column: Shared | Bits) -> Bits:
    assert isinstance(column, Bits)
    return column


def as_ring(column: Shared | Bits) -> Tensor:
    assert not isinstance(column, Bits)
    return raw(column)
