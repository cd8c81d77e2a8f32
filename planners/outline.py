"""A logical plan as an indented outline, for golden scripts and people."""

from __future__ import annotations

from typing import assert_never

from sdh.planners.expressions import Expression, Field
from sdh.planners.logical import (
    Aggregate,
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
    inputs,
)
from sdh.planners.render import call_sql, expression_sql


def outline(node: Node, depth: int = 0) -> str:
    """One line a node, inputs indented below it; columns as c<number>:<name>."""
    lines = [f"{'  ' * depth}{_line(node)}"]
    return "\n".join(lines + [outline(part, depth + 1) for part in inputs(node)])


def _noise(noise: Noise) -> str:
    mechanism = noise.mechanism
    return f"{_field(noise.output)} = {noise.input.sql} + {mechanism.kind}({mechanism.scale}, {mechanism.way})"


def _line(node: Node) -> str:
    match node:
        case Scan(table, columns):
            return f"scan {table.full_name} [{', '.join(_field(f) for _, f in columns)}]"
        case OneRow():
            return "one row"
        case Filter(_, predicate):
            return f"filter {expression_sql(predicate)}"
        case Project(_, outputs):
            return f"project {', '.join(_output(f, e) for f, e in outputs)}"
        case Join(kind, _, _, condition, mark):
            into = "" if mark is None else f" into {_field(mark)}"
            return f"{kind.lower()} join{into}{'' if condition is None else f' on {expression_sql(condition)}'}"
        case Aggregate(_, keys, calls):
            by = f" by {', '.join(_output(f, e) for f, e in keys)}" if keys else ""
            return f"aggregate {', '.join(f'{_field(c.output)} = {call_sql(c)}' for c in calls)}{by}"
        case Sort(_, keys):
            return f"sort {', '.join(expression_sql(key.expression) + (' desc' if key.descending else '') for key in keys)}"
        case Limit(_, limit, offset):
            return f"limit {limit} offset {offset}"
        case UnionAll(_, outputs):
            return f"union all [{', '.join(_field(f) for f in outputs)}]"
        case Reused(number, _, renamed):
            return f"reused w{number} {', '.join(f'{_field(own)} = {its.sql}' for own, its in renamed)}"
        case Cut(_, keys, most):
            return f"cut to {most} a ({', '.join(map(expression_sql, keys))})"
        case Noised(_, noises):
            return f"noised {', '.join(_noise(noise) for noise in noises)}"
        case Private(unit=unit):
            return f"private {_line(node.aggregate)}, unit {_field(unit)}"
        case _:
            assert_never(node)


def _field(field: Field) -> str:
    return f"{field.sql}:{field.name}" if field.name else field.sql


def _output(field: Field, expression: Expression) -> str:
    return f"{_field(field)} = {expression_sql(expression)}"
