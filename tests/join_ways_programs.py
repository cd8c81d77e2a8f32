"""A whole plan on shares whose joins are all of one way, run at every party of tests/parties.py."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cache
from typing import Any
from unittest.mock import patch

import duckdb

from sdh.catalog import Catalog, Facts, Party, TableFacts
from sdh.executors import runtime, secure
from sdh.planners import join_ways
from sdh.planners.physical import Align, NestedLoop, Node, SortMerge, inputs
from sdh.planners.plan import Plan, Question, finish, place
from sdh.policy import Policy
from sdh.schema import Column, parse_type

TABLE = {"id": ("INTEGER", 8, 0), "k": ("BIGINT", 8, 0), "n": ("INTEGER", 14, 0), "m": ("DECIMAL(9,2)", 20, 0),
         "s": ("VARCHAR", None, 24), "d": ("DATE", 15, 0), "b": ("BOOLEAN", 1, 0)}
"""By column: type, bits, bytes. id is unique; the others repeat and have NULLs."""
NAMES = ("bank", "shop", "mill")
WAYS: dict[str, type] = {"nested_loop": NestedLoop, "align": Align, "sort_merge": SortMerge}


@cache
def data(parties: int, rows: tuple[int, ...]) -> duckdb.DuckDBPyConnection:
    """One plain DuckDB that has every party's table t."""
    connection = duckdb.connect()
    for party, count in zip(NAMES[:parties], rows, strict=True):
        seed = NAMES.index(party) + 1
        connection.execute(f"CREATE SCHEMA {party}")
        connection.execute(
            f"CREATE TABLE {party}.t AS SELECT (i * {seed} % {max(count, 1) * 3 + seed})::INTEGER AS id, "
            f"CASE WHEN i % 7 <> {seed} THEN i * {seed + 3} % 11 END::BIGINT AS k, "
            f"CASE WHEN i % 5 <> 0 THEN (i * 37 * {seed}) % 101 - 50 END::INTEGER AS n, "
            f"CASE WHEN i % 6 <> 1 THEN (i % 4) * {seed} * 0.25 END::DECIMAL(9,2) AS m, "
            f"CASE WHEN i % 4 <> 3 THEN repeat('ab', i % 5) || 'x' END AS s, "
            f"CASE WHEN i % 8 <> 2 THEN DATE '1995-01-01' + (i % 3)::INTEGER END AS d, "
            f"CASE WHEN i % 3 <> 0 THEN i % 2 = 0 END AS b FROM range({count}) r(i)")
    return connection


def planned(sql: str, way: str, parties: int, rows: list[int], policy: str) -> Plan:
    """The plan of a query over these tables; fragments are padded by 2 rows where counts are not exact."""
    columns = tuple(Column(name, parse_type(kind), name != "id") for name, (kind, *_) in TABLE.items())
    facts = tuple(Facts(bits=bits, bytes=width or None) for _, bits, width in TABLE.values())
    owned = tuple(Party(name, (TableFacts(name, "t", columns, facts, 64, (("id",),), "1"),), Policy.open(rows=policy))
                  for name in NAMES[:parties])
    connection = data(parties, tuple(rows))
    with only(way):
        placed = place(Question(sql, "analyst"), Catalog(owned, ()))
        counts = [len(connection.sql(fragment.sql).fetchall()) for fragment in placed.fragments]
        return finish(placed, tuple(count + 2 * (policy != "exact") for count in counts))


@contextlib.contextmanager
def only(way: str) -> Iterator[None]:
    """Joins are planned this way alone."""
    with contextlib.ExitStack() as stack:
        if way != "nested_loop":
            stack.enter_context(patch.object(join_ways, "MOST_PAIRS", -1))
        if way != "align":
            stack.enter_context(patch.object(join_ways, "_align", lambda *_: iter(())))
        if way != "sort_merge":
            stack.enter_context(patch.object(join_ways, "_sort_merge", lambda *_: iter(())))
        yield


def joins(node: Node) -> list[Node]:
    found = [node] if isinstance(node, tuple(WAYS.values())) else []
    return [*found, *(one for part in inputs(node) for one in joins(part))]


def asked(session: runtime.Session, sql: str, way: str, rows: list[int], policy: str) -> str:
    """This party's payload for the client, as hexadecimal text."""
    plan = planned(sql, way, session.count, rows, policy)
    party = plan.placed.parties[session.rank]
    if session.tracing:
        return _run(plan, session, None)
    connection = data(session.count, tuple(rows))
    tables: dict[int, Any] = {}
    for fragment in plan.placed.fragments:
        if fragment.party == party:
            table = connection.sql(fragment.sql).to_arrow_table()
            tables[fragment.number] = table.rename_columns([column.name for column in fragment.schema])
    return _run(plan, session, secure.encode(plan, party, tables))


def _run(plan: Plan, session: runtime.Session, encoded: secure.Inputs | None) -> str:
    with patch.object(secure, "installed", lambda _: contextlib.nullcontext()):   # tests.parties has done it
        return secure.run(plan, session, encoded).hex()
