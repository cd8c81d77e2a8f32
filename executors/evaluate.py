"""Expressions on shares: bound expressions to values, with SQL's three-valued logic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import assert_never

import torch
from torch import Tensor

from sdh.errors import InternalError
from sdh.executors import bits
from sdh.executors.arithmetic import multiply, mux_many, to_arithmetic
from sdh.executors.bits import Bits
from sdh.executors.codes import code_of_double
from sdh.executors.compare import is_zero_many, less, less_wide, msb
from sdh.executors.divide import divide, divide_by
from sdh.executors.predicates import Compared, compare
from sdh.executors.runtime import Session
from sdh.executors.shares import raw
from sdh.executors.text import constant_text
from sdh.executors.values import Number, Relation, Text, Truth, Value, false_of, null_of
from sdh.planners import ranges
from sdh.planners.expressions import COMPARISONS, Apply, Case, Cast, Constant, Expression, Ref, children, conjuncts, walk
from sdh.planners.quotients import Pair, crossed, is_quotient, pair_of
from sdh.planners.ranges import (
    DIVISIONS,
    REMAINDERS,
    Columns,
    Range,
    bytes_of,
    choice_range,
    division_faults,
    factor_to,
    operand,
    overflows,
    range_of,
    type_range,
)
from sdh.schema import Kind, Type


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


def evaluate(e: Expression, scope: Scope) -> Value:
    """The value of an expression that `planners.check` allowed, in every row."""
    match e:
        case Ref(f):
            return scope.relation.columns[f.number]
        case Constant():
            return _constant(e, scope)
        case Case():
            return _case(e, scope)
        case Cast(operand, type_):
            return _cast(operand, type_, e, scope)
        case Apply(function) if function in COMPARISONS or function in ("BETWEEN", "IN"):
            return _comparison(e, scope)
        case Apply():
            return _apply(e, scope)
        case _:
            assert_never(e)


def number(e: Expression, scope: Scope) -> Number:
    return as_number(evaluate(e, scope), scope)


def as_number(found: Value, scope: Scope) -> Number:
    """A BOOLEAN as 0 or 1; a number as it is."""
    match found:
        case Number():
            return found
        case Truth(true):
            return Number(raw(to_arithmetic(scope.session, true)), null_of(found, scope.session))
        case _:
            raise InternalError("A text stood where a number was planned.")


def truth(e: Expression, scope: Scope) -> Truth:
    if _is_null(e):
        return Truth(scope.bit(False), scope.bit(False))
    found = evaluate(e, scope)
    if not isinstance(found, Truth):
        raise InternalError("A number stood where a condition was planned.")
    return found


def _constant(e: Constant, scope: Scope) -> Value:
    null = scope.bit(True) if e.value is None else None
    match e.type.kind:
        case Kind.BOOLEAN:
            return Truth(scope.bit(e.value is True), None if null is None else scope.bit(False))
        case Kind.VARCHAR:
            text = e.value if isinstance(e.value, str) else ""
            words = constant_text(text)
            return Text(tuple(scope.constant(word) for word in words), null)
        case _:
            return Number(scope.constant(_ring(e)), null)


def _ring(e: Constant) -> int:
    match e.value:
        case None:
            return 0
        case float() as value:
            return code_of_double(value)
        case str():
            raise InternalError("A constant of a type that shares do not hold.")
        case value:
            return int(value)


def rescaled(e: Expression, target: Type, scope: Scope) -> Number:
    found = number(e, scope)
    if isinstance(e, Constant) and e.value is None:
        return found
    factor = factor_to(e.type, target)
    return found if factor == 1 else Number(found.share * factor, found.null)


def either_null(scope: Scope, *values: Value) -> Bits | None:
    """NULL where any of the values is."""
    found = [null for value in values if (null := null_of(value, scope.session)) is not None]
    while len(found) > 1:
        met = bits.or_many(scope.session, list(zip(found[0::2], found[1::2], strict=False)))
        found = met + found[2 * len(met) :]
    return found[0] if found else None


# --- arithmetic ----------------------------------------------------------------------------------


def _apply(e: Apply, scope: Scope) -> Value:
    session = scope.session
    match e.function, e.arguments:
        case "+" | "-", (left, right):
            a, b = rescaled(left, e.type, scope), rescaled(right, e.type, scope)
            share = a.share + b.share if e.function == "+" else a.share - b.share
            return _checked(e, Number(share, either_null(scope, a, b)), scope)
        case "*", (left, right):
            a, b = number(left, scope), number(right, scope)
            return _checked(e, Number(_product(left, a, right, b, scope), either_null(scope, a, b)), scope)
        case function, (left, right) if function in DIVISIONS:
            return _divided(e, left, right, scope)
        case "negate", (operand,):
            a = number(operand, scope)
            return _checked(e, Number(-a.share, a.null), scope)
        case "abs", (operand,):
            return _checked(e, _absolute(number(operand, scope), range_of(operand, scope.columns), scope), scope)
        case "IS NULL", (operand,):
            parts = children(operand) if is_quotient(operand) else (operand,)
            null = either_null(scope, *(evaluate(part, scope) for part in parts))
            return Truth(scope.bit(False) if null is None else null)
        case "NOT", (operand,):
            inner = truth(operand, scope)
            if inner.false is None:
                return Truth(bits.not_(session, inner.true))
            return Truth(inner.false, inner.true)
        case "AND" | "OR", arguments:
            return _connective(e.function, _guarded_truths(e.function, arguments, scope), scope)
        case "IS DISTINCT FROM" | "IS NOT DISTINCT FROM", (left, right):
            return _distinct(e, left, right, scope)
        case "coalesce" | "greatest" | "least", arguments:
            return _choice(e, arguments, scope)
        case "nullif", (left, right):
            return _nullif(e, left, right, scope)
        case "guarded", (value, failed):
            scope.fail(truth(failed, scope).true)
            return evaluate(value, scope)
        case function, _:
            raise InternalError(f"{function} was planned on shares.")


def _product(left: Expression, a: Number, right: Expression, b: Number, scope: Scope) -> Tensor:
    for constant, other in ((left, b), (right, a)):
        if isinstance(constant, Constant):
            return other.share * _ring(constant)
    return raw(multiply(scope.session, a.share, b.share))


def _divided(e: Apply, left: Expression, right: Expression, scope: Scope) -> Number:
    """Quotient or remainder; an error bit for rows that are there, not NULL, and have none."""
    if _is_null(left) or _is_null(right):
        return Number(scope.constant(0), scope.bit(True))
    session = scope.session
    a, b = rescaled(left, e.type, scope), rescaled(right, e.type, scope)
    null, (x, d) = either_null(scope, a, b), (ranges.rescaled(side, e.type, scope.columns) for side in (left, right))
    bad = _no_quotient(e, a, b, x, d, scope)
    if bad is not None:
        scope.fail(bad if null is None else bits.and_(session, bad, bits.not_(session, null)))
    dividend, divisor = operand(x), operand(d)
    if d.low == d.high:
        found = divide_by(session, a.share, dividend.bits, d.low or 1, dividend_signed=dividend.signed)
    else:
        found = divide(session, a.share, dividend.bits, b.share, divisor.bits, dividend_signed=dividend.signed,
                       divisor_signed=divisor.signed)  # fmt: skip
    return Number(raw(found[e.function in REMAINDERS]), null)


def _no_quotient(e: Apply, a: Number, b: Number, x: Range, d: Range, scope: Scope) -> Bits | None:
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


def _absolute(a: Number, range_: Range, scope: Scope) -> Number:
    if range_.low >= 0:
        return a
    negative = msb(scope.session, a.share, min(range_.bits, 64))
    [[part]] = mux_many(scope.session, [(negative, [a.share])])
    return Number(a.share - 2 * raw(part), a.null)


def _checked(e: Expression, found: Number, scope: Scope) -> Number:
    """Where DuckDB might raise an overflow: an error bit for the rows that are there and not NULL."""
    if not overflows(e, scope.columns):
        return found
    session, allowed, has = scope.session, type_range(e.type), range_of(e, scope.columns)
    outside: list[Bits] = []
    if has.high > allowed.high:
        outside.append(_less_than(scope, Number(scope.constant(allowed.high)), Range(allowed.high, allowed.high), found, has))
    if has.low < allowed.low:
        outside.append(_less_than(scope, found, has, Number(scope.constant(allowed.low)), Range(allowed.low, allowed.low)))
    bad = outside[0] if len(outside) == 1 else bits.or_(session, outside[0], outside[1])
    if found.null is not None:
        bad = bits.and_(session, bad, bits.not_(session, found.null))
    scope.fail(bad)
    return found


def _less_than(scope: Scope, a: Number, a_range: Range, b: Number, b_range: Range) -> Bits:
    difference = a_range - b_range
    if difference.bits <= 64:
        return less(scope.session, a.share, b.share, difference.bits)
    return less_wide(scope.session, a.share, b.share)


# --- conditions ----------------------------------------------------------------------------------


def _guarded_truths(function: str, arguments: Sequence[Expression], scope: Scope) -> list[Truth]:
    """The parts of an AND or OR, those that may fail last: they count where no other has decided the outcome."""
    found: list[Truth] = []
    for argument in sorted(arguments, key=scope.may_fail):
        reached = scope
        if scope.may_fail(argument):
            for t in found:
                decided = false_of(t, scope.session) if function == "AND" else t.true
                reached = reached.where(bits.not_(scope.session, decided))
        found.append(truth(argument, reached))
    return found


def _connective(function: str, parts: Sequence[Truth], scope: Scope) -> Truth:
    found = parts[0]
    for part in parts[1:]:
        found = (
            _and(found, part, scope)
            if function == "AND"
            else _negated(_and(_negated(found, scope), _negated(part, scope), scope), scope)
        )
    return found


def _negated(t: Truth, scope: Scope) -> Truth:
    return Truth(bits.not_(scope.session, t.true)) if t.false is None else Truth(t.false, t.true)


def _and(a: Truth, b: Truth, scope: Scope) -> Truth:
    """TRUE where both are, FALSE where one is."""
    if a.false is None and b.false is None:
        return Truth(bits.and_(scope.session, a.true, b.true))
    session = scope.session
    not_false = [bits.not_(session, false_of(t, session)) for t in (a, b)]
    true, possible = bits.and_many(session, [(a.true, b.true), (not_false[0], not_false[1])])
    return Truth(true, bits.not_(session, possible))


def _comparison(e: Apply, scope: Scope) -> Truth:
    match e.function, e.arguments:
        case "BETWEEN", (operand, low, high):
            parts = [compare_two(">=", operand, low, scope), compare_two("<=", operand, high, scope)]
            return _connective("AND", parts, scope)
        case "IN", (operand, *items):
            return _connective("OR", [compare_two("=", operand, item, scope) for item in items], scope)
        case function, (left, right):
            return compare_two(function, left, right, scope)
        case _:
            raise InternalError("A comparison of another shape was planned.")


def compare_two(function: str, left: Expression, right: Expression, scope: Scope) -> Truth:
    """left <function> right; NULL where either is."""
    if any(isinstance(side, Constant) and side.value is None for side in (left, right)):
        return Truth(scope.bit(False), scope.bit(False))
    if is_quotient(left) or is_quotient(right):
        return _compare_pairs(function, pair_of(left), pair_of(right), scope)
    a, b = operand_of(left, right, scope), operand_of(right, left, scope)
    return _with_null(compare(scope.session, function, a, b), either_null(scope, a.value, b.value), scope)


def _with_null(outcome: Bits, null: Bits | None, scope: Scope) -> Truth:
    if null is None:
        return Truth(outcome)
    known = bits.not_(scope.session, null)
    true = bits.and_(scope.session, outcome, known)
    return Truth(true, bits.xor(known, true))


def holds(predicate: Expression, scope: Scope) -> Bits | None:
    """The validity of rows where the predicate is TRUE. Conjuncts that may fail come last: earlier ones guard them."""
    parts = conjuncts(predicate)
    for part in sorted(parts, key=scope.may_fail):
        scope = scope.where(truth(part, scope).true)
    return scope.relation.valid


def operand_of(e: Expression, other: Expression, scope: Scope) -> Compared:
    """A side of a comparison, as integers of the scale that both sides share, with its range."""
    if e.type.kind is Kind.VARCHAR:
        return Compared(evaluate(e, scope), Range(0, 0))
    if e.type.is_exact and other.type.is_exact:
        target = e.type if _scale(e) >= _scale(other) else other.type
        factor = 10 ** (_scale_of(target) - _scale(e))
        found, range_ = number(e, scope), range_of(e, scope.columns)
        return Compared(Number(found.share * factor, found.null), range_.times(factor))
    return Compared(number(e, scope), range_of(e, scope.columns))


def _scale(e: Expression) -> int:
    return _scale_of(e.type)


def _scale_of(type_: Type) -> int:
    return type_.scale if type_.kind is Kind.DECIMAL else 0


def _compare_pairs(function: str, a: Pair, b: Pair, scope: Scope) -> Truth:
    """Quotients by cross-multiplication: both divisors are positive where they are not NULL."""
    ranges = crossed(a, b, scope.columns)
    parts = {
        name: None if e is None else number(e, scope)
        for name, e in (("a", a.numerator), ("b", a.divisor), ("c", b.numerator), ("d", b.divisor))
    }
    left = _cross(parts["a"], a.up, parts["d"], b.down, scope)
    right = _cross(parts["c"], b.up, parts["b"], a.down, scope)
    outcome = compare(scope.session, function, Compared(Number(left), ranges[0]), Compared(Number(right), ranges[1]))
    return _with_null(outcome, either_null(scope, *(p for p in parts.values() if p is not None)), scope)


def _cross(x: Number | None, up: int, y: Number | None, down: int, scope: Scope) -> Tensor:
    factor = up * down
    match x, y:
        case None, None:
            return scope.constant(factor)
        case Number(share), None:
            return share * factor
        case None, Number(share):
            return share * factor
        case Number(first), Number(second):
            return raw(multiply(scope.session, first, second)) * factor
        case _:
            raise InternalError("A pair of another shape was planned.")


def _distinct(e: Apply, left: Expression, right: Expression, scope: Scope) -> Truth:
    """IS [NOT] DISTINCT FROM: NULLs are equal to each other. Never NULL."""
    session = scope.session
    equal = compare_two("=", left, right, scope).true
    nulls = [null_of(evaluate(side, scope), session) for side in (left, right)]
    if nulls[0] is not None and nulls[1] is not None:
        equal = bits.xor(equal, bits.and_(session, nulls[0], nulls[1]))
    return Truth(bits.not_(session, equal) if e.function == "IS DISTINCT FROM" else equal)


# --- choices -------------------------------------------------------------------------------------


def _case(e: Case, scope: Scope) -> Value:
    """From the last branch up: where a condition is TRUE its value replaces what later branches gave."""
    otherwise = Constant(e.type, None, "NULL") if e.default is None else e.default
    conditions: list[Bits] = []
    values: list[Value] = []
    width = bytes_of(e, scope.columns) if e.type.kind is Kind.VARCHAR else 0
    for when, then in e.branches:
        reached = _none_of(conditions, scope) if scope.may_fail(when) or scope.may_fail(then) else scope
        conditions.append(truth(when, reached).true)
        values.append(typed(then, e.type, reached.where(conditions[-1]) if scope.may_fail(then) else scope, width))
    found = typed(otherwise, e.type, _none_of(conditions, scope) if scope.may_fail(otherwise) else scope, width)
    for condition, value in zip(reversed(conditions), reversed(values), strict=True):
        found = chosen(condition, value, found, scope)
    return found


def _none_of(conditions: Sequence[Bits], scope: Scope) -> Scope:
    """Where no earlier branch was taken: what a branch that is not reached would do does not fail."""
    for condition in conditions:
        scope = scope.where(bits.not_(scope.session, condition))
    return scope


def typed(e: Expression, type_: Type, scope: Scope, width: int) -> Value:
    """A value as one of `type_`, a text with at least `width` bytes of words."""
    if type_.kind is Kind.BOOLEAN:
        return truth(e, scope)
    if type_.kind is Kind.VARCHAR:
        found = evaluate(e, scope) if not _is_null(e) else Text((scope.constant(0),), scope.bit(True))
        assert isinstance(found, Text)
        missing = -(-width // 7) + 1 - len(found.words)
        return Text((*found.words[:-1], *(scope.constant(0) for _ in range(missing)), found.words[-1]), found.null)
    return rescaled(e, type_, scope)


def _is_null(e: Expression) -> bool:
    return isinstance(e, Constant) and e.value is None


def chosen(bit: Bits, value: Value, otherwise: Value, scope: Scope) -> Value:
    """`value` where the bit is set, else `otherwise`; both of one shape."""
    session = scope.session
    match value, otherwise:
        case Number(a), Number(b):
            [[moved]] = mux_many(session, [(bit, [a - b])])
            return Number(b + raw(moved), _chosen_null(bit, value, otherwise, scope))
        case Text(words), Text(others):
            length = max(len(words), len(others))
            first, second = _widened(words, length, scope), _widened(others, length, scope)
            [moved_words] = mux_many(session, [(bit, [a - b for a, b in zip(first, second, strict=True)])])
            return Text(
                tuple(b + raw(m) for b, m in zip(second, moved_words, strict=True)), _chosen_null(bit, value, otherwise, scope)
            )
        case Truth(), Truth():
            true = _chosen_bit(bit, value.true, otherwise.true, scope)
            if value.false is None and otherwise.false is None:
                return Truth(true)
            return Truth(true, _chosen_bit(bit, false_of(value, session), false_of(otherwise, session), scope))
        case _:
            raise InternalError("Values of two kinds met in a choice.")


def _widened(words: tuple[Tensor, ...], length: int, scope: Scope) -> list[Tensor]:
    return [*words[:-1], *(scope.constant(0) for _ in range(length - len(words))), words[-1]]


def _chosen_bit(bit: Bits, a: Bits, b: Bits, scope: Scope) -> Bits:
    return bits.xor(b, bits.and_(scope.session, bit, bits.xor(a, b)))


def _chosen_null(bit: Bits, value: Number | Text, otherwise: Number | Text, scope: Scope) -> Bits | None:
    if value.null is None and otherwise.null is None:
        return None
    a, b = value.null or scope.bit(False), otherwise.null or scope.bit(False)
    return _chosen_bit(bit, a, b, scope)


def _choice(e: Apply, arguments: Sequence[Expression], scope: Scope) -> Value:
    """COALESCE, GREATEST, LEAST: NULL arguments are skipped."""
    session = scope.session
    width = bytes_of(e, scope.columns) if e.type.kind is Kind.VARCHAR else 0
    found = typed(arguments[0], e.type, scope, width)
    for argument in arguments[1:]:
        null = null_of(found, session)
        if e.function == "coalesce":
            if null is not None:
                reached = scope.where(null) if scope.may_fail(argument) else scope
                found = chosen(null, typed(argument, e.type, reached, width), found, scope)
            continue
        value = typed(argument, e.type, scope, width)
        if isinstance(found, Truth):
            found = _extreme_truth(e.function, found, truth(argument, scope), scope)
            continue
        better = compare(
            session, ">" if e.function == "greatest" else "<", _compared(value, e, scope), _compared(found, e, scope)
        )
        own = null_of(value, session)
        take = better if null is None else bits.or_(session, better, null)
        take = take if own is None else bits.and_(session, take, bits.not_(session, own))
        found = chosen(take, value, found, scope)
    return found


def _extreme_truth(function: str, a: Truth, b: Truth, scope: Scope) -> Truth:
    """GREATEST is TRUE where one is, else FALSE where one is; LEAST the other way round."""
    session = scope.session
    (first, second), (third, fourth) = (a.true, b.true), (false_of(a, session), false_of(b, session))
    if function == "least":
        first, second, third, fourth = third, fourth, first, second
    wins, other = bits.or_many(session, [(first, second), (third, fourth)])
    loses = bits.and_(session, other, bits.not_(session, wins))
    return Truth(wins, loses) if function == "greatest" else Truth(loses, wins)


def _compared(value: Value, e: Apply, scope: Scope) -> Compared:
    if isinstance(value, Truth):
        raise InternalError("GREATEST of BOOLEAN was planned.")
    return Compared(value, Range(0, 0) if isinstance(value, Text) else choice_range(e, scope.columns))


def _nullif(e: Apply, left: Expression, right: Expression, scope: Scope) -> Value:
    """The left, NULL where it equals the right."""
    session = scope.session
    found = typed(left, e.type, scope, 0)
    equal = compare_two("=", left, right, scope).true
    if isinstance(found, Truth):
        kept = bits.not_(session, equal)
        true, false = bits.and_many(session, [(found.true, kept), (false_of(found, session), kept)])
        return Truth(true, false)
    null = equal if found.null is None else bits.or_(session, found.null, equal)
    return Number(found.share, null) if isinstance(found, Number) else Text(found.words, null)


def _cast(operand: Expression, type_: Type, e: Cast, scope: Scope) -> Value:
    if type_.kind in (Kind.BOOLEAN, Kind.VARCHAR):
        return typed(operand, type_, scope, 0)
    return _checked(e, rescaled(operand, type_, scope), scope)
