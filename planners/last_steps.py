"""What the client works out itself, of one released quotient and constants: round(avg(x), 2), 100 * (sum(a) / sum(b)).

A quotient of two owners' numbers is released as the DOUBLE nearest to it; what follows is DuckDB's arithmetic on DOUBLEs. The
client learns the quotient, which the same grants and floors let it ask for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sdh.planners.expressions import Apply, Cast, Constant, Expression, Field, Ref, children, transform, walk
from sdh.planners.logical import Node, Noised, nodes
from sdh.planners.quotients import is_quotient
from sdh.planners.rounding import ROUNDINGS

Outputs = tuple[tuple[Field, Expression], ...]
STEPS = frozenset(ROUNDINGS) | {"+", "-", "*", "/", "negate", "abs"}


@dataclass(frozen=True, slots=True)
class Step:
    """The output at a place, as an expression over what is released there, `input`."""

    place: int
    input: Field
    value: Expression


def last_steps(node: Node, outputs: Outputs) -> tuple[Outputs, tuple[Step, ...]]:
    """The outputs of a query without what the client does last, and that; node: all of the query.

    A square root is taken of noisy numbers alone: that an exact number has none would be an error that nobody was told of.
    """
    allowed = STEPS | {"sqrt"} if any(isinstance(one, Noised) for one in nodes(node)) else STEPS
    released, steps = list(outputs), []
    for place, (field, e) in enumerate(outputs):
        quotient = _quotient(e, allowed)
        if quotient is not None and quotient != e:
            input = replace(field, name="its quotient", type=quotient.type, nullable=quotient.nullable)
            released[place] = replace(field, type=quotient.type, nullable=quotient.nullable), quotient
            steps.append(Step(place, input, _over(e, quotient, Ref(input))))
    return tuple(released), tuple(steps)


def _quotient(e: Expression, allowed: frozenset[str]) -> Expression | None:
    """The one quotient that an expression is made of, beside constants; None if there is another thing in it."""
    found = _parts(e, allowed)
    return found.pop() if found is not None and len(found) == 1 else None


def _parts(e: Expression, allowed: frozenset[str]) -> set[Expression] | None:
    match e:
        case Constant():
            return set()
        case Apply() if is_quotient(e) and not any(is_quotient(part) for child in children(e) for part in walk(child)):
            return {e}
        case Cast(operand, _, False):
            return _parts(operand, allowed)
        case Apply(function, arguments) if function in allowed:
            found = [_parts(argument, allowed) for argument in arguments]
            return None if any(one is None for one in found) else set().union(*(one for one in found if one is not None))
        case _:
            return None


def _over(e: Expression, quotient: Expression, value: Expression) -> Expression:
    return transform(e, lambda part: value if part == quotient else None)
