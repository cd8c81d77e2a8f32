"""What the form of an expression bounds it to, whatever its columns hold: LEAST(GREATEST(x, 0), 9) lies between 0 and 9.

Its owner computes it in the clear, so that the width of x does not matter.
"""

from __future__ import annotations

from functools import reduce
from operator import or_

from sdh.planners.expressions import Apply, Case, Constant, Expression, Ref
from sdh.planners.intervals import Columns, Range, type_range
from sdh.schema import Type


def formed_range(e: Expression, columns: Columns) -> Range:
    """Of its ring integers, of any width. Raises ValueError for VARCHAR and OTHER."""
    match e:
        case Ref(field) if field.number in columns:
            return columns[field.number].range
        case Constant(type_, bool() | int() as value) if type_.is_exact:
            return Range(int(value), int(value))
        case Apply("greatest" | "least" | "coalesce" as function, arguments, type_) if _alike(arguments, type_):
            return _chosen(function, [(formed_range(a, columns), a.nullable) for a in arguments])
        case Case(branches, default, type_):
            values = [value for _, value in branches] + ([] if default is None else [default])
            return reduce(or_, [formed_range(value, columns) for value in values]) if _alike(values, type_) else type_range(type_)
        case _:
            return type_range(e.type)


def _alike(values: tuple[Expression, ...] | list[Expression], type_: Type) -> bool:
    return type_.is_exact and all(value.type == type_ for value in values)


def _chosen(function: str, found: list[tuple[Range, bool]]) -> Range:
    """The greatest is no less than what is surely there, the least no more; NULLs are passed over."""
    whole, sure = reduce(or_, [one for one, _ in found]), [one for one, absent in found if not absent]
    match function:
        case "greatest":
            return Range(max([whole.low, *(one.low for one in sure)]), whole.high)
        case "least":
            return Range(whole.low, min([whole.high, *(one.high for one in sure)]))
        case _:
            return whole
