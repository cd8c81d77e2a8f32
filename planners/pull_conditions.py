"""Conditions on outer fields, pulled up out of a subquery's plan: what is left refers to nothing outside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import assert_never

from sdh.errors import Unsupported
from sdh.planners.expressions import Apply, Expression, Field, Ref, conjunction, conjuncts, references, substitute
from sdh.planners.logical import (
    Aggregate,
    Call,
    Cut,
    Filter,
    Join,
    Limit,
    Node,
    Noised,
    OneRow,
    Private,
    Project,
    Reused,
    Scan,
    Sort,
    UnionAll,
    fields,
)
from sdh.planners.plan_expressions import free

MIRRORS = frozenset({"=", "IS NOT DISTINCT FROM"})


@dataclass(frozen=True, slots=True)
class Pulled:
    """A plan without outer references. conditions: over its fields and outer ones; the subquery's rows are those that
    meet them. values: fields that the plan does not put out, since outer ones are in them."""

    node: Node
    conditions: tuple[Expression, ...] = ()
    values: dict[int, Expression] = field(default_factory=dict)


def pulled_up(plan: Node, rows_matter: bool) -> Pulled:
    """Conditions on outer fields taken out of the plan. rows_matter: how often a row stands there counts."""
    if not free(plan):
        return Pulled(plan)
    match plan:
        case Filter(input, predicate):
            below = pulled_up(input, rows_matter)
            return _filtered(below, conjuncts(substitute(predicate, below.values)))
        case Sort(input):
            return pulled_up(input, rows_matter)
        case Project(input, outputs):
            return _projected(pulled_up(input, rows_matter), outputs)
        case Aggregate(input, keys, ()) if keys and not rows_matter:
            return _projected(pulled_up(input, rows_matter), keys)
        case Aggregate(input, keys, calls) if keys:
            return _grouped(pulled_up(input, rows_matter=True), keys, calls)
        case Join("INNER"):
            return _inner(plan, rows_matter)
        case Join("SEMI") if not rows_matter:  # an INNER join has the same rows, some of them often
            return _inner(replace(plan, kind="INNER"), rows_matter)
        case Join() if plan.kind in ("LEFT", "SEMI", "ANTI", "MARK", "SINGLE") and not _free_beside(plan):
            below = pulled_up(plan.left, rows_matter)
            condition = None if plan.condition is None else substitute(plan.condition, below.values)
            if references(condition) & (free(plan) | free(plan.left)):
                raise _refused("A join on columns that the outer query computes", "Compute them in it.")
            return replace(below, node=replace(plan, left=below.node, condition=condition))
        case Join():
            raise _refused(
                f"A subquery that refers to an outer query from within {_called(plan)}", "Write it as a join of the outer query."
            )
        case Aggregate():
            raise _refused("A correlated aggregate inside a correlated subquery", "Group by what correlates it.")
        case Limit():
            raise _refused("LIMIT in a correlated subquery", "Write MIN or MAX, or leave LIMIT out.")
        case UnionAll():
            raise _refused("UNION in a correlated subquery", "Write a subquery for each part.")
        case Private() | Cut() | Noised():
            raise _refused("WITH DIFFERENTIAL_PRIVACY in a correlated subquery", "Put it into FROM.")
        case Scan() | OneRow() | Reused():
            raise AssertionError("neither a leaf nor what is shared refers to anything outside")
        case _:
            assert_never(plan)


def _free_beside(join: Join) -> frozenset[int]:
    """Outer references of a join but those of its left."""
    own = {f.number for side in (join.left, join.right) for f in fields(side)}
    return free(join.right) | (references(join.condition) - own)


def _called(join: Join) -> str:
    return {"LEFT": "a LEFT JOIN or an aggregate", "ANTI": "NOT EXISTS or NOT IN"}.get(join.kind, f"a {join.kind} JOIN")


def _filtered(below: Pulled, wanted: Iterable[Expression]) -> Pulled:
    numbers = {f.number for f in fields(below.node)}
    parts = tuple(wanted)
    own = conjunction([c for c in parts if references(c) <= numbers])
    node = below.node if own is None else Filter(below.node, own)
    return replace(below, node=node, conditions=(*below.conditions, *(c for c in parts if not references(c) <= numbers)))


def _inner(join: Join, rows_matter: bool) -> Pulled:
    left, right = pulled_up(join.left, rows_matter), pulled_up(join.right, rows_matter)
    both = Pulled(Join("INNER", left.node, right.node, None), (*left.conditions, *right.conditions), left.values | right.values)
    numbers = {f.number for f in fields(both.node)}
    wanted = () if join.condition is None else conjuncts(substitute(join.condition, both.values))
    inside = conjunction([c for c in wanted if references(c) <= numbers])
    outside = tuple(c for c in wanted if not references(c) <= numbers)
    return replace(both, node=Join("INNER", left.node, right.node, inside), conditions=(*both.conditions, *outside))


def _projected(below: Pulled, outputs: tuple[tuple[Field, Expression], ...]) -> Pulled:
    """Inner fields that conditions read stay beside the outputs."""
    inner = {f.number: f for f in fields(below.node)}
    computed = [(f, substitute(e, below.values)) for f, e in outputs]
    kept = [(f, e) for f, e in computed if references(e) <= inner.keys()]
    values = {f.number: e for f, e in computed if not references(e) <= inner.keys()}
    read = references(*below.conditions, *values.values()) & inner.keys()
    kept += [(inner[number], Ref(inner[number])) for number in sorted(read - {f.number for f, _ in kept})]
    return Pulled(Project(below.node, tuple(kept)), below.conditions, values)


def _grouped(below: Pulled, keys: tuple[tuple[Field, Expression], ...], calls: tuple[Call, ...]) -> Pulled:
    """Equalities with outer fields become keys beside the own ones: no group has rows of two outer keys."""
    inner = {f.number for f in fields(below.node)}
    own = tuple((f, substitute(e, below.values)) for f, e in keys)
    if any(not references(e) <= inner for _, e in own):
        raise _refused("GROUP BY a column of an outer query", "Leave it out of GROUP BY.")
    further: list[tuple[Field, Expression]] = []
    conditions: list[Expression] = []
    for inside, _, condition in _split(below):
        known = next((f for f, e in (*own, *further) if e == inside), None)
        if known is None:
            if not isinstance(inside, Ref):
                raise _refused("A computed column that correlates a grouped subquery", "Group by it too.")
            known = inside.field
            further.append((known, inside))
        conditions.append(_with_inside(condition, inside, Ref(known)))
    made = tuple(pulled_call(call, below) for call in calls)
    return Pulled(Aggregate(below.node, (*own, *further), made), tuple(conditions))


def correlating_keys(pulled: Pulled, numbers: Iterator[int]) -> tuple[tuple[tuple[Field, Expression], ...], list[Expression]]:
    """The keys by which equalities correlate an aggregate, and the join's conjuncts over them."""
    keys: dict[Expression, Field] = {}
    joined: list[Expression] = []
    for inside, _, condition in _split(pulled):
        name = inside.field.name if isinstance(inside, Ref) else ""
        key = keys.setdefault(inside, Field(next(numbers), name, inside.type, inside.nullable))
        joined.append(_with_inside(condition, inside, Ref(key)))
    return tuple((key, inside) for inside, key in keys.items()), joined


