"""Bind ORDER BY, LIMIT and OFFSET, and the numbers that stand for columns."""

from __future__ import annotations

from dataclasses import replace

from sdh.errors import NotGrouped, Unsupported
from sdh.parsers import syntax
from sdh.planners import expressions as bound
from sdh.planners.bind_expressions import untyped
from sdh.planners.binding import Binder, Names, unsupported
from sdh.planners.expressions import Expression, Ref
from sdh.planners.logical import Limit, Node, SortKey
from sdh.planners.scopes import Scope


def order_key(
    binder: Binder, key: syntax.OrderKey, items: tuple[syntax.Item, ...], outputs: list[Expression], names: Names
) -> tuple[Expression, syntax.OrderKey]:
    """What a SELECT sorts by, still untyped: an output by its number or name, or an expression of its own."""
    match key.expression:
        case syntax.Number() as number:
            return outputs[ordinal(number, len(items))], key
        case syntax.Name((name,)):
            named = [(item, output) for item, output in zip(items, outputs, strict=True)
                     if column_name(item).lower() == name.lower()]  # fmt: skip
            aliased = [output for item, output in named if item.alias]
            if named:   # of several aliases DuckDB takes the last
                return aliased[-1] if aliased else named[0][1], key
    return untyped(binder, key.expression, names), key


def every_column(keys: tuple[syntax.OrderKey, ...], count: int) -> tuple[syntax.OrderKey, ...]:
    """ORDER BY ALL as the numbers of all columns; other keys as they are."""
    if not any(key.every for key in keys):
        return keys
    return tuple(replace(keys[0], expression=syntax.Number(str(i + 1), keys[0].at), every=False) for i in range(count))


def union_key(binder: Binder, key: syntax.OrderKey, scope: Scope) -> SortKey:
    """What a set operation sorts by: one of its columns. Raises Unsupported."""
    e = key.expression
    found = Ref(scope[ordinal(e, len(scope))].field) if isinstance(e, syntax.Number) else untyped(binder, e, Names(scope))
    if not isinstance(found, Ref) or all(found.field != b.field for b in scope):
        raise unsupported("ORDER BY an expression after UNION", key.at, "Order by a column, or put the UNION into FROM.")
    return SortKey(found, key.descending, bool(key.nulls_first))


def ordinal(number: syntax.Expression, length: int) -> int:
    """Which of `length` columns a number stands for, from 0. Raises NotGrouped."""
    assert isinstance(number, syntax.Number)
    text = number.text
    if not text.isdigit() or not 1 <= int(text) <= length:
        raise NotGrouped(
            f"There is no column number {text}.", advice=f"There are {length}.", line=number.at.line, column=number.at.column
        )
    return int(text) - 1


def limited(binder: Binder, node: Node, query: syntax.Query) -> Node:
    """The rows that LIMIT and OFFSET leave. Raises Unsupported."""
    limit, offset = _count(binder, query.limit), _count(binder, query.offset)
    return node if limit is None and not offset else Limit(node, limit, offset or 0)


def _count(binder: Binder, expression: syntax.Expression | None) -> int | None:
    if expression is None:
        return None
    constant = binder.typer.typed([untyped(binder, expression, Names(()))])[0]
    if not isinstance(constant, bound.Constant):
        raise Unsupported(
            "LIMIT and OFFSET take a number.",
            advice="Write a constant.",
            line=expression.at.line,
            column=expression.at.column,
        )
    value = binder.typer.constant(f"CAST({constant.sql} AS BIGINT)").value
    if value is not None and int(value) < 0:
        raise Unsupported("LIMIT and OFFSET cannot be negative.", line=expression.at.line, column=expression.at.column)
    return None if value is None else int(value)


def column_name(item: syntax.Item) -> str:
    """What an item of a select list is called; '' where it has no name."""
    if item.alias:
        return item.alias
    return item.expression.parts[-1] if isinstance(item.expression, syntax.Name) else ""
