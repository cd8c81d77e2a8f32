"""From bound subqueries to joins: the rules by which no plan nests another.

An ungrouped aggregate has one row: it is crossed with the outer rows, or, where equalities correlate it, grouped by
them and joined LEFT, its counts 0 where there is no group (or none that a floor shows). EXISTS, IN and ANY become SEMI
or ANTI joins where a conjunct of WHERE asks for them, and MARK joins as values; any other scalar a SINGLE join. A
correlation that no join can say is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import assert_never

from sdh.errors import Unsupported
from sdh.planners.expressions import (
    FALSE,
    TRUE,
    Apply,
    Case,
    Constant,
    Expression,
    Field,
    Ref,
    conjunction,
    conjuncts,
    references,
    substitute,
)
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
    SortKey,
    UnionAll,
    bottom_up,
    expressions,
    fields,
    nodes,
)
from sdh.schema import BIGINT, BOOLEAN

COUNTS = frozenset({"count", "count_star"})
"""Aggregates that are 0 over nothing; every other is NULL."""
MIRRORS = frozenset({"=", "IS NOT DISTINCT FROM"})


@dataclass(frozen=True, slots=True)
class Subquery:
    """A bound subquery; `output` stands for its value in the expressions around it.

    kind: SCALAR, EXISTS or ANY. plan: its rows; what it refers to and no node of it puts out belongs to the rows around
    it. condition: of ANY, over the plan's first field and the rows around.
    """

    output: Field
    kind: str
    plan: Node
    condition: Expression | None = None


@dataclass(frozen=True, slots=True)
class _Pulled:
    """A plan without outer references. conditions: over its fields and outer ones; the subquery's rows are those that
    meet them. values: fields that the plan does not put out, since outer ones are in them."""

    node: Node
    conditions: tuple[Expression, ...] = ()
    values: dict[int, Expression] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _OneRow:
    """Projections and HAVING above an ungrouped aggregate (or above no table at all), taken off it."""

    base: Aggregate | OneRow
    values: dict[int, Expression]
    having: Expression | None = None


# --- the two doors -------------------------------------------------------------------------------


def as_value(node: Node, subquery: Subquery, numbers: Iterator[int]) -> tuple[Node, Expression]:
    """The outer rows with what the subquery's value needs beside them, and the value. Raises Unsupported."""
    match subquery.kind:
        case "SCALAR":
            return _scalar(node, subquery.plan, numbers)
        case "EXISTS":
            return _exists(node, subquery.plan, numbers)
        case _:
            return _any(node, subquery, numbers)


def as_filter(node: Node, subquery: Subquery, negated: bool) -> Node | None:
    """The outer rows for which EXISTS or ANY is TRUE (negated: FALSE) as a SEMI (ANTI) join; None where a value is needed."""
    plan = _bare(subquery.plan) if subquery.kind == "EXISTS" else _unsorted(subquery.plan)
    if subquery.kind == "SCALAR" or plan is None or _peeled(plan) is not None:
        return None
    pulled = _pulled(plan, rows_matter=False)
    compared = () if subquery.condition is None else (substitute(subquery.condition, pulled.values),)
    if negated and any(c.nullable for c in compared):
        return None
    return Join("ANTI" if negated else "SEMI", node, pulled.node, conjunction((*pulled.conditions, *compared)))


def free(plan: Node) -> frozenset[int]:
    """Numbers of the fields that a plan refers to and that none of its nodes puts out."""
    own = {f.number for n in nodes(plan) for f in fields(n)}
    return frozenset(number for n in nodes(plan) for number in references(*expressions(n))) - own


def rebased(plan: Node, change: Callable[[Expression], Expression]) -> Node:
    """The plan with every expression changed."""
    return bottom_up(plan, lambda node: changed(node, change))


# --- values --------------------------------------------------------------------------------------


