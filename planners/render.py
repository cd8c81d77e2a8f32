"""DuckDB SQL from plan nodes and expressions. Nothing of the user's text is pasted in."""

from __future__ import annotations

from typing import assert_never

from sdh.planners.expressions import Apply, Case, Cast, Constant, Expression, Ref, transform
from sdh.planners.logical import Aggregate, Call, Filter, Join, Limit, Node, OneRow, Project, Scan, Sort, fields

INFIX = frozenset(
    {
        "+",
        "-",
        "*",
        "/",
        "//",
        "%",
        "||",
        "=",
        "<>",
        "<",
        "<=",
        ">",
        ">=",
        "AND",
        "OR",
        "IS DISTINCT FROM",
        "IS NOT DISTINCT FROM",
    }
)


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def expression_sql(expression: Expression) -> str:
    match expression:
        case Ref(field):
            return field.sql
        case Constant():
            return expression.sql
        case Cast(operand, type_, attempt):
            return f"{'TRY_CAST' if attempt else 'CAST'}({expression_sql(operand)} AS {type_})"
        case Case(branches, default):
            whens = " ".join(f"WHEN {expression_sql(when)} THEN {expression_sql(then)}" for when, then in branches)
            return f"CASE {whens}{'' if default is None else f' ELSE {expression_sql(default)}'} END"
        case Apply(function, arguments):
            return _apply(function, tuple(expression_sql(argument) for argument in arguments))
        case _:
            assert_never(expression)


def readable(expression: Expression) -> str:
    """An expression with its columns' names, for people."""
    match expression:
        case Apply("guarded" | "try_value", (inner, *_)):
            return readable(inner)
    return expression_sql(transform(expression, _named))


def _named(part: Expression) -> Expression | None:
    match part:
        case Ref(field):
            return Constant(field.type, None, field.name or field.sql)
        case Apply("guarded", (Ref(field), _)):
            return Constant(field.type, None, field.name or field.sql)
        case _:
            return None


def _apply(function: str, parts: tuple[str, ...]) -> str:
    if function in INFIX:
        return f"({f' {function} '.join(parts)})"
    match function:
        case "NOT":
            return f"(NOT {parts[0]})"
        case "negate":
            return f"(- {parts[0]})"
        case "IS NULL":
            return f"({parts[0]} IS NULL)"
        case "BETWEEN":
            return f"({parts[0]} BETWEEN {parts[1]} AND {parts[2]})"
        case "IN":
            return f"({parts[0]} IN ({', '.join(parts[1:])}))"
        case "LIKE" | "ILIKE":
            return f"({parts[0]} {function} {parts[1]}{f' ESCAPE {parts[2]}' if len(parts) > 2 else ''})"
        case "try_value":
            return f"(TRY({{'v': {parts[0]}}})).v"
        case "try_failed":
            return f"(TRY({{'v': {parts[0]}}}) IS NULL)"
        case _ if function.startswith("interval "):
            return f"(INTERVAL ({parts[0]}) {function.removeprefix('interval ')})"
        case _:
            return f"{function}({', '.join(parts)})"


def call_sql(call: Call) -> str:
    if call.function == "count_star":
        text = "count(*)"
    else:
        inner = ", ".join(expression_sql(argument) for argument in call.arguments)
        text = f"{call.function}({'DISTINCT ' if call.distinct else ''}{inner})"
    return text if call.filter is None else f"{text} FILTER (WHERE {expression_sql(call.filter)})"


def table_sql(party: str, name: str) -> str:
    return f"{quote(party)}.{quote(name)}" if party else quote(name)


def node_sql(node: Node) -> str:
    """One SELECT whose columns are named c<field number>."""
    match node:
        case Scan(table, columns):
            items = ", ".join(f"{quote(name)} AS {field.sql}" for name, field in columns) or "0 AS nothing"
            return f"SELECT {items} FROM {table_sql(table.party, table.name)}"
        case OneRow():
            return "SELECT 0 AS nothing"
        case Filter(input, predicate):
            return f"SELECT * FROM ({node_sql(input)}) WHERE {expression_sql(predicate)}"
        case Project(input, outputs):
            items = ", ".join(f"{expression_sql(e)} AS {field.sql}" for field, e in outputs) or "0 AS nothing"
            return f"SELECT {items} FROM ({node_sql(input)})"
        case Join(kind, left, right, condition):
            names = ", ".join(field.sql for field in fields(node)) or "0 AS nothing"
            word = "CROSS JOIN" if condition is None and kind == "INNER" else f"{kind} JOIN"
            on = "" if word == "CROSS JOIN" else f" ON {'TRUE' if condition is None else expression_sql(condition)}"
            return f"SELECT {names} FROM ({node_sql(left)}) AS l {word} ({node_sql(right)}) AS r{on}"
        case Aggregate(input, keys, calls):
            found = [f"{expression_sql(e)} AS {field.sql}" for field, e in keys]
            found += [f"{call_sql(call)} AS {call.output.sql}" for call in calls]
            group = f" GROUP BY {', '.join(expression_sql(e) for _, e in keys)}" if keys else ""
            if not found:
                return f"SELECT 0 AS nothing FROM (SELECT count(*) FROM ({node_sql(input)}))"
            return f"SELECT {', '.join(found)} FROM ({node_sql(input)}){group}"
        case Sort(input, sort_keys):
            keys_sql = ", ".join(
                f"{expression_sql(key.expression)} {'DESC' if key.descending else 'ASC'} "
                f"NULLS {'FIRST' if key.nulls_first else 'LAST'}"
                for key in sort_keys
            )
            return f"SELECT * FROM ({node_sql(input)}) ORDER BY {keys_sql}"
        case Limit(input, limit, offset):
            count = "" if limit is None else f" LIMIT {limit}"
            return f"SELECT * FROM ({node_sql(input)}){count}{f' OFFSET {offset}' if offset else ''}"
        case _:
            assert_never(node)
