"""Bind: syntax to a logical plan. Names become fields, every expression gets DuckDB's type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, is_dataclass, replace
from dataclasses import fields as dataclass_fields
from itertools import count
from typing import TypeVar, assert_never

from sdh.catalog import Catalog, Federated, TableFacts, federated_facts, parts_of
from sdh.errors import AmbiguousColumn, InternalError, NotGrouped, ParameterError, UnknownColumn, UnknownTable, Unsupported
from sdh.parsers import syntax
from sdh.parsers.accepted import AGGREGATES
from sdh.planners import decorrelate
from sdh.planners import expressions as bound
from sdh.planners.annotate import UNTYPED, Typer, condition
from sdh.planners.decorrelate import Subquery
from sdh.planners.expressions import Expression, Field, Ref, conjunction, conjuncts, references, substitute, transform
from sdh.planners.logical import (
    Aggregate,
    Call,
    Filter,
    Join,
    Limit,
    Node,
    OneRow,
    Private,
    PrivateCall,
    Project,
    Reused,
    Scan,
    Sort,
    SortKey,
    UnionAll,
    call_expressions,
    fields,
    nodes,
)
from sdh.planners.oracle import Oracle, nearest_names
from sdh.planners.private_units import units_of
from sdh.planners.push_filters import push_filters
from sdh.planners.render import call_sql, literal
from sdh.planners.scopes import Binding, Relation, Scope, StarItem, common_names, current, expanded, position_of, renamed
from sdh.schema import BIGINT, BOOLEAN, HUGEINT, Schema, Type

TOO_DEEP = 64
"""Nesting of derived tables and common table expressions."""


ROTATED = frozenset({"INNER", "LEFT", "SEMI", "ANTI", "CROSS"})
OF_LEFT = frozenset({"SEMI", "ANTI"})
"""Joins of which only the left's columns can be named."""
NEGATED = {"=": "<>", "<>": "=", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}

Common = dict[str, tuple[syntax.CommonTable, "Common"]]
"""Common table expressions by lower-case name, each with those that its own query sees."""


@dataclass(frozen=True, slots=True)
class _Pending:
    """A subquery that an expression refers to by `output`. comparison: of ANY, by its operator, still untyped."""

    output: Field
    kind: str
    plan: Node
    comparison: Expression | None
    at: syntax.Position


T = TypeVar("T")
Pendings = dict[syntax.Expression, _Pending]
"""By syntax: the same subquery in two clauses of one SELECT is one."""


@dataclass(slots=True)
class _Names:
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


def bind(query: syntax.Query, oracle: Oracle, params: dict[str, object], schema: Schema,
         shared: Callable[[Node], bool] = lambda _: False) -> Node:  # fmt: skip
    """The logical plan of a query whose result DuckDB describes as `schema`. Raises QuestionError classes.

    shared: which common table expressions, by their plan, are one for all their uses; others are bound for each.
    """
    binder = _Binder(oracle.catalog, Typer(oracle), params, shared)
    binder.uses = Counter(table.parts[0].lower() for table in _of_kind(query, syntax.Table) if len(table.parts) == 1)
    relation = binder.query(query, {})
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


