"""Subqueries, UNION and the rules on predicates: the joins they become, what grants and floors see, DuckDB's rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

import sdh
from sdh.catalog import Catalog, Facts, Party, TableFacts
from sdh.errors import (
    FloorUnsupported,
    NotGranted,
    NotGrouped,
    ParameterError,
    QuestionError,
    SdhError,
    TypeMismatch,
    Unsupported,
)
from sdh.planners.logical import Join, Node, nodes
from sdh.planners.optimize import optimize, rules_of
from sdh.planners.outline import outline
from sdh.planners.plan import Question, bound, place
from sdh.policy import Policy
from sdh.schema import Column, parse_type
from tests.data import oracle, tables
from tests.fuzz import Outcome, ask, open_hub
from tests.generate import nestings
from tests.test_planner import OPEN, catalog, plan

TPCH = Path(__file__).parent / "bench" / "tpch"


def planned(text: str, known: Catalog = OPEN) -> Node:
    """The logical plan after all rules."""
    node, _ = bound(Question(text, "analyst"), known)
    return optimize(node, rules_of(node))


def kinds(text: str) -> list[str]:
    """The joins of a bound query, innermost first."""
    return [node.kind for node in nodes(bound(Question(text, "analyst"), OPEN)[0]) if isinstance(node, Join)]


# --- from subqueries to joins --------------------------------------------------------------------

A, B = "FROM bank.accounts a", "FROM shop.orders o"


@pytest.mark.parametrize(("text", "wanted"), [
    (f"SELECT x, (SELECT max(x) {B}) {A}", ["INNER"]),
    (f"SELECT x, (SELECT x {B}) {A}", ["SINGLE"]),
    (f"SELECT x, (SELECT o.x {B} WHERE o.id = a.id) {A}", ["SINGLE"]),
    (f"SELECT x, (SELECT max(o.x) {B} WHERE o.id = a.id) {A}", ["LEFT"]),
    (f"SELECT x, (SELECT 2 * max(o.x) {B} WHERE o.id = a.id HAVING count(*) > 1) {A}", ["LEFT"]),
    (f"SELECT x, (SELECT a.x + 1) {A}", []),
    (f"SELECT x {A} WHERE id IN (SELECT x {B})", ["SEMI"]),
    (f"SELECT x {A} WHERE EXISTS (SELECT * {B} WHERE o.x < a.x)", ["SEMI"]),
    (f"SELECT x {A} WHERE EXISTS (SELECT DISTINCT x {B} WHERE o.x < a.x ORDER BY x LIMIT 3)", ["SEMI"]),
    (f"SELECT x {A} WHERE NOT EXISTS (SELECT * {B} WHERE o.x < a.x AND o.y = a.y)", ["ANTI"]),
    (f"SELECT x {A} WHERE EXISTS (SELECT max(x) {B} WHERE o.x < a.x)", []),
    (f"SELECT x {A} WHERE NOT (id IN (SELECT id {B}))", ["ANTI"]),
    (f"SELECT x {A} WHERE id NOT IN (SELECT x {B})", ["MARK"]),
    (f"SELECT x {A} WHERE id NOT IN (SELECT x {B} WHERE o.y = a.y)", ["MARK"]),
    (f"SELECT x {A} WHERE id IN (SELECT id {B}) OR x = 3", ["MARK"]),
    (f"SELECT x, EXISTS (SELECT 1 {B} WHERE o.id = a.id) {A}", ["MARK"]),
    (f"SELECT x {A} WHERE x > ANY (SELECT x {B})", ["SEMI"]),
    (f"SELECT x {A} WHERE x > ALL (SELECT x {B})", ["MARK"]),
    (f"SELECT x {A} WHERE id > ALL (SELECT id {B})", ["ANTI"]),
    (f"SELECT x {A} WHERE x IN (SELECT max(x) {B})", ["INNER"]),
    (f"SELECT x {A} WHERE EXISTS (SELECT 1 {B} WHERE EXISTS (SELECT 1 FROM nation WHERE code = o.x AND code = a.x))",
     ["INNER", "SEMI"]),
    (f"SELECT s, sum(x) {A} GROUP BY s HAVING sum(x) > (SELECT avg(x) {B})", ["INNER"]),
    (f"SELECT s, sum(x) {A} GROUP BY s HAVING s IN (SELECT s {B})", ["SEMI"]),
    (f"SELECT a.x {A} LEFT JOIN shop.orders o ON a.id = o.id AND o.x IN (SELECT code FROM nation)", ["MARK", "LEFT"]),
])  # fmt: skip
def test_each_subquery_becomes_its_join(text: str, wanted: list[str]) -> None:
    assert kinds(text) == wanted


def test_a_count_without_a_match_is_zero() -> None:
    text = outline(planned(f"SELECT x, (SELECT count(*) + 1 {B} WHERE o.y = a.y) {A}"))
    assert "(coalesce(" in text
    assert " by " in text


def test_a_row_that_is_none_of_the_subquerys_does_not_make_in_null() -> None:
    """y may be NULL, x too: where y says nothing, x = x must not be asked."""
    nullable, certain = (outline(planned(f"SELECT a.{c} IN (SELECT o.{c} {B} WHERE o.y = a.y) {A}")) for c in ("x", "id"))
    assert "on (coalesce((c" in nullable
    assert "coalesce((" not in certain


@pytest.mark.parametrize(("text", "column", "wanted"), [
    (f"SELECT x, (SELECT count(*) {B} WHERE o.x < a.x) {A}", 11, "anything but an equality"),
    (f"SELECT x, (SELECT o.x {B} WHERE o.y = a.y ORDER BY o.x LIMIT 1) {A}", 11, "LIMIT in a correlated subquery"),
    (f"SELECT x {A} WHERE EXISTS (SELECT 1 {B} WHERE NOT EXISTS (SELECT 1 FROM nation WHERE code = o.x AND code = a.x))",
     37, "from within NOT EXISTS"),
    (f"SELECT x, (SELECT max(o.x + a.x) {B}) {A}", 11, "An aggregate of an outer query's columns"),
    (f"SELECT x {A} WHERE EXISTS (SELECT x {B} WHERE o.x = a.x UNION ALL SELECT 1)", 37, "UNION in a correlated subquery"),
    (f"SELECT a.x {A} LEFT JOIN shop.orders o ON EXISTS (SELECT 1 FROM nation WHERE code = a.x AND code = o.x)", 60,
     "both sides of an outer join"),
    ("SELECT x FROM bank.accounts UNION SELECT y FROM bank.accounts ORDER BY 2 * x", 72, "ORDER BY an expression after UNION"),
])  # fmt: skip
def test_what_no_join_says_is_refused_by_name(text: str, column: int, wanted: str) -> None:
    with pytest.raises(Unsupported, match=wanted) as caught:
        plan(text)
    assert (caught.value.line, caught.value.column) == (1, column), caught.value
    assert caught.value.advice


@pytest.mark.parametrize(("text", "kind"), [
    (f"SELECT (SELECT x, y {B}) {A}", QuestionError),
    (f"SELECT x IN (SELECT s {B}) {A}", TypeMismatch),
    (f"SELECT s, (SELECT max(o.x) {B} WHERE o.id = a.id) {A} GROUP BY s", NotGrouped),
    (f"SELECT (SELECT o.nope {B}) {A}", QuestionError),
    ("SELECT x FROM bank.accounts UNION ALL SELECT x, y FROM bank.accounts", QuestionError),
])  # fmt: skip
def test_errors_in_subqueries(text: str, kind: type[SdhError]) -> None:
    with pytest.raises(kind):
        plan(text)


def test_parameters_in_subqueries() -> None:
    text = f"SELECT x {A} WHERE id IN (SELECT id {B} WHERE x > $low) UNION ALL SELECT $low"
    assert plan(text, low=3).placed.schema[0].name == "x"
    with pytest.raises(ParameterError, match="low"):
        plan(text)


# --- rules on predicates -------------------------------------------------------------------------


def test_a_key_in_every_branch_of_an_or_joins() -> None:
    """As in Q19; and each owner gets the part of the OR that it can tell alone."""
    text = outline(planned("SELECT a.x FROM bank.accounts a, shop.orders o WHERE (a.id = o.id AND a.s = 'a' AND o.x < 3) "
                           "OR (o.id = a.id AND a.s = 'b' AND o.x > 5)"))  # fmt: skip
    [join] = [line for line in text.splitlines() if "join" in line]
    assert "(c1 = c10) AND" in join
    filters = [line.strip() for line in text.splitlines() if line.strip().startswith("filter")]
    assert filters == ["filter ((c5 = 'a') OR (c5 = 'b'))", "filter ((c11 < 3) OR (c11 > 5))"]


def test_nothing_that_may_fail_leaves_its_branch() -> None:
    text = outline(planned("SELECT a.x FROM bank.accounts a, shop.orders o WHERE (a.x <> 0 AND 1 // a.x > o.x) "
                           "OR (7 // a.x > 1 AND o.x = 2)"))  # fmt: skip
    assert "filter" not in text


def test_what_limits_one_column_limits_its_equals() -> None:
    text = outline(planned("SELECT a.x FROM bank.accounts a JOIN shop.orders o ON a.id = o.id WHERE a.id IN (1, 2) AND o.id < 5"))
    assert text.count("filter ((c1 ") == 1
    assert [text.count(f"({c} IN (1, 2))") + text.count(f"({c} < 5)") for c in ("c1", "c10")] == [2, 2]


def test_a_key_that_matches_once_joins() -> None:
    assert "inner join on" in outline(planned(f"SELECT x {A} WHERE x IN (SELECT id {B})"))
    assert "inner join on" in outline(planned(f"SELECT x {A} WHERE x IN (SELECT y {B} GROUP BY y HAVING count(*) > 2)"))
    assert "semi join on" in outline(planned(f"SELECT x {A} WHERE id IN (SELECT x {B})"))
    assert "semi join on" in outline(planned(f"SELECT x {A} WHERE EXISTS (SELECT id {B} WHERE o.id <> a.id)"))


def test_a_double_is_not_its_equal() -> None:
    """-0.0 = 0.0, but 1 / -0.0 <> 1 / 0.0."""
    text = outline(planned("SELECT a.x FROM bank.accounts a JOIN shop.orders o ON a.f = o.f WHERE a.f < 5"))
    assert text.count("< ") == 1


def test_tables_of_one_owner_join_by_a_key_they_have_in_common() -> None:
    """As in Q5 and Q9: both are equal to the other owner's column, so to each other."""
    text = "SELECT a.x FROM bank.accounts a, shop.orders o, bank.accounts b WHERE a.id = o.id AND b.id = o.id AND b.y > o.y"
    placed = place(Question(text, "analyst"), OPEN)
    assert sorted(fragment.party for fragment in placed.fragments) == ["bank", "shop"]
    assert any("(c1 = c19)" in fragment.sql for fragment in placed.fragments)