def _scalar(node: Node, plan: Node, numbers: Iterator[int]) -> tuple[Node, Expression]:
    output = fields(plan)[0]
    if not free(plan):
        kind = "INNER" if _exactly_one(plan) else "SINGLE"
        return Join(kind, node, plan, None), Ref(output if kind == "INNER" else replace(output, nullable=True))
    one = _peeled(plan)
    if one is not None:
        node, values, having = _crossed(node, one, numbers)
        value = substitute(Ref(output), values)
        return node, value if having is None else Case(((having, value),), None, value.type)
    pulled = _pulled(plan, rows_matter=True)
    condition = conjunction(pulled.conditions)
    if output.number not in pulled.values:
        return Join("SINGLE", node, pulled.node, condition), Ref(replace(output, nullable=True))
    found = Field(next(numbers), "found", BOOLEAN, nullable=False)  # without a row the value is NULL, whatever it computes
    right = Project(pulled.node, (*((f, Ref(f)) for f in fields(pulled.node)), (found, TRUE)))
    value = pulled.values[output.number]
    return Join("SINGLE", node, right, condition), Case(((Ref(replace(found, nullable=True)), value),), None, value.type)


def _exists(node: Node, plan: Node, numbers: Iterator[int]) -> tuple[Node, Expression]:
    bare = _bare(plan)
    if bare is None:
        return node, FALSE
    one = _peeled(bare)
    if one is not None:
        if one.having is None:
            return node, TRUE
        node, _, having = _crossed(node, one, numbers)
        return node, TRUE if having is None else _certain(having)
    pulled = _pulled(bare, rows_matter=False)
    node, mark = _marked(node, pulled.node, pulled.conditions, "exists", numbers)
    return node, _certain(mark)


def _any(node: Node, subquery: Subquery, numbers: Iterator[int]) -> tuple[Node, Expression]:
    assert subquery.condition is not None
    plan = _unsorted(subquery.plan)
    one = _peeled(plan)
    if one is not None:
        node, values, having = _crossed(node, one, numbers)
        compared = substitute(subquery.condition, values)
        return node, compared if having is None else Case(((having, compared),), FALSE, BOOLEAN)
    pulled = _pulled(plan, rows_matter=False)
    compared = substitute(subquery.condition, pulled.values)
    if not compared.nullable:
        node, mark = _marked(node, pulled.node, (*pulled.conditions, compared), "in", numbers)
        return node, _certain(mark)
    # a row that is none of the subquery's must not make the mark NULL
    return _marked(node, pulled.node, (*map(_certain, pulled.conditions), compared), "in", numbers)


def _marked(
    node: Node, right: Node, conditions: tuple[Expression, ...], name: str, numbers: Iterator[int]
) -> tuple[Node, Expression]:
    condition = conjunction(conditions)
    mark = Field(next(numbers), name, BOOLEAN, condition is not None and condition.nullable)
    return Join("MARK", node, right, condition, mark), Ref(mark)


def _crossed(node: Node, one: _OneRow, numbers: Iterator[int]) -> tuple[Node, dict[int, Expression], Expression | None]:
    """The outer rows, each with the subquery's one row; that row's values and HAVING."""
    if isinstance(one.base, OneRow):
        return node, one.values, one.having
    pulled = _pulled(one.base.input, rows_matter=True)
    calls = tuple(_pulled_call(call, pulled) for call in one.base.calls)
    if not pulled.conditions:
        return Join("INNER", node, Aggregate(pulled.node, (), calls), None), one.values, one.having
    keys, joined = _keyed(pulled, numbers)
    grouped = Aggregate(pulled.node, keys, calls)
    defaults = {call.output.number: _or_zero(call) for call in calls}
    values = {number: substitute(e, defaults) for number, e in one.values.items()}
    having = None if one.having is None else substitute(one.having, defaults)
    return Join("LEFT", node, grouped, conjunction(joined)), values, having


def _or_zero(call: Call) -> Expression:
    found = Ref(replace(call.output, nullable=True))
    if call.function not in COUNTS:
        return found
    return Apply("coalesce", (found, Constant(BIGINT, 0, "CAST(0 AS BIGINT)")), BIGINT, nullable=False)