class _Binder:
    def __init__(
        self, catalog: Catalog, typer: Typer, params: dict[str, object], shared: Callable[[Node], bool]
    ) -> None:
        self._catalog, self._typer, self._params, self._shared = catalog, typer, params, shared
        self.uses = Counter[str]()
        """How often a name stands for a table in the text, in lower case: a common table's is used no more often."""
        self._definitions: dict[int, tuple[int, Relation] | None] = {}
        """Common tables by the `id` of their syntax: (number, rows) of those that are shared, None of others."""
        self._numbers = count(1)
        self._depth = 0
        self._outer: tuple[Scope, ...] = ()
        """Of the queries around the one that is bound, the nearest first."""

    def _field(self, name: str, type_: Type = UNTYPED, nullable: bool = True) -> Field:
        return Field(next(self._numbers), name, type_, nullable)

    # --- relations -------------------------------------------------------------------------------

    def relation(self, source: syntax.Relation | None, common: Common) -> Relation:
        match source:
            case None:
                return Relation(OneRow(), ())
            case syntax.Table():
                return self._table(source, common)
            case syntax.Derived(query, alias, columns):
                return renamed(self.query(query, common), alias, columns)
            case syntax.Join():
                return self._join(source, common)
            case _:
                assert_never(source)

    def _table(self, table: syntax.Table, common: Common) -> Relation:
        name = table.parts[-1]
        if len(table.parts) == 1 and name.lower() in common:
            found, visible = common[name.lower()]
            inner = renamed(self._common(found, visible), name, found.columns)
            return renamed(inner, table.alias or name, table.columns)
        wanted = ".".join(table.parts).lower()
        for federated in self._catalog.federated:
            if federated.name.lower() == wanted:
                return self._federated(table, federated)
        facts = self._find(table)
        columns = tuple((c.name, self._field(f"{table.alias or name}.{c.name}", c.type, c.nullable)) for c in facts.columns)
        scan = Scan(facts, columns)
        qualifiers = (table.alias,) if table.alias else (name, facts.full_name)
        scope = tuple(Binding(qualifiers, column, f) for column, f in columns)
        return renamed(Relation(scan, scope), "", table.columns)

    def _common(self, table: syntax.CommonTable, visible: Common) -> Relation:
        """Bound again for every use, unless all uses share it: then each use only has names and fields of its own."""
        if self.uses[table.name.lower()] < 2:
            return self.query(table.query, visible)
        if id(table) not in self._definitions:
            relation = self.query(table.query, visible)
            alike = not decorrelate.free(relation.node) and self._shared(relation.node)
            self._definitions[id(table)] = (next(self._numbers), relation) if alike else None
            if not alike:
                return relation
        definition = self._definitions[id(table)]
        return self.query(table.query, visible) if definition is None else self._use(*definition)

    def _use(self, number: int, definition: Relation) -> Relation:
        outputs = tuple((self._field(f.name, f.type, f.nullable), f) for f in fields(definition.node))
        own = {its.number: f for f, its in outputs}
        return Relation(Reused(number, definition.node, outputs),
                        tuple(replace(b, field=own[b.field.number]) for b in definition.scope))  # fmt: skip

    def _federated(self, table: syntax.Table, federated: Federated) -> Relation:
        """The union of the parts: each is its owner's, with that owner's policy."""
        whole, alias = federated_facts(federated, self._catalog), table.alias or table.parts[-1]
        outputs = tuple(self._field(f"{alias}.{c.name}", c.type, c.nullable) for c in whole.columns)
        scans = tuple(
            Scan(part, tuple((c.name, self._field(f"{part.full_name}.{c.name}", c.type, c.nullable)) for c in part.columns))
            for part in parts_of(federated, self._catalog)
        )
        by_name = {c.name.lower(): f.number for c, f in zip(whole.columns, outputs, strict=True)}
        keys = tuple(frozenset(by_name[column.lower()] for column in key) for key in federated.keys)
        qualifiers = (table.alias,) if table.alias else (table.parts[-1], whole.full_name)
        scope = tuple(Binding(qualifiers, c.name, f) for c, f in zip(whole.columns, outputs, strict=True))
        return renamed(Relation(UnionAll(scans, outputs, keys), scope), "", table.columns)

    def _find(self, table: syntax.Table) -> TableFacts:
        wanted = ".".join(table.parts).lower()
        for facts in self._catalog.tables:
            if facts.full_name.lower() == wanted:
                return facts
        raise UnknownTable(
            f"There is no table {'.'.join(table.parts)}.",
            advice=nearest_names(".".join(table.parts), (t.full_name for t in self._catalog.named)),
            line=table.at.line,
            column=table.at.column,
        )

    def _join(self, join: syntax.Join, common: Common) -> Relation:
        join = _rotated(join)
        left, right = self.relation(join.left, common), self.relation(join.right, common)
        kind = "INNER" if join.kind == "CROSS" else join.kind
        if join.using or join.natural:
            return self._using(join, kind, left, right)
        scope = left.scope + right.scope
        if join.on is None:
            return Relation(Join(kind, left.node, right.node, None), scope)
        names = _Names(scope, common=common)
        predicate = self._condition(join.on, names)
        if kind != "INNER":
            node = self._outer_join(kind, left.node, right.node, predicate, names)
        elif names.subqueries:
            node, _ = self._filtered(Join(kind, left.node, right.node, None), predicate, names.subqueries)
        else:
            node = Join(kind, left.node, right.node, predicate)
        return Relation(node, current(left.scope if kind in OF_LEFT else scope, node))

    def _outer_join(self, kind: str, left: Node, right: Node, predicate: Expression, names: _Names) -> Node:
        """A subquery in ON has its value beside the rows of the one side that it refers to."""
        values: dict[int, Expression] = {}
        lefts, rights = ({f.number for f in fields(side)} for side in (left, right))
        for pending in names.subqueries.values():
            subquery = self._subquery(pending, values)
            read = decorrelate.free(subquery.plan) | references(subquery.condition)
            if read & lefts and read & rights:
                what = "A subquery in ON that refers to both sides of an outer join"
                raise _unsupported(what, pending.at, "Write it in WHERE.")
            with _placed(pending.at):
                if read & lefts:
                    left, value = decorrelate.as_value(left, subquery, self._numbers)
                else:
                    right, value = decorrelate.as_value(right, subquery, self._numbers)
            values[pending.output.number] = value
        return Join(kind, left, right, substitute(predicate, values))

    def _using(self, join: syntax.Join, kind: str, left: Relation, right: Relation) -> Relation:
        """One column for both of a name: the left's, in a RIGHT join the right's, in a FULL join the one that is there."""
        parts: list[Expression] = []
        whole: list[tuple[Field, Expression]] = []
        first, second = list(left.scope), list(right.scope)
        for name in join.using or common_names(first, second, join):
            at_left, at_right = position_of(first, name, join), position_of(second, name, join)
            pair = (Ref(first[at_left].field), Ref(second[at_right].field))
            parts.append(bound.Apply("=", pair, UNTYPED))
            if kind in ("RIGHT", "FULL"):
                one = self._field(first[at_left].name)
                whole.append((one, bound.Apply("coalesce", pair, UNTYPED) if kind == "FULL" else pair[1]))
                first[at_left] = replace(first[at_left], merged=True)
                first.insert(at_left, Binding((), one.name, one))
            second[at_right] = replace(second[at_right], merged=True)
        typed = self._typer.typed([*parts, *(e for _, e in whole)])
        node: Node = Join(kind, left.node, right.node, conjunction(typed[: len(parts)]))
        if whole:
            merged = tuple((replace(f, type=e.type), e) for (f, _), e in zip(whole, typed[len(parts) :], strict=True))
            node = Project(node, (*((f, Ref(f)) for f in fields(node)), *merged))
        return Relation(node, current(tuple(first) if kind in OF_LEFT else tuple(first) + tuple(second), node))

    # --- queries ---------------------------------------------------------------------------------

    def query(self, query: syntax.Query, common: Common) -> Relation:
        self._depth += 1
        if self._depth > TOO_DEEP:
            raise Unsupported("Queries are nested too deep.", advice=f"Nest at most {TOO_DEEP}.")
        visible = common
        for table in query.common:
            visible = visible | {table.name.lower(): (table, visible)}
        found = self.select(query, visible) if isinstance(query, syntax.Select) else self._union(query, visible)
        self._depth -= 1
        return found

    def _union(self, query: syntax.SetOperation, common: Common) -> Relation:
        parts = [self.query(part, common) for part in (query.left, query.right)]
        sides = [fields(part.node) for part in parts]
        types = self._typer.oracle.common_types([tuple(f.type for f in side) for side in sides])
        names = [b.name for b in parts[0].scope]
        outputs = tuple(self._field(name, type_) for name, type_ in zip(names, types, strict=True))
        cast = [self._cast(part.node, types) for part in parts]
        if query.operator == "UNION":
            node: Node = UnionAll(tuple(one for part in cast for one in _parts(part)), outputs)
        else:
            node = self._met(query.operator, cast[0], cast[1], outputs)
        outputs = fields(node)
        if query.operator == "UNION" and query.distinct:
            kept = tuple((self._field(f.name, f.type, f.nullable), Ref(f)) for f in outputs)
            node, outputs = Aggregate(node, kept, ()), tuple(f for f, _ in kept)
        scope = tuple(Binding((), f.name, f) for f in outputs)
        keys = tuple(self._union_key(key, scope) for key in query.order_by)
        return Relation(self._limited(Sort(node, keys) if keys else node, query), scope)

    def _met(self, operator: str, left: Node, right: Node, outputs: tuple[Field, ...]) -> Node:
        """INTERSECT and EXCEPT, for which NULLs are equal: the groups of all rows that have some of the left's, and some,
        or none, of the right's."""
        side = self._field("left", BOOLEAN, nullable=False)
        sides = tuple(self._marked(*one) for one in ((left, bound.TRUE), (right, bound.FALSE)))
        whole = UnionAll(sides, (*outputs, side))
        *columns, mark = fields(whole)
        keys = tuple((self._field(f.name, f.type, f.nullable), Ref(f)) for f in columns)
        own, rows = self._field("left", HUGEINT), self._field("rows", BIGINT, nullable=False)
        groups = Aggregate(whole, keys, (Call(own, "sum", (Ref(mark),)), Call(rows, "count_star", ())))
        zero = bound.Constant(BIGINT, 0, "CAST(0 AS BIGINT)")
        both = _typed("AND", _typed("<", zero, Ref(own)), _typed("<", Ref(own), Ref(rows)))
        found = Filter(groups, both if operator == "INTERSECT" else _typed("=", Ref(own), Ref(rows)))
        return Project(found, tuple((self._field(f.name, f.type, f.nullable), Ref(f)) for f, _ in keys))

    def _marked(self, node: Node, side: Expression) -> Node:
        own = tuple((self._field(f.name, f.type, f.nullable), Ref(f)) for f in fields(node))
        return Project(node, (*own, (self._field("left", BOOLEAN, nullable=False), side)))

    def _cast(self, node: Node, types: list[Type]) -> Node:
        """The columns as the union's types."""
        if [f.type for f in fields(node)] == types:
            return node
        pairs = tuple(zip(fields(node), types, strict=True))
        casts = tuple((f.name, Ref(f) if f.type == type_ else bound.Cast(Ref(f), type_)) for f, type_ in pairs)
        return Project(node, tuple((self._field(name, e.type, e.nullable), e) for name, e in casts))

    def _union_key(self, key: syntax.OrderKey, scope: Scope) -> SortKey:
        e = key.expression
        found = Ref(scope[_ordinal(e, len(scope))].field) if isinstance(e, syntax.Number) else self._untyped(e, _Names(scope))
        if not isinstance(found, Ref) or all(found.field != b.field for b in scope):
            raise _unsupported("ORDER BY an expression after UNION", key.at, "Order by a column, or put the UNION into FROM.")
        return SortKey(found, key.descending, bool(key.nulls_first))

    def _limited(self, node: Node, query: syntax.Query) -> Node:
        limit, offset = self._count(query.limit), self._count(query.offset)
        return node if limit is None and not offset else Limit(node, limit, offset or 0)

    def select(self, query: syntax.Select, visible: Common) -> Relation:
        source = self.relation(query.source, visible)
        items = expanded(query.items, source.scope)
        aliases = {
            item.alias.lower(): item.expression for item in items if item.alias and not isinstance(item.expression, syntax.Star)
        }
        node = source.node
        if query.where is not None:
            names = _Names(source.scope, aliases, common=visible)
            node, _ = self._filtered(node, self._condition(query.where, names), names.subqueries)
        names = _Names(source.scope, aliases, aggregates=[], common=visible, privacy=query.privacy)
        return self._output(query, Relation(node, source.scope), items, names)

    def _output(self, query: syntax.Select, source: Relation, items: tuple[syntax.Item, ...], names: _Names) -> Relation:
        outputs = self._items(items, names)
        having = None if query.having is None else self._untyped(query.having, names)
        order = [self._order_key(key, items, outputs, names) for key in query.order_by]
        calls = names.aggregates or []
        if query.privacy is not None and not calls:
            raise _unsupported("WITH DIFFERENTIAL_PRIVACY without an aggregate", query.privacy.at, "Add COUNT, SUM or AVG.")
        keys = self._group_keys(query, items, outputs, names)
        node, everything = source.node, [*outputs, *([] if having is None else [having]), *(e for e, _ in order)]
        grouped = bool(keys or calls or query.group_by or query.group_all or having is not None)
        available = [b.field for b in source.scope]
        if grouped:
            node, everything = self._aggregate(source, keys, calls, everything, names)
            available = list(fields(node))
        typed = self._typer.typed(everything)
        around = [b.field for scope in self._outer for b in scope] + [p.output for p in names.subqueries.values()]
        _only(typed, [*available, *around], items)
        rest = references(*(e for i, e in enumerate(typed) if having is None or i != len(outputs)))
        values: dict[int, Expression] = {}
        if having is not None:
            node, values = self._filtered(node, condition(typed[len(outputs)]), names.subqueries, rest)
        node, values = self._valued(node, names.subqueries, rest, values)
        typed = [substitute(e, values) for e in typed]
        return self._finish(query, node, items, outputs, typed, order, having is not None)

    def _finish(
        self,
        query: syntax.Select,
        node: Node,
        items: tuple[syntax.Item, ...],
        outputs: list[Expression],
        typed: list[Expression],
        order: list[tuple[Expression, syntax.OrderKey]],
        having: bool,
    ) -> Relation:
        columns = tuple(
            (self._field(_name(item), e.type, e.nullable), e) for item, e in zip(items, typed[: len(outputs)], strict=True)
        )
        sort_by = typed[len(outputs) + having :]
        hidden: list[tuple[Field, Expression]] = []
        keys: list[SortKey] = []
        for expression, (_, key) in zip(sort_by, order, strict=True):
            found = next((f for f, e in (*columns, *hidden) if e == expression), None)
            if found is None:
                found = self._field("", expression.type, expression.nullable)
                hidden.append((found, expression))
            keys.append(SortKey(Ref(found), key.descending, bool(key.nulls_first)))
        node = Project(node, columns + tuple(hidden))
        if query.distinct:
            if hidden:
                raise Unsupported(
                    "ORDER BY a column that SELECT DISTINCT drops is not supported.", advice="Select the column too."
                )
            renamed = tuple((self._field(f.name, f.type, f.nullable), Ref(f)) for f, _ in columns)
            by_old = {old.number: Ref(new) for (new, _), (old, _) in zip(renamed, columns, strict=True)}
            node = Aggregate(node, renamed, ())
            keys = [replace(key, expression=substitute(key.expression, dict(by_old))) for key in keys]
            columns = tuple((new, e) for (new, _), (_, e) in zip(renamed, columns, strict=True))
        if keys:
            node = Sort(node, tuple(keys))
        node = self._limited(node, query)
        if hidden:
            kept = tuple((self._field(f.name, f.type, f.nullable), Ref(f)) for f, _ in columns)
            node, columns = Project(node, tuple((new, e) for new, e in kept)), tuple((new, Ref(new)) for new, _ in kept)
        return Relation(node, tuple(Binding((), f.name, f) for f, _ in columns))

    def _aggregate(
        self,
        source: Relation,
        keys: list[Expression],
        calls: list[tuple[Field, Call]],
        everything: list[Expression],
        names: _Names,
    ) -> tuple[Node, list[Expression]]:
        """Subqueries in keys and arguments have their values below the aggregate, all others see its keys."""
        rows = [*keys, *(e for _, call in calls for e in call_expressions(call))]
        self._check_outer(rows[len(keys) :], names)
        in_keys = {e: p for e, p in names.subqueries.items() if p.output.number in references(*keys)}
        node, values = self._valued(source.node, names.subqueries, references(*keys), {})
        node, values = self._valued(node, names.below, references(*rows), values)
        typed = [substitute(e, values) for e in self._typer.typed(rows)]
        typed_keys, rest = typed[: len(keys)], typed[len(keys) :]
        typed_calls: list[Call] = []
        for placeholder, call in calls:
            arguments, rest = tuple(rest[: len(call.arguments)]), rest[len(call.arguments) :]
            only, rest = (condition(rest[0]), rest[1:]) if call.filter is not None else (None, rest)
            typed_calls.append(replace(call, output=placeholder, arguments=arguments, filter=only))
        types = self._typer.types([call_sql(c) for c in typed_calls], [e for c in typed_calls for e in (*c.arguments, c.filter)])
        typed_calls = [
            replace(call, output=Field(call.output.number, call.function, type_, call.function not in ("count", "count_star")))
            for call, type_ in zip(typed_calls, types, strict=True)
        ]
        outputs = [(self._field(e.field.name if isinstance(e, Ref) else "", e.type, e.nullable), e) for e in typed_keys]
        by_key = {untyped: Ref(f) for untyped, (f, _) in zip(keys, outputs, strict=True)}
        by_number: dict[int, Expression] = {call.output.number: Ref(call.output) for call in typed_calls}

        def above(e: Expression) -> Expression:
            return substitute(transform(e, by_key.get), by_number)

        replaced = [above(e) for e in everything]
        self._check_keys(in_keys, replaced)
        by_field = {e.field.number: Ref(f) for f, e in outputs if isinstance(e, Ref)}
        for e, pending in names.subqueries.items():
            if e not in in_keys:
                names.subqueries[e] = _above(pending, above, by_field, source.scope)
        whole = Aggregate(node, tuple(outputs), tuple(typed_calls))
        return whole if names.privacy is None else self._private(whole, names), replaced

    def _private(self, whole: Aggregate, names: _Names) -> Private:
        """The aggregate as a block of differential privacy, with the column that tells units apart."""
        terms = names.privacy
        assert terms is not None
        named = None if terms.unit is None else self._name(terms.unit, names)
        with _placed(terms.at):
            units = units_of(push_filters(whole.input), self._catalog, named.field if isinstance(named, Ref) else None)
            calls = tuple(_bounded(call, names.asked[call.output.number]) for call in whole.calls)
        if any(isinstance(e, Ref) and e.field.number in units for _, e in whole.keys):
            raise _unsupported("GROUP BY the unit of WITH DIFFERENTIAL_PRIVACY", terms.at, "Group by what many units share.")
        found = {f.number: f for f in fields(whole.input)}
        unit = named.field if isinstance(named, Ref) else found[min(units)]
        return Private(whole.input, whole.keys, calls, unit, terms, units)

    def _check_outer(self, arguments: list[Expression], names: _Names) -> None:
        """An aggregate of outer columns is the outer query's in SQL. Raises Unsupported."""
        outer = {b.field.number for scope in self._outer for b in scope}
        if references(*arguments) & outer:
            raise Unsupported(
                "An aggregate of an outer query's columns in a subquery is not supported.",
                advice="Compute it in a derived table of the outer query.",
            )

    def _check_keys(self, in_keys: Pendings, above: list[Expression]) -> None:
        for pending in in_keys.values():
            if pending.output.number in references(*above):
                raise _unsupported("A subquery of GROUP BY as a part of another expression", pending.at, "Write it twice.")

    # --- subqueries ------------------------------------------------------------------------------

    def _filtered(
        self, node: Node, predicate: Expression, pendings: Pendings, kept: frozenset[int] = frozenset()
    ) -> tuple[Node, dict[int, Expression]]:
        """The rows that meet the predicate. Subqueries that are conjuncts filter; others, and those `kept`, get values."""
        if not pendings:
            return Filter(node, predicate), {}
        outputs = {p.output.number for p in pendings.values()}
        rest = [c for c in conjuncts(predicate) if references(c) & outputs]
        plain = conjunction([c for c in conjuncts(predicate) if not references(c) & outputs])
        node = node if plain is None else Filter(node, plain)
        values: dict[int, Expression] = {}
        for pending in _wanted(pendings, references(predicate)):
            alone = _alone(pending, rest, pendings)
            if alone is not None and pending.output.number not in kept:
                joined = self._joined(node, pending, values, negated=isinstance(alone, bound.Apply))
                if joined is not None:
                    node = joined
                    rest.remove(alone)
                    continue
            node, values = self._valued(node, pendings, frozenset({pending.output.number}), values)
        whole = conjunction(rest)
        return node if whole is None else Filter(node, substitute(whole, values)), values

    def _joined(self, node: Node, pending: _Pending, values: dict[int, Expression], negated: bool) -> Node | None:
        with _placed(pending.at):
            return decorrelate.as_filter(node, self._subquery(pending, values), negated)

    def _valued(
        self, node: Node, pendings: Pendings, read: frozenset[int], values: dict[int, Expression]
    ) -> tuple[Node, dict[int, Expression]]:
        """The rows with what the values of the subqueries in `read` need beside them, and those values by number."""
        for pending in _wanted(pendings, read):
            if pending.output.number not in values:
                with _placed(pending.at):
                    node, value = decorrelate.as_value(node, self._subquery(pending, values), self._numbers)
                values = values | {pending.output.number: value}
        return node, values

    def _subquery(self, pending: _Pending, values: dict[int, Expression]) -> Subquery:
        compared = None
        if pending.comparison is not None:
            compared = substitute(self._typer.typed([pending.comparison])[0], values)
        return Subquery(pending.output, pending.kind, pending.plan, compared)

    def _pending(self, e: syntax.ScalarQuery | syntax.Exists | syntax.Quantified, names: _Names) -> Expression:
        if e not in names.subqueries:
            around, self._outer = self._outer, (names.scope, *self._outer)
            with _placed(e.at):
                plan = self.query(e.query, names.common).node
            if any(isinstance(one, Private) for one in nodes(plan)):
                raise _unsupported("WITH DIFFERENTIAL_PRIVACY in a subquery", e.at, "Put it into FROM or WITH.")
            self._outer = around
            if not isinstance(e, syntax.Exists) and len(fields(plan)) != 1:
                raise _unsupported("A subquery of several columns as a value", e.at, "Select one column.")
            names.subqueries[e] = self._bound(e, plan, names)
        found = Ref(names.subqueries[e].output)
        return _apply("NOT", found) if isinstance(e, syntax.Quantified) and e.quantifier == "ALL" else found

    def _bound(self, e: syntax.ScalarQuery | syntax.Exists | syntax.Quantified, plan: Node, names: _Names) -> _Pending:
        match e:
            case syntax.ScalarQuery():
                return _Pending(self._field("subquery", fields(plan)[0].type), "SCALAR", plan, None, e.at)
            case syntax.Exists():
                return _Pending(self._field("exists", BOOLEAN, nullable=False), "EXISTS", plan, None, e.at)
            case syntax.Quantified(operator, quantifier, operand):
                # x > ALL (...) is NOT (x <= ANY (...)), in three-valued logic too
                function = operator if quantifier == "ANY" else NEGATED[operator]
                compared = _apply(function, self._untyped(operand, names), Ref(fields(plan)[0]))
                return _Pending(self._field("in", BOOLEAN), "ANY", plan, compared, e.at)
            case _:
                assert_never(e)

    def _group_keys(
        self,
        query: syntax.Select,
        items: tuple[syntax.Item, ...],
        outputs: list[Expression],
        names: _Names,
    ) -> list[Expression]:
        names = replace(names, aggregates=None)
        keys: list[Expression] = []
        if query.group_all:
            calls = (Ref, bound.Apply, bound.Case, bound.Cast)
            known = {b.field.number for b in names.scope}
            keys = [e for e in outputs if isinstance(e, calls) and bound.references(e) <= known and bound.references(e)]
        for key in query.group_by:
            expression = outputs[_ordinal(key, len(items))] if isinstance(key, syntax.Number) else self._untyped(key, names)
            if expression not in keys and bound.references(expression):
                keys.append(expression)
            elif not bound.references(expression):
                raise Unsupported(
                    "GROUP BY a constant is not supported.", advice="Leave it out.", line=key.at.line, column=key.at.column
                )
        return list(dict.fromkeys(keys))

    def _order_key(
        self, key: syntax.OrderKey, items: tuple[syntax.Item, ...], outputs: list[Expression], names: _Names
    ) -> tuple[Expression, syntax.OrderKey]:
        match key.expression:
            case syntax.Number() as ordinal:
                return outputs[_ordinal(ordinal, len(items))], key
            case syntax.Name((name,)):
                for item, output in zip(items, outputs, strict=True):
                    if _name(item).lower() == name.lower():
                        return output, key
        return self._untyped(key.expression, names), key

    def _count(self, expression: syntax.Expression | None) -> int | None:
        if expression is None:
            return None
        constant = self._typer.typed([self._untyped(expression, _Names(()))])[0]
        if not isinstance(constant, bound.Constant):
            raise Unsupported(
                "LIMIT and OFFSET take a number.",
                advice="Write a constant.",
                line=expression.at.line,
                column=expression.at.column,
            )
        value = self._typer.constant(f"CAST({constant.sql} AS BIGINT)").value
        if value is not None and int(value) < 0:
            raise Unsupported("LIMIT and OFFSET cannot be negative.", line=expression.at.line, column=expression.at.column)
        return None if value is None else int(value)

    # --- expressions -----------------------------------------------------------------------------

    def _condition(self, e: syntax.Expression, names: _Names) -> Expression:
        return condition(self._typer.typed([self._untyped(e, names)])[0])

    def _untyped(self, e: syntax.Expression, names: _Names) -> Expression:
        match e:
            case syntax.Name():
                return self._name(e, names)
            case syntax.Number(text):
                return self._typer.constant(text)
            case syntax.String(value):
                return self._typer.constant(literal(value))
            case syntax.Boolean(value):
                return bound.TRUE if value else bound.FALSE
            case syntax.Null():
                return self._typer.constant("NULL")
            case syntax.Parameter(name):
                return self._typer.constant(self._typer.oracle.parameter(name, self._params[name]))
            case syntax.Interval(amount, unit):
                return _apply(f"interval {unit}", self._untyped(amount, names))
            case syntax.Unary(operator, operand):
                return _apply("negate" if operator == "-" else operator, self._untyped(operand, names))
            case syntax.Binary(operator, left, right):
                return _apply(operator, self._untyped(left, names), self._untyped(right, names))
            case syntax.IsNull(operand):
                return bound.Apply("IS NULL", (self._untyped(operand, names),), UNTYPED, nullable=False)
            case syntax.Between(operand, low, high):
                return _apply("BETWEEN", *(self._untyped(part, names) for part in (operand, low, high)))
            case syntax.InList(operand, items):
                return _apply("IN", *(self._untyped(part, names) for part in (operand, *items)))
            case syntax.Like(operator, operand, pattern, escape):
                parts = (operand, pattern) if escape is None else (operand, pattern, escape)
                return _apply(operator, *(self._untyped(part, names) for part in parts))
            case syntax.Case():
                return self._case(e, names)
            case syntax.Cast(operand, type_, attempt):
                return bound.Cast(self._untyped(operand, names), self._typer.type(type_, e.at), attempt)
            case syntax.Call():
                return self._call(e, names)
            case syntax.ScalarQuery() | syntax.Exists() | syntax.Quantified():
                return self._pending(e, names)
            case _:
                assert_never(e)

    def _case(self, e: syntax.Case, names: _Names) -> Expression:
        def asked(when: syntax.Expression) -> Expression:
            return self._untyped(when if e.operand is None else syntax.Binary("=", e.operand, when, e.at), names)

        branches = tuple((asked(when), self._untyped(then, names)) for when, then in e.branches)
        return bound.Case(branches, None if e.default is None else self._untyped(e.default, names), UNTYPED)

    def _call(self, e: syntax.Call, names: _Names) -> Expression:
        if e.function not in AGGREGATES:
            return _apply(e.function, *(self._untyped(a, names) for a in e.arguments))
        if names.aggregates is None:
            raise NotGrouped(f"The aggregate {e.function} cannot stand here.", line=e.at.line, column=e.at.column)
        inner = _Names(names.scope, subqueries=names.below, common=names.common)
        call = Call(
            Field(0, "", UNTYPED),
            e.function,
            tuple(self._untyped(a, inner) for a in e.arguments),
            e.distinct,
            None if e.filter is None else self._untyped(e.filter, inner),
        )
        if e.bounds is not None and names.privacy is None:
            raise _unsupported("A bound of contributions without WITH DIFFERENTIAL_PRIVACY", e.bounds.at, "Leave it out.")
        for placeholder, known in names.aggregates:
            if known == call and names.asked[placeholder.number].bounds == e.bounds:
                return Ref(placeholder)
        placeholder = self._field(e.function)
        names.asked[placeholder.number] = e
        names.aggregates.append((placeholder, call))
        return Ref(placeholder)

    def _items(self, items: tuple[syntax.Item, ...], names: _Names) -> list[Expression]:
        """The select list; an item may name the aliases before it."""
        found: list[Expression] = []
        earlier: dict[str, syntax.Expression] = {}
        for item in items:
            found.append(self._item(item, replace(names, aliases=dict(earlier))))
            if item.alias and not isinstance(item.expression, syntax.Star):
                earlier.setdefault(item.alias.lower(), item.expression)
        return found

    def _item(self, item: syntax.Item, names: _Names) -> Expression:
        if isinstance(item, StarItem):
            return Ref(item.field)
        assert not isinstance(item.expression, syntax.Star)
        return self._untyped(item.expression, names)

    def _name(self, name: syntax.Name, names: _Names) -> Expression:
        *qualifier, column = name.parts
        wanted = ".".join(qualifier).lower()
        found = _found(names.scope, name)
        if found is not None:
            return found
        if not wanted and column.lower() in names.aliases:
            rest = {key: value for key, value in names.aliases.items() if key != column.lower()}
            return self._untyped(names.aliases[column.lower()], replace(names, aliases=rest))
        for scope in self._outer:
            found = _found(scope, name)
            if found is not None:
                return found
        raise UnknownColumn(
            f"There is no column {'.'.join(name.parts)}.",
            advice=nearest_names(column, (b.name for b in names.scope)),
            line=name.at.line,
            column=name.at.column,
        )


