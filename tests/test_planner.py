"""The planner alone: errors in the question, grants and floors, protocols chosen, types as DuckDB's."""

from __future__ import annotations

import itertools

import duckdb
import pytest

import sdh
from sdh.catalog import Catalog, Facts, Party, TableFacts, padded
from sdh.errors import (
    AmbiguousColumn,
    FloorUnsupported,
    NotGranted,
    NotGrouped,
    ParameterError,
    ParseError,
    SdhError,
    TypeMismatch,
    UnknownColumn,
    UnknownFunction,
    UnknownTable,
    Unsupported,
    WidthError,
)
from sdh.planners.intervals import Range
from sdh.planners.physical import Align, Input, NestedLoop, Node, inputs
from sdh.planners.plan import Plan, Question, finish, place
from sdh.policy import Policy
from sdh.schema import BIGINT, BOOLEAN, DATE, DOUBLE, INTEGER, TIMESTAMP, VARCHAR, Column, Kind, Type

MONEY = Type(Kind.DECIMAL, 15, 2)
COLUMNS = (
    Column("id", INTEGER, False), Column("x", INTEGER), Column("y", BIGINT), Column("money", MONEY), Column("s", VARCHAR),
    Column("d", DATE), Column("t", TIMESTAMP), Column("b", BOOLEAN), Column("f", DOUBLE),
)  # fmt: skip
MEASURED = (Facts(bits=10), Facts(bits=12), Facts(bits=20), Facts(bits=24), Facts(bytes=16), Facts(bits=14), Facts(bits=52),
            Facts(bits=1), Facts(bits=8))  # fmt: skip


def catalog(bank: Policy, shop: Policy | None = None, facts: tuple[Facts, ...] = MEASURED) -> Catalog:
    """Two owners with one table each, 1,000 rows, id unique."""

    def party(name: str, table: str, policy: Policy) -> Party:
        return Party(name, (TableFacts(name, table, COLUMNS, facts, padded(1000), (("id",),), "1"),), policy)

    public = TableFacts("", "nation", (Column("code", INTEGER), Column("label", VARCHAR)), (Facts(bits=5), Facts(bytes=8)), 25)
    return Catalog((party("bank", "accounts", bank), party("shop", "orders", shop or Policy.open())), (public,))


OPEN = catalog(Policy.open())


def plan(text: str, known: Catalog = OPEN, client: str = "analyst", **params: object) -> Plan:
    placed = place(Question(text, client, tuple(sorted(params.items()))), known)
    return finish(placed, tuple(fragment.slots for fragment in placed.fragments))


def nodes(node: Node) -> list[Node]:
    return [node, *(inner for part in inputs(node) for inner in nodes(part))]


def secure_nodes(text: str) -> list[Node]:
    root = plan(text).root
    assert root is not None
    return nodes(root.input)


JOIN = "FROM bank.accounts a JOIN shop.orders o ON a.id = o.id"


@pytest.mark.parametrize(("text", "kind", "wanted"), [
    ("SELECT x FROM bank.acounts", UnknownTable, "bank.accounts"),
    ("SELECT x FROM bnk.accounts", UnknownTable, "bank.accounts"),
    (f"SELECT a.mony {JOIN}", UnknownColumn, "money"),
    (f"SELECT id {JOIN}", AmbiguousColumn, "Name the table"),
    ("SELECT summ(x) FROM bank.accounts", UnknownFunction, "sum"),
    ("SELECT s + 1 FROM bank.accounts", TypeMismatch, ""),
    ("SELECT sum(s) FROM bank.accounts", TypeMismatch, ""),
    ("SELECT d > 'not a day' FROM bank.accounts", TypeMismatch, ""),
    ("SELECT x, count(*) FROM bank.accounts", NotGrouped, "GROUP BY"),
    ("SELECT x FROM bank.accounts WHERE x > $low", ParameterError, "$low"),
    ("SELECT FROM WHERE", ParseError, ""),
    (f"SELECT a.x / o.x AS q, count(*) {JOIN} GROUP BY q", Unsupported, "GROUP BY"),
    (f"SELECT count(DISTINCT a.x / o.x) {JOIN}", Unsupported, "quotient"),
    (f"SELECT median(a.x + o.x) {JOIN}", Unsupported, "median"),
    (f"SELECT a.f + o.f {JOIN}", Unsupported, "DOUBLE"),
    (f"SELECT a.s || o.s {JOIN}", Unsupported, "||"),
])  # fmt: skip
def test_errors_in_the_question(text: str, kind: type[SdhError], wanted: str) -> None:
    with pytest.raises(kind) as caught:
        plan(text)
    assert type(caught.value) is kind
    assert wanted in str(caught.value)
    if kind in (UnknownTable, UnknownColumn, UnknownFunction, AmbiguousColumn, NotGrouped):
        assert "^" in str(caught.value), "a caret under the SQL"


