"""Conditions on what a private aggregate takes, as its FILTER: SUM(CASE WHEN f THEN x ELSE 0 END) is SUM(x) FILTER (WHERE f).

A row of NULL is nothing to any aggregate; a row of 0 is nothing to a sum whose bounds have room for 0, since a unit without rows
adds 0 too.
"""

from __future__ import annotations

from dataclasses import replace

from sdh.planners.expressions import Case, Constant, Expression, conjunction, conjuncts
from sdh.planners.logical import Call


def with_filter(call: Call, *, zero: bool) -> Call:
    """zero: a row of 0 is nothing to it."""
    match call.arguments:
        case (Case(((condition, value),), default, type_),) if value.type == type_ and _is_nothing(default, zero=zero):
            return replace(call, arguments=(value,), filter=conjunction([*conjuncts(call.filter), condition]))
        case _:
            return call


def _is_nothing(default: Expression | None, *, zero: bool) -> bool:
    match default:
        case None | Constant(value=None):
            return True
        case Constant(_, value):
            return zero and value == 0
        case _:
            return False
