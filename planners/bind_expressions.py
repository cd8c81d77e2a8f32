"""Bind expressions: names become fields, literals constants; aggregates and subqueries are collected. Types come later."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from sdh.errors import AmbiguousColumn, NotGrouped, UnknownColumn
from sdh.parsers import syntax
from sdh.parsers.accepted import AGGREGATES
from sdh.planners import expressions as bound
from sdh.planners.annotate import UNTYPED, condition
from sdh.planners.binding import Binder, Names, Pending, placed, unsupported
from sdh.planners.expressions import Expression, Field, Ref
from sdh.planners.logical import Call, Node, Private, fields, nodes
from sdh.planners.oracle import nearest_names
from sdh.planners.render import literal
from sdh.planners.scopes import Scope, StarItem
from sdh.schema import BOOLEAN

NEGATED = {"=": "<>", "<>": "=", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}


def bind_condition(binder: Binder, e: syntax.Expression, names: Names) -> Expression:
    """A typed BOOLEAN. Raises QuestionError classes."""
    return condition(binder.typer.typed([untyped(binder, e, names)])[0])


def select_list(binder: Binder, items: tuple[syntax.Item, ...], names: Names) -> list[Expression]:
    """The select list; an item may name the aliases before it."""
    found: list[Expression] = []
    earlier: dict[str, syntax.Expression] = {}
    for item in items:
        found.append(_item(binder, item, replace(names, aliases=dict(earlier))))
        if item.alias and not isinstance(item.expression, syntax.Star):
            earlier[item.alias.lower()] = item.expression
    return found


def _item(binder: Binder, item: syntax.Item, names: Names) -> Expression:
    if isinstance(item, StarItem):
        return Ref(item.field)
    assert not isinstance(item.expression, syntax.Star)
    return untyped(binder, item.expression, names)


def untyped(binder: Binder, e: syntax.Expression, names: Names) -> Expression:
    """The expression with fields for names; but for constants and fields its types are still UNTYPED."""
    match e:
        case syntax.Name():
            return column_of(binder, e, names)
        case syntax.Number(text):
            return binder.typer.constant(text)
        case syntax.String(value):
            return binder.typer.constant(literal(value))
        case syntax.Boolean(value):
            return bound.TRUE if value else bound.FALSE
        case syntax.Null():
            return binder.typer.constant("NULL")
        case syntax.Parameter(name):
            return binder.typer.constant(binder.typer.oracle.parameter(name, binder.params[name]))
        case syntax.Interval(amount, unit):
            return _apply(f"interval {unit}", untyped(binder, amount, names))
        case syntax.Unary(operator, operand):
            return _apply("negate" if operator == "-" else operator, untyped(binder, operand, names))
        case syntax.Binary(operator, left, right):
            return _apply(operator, untyped(binder, left, names), untyped(binder, right, names))
        case syntax.IsNull(operand):
            return bound.Apply("IS NULL", (untyped(binder, operand, names),), UNTYPED, nullable=False)
        case syntax.Between(operand, low, high):
            return _apply("BETWEEN", *(untyped(binder, part, names) for part in (operand, low, high)))
        case syntax.InList(operand, items):
            return _apply("IN", *(untyped(binder, part, names) for part in (operand, *items)))
        case syntax.Like(operator, operand, pattern, escape):
            parts = (operand, pattern) if escape is None else (operand, pattern, escape)
            return _apply(operator, *(untyped(binder, part, names) for part in parts))
        case syntax.Case():
            return _case(binder, e, names)
        case syntax.Cast(operand, type_, attempt):
            return bound.Cast(untyped(binder, operand, names), binder.typer.type(type_, e.at), attempt)
        case syntax.Call():
            return _call(binder, e, names)
        case syntax.ScalarQuery() | syntax.Exists() | syntax.Quantified():
            return _pending(binder, e, names)
        case _:
            assert_never(e)


def _case(binder: Binder, e: syntax.Case, names: Names) -> Expression:
    def asked(when: syntax.Expression) -> Expression:
        return untyped(binder, when if e.operand is None else syntax.Binary("=", e.operand, when, e.at), names)

    branches = tuple((asked(when), untyped(binder, then, names)) for when, then in e.branches)
    return bound.Case(branches, None if e.default is None else untyped(binder, e.default, names), UNTYPED)


def _call(binder: Binder, e: syntax.Call, names: Names) -> Expression:
    if e.function == "if" and len(e.arguments) == 3:
        when, then, default = (untyped(binder, a, names) for a in e.arguments)
        return bound.Case(((when, then),), default, UNTYPED)
    if e.function not in AGGREGATES:
        return _apply(e.function, *(untyped(binder, a, names) for a in e.arguments))
    if names.aggregates is None:
        raise NotGrouped(f"The aggregate {e.function} cannot stand here.", line=e.at.line, column=e.at.column)
    inner = Names(names.scope, subqueries=names.below, common=names.common)
    call = Call(
        Field(0, "", UNTYPED),
        e.function,
        tuple(untyped(binder, a, inner) for a in e.arguments),
        e.distinct,
        None if e.filter is None else untyped(binder, e.filter, inner),
    )
    if e.bounds is not None and names.privacy is None:
        raise unsupported("A bound of contributions without WITH DIFFERENTIAL_PRIVACY", e.bounds.at, "Leave it out.")
    for placeholder, known in names.aggregates:
        if known == call and names.asked[placeholder.number].bounds == e.bounds:
            return Ref(placeholder)
    placeholder = binder.field(e.function)
    names.asked[placeholder.number] = e
    names.aggregates.append((placeholder, call))
    return Ref(placeholder)


def column_of(binder: Binder, name: syntax.Name, names: Names) -> Expression:
    """A column of this query, an alias, or a column of a query around it. Raises UnknownColumn, AmbiguousColumn."""
    *qualifier, column = name.parts
    wanted = ".".join(qualifier).lower()
    found = _found(names.scope, name)
    if found is not None:
        return found
    if not wanted and column.lower() in names.aliases:
        rest = {key: value for key, value in names.aliases.items() if key != column.lower()}
        return untyped(binder, names.aliases[column.lower()], replace(names, aliases=rest))
    for scope in binder.outer:
        found = _found(scope, name)
        if found is not None:
            return found
    if not wanted and column.lower() in (q.lower() for b in names.scope for q in b.qualifiers):
        raise unsupported("A whole row as a value", name.at, "Name one of the table's columns, or write count(*).")
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


def _pending(binder: Binder, e: syntax.ScalarQuery | syntax.Exists | syntax.Quantified, names: Names) -> Expression:
    if e not in names.subqueries:
        around, binder.outer = binder.outer, (names.scope, *binder.outer)
        with placed(e.at):
            plan = binder.query(binder, e.query, names.common).node
        if any(isinstance(one, Private) for one in nodes(plan)):
            raise unsupported("WITH DIFFERENTIAL_PRIVACY in a subquery", e.at, "Put it into FROM or WITH.")
        binder.outer = around
        if not isinstance(e, syntax.Exists) and len(fields(plan)) != 1 + len(getattr(e, "more", ())):
            raise unsupported("A subquery of several columns as a value", e.at, "Select one column.")
        names.subqueries[e] = _pended(binder, e, plan, names)
    found = Ref(names.subqueries[e].output)
    return _apply("NOT", found) if isinstance(e, syntax.Quantified) and e.quantifier == "ALL" else found


def _pended(binder: Binder, e: syntax.ScalarQuery | syntax.Exists | syntax.Quantified, plan: Node, names: Names) -> Pending:
    match e:
        case syntax.ScalarQuery():
            return Pending(binder.field("subquery", fields(plan)[0].type), "SCALAR", plan, None, e.at)
        case syntax.Exists():
            return Pending(binder.field("exists", BOOLEAN, nullable=False), "EXISTS", plan, None, e.at)
        case syntax.Quantified("=", "ANY", operand, more=(_, *_)):
            pairs = zip((operand, *e.more), fields(plan), strict=True)
            equal = [_apply("=", untyped(binder, one, names), Ref(f)) for one, f in pairs]
            return Pending(binder.field("in", BOOLEAN), "ANY", plan, _apply("AND", *equal), e.at)
        case syntax.Quantified(operator, quantifier, operand):
            # x > ALL (...) is NOT (x <= ANY (...)), in three-valued logic too
            function = operator if quantifier == "ANY" else NEGATED[operator]
            compared = _apply(function, untyped(binder, operand, names), Ref(fields(plan)[0]))
            return Pending(binder.field("in", BOOLEAN), "ANY", plan, compared, e.at)
        case _:
            assert_never(e)


def _apply(function: str, *arguments: Expression) -> Expression:
    return bound.Apply(function, tuple(arguments), UNTYPED)
