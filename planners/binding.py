"""What binding a question shares: where names are looked up, subqueries that wait for their joins, numbers of fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

from sdh.catalog import Catalog
from sdh.errors import Unsupported
from sdh.parsers import syntax
from sdh.planners.annotate import UNTYPED, Typer
from sdh.planners.expressions import Expression, Field, Ref
from sdh.planners.logical import Call, Node
from sdh.planners.scopes import Relation, Scope
from sdh.schema import Type

Common = dict[str, tuple[syntax.CommonTable, "Common"]]
"""Common table expressions by lower-case name, each with those that its own query sees."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A subquery that an expression refers to by `output`. comparison: of ANY, by its operator, still untyped."""

    output: Field
    kind: str
    plan: Node
    comparison: Expression | None
    at: syntax.Position


Pendings = dict[syntax.Expression, Pending]
"""By syntax: the same subquery in two clauses of one SELECT is one."""


@dataclass(slots=True)
class Names:
    """Where an expression looks names up. `aggregates` collects calls; None where an aggregate may not stand.

    subqueries: collects those of the expression; `below` those in the arguments of aggregates.
    """

    scope: Scope
    aliases: dict[str, syntax.Expression] = field(default_factory=dict)
    aggregates: list[tuple[Field, Call]] | None = None
    subqueries: Pendings = field(default_factory=dict)
    below: Pendings = field(default_factory=dict)
    common: Common = field(default_factory=dict)
    privacy: syntax.Privacy | None = None
    asked: dict[int, syntax.Call] = field(default_factory=dict)
    """The syntax of `aggregates`, by the number of their outputs."""


@dataclass(slots=True)
class Binder:
    """What binding one question shares.

    uses: how often a name stands for a table in the text, in lower case: a common table's is used no more often.
    query: bind.bind_query, to which derived tables and subqueries come back. shared: which common tables are one for all uses.
    definitions: common tables by the `id` of their syntax: (number, rows) of those that are shared, None of others.
    outer: the scopes of the queries around the one that is bound, the nearest first.
    """

    catalog: Catalog
    typer: Typer
    params: dict[str, object]
    shared: Callable[[Node], bool]
    uses: Counter[str]
    query: Callable[[Binder, syntax.Query, Common], Relation]
    definitions: dict[int, tuple[int, Relation] | None] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    depth: int = 0
    outer: tuple[Scope, ...] = ()

    def field(self, name: str, type_: Type = UNTYPED, nullable: bool = True) -> Field:
        """A field under a number of its own."""
        return Field(next(self.numbers), name, type_, nullable)

    def copies(self, found: Iterable[Field]) -> tuple[tuple[Field, Expression], ...]:
        """The fields again, under numbers of their own."""
        return tuple((self.field(f.name, f.type, f.nullable), Ref(f)) for f in found)


@contextmanager
def placed(at: syntax.Position) -> Iterator[None]:
    """A refusal without a position stands at the subquery."""
    try:
        yield
    except Unsupported as error:
        error.line, error.column = error.line or at.line, error.column or at.column
        raise


def unsupported(what: str, at: syntax.Position, advice: str) -> Unsupported:
    """The refusal of `what`, at its position."""
    return Unsupported(f"{what} is not supported.", advice=advice, line=at.line, column=at.column)