def test_an_unused_parameter() -> None:
    with pytest.raises(ParameterError, match="high"):
        plan("SELECT x FROM bank.accounts", high=3)


def test_a_sum_that_might_not_fit() -> None:
    types_only = catalog(Policy.open(), facts=tuple(Facts(bytes=16) if c.type == VARCHAR else Facts() for c in COLUMNS))
    with pytest.raises(WidthError, match="bounds"):
        plan(f"SELECT sum(a.y * o.y) {JOIN}", types_only)


# --- grants --------------------------------------------------------------------------------------


def test_without_a_policy_nothing_is_granted() -> None:
    alone = ("SELECT x FROM bank.accounts", "SELECT count(*) FROM bank.accounts")
    for text in (*alone, f"SELECT sum(o.x) {JOIN}", f"SELECT o.x {JOIN}"):
        with pytest.raises(NotGranted, match="GRANT"):
            plan(text, catalog(Policy.none()))


GRANTS = "GRANT COMPARE, AGGREGATE ON bank.accounts (money) TO analyst; GRANT JOIN ON accounts (id) TO analyst; " \
         "GRANT GROUP ON accounts (s) TO analyst; GRANT EXTREMES ON accounts (y) TO analyst"  # fmt: skip


@pytest.mark.parametrize(("text", "missing"), [
    (f"SELECT sum(a.money) {JOIN}", ""),
    (f"SELECT sum(o.x) {JOIN} WHERE a.money > o.money", ""),
    (f"SELECT a.s, sum(a.money) {JOIN} GROUP BY a.s", ""),
    (f"SELECT max(a.y) {JOIN}", ""),
    (f"SELECT a.money {JOIN}", "REVEAL"),
    (f"SELECT max(a.money) {JOIN}", "EXTREMES"),
    (f"SELECT sum(a.x) {JOIN}", "AGGREGATE"),
    (f"SELECT sum(CASE WHEN a.x > o.x THEN 1 END) {JOIN}", "AGGREGATE"),
    (f"SELECT sum(CASE WHEN a.s > o.s THEN o.x END) {JOIN}", "AGGREGATE"),
    (f"SELECT sum(o.x) {JOIN} WHERE a.x > 3", "COMPARE"),
    ("SELECT sum(o.x) FROM bank.accounts a JOIN shop.orders o ON a.y = o.y", "JOIN"),
    (f"SELECT a.x, count(*) {JOIN} GROUP BY a.x", "GROUP"),
    (f"SELECT DISTINCT a.x {JOIN}", "GROUP"),
    (f"SELECT o.x {JOIN} ORDER BY a.money", "REVEAL"),
    (f"SELECT sum(o.x) {JOIN} WHERE a.b", "COMPARE"),
    ("SELECT money FROM bank.accounts", "REVEAL"),
    ("SELECT sum(m) FROM (SELECT a.x + 1 AS m FROM bank.accounts a)", "AGGREGATE"),
])  # fmt: skip
def test_each_use_is_granted_by_name(text: str, missing: str) -> None:
    known = catalog(Policy.parse(GRANTS, floor=1, facts="measured"))
    if not missing:
        plan(text, known)
        return
    with pytest.raises(NotGranted) as caught:
        plan(text, known)
    assert f"GRANT {missing} ON bank.accounts" in str(caught.value)
    assert "analyst" in str(caught.value)


AGGREGATES = "GRANT COMPARE, AGGREGATE ON accounts TO analyst"


