"""What evaluating an expression on shares costs: the steps of executors/evaluate.py and predicates.py, counted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

from sdh.planners.columns import nullable
from sdh.planners.comparing import LOCAL, Network, choose
from sdh.planners.dividing import public_cost, shared_cost
from sdh.planners.expressions import (
    COMPARISONS,
    DISTINCTIONS,
    Apply,
    Case,
    Cast,
    Constant,
    Expression,
    Ref,
    conjuncts,
    walk,
)
from sdh.planners.functions import DIVISIONS
from sdh.planners.intervals import LENGTH_BITS, TEXT_BITS, Columns, Range, Shared, type_range
from sdh.planners.overflow import is_lost, overflows
from sdh.planners.protocol_costs import (
    NONE,
    Steps,
    and_,
    divided,
    less,
    multiply,
    mux,
    sign,
    signs,
    to_ring,
    total,
    zero,
    zeros,
)
from sdh.planners.quotients import Pair, crossed, is_quotient, pair_of
from sdh.planners.ranges import bytes_of, choice_range, division_faults, operand, range_of, rescaled, scale_of
from sdh.planners.rounding import ROUNDINGS, rounding_of
from sdh.schema import Kind


@dataclass(frozen=True, slots=True)
class At:
    """Where expressions are evaluated: how many rows, of which columns."""

    rows: int
    columns: Columns
    network: Network = LOCAL


def words_of(e: Expression, columns: Columns) -> int:
    """Words that a value has on shares; a text's length is one."""
    match e.type.kind:
        case Kind.BOOLEAN:
            return 0
        case Kind.VARCHAR:
            return 1 + -(-bytes_of(e, columns) // 7)
        case _:
            return 1


def holds(predicate: Expression | None, at: At, *, valid: bool) -> Steps:
    """Of the validity of rows where the predicate is TRUE. valid: whether rows had one before."""
    parts = conjuncts(predicate)
    return total(value(part, at) for part in parts) + total([and_(at.rows)] * (len(parts) - (not valid)))


def number(e: Expression, at: At) -> Steps:
    """Of its value as a number."""
    return value(e, at) + (to_ring(at.rows) if e.type.kind is Kind.BOOLEAN else NONE)


def value(e: Expression, at: At) -> Steps:
    match e:
        case Ref() | Constant():
            return NONE
        case Case(branches, default):
            parts = [part for branch in branches for part in branch] + ([] if default is None else [default])
            one = _chosen(e, at, null=nullable(e, at.columns))
            return total(value(part, at) for part in parts) + total([one] * len(branches))
        case Cast() if rounding_of(e) is not None:
            return _rounded(e, at) + _checked(e, at)
        case Cast(operand, type_):
            return (value if type_.kind is Kind.BOOLEAN else number)(operand, at) + _checked(e, at)
        case Apply():
            return _apply(e, at)
        case _:
            assert_never(e)


def _apply(e: Apply, at: At) -> Steps:
    match e.function, e.arguments:
        case "BETWEEN", (operand, low, high):
            return compared(">=", operand, low, at) + compared("<=", operand, high, at) + _connected(e, 2, at)
        case "IN", (operand, *items):
            return total([compared("=", operand, item, at) for item in items]) + _connected(e, len(items), at)
        case function, (left, right) if function in COMPARISONS:
            return compared(function, left, right, at)
        case function, (left, right) if function in DISTINCTIONS:
            nulls = _either_null([left, right], at)
            return compared("=", left, right, at) + value(left, at) + value(right, at) + nulls
        case "AND" | "OR", arguments:
            guards = sum(any(overflows(part, at.columns) for part in walk(one)) for one in arguments) * len(arguments)
            return total([value(one, at) for one in arguments]) + _connected(e, len(arguments), at) + and_(at.rows, guards)
        case "IS NULL", (operand,):
            parts = operand.arguments if isinstance(operand, Apply) and is_quotient(operand) else (operand,)
            return total([value(part, at) for part in parts]) + _either_null(parts, at)
        case "NOT", (operand,):
            return value(operand, at)
        case function, (left, right) if function in DIVISIONS:
            return number(left, at) + number(right, at) + _either_null(e.arguments, at) + _quotient(e, left, right, at)
        case function, _ if function in ROUNDINGS:
            return _rounded(e, at)
        case "abs", (operand,):
            return number(operand, at) + absolute(range_of(operand, at.columns), at) + _checked(e, at)
        case "coalesce" | "greatest" | "least", arguments:
            reached = arguments if e.function != "coalesce" or nullable(arguments[0], at.columns) else arguments[:1]
            return total(value(argument, at) for argument in reached) + _choice(e, at)
        case "nullif", (left, right):
            return value(left, at) + compared("=", left, right, at) + and_(at.rows)
        case "guarded", (inner, failed):
            return value(inner, at) + value(failed, at) + and_(at.rows)
        case _:
            product = e.function == "*" and not any(isinstance(part, Constant) for part in e.arguments)
            made = multiply(at.rows) if product else Steps(words=at.rows)
            return total([number(part, at) for part in e.arguments]) + made + _either_null(e.arguments, at) + _checked(e, at)


def _quotient(e: Apply, left: Expression, right: Expression, at: At) -> Steps:
    """Of an integer division, and of the error bit where there is none."""
    x, d = (rescaled(side, e.type, at.columns) for side in (left, right))
    by_zero, overflow = division_faults(e, at.columns)
    lowest = type_range(e.type).low if overflow else 0
    tested = [d] * by_zero + [x - Range(lowest, lowest), d + Range(1, 1)] * overflow
    checks = zeros(at.rows, tuple(map(equality_bits, tested)), at.network) + total([and_(at.rows)] * overflow)
    checks += total([and_(at.rows)] * (2 if tested and nullable(e, at.columns) else bool(tested)))
    if d.low == d.high:
        tree = choose(2 * at.rows, abs(d.low).bit_length() + 2, at.network)
        return checks + divided(public_cost(operand(x), d.low or 1, tree), at.rows)
    tree = choose(2 * at.rows, operand(d).bits + 2, at.network)
    return checks + divided(shared_cost(operand(x), operand(d), tree), at.rows)


def _connected(e: Apply, parts: int, at: At) -> Steps:
    """AND or OR of so many truth values, one after the other."""
    return total([and_(at.rows, 2 if nullable(e, at.columns) else 1)] * (parts - 1))


def _either_null(parts: tuple[Expression, ...] | list[Expression], at: At) -> Steps:
    return total([and_(at.rows)] * (sum(nullable(part, at.columns) for part in parts) - 1))


def _chosen(e: Expression, at: At, *, null: bool) -> Steps:
    """One value or another by a bit, with where it is NULL."""
    if e.type.kind is Kind.BOOLEAN:
        return total([and_(at.rows)] * (1 + null))
    return mux(at.rows, words_of(e, at.columns)) + (and_(at.rows) if null else NONE)


def _choice(e: Apply, at: At) -> Steps:
    """COALESCE, GREATEST, LEAST, from the left: what is found so far, or the next argument."""
    first, *others = (nullable(argument, at.columns) for argument in e.arguments)
    if e.function == "coalesce":
        return total([_chosen(e, at, null=True)] * len(others)) if first else NONE
    whole = NONE
    for null in others:
        whole += _better(e, at) + total([and_(at.rows)] * (first + null)) + _chosen(e, at, null=first or null)
        first = first or null
    return whole


def _better(e: Apply, at: At) -> Steps:
    """Which of two is greater."""
    if e.type.kind is Kind.BOOLEAN:
        return NONE
    if e.type.kind is Kind.VARCHAR:
        return _texts("<", words_of(e, at.columns) - 1, at)
    whole = choice_range(e, at.columns)
    return less(at.rows, (whole - whole).bits, at.network)


def _rounded(e: Expression, at: At) -> Steps:
    """Of executors/rounding.py."""
    rounding = rounding_of(e)
    assert rounding is not None
    x, found = range_of(rounding.operand, at.columns), number(rounding.operand, at)
    if rounding.unit == 1:
        return found
    turned = x.low < 0 and rounding.turn
    tree = choose(2 * at.rows, rounding.unit.bit_length() + 2, at.network)
    found += sign(at.rows, min(x.bits, 64), at.network) + to_ring(at.rows) if turned else NONE
    return found + divided(public_cost(operand(rounding.dividend(x)), rounding.unit, tree), at.rows)


def absolute(range_: Range, at: At) -> Steps:
    """|x| and x < 0."""
    return NONE if range_.low >= 0 else sign(at.rows, min(range_.bits, 64), at.network) + mux(at.rows, 1)


def _checked(e: Expression, at: At) -> Steps:
    """Where DuckDB might raise an overflow: one comparison for each end of the type, and an error bit."""
    if not overflows(e, at.columns) and not is_lost(e, at.columns):
        return NONE
    has, allowed = range_of(e, at.columns), type_range(e.type)
    sides = [Range(allowed.high, allowed.high) - has] if has.high > allowed.high else []
    sides += [has - Range(allowed.low, allowed.low)] if has.low < allowed.low else []
    inside = nullable(e.operand, at.columns) - 1 if isinstance(e, Cast) and e.attempt else nullable(e, at.columns)
    bits = len(sides) + inside
    return total([less(at.rows, side.bits, at.network) for side in sides]) + total([and_(at.rows)] * bits)


# --- comparisons ---------------------------------------------------------------------------------


def compared(function: str, left: Expression, right: Expression, at: At) -> Steps:
    """left <function> right, and where it is NULL."""
    if any(isinstance(side, Constant) and side.value is None for side in (left, right)):
        return NONE
    sides, nulls = _sides(left, right, at)
    known = any(nullable(side, at.columns) for side in (left, right))
    return sides + _outcome(function, left, right, at) + nulls + (and_(at.rows) if known else NONE)


def _sides(left: Expression, right: Expression, at: At) -> tuple[Steps, Steps]:
    """Of evaluating what is compared, and of finding where it is NULL."""
    if not (is_quotient(left) or is_quotient(right)):
        return total(number(side, at) for side in (left, right)), _either_null([left, right], at)
    pairs: list[Pair] = [pair_of(left), pair_of(right)]
    parts = [part for pair in pairs for part in (pair.numerator, pair.divisor) if part is not None]
    products = sum(a.numerator is not None and b.divisor is not None for a, b in (pairs, pairs[::-1]))
    return total([number(part, at) for part in parts]) + total([multiply(at.rows)] * products), _either_null(parts, at)


def _outcome(function: str, left: Expression, right: Expression, at: At) -> Steps:
    if Kind.VARCHAR in (left.type.kind, right.type.kind):
        return _texts(function, -(-max(bytes_of(left, at.columns), bytes_of(right, at.columns)) // 7), at)
    difference = _difference(left, right, at.columns)
    if function in ("=", "<>"):
        return zero(at.rows, equality_bits(difference), at.network)
    return less(at.rows, difference.bits, at.network)


def _texts(function: str, words: int, at: At) -> Steps:
    """Word by word, the length last."""
    each = [TEXT_BITS] * words
    ands = total([and_(at.rows)] * words)
    if function in ("=", "<>"):
        return zeros(at.rows, (*each, LENGTH_BITS), at.network) + all_of(words + 1, at.rows)
    lower = signs(at.rows, (*[TEXT_BITS + 1] * words, LENGTH_BITS + 1), at.network)
    return lower + zeros(at.rows, tuple(each), at.network) + ands


def all_of(terms: int, rows: int) -> Steps:
    """The AND of several bits a row, in pairs."""
    one = and_(rows, max(terms - 1, 0))
    return Steps(one.opened, max(terms - 1, 0).bit_length(), one.dealt)


def equality_bits(difference: Range) -> int:
    """Bits that tell whether a difference is 0."""
    return min(64, max(abs(difference.low), abs(difference.high), 1).bit_length())


def _difference(left: Expression, right: Expression, columns: Columns) -> Range:
    if is_quotient(left) or is_quotient(right):
        a, b = crossed(pair_of(left), pair_of(right), columns)
        return a - b
    scales = [scale_of(e.type) for e in (left, right)]
    a, b = (range_of(e, columns).times(10 ** (max(scales) - scale)) for e, scale in zip((left, right), scales, strict=True))
    return a - b


def record_of(columns: Iterable[Shared]) -> tuple[int, int]:
    """Words and bits of these columns of a row."""
    words = bits = 0
    for column in columns:
        if column.field.type.kind is Kind.BOOLEAN:
            bits += 1 + column.field.nullable
        else:
            words += 1 if column.field.type.kind is not Kind.VARCHAR else 1 + -(-column.bytes // 7)
            bits += column.field.nullable
    return words, bits
