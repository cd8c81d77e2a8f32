"""A clear interpreter of physical plans: every node as one statement of plain DuckDB over its inputs' rows. For tests alone.

It says what a plan means, not how it is run: joins by their keys, groups by GROUP BY, no slots, no validity. Noise is added by
whoever asks (`noise`); the rows that a Cut leaves depend on nothing but the rows that agree in its keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, assert_never

import duckdb

from sdh.planners.derive_traits import traits
from sdh.planners.expressions import Apply, Expression, Field, Ref, transform
from sdh.planners.logical import Call, Noise
from sdh.planners.physical import (
    Aggregate,
    Align,
    Concat,
    Cut,
    Expand,
    Fetch,
    Filter,
    GroupAggregate,
    Input,
    Lookup,
    MarkDistinct,
    NestedLoop,
    Node,
    Noised,
    Project,
    SortMerge,
    TopK,
    Unique,
    inputs,
)
from sdh.planners.plan import Plan
from sdh.planners.render import call_sql, expression_sql, noise_function

Row = tuple[Any, ...]
Tables = Mapping[str, Any]
"""By full name, 'party.table' or a public table's own: what DuckDB can register (Arrow tables)."""


@dataclass(slots=True)
class Reference:
    """Runs a plan's secure part, or any node of it, on `tables`. seen: by noised node, its rows before noise, keys and all."""

    plan: Plan
    tables: Tables
    seen: list[tuple[Noised, list[dict[int, Any]]]] = field(default_factory=list)
    _connection: duckdb.DuckDBPyConnection = field(default_factory=duckdb.connect)
    _numbers: count[int] = field(default_factory=count)
    _made: dict[Node, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, table in self.tables.items():
            party, dot, plain = name.partition(".")
            self._connection.register(f"t_{party}_{plain}", table)
            if dot:
                self._connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{party}"')
            target = f'"{party}"."{plain}"' if dot else f'"{party}"'
            self._connection.execute(f'CREATE TABLE {target} AS SELECT * FROM "t_{party}_{plain}"')

    def result(self) -> list[Row]:
        """The rows of the result, in no order, sort keys that are not selected left out."""
        if self.plan.root is None:
            return self._rows(self._fragment(0))
        below = self.relation(self.plan.root.input)
        shown = self.plan.root.outputs[: self.plan.root.visible]
        return self._rows(f"SELECT {', '.join(_sql(e) for _, e in shown)} FROM {below}")

    def relation(self, node: Node) -> str:
        """The name of a table of the node's rows, whose columns are c<field number>. A node is worked out once."""
        if node not in self._made:
            name = f"r{next(self._numbers)}"
            statement = self._statement(node, [self.relation(part) for part in inputs(node)])
            self._connection.execute(f"CREATE TEMP TABLE {name} AS {statement}")
            self._made[node] = name
            if isinstance(node, Noised):
                self._look(node, self._made[node.input])
        return self._made[node]

    def close(self) -> None:
        self._connection.close()

    # --- nodes -----------------------------------------------------------------------------------

    def _statement(self, node: Node, below: list[str]) -> str:
        match node:
            case Input(fragment):
                return self._fragment(fragment)
            case Filter(_, predicate):
                return f"SELECT * FROM {below[0]} WHERE {_sql(predicate)}"
            case Project(_, outputs):
                return f"SELECT {_items(outputs)} FROM {below[0]}"
            case NestedLoop(_, _, condition, kind, mark):
                return _join(kind, below, [] if condition is None else [_sql(condition)], node, mark)
            case Align(_, _, pairs):
                on = [f"{a.sql} = {b.sql}" for a, b in pairs]
                return _join(node.kind, below, on + _also(node.condition), node, node.mark)
            case SortMerge() | Lookup():
                on = [f"{_sql(a)} = {_sql(b)}" for a, b in node.pairs]
                return _join(node.kind, below, on + _also(node.condition), node, node.mark)
            case Expand(_, _, pairs):
                return _join("INNER", below, [f"{_sql(a)} = {_sql(b)}" for a, b in pairs], node, None)
            case Aggregate(_, _, owner_keys, domain_keys, calls):
                keys = [*((new, Ref(old)) for new, old in owner_keys), *domain_keys]
                return _groups(keys, (), calls, below[0])
            case GroupAggregate(_, keys, carried, calls):
                return _groups(keys, carried, calls, below[0])
            case MarkDistinct(_, keys, argument, condition, mark):
                met = "" if condition is None else f" AND ({_sql(condition)}) IS TRUE"
                counted, by = f"({_sql(argument)} IS NOT NULL{met})", ", ".join(map(_sql, (*keys, argument)))
                first = f"row_number() OVER (PARTITION BY {by}, {counted}) = 1"
                return f"SELECT *, {counted} AND {first} AS {mark.sql} FROM {below[0]}"
            case TopK(_, keys, limit, offset):
                order = ", ".join(f"{_sql(k.expression)} {'DESC' if k.descending else 'ASC'} NULLS "
                                  f"{'FIRST' if k.nulls_first else 'LAST'}" for k in keys)
                cut = "" if limit is None else f" LIMIT {limit}"
                return f"SELECT * FROM {below[0]}{f' ORDER BY {order}' if order else ''}{cut} OFFSET {offset}"
            case Unique():
                return f"SELECT * FROM {below[0]}"
            case Concat(_, outputs, values):
                rows = zip(values, below, strict=True)
                return " UNION ALL ".join(f"SELECT {_items(zip(outputs, row, strict=True))} FROM {name}" for row, name in rows)
            case Cut(_, keys, most):
                by = f"PARTITION BY {', '.join(map(_sql, keys))}" if keys else ""
                order = f"hash({', '.join(c.field.sql for c in traits(node.input).columns)})"
                return f"SELECT * FROM {below[0]} QUALIFY row_number() OVER ({by} ORDER BY {order}) <= {most}"
            case Noised(_, noises):
                by_number = {noise.input.number: noise for noise in noises}
                return f"SELECT {', '.join(_noised(c.field, by_number) for c in traits(node.input).columns)} FROM {below[0]}"
            case Fetch():
                raise NotImplementedError("A column that was left with its owner: the plan that carries it says the same.")
            case _:
                assert_never(node)

    def _fragment(self, number: int) -> str:
        """As its owner runs it, without noise; rows are drawn by what they are."""
        fragment = self.plan.placed.fragments[number]
        sql = fragment.sql.replace("random() AS draw", "hash(*COLUMNS(*)) AS draw")
        for noise in fragment.noises:
            sql = sql.replace(f"{noise_function(noise)}(", "(")
        return sql

    def _look(self, node: Noised, below: str) -> None:
        columns = [column.field for column in traits(node.input).columns]
        rows = self._rows(f"SELECT {', '.join(f.sql for f in columns)} FROM {below}")
        self.seen.append((node, [dict(zip((f.number for f in columns), row, strict=True)) for row in rows]))

    def _rows(self, sql: str) -> list[Row]:
        return self._connection.execute(sql).fetchall()


def _sql(e: Expression) -> str:
    """AVG is a quotient that a plan keeps as its two parts."""
    def plain(one: Expression) -> Expression:
        match one:
            case Apply("average", parts, type_, nullable):
                return Apply("/", parts, type_, nullable)
            case _:
                return one

    return expression_sql(transform(e, plain))


def _items(outputs: Any) -> str:
    return ", ".join(f"{_sql(e)} AS {f.sql}" for f, e in outputs) or "0 AS nothing"


def _also(condition: Expression | None) -> list[str]:
    return [] if condition is None else [_sql(condition)]


def _noised(column: Field, noises: Mapping[int, Noise]) -> str:
    noise = noises.get(column.number)
    return column.sql if noise is None else f"{column.sql} AS {noise.output.sql}"


def _join(kind: str, below: list[str], on: list[str], node: Node, mark: Field | None) -> str:
    """Kinds as logical.Join has them."""
    left, right = below
    met, names = " AND ".join(f"({one})" for one in on) or "TRUE", ", ".join(c.field.sql for c in traits(node).columns)
    match kind:
        case "SEMI" | "ANTI":
            return f"SELECT * FROM {left} WHERE {'' if kind == 'SEMI' else 'NOT '}EXISTS (SELECT 1 FROM {right} WHERE {met})"
        case "MARK":
            assert mark is not None
            known, unknown = (f"EXISTS (SELECT 1 FROM {right} WHERE {test})" for test in (met, f"({met}) IS NULL"))
            return f"SELECT *, CASE WHEN {known} THEN TRUE WHEN {unknown} THEN NULL ELSE FALSE END AS {mark.sql} FROM {left}"
        case "INNER" | "LEFT" | "SINGLE":
            word = "JOIN" if kind == "INNER" else "LEFT JOIN"
            return f"SELECT {names or '0 AS nothing'} FROM {left} {word} {right} ON {met}"
        case _:
            raise NotImplementedError(kind)


def _groups(keys: Any, carried: Any, calls: tuple[Call, ...], below: str) -> str:
    found = [f"{_sql(e)} AS {f.sql}" for f, e in keys] + [f"any_value({_sql(e)}) AS {f.sql}" for f, e in carried]
    found += [f"{_call(call)} AS {call.output.sql}" for call in calls]
    by = f" GROUP BY {', '.join(_sql(e) for _, e in keys)}" if keys else ""
    return f"SELECT {', '.join(found)} FROM {below}{by}"


def _call(call: Call) -> str:
    """sum_count: a sum of counts, 0 where there are none."""
    if call.function != "sum_count":
        return f"CAST({call_sql(call)} AS {call.output.type})"
    inner = Call(call.output, "sum", call.arguments, call.distinct, call.filter)
    return f"CAST(coalesce({call_sql(inner)}, 0) AS {call.output.type})"


