"""DuckDB SQL from plan nodes and expressions. Nothing of the user's text is pasted in."""

from __future__ import annotations

from typing import assert_never

from sdh.planners.expressions import Apply, Case, Cast, Constant, Expression, Ref, transform
from sdh.planners.logical import (
    Aggregate,
    Call,
    Cut,
    Filter,
    Join,
    Limit,
    Node,
    Noise,
    Noised,
    OneRow,
    Private,
    Project,
    Reused,
    Scan,
    Sort,
    UnionAll,
    fields,
)

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
        case Apply("try_failed", (inner,)):
            return f"whether {readable(inner)} fails"
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
        case Join("SEMI" | "ANTI" | "MARK" | "SINGLE"):
            return _subquery_join(node)
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
        case Cut(input, keys, most):
            names = ", ".join(field.sql for field in fields(node)) or "0 AS nothing"
            by = f"PARTITION BY {', '.join(map(expression_sql, keys))} " if keys else ""
            drawn = f"SELECT *, random() AS draw FROM ({node_sql(input)})"   # no window orders by what is volatile
            return f"SELECT {names} FROM ({drawn}) QUALIFY row_number() OVER ({by}ORDER BY draw) <= {most}"
        case Noised():
            return _noised(node)
        case Private():
            raise AssertionError("a private block is rewritten before")
        case UnionAll(inputs):
            return " UNION ALL ".join(_united(node, part) for part in inputs)
        case Reused():  # DuckDB finds equal parts of a plan by itself
            return node_sql(node.renaming)
        case _:
            assert_never(node)


def _noised(node: Noised) -> str:
    """Worked out once (MATERIALIZED), however often it is read: a second draw would be a second release."""
    noise = {one.output.number: one for one in node.noises}
    items = [f"{noise_function(noise[f.number])}({noise[f.number].input.sql}) AS {f.sql}" if f.number in noise else f.sql
             for f in fields(node)]
    columns = sorted(fields(node), key=lambda f: f.number in noise)
    order = f" ORDER BY {', '.join(f.sql for f in columns)}" if columns else ""   # the order in which rows came is not noisy
    return (f"WITH noised AS MATERIALIZED (SELECT {', '.join(items) or '0 AS nothing'} FROM ({node_sql(node.input)})) "
            f"SELECT * FROM noised{order}")


def noise_function(noise: Noise) -> str:
    """The function of the owner's DuckDB that adds a fresh draw (executors/local.py)."""
    return f"sdh_noise_{noise.output.number}"


def _united(union: UnionAll, part: Node) -> str:
    """An input with the columns, by name and type, of the union."""
    pairs = zip(fields(part), union.outputs, strict=True)
    items = [f"{old.sql if old.type == new.type else f'CAST({old.sql} AS {new.type})'} AS {new.sql}" for old, new in pairs]
    return f"SELECT {', '.join(items) or '0 AS nothing'} FROM ({node_sql(part)})"


def _subquery_join(join: Join) -> str:
    """EXISTS and scalar subqueries, which DuckDB turns into the same joins; SINGLE fails on two rows as DuckDB's does."""
    own = fields(join.left)
    on = "TRUE" if join.condition is None else expression_sql(join.condition)
    names, left, right = ", ".join(field.sql for field in own), node_sql(join.left), node_sql(join.right)
    match join.kind:
        case "SEMI" | "ANTI":
            word = "EXISTS" if join.kind == "SEMI" else "NOT EXISTS"
            return f"SELECT {names or '0 AS nothing'} FROM ({left}) AS l WHERE {word} (SELECT 1 FROM ({right}) AS r WHERE {on})"
        case "MARK":
            assert join.mark is not None
            met, unknown = (f"EXISTS (SELECT 1 FROM ({right}) AS r WHERE {test})" for test in (on, f"({on}) IS NULL"))
            found = [f"CASE WHEN {met} THEN TRUE WHEN {unknown} THEN NULL ELSE FALSE END AS {join.mark.sql}"]
        case _:
            inner = f"FROM ({right}) AS r WHERE {on}"
            found = [f"(SELECT r.{f.sql} {inner}) AS {f.sql}" for f in fields(join)[len(own):]] or ["0 AS nothing"]
    return f"SELECT {', '.join([*([names] if names else []), *found])} FROM ({left}) AS l"
