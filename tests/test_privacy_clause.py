"""SELECT WITH DIFFERENTIAL_PRIVACY: what is read, what is refused and where, and the text that is left for DuckDB."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import pytest
from typer.testing import CliRunner

import sdh
from sdh.cli import app
from sdh.errors import ParameterError, ParseError, SdhError, UnknownDeclaration
from sdh.order import question_from_message, question_to_message
from sdh.parsers.parse import parse, without_privacy
from sdh.parsers.syntax import Bounds, Call, Name, Privacy, Select, SetOperation
from sdh.planners.plan import Question
from sdh.policy import Policy, policy_from_message

CLAUSE = """SELECT WITH DIFFERENTIAL_PRIVACY
  OPTIONS(epsilon = 0.5, delta = 1e-8, max_groups_contributed = 2, max_rows_contributed = 3, noise = parties,
          privacy_unit_column = p.id, group_selection_strategy = LAPLACE_THRESHOLD)
  item, COUNT(*, contribution_bounds_per_group => (0, 5)) AS n,
  SUM(qty + 1, contribution_bounds_per_row => (-1.5, 50)) FILTER (WHERE qty > 2) AS s
FROM p GROUP BY item"""


def selected(text: str) -> Select:
    found = parse(text)
    assert isinstance(found, Select)
    return found


def test_the_clause_and_the_bounds() -> None:
    query = selected(CLAUSE)
    assert query.privacy == Privacy(Fraction(1, 2), Fraction(1, 10**8), 2, 3, Name(("p", "id")), "LAPLACE_THRESHOLD", "PARTIES")
    count, total = (item.expression for item in query.items[1:])
    assert isinstance(count, Call)
    assert isinstance(total, Call)
    assert count.bounds == Bounds("group", Fraction(0), Fraction(5))
    assert total.bounds == Bounds("row", Fraction(-3, 2), Fraction(50))
    assert total.filter is not None


def test_what_is_left_keeps_its_places() -> None:
    left = without_privacy(CLAUSE)
    assert len(left) == len(CLAUSE)
    assert "DIFFERENTIAL" not in left
    assert "=>" not in left
    for word in ("item", "COUNT", "FILTER", "FROM"):
        assert left.index(word) == CLAUSE.index(word)
    plain = selected(left)
    assert plain.privacy is None
    assert [item.alias for item in plain.items] == ["", "n", "s"]


def test_each_select_has_its_own() -> None:
    query = selected("WITH w AS (SELECT WITH DIFFERENTIAL_PRIVACY OPTIONS (epsilon = 1) count(*) AS n FROM t) SELECT n FROM w")
    assert query.privacy is None
    inner = query.common[0].query
    assert isinstance(inner, Select)
    assert inner.privacy == Privacy(Fraction(1))


def test_the_clause_of_the_first_part_of_a_set_operation() -> None:
    first = "SELECT WITH DIFFERENTIAL_PRIVACY OPTIONS (epsilon = 1) count(*) FROM t"
    for text in (f"{first} EXCEPT SELECT 1", f"WITH w AS (SELECT 1) {first} UNION ALL SELECT 2 UNION SELECT 3"):
        query = parse(text)
        while isinstance(query, SetOperation):
            assert isinstance(query.right, Select)
            assert query.right.privacy is None
            query = query.left
        assert isinstance(query, Select)
        assert query.privacy == Privacy(Fraction(1))


def options(text: str) -> str:
    return f"SELECT WITH DIFFERENTIAL_PRIVACY OPTIONS ({text}) count(*) FROM t"


@pytest.mark.parametrize(("text", "word", "at"), [
    (options("epsilon = inf"), "not a number", "inf"),
    (options("epsilon = nan"), "not a number", "nan"),
    (options("epsilon = 1 + 1"), "not a number", "1 +"),
    (options("epsilon = $e"), "not a number", "$"),
    (options("epsilon = 0"), "cannot be 0", "0)"),
    (options("epsilon = -1"), "cannot be -1", "-1"),
    (options("epsilon = 9e-10"), "at least 1e-09", "9e-10"),
    (options("epsilon = 1e9"), "cannot be 1e9", "1e9"),
    (options("epsilon = 1e999"), "not a number", "1e999"),
    (options("delta = 1"), "cannot be 1", "1)"),
    (options("epsilon = 1, EPSILON = 2"), "twice", "EPSILON"),
    (options("eps = 1"), "no option", "eps"),
    (options("max_groups_contributed = 0"), "cannot be 0", "0)"),
    (options("max_rows_contributed = 1.5"), "cannot be 1.5", "1.5"),
    (options("noise = LOUD"), "cannot be LOUD", "LOUD"),
    (options("group_selection_strategy = ALL"), "cannot be ALL", "ALL"),
    (options("privacy_unit_column = 3"), "cannot be 3", "3"),
    (options("epsilon"), "no value", "epsilon"),
    (options("epsilon = 1,"), "missing", ")"),
    (options(""), "missing", ")"),
    ("SELECT WITH DIFFERENTIAL_PRIVACY OPTIONS (epsilon = 1 count(*) FROM t", "not closed", "count"),
    ("SELECT sum(a, contribution_bounds_per_row => (1)) FROM t", "two numbers", "contribution"),
    ("SELECT sum(a, contribution_bounds_per_row => (2, 1)) FROM t", "wrong way", "contribution"),
    ("SELECT sum(a, contribution_bounds_per_row => (1, b)) FROM t", "not a number", "b)"),
    ("SELECT sum(a, contribution_bounds_per_row => (1, 2), contribution_bounds_per_group => (1, 2)) FROM t", "twice", ""),
    ("SELECT abs(a, contribution_bounds_per_row => (1, 2)) FROM t", "in an aggregate", "contribution"),
    ("SELECT (a, contribution_bounds_per_row => (1, 2)) FROM t", "in an aggregate", "contribution"),
])  # fmt: skip
def test_refused_with_its_place(text: str, word: str, at: str) -> None:
    with pytest.raises(ParseError, match="(?i)" + word) as caught:
        parse(text)
    assert caught.value.line == 1
    if at and "closed" not in word:
        assert text[caught.value.column - 1:].startswith(at)


@pytest.mark.parametrize("text", ["SELECT f(a => 1) FROM t", "SELECT WITH (a) FROM t", "SELECT sum(a, bounds => (1, 2)) FROM t"])
def test_other_named_arguments_are_still_refused(text: str) -> None:
    with pytest.raises(SdhError):
        parse(text)


def test_dp_is_exact_and_travels() -> None:
    dp = sdh.DP(0.1, "1e-8", groups=2, unit="p.id", strategy="public_groups", noise="dealer")
    assert dp.epsilon == Fraction(1, 10)
    question = Question("SELECT 1", "analyst", (), "UTC", dp)
    assert question_from_message(question_to_message(question)) == question
    wrongs: tuple[dict[str, Any], ...] = (
                  {"epsilon": float("nan")}, {"epsilon": float("inf")}, {"epsilon": 0}, {"epsilon": -1}, {"epsilon": True},
                  {"epsilon": 9e-10},
                  {"epsilon": 1, "delta": 2}, {"epsilon": 1, "groups": 0}, {"epsilon": 1, "noise": "loud"})  # fmt: skip
    for wrong in wrongs:
        with pytest.raises(ParameterError):
            sdh.DP(**wrong)


def test_a_policy_of_privacy_travels() -> None:
    privacy = sdh.PrivacyPolicy.of(budgets={"*": (3, "1e-5"), "analyst": ("0.3", "1e-6")}, groups=2, bounds={"p.x": (0, "5.5")},
                                   public={"p.s": ("a", None)}, least_units=5)  # fmt: skip
    policy = Policy.parse("GRANT DP ON p TO analyst", unit={"p": "id"}, privacy=privacy)
    assert policy_from_message(policy.to_message()) == policy
    assert privacy.bounds_of("p", "x") == (Fraction(0), Fraction(11, 2))
    assert privacy.values_of("p", "s") == ("a", None)


@pytest.mark.parametrize("wrong", [{"bounds": {"p.nothing": (0, 1)}}, {"public": {"q.s": ("a",)}}])
def test_a_policy_names_what_is_there(wrong: dict[str, Any], tmp_path: Path) -> None:
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE p (id INTEGER, s VARCHAR)")
        policy = Policy.parse("GRANT DP ON p TO analyst", unit={"p": "id"}, privacy=sdh.PrivacyPolicy.of(**wrong))
        with sdh.connect() as hub, pytest.raises(UnknownDeclaration, match="policy of privacy"):
            hub.attach("bank", connection, policy, ledger=tmp_path / "ledger")


@pytest.mark.parametrize("wrong", [{"groups": 0}, {"rows": -1}, {"epsilon": 0}, {"delta": 1}, {"least_units": 0},
                         {"budgets": {"*": (-1, 0)}}, {"bounds": {"p.x": (2, 1)}}, {"bounds": {"x": (1, 2)}},
                         {"epsilon": "lots"}])  # fmt: skip
def test_a_policy_makes_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(UnknownDeclaration):
        sdh.PrivacyPolicy.of(**wrong)


@pytest.mark.parametrize(("options", "code"), [(["--delta", "1e-6"], 2), (["--epsilon", "none"], 1), (["--ledger", "x=y"], 2)])
def test_options_of_the_command(options: list[str], code: int) -> None:
    assert CliRunner().invoke(app, ["explain", "SELECT 1", *options]).exit_code == code