def test_a_semi_join_goes_to_its_owners_rows() -> None:
    """As in Q21 and Q17: through the column that is equal to the one that the text names."""
    text = "SELECT o.x FROM shop.orders o JOIN bank.accounts a ON a.id = o.id AND a.y = o.y WHERE EXISTS (SELECT 1 " \
           "FROM bank.accounts b WHERE b.y = o.y AND b.x <> a.x)"  # fmt: skip
    placed = place(Question(text, "analyst"), OPEN)
    assert sorted(fragment.party for fragment in placed.fragments) == ["bank", "shop"]
    assert any("EXISTS" in fragment.sql for fragment in placed.fragments)


@pytest.mark.parametrize(("comparison", "wanted"), [
    ("o.x <> a.x", "((c23 <> c2) OR (c24 <> c2))"), ("o.x < a.x", "(c23 < c2)"), ("a.x + 1 <= o.x", "(c23 >= (c2 + 1))"),
])  # fmt: skip
def test_an_inequality_beside_a_key_asks_for_extremes(comparison: str, wanted: str) -> None:
    """As in Q21; not where the key matches once, nor with two inequalities, nor at one owner."""
    text = f"SELECT a.id {A} WHERE NOT EXISTS (SELECT 1 {B} WHERE o.y = a.y AND {comparison})"
    assert wanted in outline(planned(text))
    assert "aggregate" not in outline(planned(text.replace("o.y = a.y", "o.id = a.y")))
    assert "aggregate" not in outline(planned(text.replace("o.y = a.y", "o.y = a.y AND o.d < a.d")))
    assert "aggregate" not in outline(planned(text.replace("shop.orders", "bank.accounts")))


