"""Values as keys of a sort on shares (planners/key_limbs.py): what is NULL, or in no valid row, has one public code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from sdh.errors import InternalError
from sdh.executors import bits
from sdh.executors.arithmetic import mux_many, plus, to_arithmetic
from sdh.executors.bits import Bits
from sdh.executors.compare import is_zero, is_zero_many, msb
from sdh.executors.evaluate import as_number, evaluate, typed
from sdh.executors.permute import Record
from sdh.executors.quotient import ordered
from sdh.executors.runtime import Session
from sdh.executors.scope import Scope
from sdh.executors.shares import Shared, raw
from sdh.executors.values import Number, Text, Truth, Value, null_of
from sdh.planners.expressions import Expression
from sdh.planners.key_limbs import Limbs, limbs_of
from sdh.planners.quotients import is_quotient
from sdh.planners.ranges import bytes_of
from sdh.planners.sorting import joined
from sdh.schema import Kind

HALF = -(1 << 63)
"""2^63 mod 2^64, as int64 has it."""


@dataclass(frozen=True, slots=True)
class Coded:
    """A key: its limbs, in [0, 2^bits), and the bits that its value needs beside them (NULL; TRUE and FALSE)."""

    shape: Limbs
    shares: tuple[Tensor, ...]
    flags: tuple[Bits, ...]

    @property
    def limbs(self) -> list[tuple[Tensor, int]]:
        """As executors/keys.py takes them: with the bits that hold a difference."""
        return [(share, size + 1) for share, size in zip(self.shares, self.shape.bits, strict=True)]

    @property
    def record(self) -> list[Shared | Bits]:
        return [*self.shares, *self.flags]

    def of(self, record: Record) -> Coded:
        """The same key in other rows: `record` is theirs."""
        shares = tuple(raw(part) for part in record if not isinstance(part, Bits))
        return Coded(self.shape, shares, tuple(part for part in record if isinstance(part, Bits)))


def coded(keys: Sequence[Expression], scope: Scope, counted: Bits | None, nulls_high: Sequence[bool] = ()) -> list[Coded]:
    """Keys as limbs. `counted`: rows that are there (None: all). nulls_high: by key, whether NULL is above all values."""
    shapes, values = [limbs_of(e, scope.columns) for e in keys], [value_in(e, scope) for e in keys]
    high = [*nulls_high, *[False] * (len(keys) - len(nulls_high))]
    return _coded(values, shapes, _present(values, shapes, counted, scope.session), high, scope)


def extreme_limbs(e: Expression, value: Value, scope: Scope, counted: Bits | None, greatest: bool) -> Coded:
    """A value as a candidate: what is not counted, NULL with it, is above all values, or below them for a greatest."""
    [found] = _coded([value], [extreme_shape(e, scope)], [counted], [not greatest], scope)
    return found


def extreme_shape(e: Expression, scope: Scope) -> Limbs:
    return replace(limbs_of(e, scope.columns), nullable=True)


def extreme_text(shape: Limbs, limbs: Sequence[Tensor], greatest: bool, session: Session) -> Text:
    """The text of a candidate, NULL where nothing was counted."""
    blank = 0 if greatest else shape.tops[0] + 1
    null = is_zero(session, plus(session, limbs[0], -blank), shape.bits[0])
    return Text((plus(session, limbs[0], -int(greatest)), *limbs[1:]), null)


def _coded(values: Sequence[Value], shapes: Sequence[Limbs], present: Sequence[Bits | None], nulls_high: Sequence[bool],
           scope: Scope) -> list[Coded]:
    session = scope.session
    parts = [_parts(value, shape, scope) for value, shape in zip(values, shapes, strict=True)]
    blanks = [shape.tops[0] + 1 if shape.nullable and high else 0 for shape, high in zip(shapes, nulls_high, strict=True)]
    for found, shape, blank in zip(parts, shapes, blanks, strict=True):
        found[0] = plus(session, found[0], -blank if blank else int(shape.nullable))   # the blank is 0 here
    masked = [(bit, found) for bit, found in zip(present, parts, strict=True) if bit is not None]
    kept = iter(mux_many(session, masked) if masked else [])
    shares = [found if bit is None else [raw(one) for one in next(kept)] for bit, found in zip(present, parts, strict=True)]
    return [Coded(shape, (plus(session, found[0], blank), *found[1:]), _flags(value, session))
            for shape, found, blank, value in zip(shapes, shares, blanks, values, strict=True)]


def value_of(key: Coded, e: Expression, session: Session) -> Value:
    """The value that was coded with NULL lowest."""
    match e.type.kind:
        case Kind.BOOLEAN:
            return Truth(*key.flags)
        case kind:
            null = key.flags[0] if key.flags else None
            first = plus(session, key.shares[0], -int(key.shape.nullable))
            if kind is Kind.VARCHAR:
                return Text((first, *key.shares[1:]), null)
            if key.shape.is_wide:
                return Number(plus(session, key.shares[1] + first * HALF, HALF), null)
            return Number(plus(session, first, key.shape.low), null)


def neighbours(session: Session, keys: Sequence[Coded], apart: int = 1) -> Bits | None:
    """Bit i: rows i and i + `apart` have equal keys. None without keys: all have."""
    differences = []
    limbs = [limb for key in keys for limb in key.limbs]
    shares = iter(share for share, _ in limbs)
    for group in joined([width - 1 for _, width in limbs]):
        packed = next(shares)
        for size in group[1:]:
            packed = (packed << size) + next(shares)
        differences.append((packed[apart:] - packed[:-apart], sum(group)))
    if not differences:
        return None
    return bits.all_of(session, is_zero_many(session, differences))


def value_in(e: Expression, scope: Scope) -> Value:
    """A value with as many words as planned; a quotient as the two limbs of its order."""
    if is_quotient(e):
        return Text(*ordered(e, scope))
    return typed(e, e.type, scope, bytes_of(e, scope.columns)) if e.type.kind is Kind.VARCHAR else evaluate(e, scope)


def _parts(value: Value, shape: Limbs, scope: Scope) -> list[Tensor]:
    session = scope.session
    match value:
        case Text(words):
            return [*words[:-1], *[scope.constant(0)] * (len(shape.tops) - len(words)), words[-1]]
        case Truth():
            return [as_number(value, scope).share]
        case Number(share) if shape.is_wide:
            negative = raw(to_arithmetic(session, msb(session, share, 64)))
            return [plus(session, -negative, 1), share + negative * HALF]
        case Number(share):
            return [plus(session, share, -shape.low)]


def _present(values: Sequence[Value], shapes: Sequence[Limbs], counted: Bits | None, session: Session) -> list[Bits | None]:
    """By key: the rows that are there and not NULL."""
    nulls = [null_of(value, session) for value in values]
    if any(null is not None and not shape.nullable for null, shape in zip(nulls, shapes, strict=True)):
        raise InternalError("A key that was planned without NULL has it.")
    known = [None if null is None else bits.not_(session, null) for null in nulls]
    if counted is None:
        return known
    met = iter(bits.and_many(session, [(counted, bit) for bit in known if bit is not None]))
    return [counted if bit is None else next(met) for bit in known]


def _flags(value: Value, session: Session) -> tuple[Bits, ...]:
    if isinstance(value, Truth):
        return (value.true,) if value.false is None else (value.true, value.false)
    null = null_of(value, session)
    return () if null is None else (null,)


def falling(keys: Sequence[Coded], descending: Sequence[bool]) -> list[bool]:
    """By limb: whether its key descends."""
    return [falls for key, falls in zip(keys, descending, strict=True) for _ in key.shares]
