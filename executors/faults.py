"""Where DuckDB would raise: error bits for rows that overflow their type or have no quotient."""

from __future__ import annotations

from sdh.executors import bits
from sdh.executors.bits import Bits
from sdh.executors.compare import is_zero_many, less, less_wide
from sdh.executors.scope import Scope
from sdh.executors.values import Number
from sdh.planners.expressions import Apply, Expression
from sdh.planners.intervals import Range, type_range
from sdh.planners.overflow import is_lost, overflows
from sdh.planners.ranges import division_faults, range_of


def checked(e: Expression, found: Number, scope: Scope) -> Number:
    """Where DuckDB might raise an overflow: an error bit for the rows that are there and not NULL."""
    if not overflows(e, scope.columns):
        return found
    bad = _outside(e, found, scope)
    if found.null is not None:
        bad = bits.and_(scope.session, bad, bits.not_(scope.session, found.null))
    scope.fail(bad)
    return found


def tried(e: Expression, found: Number, scope: Scope) -> Number:
    """NULL where a TRY_CAST leaves its type."""
    if not is_lost(e, scope.columns):
        return found
    bad = _outside(e, found, scope)
    return Number(found.share, bad if found.null is None else bits.or_(scope.session, bad, found.null))


def _outside(e: Expression, found: Number, scope: Scope) -> Bits:
    """Where a value lies outside its type."""
    session, allowed, has = scope.session, type_range(e.type), range_of(e, scope.columns)
    outside: list[Bits] = []
    if has.high > allowed.high:
        outside.append(_less_than(scope, Number(scope.constant(allowed.high)), Range(allowed.high, allowed.high), found, has))
    if has.low < allowed.low:
        outside.append(_less_than(scope, found, has, Number(scope.constant(allowed.low)), Range(allowed.low, allowed.low)))
    return outside[0] if len(outside) == 1 else bits.or_(session, outside[0], outside[1])


def no_quotient(e: Apply, a: Number, b: Number, x: Range, d: Range, scope: Scope) -> Bits | None:
    """Where the divisor is 0, or -1 under the type's least value. None: nowhere."""
    session, (by_zero, overflow) = scope.session, division_faults(e, scope.columns)
    tested = [(b.share, d)] if by_zero else []
    if overflow:
        lowest = Range(type_range(e.type).low, type_range(e.type).low)
        tested += [(a.share - scope.constant(lowest.low), x - lowest), (b.share + scope.constant(1), d + Range(1, 1))]
    if not tested:
        return None
    found = is_zero_many(session, [(share, min(64, max(abs(r.low), abs(r.high), 1).bit_length())) for share, r in tested])
    if not overflow:
        return found[0]
    wrapped = bits.and_(session, *found[-2:])
    return bits.xor(found[0], wrapped) if by_zero else wrapped


def _less_than(scope: Scope, a: Number, a_range: Range, b: Number, b_range: Range) -> Bits:
    difference = a_range - b_range
    if difference.bits <= 64:
        return less(scope.session, a.share, b.share, difference.bits)
    return less_wide(scope.session, a.share, b.share)
