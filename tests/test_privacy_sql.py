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


def test_one_owner_alone(hub: sdh.Hub) -> None:
    dp = sdh.DP(10**6, rows=50)
    text = "SELECT count(*) AS n, var_pop(qty, contribution_bounds_per_row => (-5, 20)) AS v, count(DISTINCT pid) AS units "
    [(n, spread, units)] = hub.sql(f"{text} FROM south.visits", privacy=dp).fetchall()
    [wanted] = exact("SELECT count(*), var_pop(qty), count(DISTINCT pid) FROM visits WHERE pid IS NOT NULL")
    assert (n, units) == (wanted[0], wanted[2])
    assert spread == pytest.approx(wanted[1], rel=0.02)


def test_explaining_costs_nothing_and_exact_questions_are_refused(hub: sdh.Hub) -> None:
    text = f"SELECT count(*) FROM north.{JOIN.format(south='south.')}"
    explained = hub.explain(text, privacy=sdh.DP(1, rows=2))
    for line in ("unit p.id over rows of north and south", "a unit adds 0 to 2 to a group; Laplace noise of scale 2: within 6",
                 "charge to south (units, for analyst): epsilon 1, delta 0"):  # fmt: skip
        assert line in explained
    assert "Floors" not in explained
    with pytest.raises(NotGranted):
        hub.sql(text)