def _certain(e: Expression) -> Expression:
    """NULL as FALSE."""
    return Apply("coalesce", (e, FALSE), BOOLEAN, nullable=False) if e.nullable else e


# --- what a plan is ------------------------------------------------------------------------------


def _exactly_one(plan: Node) -> bool:
    """Whether the plan has one row whatever the data."""
    match plan:
        case OneRow() | Aggregate(_, ()):
            return True
        case Project(input) | Sort(input) | Reused(_, input):
            return _exactly_one(input)
        case Join("INNER", left, right, None):
            return _exactly_one(left) and _exactly_one(right)
        case Join("MARK" | "SINGLE", left):
            return _exactly_one(left)
        case _:
            return False


def _peeled(plan: Node) -> _OneRow | None:
    """None where the plan is no ungrouped aggregate below projections and filters."""
    match plan:
        case OneRow():
            return _OneRow(plan, {})
        case Aggregate(_, (), calls):
            return _OneRow(plan, {call.output.number: Ref(call.output) for call in calls})
        case Sort(input):
            return _peeled(input)
        case Project(input, outputs):
            below = _peeled(input)
            values = {} if below is None else {f.number: substitute(e, below.values) for f, e in outputs}
            return None if below is None else replace(below, values=values)
        case Filter(input, predicate):
            below = _peeled(input)
            if below is None:
                return None
            own = substitute(predicate, below.values)
            return replace(below, having=own if below.having is None else conjunction((below.having, own)))
        case _:
            return None


def _unsorted(plan: Node) -> Node:
    return _unsorted(plan.input) if isinstance(plan, Sort) else plan


def _bare(plan: Node) -> Node | None:
    """What EXISTS asks of: neither order, nor columns, nor duplicates count; None where there is no row in any case."""
    match plan:
        case Sort(input):
            return _bare(input)
        case Project(input):
            return _bare(input)
        case Aggregate(input, (_, *_)):
            return _bare(input)
        case Limit(_, 0, _):
            return None
        case Limit(input, _, 0):
            return _bare(input)
        case _:
            return plan


# --- pulling conditions up -----------------------------------------------------------------------


def _pulled(plan: Node, rows_matter: bool) -> _Pulled:
    """Conditions on outer fields taken out of the plan. rows_matter: how often a row stands there counts."""
    if not free(plan):
        return _Pulled(plan)
    match plan:
        case Filter(input, predicate):
            below = _pulled(input, rows_matter)
            return _filtered(below, conjuncts(substitute(predicate, below.values)))
        case Sort(input):
            return _pulled(input, rows_matter)
        case Project(input, outputs):
            return _projected(_pulled(input, rows_matter), outputs)
        case Aggregate(input, keys, ()) if keys and not rows_matter:
            return _projected(_pulled(input, rows_matter), keys)
        case Aggregate(input, keys, calls) if keys:
            return _grouped(_pulled(input, rows_matter=True), keys, calls)
        case Join("INNER"):
            return _inner(plan, rows_matter)
        case Join("SEMI") if not rows_matter:  # an INNER join has the same rows, some of them often
            return _inner(replace(plan, kind="INNER"), rows_matter)
        case Join() if plan.kind in ("LEFT", "SEMI", "ANTI", "MARK", "SINGLE") and not _free_beside(plan):
            below = _pulled(plan.left, rows_matter)
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


def _filtered(below: _Pulled, wanted: Iterable[Expression]) -> _Pulled:
    numbers = {f.number for f in fields(below.node)}
    parts = tuple(wanted)
    own = conjunction([c for c in parts if references(c) <= numbers])
    node = below.node if own is None else Filter(below.node, own)
    return replace(below, node=node, conditions=(*below.conditions, *(c for c in parts if not references(c) <= numbers)))


