"""Where what a unit adds is bounded in the clear: under conditions of the other owner too, by declared keys, of wide columns."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from sdh.catalog import Catalog, Facts
from sdh.errors import WidthError
from sdh.planners import privatise
from sdh.planners.plan import Plan
from sdh.planners.private_sides import Sides
from sdh.schema import INTEGER, Column, Kind, Type
from tests.neighbours import GROUP, ROW, Groups, database, groups
from tests.test_privacy_plans import (
    BOTH,
    DP,
    JOIN,
    NORTH,
    PATIENTS,
    PRIVACY,
    SOUTH,
    VISITS,
    catalog,
    in_the_clear,
    plan,
    scales,
)

ALL = replace(PRIVACY, groups=50, rows=50)
KNOWN = catalog(replace(NORTH, privacy=ALL), replace(SOUTH, privacy=ALL))
HEAD = "SELECT WITH DIFFERENTIAL_PRIVACY OPTIONS(epsilon = 1)"
CASE = "sum(CASE WHEN p.sex THEN v.qty ELSE 0 END"


def unsplit(rows: Any, unit: Any, units: Any, *_: Any) -> Sides:
    return Sides(rows, unit, units)


def same(one: Plan, other: Plan) -> None:
    """Numbers before noise, on databases of which no row is cut."""
    for seed in range(6):
        tables = database(random.Random(seed)).tables
        assert _counted(groups(one, tables)[1]) == _counted(groups(other, tables)[1]), seed


def _counted(found: Groups) -> list[str]:
    return sorted(map(repr, found.items()))


@pytest.mark.parametrize("select", [
    f"v.item, count(*, {GROUP} => (0, 2)) FILTER (WHERE p.age > 20) AS n, {CASE}, {GROUP} => (-3, 9)) AS s",
    f"v.kind, count(*) FILTER (WHERE p.sex AND v.qty > 3 AND p.id <> v.qty) AS n, {CASE}, {ROW} => (-3, 9)) AS s",
    f"p.city, {CASE}, {ROW} => (2, 9)) AS s, sum(CASE WHEN p.sex THEN v.qty END, {GROUP} => (2, 9)) AS t",
    f"v.kind, avg(CASE WHEN p.age < 50 THEN v.qty END, {ROW} => (2, 9)) AS a, count(DISTINCT p.id) FILTER (WHERE p.sex) AS n",
])  # fmt: skip
def test_the_numbers_are_the_same(select: str) -> None:
    text = f"{HEAD} {select} {JOIN} GROUP BY 1"
    with patch.object(privatise, "sides_of", unsplit), patch.object(privatise, "filtered", lambda one, _: one):
        before = plan(text, KNOWN)
    after = plan(text, KNOWN)
    assert len(after.placed.fragments) != len(before.placed.fragments) or after.root != before.root
    assert after.placed.blocks[0].epsilon == before.placed.blocks[0].epsilon
    same(before, after)


@pytest.mark.parametrize(("call", "clear"), [
    ("count(*) FILTER (WHERE p.sex)", True),
    ("count(*) FILTER (WHERE p.sex AND v.qty > 3 AND p.id <> v.qty)", True),   # the unit is the visits' owner's too
    ("count(*) FILTER (WHERE p.sex OR v.qty > 3)", False),
    ("count(CASE WHEN p.age > 9 THEN v.qty END)", True),
    ("sum(CASE WHEN p.sex THEN v.qty ELSE 0 END, contribution_bounds_per_group => (-1, 9))", True),
    ("sum(CASE WHEN p.sex THEN v.qty ELSE 0 END, contribution_bounds_per_row => (0, 9))", True),
    ("sum(CASE WHEN p.sex THEN v.qty ELSE 0 END, contribution_bounds_per_row => (1, 9))", False),   # 0 counts as 1 there
    ("sum(CASE WHEN p.sex THEN v.qty END, contribution_bounds_per_row => (1, 9))", True),
    ("avg(CASE WHEN p.sex THEN v.qty ELSE 0 END, contribution_bounds_per_row => (0, 9))", False),
    ("sum(CASE WHEN p.sex THEN v.qty ELSE p.age END, contribution_bounds_per_group => (0, 9))", False),
])  # fmt: skip
def test_conditions_of_others_are_asked_after_the_bounds(call: str, clear: bool) -> None:
    """Where a unit's rows all meet them or none does; what both owners decide together is bounded on shares."""
    assert (in_the_clear(f"{DP} v.item, {call} {JOIN} GROUP BY v.item") > 0) == clear


def with_columns(columns: tuple[Column, ...], facts: tuple[Facts, ...], place: int) -> Catalog:
    """The catalog with other columns of the first or second party's table."""
    parties = list(BOTH.parties)
    [table] = parties[place].tables
    parties[place] = replace(parties[place], tables=(replace(table, columns=columns, facts=facts),))
    return replace(BOTH, parties=tuple(parties))


def test_a_key_is_one_where_it_is_not_null() -> None:
    """Rows without a unit are left out before."""
    loose = with_columns((Column("id", INTEGER), *PATIENTS[1:]), BOTH.parties[0].tables[0].facts, 0)
    assert scales(f"{DP} p.city, count(*) {JOIN} GROUP BY p.city", loose) == [3], "C, and one group"
    assert scales(f"{DP} d.city, count(*) FROM (SELECT id AS u, city FROM north.patients) d JOIN south.visits v ON d.u = v.pid "
                  "GROUP BY d.city", loose) == [3]  # fmt: skip
    assert scales(f"{DP} p.city, count(*) FROM south.visits v LEFT JOIN north.patients p ON p.id = v.pid GROUP BY p.city",
                  loose) == [2 * 3]  # fmt: skip
    assert scales(f"{DP} p.city, count(*) FROM north.patients p GROUP BY p.city", loose) == [1]


def test_only_what_is_clamped_has_to_fit_on_shares() -> None:
    """The owner of a wide column clamps it; where only both can, it is refused."""
    wide = Type(Kind.BIGINT)
    known = with_columns((*VISITS[:2], Column("qty", wide), *VISITS[3:]), (Facts(bits=10), Facts(low=1, high=6), Facts(),
                         Facts(bytes=8), Facts(bits=8)), 1)  # fmt: skip
    for call in ("sum(v.qty, contribution_bounds_per_group => (0, 9))", "sum(v.qty, contribution_bounds_per_row => (5, 9))",
                 "avg(v.qty, contribution_bounds_per_row => (-9, 9)) FILTER (WHERE p.sex)"):  # fmt: skip
        assert plan(f"{DP} v.item, {call} {JOIN} GROUP BY v.item", known).root
    text = f"{DP} v.item, sum(v.qty, contribution_bounds_per_group => (0, 9)) FILTER (WHERE p.age > v.item) {JOIN} GROUP BY 1"
    with pytest.raises(WidthError, match=r"What a unit adds to sum.*might not fit 63 bits") as caught:
        plan(text, known)
    assert caught.value.column == text.index("sum(") + 1
    assert plan(text.replace("per_group", "per_row"), known).root
