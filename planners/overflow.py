"""Whether DuckDB might raise for an expression: what published facts do not rule out."""

from __future__ import annotations

from dataclasses import replace

from sdh.errors import Unsupported, WidthError
from sdh.planners.date_parts import part_of
from sdh.planners.expressions import Apply, Case, Cast, Constant, Expression, Ref, walk
from sdh.planners.functions import ARITHMETIC, DIVISIONS, NEVER_FAIL
from sdh.planners.intervals import Columns, type_range
from sdh.planners.ranges import division_faults, range_of


def overflows(e: Expression, columns: Columns) -> bool:
    """Whether DuckDB might raise for this node on shares: its value may lie outside its type, or it says so itself."""
    if isinstance(e, Apply) and e.function == "guarded":
        return True
    if not isinstance(e, (Apply, Cast)) or isinstance(e, Apply) and e.function not in ARITHMETIC:
        return False
    if isinstance(e, Cast) and e.attempt:
        return False
    if not (e.type.is_exact or e.type.is_temporal):
        return False
    if isinstance(e, Apply) and e.function in DIVISIONS:
        return any(division_faults(e, columns))
    return not range_of(e, columns).within(type_range(e.type))


def is_lost(e: Expression, columns: Columns) -> bool:
    """Whether a TRY_CAST on shares may be NULL where its operand is not."""
    return isinstance(e, Cast) and e.attempt and overflows(replace(e, attempt=False), columns)


def may_fail(e: Expression, columns: Columns) -> bool:
    """Whether DuckDB might raise anywhere in an expression over one owner's columns."""
    return any(_may_fail(node, columns) for node in walk(e))


def _may_fail(e: Expression, columns: Columns) -> bool:
    match e:
        case Ref() | Constant() | Case():
            return False
        case Cast(_, _, attempt) if attempt:
            return False
        case Apply(function) if function in NEVER_FAIL or part_of(e) is not None:
            return False
        case Apply(function) if function not in ARITHMETIC:
            return True
        case _:
            try:
                return not (e.type.is_exact or e.type.is_temporal) or overflows(e, columns)
            except (Unsupported, WidthError, KeyError):
                return True