def _found(scope: Scope, name: syntax.Name) -> Expression | None:
    *qualifier, column = name.parts
    wanted = ".".join(qualifier).lower()
    found = [
        b
        for b in scope
        if b.name.lower() == column.lower()
        and (not wanted and not b.merged or wanted and wanted in (q.lower() for q in b.qualifiers))
    ]
    if len(found) > 1:
        raise AmbiguousColumn(
            f"Several tables have a column {column}.",
            advice="Name the table before it.",
            line=name.at.line,
            column=name.at.column,
        )
    return Ref(found[0].field) if found else None


def _bounded(call: Call, asked: syntax.Call) -> PrivateCall:
    return PrivateCall(call, asked.bounds, asked.at)


def _wanted(pendings: Pendings, read: frozenset[int]) -> list[_Pending]:
    """Those whose values are read, and those that they read, each after what it reads."""
    found: list[_Pending] = []
    for pending in reversed(pendings.values()):
        if pending.output.number in read:
            found.append(pending)
            read |= references(pending.comparison)
    return found[::-1]


def _alone(pending: _Pending, rest: list[Expression], pendings: Pendings) -> Expression | None:
    """The conjunct that is nothing but this EXISTS or IN, perhaps negated, where nothing else reads it."""
    number = pending.output.number
    reading = [c for c in rest if number in references(c)]
    compared = any(number in references(other.comparison) for other in pendings.values())
    if len(reading) != 1 or compared or pending.kind == "SCALAR":
        return None
    match reading[0]:
        case Ref() | bound.Apply("NOT", (Ref(),)):
            return reading[0]
        case _:
            return None


