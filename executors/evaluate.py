"""Expressions on shares: bound expressions to values, with SQL's three-valued logic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from torch import Tensor

from sdh.errors import InternalError
from sdh.executors import bits
from sdh.executors.arithmetic import multiply, mux_many, to_arithmetic
from sdh.executors.bits import Bits
from sdh.executors.choosing import chosen
from sdh.executors.compare import msb
from sdh.executors.constants import constant_value, is_null, ring_of
from sdh.executors.divide import divide, divide_by
from sdh.executors.faults import checked, no_quotient, tried
from sdh.executors.logic import connective, extreme_truth, negated, with_null
from sdh.executors.predicates import Compared, compare
from sdh.executors.rounding import rounded
from sdh.executors.scope import Scope, either_null
from sdh.executors.shares import raw
from sdh.executors.values import Number, Text, Truth, Value, false_of, null_of
from sdh.planners import ranges
from sdh.planners.expressions import COMPARISONS, Apply, Case, Cast, Constant, Expression, Ref, children, conjuncts
from sdh.planners.functions import DIVISIONS, REMAINDERS
from sdh.planners.intervals import Range
from sdh.planners.quotients import Pair, crossed, is_quotient, pair_of
from sdh.planners.ranges import bytes_of, choice_range, factor_to, operand, range_of, scale_of
from sdh.planners.rounding import ROUNDINGS, rounding_of
from sdh.schema import Kind, Type


def evaluate(e: Expression, scope: Scope) -> Value:
    """The value of an expression that `planners.check` allowed, in every row."""
    match e:
        case Ref(f):
            return scope.relation.columns[f.number]
        case Constant():
            return constant_value(e, scope)
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
    if is_null(e):
        return Truth(scope.bit(False), scope.bit(False))
    found = evaluate(e, scope)
    if not isinstance(found, Truth):
        raise InternalError("A number stood where a condition was planned.")
    return found


def rescaled(e: Expression, target: Type, scope: Scope) -> Number:
    found = number(e, scope)
    if isinstance(e, Constant) and e.value is None:
        return found
    factor = factor_to(e.type, target)
    return found if factor == 1 else Number(found.share * factor, found.null)


# --- arithmetic ---

def _apply(e: Apply, scope: Scope) -> Value:
    match e.function, e.arguments:
        case "+" | "-", (left, right):
            a, b = rescaled(left, e.type, scope), rescaled(right, e.type, scope)
            share = a.share + b.share if e.function == "+" else a.share - b.share
            return checked(e, Number(share, either_null(scope, a, b)), scope)
        case "*", (left, right):
            a, b = number(left, scope), number(right, scope)
            return checked(e, Number(_product(left, a, right, b, scope), either_null(scope, a, b)), scope)
        case function, (left, right) if function in DIVISIONS:
            return _divided(e, left, right, scope)
        case "negate", (operand,):
            a = number(operand, scope)
            return checked(e, Number(-a.share, a.null), scope)
        case "abs", (operand,):
            return checked(e, _absolute(number(operand, scope), range_of(operand, scope.columns), scope), scope)
        case function, _ if function in ROUNDINGS:
            return _rounded(e, scope)
        case "IS NULL", (operand,):
            parts = children(operand) if is_quotient(operand) else (operand,)
            null = either_null(scope, *(evaluate(part, scope) for part in parts))
            return Truth(scope.bit(False) if null is None else null)
        case "NOT", (operand,):
            return negated(truth(operand, scope), scope)
        case "AND" | "OR", arguments:
            return connective(e.function, _guarded_truths(e.function, arguments, scope), scope)
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
            return other.share * ring_of(constant)
    return raw(multiply(scope.session, a.share, b.share))


def _divided(e: Apply, left: Expression, right: Expression, scope: Scope) -> Number:
    """Quotient or remainder; an error bit for rows that are there, not NULL, and have none."""
    if is_null(left) or is_null(right):
        return Number(scope.constant(0), scope.bit(True))
    session = scope.session
    a, b = rescaled(left, e.type, scope), rescaled(right, e.type, scope)
    null, (x, d) = either_null(scope, a, b), (ranges.rescaled(side, e.type, scope.columns) for side in (left, right))
    bad = no_quotient(e, a, b, x, d, scope)
    if bad is not None:
        scope.fail(bad if null is None else bits.and_(session, bad, bits.not_(session, null)))
    dividend, divisor = operand(x), operand(d)
    if d.low == d.high:
        found = divide_by(session, a.share, dividend.bits, d.low or 1, dividend_signed=dividend.signed)
    else:
        found = divide(session, a.share, dividend.bits, b.share, divisor.bits, dividend_signed=dividend.signed,
                       divisor_signed=divisor.signed)  # fmt: skip
    return Number(raw(found[e.function in REMAINDERS]), null)


def _rounded(e: Expression, scope: Scope) -> Number:
    rounding = rounding_of(e)
    assert rounding is not None
    return rounded(rounding, number(rounding.operand, scope), range_of(rounding.operand, scope.columns), scope)


def _absolute(a: Number, range_: Range, scope: Scope) -> Number:
    if range_.low >= 0:
        return a
    negative = msb(scope.session, a.share, min(range_.bits, 64))
    [[part]] = mux_many(scope.session, [(negative, [a.share])])
    return Number(a.share - 2 * raw(part), a.null)


# --- conditions ---

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


def _comparison(e: Apply, scope: Scope) -> Truth:
    match e.function, e.arguments:
        case "BETWEEN", (operand, low, high):
            parts = [compare_two(">=", operand, low, scope), compare_two("<=", operand, high, scope)]
            return connective("AND", parts, scope)
        case "IN", (operand, *items):
            return connective("OR", [compare_two("=", operand, item, scope) for item in items], scope)
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
    return with_null(compare(scope.session, function, a, b), either_null(scope, a.value, b.value), scope)


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
        target = e.type if scale_of(e.type) >= scale_of(other.type) else other.type
        factor = 10 ** (scale_of(target) - scale_of(e.type))
        found, range_ = number(e, scope), range_of(e, scope.columns)
        return Compared(Number(found.share * factor, found.null), range_.times(factor))
    return Compared(number(e, scope), range_of(e, scope.columns))


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
    return with_null(outcome, either_null(scope, *(p for p in parts.values() if p is not None)), scope)


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


# --- choices ---

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
        found = evaluate(e, scope) if not is_null(e) else Text((scope.constant(0),), scope.bit(True))
        assert isinstance(found, Text)
        missing = -(-width // 7) + 1 - len(found.words)
        return Text((*found.words[:-1], *(scope.constant(0) for _ in range(missing)), found.words[-1]), found.null)
    return rescaled(e, type_, scope)


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
            found = extreme_truth(e.function, found, truth(argument, scope), scope)
            continue
        better = compare(
            session, ">" if e.function == "greatest" else "<", _compared(value, e, scope), _compared(found, e, scope)
        )
        own = null_of(value, session)
        take = better if null is None else bits.or_(session, better, null)
        take = take if own is None else bits.and_(session, take, bits.not_(session, own))
        found = chosen(take, value, found, scope)
    return found


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
    found = rescaled(operand, type_, scope) if rounding_of(e) is None else _rounded(e, scope)
    return tried(e, found, scope) if e.attempt else checked(e, found, scope)
