"""Bind: syntax to a logical plan. Names become fields, every expression gets DuckDB's type."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, is_dataclass, replace
from dataclasses import fields as dataclass_fields
from itertools import count
from typing import assert_never

from sdh.catalog import Catalog, TableFacts
from sdh.errors import AmbiguousColumn, InternalError, NotGrouped, ParameterError, UnknownColumn, UnknownTable, Unsupported
from sdh.parsers import syntax
from sdh.parsers.accepted import AGGREGATES
from sdh.planners import expressions as bound
from sdh.planners.annotate import UNTYPED, Typer, condition
from sdh.planners.expressions import Expression, Field, Ref, conjunction, substitute, transform
from sdh.planners.logical import Aggregate, Call, Filter, Join, Limit, Node, OneRow, Project, Scan, Sort, SortKey, fields
from sdh.planners.oracle import Oracle, nearest_names
from sdh.planners.render import call_sql, literal
from sdh.planners.scopes import Binding, Relation, Scope, StarItem, current, expanded, position_of, renamed
from sdh.schema import Schema, Type

TOO_DEEP = 64
"""Nesting of derived tables and common table expressions."""


Common = dict[str, tuple[syntax.CommonTable, "Common"]]
"""Common table expressions by lower-case name, each with those that its own query sees."""


@dataclass(slots=True)
class _Names:
    """Where an expression looks names up. `aggregates` collects calls; None where an aggregate may not stand."""

    scope: Scope
    aliases: dict[str, syntax.Expression] = field(default_factory=dict)
    aggregates: list[tuple[Field, Call]] | None = None


def bind(query: syntax.Select, oracle: Oracle, params: dict[str, object], schema: Schema) -> Node:
    """The logical plan of a query whose result DuckDB describes as `schema`. Raises QuestionError classes."""
    relation = _Binder(oracle.catalog, Typer(oracle), params).select(query, {})
    found = tuple(str(f.type) for f in fields(relation.node))
    if found != tuple(str(column.type) for column in schema):
        raise InternalError(f"SDH typed the result as {found}, DuckDB as {tuple(str(c.type) for c in schema)}.")
    return relation.node


def check_parameters(query: syntax.Select, params: dict[str, object]) -> None:
    """Every $parameter has a value and every value a $parameter. Raises ParameterError."""
    found = {parameter.name: parameter for parameter in _parameters(query)}
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


def _parameters(node: object) -> Iterator[syntax.Parameter]:
    if isinstance(node, syntax.Parameter):
        yield node
    elif isinstance(node, tuple):
        for part in node:
            yield from _parameters(part)
    elif is_dataclass(node):
        for one in dataclass_fields(node):
            yield from _parameters(getattr(node, one.name))


class _Binder:
    def __init__(self, catalog: Catalog, typer: Typer, params: dict[str, object]) -> None:
        self._catalog, self._typer, self._params = catalog, typer, params
        self._numbers = count(1)
        self._depth = 0

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
                return renamed(self.select(query, common), alias, columns)
            case syntax.Join():
                return self._join(source, common)
            case _:
                assert_never(source)

    def _table(self, table: syntax.Table, common: Common) -> Relation:
        name = table.parts[-1]
        if len(table.parts) == 1 and name.lower() in common:
            found, visible = common[name.lower()]
            inner = renamed(self.select(found.query, visible), name, found.columns)
            return renamed(inner, table.alias or name, table.columns)
        facts = self._find(table)
        columns = tuple((c.name, self._field(f"{table.alias or name}.{c.name}", c.type, c.nullable)) for c in facts.columns)
        scan = Scan(facts, columns)
        qualifiers = (table.alias,) if table.alias else (name, facts.full_name)
        scope = tuple(Binding(qualifiers, column, f) for column, f in columns)
        return renamed(Relation(scan, scope), "", table.columns)

    def _find(self, table: syntax.Table) -> TableFacts:
        wanted = ".".join(table.parts).lower()
        for facts in self._catalog.tables:
            if facts.full_name.lower() == wanted:
                return facts
        raise UnknownTable(
            f"There is no table {'.'.join(table.parts)}.",
            advice=nearest_names(".".join(table.parts), (t.full_name for t in self._catalog.tables)),
            line=table.at.line,
            column=table.at.column,
        )

    def _join(self, join: syntax.Join, common: Common) -> Relation:
        join = _rotated(join)
        left, right = self.relation(join.left, common), self.relation(join.right, common)
        kind = "INNER" if join.kind == "CROSS" else join.kind
        if join.using:
            return self._using(join, kind, left, right)
        scope = left.scope + right.scope
        condition = None if join.on is None else self._condition(join.on, _Names(scope), scope)
        node = Join(kind, left.node, right.node, condition)
        return Relation(node, current(scope, node))

    def _using(self, join: syntax.Join, kind: str, left: Relation, right: Relation) -> Relation:
        if kind == "FULL":
            raise Unsupported(
                "FULL JOIN ... USING is not supported.",
                advice="Write ON and COALESCE the columns.",
                line=join.at.line,
                column=join.at.column,
            )
        parts: list[Expression] = []
        first, second = list(left.scope), list(right.scope)
        for name in join.using:
            at_left, at_right = position_of(first, name, join), position_of(second, name, join)
            pair = [Ref(first[at_left].field), Ref(second[at_right].field)]
            parts.append(bound.Apply("=", tuple(pair), UNTYPED))
            if kind == "RIGHT":
                first[at_left] = replace(first[at_left], field=second[at_right].field)
            second[at_right] = replace(second[at_right], merged=True)
        scope = tuple(first) + tuple(second)
        typed = self._typer.typed(parts, [b.field for b in left.scope + right.scope])
        node = Join(kind, left.node, right.node, conjunction(typed))
        return Relation(node, current(scope, node))

    # --- SELECT ----------------------------------------------------------------------------------

    def select(self, query: syntax.Select, common: Common) -> Relation:
        self._depth += 1
        if self._depth > TOO_DEEP:
            raise Unsupported("Queries are nested too deep.", advice=f"Nest at most {TOO_DEEP}.")
        visible = common
        for table in query.common:
            visible = visible | {table.name.lower(): (table, visible)}
        source = self.relation(query.source, visible)
        items = expanded(query.items, source.scope)
        aliases = {
            item.alias.lower(): item.expression for item in items if item.alias and not isinstance(item.expression, syntax.Star)
        }
        node = source.node
        if query.where is not None:
            node = Filter(node, self._condition(query.where, _Names(source.scope, aliases), source.scope))
        relation = self._output(query, Relation(node, source.scope), items, aliases)
        self._depth -= 1
        return relation

    def _output(
        self, query: syntax.Select, source: Relation, items: tuple[syntax.Item, ...], aliases: dict[str, syntax.Expression]
    ) -> Relation:
        names = _Names(source.scope, aliases, aggregates=[])
        outputs = self._items(items, source.scope, names.aggregates)
        having = None if query.having is None else self._untyped(query.having, names)
        order = [self._order_key(key, items, outputs, names) for key in query.order_by]
        calls = names.aggregates or []
        keys = self._group_keys(query, items, outputs, source.scope, aliases)
        node, everything = source.node, [*outputs, *([] if having is None else [having]), *(e for e, _ in order)]
        grouped = bool(keys or calls or query.group_by or query.group_all or having is not None)
        available = [b.field for b in source.scope]
        if grouped:
            node, replaced = self._aggregate(source, keys, calls, everything)
            everything, available = replaced, list(fields(node))
        typed = self._typer.typed(everything, available)
        _only(typed, available, items)
        if having is not None:
            node = Filter(node, condition(typed[len(outputs)]))
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
        limit, offset = self._count(query.limit), self._count(query.offset)
        if limit is not None or offset:
            node = Limit(node, limit, offset or 0)
        if hidden:
            kept = tuple((self._field(f.name, f.type, f.nullable), Ref(f)) for f, _ in columns)
            node, columns = Project(node, tuple((new, e) for new, e in kept)), tuple((new, Ref(new)) for new, _ in kept)
        return Relation(node, tuple(Binding((), f.name, f) for f, _ in columns))

    def _aggregate(
        self, source: Relation, keys: list[Expression], calls: list[tuple[Field, Call]], everything: list[Expression]
    ) -> tuple[Node, list[Expression]]:
        available = [b.field for b in source.scope]
        rows = [*keys, *(e for _, call in calls for e in (*call.arguments, *_optional(call.filter)))]
        typed = self._typer.typed(rows, available)
        typed_keys, rest = typed[: len(keys)], typed[len(keys) :]
        typed_calls: list[Call] = []
        for placeholder, call in calls:
            arguments, rest = tuple(rest[: len(call.arguments)]), rest[len(call.arguments) :]
            only, rest = (condition(rest[0]), rest[1:]) if call.filter is not None else (None, rest)
            typed_calls.append(replace(call, output=placeholder, arguments=arguments, filter=only))
        types = self._typer.oracle.types([call_sql(c) for c in typed_calls], available) if typed_calls else []
        typed_calls = [
            replace(call, output=Field(call.output.number, call.function, type_, call.function not in ("count", "count_star")))
            for call, type_ in zip(typed_calls, types, strict=True)
        ]
        outputs = [(self._field(e.field.name if isinstance(e, Ref) else "", e.type, e.nullable), e) for e in typed_keys]
        by_key = {untyped: Ref(f) for untyped, (f, _) in zip(keys, outputs, strict=True)}
        by_number: dict[int, Expression] = {call.output.number: Ref(call.output) for call in typed_calls}
        replaced = [substitute(transform(e, by_key.get), by_number) for e in everything]
        return Aggregate(source.node, tuple(outputs), tuple(typed_calls)), replaced

    def _group_keys(
        self,
        query: syntax.Select,
        items: tuple[syntax.Item, ...],
        outputs: list[Expression],
        scope: Scope,
        aliases: dict[str, syntax.Expression],
    ) -> list[Expression]:
        names = _Names(scope, aliases)
        keys: list[Expression] = []
        if query.group_all:
            calls = (Ref, bound.Apply, bound.Case, bound.Cast)
            known = {b.field.number for b in scope}
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
        constant = self._typer.typed([self._untyped(expression, _Names(()))], [])[0]
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

    def _condition(self, e: syntax.Expression, names: _Names, scope: Scope) -> Expression:
        return condition(self._typer.typed([self._untyped(e, names)], [b.field for b in scope])[0])

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
        inner = _Names(names.scope)
        call = Call(
            Field(0, "", UNTYPED),
            e.function,
            tuple(self._untyped(a, inner) for a in e.arguments),
            e.distinct,
            None if e.filter is None else self._untyped(e.filter, inner),
        )
        for placeholder, known in names.aggregates:
            if known == call:
                return Ref(placeholder)
        placeholder = self._field(e.function)
        names.aggregates.append((placeholder, call))
        return Ref(placeholder)

    def _items(
        self, items: tuple[syntax.Item, ...], scope: Scope, aggregates: list[tuple[Field, Call]] | None
    ) -> list[Expression]:
        """The select list; an item may name the aliases before it."""
        found: list[Expression] = []
        earlier: dict[str, syntax.Expression] = {}
        for item in items:
            found.append(self._item(item, _Names(scope, dict(earlier), aggregates)))
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
        found = [
            b
            for b in names.scope
            if b.name.lower() == column.lower()
            and (not wanted and not b.merged or wanted and wanted in (q.lower() for q in b.qualifiers))
        ]
        if len(found) == 1:
            return Ref(found[0].field)
        if len(found) > 1:
            raise AmbiguousColumn(
                f"Several tables have a column {column}.",
                advice="Name the table before it.",
                line=name.at.line,
                column=name.at.column,
            )
        if not wanted and column.lower() in names.aliases:
            rest = {key: value for key, value in names.aliases.items() if key != column.lower()}
            return self._untyped(names.aliases[column.lower()], replace(names, aliases=rest))
        raise UnknownColumn(
            f"There is no column {'.'.join(name.parts)}.",
            advice=nearest_names(column, (b.name for b in names.scope)),
            line=name.at.line,
            column=name.at.column,
        )


def _rotated(join: syntax.Join) -> syntax.Join:
    """`a, b JOIN c ON ...` as `(a, b) JOIN c ON ...`: the same rows, and ON may name a's columns, as in DuckDB."""
    match join:
        case syntax.Join("CROSS", left, syntax.Join("INNER" | "LEFT" | "CROSS" as kind, middle, right, on, using, at)):
            return syntax.Join(kind, _rotated(syntax.Join("CROSS", left, middle, at=join.at)), right, on, using, at)
        case _:
            return join


def _apply(function: str, *arguments: Expression) -> Expression:
    return bound.Apply(function, tuple(arguments), UNTYPED)


def _optional(e: Expression | None) -> tuple[Expression, ...]:
    return () if e is None else (e,)


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
