"""EXTRACT of a date, which its owner computes: which values a part takes, and that it cannot fail.

Of an infinite date DuckDB gives NULL.
"""

from __future__ import annotations

from sdh.planners.expressions import Apply, Constant, Expression

DAYS_IN_400_YEARS = 146_097
FIXED = {"quarter": (1, 4), "month": (1, 12), "day": (1, 31), "dow": (0, 6), "isodow": (1, 7), "doy": (1, 366)}
PARTS = frozenset({"year", *FIXED})
"""Week and ISO year are none of these: they fail at the end of all days."""


def part_of(e: Expression) -> tuple[str, Expression] | None:
    """The part's name and the date of EXTRACT(year FROM d), date_part('year', d) and year(d); None for anything else."""
    match e:
        case Apply("date_part", (Constant(_, str() as part), operand)) if part.lower() in PARTS and operand.type.is_temporal:
            return part.lower(), operand
        case Apply("year" | "month" | "day" as part, (operand,)) if operand.type.is_temporal:
            return part, operand
        case _:
            return None


def part_range(part: str, first: int, last: int) -> tuple[int, int]:
    """The least and greatest value of a part of the days from `first` to `last`, counted from 1970-01-01."""
    if part != "year":
        return FIXED[part]
    return 1970 + 400 * first // DAYS_IN_400_YEARS - 1, 1970 + 400 * last // DAYS_IN_400_YEARS + 1
