"""Plans whose common table expressions are shared, or copied for each use, run at every party of tests/parties.py."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

from sdh.catalog import Catalog, Facts, Party, TableFacts
from sdh.executors import runtime, secure
from sdh.planners import plan as planner
from sdh.planners.plan import Plan, Question, finish, place
from sdh.policy import Policy
from sdh.schema import Column, parse_type
from tests.join_ways_programs import NAMES, data

COLUMNS = {"id": ("INTEGER", Facts(bits=8)), "k": ("BIGINT", Facts(bits=8)), "n": ("INTEGER", Facts(bits=14)),
           "m": ("DECIMAL(9,2)", Facts(bits=20)), "s": ("VARCHAR", Facts(bytes=24)), "d": ("DATE", Facts(bits=15)),
           "b": ("BOOLEAN", Facts(bits=1))}  # fmt: skip


@contextlib.contextmanager
def sharing(shared: bool) -> Iterator[None]:
    """Only the plan that shares, or only the one that copies, whichever costs less."""
    plans = planner._sharing
    with patch.object(planner, "_sharing", lambda *asked: [plans(*asked)[0 if shared else -1]]):
        yield


def planned(sql: str, shared: bool, parties: int, rows: list[int]) -> Plan:
    """The plan over the tables of tests/join_ways_programs.py, whose row counts are exact."""
    columns = tuple(Column(name, parse_type(kind), name != "id") for name, (kind, _) in COLUMNS.items())
    facts = tuple(one for _, one in COLUMNS.values())
    owned = tuple(Party(name, (TableFacts(name, "t", columns, facts, 64, (("id",),), "1"),), Policy.open(rows="exact"))
                  for name in NAMES[:parties])
    with sharing(shared):
        placed = place(Question(sql, "analyst"), Catalog(owned, ()))
    connection = data(parties, tuple(rows))
    return finish(placed, tuple(len(connection.sql(fragment.sql).fetchall()) for fragment in placed.fragments))


def asked(session: runtime.Session, sql: str, shared: bool, rows: list[int]) -> str:
    """This party's payload for the client, as hexadecimal text."""
    plan = planned(sql, shared, session.count, rows)
    party = plan.placed.parties[session.rank]
    tables: dict[int, Any] = {}
    for fragment in plan.placed.fragments:
        if fragment.party == party:
            table = data(session.count, tuple(rows)).sql(fragment.sql).to_arrow_table()
            tables[fragment.number] = table.rename_columns([column.name for column in fragment.schema])
    inputs = None if session.tracing else secure.encode(plan, party, tables)
    with patch.object(secure, "installed", lambda _: contextlib.nullcontext()):   # tests.parties has done it
        return secure.run(plan, session, inputs).hex()
