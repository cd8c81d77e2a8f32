"""Functions of texts across owners: moved to an owner, chosen among on shares, or asked as comparisons; DuckDB's rows."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pyarrow as pa
import pytest

import sdh
from sdh.planners.expressions import Apply, Constant
from sdh.planners.plan import Plan
from sdh.planners.render import expression_sql
from sdh.planners.spread_texts import compared
from sdh.schema import BOOLEAN, VARCHAR
from tests.compare import difference
from tests.data import plain

TEXTS = ["", "a", "ab", "abc", "ab%", "a_b", "a_", "%", "Zürich", "zür", "木木", "木", "👍🏽x", "ä", "a\0", "ß",
         "\\a%", None, None, "ab", "a%b!"]  # fmt: skip
BANK = pa.table({"id": pa.array(range(len(TEXTS)), pa.int32()), "x": pa.array([i % 4 for i in range(len(TEXTS))], pa.int32()),
                 "s": pa.array(TEXTS)})  # fmt: skip
SHOP = pa.table({"id": pa.array([i * 2 for i in range(len(TEXTS))], pa.int32()),
                 "x": pa.array([None if i == 3 else i % 3 for i in range(len(TEXTS))], pa.int32()), "s": pa.array(TEXTS[::-1])})
EMPTY = SHOP.slice(0, 0)
STORES = {"bank": {"t": BANK}, "shop": {"t": SHOP, "none": EMPTY}}
TWO = "FROM bank.t a JOIN shop.t o ON a.id = o.id"
LEFT = "FROM bank.t a LEFT JOIN shop.t o ON a.id = o.id"
FULL = "FROM bank.t a FULL JOIN shop.t o ON a.id = o.id"
CHOSEN = "CASE WHEN a.x > o.x THEN a.s WHEN a.x IS NULL THEN 'abc' ELSE o.s END"
OF_KEYS = f"SELECT a.x, o.s, count(*) AS n {TWO} GROUP BY a.x, o.s"

QUERIES = {
    "one owner's": f"SELECT a.s LIKE 'a%', o.s NOT LIKE '%b', lower(a.s) || '!', length(o.s), strlen(o.s), upper(o.s), "
    f"substring(a.s, 2, 2), left(o.s, 1), reverse(a.s), replace(o.s, 'a', 'xyz'), starts_with(a.s, 'ab'), strpos(o.s, 'b') {TWO}",
    "escaped": f"SELECT a.id, o.id AS other, a.s LIKE 'a!%%' ESCAPE '!', o.s LIKE 'a!_' ESCAPE '!', o.s LIKE '_', "
    f"a.s ILIKE 'Z%' {TWO} WHERE a.s LIKE '%' OR o.x = 1",
    "federated": "SELECT substring(s, 1, 2) AS k, count(*), sum(id) FROM pooled GROUP BY k",
    "federated rows": "SELECT s LIKE 'a%', upper(s), CASE WHEN s LIKE '_' THEN id ELSE length(s) END FROM pooled "
    "WHERE s NOT LIKE '木%'",
    "padded": f"SELECT a.id, o.s LIKE 'a%', coalesce(o.s, 'abc') LIKE 'a%', lower(coalesce(o.s, 'ÄBC')), concat(o.s, '-'), "
    f"CASE WHEN o.s LIKE '%b%' THEN 1 ELSE 0 END, substring(coalesce(o.s, a.s), 1, 2), nullif(o.s, 'ab') || 'x' {LEFT}",
    "padded conditions": f"SELECT count(*) {LEFT} WHERE coalesce(o.s, 'b') NOT LIKE 'a%' OR upper(coalesce(o.s, a.s)) = 'AB'",
    "padded keys": f"SELECT CASE WHEN o.s IS NULL THEN 'none' ELSE substring(o.s, 1, 1) END AS k, count(*), min(upper(o.s)) "
    f"{LEFT} GROUP BY k",
    "full": f"SELECT upper(coalesce(o.s, a.s, '-')), length(coalesce(a.s, o.s)), coalesce(a.s, o.s, 'a') LIKE 'a%' {FULL}",
    "full using": "SELECT upper(s), count(*), max(s || '.') FROM bank.t a FULL JOIN shop.t o USING (s) GROUP BY ALL",
    "derived": "SELECT a.id, lower(w.k) FROM bank.t a LEFT JOIN "
    "(SELECT id, coalesce(s, 'NONE') AS k FROM shop.t) w ON a.id = w.id",
    "chosen": f"SELECT {CHOSEN} LIKE '%b%', substring({CHOSEN}, 1, 2), {CHOSEN} || '!', length({CHOSEN}) {TWO}",
    "chosen, filtered": f"SELECT count(*) {TWO} WHERE {CHOSEN} LIKE 'a%' AND {CHOSEN} NOT LIKE '%b'",
    "chosen pattern": f"SELECT count(*) {TWO} WHERE a.s LIKE CASE WHEN o.x = 1 THEN 'a%' WHEN o.x = 0 THEN '%b' END",
    "chosen place": f"SELECT substring(a.s, CASE WHEN o.x = 1 THEN 1 ELSE 2 END, 1) AS k, count(*) {TWO} GROUP BY k",
    "of keys": f"SELECT w.n, w.s LIKE 'a%', substring(w.s, 1, 1), length(w.s) FROM ({OF_KEYS}) w "
    "WHERE w.s NOT LIKE '%b' OR w.n > 0",
    "of keys, having": f"SELECT a.x, o.s, upper(o.s) {TWO} GROUP BY a.x, o.s HAVING o.s LIKE 'a%' OR count(*) > 1 ORDER BY 1, 2",
    "of padded keys": f"SELECT b.id, w.s || '!', concat(w.s, '?') FROM bank.t b LEFT JOIN ({OF_KEYS}) w ON w.n = b.id",
    "distinct": f"SELECT upper(s), x FROM (SELECT DISTINCT o.s, a.x {TWO}) w WHERE length(s) > 1",
    "union": "SELECT lower(s), s LIKE '木%' FROM (SELECT s FROM bank.t UNION SELECT s FROM shop.t) w",
    "union of a join": f"SELECT substring(s, 1, 2), count(*) FROM (SELECT a.s {TWO} UNION ALL SELECT s FROM shop.t "
    f"UNION ALL SELECT {CHOSEN} {TWO}) w GROUP BY ALL",
    "first rows": f"SELECT upper(s) FROM (SELECT o.s, a.id {TWO} ORDER BY o.s, a.id LIMIT 5) w WHERE s LIKE 'a%'",
    "extremes": f"SELECT a.x, max(o.s) LIKE '木%', min(o.s) LIKE 'ab', starts_with(max(o.s), 'z'), min(o.s) LIKE '%' "
    f"{TWO} GROUP BY a.x",
    "extremes, escaped": f"SELECT a.x {TWO} GROUP BY a.x HAVING min(o.s) LIKE '!%%' ESCAPE '!' OR min(o.s) LIKE 'a!_' ESCAPE '!' "
    "OR NOT (max(o.s) LIKE 'zü%')",
    "of nothing": "SELECT max(o.s) LIKE 'a%', count(*) FILTER (WHERE a.s LIKE 'a%') FROM bank.t a JOIN shop.none o "
    "ON a.id = o.id",
    "of a CTE": f"WITH w AS (SELECT o.s, count(*) AS n {TWO} WHERE a.x < 3 GROUP BY o.s) SELECT v.n, upper(v.s), u.s LIKE 'a%' "
    "FROM w v JOIN w u ON v.n >= u.n WHERE substring(v.s, 1, 1) <> 'b'",
    "of a subquery": "SELECT a.id, (SELECT o.s FROM shop.t o WHERE o.id = a.id) || '!' FROM bank.t a",
    "by an aggregate below": "SELECT upper(o.s), sum(a.x) FROM bank.t a, shop.t o WHERE a.x = o.x AND o.s LIKE '%a%' GROUP BY 1",
}


@pytest.fixture(scope="module")
def opened() -> Iterator[tuple[sdh.Hub, duckdb.DuckDBPyConnection]]:
    connection = plain(STORES)
    with sdh.connect(client="analyst") as hub:
        for party, owned in STORES.items():
            hub.attach(party, dict(owned), policy=sdh.Policy.open(rows="exact"), keys={"t": [("id",)]})
        hub.federate("pooled", ["bank.t", "shop.t"])
        connection.execute("CREATE VIEW pooled AS FROM bank.t UNION ALL FROM shop.t")
        yield hub, connection


@pytest.mark.parametrize("name", QUERIES)
def test_functions_of_texts(opened: tuple[sdh.Hub, duckdb.DuckDBPyConnection], name: str) -> None:
    hub, connection = opened
    result = hub.sql(QUERIES[name])
    assert isinstance(result.plan, Plan)
    assert not result.plan.is_local
    expected = connection.sql(QUERIES[name]).to_arrow_table()
    assert not (found := difference(result.arrow(), expected, ordered="ORDER BY" in QUERIES[name][-20:])), found


def test_a_function_of_keys_is_a_column_of_its_owner(opened: tuple[sdh.Hub, duckdb.DuckDBPyConnection]) -> None:
    text = opened[0].explain(QUERIES["of keys, having"])
    assert "upper" in text.partition("fragment")[2]


@pytest.mark.parametrize(("query", "what"), [
    (f"SELECT a.s LIKE o.s {TWO}", "LIKE"),
    (f"SELECT a.s || o.s {TWO}", r"\|\|"),
    (f"SELECT a.x, max(o.s) LIKE '%b' {TWO} GROUP BY a.x", "LIKE"),
    (f"SELECT a.x, max(o.s) LIKE 'a_' {TWO} GROUP BY a.x", "LIKE"),
    (f"SELECT a.x, max(o.s) ILIKE 'a%' {TWO} GROUP BY a.x", "ILIKE"),
    (f"SELECT a.x, upper(max(o.s)) {TWO} GROUP BY a.x", "upper"),
])  # fmt: skip
def test_what_nobody_can_compute_is_refused(opened: tuple[sdh.Hub, duckdb.DuckDBPyConnection], query: str, what: str) -> None:
    with pytest.raises(sdh.Unsupported, match=what):
        opened[0].explain(query)


def test_patterns_as_comparisons_are_duckdbs(opened: tuple[sdh.Hub, duckdb.DuckDBPyConnection]) -> None:
    """Of many beginnings and texts, the last code points among them."""
    texts = [*(text for text in TEXTS if text is not None), "a\U0010ffff", "a\U0010ffffb", "\U0010ffff", "\ud7ff", "\ue000b", "b"]
    starts = ["", "a", "ab", "木", "ä", "a\U0010ffff", "\U0010ffff", "\U0010ffff\U0010ffff", "\ud7ff", "z"]
    connection = opened[1]
    for start in starts:
        for text in texts:
            for like in (f"{start}%", f"{start}%%", start):
                [(expected,)] = connection.execute("SELECT $1 LIKE $2", [text, like]).fetchall()
                found = compared(Apply("LIKE", (_constant(text), _constant(like)), BOOLEAN))
                assert connection.execute(f"SELECT {_sql(found)}").fetchall() == [(expected,)], (text, like)


def _constant(text: str) -> Constant:
    return Constant(VARCHAR, text, "'" + text.replace("'", "''") + "'")


def _sql(e: object) -> str:
    assert isinstance(e, Apply)
    assert e.function != "LIKE"
    return expression_sql(e)
