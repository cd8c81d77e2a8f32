"""Columns that nothing but the release reads are fetched for the released rows alone, and are DuckDB's."""

from __future__ import annotations

import datetime
import random
from collections.abc import Iterator
from decimal import Decimal

import duckdb
import pyarrow as pa
import pytest

import sdh
from sdh.planners import choose
from sdh.planners.expressions import Field
from sdh.planners.materialize_late import materialized_late
from sdh.planners.memory import peak
from sdh.planners.physical import Fetch, Input, Node, Release, inputs
from tests.compare import difference
from tests.data import plain
from tests.fuzz import OTHERWISE
from tests.programs import otherwise
from tests.test_costs import planned

ROWS, ORDERS, SACKS = 300, 500, 200
DAY = datetime.date(1995, 1, 1)
TEXTS = ["", "naïve ☕", "a\0b", "x" * 160, "seven", "a word and another word, then a third"]
Opened = tuple[sdh.Hub, duckdb.DuckDBPyConnection]


def accounts() -> pa.Table:
    draw = random.Random(1)
    columns = {
        "id": pa.array(range(ROWS), pa.int32()),
        "name": pa.array([f"account {draw.choice(TEXTS)} {i}" for i in range(ROWS)]),
        "note": pa.array([draw.choice([None, *TEXTS]) for _ in range(ROWS)]),
        "big": pa.array([draw.choice([None, -(2**63), 2**63 - 1, 0, draw.randint(-(2**63), 2**63 - 1)]) for _ in range(ROWS)]),
        "rate": pa.array([draw.choice([None, -1.5, float("inf"), float("nan"), 1e-300, draw.random()]) for _ in range(ROWS)]),
        "d": pa.array([draw.choice([None, DAY - datetime.timedelta(draw.randint(-9000, 9000))]) for _ in range(ROWS)]),
        "money": pa.array([draw.choice([None, Decimal(draw.randint(-(10**7), 10**7)) / 100]) for _ in range(ROWS)],
                          pa.decimal128(15, 2)),
        "b": pa.array([draw.choice([None, True, False]) for _ in range(ROWS)]),
    }
    return pa.table(columns)


