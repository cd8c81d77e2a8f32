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
from sdh.planners.physical import Align, Expand, Lookup, NestedLoop, Node, SortMerge, inputs
from sdh.planners.plan import Plan, Question, finish, place
from sdh.policy import Policy
from sdh.schema import Column, parse_type

TABLE = {"id": ("INTEGER", 7, 0, 0), "k": ("BIGINT", 4, 0, 0), "n": ("INTEGER", 14, 0, None), "m": ("DECIMAL(9,2)", 20, 0, None),
         "s": ("VARCHAR", None, 24, None), "d": ("DATE", 15, 0, None), "b": ("BOOLEAN", 1, 0, None)}
"""By column: type, bits, bytes, least value. id is unique; the others repeat and have NULLs."""
REPEATED = (("k",), ("m",), ("s",), ("m", "d"))
"""Keys of which it is declared how often they repeat: as often as they do."""
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


def repeats(connection: duckdb.DuckDBPyConnection, party: str, fewer: int = 0) -> tuple[tuple[tuple[str, ...], int], ...]:
    """How often the keys of REPEATED do, or less."""
    found = []
    for key in REPEATED:
        names, present = ", ".join(key), " AND ".join(f"{name} IS NOT NULL" for name in key)
        sql = f"SELECT max(c) FROM (SELECT count(*) c FROM {party}.t WHERE {present} GROUP BY {names})"
        [[most]] = connection.execute(sql).fetchall()
        found.append((key, max((most or 1) - fewer, 2)))
    return tuple(found)


def planned(sql: str, way: str, parties: int, rows: list[int], policy: str, fewer: int = 0) -> Plan:
    """The plan of a query over these tables; fragments are padded by 2 rows where counts are not exact.

    fewer: keys are declared to repeat so much less than they do.
    """
    columns = tuple(Column(name, parse_type(kind), name != "id") for name, (kind, *_) in TABLE.items())
    facts = tuple(Facts(bits, width or None, low, None if low is None or bits is None else (1 << bits) - 1)
                  for _, bits, width, low in TABLE.values())
    connection = data(parties, tuple(rows))
    owned = tuple(Party(name, (TableFacts(name, "t", columns, facts, 64, (("id",),), "1", repeats(connection, name, fewer)),),
                        Policy.open(rows=policy)) for name in NAMES[:parties])
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
        align = join_ways._align

        def aligned(*sides: Any) -> Iterator[Any]:
            return (one for one in align(*sides) if way == ("align" if one[0].repeats == 1 else "expand"))

        stack.enter_context(patch.object(join_ways, "_align", aligned))
        for other, function in (("sort_merge", "_sort_merge"), ("sorted_expand", "_expand"), ("lookup", "_lookup")):
            if way not in (other, *(("expand", "sorted_expand") if other == "sort_merge" else ())):
                stack.enter_context(patch.object(join_ways, function, lambda *_: iter(())))
        yield


def joins(node: Node) -> list[Node]:
    found = [node] if isinstance(node, NestedLoop | Align | SortMerge | Lookup | Expand) else []
    return [*found, *(one for part in inputs(node) for one in joins(part))]


def asked(session: runtime.Session, sql: str, way: str, rows: list[int], policy: str, fewer: int = 0) -> str:
    """This party's payload for the client, as hexadecimal text."""
    plan = planned(sql, way, session.count, rows, policy, fewer)
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
