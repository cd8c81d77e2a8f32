"""Rule: EXISTS with equalities and one inequality asks across owners for the least and greatest value of each key.

Some row with the key has r <> x where its least or greatest r is not x, and r < x where the least is: so the other side has
one row for a key, as in Q21, where it had many.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count

from sdh.planners.expressions import MIRRORED, Apply, Expression, Field, Ref, conjunction, conjuncts, references
from sdh.planners.facts import known
from sdh.planners.logical import Aggregate, Call, Join, Node, Scan, bottom_up, fields, nodes
from sdh.schema import BOOLEAN

EXTREMES = {"<>": ("min", "max"), "<": ("min",), "<=": ("min",), ">": ("max",), ">=": ("max",)}


def extremes_by_key(node: Node) -> Node:
    """SEMI and ANTI joins of several owners' rows. After it a SEMI join has one match at most (see `match_once`)."""
    numbers = count(1 + max((f.number for n in nodes(node) for f in fields(n)), default=0))
    return bottom_up(node, lambda one: _grouped(one, numbers) if isinstance(one, Join) else one)


def _grouped(join: Join, numbers: Iterator[int]) -> Node:
    if join.kind not in ("SEMI", "ANTI") or len(_owners(join)) < 2:
        return join
    own = frozenset(f.number for f in fields(join.right))
    sides = [_sides(c, own) for c in conjuncts(join.condition)]
    equal = [(inner, outer) for function, inner, outer in filter(None, sides) if function == "="]
    other = [side for side in sides if side is not None and side[0] in EXTREMES]
    if not equal or len(other) != 1 or len(equal) + 1 != len(sides):
        return join
    [(function, value, outer)] = other
    keys = {inner.number: inner for inner, _ in equal}
    exact = value.type.is_exact or value.type.is_temporal
    if not exact or any(key <= keys.keys() for key in known(join.right).keys):
        return join
    renamed = {number: replace(key, number=next(numbers)) for number, key in keys.items()}
    calls = tuple(Call(Field(next(numbers), name, value.type), name, (Ref(value),)) for name in EXTREMES[function])
    grouped = Aggregate(join.right, tuple((renamed[number], Ref(key)) for number, key in keys.items()), calls)
    asked = [Apply(function, (Ref(call.output), outer), BOOLEAN) for call in calls]
    whole = asked[0] if len(asked) == 1 else Apply("OR", tuple(asked), BOOLEAN)
    joined = [Apply("=", (outer, Ref(renamed[inner.number])), BOOLEAN) for inner, outer in equal]
    return replace(join, right=grouped, condition=conjunction([*joined, whole]))


def _sides(c: Expression, own: frozenset[int]) -> tuple[str, Field, Expression] | None:
    """A comparison as (function, the right's column, what the left says), the right's column first."""
    if not isinstance(c, Apply) or c.function not in MIRRORED:
        return None
    a, b = c.arguments
    for function, inner, outer in ((c.function, a, b), (MIRRORED[c.function], b, a)):
        if isinstance(inner, Ref) and inner.field.number in own and references(outer) and not references(outer) & own:
            return function, inner.field, outer
    return None


def _owners(node: Node) -> frozenset[str]:
    return frozenset(n.table.party for n in nodes(node) if isinstance(n, Scan)) - {""}
