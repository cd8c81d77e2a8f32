"""Neighbours of tiny databases: what a unit moves stays within epsilon; a planner with a fault is caught.

`python -m tests.neighbours --n 2000` is the whole; here are some, and the same plans through real processes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import sdh
from sdh.hub import Hub
from tests.neighbours import ITEMS, MUTANTS, QUERIES, Database, database, faults
from tests.reference import Reference

COUNT = 50
CITIES = ("hidden by unit", "values", "policy's groups", "two keys", "who visits")
"""What needs more of a policy than bounds, or draws rows by chance."""


def test_no_unit_costs_more_than_epsilon() -> None:
    assert not list(faults(96, seed=1000))


@pytest.mark.parametrize(("mutant", "seed", "count"), [("no cut", 0, 64), ("no clamp", 0, 48), ("one-draw threshold", 0, 32),
                                                       ("half the scale", 0, 48)])
def test_a_faulty_planner_is_caught(mutant: str, seed: int, count: int) -> None:
    assert mutant in MUTANTS
    assert next(faults(count, seed, mutant), None) is not None


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hub, list[Database]]]:
    """A table of each kind for every one of the databases."""
    folder: Path = tmp_path_factory.mktemp("neighbours")
    found = [database(random.Random(5000 + i)) for i in range(COUNT)]
    limits = sdh.PrivacyPolicy.of(budgets={"*": (10**9, "1e-1")}, epsilon=10**6, delta="1e-3", groups=50, rows=50)
    units = {"north": {f"patients{i}": "id" for i in range(COUNT)}, "south": {f"visits{i}": "pid" for i in range(COUNT)}}
    policies = {owner: sdh.Policy.parse("GRANT DP ON * TO analyst", unit=unit, facts="measured", privacy=limits)
                for owner, unit in units.items()}
    with sdh.connect() as opened:
        opened.attach("north", {f"patients{i}": one.tables["north.patients"] for i, one in enumerate(found)}, policies["north"],
                      keys={f"patients{i}": [("id",)] for i in range(COUNT)}, ledger=folder / "north.ledger")
        opened.attach("south", {f"visits{i}": one.tables["south.visits"] for i, one in enumerate(found)}, policies["south"],
                      bounds={f"visits{i}.{column}": (-100, 100) for i in range(COUNT) for column in ("qty", "item")},
                      ledger=folder / "south.ledger")
        opened.publish("items", ITEMS)
        yield opened, found


def test_processes_answer_as_the_reference_says(hub: tuple[Hub, list[Database]]) -> None:
    """With so much epsilon that noise is 0 but once in a million, and bounds so wide that no row is drawn."""
    opened, found = hub
    names = [name for name in QUERIES if name not in CITIES]
    for i, one in enumerate(found):
        text = QUERIES[names[i % len(names)]].replace("epsilon = 1", "epsilon = 1000000, delta = 1e-3", 1)
        text = text.replace("contributed = 2", "contributed = 50")
        text = text.replace("north.patients", f"north.patients{i}").replace("south.visits", f"south.visits{i}")
        result = opened.sql(text)
        assert result.plan is not None
        tables = {name if name == "items" else f"{name}{i}": table for name, table in one.tables.items()}
        reference = Reference(result.plan, tables)
        wanted = reference.result()
        reference.close()
        assert sorted(map(repr, result.fetchall())) == sorted(map(repr, wanted)), (names[i % len(names)], i)


