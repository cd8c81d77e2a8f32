"""GROUPING SETS, ROLLUP and CUBE: one aggregate for each set over the same rows, appended; a key that is not in a set is NULL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sdh.errors import NotGrouped, Unsupported
from sdh.planners.binding import Binder
from sdh.planners.expressions import Apply, Constant, Expression, Field, Ref, children, substitute, walk
from sdh.planners.logical import Aggregate, Call, Node, Project, Reused, UnionAll, fields
from sdh.planners.plan_expressions import free
from sdh.planners.share_leaves import renumbered
from sdh.schema import BIGINT

Sets = tuple[frozenset[int], ...]
"""Positions among the keys; () where there is one plain GROUP BY."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """GROUPING(keys): a bit for each key, the first the highest, set where its set has not the key."""

    output: Field
    keys: tuple[int, ...]

    def value(self, chosen: frozenset[int]) -> Constant:
        bits = sum((key not in chosen) << i for i, key in enumerate(reversed(self.keys)))
        return Constant(BIGINT, bits, f"CAST({bits} AS BIGINT)")


def groupings(binder: Binder, keys: list[Expression], above: Sequence[Expression]) -> dict[Expression, Grouping]:
    """Every GROUPING(...) in what stands above an aggregate by `keys`. Raises NotGrouped."""
    calls = dict.fromkeys(one for e in above for one in walk(e) if isinstance(one, Apply) and one.function == "grouping")
    if any(argument not in keys for one in calls for argument in children(one)):
        raise NotGrouped("GROUPING takes what GROUP BY names.", advice="Write its arguments as GROUP BY has them.")
    return {
        one: Grouping(binder.field("grouping", BIGINT, nullable=False), tuple(keys.index(a) for a in children(one)))
        for one in calls
    }


def by_sets(binder: Binder, whole: Aggregate, sets: Sets, found: Sequence[Grouping]) -> Node:
    """The rows of all sets, with the fields of `whole` and those of `found`. Raises Unsupported."""
    outputs = (*fields(whole), *(one.output for one in found))
    number = next(binder.numbers)
    return UnionAll(tuple(_part(binder, whole, chosen, found, number) for chosen in sets), outputs)


def _part(binder: Binder, whole: Aggregate, chosen: frozenset[int], found: Sequence[Grouping], number: int) -> Node:
    source, own = _again(binder, whole.input, number)
    keys = [(binder.field(f.name, f.type, e.nullable), substitute(e, own)) for f, e in whole.keys]
    calls = tuple(_call(binder, call, own) for call in whole.calls)
    some = calls or (Call(binder.field("rows", BIGINT, nullable=False), "count_star", ()),)  # a row needs a column
    group = Aggregate(source, tuple(key for i, key in enumerate(keys) if i in chosen), some)
    values: list[Expression] = [Ref(f) if i in chosen else _null(f) for i, (f, _) in enumerate(keys)]
    values += [*(Ref(call.output) for call in calls), *(one.value(chosen) for one in found)]
    return Project(group, tuple((binder.field("", e.type, e.nullable), e) for e in values))


def _again(binder: Binder, node: Node, number: int) -> tuple[Node, dict[int, Expression]]:
    """The rows under numbers of their own: shared with the other sets' like a common table expression, or copied."""
    if free(node):
        raise Unsupported("GROUPING SETS in a correlated subquery are not supported.", advice="Group in a derived table.")
    if binder.shared(node):
        pairs = tuple((binder.field(f.name, f.type, f.nullable), f) for f in fields(node))
        return Reused(number, node, pairs), {old.number: Ref(new) for new, old in pairs}
    own: dict[int, Field] = {}
    again = renumbered(node, lambda f: own.setdefault(f.number, replace(f, number=next(binder.numbers))))
    return again, {number: Ref(f) for number, f in own.items()}


def _call(binder: Binder, call: Call, own: dict[int, Expression]) -> Call:
    only = None if call.filter is None else substitute(call.filter, own)
    output = replace(call.output, number=next(binder.numbers))
    return replace(call, output=output, arguments=tuple(substitute(a, own) for a in call.arguments), filter=only)


def _null(key: Field) -> Constant:
    return Constant(key.type, None, f"CAST(NULL AS {key.type})")