def _split(pulled: Pulled) -> Iterator[tuple[Expression, Expression, Apply]]:
    """Every condition as (inner side, outer side, condition). Raises Unsupported where one is no such equality."""
    inner = {f.number for f in fields(pulled.node)}
    for condition in pulled.conditions:
        match condition:
            case Apply(function, (a, b)) if function in MIRRORS:
                for inside, outside in ((a, b), (b, a)):
                    if references(inside) and references(inside) <= inner and not references(outside) & inner:
                        yield inside, outside, condition
                        break
                else:
                    raise _unequal()
            case _:
                raise _unequal()


def _unequal() -> Unsupported:
    return _refused(
        "An aggregate in a subquery whose rows anything but an equality with the outer query chooses",
        "Join the tables and group by the outer table's key.",
    )


def _with_inside(condition: Apply, inside: Expression, key: Expression) -> Expression:
    return replace(condition, arguments=tuple(key if part is inside else part for part in condition.arguments))


def pulled_call(call: Call, pulled: Pulled) -> Call:
    """An aggregate over what is left of its input. Raises Unsupported where it reads outer fields."""
    arguments = tuple(substitute(a, pulled.values) for a in call.arguments)
    only = None if call.filter is None else substitute(call.filter, pulled.values)
    if not references(*arguments, only) <= {f.number for f in fields(pulled.node)}:
        raise _refused("An aggregate of an outer query's columns in a subquery", "Compute with them outside the aggregate.")
    return replace(call, arguments=arguments, filter=only)


def _refused(what: str, advice: str) -> Unsupported:
    return Unsupported(f"{what} is not supported.", advice=advice)
