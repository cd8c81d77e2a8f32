"""EXPLAIN for its reader: the properties of every relation, what lost and what it would have revealed, within a terminal."""

from __future__ import annotations

import re

import pytest

from sdh.planners.alternatives import beside, others, rivals, ungranted
from sdh.planners.costs import tree_cost
from sdh.planners.physical import Align, Filter, Node
from sdh.planners.plan import Plan, Question, finish, place
from sdh.planners.properties import properties
from sdh.planners.sharing import runs
from sdh.planners.units import TERMINAL, wrapped
from sdh.policy import Policy
from tests.test_planner import JOIN, OPEN, catalog, plan

GROUPED = f"SELECT a.s, sum(o.x) AS t {JOIN} WHERE a.x < o.y GROUP BY a.s ORDER BY t LIMIT 3"


def said(found: Plan, kind: type) -> str:
    """Of the first node of a kind."""
    assert found.root is not None
    node: Node = next(one for one in runs(found.root.input) if isinstance(one, kind))
    return properties(node)


def test_properties_of_a_relation() -> None:
    found = plan(GROUPED)
    assert found.root is not None
    leaf = runs(found.root.input)[0]
    assert properties(leaf) == "id 11 bits, x 13 bits NULL, s 16 bytes NULL; unique id"
    joined = said(found, Align)
    assert "unique a.id, o.id" in joined
    assert "a.id = o.id" in joined
    assert "in bank's order, who knows a.id, a.x, s" in joined or "in bank's order, who knows a.id, x, s" in joined
    assert "determines" not in said(found, Filter)
    assert "x = " not in said(found, Filter)


def test_what_determines_what_is_said_where_it_is_new() -> None:
    """An account's number its text, in each of the rows that it is joined with: at its owner, and not again at the joins."""
    found = plan("SELECT a.id, a.s, c.x, o.y FROM bank.accounts a JOIN bank.accounts c ON c.y = a.id "
                 "JOIN shop.orders o ON o.id = c.id")
    assert found.root is not None
    texts = [properties(node) for node in runs(found.root.input)]
    assert [text for text in texts if "determines" in text] == [texts[0]]
    assert "a.id determines s" in texts[0] or "id determines s" in texts[0]


@pytest.mark.parametrize("text", [GROUPED, f"SELECT * {JOIN}", "SELECT s, count(*) FROM bank.accounts GROUP BY s"])
def test_lines_fit_a_terminal(text: str) -> None:
    """All but what is revealed, one a line, and a cost that stands deep in the tree."""
    for line in plan(text).explain().splitlines():
        assert len(line) <= TERMINAL or " -> " in line or "dealer" in line, line


def test_words_stay_whole() -> None:
    assert wrapped("one-two " + "x" * 130 + " three", "- ", "  ") == ["- one-two", "  " + "x" * 130, "  three"]


def test_what_lost_is_shown_with_its_cost_and_its_reveals() -> None:
    found = plan(GROUPED)
    text = found.explain()
    assert found.root is not None
    for root, other, what in others(found):
        assert other == tree_cost(root, 2)
        assert what == "would reveal the same"
    [own, *rest] = rivals(found)
    assert rest
    assert all("would reveal the padded" in what for _, _, what in rest)
    assert "number of groups of" in " ".join(what for _, _, what in [own, *rest])
    assert "with as many rows as may be expected beforehand:" in text


def test_an_alternative_that_may_fail_says_so() -> None:
    """A join in a declared number of places adds a bit that the chosen one may not need, or the other way round."""
    found = plan(f"SELECT a.x {JOIN}")
    assert found.root is not None
    own = frozenset(map(str, found.reveals))
    assert beside(found, own) == "would reveal the same"
    assert beside(found, own | {"one bit -> analyst (error)"}) == "would also reveal one bit -> analyst (error)"
    assert beside(found, own - {max(own)}) == f"would not reveal {max(own)}"


def test_what_no_grant_allows_is_named() -> None:
    found = [f"{name}; {what}" for name, _, what in ungranted(plan(GROUPED))]
    assert len(found) == 3
    assert re.fullmatch(r"tags for #\d+; would reveal to bank and shop how often keys repeat and match: not supported", found[0])
    assert found[1].startswith("all rows at bank, in the clear; would reveal the rows of fragment")
    assert all(line.endswith(": not granted") for line in found[1:]), "Policy.open() is the client's alone"


def test_rows_that_a_party_may_see_are_said_to_be_granted() -> None:
    shown = Policy.parse("GRANT REVEAL ON * TO analyst; GRANT REVEAL ON * TO shop", floor=1, facts="measured")
    known = catalog(shown)
    found = {name: what for name, _, what in ungranted(plan(GROUPED, known))}
    assert found["all rows at shop, in the clear"].endswith("granted, but not supported")
    assert found["all rows at bank, in the clear"].endswith("not granted")


def test_only_columns_that_are_read_are_listed() -> None:
    placed = place(Question(f"SELECT a.x {JOIN}", "analyst"), OPEN)
    text = finish(placed, tuple(fragment.slots for fragment in placed.fragments)).explain()
    [line] = [line for line in text.splitlines() if line.startswith("  shop.orders: at most")]
    assert "id INTEGER NOT NULL" in line
    assert re.search(r"\bx INTEGER", text)
    assert "money DECIMAL" not in text
    assert " others" in text
