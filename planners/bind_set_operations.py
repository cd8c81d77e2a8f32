"""Bind UNION, INTERSECT and EXCEPT."""

from __future__ import annotations

from dataclasses import replace

from sdh.parsers import syntax
from sdh.planners import expressions as bound
from sdh.planners.bind_order import every_column, limited, union_key
from sdh.planners.binding import Binder, Common
from sdh.planners.expressions import Expression, Field, Ref
from sdh.planners.logical import Aggregate, Call, Filter, Node, Project, Sort, UnionAll, fields
from sdh.planners.scopes import Binding, Relation
from sdh.schema import BIGINT, BOOLEAN, HUGEINT, Type


def bind_set_operation(binder: Binder, query: syntax.SetOperation, common: Common) -> Relation:
    """Both sides' columns as the types that DuckDB gives them in common; the names are the left's."""
    parts = [binder.query(binder, part, common) for part in (query.left, query.right)]
    if query.by_name:
        parts = _by_name(binder, parts)
    sides = [fields(part.node) for part in parts]
    types = binder.typer.oracle.common_types([tuple(f.type for f in side) for side in sides])
    names = [b.name for b in parts[0].scope]
    outputs = tuple(binder.field(name, type_) for name, type_ in zip(names, types, strict=True))
    cast = [_cast(binder, part.node, types) for part in parts]
    if query.operator == "UNION":
        node: Node = UnionAll(tuple(one for part in cast for one in _parts(part)), outputs)
    else:
        node = _met(binder, query.operator, cast[0], cast[1], outputs)
    outputs = fields(node)
    if query.operator == "UNION" and query.distinct:
        kept = binder.copies(outputs)
        node, outputs = Aggregate(node, kept, ()), tuple(f for f, _ in kept)
    scope = tuple(Binding((), f.name, f) for f in outputs)
    keys = tuple(union_key(binder, key, scope) for key in every_column(query.order_by, len(scope)))
    return Relation(limited(binder, Sort(node, keys) if keys else node, query), scope)


def _by_name(binder: Binder, parts: list[Relation]) -> list[Relation]:
    """Both sides with the columns of either, the left's first; what a side has not is NULL."""
    first: dict[str, Field] = {}
    for b in (b for part in parts for b in part.scope):
        first.setdefault(b.name.lower(), replace(b.field, name=b.name))
    found: list[Relation] = []
    for part in parts:
        own: dict[str, Expression] = {b.name.lower(): Ref(b.field) for b in part.scope}
        values = [(f.name, own.get(key) or _null(f.type)) for key, f in first.items()]
        outputs = tuple((binder.field(name, e.type, e.nullable), e) for name, e in values)
        found.append(Relation(Project(part.node, outputs), tuple(Binding((), f.name, f) for f, _ in outputs)))
    return found


def _null(type_: Type) -> Expression:
    return bound.Constant(type_, None, f"CAST(NULL AS {type_})")


def _met(binder: Binder, operator: str, left: Node, right: Node, outputs: tuple[Field, ...]) -> Node:
    """INTERSECT and EXCEPT, for which NULLs are equal: the groups of all rows that have some of the left's, and some,
    or none, of the right's."""
    side = binder.field("left", BOOLEAN, nullable=False)
    sides = tuple(_marked(binder, *one) for one in ((left, bound.TRUE), (right, bound.FALSE)))
    whole = UnionAll(sides, (*outputs, side))
    *columns, mark = fields(whole)
    keys = binder.copies(columns)
    own, rows = binder.field("left", HUGEINT), binder.field("rows", BIGINT, nullable=False)
    groups = Aggregate(whole, keys, (Call(own, "sum", (Ref(mark),)), Call(rows, "count_star", ())))
    zero = bound.Constant(BIGINT, 0, "CAST(0 AS BIGINT)")
    both = _typed("AND", _typed("<", zero, Ref(own)), _typed("<", Ref(own), Ref(rows)))
    found = Filter(groups, both if operator == "INTERSECT" else _typed("=", Ref(own), Ref(rows)))
    return Project(found, binder.copies(f for f, _ in keys))


def _marked(binder: Binder, node: Node, side: Expression) -> Node:
    return Project(node, (*binder.copies(fields(node)), (binder.field("left", BOOLEAN, nullable=False), side)))


def _cast(binder: Binder, node: Node, types: list[Type]) -> Node:
    """The columns as the union's types."""
    if [f.type for f in fields(node)] == types:
        return node
    pairs = tuple(zip(fields(node), types, strict=True))
    casts = tuple((f.name, Ref(f) if f.type == type_ else bound.Cast(Ref(f), type_)) for f, type_ in pairs)
    return Project(node, tuple((binder.field(name, e.type, e.nullable), e) for name, e in casts))


def _parts(node: Node) -> tuple[Node, ...]:
    """A union's own inputs, so that a chain of UNION ALL is one node."""
    return node.inputs if isinstance(node, UnionAll) else (node,)


def _typed(function: str, *arguments: Expression) -> Expression:
    return bound.Apply(function, arguments, BOOLEAN, any(one.nullable for one in arguments))