# --- grants and floors ---------------------------------------------------------------------------

SUMS = "GRANT COMPARE, AGGREGATE ON accounts TO analyst"
JOINS = "GRANT JOIN ON accounts TO analyst"


@pytest.mark.parametrize(("grants", "text", "missing"), [
    (SUMS, f"SELECT o.id, (SELECT a.x {A} WHERE a.id = 7) {B}", "REVEAL"),
    (SUMS, f"SELECT o.id, (SELECT a.x {A} WHERE a.id = o.id) {B}", "REVEAL"),
    (SUMS, f"SELECT o.id, (SELECT max(a.x) {A}) {B}", "EXTREMES"),
    (SUMS, f"SELECT o.id, (SELECT sum(a.x) {A} WHERE a.id = o.id) {B}", "GROUP"),
    (SUMS, f"SELECT o.id, (SELECT count(*) {A} WHERE a.id = o.id) {B}", "GROUP"),
    (SUMS, f"SELECT o.id {B} WHERE o.x > (SELECT a.x {A} WHERE a.id = 7)", "REVEAL"),
    (SUMS, f"SELECT o.id {B} WHERE o.x IN (SELECT a.x {A})", "JOIN"),
    (SUMS, f"SELECT o.id {B} WHERE o.x NOT IN (SELECT a.x {A})", "JOIN"),
    (SUMS, f"SELECT o.id, o.x IN (SELECT a.x {A}) {B}", "JOIN"),
    (SUMS, f"SELECT o.id, o.x < ANY (SELECT a.x {A}) {B}", "REVEAL"),
    (SUMS, f"SELECT o.id {B} WHERE o.x > ALL (SELECT a.x {A})", "REVEAL"),
    (SUMS, f"SELECT o.id {B} WHERE EXISTS (SELECT 1 {A} WHERE a.x = 5)", "REVEAL"),
    (SUMS, f"SELECT EXISTS (SELECT 1 {A} WHERE a.x = 5)", "REVEAL"),
    (SUMS, f"SELECT count(*) {B} WHERE o.id IN (SELECT a.id {A})", "JOIN"),
    (SUMS, f"SELECT count(*) FILTER (WHERE EXISTS (SELECT 1 {A} WHERE a.id = o.id)) {B}", "JOIN"),
    (JOINS, f"SELECT o.x {B} WHERE o.x IN (SELECT a.x {A})", "REVEAL"),
    (JOINS, f"SELECT o.x, o.x IN (SELECT a.x {A}) {B}", "REVEAL"),
    (JOINS, f"SELECT o.x, o.y IN (SELECT a.y {A} WHERE a.x = o.x) {B}", "REVEAL"),
    (SUMS, f"SELECT o.id, o.y IN (SELECT a.y {A} WHERE a.x = o.x) {B}", "JOIN"),
    (JOINS, f"SELECT o.id, (SELECT a.s {A} WHERE a.x = o.x) {B}", "REVEAL"),
    (JOINS, f"SELECT o.id {B} WHERE EXISTS (SELECT 1 {A} WHERE a.x = o.x AND a.y < o.y)", "COMPARE"),
    (JOINS, f"SELECT o.id {B} WHERE NOT EXISTS (SELECT 1 {A} WHERE a.x < o.x)", "COMPARE"),
    (JOINS, f"SELECT o.id {B} WHERE EXISTS (SELECT 1 {A} WHERE a.x = 5)", "COMPARE"),
    (JOINS, f"SELECT o.x {B} WHERE o.x = ANY (SELECT a.x {A} UNION ALL SELECT a.y {A})", "REVEAL"),
    (JOINS, f"SELECT o.x {B} UNION ALL SELECT a.x {A}", "REVEAL"),
    (JOINS, f"SELECT o.x {B} UNION SELECT a.x {A}", "GROUP"),
    (JOINS, f"SELECT count(x) FROM (SELECT o.x {B} UNION ALL SELECT a.x {A}) u", "AGGREGATE"),
    ("GRANT AGGREGATE ON accounts TO analyst", f"SELECT o.id {B} WHERE EXISTS (SELECT 1 {A})", "REVEAL"),
    ("GRANT AGGREGATE ON accounts TO analyst", f"SELECT o.id {B} ORDER BY (SELECT min(x) {A})", "EXTREMES"),
])  # fmt: skip
def test_no_subquery_is_a_way_around_a_grant(grants: str, text: str, missing: str) -> None:
    with pytest.raises(NotGranted, match=missing):
        plan(text, catalog(Policy.parse(grants, floor=1, facts="measured")))