@pytest.mark.parametrize(("grants", "text", "missing"), [
    (AGGREGATES, "SELECT o.id FROM shop.orders o, bank.accounts a, (SELECT count(*) FROM nation) z WHERE a.x > o.x", "REVEAL"),
    ("GRANT AGGREGATE ON accounts TO analyst", "SELECT median(x) FROM bank.accounts", "EXTREMES"),
    ("GRANT AGGREGATE ON accounts TO analyst", "SELECT arg_max(x, y) FROM bank.accounts", "EXTREMES"),
    ("GRANT AGGREGATE ON accounts TO analyst", "SELECT sum(x) FROM bank.accounts GROUP BY id", "GROUP"),
    ("GRANT AGGREGATE ON accounts TO analyst", "SELECT count(*) FROM (SELECT DISTINCT s FROM bank.accounts)", "GROUP"),
    ("GRANT AGGREGATE ON accounts TO analyst", "SELECT count(nullif(x, 100)) FROM bank.accounts", "COMPARE"),
    ("GRANT AGGREGATE ON accounts TO analyst", "SELECT sum(sign(x - 100)) FROM bank.accounts", "COMPARE"),
    ("GRANT AGGREGATE ON accounts TO analyst", "SELECT sum(x // 100) FROM bank.accounts", "COMPARE"),
    ("GRANT JOIN ON accounts TO analyst", f"SELECT o.x, n.code {JOIN} JOIN nation n ON n.code = a.x", "REVEAL"),
    ("GRANT JOIN ON accounts TO analyst", f"SELECT o.id {JOIN}", "REVEAL"),
    ("GRANT COMPARE ON accounts TO analyst", "SELECT lower(s) FROM bank.accounts", "REVEAL"),
])  # fmt: skip
def test_ways_around_a_grant_are_closed(grants: str, text: str, missing: str) -> None:
    with pytest.raises(NotGranted, match=missing):
        plan(text, catalog(Policy.parse(grants, floor=1, facts="measured")))


def test_a_floor_counts_what_each_call_reads() -> None:
    found = plan("SELECT sum(x) FILTER (WHERE id = 7), sum(y), count(*) FROM bank.accounts", FLOOR)
    (fragment,) = found.placed.fragments
    assert fragment.sql.count(">= 10") == 3
    assert "FILTER (WHERE (c1 = 7))" in fragment.sql
    assert "differential privacy" in found.explain()


def test_a_grant_holds_for_its_receiver_alone() -> None:
    known = catalog(Policy.parse(GRANTS, floor=1))
    with pytest.raises(NotGranted, match="eve"):
        plan(f"SELECT sum(a.money) {JOIN}", known, client="eve")


def test_a_client_named_like_a_party_is_that_party() -> None:
    known = catalog(Policy.none())
    assert plan("SELECT x FROM bank.accounts", known, client="bank").is_local
    with pytest.raises(NotGranted):
        plan("SELECT x FROM bank.accounts", known, client="shop")


def test_synonyms_of_levels() -> None:
    policy = Policy.parse("GRANT PLAINTEXT_AFTER_COMPARE ON accounts (x) TO analyst; GRANT PLAINTEXT ON accounts (s) TO analyst")
    assert policy.allows(sdh.policy.Use.COMPARE, "accounts", "x", "analyst")
    assert not policy.allows(sdh.policy.Use.REVEAL, "accounts", "x", "analyst")
    assert policy.allows(sdh.policy.Use.GROUP, "accounts", "s", "analyst"), "REVEAL includes the others"


# --- floors --------------------------------------------------------------------------------------

FLOOR = catalog(Policy.parse("GRANT REVEAL ON accounts TO analyst", floor=10, facts="measured"))


def test_a_floor_is_counted_where_each_contributor_has_one_row() -> None:
    for text in (f"SELECT sum(a.x * o.x) {JOIN}", f"SELECT a.s, count(*) {JOIN} GROUP BY a.s", "SELECT sum(x) FROM bank.accounts",
                 "SELECT DISTINCT s FROM bank.accounts"):
        assert "contributors" in plan(text, FLOOR).explain() or ">= 10" in plan(text, FLOOR).explain()


@pytest.mark.parametrize("text", [
    "SELECT sum(a.x * o.x) FROM bank.accounts a JOIN shop.orders o ON a.id = o.x",
    "SELECT count(*) FROM bank.accounts a, shop.orders o",
    "SELECT sum(n) FROM (SELECT count(*) AS n FROM bank.accounts GROUP BY s)",
])  # fmt: skip
def test_a_floor_that_cannot_be_counted_is_refused(text: str) -> None:
    with pytest.raises(FloorUnsupported, match="floor of 10"):
        plan(text, FLOOR)


