"""Differential privacy end to end: bounded values as DuckDB's where noise is next to nothing, bounds where they bite."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

import sdh
from sdh.errors import NotGranted

PRIVACY = sdh.PrivacyPolicy.of(budgets={"*": (10**9, "1e-1")}, epsilon=10**6, delta="1e-3", groups=50, rows=50,
                               public={"patients.city": ("Bern", "Basel", "Zug")})  # fmt: skip
NORTH = sdh.Policy.parse("GRANT DP ON patients TO analyst", unit={"patients": "id"}, facts="measured", privacy=PRIVACY)
SOUTH = sdh.Policy.parse("GRANT DP ON visits TO analyst", unit={"visits": "pid"}, facts="measured",
                         privacy=replace(PRIVACY, public=()))  # fmt: skip


def tables() -> tuple[pa.Table, pa.Table]:
    """Patients, and their visits: patient 0 has most of them; some of nobody, some of nobody that is known."""
    draw = random.Random(5)
    patients = {
        "id": pa.array(range(30), pa.int32()),
        "age": pa.array([draw.choice([None, draw.randint(0, 99)]) for _ in range(30)], pa.int32()),
        "city": [draw.choice(["Bern", "Basel", "Chur", None]) for _ in range(30)],
    }
    visits = {
        "pid": pa.array([0] * 40 + [draw.choice([*range(1, 35), None]) for _ in range(60)], pa.int32()),
        "item": pa.array([draw.randint(1, 3) for _ in range(100)], pa.int32()),
        "qty": pa.array([draw.choice([None, draw.randint(-5, 20)]) for _ in range(100)], pa.int32()),
        "kind": [draw.choice(["a", "b", "c", None]) for _ in range(100)],
        "wide": pa.array([draw.choice([None, 3, -2, 2**63 - 1, -(2**63)]) for _ in range(100)], pa.int64()),
    }
    types = [("id", pa.int32()), ("age", pa.int32()), ("city", pa.string())]
    schema = pa.schema([pa.field(name, type_, nullable=name != "id") for name, type_ in types])
    return pa.table(list(patients.values()), schema=schema), pa.table(visits)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sdh.Hub]:
    folder: Path = tmp_path_factory.mktemp("ledgers")
    patients, visits = tables()
    with sdh.connect() as found:
        found.attach("north", {"patients": patients}, NORTH, keys={"patients": [("id",)]}, ledger=folder / "north.ledger")
        found.attach("south", {"visits": visits}, SOUTH, bounds={"visits.item": (1, 4)}, ledger=folder / "south.ledger")
        yield found


def exact(text: str) -> list[tuple[Any, ...]]:
    patients, visits = tables()
    with duckdb.connect() as connection:
        connection.register("patients", patients)
        connection.register("visits", visits)
        return connection.execute(text).fetchall()


JOIN = "patients p JOIN {south}visits v ON p.id = v.pid"


def asked(hub: sdh.Hub, text: str, options: str = "") -> list[tuple[Any, ...]]:
    """With noise that is 0 but for one time in a million."""
    clause = f"SELECT WITH DIFFERENTIAL_PRIVACY OPTIONS(epsilon = 1000000, delta = 1e-3{options})"
    return hub.sql(f"{clause} {text} FROM north.{JOIN.format(south='south.')}{_rest(text)}").fetchall()


def _rest(text: str) -> str:
    return f" GROUP BY {text.partition(',')[0]} ORDER BY 1" if text.startswith(("p.", "v.")) else ""


def test_public_groups(hub: sdh.Hub) -> None:
    """Every city that the policy names, and no other."""
    found = asked(hub, "p.city, count(*) AS n, sum(v.qty, contribution_bounds_per_group => (-400, 400)) AS s")
    wanted = exact(f"SELECT p.city, count(*), sum(v.qty) FROM {JOIN.format(south='')} WHERE city IN ('Bern', 'Basel') GROUP BY 1")
    assert found == sorted([*wanted, ("Zug", 0, 0)])


def test_hidden_groups(hub: sdh.Hub) -> None:
    """Those of two units or more, NULL's too."""
    found = asked(hub, "v.kind, count(DISTINCT v.pid) AS units, count(*) AS n", ", noise = PARTIES")
    assert found == exact(f"SELECT v.kind, count(DISTINCT v.pid), count(*) FROM {JOIN.format(south='')} GROUP BY 1 ORDER BY 1")


