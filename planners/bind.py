"""Bind: syntax to a logical plan. Names become fields, every expression gets DuckDB's type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from typing import TypeVar

from sdh.errors import InternalError, ParameterError, Unsupported
from sdh.parsers import syntax
from sdh.planners.annotate import Typer
from sdh.planners.bind_select import bind_select
from sdh.planners.bind_set_operations import bind_set_operation
from sdh.planners.binding import Binder, Common
from sdh.planners.logical import Node, fields
from sdh.planners.oracle import Oracle
from sdh.planners.scopes import Relation
from sdh.schema import Schema

T = TypeVar("T")

TOO_DEEP = 64
"""Nesting of derived tables and common table expressions."""


def bind(query: syntax.Query, oracle: Oracle, params: dict[str, object], schema: Schema,
         shared: Callable[[Node], bool] = lambda _: False) -> Node:  # fmt: skip
    """The logical plan of a query whose result DuckDB describes as `schema`. Raises QuestionError classes.

    shared: which common table expressions, by their plan, are one for all their uses; others are bound for each.
    """
    uses = Counter(table.parts[0].lower() for table in _of_kind(query, syntax.Table) if len(table.parts) == 1)
    relation = bind_query(Binder(oracle.catalog, Typer(oracle), params, shared, uses, bind_query), query, {})
    found = tuple(str(f.type) for f in fields(relation.node))
    if found != tuple(str(column.type) for column in schema):
        raise InternalError(f"SDH typed the result as {found}, DuckDB as {tuple(str(c.type) for c in schema)}.")
    return relation.node


def check_parameters(query: syntax.Query, params: dict[str, object]) -> None:
    """Every $parameter has a value and every value a $parameter. Raises ParameterError."""
    found = {parameter.name: parameter for parameter in _of_kind(query, syntax.Parameter)}
    for name, parameter in found.items():
        if name not in params:
            raise ParameterError(
                f"The parameter ${name} has no value.",
                advice=f"Give params={{{name!r}: ...}}.",
                line=parameter.at.line,
                column=parameter.at.column,
            )
    unused = sorted(set(params) - set(found))
    if unused:
        raise ParameterError(f"The query has no parameter ${unused[0]}.", advice="Leave it out of params.")


def bind_query(binder: Binder, query: syntax.Query, common: Common) -> Relation:
    """A query with its common tables, inside or outside another. Raises QuestionError classes."""
    binder.depth += 1
    if binder.depth > TOO_DEEP:
        raise Unsupported("Queries are nested too deep.", advice=f"Nest at most {TOO_DEEP}.")
    visible = common
    for table in query.common:
        visible = visible | {table.name.lower(): (table, visible)}
    if isinstance(query, syntax.Select):
        found = bind_select(binder, query, visible)
    else:
        found = bind_set_operation(binder, query, visible)
    binder.depth -= 1
    return found


def _of_kind(node: object, kind: type[T]) -> Iterator[T]:
    """The outermost parts of some syntax that are of a kind."""
    if isinstance(node, kind):
        yield node
    elif isinstance(node, tuple):
        for part in node:
            yield from _of_kind(part, kind)
    elif is_dataclass(node):
        for one in dataclass_fields(node):
            yield from _of_kind(getattr(node, one.name), kind)
