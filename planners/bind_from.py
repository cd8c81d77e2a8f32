"""Bind FROM: tables, federated tables, common and derived tables, and joins."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from sdh.catalog import Federated, TableFacts, federated_facts, parts_of
from sdh.errors import UnknownTable
from sdh.parsers import syntax
from sdh.planners import decorrelate
from sdh.planners import expressions as bound
from sdh.planners.annotate import UNTYPED
from sdh.planners.bind_expressions import bind_condition
from sdh.planners.bind_subqueries import filtered, subquery_of
from sdh.planners.binding import Binder, Common, Names, placed, unsupported
from sdh.planners.expressions import Expression, Field, Ref, conjunction, references, substitute
from sdh.planners.logical import Join, Node, OneRow, Project, Reused, Scan, UnionAll, fields
from sdh.planners.oracle import nearest_names
from sdh.planners.plan_expressions import free
from sdh.planners.scopes import Binding, Relation, common_names, current, position_of, renamed

ROTATED = frozenset({"INNER", "LEFT", "SEMI", "ANTI", "CROSS"})
OF_LEFT = frozenset({"SEMI", "ANTI"})
"""Joins of which only the left's columns can be named."""


def bind_relation(binder: Binder, source: syntax.Relation | None, common: Common) -> Relation:
    """The rows that FROM offers, one without columns where there is none, and the names of their columns."""
    match source:
        case None:
            return Relation(OneRow(), ())
        case syntax.Table():
            return _table(binder, source, common)
        case syntax.Derived(query, alias, columns):
            return renamed(binder.query(binder, query, common), alias, columns)
        case syntax.Join():
            return _join(binder, source, common)
        case _:
            assert_never(source)


def _table(binder: Binder, table: syntax.Table, common: Common) -> Relation:
    name = table.parts[-1]
    if len(table.parts) == 1 and name.lower() in common:
        found, visible = common[name.lower()]
        inner = renamed(_common_table(binder, found, visible), name, found.columns)
        return renamed(inner, table.alias or name, table.columns)
    wanted = ".".join(table.parts).lower()
    for federated in binder.catalog.federated:
        if federated.name.lower() == wanted:
            return _federated(binder, table, federated)
    facts = _find(binder, table)
    columns = tuple((c.name, binder.field(f"{table.alias or name}.{c.name}", c.type, c.nullable)) for c in facts.columns)
    scan = Scan(facts, columns)
    qualifiers = (table.alias,) if table.alias else (name, facts.full_name)
    scope = tuple(Binding(qualifiers, column, f) for column, f in columns)
    return renamed(Relation(scan, scope), "", table.columns)


def _common_table(binder: Binder, table: syntax.CommonTable, visible: Common) -> Relation:
    """Bound again for every use, unless all uses share it: then each use only has names and fields of its own."""
    if binder.uses[table.name.lower()] < 2:
        return binder.query(binder, table.query, visible)
    if id(table) not in binder.definitions:
        relation = binder.query(binder, table.query, visible)
        alike = not free(relation.node) and binder.shared(relation.node)
        binder.definitions[id(table)] = (next(binder.numbers), relation) if alike else None
        if not alike:
            return relation
    definition = binder.definitions[id(table)]
    return binder.query(binder, table.query, visible) if definition is None else _use(binder, *definition)


def _use(binder: Binder, number: int, definition: Relation) -> Relation:
    outputs = tuple((binder.field(f.name, f.type, f.nullable), f) for f in fields(definition.node))
    own = {its.number: f for f, its in outputs}
    return Relation(Reused(number, definition.node, outputs),
                    tuple(replace(b, field=own[b.field.number]) for b in definition.scope))  # fmt: skip


def _federated(binder: Binder, table: syntax.Table, federated: Federated) -> Relation:
    """The union of the parts: each is its owner's, with that owner's policy."""
    whole, alias = federated_facts(federated, binder.catalog), table.alias or table.parts[-1]
    outputs = tuple(binder.field(f"{alias}.{c.name}", c.type, c.nullable) for c in whole.columns)
    scans = tuple(
        Scan(part, tuple((c.name, binder.field(f"{part.full_name}.{c.name}", c.type, c.nullable)) for c in part.columns))
        for part in parts_of(federated, binder.catalog)
    )
    by_name = {c.name.lower(): f.number for c, f in zip(whole.columns, outputs, strict=True)}
    keys = tuple(frozenset(by_name[column.lower()] for column in key) for key in federated.keys)
    qualifiers = (table.alias,) if table.alias else (table.parts[-1], whole.full_name)
    scope = tuple(Binding(qualifiers, c.name, f) for c, f in zip(whole.columns, outputs, strict=True))
    return renamed(Relation(UnionAll(scans, outputs, keys), scope), "", table.columns)


