"""Questions of a hostile receiver: each would learn what was not granted, or what fewer contributors than a floor have."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sdh.catalog import Catalog, Facts, Federated, Party, TableFacts, padded
from sdh.errors import FloorUnsupported, NotGranted
from sdh.planners.plan import Question, finish, place
from sdh.policy import Policy
from sdh.schema import BIGINT, INTEGER, VARCHAR, Column, Kind, Type
from tests.test_planner import COLUMNS, MEASURED

A, B, M, OPEN = "bank.accounts a", "bank.cards b", "analyst.mine m", "shop.orders o"
NATION = TableFacts("", "nation", (Column("code", INTEGER), Column("label", VARCHAR)), (Facts(bits=5), Facts(bytes=8)), 25,
                    (("code",),))  # fmt: skip


def party(name: str, policy: Policy, *tables: str) -> Party:
    """Tables of 1,000 rows, id unique and never NULL."""
    return Party(name, tuple(TableFacts(name, one, COLUMNS, MEASURED, padded(1000), (("id",),), "1") for one in tables), policy)


def catalog(grants: str, floor: int = 1, unit: dict[str, str] | None = None, rows: str = "padded") -> Catalog:
    """The bank grants what is tested; the analyst, who asks, is a party too; the shop is open."""
    policy = Policy.parse(grants, floor=floor, facts="measured", unit=unit, rows=rows)
    parties = (party("bank", policy, "accounts", "cards"), party("shop", Policy.open(), "orders"),
               party("analyst", Policy.none(), "mine"))
    return Catalog(parties, (NATION,), (Federated("people", ("bank.accounts", "shop.orders"), (("y",),)),))


def asked(query: str, known: Catalog) -> None:
    place(Question(query, "analyst"), known)


def given(*grants: str) -> str:
    return ";".join(f"GRANT {grant} TO analyst" for grant in grants)


SUMS = given("AGGREGATE ON accounts")
KEYS = given("JOIN ON accounts (id)", "COMPARE ON accounts (x)")
PAYS = given("JOIN ON accounts (id)", "PAYLOAD ON accounts (x)", "COMPARE ON accounts (y, id)", "AGGREGATE ON accounts")
CARDS = given("JOIN ON accounts", "JOIN ON cards", "PAYLOAD ON cards (x)")
JOINS = given("JOIN ON accounts", "AGGREGATE ON accounts")
BITS = given("COMPARE, JOIN ON accounts")
MOST = given("COMPARE, AGGREGATE, GROUP, EXTREMES, JOIN ON *")


@pytest.mark.parametrize(("grants", "query", "wanted"), [
    # PAYLOAD is for rows whose key equals one of the receiver's own: not for rows that merely stand beside one
    (PAYS, f"SELECT a.x FROM {A} JOIN {M} ON a.id = m.id", ""),
    (PAYS, f"SELECT a.x FROM {M} LEFT JOIN {A} ON a.id = m.id", ""),
    (PAYS, f"SELECT (SELECT a.x FROM {A} WHERE a.id = m.id) FROM {M}", ""),
    (PAYS, f"SELECT a.x FROM {A} JOIN {M} ON a.id = m.id + 1", ""),
    (PAYS, f"SELECT a.x FROM {A}, {M}", "REVEAL ON bank.accounts (x)"),
    (PAYS, f"SELECT a.x FROM {A} JOIN {M} ON a.y < m.y", "REVEAL ON bank.accounts (x)"),
    (PAYS, f"SELECT a.x FROM {A} JOIN {M} ON a.id = 5", "REVEAL ON bank.accounts (x)"),
    (PAYS, f"SELECT a.x FROM {A} LEFT JOIN {M} ON a.id = m.id", "REVEAL ON bank.accounts (x)"),
    (PAYS, f"SELECT a.x FROM {A} FULL JOIN {M} ON a.id = m.id", "REVEAL ON bank.accounts (x)"),
    (PAYS, f"SELECT a.x FROM {A} WHERE NOT EXISTS (SELECT 1 FROM {M} WHERE m.id = a.id)", "REVEAL ON bank.accounts (x)"),
    (PAYS, f"SELECT (SELECT a.x FROM {A} WHERE a.id = 5) FROM {M}", "REVEAL ON bank.accounts (x)"),
    (PAYS, f"SELECT c.x FROM {A} JOIN {M} ON a.id = m.id, bank.accounts c", "REVEAL ON bank.accounts (x)"),
    (PAYS, f"SELECT d.x FROM (SELECT id - id AS z, x FROM {A}) d JOIN {M} ON d.z = m.id", "REVEAL ON bank.accounts (x)"),
    (PAYS, f"SELECT a.x FROM {A} JOIN nation n ON a.id = n.code", "REVEAL ON bank.accounts (x)"),
    (PAYS, f"SELECT a.x FROM {A} JOIN {OPEN} ON a.id = o.id", "REVEAL ON bank.accounts (x)"),
    (PAYS, f"SELECT a.x FROM {A} JOIN (SELECT id FROM {M} UNION ALL SELECT id FROM {OPEN}) u ON a.id = u.id", "REVEAL ON"),
    (PAYS, f"WITH c AS (SELECT id, x FROM {A}) SELECT d.x FROM c JOIN {M} ON c.id = m.id, c d", "REVEAL ON bank.accounts (x)"),
    (PAYS, f"SELECT a.x FROM {A} JOIN (SELECT DISTINCT id FROM {M}) d ON d.id = a.id", ""),
    (CARDS, f"SELECT b.x FROM {A} JOIN {M} ON a.id = m.id JOIN {B} ON b.id = a.id", ""),
    (CARDS, f"SELECT b.x FROM {A} JOIN {B} ON b.id = a.id JOIN {M} ON a.id = m.id", ""),
    (CARDS, f"SELECT b.x FROM {A} FULL JOIN {M} ON a.id = m.id JOIN {B} ON b.id = a.id", "REVEAL ON bank.cards (x)"),
    (CARDS, f"SELECT b.x FROM {A} JOIN {M} ON a.id = m.id JOIN {B} ON b.y = a.y", "REVEAL ON bank.cards (x)"),
    # single rows show where a key equals one that the receiver may know, and nowhere else
    (KEYS, f"SELECT m.id, a.x > 5 FROM {M} JOIN {A} ON a.id = m.id", ""),
    (KEYS, f"SELECT o.y, a.x > 5 FROM {OPEN} JOIN {A} ON a.id = o.id", ""),
    (KEYS, f"SELECT x > 5 FROM {A}", "REVEAL ON bank.accounts"),
    (KEYS, f"SELECT 1 FROM {A} LIMIT 1 OFFSET 7", "REVEAL ON bank.accounts"),
    (KEYS, f"SELECT a.x > 5 FROM {A} LEFT JOIN {M} ON a.id = m.id", "REVEAL ON bank.accounts"),
    (KEYS, f"SELECT EXISTS (SELECT 1 FROM {A} WHERE x = 5)", "REVEAL ON bank.accounts"),
    (KEYS, f"SELECT m.id FROM {M} WHERE EXISTS (SELECT 1 FROM {A} WHERE a.x = m.x + 0)", "REVEAL ON bank.accounts"),
    (KEYS, f"SELECT m.id, m.y < ANY (SELECT a.x FROM {A}) FROM {M}", "REVEAL ON bank.accounts"),
    (KEYS, f"SELECT 1 FROM {A} JOIN (SELECT 5 AS k) c ON a.id = c.k", "REVEAL ON bank.accounts"),
    (BITS, f"SELECT 1 FROM {A} JOIN bank.accounts c ON a.id = c.x", "REVEAL ON bank.accounts"),
    (BITS, f"SELECT DISTINCT m.x FROM {M}, {A} WHERE a.y > 5", "REVEAL ON bank.accounts"),
    (BITS, f"SELECT DISTINCT m.x FROM {M} JOIN {A} ON a.id = m.id WHERE a.y > 5", ""),
    # the row of a public table tells the key that it was found by
    (JOINS, f"SELECT n.label FROM {A} JOIN nation n ON n.code = a.x", "REVEAL ON bank.accounts (x)"),
    (JOINS, f"SELECT n.label FROM nation n WHERE n.code IN (SELECT a.x FROM {A})", "REVEAL ON bank.accounts (x)"),
    (JOINS, f"SELECT n.label, count(*) FROM {A} JOIN nation n ON n.code = a.x GROUP BY n.label", "GROUP ON bank.accounts (x)"),
    (JOINS, f"SELECT q.label FROM {A} JOIN nation n ON n.code = a.x JOIN nation q ON q.code = n.code", "REVEAL ON bank.accounts"),
    (JOINS, f"SELECT c.k FROM {A} JOIN (SELECT 5 AS k) c ON a.x = c.k", "REVEAL ON bank.accounts (x)"),
    # what tells values apart is a comparison, however it is written
    (SUMS, "SELECT sum(CAST(x AS BIGINT)), sum(x / 2), sum(x) / sum(y), sum(DISTINCT x), count(x) FROM bank.accounts", ""),
    (SUMS, "SELECT sum(CAST(CAST(x AS BOOLEAN) AS INTEGER)) FROM bank.accounts", "COMPARE ON bank.accounts (x)"),
    (SUMS, "SELECT count(TRY_CAST(x AS TINYINT)) FROM bank.accounts", "COMPARE ON bank.accounts (x)"),
    (SUMS, "SELECT sum(CAST(money AS INTEGER)) FROM bank.accounts", "COMPARE ON bank.accounts (money)"),
    (SUMS, "SELECT sum(1 / (x - 5)) FROM bank.accounts", "COMPARE ON bank.accounts (x)"),
    (SUMS, "SELECT sum(x) FILTER (WHERE b) FROM bank.accounts", "COMPARE ON bank.accounts (b)"),
    (SUMS, "SELECT sum(CASE WHEN b THEN x END) FROM bank.accounts", "COMPARE ON bank.accounts (b)"),
    (SUMS, "SELECT sum(x) FROM bank.accounts HAVING sum(x) > 5", "COMPARE ON bank.accounts"),
    (SUMS, "SELECT sum(x % 2) FROM bank.accounts", "COMPARE ON bank.accounts (x)"),
    # whether a query fails is one bit about single values
    (SUMS, "SELECT sum(x + 1) FROM bank.accounts", ""),
    (SUMS, "SELECT sum(y + 9223372036854775800) FROM bank.accounts", "COMPARE ON bank.accounts (y)"),
    (SUMS, "SELECT sum(money * 10000000000000) FROM bank.accounts", "COMPARE ON bank.accounts (money)"),
    (SUMS, f"SELECT sum(9223372036854775800 + a.y * 0 + a.x) FROM {A}", "COMPARE ON bank.accounts"),
    # order: what LIMIT cuts by, and what comes with the result
    (given("RANK ON accounts (y)", "AGGREGATE ON accounts (x)"),
     "SELECT sum(x) FROM (SELECT x FROM bank.accounts ORDER BY y LIMIT 9)", ""),
    (given("REVEAL ON accounts (x)"), "SELECT x FROM (SELECT x FROM bank.accounts ORDER BY y LIMIT 1 OFFSET 8)",
     "REVEAL ON bank.accounts (y)"),
    (given("AGGREGATE ON accounts"), "SELECT sum(x) FROM (SELECT x FROM bank.accounts ORDER BY y LIMIT 1 OFFSET 8)",
     "RANK ON bank.accounts (y)"),
    (given("REVEAL ON accounts (x)", "RANK ON accounts (y)"), "SELECT x FROM bank.accounts ORDER BY y", "REVEAL ON"),
    (given("REVEAL ON accounts (x)", "RANK ON accounts (y)"), "SELECT x FROM (SELECT x FROM bank.accounts ORDER BY y) LIMIT 3",
     "REVEAL ON"),
    # and which rows it leaves, in whatever order: a sum of one row is its value
    (SUMS, "SELECT sum(x) FROM (SELECT x FROM bank.accounts LIMIT 1 OFFSET 7)", "RANK ON bank.accounts"),
    (SUMS, f"SELECT sum(x) FROM (SELECT a.x FROM {A}, {M} ORDER BY m.y LIMIT 1)", "RANK ON bank.accounts"),
    (SUMS, f"SELECT sum(d.x) FROM {M} JOIN (SELECT x FROM bank.accounts LIMIT 1) d ON TRUE", "RANK ON bank.accounts"),
    (given("RANK ON accounts (y)", "AGGREGATE ON accounts"), "SELECT sum(x) FROM (SELECT x FROM bank.accounts LIMIT 9)", ""),
    (given("REVEAL ON accounts (x)"), "SELECT x FROM bank.accounts LIMIT 3", ""),
    (KEYS, f"SELECT m.id, a.x > 5 FROM {M} JOIN {A} ON a.id = m.id LIMIT 3", ""),
    (SUMS, "SELECT sum(x) FROM bank.accounts LIMIT 1", ""),
    # a federated table asks each owner
    (SUMS, "SELECT sum(x) FROM people", ""),
    (SUMS, "SELECT x FROM people", "REVEAL ON bank.accounts (x)"),
    (SUMS, "SELECT x, count(*) FROM people GROUP BY x", "GROUP ON bank.accounts (x)"),
    (PAYS, f"SELECT p.x FROM people p JOIN {M} ON p.id = m.id", ""),
    (PAYS, f"SELECT p.x FROM people p, {M}", "REVEAL ON bank.accounts (x)"),
    # COMPUTE shows nothing at all
    (given("COMPUTE ON accounts"), f"SELECT count(*) FROM {M}, {A}", "AGGREGATE ON bank.accounts"),
    (given("COMPUTE ON accounts"), f"SELECT m.x FROM {M} WHERE EXISTS (SELECT 1 FROM {A})", "AGGREGATE ON bank.accounts"),
])  # fmt: skip
def test_every_way_to_write_it_asks_for_the_grant(grants: str, query: str, wanted: str) -> None:
    if not wanted:
        asked(query, catalog(grants))
        return
    with pytest.raises(NotGranted) as refused:
        asked(query, catalog(grants))
    assert f"GRANT {wanted}" in refused.value.advice


UNITS = {"accounts": "id", "cards": "id"}
UNCERTAIN = "may fail"
TWICE = "cannot be counted"
FAR = "(DATE '2020-01-01' + CASE WHEN id = 7 THEN 200000000 ELSE 0 END)"
"""A DATE of one row that no TIMESTAMP reaches."""


@pytest.mark.parametrize(("query", "wanted"), [
    # a contributor has one row in what is counted
    (f"SELECT sum(b.y) FROM {A} JOIN {B} ON a.id = b.id", ""),
    (f"SELECT sum(c.y) FROM {A} JOIN bank.accounts c ON a.x = c.id WHERE c.id = 7", TWICE),
    (f"SELECT count(*) FROM {A}, nation n", TWICE),
    (f"SELECT count(*) FROM {A} JOIN {M} ON m.x = a.id", TWICE),
    ("SELECT count(*) FROM (SELECT id FROM bank.accounts UNION ALL SELECT id FROM bank.accounts)", TWICE),
    ("SELECT count(*) FROM (SELECT id FROM bank.accounts UNION ALL SELECT id FROM bank.cards)", TWICE),
    (f"SELECT count(*) FROM {A} FULL JOIN {B} ON a.id = b.id", TWICE),
    (f"SELECT count(*) FROM {M} LEFT JOIN {A} ON a.id = m.id LEFT JOIN {B} ON b.id = m.id", TWICE),
    (f"SELECT count(*) FROM {M} LEFT JOIN ({A} JOIN {B} ON b.id = a.id) ON b.id = m.id", ""),
    (f"SELECT count(*) FROM {A} LEFT JOIN {B} ON a.id = b.id", ""),
    ("SELECT max(n) FROM (SELECT count(*) AS n FROM bank.accounts GROUP BY s)", TWICE),
    (f"SELECT count(*) FROM {M} WHERE (SELECT count(*) FROM {A} WHERE a.x = 7) > 0", TWICE),
    # that a query failed is told whatever the floor
    ("SELECT sum(x + 1), avg(money * 2), sum(y), var_samp(x), median(x) FROM bank.accounts", ""),
    ("SELECT date_trunc('month', d), sum(x / y), count(*) FILTER (WHERE s LIKE 'a%') FROM bank.accounts GROUP BY 1", ""),
    ("SELECT sum(9223372036854775800 + y) FILTER (WHERE id = 7) FROM bank.accounts", UNCERTAIN),
    ("SELECT sum(CASE WHEN id = 7 AND x > 100 THEN 1 // 0 ELSE 0 END) FROM bank.accounts", UNCERTAIN),
    ("SELECT count(*) FROM bank.accounts WHERE id = 7 AND 10 // x > 0", UNCERTAIN),
    ("SELECT count(*), CAST(x AS TINYINT) AS k FROM bank.accounts WHERE id = 7 GROUP BY k", UNCERTAIN),
    ("SELECT count(*) FROM bank.accounts WHERE CAST(s AS INTEGER) = 5", UNCERTAIN),
    ("SELECT count(*) FROM bank.accounts WHERE TRY_CAST(s AS INTEGER) = 5", ""),
    (f"SELECT count(*) FROM bank.accounts WHERE CAST({FAR} AS TIMESTAMP) IS NULL", UNCERTAIN),
    (f"SELECT count(*) FROM bank.accounts WHERE {FAR} > TIMESTAMP '2020-01-01 00:00:00'", UNCERTAIN),
    (f"SELECT count(*) FROM bank.accounts WHERE coalesce({FAR}, TIMESTAMP '2020-01-01 00:00:00') IS NULL", UNCERTAIN),
    (f"SELECT count(*) FROM bank.accounts WHERE date_trunc('month', {FAR}) IS NULL", UNCERTAIN),
    (f"SELECT count(*) FROM bank.accounts WHERE week({FAR}) = 3", UNCERTAIN),
    (f"SELECT count(*) FROM bank.accounts WHERE year({FAR}) = 3", ""),
    ("SELECT count(*) FROM bank.accounts WHERE date_trunc('month', DATE '2020-01-01' + x) > TIMESTAMP '2020-01-01 00:00:00'", ""),
    ("SELECT count(*) FROM bank.accounts WHERE substring(s, CASE WHEN id = 7 THEN -5000000000 ELSE 1 END, 1) = 'a'", UNCERTAIN),
    ("SELECT count(*) FROM bank.accounts WHERE s LIKE (CASE WHEN id = 7 THEN 'ax' ELSE 'a' END) ESCAPE 'x'", UNCERTAIN),
    ("SELECT count(*) FROM bank.accounts WHERE CASE WHEN id = 7 THEN s LIKE 'ax' ESCAPE 'x' ELSE FALSE END", UNCERTAIN),
    ("SELECT count(*) FROM bank.accounts WHERE substring(s, 2, 3) = 'a' AND s LIKE 'ax%' ESCAPE 'x'", ""),
    ("SELECT sum(1 // z) FROM (SELECT x, 0 AS z FROM bank.accounts) WHERE x > 100", UNCERTAIN),
    ("SELECT sum(h) FROM (SELECT CAST(y AS HUGEINT) * 100000000000000000000000000000000 AS h FROM bank.accounts)", UNCERTAIN),
    (f"SELECT sum(v) FROM (SELECT (SELECT a.x FROM {A} WHERE a.y = 7) AS v)", UNCERTAIN),
    (f"SELECT sum(v) FROM (SELECT (SELECT a.x FROM {A} WHERE a.id = m.id) AS v FROM {M})", ""),
    # where single rows may show by JOIN, a failure of one may
    (f"SELECT sum(1 // m.x) FROM {A} JOIN {M} ON a.id = m.id WHERE a.x > 100", ""),
])  # fmt: skip
def test_nothing_is_told_of_fewer_than_the_floor(query: str, wanted: str) -> None:
    known = catalog(MOST, 10, UNITS)
    if not wanted:
        asked(query, known)
        return
    with pytest.raises(FloorUnsupported, match=wanted):
        asked(query, known)


def test_a_unit_that_may_be_null_tells_no_contributors_apart() -> None:
    for unit, fine in (("id", True), ("x", False)):
        [bank, *_] = catalog(MOST, 10, {"accounts": unit}).parties
        known = Catalog((replace(bank, tables=tuple(replace(table, keys=((unit,),)) for table in bank.tables)),))
        if fine:
            asked("SELECT count(*) FROM bank.accounts", known)
            continue
        with pytest.raises(FloorUnsupported, match="several rows"):
            asked("SELECT count(*) FROM bank.accounts", known)


def test_a_total_that_may_not_fit_is_a_failure() -> None:
    wide = (Column("id", INTEGER, False), Column("h", Type(Kind.HUGEINT)), Column("y", BIGINT))
    policy = Policy.parse(MOST, floor=10)
    known = Catalog((Party("bank", (TableFacts("bank", "accounts", wide, (Facts(),) * 3, 1024),), policy),))
    asked("SELECT sum(y), avg(id) FROM bank.accounts", known)
    for call in ("sum(h)", "avg(h)", "median(y)"):
        with pytest.raises(FloorUnsupported, match=UNCERTAIN):
            asked(f"SELECT {call} FROM bank.accounts", known)


def test_a_key_that_the_client_declared_is_checked_by_a_bit_that_no_floor_hides() -> None:
    query = "SELECT count(*) FROM people p JOIN (SELECT 5 AS k) c ON p.y = c.k"
    asked(query, catalog(MOST))
    with pytest.raises(FloorUnsupported, match=UNCERTAIN):
        asked(query, catalog(MOST, 10))


EXACT = f"SELECT a.x > m.y FROM {M} JOIN {A} ON a.x = m.x"


@pytest.mark.parametrize(("query", "floor", "told"), [
    (EXACT, 1, "the exact row count of fragment 0"),
    (EXACT, 10, "the exact row count of fragment 0"),
    (EXACT + " AND a.y > 7", 1, "the exact count of joined or filtered rows of fragment 0"),
    (EXACT + " AND a.y > 7", 10, "the padded count of joined or filtered rows of fragment 0"),
    (f"SELECT m.x, a.c FROM {M} JOIN (SELECT x, count(*) AS c FROM bank.accounts GROUP BY x) a ON a.x = m.x", 1,
     "the exact number of groups of fragment 0"),
])  # fmt: skip
def test_an_exact_count_says_of_what_and_gives_way_to_a_floor(query: str, floor: int, told: str) -> None:
    placed = place(Question(query, "analyst"), catalog(MOST, floor, rows="exact"))
    reveals = finish(placed, tuple(one.slots for one in placed.fragments)).reveals
    number = next(one.number for one in placed.fragments if one.party == "bank")
    assert told.replace("fragment 0", f"fragment {number}") in [reveal.what for reveal in reveals]