@pytest.mark.parametrize(("grants", "text"), [
    (SUMS, f"SELECT o.id {B} WHERE o.x > (SELECT sum(a.x) {A})"),
    (JOINS, f"SELECT o.id {B} WHERE o.x IN (SELECT a.x {A})"),
    ("GRANT JOIN, GROUP, AGGREGATE ON accounts TO analyst", f"SELECT o.id, (SELECT sum(a.x) {A} WHERE a.id = o.id) {B}"),
])  # fmt: skip
def test_the_grants_of_the_same_join_are_enough(grants: str, text: str) -> None:
    place(Question(text, "analyst"), catalog(Policy.parse(grants, floor=1, facts="measured")))


FLOOR = catalog(Policy.parse("GRANT REVEAL ON accounts TO analyst", floor=10, facts="measured"))


@pytest.mark.parametrize("text", [
    f"SELECT count(*) {B} WHERE EXISTS (SELECT 1 {A} WHERE a.id = 7 AND a.x = o.x)",
    f"SELECT count(*) {B} WHERE o.id NOT IN (SELECT a.id {A})",
    f"SELECT sum(CASE WHEN o.id IN (SELECT a.id {A} WHERE a.x > 5) THEN 1 END) {B}",
    f"SELECT sum(o.x) {B} WHERE o.x < (SELECT avg(a.x) {A})",
    f"SELECT max((SELECT a.x {A} WHERE a.id = 7)) {B}",
])  # fmt: skip
def test_a_floor_that_cannot_be_counted_is_refused(text: str) -> None:
    with pytest.raises(FloorUnsupported, match="floor of 10"):
        plan(text, FLOOR)