def _above(
    pending: _Pending, above: Callable[[Expression], Expression], by_field: dict[int, Ref], scope: Scope
) -> _Pending:
    """A subquery above an aggregate sees its keys in place of the columns that they are."""
    values: dict[int, Expression] = dict(by_field)
    plan = decorrelate.rebased(pending.plan, lambda e: substitute(e, values))
    if decorrelate.free(plan) & {b.field.number for b in scope}:
        raise NotGrouped(
            "A subquery refers to a column that is not in GROUP BY.",
            advice="Group by it or aggregate it.",
            line=pending.at.line,
            column=pending.at.column,
        )
    return replace(pending, plan=plan, comparison=None if pending.comparison is None else above(pending.comparison))


@contextmanager
def _placed(at: syntax.Position) -> Iterator[None]:
    """A refusal without a position stands at the subquery."""
    try:
        yield
    except Unsupported as error:
        error.line, error.column = error.line or at.line, error.column or at.column
        raise


def _unsupported(what: str, at: syntax.Position, advice: str) -> Unsupported:
    return Unsupported(f"{what} is not supported.", advice=advice, line=at.line, column=at.column)


def _parts(node: Node) -> tuple[Node, ...]:
    """A union's own inputs, so that a chain of UNION ALL is one node."""
    return node.inputs if isinstance(node, UnionAll) else (node,)


