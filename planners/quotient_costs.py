"""What a quotient that is divided on shares costs (executors/quotient.py)."""

from __future__ import annotations

from sdh.planners.columns import nullable
from sdh.planners.comparing import choose
from sdh.planners.dividing import TOP, significand_cost
from sdh.planners.expression_costs import At, number
from sdh.planners.expressions import Expression
from sdh.planners.protocol_costs import NONE, Steps, and_, divided, mux, to_ring, total
from sdh.planners.quotients import division_of, pair_of


def quotient(e: Expression, at: At) -> Steps:
    """Mantissa, exponent and where it is none."""
    division, pair = division_of(e, at.columns), pair_of(e)
    parts = [part for part in (pair.numerator, pair.divisor) if part is not None]
    nulls = sum(nullable(part, at.columns) for part in parts)
    whole = total([number(part, at) for part in parts]) + total([and_(at.rows)] * (nulls - 1))
    tree = choose(2 * at.rows, TOP + 2, at.network)
    whole += divided(significand_cost(division.top, division.bottom, tree), at.rows)
    return whole + and_(at.rows) + (and_(at.rows, 4) if nulls else NONE) + mux(at.rows, 2)


def ordered(e: Expression, at: At) -> Steps:
    """As two limbs in its order."""
    return quotient(e, at) + total([and_(at.rows)] * 2) + to_ring(at.rows, 4) + mux(at.rows, 2)