def _find(binder: Binder, table: syntax.Table) -> TableFacts:
    wanted = ".".join(table.parts).lower()
    for facts in binder.catalog.tables:
        if facts.full_name.lower() == wanted:
            return facts
    raise UnknownTable(
        f"There is no table {'.'.join(table.parts)}.",
        advice=nearest_names(".".join(table.parts), (t.full_name for t in binder.catalog.named)),
        line=table.at.line,
        column=table.at.column,
    )


def _join(binder: Binder, join: syntax.Join, common: Common) -> Relation:
    join = _rotated(join)
    left, right = bind_relation(binder, join.left, common), bind_relation(binder, join.right, common)
    kind = "INNER" if join.kind == "CROSS" else join.kind
    if join.using or join.natural:
        return _using(binder, join, kind, left, right)
    scope = left.scope + right.scope
    if join.on is None:
        return Relation(Join(kind, left.node, right.node, None), scope)
    names = Names(scope, common=common)
    predicate = bind_condition(binder, join.on, names)
    if kind != "INNER":
        node = _outer_join(binder, kind, left.node, right.node, predicate, names)
    elif names.subqueries:
        node, _ = filtered(binder, Join(kind, left.node, right.node, None), predicate, names.subqueries)
    else:
        node = Join(kind, left.node, right.node, predicate)
    return Relation(node, current(left.scope if kind in OF_LEFT else scope, node))


def _outer_join(binder: Binder, kind: str, left: Node, right: Node, predicate: Expression, names: Names) -> Node:
    """A subquery in ON has its value beside the rows of the one side that it refers to."""
    values: dict[int, Expression] = {}
    lefts, rights = ({f.number for f in fields(side)} for side in (left, right))
    for pending in names.subqueries.values():
        subquery = subquery_of(binder, pending, values)
        read = free(subquery.plan) | references(subquery.condition)
        if read & lefts and read & rights:
            what = "A subquery in ON that refers to both sides of an outer join"
            raise unsupported(what, pending.at, "Write it in WHERE.")
        with placed(pending.at):
            if read & lefts:
                left, value = decorrelate.as_value(left, subquery, binder.numbers)
            else:
                right, value = decorrelate.as_value(right, subquery, binder.numbers)
        values[pending.output.number] = value
    return Join(kind, left, right, substitute(predicate, values))


def _using(binder: Binder, join: syntax.Join, kind: str, left: Relation, right: Relation) -> Relation:
    """One column for both of a name: the left's, in a RIGHT join the right's, in a FULL join the one that is there."""
    parts: list[Expression] = []
    whole: list[tuple[Field, Expression]] = []
    first, second = list(left.scope), list(right.scope)
    for name in join.using or common_names(first, second, join):
        at_left, at_right = position_of(first, name, join), position_of(second, name, join)
        pair = (Ref(first[at_left].field), Ref(second[at_right].field))
        parts.append(bound.Apply("=", pair, UNTYPED))
        if kind in ("RIGHT", "FULL"):
            one = binder.field(first[at_left].name)
            whole.append((one, bound.Apply("coalesce", pair, UNTYPED) if kind == "FULL" else pair[1]))
            first[at_left] = replace(first[at_left], merged=True)
            first.insert(at_left, Binding((), one.name, one))
        second[at_right] = replace(second[at_right], merged=True)
    typed = binder.typer.typed([*parts, *(e for _, e in whole)])
    node: Node = Join(kind, left.node, right.node, conjunction(typed[: len(parts)]))
    if whole:
        merged = tuple((replace(f, type=e.type), e) for (f, _), e in zip(whole, typed[len(parts) :], strict=True))
        node = Project(node, (*((f, Ref(f)) for f in fields(node)), *merged))
    return Relation(node, current(tuple(first) if kind in OF_LEFT else tuple(first) + tuple(second), node))


def _rotated(join: syntax.Join) -> syntax.Join:
    """`a, b JOIN c ON ...` as `(a, b) JOIN c ON ...`: the same rows, and ON may name a's columns, as in DuckDB."""
    match join:
        case syntax.Join("CROSS", left, syntax.Join(kind, middle, right, on, using, at, False)) if kind in ROTATED:
            return syntax.Join(kind, _rotated(syntax.Join("CROSS", left, middle, at=join.at)), right, on, using, at)
        case _:
            return join
