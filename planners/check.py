"""What shares can compute: every expression is checked when the plan is made, so that nothing is refused in mid-run."""

from __future__ import annotations

from sdh.errors import Unsupported, WidthError
from sdh.planners.expressions import COMPARISONS, DISTINCTIONS, Apply, Cast, Constant, Expression, Ref, children
from sdh.planners.intervals import WORD, Columns
from sdh.planners.quotients import crossed, division_of, is_quotient, pair_of
from sdh.planners.ranges import bytes_of, range_of, scale_of
from sdh.schema import Kind


def check(e: Expression, columns: Columns) -> None:
    """Everything in `e` can be computed on shares. Raises Unsupported, WidthError."""
    match e:
        case Ref():
            return
        case Constant():
            _check_constant(e, columns)
        case Cast(Constant(_, None)):
            return
        case Cast(operand, type_) if type_.kind is Kind.BOOLEAN and operand.type.kind is not Kind.BOOLEAN:
            raise Unsupported(f"A {operand.type} of several owners as a condition is not supported.", advice="Compare it.")
        case Apply(function, operands) if function in DISTINCTIONS and any(is_quotient(o) for o in operands):
            raise Unsupported(
                f"A quotient {function} another value is not supported on shares.", advice="Compare with = and IS NULL."
            )
        case Apply("IS NULL", (operand,)) if is_quotient(operand):
            for part in children(operand):
                check(part, columns)
        case Apply(function, operands) if function in COMPARISONS | DISTINCTIONS | {"BETWEEN", "IN"}:
            _check_comparison(operands, columns)
        case _:
            for child in children(e):
                check(child, columns)
            if e.type.kind is Kind.VARCHAR:
                if isinstance(e, Apply) and e.function not in ("coalesce", "nullif", "greatest", "least", "guarded"):
                    raise Unsupported(
                        f"{e.function} of columns of several owners is not supported.",
                        advice="Compute it on one owner's columns.",
                    )
                bytes_of(e, columns)
            else:
                range_of(e, columns)


def _check_constant(e: Constant, columns: Columns) -> None:
    if e.value is None or e.type.kind is Kind.VARCHAR:
        return
    if e.type.kind is Kind.OTHER:
        raise Unsupported(
            f"A constant of type {e.type} beside columns of several owners is not supported.", advice="Leave it out of the query."
        )
    range_of(e, columns)


def check_output(e: Expression, columns: Columns) -> None:
    """`e` can be released: besides what `check` allows, a quotient, which is divided on shares."""
    if isinstance(e, Apply) and is_quotient(e):
        for part in e.arguments:
            check(part, columns)
        division_of(e, columns)
    else:
        check(e, columns)


def _check_comparison(operands: tuple[Expression, ...], columns: Columns) -> None:
    known = [operand for operand in operands if not (isinstance(operand, Constant) and operand.value is None)]
    if Kind.OTHER in {operand.type.kind for operand in known}:
        raise Unsupported("Comparing values of this type on shares is not supported.", advice="Compare at one owner.")
    if any(is_quotient(operand) for operand in operands):
        _check_quotients(operands, columns)
        return
    families = {_family(operand) for operand in known}
    if len(families) > 1:
        raise Unsupported(f"Comparing {' and '.join(sorted(families))} on shares is not supported.", advice="Cast at one owner.")
    for operand in operands:
        check(operand, columns)
    if families == {"numbers"}:
        _check_scales(known, columns)


def _check_scales(operands: list[Expression], columns: Columns) -> None:
    """All sides are brought to the finest scale, where they must still fit."""
    finest = max(scale_of(operand.type) for operand in operands)
    for operand in operands:
        if not range_of(operand, columns).times(10 ** (finest - scale_of(operand.type))).within(WORD):
            raise WidthError(
                f"A value of type {operand.type} might not fit 63 bits at {finest} decimals on shares.",
                advice="Declare tighter bounds= for its columns, or compare at one scale.",
            )


def _check_quotients(operands: tuple[Expression, ...], columns: Columns) -> None:
    for operand in operands:
        for part in children(operand) if is_quotient(operand) else (operand,):
            check(part, columns)
        if isinstance(operand, Apply) and operand.function == "/" and pair_of(operand).bottom(columns).low <= 0:
            raise Unsupported(
                "Comparing a quotient whose divisor may be zero or negative is not supported.",
                advice="Multiply both sides by the divisor.",
            )
    first = operands[0]
    for other in operands[1:]:
        crossed(pair_of(first), pair_of(other), columns)


def _family(e: Expression) -> str:
    return "numbers" if e.type.is_exact else "DOUBLE" if e.type.kind in (Kind.DOUBLE, Kind.FLOAT) else e.type.kind.value
