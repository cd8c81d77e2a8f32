"""From bound subqueries to joins: the rules by which no plan nests another.

An ungrouped aggregate has one row: it is crossed with the outer rows, or, where equalities correlate it, grouped by
them and joined LEFT, its counts 0 where there is no group (or none that a floor shows). EXISTS, IN and ANY become SEMI
or ANTI joins where a conjunct of WHERE asks for them, and MARK joins as values; any other scalar a SINGLE join. A
correlation that no join can say is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sdh.planners.expressions import FALSE, TRUE, Apply, Case, Constant, Expression, Field, Ref, conjunction, substitute
from sdh.planners.logical import Aggregate, Call, Filter, Join, Limit, Node, OneRow, Project, Reused, Sort, fields
from sdh.planners.plan_expressions import free
from sdh.planners.pull_conditions import correlating_keys, pulled_call, pulled_up
from sdh.schema import BIGINT, BOOLEAN

COUNTS = frozenset({"count", "count_star"})
"""Aggregates that are 0 over nothing; every other is NULL."""


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
class _OneRow:
    """Projections and HAVING above an ungrouped aggregate (or above no table at all), taken off it."""

    base: Aggregate | OneRow
    values: dict[int, Expression]
    having: Expression | None = None


# --- the two doors ---

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
    pulled = pulled_up(plan, rows_matter=False)
    compared = () if subquery.condition is None else (substitute(subquery.condition, pulled.values),)
    if negated and any(c.nullable for c in compared):
        return None
    return Join("ANTI" if negated else "SEMI", node, pulled.node, conjunction((*pulled.conditions, *compared)))


# --- values ---

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
    pulled = pulled_up(plan, rows_matter=True)
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
    pulled = pulled_up(bare, rows_matter=False)
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
    pulled = pulled_up(plan, rows_matter=False)
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
    pulled = pulled_up(one.base.input, rows_matter=True)
    calls = tuple(pulled_call(call, pulled) for call in one.base.calls)
    if not pulled.conditions:
        return Join("INNER", node, Aggregate(pulled.node, (), calls), None), one.values, one.having
    keys, joined = correlating_keys(pulled, numbers)
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


# --- what a plan is ---

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
