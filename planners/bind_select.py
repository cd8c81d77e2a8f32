"""Bind SELECT: FROM, WHERE, groups, HAVING, the select list, DISTINCT, order and limit, in this order."""

from __future__ import annotations

from dataclasses import replace

from sdh.errors import NotGrouped, Unsupported
from sdh.parsers import syntax
from sdh.planners.annotate import condition
from sdh.planners.bind_aggregates import bind_aggregate, group_keys, unless_empty
from sdh.planners.bind_expressions import bind_condition, select_list, untyped
from sdh.planners.bind_from import bind_relation
from sdh.planners.bind_order import column_name, every_column, limited, order_key
from sdh.planners.bind_subqueries import filtered, valued
from sdh.planners.binding import Binder, Common, Names, unsupported
from sdh.planners.expressions import Expression, Field, Ref, references, substitute
from sdh.planners.logical import Aggregate, Node, Project, Sort, SortKey, fields
from sdh.planners.scopes import Binding, Relation, expanded


def bind_select(binder: Binder, query: syntax.Select, visible: Common) -> Relation:
    """One SELECT; `visible` are the common tables that it may name. Raises QuestionError classes."""
    source = bind_relation(binder, query.source, visible)
    items = expanded(query.items, source.scope)
    aliases = {
        item.alias.lower(): item.expression for item in items if item.alias and not isinstance(item.expression, syntax.Star)
    }
    node = source.node
    if query.where is not None:
        names = Names(source.scope, aliases, common=visible)
        node, _ = filtered(binder, node, bind_condition(binder, query.where, names), names.subqueries)
    names = Names(source.scope, aliases, aggregates=[], common=visible, privacy=query.privacy)
    return _output(binder, query, Relation(node, source.scope), items, names)


def _output(binder: Binder, query: syntax.Select, source: Relation, items: tuple[syntax.Item, ...], names: Names) -> Relation:
    outputs = select_list(binder, items, names)
    having = None if query.having is None else untyped(binder, query.having, names)
    order = [order_key(binder, key, items, outputs, names) for key in every_column(query.order_by, len(items))]
    calls = names.aggregates or []
    if query.privacy is not None and not calls:
        raise unsupported("WITH DIFFERENTIAL_PRIVACY without an aggregate", query.privacy.at, "Add COUNT, SUM or AVG.")
    keys, sets = group_keys(binder, query, items, outputs, names)
    node, everything = source.node, [*outputs, *([] if having is None else [having]), *(e for e, _ in order)]
    grouped = bool(keys or calls or query.group_by or sets or query.group_all or having is not None)
    available = [b.field for b in source.scope]
    if grouped:
        node, everything = bind_aggregate(binder, source, keys, sets, calls, everything, names)
        node = unless_empty(binder, node) if query.group_by and not keys and not sets else node
        available = list(fields(node))
    typed = binder.typer.typed(everything)
    around = [b.field for scope in binder.outer for b in scope] + [p.output for p in names.subqueries.values()]
    _only(typed, [*available, *around], items)
    rest = references(*(e for i, e in enumerate(typed) if having is None or i != len(outputs)))
    values: dict[int, Expression] = {}
    if having is not None:
        node, values = filtered(binder, node, condition(typed[len(outputs)]), names.subqueries, rest)
    node, values = valued(binder, node, names.subqueries, rest, values)
    typed = [substitute(e, values) for e in typed]
    return _finish(binder, query, node, items, outputs, typed, order, having is not None)


def _finish(
    binder: Binder,
    query: syntax.Select,
    node: Node,
    items: tuple[syntax.Item, ...],
    outputs: list[Expression],
    typed: list[Expression],
    order: list[tuple[Expression, syntax.OrderKey]],
    having: bool,
) -> Relation:
    columns = tuple(
        (binder.field(column_name(item), e.type, e.nullable), e) for item, e in zip(items, typed[: len(outputs)], strict=True)
    )
    keys, hidden = _sort_keys(binder, columns, typed[len(outputs) + having :], [key for _, key in order])
    node = Project(node, columns + tuple(hidden))
    if query.distinct:
        if hidden:
            raise Unsupported(
                "ORDER BY a column that SELECT DISTINCT drops is not supported.", advice="Select the column too."
            )
        renamed = binder.copies(f for f, _ in columns)
        by_old = {old.number: Ref(new) for (new, _), (old, _) in zip(renamed, columns, strict=True)}
        node = Aggregate(node, renamed, ())
        keys = [replace(key, expression=substitute(key.expression, dict(by_old))) for key in keys]
        columns = tuple((new, e) for (new, _), (_, e) in zip(renamed, columns, strict=True))
    if keys:
        node = Sort(node, tuple(keys))
    node = limited(binder, node, query)
    if hidden:
        kept = binder.copies(f for f, _ in columns)
        node, columns = Project(node, tuple((new, e) for new, e in kept)), tuple((new, Ref(new)) for new, _ in kept)
    return Relation(node, tuple(Binding((), f.name, f) for f, _ in columns))


def _sort_keys(
    binder: Binder, columns: tuple[tuple[Field, Expression], ...], sort_by: list[Expression], order: list[syntax.OrderKey]
) -> tuple[list[SortKey], list[tuple[Field, Expression]]]:
    """The keys over the columns, and what is computed beside these only to sort by it."""
    hidden: list[tuple[Field, Expression]] = []
    keys: list[SortKey] = []
    for expression, key in zip(sort_by, order, strict=True):
        found = next((f for f, e in (*columns, *hidden) if e == expression), None)
        if found is None:
            found = binder.field("", expression.type, expression.nullable)
            hidden.append((found, expression))
        keys.append(SortKey(Ref(found), key.descending, bool(key.nulls_first)))
    return keys, hidden


def _only(typed: list[Expression], available: list[Field], items: tuple[syntax.Item, ...]) -> None:
    """Every reference is to an available field. Raises NotGrouped."""
    known = {f.number for f in available}
    for expression, item in zip(typed, (*items, *([None] * len(typed))), strict=False):
        if not references(expression) <= known:
            raise NotGrouped(
                "A column is neither in GROUP BY nor in an aggregate.",
                advice="Group by it or aggregate it.",
                line=item.at.line if item else 0,
                column=item.at.column if item else 0,
            )
