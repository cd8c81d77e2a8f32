"""sqlglot's tree to SDH's: queries and relations. What is not matched is refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from sqlglot import exp

from sdh.errors import ParseError, TooLarge
from sdh.parsers.check import MAXIMUM_DEPTH
from sdh.parsers.group_by import group_by
from sdh.parsers.refuse import malformed, node_name, place, refuse, shown
from sdh.parsers.syntax import (
    CommonTable,
    Derived,
    Expression,
    Item,
    Join,
    Name,
    Null,
    OrderKey,
    Position,
    Query,
    Relation,
    Select,
    SetOperation,
    Star,
    Table,
)
from sdh.parsers.values import expression, name_parts, optional


def query(node: exp.Expr) -> Query:
    """A query, with or without parentheses around it."""
    match node:
        case exp.Subquery() if not node.args.get("alias") and not node.args.get("joins"):
            return query(node.this)
        case exp.Select():
            return select(node)
        case exp.SetOperation():
            return set_operation(node)
        case _:
            raise refuse(node_name(node), place(node))


def set_operation(node: exp.SetOperation) -> SetOperation:
    return SetOperation(
        operator=node.key.upper(),
        left=query(node.this),
        right=query(node.expression),
        distinct=bool(node.args.get("distinct")),
        order_by=_order_by(node),
        limit=_constant(node.args.get("limit"), "LIMIT"),
        offset=_constant(node.args.get("offset"), "OFFSET"),
        common=tuple(common_table(each) for each in node.ctes),
        at=place(node),
        by_name=bool(node.args.get("by_name")),
    )


def select(node: exp.Select) -> Select:
    if not node.expressions:
        raise malformed("SELECT names nothing to select.", place(node), "Write * or expressions after it.")
    group = node.args.get("group")
    keys, sets = group_by(group.expressions) if group else ((), ())
    return Select(
        items=tuple(item(each) for each in node.expressions),
        source=_source(node),
        where=optional(_inside(node, "where")),
        group_by=keys,
        group_all=bool(group and group.args.get("all")),
        having=optional(_inside(node, "having")),
        distinct=node.args.get("distinct") is not None,
        order_by=_order_by(node),
        limit=_constant(node.args.get("limit"), "LIMIT"),
        offset=_constant(node.args.get("offset"), "OFFSET"),
        common=tuple(common_table(each) for each in node.ctes),
        at=place(node),
        privacy=node.meta.get("privacy"),
        grouping_sets=sets,
    )


def _order_by(node: exp.Expr) -> tuple[OrderKey, ...]:
    order = node.args.get("order")
    return tuple(order_key(key) for key in order.expressions) if order else ()


def _inside(node: exp.Expr, clause: str) -> exp.Expr | None:
    found = node.args.get(clause)
    return found.this if isinstance(found, exp.Expr) else None


def _constant(clause: exp.Expr | None, word: str) -> Expression | None:
    if clause is None:
        return None
    column = clause.find(exp.Column, exp.Subquery, exp.Query)
    if column is not None:
        what = "a column" if isinstance(column, exp.Column) else "a subquery"
        raise refuse(f"{word} of {what}", place(column), "Write a number or a $parameter.")
    return expression(clause.expression)


def item(node: exp.Expr) -> Item:
    match node:
        case exp.Alias() if not isinstance(node.args["alias"], exp.Identifier):
            raise _no_alias(node.args["alias"])
        case exp.Alias():
            return Item(expression(node.this), node.alias, place(node))
        case exp.Star():
            return Item(_star(node, (), place(node)), "", place(node))
        case exp.Column() if isinstance(node.this, exp.Star):
            if len(node.parts) > 2:
                raise refuse("party.table.*", place(node), "Give the table an alias and write alias.*.")
            return Item(_star(node.this, name_parts(node)[:-1], place(node)), "", place(node))
        case _:
            return Item(expression(node), "", place(node))


def _star(node: exp.Star, qualifier: tuple[str, ...], at: Position) -> Star:
    """* with EXCLUDE (names), REPLACE (value AS name) and RENAME (name AS name)."""
    exclude = tuple(_column(one) for one in node.args.get("except_") or ())
    replaced = tuple((expression(one.this), one.alias) for one in node.args.get("replace") or ())
    renamed = tuple((_column(one.this), one.alias) for one in node.args.get("rename") or ())
    return Star(qualifier, at, exclude, replaced, renamed)


def _column(node: exp.Expr) -> Name:
    if isinstance(node, exp.Identifier):
        return Name((node.name,), place(node))
    if not isinstance(node, exp.Column):
        raise refuse("* EXCLUDE or RENAME of anything but columns", place(node))
    return Name(name_parts(node), place(node))


def _no_alias(node: exp.Expr) -> ParseError:
    return malformed("This cannot be an alias.", place(node), "Write AS and a name.")


def order_key(node: exp.Expr) -> OrderKey:
    if isinstance(node.this, exp.Var):
        at = place(node)
        return OrderKey(Null(at), bool(node.args.get("desc")), node.args.get("nulls_first"), at, every=True)
    return OrderKey(expression(node.this), bool(node.args.get("desc")), node.args.get("nulls_first"), place(node))


def common_table(node: exp.CTE) -> CommonTable:
    alias, columns = _alias(node)
    return CommonTable(alias, columns, query(node.this), place(node.args["alias"]))


def _alias(node: exp.Expr) -> tuple[str, tuple[str, ...]]:
    alias = node.args.get("alias")
    if alias and not isinstance(alias.this, exp.Identifier):
        raise _no_alias(alias)
    return (alias.name, tuple(column.name for column in alias.columns)) if alias else ("", ())


# --- relations -----------------------------------------------------------------------------------


def _source(node: exp.Select) -> Relation | None:
    start = node.args.get("from_")
    return _joined(start.this, node.args.get("joins") or []) if start else None


def _joined(first: exp.Expr, joins: Sequence[exp.Join]) -> Relation:
    """A comma binds less than JOIN: `a, b JOIN c` is a with (b JOIN c)."""
    if len(joins) >= MAXIMUM_DEPTH:
        raise _too_many(joins)
    groups = [relation(first)]
    for join in joins:
        if join.meta.get("comma"):
            groups.append(relation(join.this))
        else:
            groups[-1] = _join(groups[-1], join)
    return reduce(lambda left, right: Join("CROSS", left, right, at=right.at), groups)


def _join(left: Relation, node: exp.Join) -> Join:
    side, kind, at = node.side, node.kind, place(node)
    if kind not in ("", "INNER", "OUTER", "CROSS", "SEMI", "ANTI") or side and kind not in ("", "OUTER"):
        raise refuse(f"{side} {kind} JOIN".strip(), at)
    on, using, natural = node.args.get("on"), node.args.get("using") or [], node.args.get("method") == "NATURAL"
    if node.args.get("method") and not natural:
        raise refuse("This kind of JOIN", at)
    if (kind == "CROSS") == bool(on or using or natural) or natural and (on or using) or kind == "OUTER" and not side:
        raise malformed("A CROSS JOIN takes no condition, and every other JOIN needs ON or USING.", at,
                        "Add ON or USING, or write CROSS JOIN.")
    return Join(kind if kind in ("CROSS", "SEMI", "ANTI") else side or "INNER", left, relation(node.this), optional(on),
                tuple(_plain(column, "USING of anything but column names") for column in using), at, natural)


def _plain(node: exp.Expr, name: str) -> str:
    if isinstance(node, exp.Column) and len(name_parts(node)) == 1:
        node = node.this
    if not isinstance(node, exp.Identifier):
        raise refuse(name, place(node))
    return node.name


def relation(node: exp.Expr) -> Relation:
    joins = node.args.get("joins") or []
    match node:
        case exp.Table():
            return _joined_below(table(node), joins)
        case exp.Subquery() if isinstance(node.this, (exp.Query, exp.Subquery)) and _is_query(node.this):
            alias, columns = _alias(node)
            return _joined_below(Derived(query(node.this), alias, columns, place(node)), joins)
        case exp.Values():
            alias, columns = _alias(node)
            return Derived(_rows(node.expressions, place(node)), alias, columns, place(node))
        case exp.Subquery() | exp.Paren() if not node.args.get("alias"):
            return _joined_below(relation(node.this), joins)
        case exp.Subquery():
            raise refuse("An alias of a join in parentheses", place(node.args["alias"]))
        case _:
            raise refuse(node_name(node), place(node))


def _rows(rows: Sequence[exp.Expr], at: Position) -> Query:
    """VALUES (...), (...) as SELECT ... UNION ALL SELECT ..., a tree of logarithmic depth."""
    if len(rows) == 1:
        values = rows[0].expressions if isinstance(rows[0], exp.Tuple) else [rows[0]]
        return Select(tuple(Item(expression(one), f"col{i}", place(one)) for i, one in enumerate(values)), at=at)
    half = (len(rows) + 1) // 2
    return SetOperation("UNION", _rows(rows[:half], at), _rows(rows[half:], at), distinct=False, at=at)


def _is_query(node: exp.Expr) -> bool:
    while isinstance(node, exp.Subquery) and not node.args.get("alias") and not node.args.get("joins"):
        node = node.this
    return isinstance(node, (exp.Select, exp.SetOperation))


def _joined_below(left: Relation, joins: Sequence[exp.Join]) -> Relation:
    if any(join.meta.get("comma") for join in joins):
        raise refuse("A comma inside a join in parentheses", place(joins[0]), "Write CROSS JOIN.")
    if len(joins) >= MAXIMUM_DEPTH:
        raise _too_many(joins)
    return reduce(_join, joins, left)


def _too_many(joins: Sequence[exp.Join]) -> TooLarge:
    at = place(joins[-1])
    return TooLarge(f"The query joins more than {MAXIMUM_DEPTH} relations.", line=at.line, column=at.column,
                    advice="Join fewer relations, or split the query.")


def table(node: exp.Table) -> Table:
    at = place(node)
    if not isinstance(node.this, exp.Identifier):
        name = node.this.name if isinstance(node.this, exp.Anonymous) else node_name(node.this)
        raise refuse(f"The table function {shown(name)}()", at, "Attach the data to a party as a table.")
    if node.this.meta.get("string"):
        raise refuse("A file in place of a table", at, "Attach the file to a party and use its table's name.")
    alias, columns = _alias(node)
    parts = tuple(part.name for part in (node.args.get("db"), node.this) if part)
    return Table(parts, alias, columns, at)