@pytest.mark.parametrize("value", ["v.qty", "v.qty + 0 * p.age"])
def test_bounds_bite(hub: sdh.Hub, value: str) -> None:
    """Patient 0 has 40 visits: 3 at most count, in one item at most; cut by the visits' owner, and on shares."""
    options = ", max_rows_contributed = 3, max_groups_contributed = 1, noise = DEALER"
    found = asked(hub, f"v.item, count(*) AS n, sum({value}, contribution_bounds_per_row => (2, 4)) AS s", options)
    assert [row[0] for row in found] == [1, 2, 3, 4]
    by_unit = exact(f"SELECT least(max(n), 3), min(n) FROM (SELECT v.pid, v.item, count(*) AS n FROM {JOIN.format(south='')} "
                    "GROUP BY 1, 2) GROUP BY pid")  # fmt: skip
    rows, total = (sum(row[i] for row in found) for i in (1, 2))
    assert sum(min(low, 3) for _, low in by_unit) <= rows <= sum(high for high, _ in by_unit)
    assert 0 <= total <= 4 * rows
    assert found[3][1:] == (0, 0)


def test_conditions_of_the_other_owner(hub: sdh.Hub) -> None:
    """A unit's number is bounded before its other owner says whether it counts; a case of 0 is bounded as rows of 0 are."""
    found = asked(hub, "v.item, count(*, contribution_bounds_per_group => (0, 3)) FILTER (WHERE p.age > 40 AND v.qty > 0) AS n, "
                  "sum(CASE WHEN p.age > 30 THEN v.qty ELSE 0 END, contribution_bounds_per_group => (-4, 30)) AS s, "
                  "sum(CASE WHEN p.age > 30 THEN v.qty ELSE 0 END, contribution_bounds_per_group => (5, 30)) AS t")
    wanted = exact("SELECT item, sum(least(n, 3)) FILTER (WHERE age > 40), sum(least(greatest(s, -4), 30)) FILTER (WHERE "
                   "old AND s IS NOT NULL), sum(CASE WHEN NOT old THEN 5 WHEN s IS NULL THEN 0 ELSE least(greatest(s, 5), 30) "
                   "END) FROM (SELECT *, coalesce(age > 30, FALSE) AS old FROM patients), (SELECT pid, item, "
                   "count(*) FILTER (WHERE qty > 0) AS n, sum(qty) AS s FROM visits GROUP BY ALL) "
                   "WHERE id = pid GROUP BY item ORDER BY item")  # fmt: skip
    assert found == [*wanted, (4, 0, 0, 0)]


def test_a_column_wider_than_shares(hub: sdh.Hub) -> None:
    """Its owner clamps what a unit adds; only that has to fit."""
    found = asked(hub, "v.item, sum(v.wide, contribution_bounds_per_group => (-5, 7)) AS s, "
                  "sum(v.wide, contribution_bounds_per_row => (1, 3)) FILTER (WHERE p.age > 30) AS t")  # fmt: skip
    wanted = exact("SELECT item, sum(s), coalesce(sum(t) FILTER (WHERE age > 30), 0) FROM patients, (SELECT pid, item, "
                   "least(greatest(sum(wide), -5), 7) AS s, sum(least(greatest(wide, 1), 3)) AS t FROM visits WHERE wide IS "
                   "NOT NULL GROUP BY pid, item) WHERE id = pid GROUP BY item ORDER BY item")  # fmt: skip
    assert found == [*wanted, (4, 0, 0)]


