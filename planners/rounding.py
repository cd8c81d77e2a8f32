"""ROUND, FLOOR, CEIL, TRUNC and CASTs that drop decimals: numbers on shares divided by a power of ten, as DuckDB rounds.

All are one truncating division of (x + step + turn * (x < 0)) by `unit`: ROUND and CAST go half away from zero.
"""

from __future__ import annotations

from dataclasses import dataclass

from sdh.planners.expressions import Apply, Cast, Constant, Expression
from sdh.planners.intervals import Range
from sdh.schema import Type

ROUNDINGS = {"round": "round", "floor": "floor", "ceil": "ceil", "ceiling": "ceil", "trunc": "trunc"}
LARGEST_UNIT = 10**18


@dataclass(frozen=True, slots=True)
class Rounding:
    """Of a ring integer x: trunc((x + step + turn * (x < 0)) / unit) * times."""

    operand: Expression
    unit: int
    step: int = 0
    turn: int = 0
    times: int = 1

    def dividend(self, x: Range) -> Range:
        """What x becomes before it is divided."""
        turn = self.turn if x.low < 0 else 0
        return Range(x.low + self.step + turn, x.high + self.step + min(turn, 0) * (x.high < 0))

    def result(self, x: Range) -> Range:
        first, last = (self._of(end) for end in (x.low, x.high))
        return Range(first, last)

    def _of(self, x: int) -> int:
        moved = x + self.step + (self.turn if x < 0 else 0)
        return (abs(moved) // self.unit) * (-1 if moved < 0 else 1) * self.times


def rounding_of(e: Expression) -> Rounding | None:
    """How `e` rounds its operand on shares; None where it does not, or where its type is no exact number's."""
    match e:
        case Cast(operand, type_) if operand.type.is_exact and type_.is_exact and operand.type.scale > type_.scale:
            return _rounding("round", operand, operand.type.scale - type_.scale)
        case Apply(function, (operand,)) if function in ROUNDINGS:
            return _function(ROUNDINGS[function], operand, 0, e.type)
        case Apply("round" | "trunc" as function, (operand, Constant(digits, int() as kept))) if digits.is_integer:
            return _function(function, operand, kept, e.type)
        case _:
            return None


def _function(function: str, operand: Expression, kept: int, result: Type) -> Rounding | None:
    scale = operand.type.scale
    if not operand.type.is_exact or not result.is_exact or result.scale != min(max(kept, 0), scale):
        return None
    return _rounding(function, operand, max(scale - kept, 0), 10 ** max(-kept, 0))


def _rounding(function: str, operand: Expression, dropped: int, times: int = 1) -> Rounding | None:
    unit = 10**dropped
    if unit > LARGEST_UNIT:
        return None
    match function:
        case "floor":
            return Rounding(operand, unit, 0, 1 - unit, times)
        case "ceil":
            return Rounding(operand, unit, unit - 1, 1 - unit, times)
        case "round":
            return Rounding(operand, unit, unit // 2, -2 * (unit // 2), times)
        case _:
            return Rounding(operand, unit, times=times)