def _rotated(join: syntax.Join) -> syntax.Join:
    """`a, b JOIN c ON ...` as `(a, b) JOIN c ON ...`: the same rows, and ON may name a's columns, as in DuckDB."""
    match join:
        case syntax.Join("CROSS", left, syntax.Join(kind, middle, right, on, using, at, False)) if kind in ROTATED:
            return syntax.Join(kind, _rotated(syntax.Join("CROSS", left, middle, at=join.at)), right, on, using, at)
        case _:
            return join


def _apply(function: str, *arguments: Expression) -> Expression:
    return bound.Apply(function, tuple(arguments), UNTYPED)


def _typed(function: str, *arguments: Expression) -> Expression:
    return bound.Apply(function, arguments, BOOLEAN, any(one.nullable for one in arguments))


def _name(item: syntax.Item) -> str:
    if item.alias:
        return item.alias
    return item.expression.parts[-1] if isinstance(item.expression, syntax.Name) else ""


def _ordinal(number: syntax.Expression, length: int) -> int:
    assert isinstance(number, syntax.Number)
    text = number.text
    if not text.isdigit() or not 1 <= int(text) <= length:
        raise NotGrouped(
            f"There is no column number {text}.", advice=f"There are {length}.", line=number.at.line, column=number.at.column
        )
    return int(text) - 1


def _only(typed: list[Expression], available: list[Field], items: tuple[syntax.Item, ...]) -> None:
    """Every reference is to an available field. Raises NotGrouped."""
    known = {f.number for f in available}
    for expression, item in zip(typed, (*items, *([None] * len(typed))), strict=False):
        if not bound.references(expression) <= known:
            raise NotGrouped(
                "A column is neither in GROUP BY nor in an aggregate.",
                advice="Group by it or aggregate it.",
                line=item.at.line if item else 0,
                column=item.at.column if item else 0,
            )
