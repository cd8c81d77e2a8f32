"""Exhaustive neighbours: python -m tests.neighbours --n 2000.

On tiny databases of two owners each private query is worked out exactly (tests/reference.py, on the plan that nodes run), then
once more without each unit. What a unit moves, over the scales of the noise, may come to the query's epsilon and no more; a
group that a unit alone brings about has to be one that a threshold hides with chance 1 - delta.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any
from unittest.mock import patch

import pyarrow as pa

from sdh.accounting import EXACT, decimal
from sdh.planners import private_calls, private_noise, privatise
from sdh.planners.expressions import Apply
from sdh.planners.logical import Noise
from sdh.planners.mechanisms import GAUSSIAN, tail
from sdh.planners.mechanisms import laplace_scale as right_scale
from sdh.planners.mechanisms import threshold as right_threshold
from sdh.planners.physical import Noised
from sdh.planners.plan import Plan
from tests.reference import Reference, Tables
from tests.test_privacy_plans import JOIN, plan

HEAD = "SELECT WITH DIFFERENTIAL_PRIVACY OPTIONS(epsilon = 1{options}) {what} {source}"
L2 = ", max_groups_contributed = 2, max_rows_contributed = 2"
GROUP, ROW = "contribution_bounds_per_group", "contribution_bounds_per_row"
APART = ("SELECT id AS u, age AS x FROM north.patients", "SELECT pid, item * 10 FROM south.visits")
QUERIES: dict[str, str] = {
    "count": HEAD.format(options=L2, what=f"count(*, {GROUP} => (0, 2)) AS n", source=JOIN),
    "sum by group bounds": HEAD.format(options=L2, what=f"sum(v.qty, {GROUP} => (-3, 10)) AS s", source=JOIN),
    "sum by row bounds": HEAD.format(options=L2, what=f"sum(v.qty, {ROW} => (-3, 10)) AS s", source=JOIN),
    "average": HEAD.format(options=L2, what=f"avg(v.qty, {ROW} => (-3, 10)) AS a", source=JOIN),
    "variance": HEAD.format(options=L2, what=f"var_pop(v.qty, {ROW} => (-3, 10)) AS a", source=JOIN),
    "units": HEAD.format(options=L2, what="count(DISTINCT p.id) AS n, count(*) AS m", source=JOIN),
    "values": HEAD.format(options=L2, what="count(DISTINCT v.qty) AS n", source=JOIN),
    "public groups": HEAD.format(options=L2, what=f"v.item, count(*, {GROUP} => (0, 2)) AS n, sum(v.qty, {GROUP} => (0, 9)) AS s",
                                 source=f"{JOIN} GROUP BY v.item"),
    "policy's groups": HEAD.format(options=L2, what="p.city, count(*) AS n", source=f"{JOIN} GROUP BY p.city"),
    "two keys": HEAD.format(options=L2, what="p.city, v.item, count(v.qty) AS n", source=f"{JOIN} GROUP BY p.city, v.item"),
    "hidden groups": HEAD.format(options=L2 + ", noise = PARTIES", source=f"{JOIN} GROUP BY v.kind",
                                 what=f"v.kind, count(*) AS n, sum(v.qty, {GROUP} => (0, 9)) AS s"),
    "hidden by unit": HEAD.format(options=L2, what="p.age, count(*) AS n", source="FROM north.patients p GROUP BY p.age"),
    "one owner": HEAD.format(options=L2, what=f"v.kind, sum(v.qty, {ROW} => (0, 9)) AS s",
                             source="FROM south.visits v GROUP BY v.kind"),
    "filtered": HEAD.format(options=L2, what="v.item, count(*) FILTER (WHERE v.qty > 3) AS n",
                            source=f"{JOIN} WHERE p.age > 20 OR v.kind = 'a' GROUP BY v.item"),
    "outer": HEAD.format(options=L2, what=f"sum(v.qty, {GROUP} => (0, 9)) AS s, count(*) AS n",
                         source="FROM north.patients p LEFT JOIN south.visits v ON p.id = v.pid"),
    "with public table": HEAD.format(options=L2, what="i.label, count(*) AS n",
                                     source=f"{JOIN} JOIN items i ON i.code = v.item GROUP BY i.label"),
    "both sides": HEAD.format(options=L2, source=f"{JOIN} AND p.age > v.qty GROUP BY v.kind",
                              what=f"v.kind, sum(p.age + v.qty, {ROW} => (-2, 5)) AS s, count(v.qty) FILTER (WHERE p.sex) AS n"),
    "variance by sex": HEAD.format(options=L2, what=f"p.sex, var_pop(v.qty, {ROW} => (0, 5)) AS v",
                                   source="FROM north.patients p LEFT JOIN south.visits v ON p.id = v.pid GROUP BY p.sex"),
    "who visits": HEAD.format(options=L2, what="p.city, count(*) AS n, sum(p.age) AS s", source="FROM north.patients p WHERE "
                              "EXISTS (SELECT 1 FROM south.visits v WHERE v.pid = p.id) GROUP BY p.city"),
    "greatest of each": HEAD.format(options=L2, what=f"count(*) AS n, sum(d.q, {GROUP} => (-2, 6)) AS s", source="FROM (SELECT "
                                    "pid, kind, max(qty) AS q FROM south.visits GROUP BY pid, kind) d"),
    "either": HEAD.format(options=L2, what="count(*) AS n, count(DISTINCT t.u) AS m",
                          source=f"FROM ({APART[0]} UNION {APART[1]}) t"),
    "both": HEAD.format(options=L2, what=f"sum(t.x, {ROW} => (-3, 10)) AS s", source=f"FROM ({APART[0]} INTERSECT {APART[1]}) t"),
    "but not": HEAD.format(options=L2, what="t.x IS NULL AS nobody, count(*) AS n",
                           source=f"FROM ({APART[0]} EXCEPT {APART[1]}) t GROUP BY t.x IS NULL"),
    "twice": f"WITH w AS (SELECT p.id, v.item, v.qty {JOIN}) " + HEAD.format(
        options=L2, what=f"a.item, count(*) AS n, sum(b.qty, {ROW} => (0, 9)) AS s",
        source="FROM w a JOIN w b ON a.id = b.id GROUP BY a.item"),
    "of the other side": HEAD.format(options=L2, source=f"{JOIN} GROUP BY v.item", what=f"v.item, count(*, {GROUP} => (0, 2)) "
                                     f"FILTER (WHERE p.sex) AS n, sum(v.qty, {ROW} => (-3, 10)) FILTER (WHERE p.age > 20) AS s"),
    "cases": HEAD.format(options=L2, source=f"{JOIN} GROUP BY v.kind", what="v.kind, sum(CASE WHEN p.sex AND v.item > 1 THEN "
                         f"v.qty ELSE 0 END, {GROUP} => (-3, 9)) AS s, count(CASE WHEN p.age > 20 THEN 1 END) AS n"),
}
ITEMS = pa.table({"code": pa.array([1, 2, 3], pa.int32()), "label": ["x", "y", "x"]})


@dataclass(frozen=True, slots=True)
class Database:
    """Rows of patients (id, age, sex, city, cost) and visits (pid, item, qty, kind, f)."""

    patients: tuple[tuple[Any, ...], ...]
    visits: tuple[tuple[Any, ...], ...]

    @property
    def units(self) -> set[int]:
        return {row[0] for row in self.patients} | {row[0] for row in self.visits if row[0] is not None}

    def without(self, unit: int) -> Database:
        return Database(*(tuple(row for row in rows if row[0] != unit) for rows in (self.patients, self.visits)))

    @property
    def tables(self) -> Tables:
        patients = [pa.array([row[i] for row in self.patients], kind) for i, kind in enumerate(
            (pa.int32(), pa.int32(), pa.bool_(), pa.string(), pa.decimal128(15, 2)))]
        visits = [pa.array([row[i] for row in self.visits], kind) for i, kind in enumerate(
            (pa.int32(), pa.int32(), pa.int32(), pa.string(), pa.float64()))]
        return {"north.patients": pa.table(patients, names=["id", "age", "sex", "city", "cost"]),
                "south.visits": pa.table(visits, names=["pid", "item", "qty", "kind", "f"]), "items": ITEMS}


def database(draw: random.Random) -> Database:
    """A few units, one with most of the rows; NULLs, rows of nobody, values beyond every bound."""
    ids = draw.sample(range(1, 5), draw.randint(0, 3))
    patients = tuple((i, draw.choice([None, 10, 30, 99]), draw.random() < 0.5, draw.choice([None, "Bern", "Basel", "Chur"]),
                      Decimal(draw.randint(-5, 5))) for i in ids)
    heavy = draw.choice([*ids, 1])
    visits = tuple((draw.choice([heavy, heavy, heavy, heavy, *range(1, 5), None]), draw.randint(1, 3),
                    draw.choice([None, -100, -2, 0, 4, 7, 100]), draw.choice([None, "a", "b"]), draw.random())
                   for _ in range(draw.randint(0, 14)))
    return Database(patients, visits)


# --- what a unit moves ---------------------------------------------------------------------------

Groups = dict[tuple[Any, ...], tuple[int, ...]]


def groups(made: Plan, tables: Tables) -> tuple[Noised | tuple[Noise, ...], Groups]:
    """What is noised, and by group the numbers before noise, in units of the ring."""
    run = Reference(made, tables)
    try:
        if made.root is None:
            return _local(made, run)
        run.relation(made.root.input)
        [(node, rows)] = run.seen
    finally:
        run.close()
    noised = [noise.input for noise in node.noises]
    keys = [number for number in (rows[0] if rows else {}) if number not in {f.number for f in noised}]
    return node, {tuple(row[k] for k in keys): tuple(_units(row[f.number], f.type.scale) for f in noised) for row in rows}


def _local(made: Plan, run: Reference) -> tuple[tuple[Noise, ...], Groups]:
    """One owner has it all: its fragment without noise, taken where the noise would be added."""
    fragment = made.placed.fragments[0]
    sql = run._fragment(0)
    head, end = "WITH noised AS MATERIALIZED (", ") SELECT * FROM noised"
    found = run._connection.execute(sql[sql.index(head) + len(head):sql.index(end)])
    names = [column[0] for column in found.description or ()]
    outputs = [noise.output.sql for noise in fragment.noises]
    rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    return fragment.noises, {tuple(v for k, v in row.items() if k not in outputs): tuple(
        _units(row[noise.output.sql], noise.output.type.scale) for noise in fragment.noises) for row in rows}


def _units(value: Any, scale: int) -> int:
    return int(Decimal(value).scaleb(scale))


def loss(made: Plan, whole: Groups, less: Groups, noises: tuple[Noise, ...]) -> Fraction | None:
    """The privacy loss of the groups that both have; None where one appears that no threshold hides."""
    [block] = made.placed.blocks
    total = Fraction(0)
    for group in whole.keys() | less.keys():
        if group not in whole or group not in less:
            [alone] = [side[group] for side in (whole, less) if group in side]
            if block.threshold is None or alone[-1] != 1:   # the last is the count of units
                return None
            continue
        for one, other, noise in zip(whole[group], less[group], noises, strict=True):
            moved, scale = abs(one - other), noise.mechanism.scale
            total += moved**2 / (2 * scale) if noise.mechanism.kind == GAUSSIAN else moved / scale
    return total


def hides(made: Plan, noises: tuple[Noise, ...]) -> bool:
    """Whether a group of one unit stays hidden: by the tail of what is really added, for each of a unit's groups."""
    [block] = made.placed.blocks
    if block.threshold is None:
        return True
    mechanism, parties = noises[-1].mechanism, len(made.placed.parties)
    chance = EXACT.subtract(Decimal(1), EXACT.power(decimal(1 - block.slack), decimal(Fraction(1, block.groups))))
    return tail(mechanism.scale, mechanism.draws(parties), block.threshold - block.least_units) <= chance


