"""Bind GROUP BY and aggregates: what is computed below them, and what above sees of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sdh.errors import NotGrouped, Unsupported
from sdh.parsers import syntax
from sdh.planners import expressions as bound
from sdh.planners.annotate import condition
from sdh.planners.bind_expressions import column_of, untyped
from sdh.planners.bind_order import ordinal
from sdh.planners.bind_subqueries import valued
from sdh.planners.binding import Binder, Names, Pending, Pendings, placed, unsupported
from sdh.planners.expressions import Expression, Field, Ref, references, substitute, transform
from sdh.planners.grouping_sets import Sets, by_sets, groupings
from sdh.planners.logical import Aggregate, Call, Filter, Node, Private, PrivateCall, call_expressions, fields
from sdh.planners.plan_expressions import free, rebased
from sdh.planners.private_units import units_of
from sdh.planners.push_filters import push_filters
from sdh.planners.render import call_sql
from sdh.planners.scopes import Relation, Scope
from sdh.schema import BIGINT, BOOLEAN


def group_keys(
    binder: Binder,
    query: syntax.Select,
    items: tuple[syntax.Item, ...],
    outputs: list[Expression],
    names: Names,
) -> tuple[list[Expression], Sets]:
    """What GROUP BY names, by numbers, aliases or expressions, each once and still untyped, and its grouping sets.

    Raises Unsupported.
    """
    names = replace(names, aggregates=None)
    keys: list[Expression] = []
    if query.group_all:
        calls = (Ref, bound.Apply, bound.Case, bound.Cast)
        known = {b.field.number for b in names.scope}
        keys = [e for e in outputs if isinstance(e, calls) and references(e) <= known and references(e)]
    found = [_key(binder, key, items, outputs, names) for key in query.group_by]
    for key, expression in zip(query.group_by, found, strict=True):
        if not references(expression) and (query.grouping_sets or names.privacy is not None):
            raise unsupported("GROUP BY a constant", key.at, "Leave it out.")
    keys = list(dict.fromkeys([*keys, *(e for e in found if references(e))]))
    return keys, tuple(frozenset(keys.index(found[i]) for i in one) for one in query.grouping_sets)


def _key(
    binder: Binder, key: syntax.Expression, items: tuple[syntax.Item, ...], outputs: list[Expression], names: Names
) -> Expression:
    return outputs[ordinal(key, len(items))] if isinstance(key, syntax.Number) else untyped(binder, key, names)


def unless_empty(binder: Binder, node: Node) -> Node:
    """The one group of GROUP BY a constant: over nothing there is none."""
    assert isinstance(node, Aggregate)
    rows, zero = binder.field("rows", BIGINT, nullable=False), bound.Constant(BIGINT, 0, "CAST(0 AS BIGINT)")
    counted = replace(node, calls=(*node.calls, Call(rows, "count_star", ())))
    return Filter(counted, bound.Apply(">", (Ref(rows), zero), BOOLEAN, nullable=False))


def bind_aggregate(
    binder: Binder,
    source: Relation,
    keys: list[Expression],
    sets: Sets,
    calls: list[tuple[Field, Call]],
    everything: list[Expression],
    names: Names,
) -> tuple[Node, list[Expression]]:
    """Subqueries in keys and arguments have their values below the aggregate, all others see its keys."""
    rows = [*keys, *(e for _, call in calls for e in call_expressions(call))]
    _check_outer(binder, rows[len(keys) :])
    in_keys = {e: p for e, p in names.subqueries.items() if p.output.number in references(*keys)}
    node, values = valued(binder, source.node, names.subqueries, references(*keys), {})
    node, values = valued(binder, node, names.below, references(*rows), values)
    typed = [substitute(e, values) for e in binder.typer.typed(rows)]
    typed_keys, typed_calls = typed[: len(keys)], _typed_calls(binder, calls, typed[len(keys) :])
    labels = [e.field.name if isinstance(e, Ref) else "" for e in typed_keys]
    outputs = [(binder.field(label, e.type, e.nullable or bool(sets)), e) for label, e in zip(labels, typed_keys, strict=True)]
    told = groupings(binder, keys, everything)
    by_key = {key: Ref(f) for key, (f, _) in zip(keys, outputs, strict=True)}
    by_key |= {e: Ref(one.output) for e, one in told.items()}
    by_number: dict[int, Expression] = {call.output.number: Ref(call.output) for call in typed_calls}

    def above(e: Expression) -> Expression:
        return substitute(transform(e, by_key.get), by_number)

    replaced = [above(e) for e in everything]
    _check_keys(in_keys, replaced)
    by_field = {e.field.number: Ref(f) for f, e in outputs if isinstance(e, Ref)}
    for e, pending in names.subqueries.items():
        if e not in in_keys:
            names.subqueries[e] = _above(pending, above, by_field, source.scope)
    whole = Aggregate(node, tuple(outputs), tuple(typed_calls))
    if sets or told:
        if names.privacy is not None:
            raise unsupported("GROUPING SETS WITH DIFFERENTIAL_PRIVACY", names.privacy.at, "Ask a query for each set.")
        return by_sets(binder, whole, sets or (frozenset(range(len(keys))),), list(told.values())), replaced
    return whole if names.privacy is None else _private(binder, whole, names), replaced


def _typed_calls(binder: Binder, calls: list[tuple[Field, Call]], typed: list[Expression]) -> list[Call]:
    """The calls over their typed arguments and filters, which `typed` holds in order."""
    found: list[Call] = []
    for placeholder, call in calls:
        arguments, typed = tuple(typed[: len(call.arguments)]), typed[len(call.arguments) :]
        only, typed = (condition(typed[0]), typed[1:]) if call.filter is not None else (None, typed)
        found.append(replace(call, output=placeholder, arguments=arguments, filter=only))
    types = binder.typer.types([call_sql(c) for c in found], [e for c in found for e in (*c.arguments, c.filter)])
    return [
        replace(call, output=Field(call.output.number, call.function, type_, call.function not in ("count", "count_star")))
        for call, type_ in zip(found, types, strict=True)
    ]


def _above(
    pending: Pending, above: Callable[[Expression], Expression], by_field: dict[int, Ref], scope: Scope
) -> Pending:
    """A subquery above an aggregate sees its keys in place of the columns that they are."""
    values: dict[int, Expression] = dict(by_field)
    plan = rebased(pending.plan, lambda e: substitute(e, values))
    if free(plan) & {b.field.number for b in scope}:
        raise NotGrouped(
            "A subquery refers to a column that is not in GROUP BY.",
            advice="Group by it or aggregate it.",
            line=pending.at.line,
            column=pending.at.column,
        )
    return replace(pending, plan=plan, comparison=None if pending.comparison is None else above(pending.comparison))


def _private(binder: Binder, whole: Aggregate, names: Names) -> Private:
    """The aggregate as a block of differential privacy, with the column that tells units apart."""
    terms = names.privacy
    assert terms is not None
    named = None if terms.unit is None else column_of(binder, terms.unit, names)
    with placed(terms.at):
        units = units_of(push_filters(whole.input), binder.catalog, named.field if isinstance(named, Ref) else None)
        calls = tuple(_bounded(call, names.asked[call.output.number]) for call in whole.calls)
    if any(isinstance(e, Ref) and e.field.number in units for _, e in whole.keys):
        raise unsupported("GROUP BY the unit of WITH DIFFERENTIAL_PRIVACY", terms.at, "Group by what many units share.")
    found = {f.number: f for f in fields(whole.input)}
    unit = named.field if isinstance(named, Ref) else found[min(units)]
    return Private(whole.input, whole.keys, calls, unit, terms, units)


def _bounded(call: Call, asked: syntax.Call) -> PrivateCall:
    return PrivateCall(call, asked.bounds, asked.at)


def _check_outer(binder: Binder, arguments: list[Expression]) -> None:
    """An aggregate of outer columns is the outer query's in SQL. Raises Unsupported."""
    outer = {b.field.number for scope in binder.outer for b in scope}
    if references(*arguments) & outer:
        raise Unsupported(
            "An aggregate of an outer query's columns in a subquery is not supported.",
            advice="Compute it in a derived table of the outer query.",
        )


def _check_keys(in_keys: Pendings, above: list[Expression]) -> None:
    for pending in in_keys.values():
        if pending.output.number in references(*above):
            raise unsupported("A subquery of GROUP BY as a part of another expression", pending.at, "Write it twice.")