def _inner(join: Join, rows_matter: bool) -> _Pulled:
    left, right = _pulled(join.left, rows_matter), _pulled(join.right, rows_matter)
    both = _Pulled(Join("INNER", left.node, right.node, None), (*left.conditions, *right.conditions), left.values | right.values)
    numbers = {f.number for f in fields(both.node)}
    wanted = () if join.condition is None else conjuncts(substitute(join.condition, both.values))
    inside = conjunction([c for c in wanted if references(c) <= numbers])
    outside = tuple(c for c in wanted if not references(c) <= numbers)
    return replace(both, node=Join("INNER", left.node, right.node, inside), conditions=(*both.conditions, *outside))


def _projected(below: _Pulled, outputs: tuple[tuple[Field, Expression], ...]) -> _Pulled:
    """Inner fields that conditions read stay beside the outputs."""
    inner = {f.number: f for f in fields(below.node)}
    computed = [(f, substitute(e, below.values)) for f, e in outputs]
    kept = [(f, e) for f, e in computed if references(e) <= inner.keys()]
    values = {f.number: e for f, e in computed if not references(e) <= inner.keys()}
    read = references(*below.conditions, *values.values()) & inner.keys()
    kept += [(inner[number], Ref(inner[number])) for number in sorted(read - {f.number for f, _ in kept})]
    return _Pulled(Project(below.node, tuple(kept)), below.conditions, values)


def _grouped(below: _Pulled, keys: tuple[tuple[Field, Expression], ...], calls: tuple[Call, ...]) -> _Pulled:
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
    made = tuple(_pulled_call(call, below) for call in calls)
    return _Pulled(Aggregate(below.node, (*own, *further), made), tuple(conditions))


def _keyed(pulled: _Pulled, numbers: Iterator[int]) -> tuple[tuple[tuple[Field, Expression], ...], list[Expression]]:
    """The keys by which equalities correlate an aggregate, and the join's conjuncts over them."""
    keys: dict[Expression, Field] = {}
    joined: list[Expression] = []
    for inside, _, condition in _split(pulled):
        name = inside.field.name if isinstance(inside, Ref) else ""
        key = keys.setdefault(inside, Field(next(numbers), name, inside.type, inside.nullable))
        joined.append(_with_inside(condition, inside, Ref(key)))
    return tuple((key, inside) for inside, key in keys.items()), joined


def _split(pulled: _Pulled) -> Iterator[tuple[Expression, Expression, Apply]]:
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


def _pulled_call(call: Call, pulled: _Pulled) -> Call:
    arguments = tuple(substitute(a, pulled.values) for a in call.arguments)
    only = None if call.filter is None else substitute(call.filter, pulled.values)
    if not references(*arguments, only) <= {f.number for f in fields(pulled.node)}:
        raise _refused("An aggregate of an outer query's columns in a subquery", "Compute with them outside the aggregate.")
    return replace(call, arguments=arguments, filter=only)


def _refused(what: str, advice: str) -> Unsupported:
    return Unsupported(f"{what} is not supported.", advice=advice)


def changed(node: Node, change: Callable[[Expression], Expression]) -> Node:
    """The node with the expressions changed that it evaluates itself."""
    match node:
        case Scan() | OneRow() | Limit() | UnionAll() | Reused() | Cut() | Noised() | Private():
            return node
        case Filter(input, predicate):
            return Filter(input, change(predicate))
        case Project(input, outputs):
            return Project(input, tuple((f, change(e)) for f, e in outputs))
        case Join():
            return node if node.condition is None else replace(node, condition=change(node.condition))
        case Aggregate(input, keys, calls):
            return Aggregate(input, tuple((f, change(e)) for f, e in keys), tuple(_changed_call(c, change) for c in calls))
        case Sort(input, sort_keys):
            return Sort(input, tuple(SortKey(change(k.expression), k.descending, k.nulls_first) for k in sort_keys))
        case _:
            assert_never(node)


def _changed_call(call: Call, change: Callable[[Expression], Expression]) -> Call:
    only = None if call.filter is None else change(call.filter)
    return replace(call, arguments=tuple(change(a) for a in call.arguments), filter=only)