def test_spreads(hub: sdh.Hub) -> None:
    """A deviation is the root of what is released."""
    bounds = "contribution_bounds_per_row => (-5, 20)"
    found = asked(hub, f"v.item, stddev_samp(v.qty, {bounds}) AS s, var_samp(v.qty, {bounds}) AS v")
    wanted = exact(f"SELECT item, stddev_samp(qty), var_samp(qty) FROM {JOIN.format(south='')} GROUP BY item ORDER BY item")
    assert [row[0] for row in found] == [1, 2, 3, 4]
    for (_, s, v), (_, deviation, variance) in zip(found, wanted, strict=False):
        assert (s, v) == (pytest.approx(deviation, rel=0.02), pytest.approx(variance, rel=0.04))
    assert found[3][1:] == (pytest.approx(0, abs=10), pytest.approx(0, abs=100)), "nobody: the noise of sums of squares alone"


def test_one_owner_alone(hub: sdh.Hub) -> None:
    dp = sdh.DP(10**6, rows=50)
    text = "SELECT count(*) AS n, stddev_pop(qty, contribution_bounds_per_row => (-5, 20)) AS s, count(DISTINCT pid) AS units "
    [(n, spread, units)] = hub.sql(f"{text} FROM south.visits", privacy=dp).fetchall()
    [wanted] = exact("SELECT count(*), stddev_pop(qty), count(DISTINCT pid) FROM visits WHERE pid IS NOT NULL")
    assert (n, units) == (wanted[0], wanted[2])
    assert spread == pytest.approx(wanted[1], rel=0.02)


@pytest.mark.parametrize("operation", ["UNION", "UNION ALL", "INTERSECT", "EXCEPT"])
def test_set_operations(hub: sdh.Hub, operation: str) -> None:
    """Of two owners' rows, whose units stand in one column."""
    text = ("SELECT x, count(*) AS n, count(DISTINCT u) AS units FROM (SELECT id AS u, age > 50 AS x FROM {}patients "
            f"{operation} SELECT pid, qty > 8 FROM {{}}visits) WHERE u IS NOT NULL GROUP BY x ORDER BY x")
    found = hub.sql(text.format("north.", "south."), privacy=sdh.DP(10**6, rows=50, groups=3)).fetchall()
    assert found == exact(text.format("", ""))


@pytest.mark.parametrize("source", ["north.patients p", "north.patients p JOIN (SELECT pid, max(qty) AS q FROM south.visits "
                                    "GROUP BY pid) v ON p.id = v.pid AND v.q > -100"])  # fmt: skip
def test_a_sum_of_nothing_is_as_noisy_as_any(hub: sdh.Hub, source: str) -> None:
    """NULL would say, without noise, that no row of a group met the filter."""
    clause = "SELECT WITH DIFFERENTIAL_PRIVACY OPTIONS(epsilon = 1000000, delta = 1e-3)"
    odd = "contribution_bounds_per_row => (0, 99)) FILTER (WHERE p.age % 2 = 1)"
    text = f"{clause} p.age % 2 AS k, sum(p.age, {odd} AS s, var_pop(p.age, {odd} AS v FROM {source} GROUP BY 1"
    found = hub.sql(text).fetchall()
    assert len(found) >= 2
    assert all(None not in row[1:] for row in found)
    assert [row[1:] for row in found if row[0] == 0] == [(0, 0)]


def test_explaining_costs_nothing_and_exact_questions_are_refused(hub: sdh.Hub) -> None:
    text = f"SELECT count(*) FROM north.{JOIN.format(south='south.')}"
    explained = hub.explain(text, privacy=sdh.DP(1, rows=2))
    for line in ("unit p.id over rows of north and south", "a unit adds 0 to 2 to a group; Laplace noise of scale 2: within 6",
                 "charge to south (units, for analyst): epsilon 1, delta 0"):  # fmt: skip
        assert line in explained
    assert "Floors" not in explained
    with pytest.raises(NotGranted):
        hub.sql(text)