@pytest.mark.parametrize("text", [
    f"SELECT o.id, (SELECT sum(a.x) {A} WHERE a.id = 7) {B}",
    f"SELECT o.id, (SELECT count(*) {A} WHERE a.x = o.x) {B}",
    f"SELECT o.id {B} WHERE o.x IN (SELECT sum(a.x) {A} GROUP BY a.s)",
])  # fmt: skip
def test_a_floor_is_counted_in_a_subquery(text: str) -> None:
    placed = place(Question(text, "analyst"), FLOOR)
    assert any(">= 10" in fragment.sql for fragment in placed.fragments if fragment.party == "bank")


# --- rows ----------------------------------------------------------------------------------------

SEED = 5
LOCAL = [
    "SELECT id, k NOT IN (SELECT id FROM bank.branches WHERE FALSE), k IN (SELECT n FROM bank.branches) FROM bank.accounts",
    "SELECT id FROM bank.accounts WHERE n NOT IN (SELECT n FROM bank.branches)",
    "SELECT id, (SELECT n FROM bank.branches) FROM bank.accounts",
    "SELECT id, (SELECT id FROM bank.branches b WHERE b.id = a.id), (SELECT 7 WHERE a.n > 0) FROM bank.accounts a",
    "SELECT id, (SELECT a.n + b.n FROM bank.branches b WHERE b.id = a.id) FROM bank.accounts a",
    "SELECT id, (SELECT count(*) FROM bank.branches b WHERE b.n = a.n HAVING count(*) <> 1) AS c FROM bank.accounts a",
    "SELECT (SELECT max(n) FROM bank.branches b WHERE b.k = a.k) AS m, count(*) FROM bank.accounts a GROUP BY m ORDER BY m",
    "SELECT id FROM bank.accounts a WHERE n > ALL (SELECT n FROM bank.branches b WHERE b.b = a.b)",
    "WITH w AS (SELECT k, count(*) AS c FROM bank.accounts GROUP BY k) SELECT k FROM w WHERE c = (SELECT max(c) FROM w)",
    "SELECT small AS v FROM bank.accounts UNION SELECT big FROM bank.branches UNION ALL SELECT 2.5 ORDER BY v DESC LIMIT 7",
    "SELECT id FROM bank.accounts WHERE id IN (SELECT id FROM bank.branches UNION ALL SELECT k FROM bank.branches)",
]


@pytest.fixture(scope="module")
def opened() -> Iterator[tuple[sdh.Hub, duckdb.DuckDBPyConnection]]:
    with open_hub(2, SEED, "exact") as hub:
        yield hub, oracle(tables(2, SEED))


def outcomes(opened: tuple[sdh.Hub, duckdb.DuckDBPyConnection], texts: list[str]) -> list[Outcome]:
    hub, connection = opened
    found = [(text, ask(hub, connection, text)) for text in texts]
    wrong = [f"{text}\n  {outcome.detail}" for text, outcome in found if outcome.verdict == "wrong"]
    assert not wrong, f"seed {SEED}, {len(wrong)} differ:\n" + "\n".join(wrong)
    return [outcome for _, outcome in found]