def orders(seed: int, rows: int) -> pa.Table:
    """Some of no account."""
    draw = random.Random(seed)
    accounts = [draw.choice([None, draw.randint(-50, ROWS // 2), draw.randint(0, ROWS)]) for _ in range(rows)]
    totals = draw.sample(range(-20_000, 20_000), rows)
    labels = [draw.choice([None, f"order {i} {'of many ' * draw.randint(0, 9)}"]) for i in range(rows)]
    return pa.table({"id": pa.array(range(rows), pa.int32()), "account": pa.array(accounts, pa.int32()),
                     "total": pa.array(totals, pa.int32()), "label": pa.array(labels), "more": pa.array(labels[::-1])})


DATA = {"bank": {"accounts": accounts()}, "shop": {"orders": orders(2, ORDERS)}, "mill": {"sacks": orders(3, SACKS)}}
POLICIES = {"bank": "exact", "shop": "padded", "mill": "hidden"}
"""How each party announces row counts: all three ways."""


@pytest.fixture(scope="module")
def opened() -> Iterator[Opened]:
    otherwise.install()
    with sdh.connect(client="analyst", programs=OTHERWISE) as hub:
        for party, tables in DATA.items():
            hub.attach(party, dict(tables), policy=sdh.Policy.open(rows=POLICIES[party]), keys={t: [("id",)] for t in tables})
        yield hub, plain(DATA)


BOTH = "FROM shop.orders o JOIN bank.accounts a ON a.id = o.account"
QUERIES = {
    "every type": f"SELECT o.total, a.name, a.note, a.big, a.rate, a.d, a.money, a.b {BOTH} ORDER BY o.total DESC LIMIT 12",
    "of both": f"SELECT o.total, a.name, o.label, o.more, a.note {BOTH} ORDER BY a.d - DATE '1990-01-01' + o.total, o.id LIMIT 9",
    "outer": "SELECT o.id, a.name, a.note, a.big FROM shop.orders o LEFT JOIN bank.accounts a ON a.id = o.account "
             "ORDER BY o.total LIMIT 40",
    "outer with nulls": "SELECT o.id, a.note, a.money FROM shop.orders o LEFT JOIN bank.accounts a ON a.id = o.account "
                        "WHERE a.money IS NULL OR a.note = '' ORDER BY o.total LIMIT 40",
    "repeated": f"SELECT a.id, a.name, a.note {BOTH} WHERE o.total + a.id > 19000 ORDER BY a.id, o.total LIMIT 60",
    "fewer than the limit": f"SELECT a.name, a.note, o.label {BOTH} WHERE o.total > a.id + 19990 ORDER BY o.total LIMIT 30",
    "no rows": f"SELECT a.name, a.note, o.label {BOTH} WHERE o.total > a.id + 99990 ORDER BY o.total LIMIT 30",
    "groups": f"SELECT a.id, a.name, a.note, a.rate, sum(CASE WHEN o.total > a.id THEN o.total END) AS t "
              f"{BOTH} GROUP BY a.id, a.name, a.note, a.rate ORDER BY t DESC NULLS LAST, a.id LIMIT 10",
    "computed above": f"SELECT o.total, coalesce(a.note, o.label) AS n, a.name, o.more {BOTH} ORDER BY o.total LIMIT 15 OFFSET 5",
    "three": "SELECT s.total, a.name, a.note, o.label, s.more FROM mill.sacks s JOIN bank.accounts a ON a.id = s.account "
             "JOIN shop.orders o ON o.id = s.id ORDER BY s.total LIMIT 20",
    "semi": f"SELECT o.total, a.name, a.note {BOTH} WHERE o.id IN (SELECT account FROM mill.sacks WHERE total > 0) "
            "ORDER BY o.total DESC LIMIT 8",
    "union": f"SELECT o.total, a.name, a.note {BOTH} UNION ALL SELECT id + 20000, name, note FROM bank.accounts "
             "ORDER BY 1 DESC LIMIT 5",
}
EARLY = {"union"}
"""Carried on shares: rows of several fragments have no one place."""


def fetches(result: sdh.Result) -> list[Fetch]:
    assert result.plan is not None
    assert result.plan.root is not None
    return [node for node in tree(result.plan.root.input) if isinstance(node, Fetch)]


def tree(node: Node) -> list[Node]:
    return [node, *(below for part in inputs(node) for below in tree(part))]


@pytest.mark.parametrize("name", QUERIES)
def test_duckdbs_rows(opened: Opened, name: str) -> None:
    hub, connection = opened
    result = hub.sql(f"{QUERIES[name]} -- plan: Align Fetch")
    assert not difference(result.arrow(), connection.sql(QUERIES[name]).to_arrow_table(), ordered=True)
    assert bool(fetches(result)) == (name not in EARLY)


# --- which columns ---------------------------------------------------------------------------------

TWO = "FROM bank.accounts a JOIN shop.orders o ON a.x = o.id"
FIRST = "ORDER BY o.t LIMIT 3"
PLANNED = {
    "released alone": (f"SELECT a.s, a.y, a.money, o.t {TWO} {FIRST}", "a.money a.s a.y"),
    "of both": (f"SELECT a.s, a.y, o.s, o.f {TWO} {FIRST}", "a.s a.y o.f o.s"),
    "of a group": (f"SELECT a.id, a.s, a.y, count(*) AS c {TWO} GROUP BY a.id, a.s, a.y ORDER BY c, a.id LIMIT 3", "a.s a.y"),
    "computed above": (f"SELECT coalesce(a.s, o.s), a.y {TWO} {FIRST}", "a.s a.y o.s"),
    "one word": (f"SELECT a.y, o.t {TWO} {FIRST}", ""),
    "a bit": (f"SELECT a.b, a.y, o.t {TWO} {FIRST}", ""),
    "compared": (f"SELECT a.s, a.y {TWO} WHERE a.s <> o.s {FIRST}", ""),
    "joined by": (f"SELECT a.x, a.y {TWO} {FIRST}", ""),
    "sorted by": (f"SELECT a.s, a.y {TWO} ORDER BY a.s, o.t LIMIT 3", ""),
    "grouped by": (f"SELECT a.s, a.y, count(*) AS c {TWO} GROUP BY a.s, a.y ORDER BY c LIMIT 3", ""),
    "aggregated": (f"SELECT o.x, max(a.s) AS s, max(a.y) {TWO} GROUP BY o.x ORDER BY o.x LIMIT 3", ""),
    "of an append": (f"SELECT a.s, a.y, o.t {TWO} UNION ALL SELECT s, y, t FROM shop.orders ORDER BY 3 LIMIT 3", ""),
}


@pytest.mark.parametrize("name", PLANNED)
def test_what_stays_with_its_owner(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text, wanted = PLANNED[name]
    carried = carrying(text, monkeypatch)
    root = materialized_late(carried, lambda one: -len(late(one)))
    assert late(root) == wanted.split()
    assert not {field.number for field in fetched(root)} & shared(root)
    assert materialized_late(carried, lambda one: len(late(one))) is carried


def carrying(text: str, monkeypatch: pytest.MonkeyPatch) -> Release:
    """The cheapest plan that fetches nothing."""
    monkeypatch.setattr(choose, "materialized_late", lambda root, _: root)
    root = planned(text, (70_000, 9_000)).root
    assert root is not None
    return root


def late(root: Release) -> list[str]:
    return sorted(field.name for field in fetched(root))


def fetched(root: Release) -> list[Field]:
    """Columns as their owner has them."""
    return [own.field for node in tree(root.input) if isinstance(node, Fetch) for _, own in node.columns]


def shared(root: Release) -> set[int]:
    return {column.field.number for node in tree(root.input) if isinstance(node, Input) for column in node.shared}


def test_much_is_fetched_and_little_carried(monkeypatch: pytest.MonkeyPatch) -> None:
    """By cost: many rows on shares and few of them released."""
    text = f"SELECT o.t, {', '.join(f'a.{c} AS {c}' for c in ('s', 'y', 'money', 'd', 'f'))} FROM shop.orders o " \
           "LEFT JOIN bank.accounts a ON a.id = o.x ORDER BY o.t LIMIT 3"
    many, few, all_rows = (planned(one, sizes).root for one, sizes in (
        (text, (70_000, 9_000)), (text, (20, 20)), (text.replace("LIMIT 3", "LIMIT 60000"), (70_000, 9_000))))
    assert many is not None
    assert few is not None
    assert all_rows is not None
    assert (late(many), late(few), late(all_rows)) == (["a.d", "a.f", "a.money", "a.s", "a.y"], [], [])
    assert peak(many).bytes < peak(carrying(text, monkeypatch)).bytes


def test_explain_shows_it() -> None:
    plan = planned("SELECT o.t, a.s, a.y, a.d, a.f FROM shop.orders o JOIN bank.accounts a ON a.id = o.x ORDER BY o.t LIMIT 3",
                   (70_000, 70_000))
    shown = plan.explain()
    assert "fetch a.y, a.s, a.d, a.f of bank's fragment" in shown
    assert "4 columns fetched late" in shown
    assert "cut on shares: the client gets at most 3 rows" in shown
    assert [reveal.reason for reveal in plan.reveals] == ["result", "slots", "slots"]