# --- protocols -----------------------------------------------------------------------------------


def test_align_where_a_key_is_unique_nested_loop_elsewhere() -> None:
    assert any(isinstance(node, Align) for node in secure_nodes(f"SELECT a.x, o.x {JOIN}"))
    less = "SELECT a.x FROM bank.accounts a, shop.orders o WHERE a.x < o.x"
    assert any(isinstance(node, NestedLoop) for node in secure_nodes(less))


def test_an_owner_aggregates_below_the_join() -> None:
    found = plan("SELECT a.s, sum(o.money) FROM bank.accounts a JOIN shop.orders o ON a.id = o.x GROUP BY a.s")
    assert found.root is not None
    assert any("sum" in fragment.sql for fragment in found.placed.fragments)
    assert any(isinstance(node, Align) for node in nodes(found.root.input))


def test_what_one_owner_can_compute_is_computed_there() -> None:
    found = plan(f"SELECT sum(CASE WHEN o.s IN ('a', 'b') THEN 1 ELSE 0 END) {JOIN} WHERE a.x > 3 AND a.y < o.y")
    shop = next(fragment for fragment in found.placed.fragments if fragment.party == "shop")
    bank = next(fragment for fragment in found.placed.fragments if fragment.party == "bank")
    assert "CASE" in shop.sql
    assert "(c2 > 3)" in bank.sql
    assert found.root is not None
    columns = [column.field.type for node in nodes(found.root.input) if isinstance(node, Input) for column in node.columns]
    assert VARCHAR not in columns, "the string never leaves its owner, not even on shares"


def test_reveals_are_known_before_the_run_and_say_what_may_fail() -> None:
    assert [reveal.reason for reveal in plan(f"SELECT sum(a.x) {JOIN}").reveals] == ["result", "slots", "slots"]
    risky = catalog(Policy.open(), facts=tuple(Facts(bytes=16) if c.type == VARCHAR else Facts() for c in COLUMNS))
    assert "error" in {reveal.reason for reveal in plan(f"SELECT a.x + o.x AS v {JOIN}", risky).reveals}


@pytest.mark.parametrize(("low", "high", "bits"), [(0, 0, 1), (0, 1, 2), (-1, 0, 1), (-2, 1, 2), (0, 255, 9), (-256, 255, 9),
                                                   (-(2**63), 2**63 - 1, 64)])  # fmt: skip
def test_bits_of_a_range(low: int, high: int, bits: int) -> None:
    assert Range(low, high).bits == bits


# --- types ---------------------------------------------------------------------------------------

TYPES = ("TINYINT", "INTEGER", "BIGINT", "UINTEGER", "HUGEINT", "DECIMAL(4,1)", "DECIMAL(15,2)", "DECIMAL(18,3)", "DOUBLE",
         "DATE", "TIMESTAMP", "BOOLEAN", "VARCHAR")  # fmt: skip
OPERATORS = ("+", "-", "*", "/", "//", "%", "=", "<", "||", "AND", "IS DISTINCT FROM")


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_operator_and_pair_of_types_is_typed_as_duckdb_types_it(operator: str) -> None:
    """Where DuckDB refuses the types SDH does too, as TypeMismatch."""
    columns = tuple(Column(f"c{i}", sdh.schema.parse_type(name)) for i, name in enumerate(TYPES))
    known = Catalog((Party("p", (TableFacts("p", "t", columns, (Facts(),) * len(columns), 10),), Policy.open()),))
    connection = duckdb.connect()
    connection.execute(f"CREATE TABLE t ({', '.join(f'{c.name} {c.type}' for c in columns)})")
    for a, b in itertools.product(columns, columns):
        text = f"SELECT {a.name} {operator} {b.name} AS v FROM t"
        try:
            expected = str(connection.execute(f"DESCRIBE {text}").fetchall()[0][1])
        except duckdb.Error:
            with pytest.raises(TypeMismatch):
                plan(text.replace("FROM t", "FROM p.t"), known)
            continue
        assert str(plan(text.replace("FROM t", "FROM p.t"), known).placed.schema[0].type) == expected