def test_one_owners_rows(opened: tuple[sdh.Hub, duckdb.DuckDBPyConnection]) -> None:
    found = outcomes(opened, [*LOCAL, *nestings(SEED, 120, 1)])
    assert all(outcome.verdict in ("same", "raised") for outcome in found), "one owner refuses nothing"
    assert sum(outcome.verdict == "same" for outcome in found) > 110


def test_statements_of_a_union(opened: tuple[sdh.Hub, duckdb.DuckDBPyConnection]) -> None:
    hub, connection = opened
    text = "SELECT id FROM bank.branches UNION ALL SELECT max(k) FROM shop.orders"
    assert sorted(hub.sql(text).fetchall()) == sorted(connection.sql(text).fetchall())
    assert "rows of the result (id)" in hub.explain(text)
    assert hub.sql(f"DESCRIBE {text}").fetchall()[0][1] == "BIGINT"


def test_rows_across_owners(opened: tuple[sdh.Hub, duckdb.DuckDBPyConnection]) -> None:
    found = outcomes(opened, nestings(SEED, 60, 2))
    assert sum(outcome.verdict == "same" and outcome.secure for outcome in found) > 50


# --- TPC-H ---------------------------------------------------------------------------------------

SCHEMA = {
    "customer": "c_custkey BIGINT, c_name VARCHAR, c_address VARCHAR, c_nationkey INTEGER, c_phone VARCHAR, "
    "c_acctbal DECIMAL(15,2), c_mktsegment VARCHAR, c_comment VARCHAR",
    "orders": "o_orderkey BIGINT, o_custkey BIGINT, o_orderstatus VARCHAR, o_totalprice DECIMAL(15,2), o_orderdate DATE, "
    "o_orderpriority VARCHAR, o_clerk VARCHAR, o_shippriority INTEGER, o_comment VARCHAR",
    "lineitem": "l_orderkey BIGINT, l_partkey BIGINT, l_suppkey BIGINT, l_linenumber BIGINT, l_quantity DECIMAL(15,2), "
    "l_extendedprice DECIMAL(15,2), l_discount DECIMAL(15,2), l_tax DECIMAL(15,2), l_returnflag VARCHAR, l_linestatus VARCHAR, "
    "l_shipdate DATE, l_commitdate DATE, l_receiptdate DATE, l_shipinstruct VARCHAR, l_shipmode VARCHAR, l_comment VARCHAR",
    "part": "p_partkey BIGINT, p_name VARCHAR, p_mfgr VARCHAR, p_brand VARCHAR, p_type VARCHAR, p_size INTEGER, "
    "p_container VARCHAR, p_retailprice DECIMAL(15,2), p_comment VARCHAR",
    "partsupp": "ps_partkey BIGINT, ps_suppkey BIGINT, ps_availqty BIGINT, ps_supplycost DECIMAL(15,2), ps_comment VARCHAR",
    "supplier": "s_suppkey BIGINT, s_name VARCHAR, s_address VARCHAR, s_nationkey INTEGER, s_phone VARCHAR, "
    "s_acctbal DECIMAL(15,2), s_comment VARCHAR",
    "nation": "n_nationkey INTEGER, n_name VARCHAR, n_regionkey INTEGER, n_comment VARCHAR",
    "region": "r_regionkey INTEGER, r_name VARCHAR, r_comment VARCHAR",
}


def columns_of(text: str) -> tuple[Column, ...]:
    words = (part.split(" ") for part in text.split(", "))
    return tuple(Column(name, parse_type(kind), nullable=False) for name, kind in words)


@pytest.mark.parametrize("number", range(1, 23))
def test_tpch_is_bound_without_nesting(number: int) -> None:
    """Text unmodified but for table names; what DuckDB describes is what SDH types."""
    facts = tuple(
        TableFacts("one", name, columns_of(text), (Facts(),) * len(columns_of(text)), 1) for name, text in SCHEMA.items()
    )
    known = Catalog((Party("one", facts, Policy.open()),))
    text = (TPCH / f"q{number:02}.sql").read_text().format(**{name: f"one.{name}" for name in SCHEMA})
    assert place(Question(text, "analyst"), known).parties == ("one",)