def fault(made: Plan, one: Database) -> str:
    """What is wrong with this plan on this database and all its neighbours; '' if nothing is."""
    node, whole = groups(made, one.tables)
    noises = node.noises if isinstance(node, Noised) else node
    [block] = made.placed.blocks
    if not hides(made, noises):
        return "a threshold that shows groups of one unit"
    for unit in sorted(one.units):
        found = loss(made, whole, groups(made, one.without(unit).tables)[1], noises)
        if found is None:
            return f"unit {unit} brings about a group"
        if found > block.epsilon:
            return f"unit {unit} costs {float(found):.3f} of {float(block.epsilon):.3f}"
    return ""


# --- mutants -------------------------------------------------------------------------------------


def _unclamped(e: Any, low: int, high: int) -> Any:
    return Apply("coalesce", (e, private_calls.constant(0, e.type)), e.type, nullable=False)


MUTANTS: dict[str, tuple[tuple[Any, str, Callable[..., Any]], ...]] = {
    "no cut": ((privatise, "Cut", lambda input, keys, most: input),),
    "no clamp": ((privatise, "clamped", _unclamped), (private_calls, "clamped", _unclamped)),
    "one-draw threshold": ((private_noise, "threshold", lambda epsilon, delta, groups, draws=1, least=1: right_threshold(
        epsilon, delta, groups, 1, least)),),
    "half the scale": ((private_noise, "laplace_scale", lambda sensitivity, epsilon: right_scale(sensitivity, epsilon) / 2),),
}


@contextmanager
def mutated(name: str) -> Iterator[None]:
    """The planner with a fault; '' for none."""
    patches = [patch.object(*change) for change in MUTANTS.get(name, ())]
    for one in patches:
        one.start()
    try:
        yield
    finally:
        for one in patches:
            one.stop()


def faults(count: int, seed: int, mutant: str = "") -> Iterator[tuple[str, int, str]]:
    """(query, seed of the database, what is wrong): each query in turn on `count` databases in all."""
    with mutated(mutant):
        plans = {name: plan(text) for name, text in QUERIES.items()}
    names = list(plans)
    for i in range(count):
        found = fault(plans[names[i % len(names)]], database(random.Random(seed + i)))
        if found:
            yield names[i % len(names)], seed + i, found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.neighbours", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=2000, help="databases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mutant", choices=tuple(MUTANTS), default="", help="a fault that has to be caught")
    options = parser.parse_args()
    found = list(faults(options.n, options.seed, options.mutant))
    for name, seed, what in found[:20]:
        print(f"{name}, --seed {seed}: {what}")
    print(f"{options.n:,} databases and all their neighbours: {len(found):,} faults.")
    return int(bool(found) != bool(options.mutant))


if __name__ == "__main__":
    sys.exit(main())
