"""Predicted and measured seconds of queries across two owners: python -m tests.bench.seconds [--rows N ...] [--repeat K].

All parties and the dealer run on this machine. A line for each query and size: EXPLAIN's seconds on shares, the least
measured of K runs (work of others on the machine only adds), and their ratio, which should lie between 1/2 and 2.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

import sdh
from sdh.planners.costs import Cost, Spent, nanoseconds, operator_costs
from sdh.planners.plan import Plan
from sdh.planners.units import duration

JOIN = "FROM west.t a JOIN east.t b ON a.id = b.id"
QUERIES = {
    "sum of products": f"SELECT sum(a.x * b.y), count(*) {JOIN}",
    "case": f"SELECT sum(CASE WHEN a.x > b.x THEN a.y END) {JOIN}",
    "rows": f"SELECT a.x, b.y, b.s {JOIN} WHERE a.x > b.y",
    "condition": f"SELECT count(*) {JOIN} WHERE a.x BETWEEN b.x AND b.y OR a.d <> b.d OR a.s = b.s",
    "groups": f"SELECT a.g, sum(b.y), count(*) {JOIN} GROUP BY a.g",
    "group extremes": f"SELECT a.g, min(b.x), max(b.d) {JOIN} GROUP BY a.g",
    "extremes": f"SELECT min(a.x - b.y), max(b.d) {JOIN}",
    "means": f"SELECT a.g, avg(b.y) {JOIN} GROUP BY a.g",
    "domain": f"SELECT a.x > b.x AS later, count(*), sum(b.y) {JOIN} GROUP BY later",
    "all pairs": "SELECT count(*), sum(b.y) FROM west.t a, east.few b WHERE a.x < b.x",
    "texts": "SELECT count(*) FROM west.t a, east.few b WHERE a.s < b.s",
}
SIZES = (1_000, 10_000, 100_000)
FEW, GROUPED = 16, 50
"""Rows of the small table; rows of a group."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One query at one size: its plan and what its operators cost."""

    name: str
    rows: int
    plan: Plan
    spent: list[Spent]

    @property
    def predicted(self) -> list[Cost]:
        assert self.plan.root is not None
        return [cost for _, cost in operator_costs(self.plan.root, len(self.plan.placed.parties), self.plan.network)]


def table(rows: int, seed: int) -> pa.Table:
    """`rows` rows in an order of their own: id unique, x and y numbers of 16 and 24 bits, g of groups, a date, a text."""
    draw = np.random.Generator(np.random.PCG64(seed))
    days = pa.array(draw.integers(0, 9000, rows), pa.int32()).cast(pa.date32())
    groups, texts = draw.integers(0, max(1, rows // GROUPED), rows), draw.integers(0, 10_000_000, rows)
    return pa.table({"id": pa.array(draw.permutation(rows)), "x": pa.array(draw.integers(-(1 << 15), 1 << 15, rows)),
                     "y": pa.array(draw.integers(-(1 << 23), 1 << 23, rows)), "g": pa.array(groups), "d": days,
                     "s": pa.array([f"text {number:07}" for number in texts])})


@contextmanager
def opened(rows: int) -> Iterator[sdh.Hub]:
    with sdh.connect() as hub:
        for seed, party in enumerate(("west", "east")):
            tables = {"t": table(rows, seed), "few": table(FEW, seed + 2)}
            hub.attach(party, tables, policy=sdh.Policy.open(rows="exact"), keys={name: [("id",)] for name in tables})
        hub.sql(QUERIES["case"])   # imports, first connections
        yield hub


def samples(sizes: Sequence[int], repeat: int) -> Iterator[Sample]:
    """Every query at every size; of each operator the least seconds of all runs."""
    for rows in sizes:
        with opened(rows) as hub:
            for name, text in QUERIES.items():
                results = [hub.sql(text) for _ in range(repeat)]
                plan = results[-1].plan
                assert plan is not None
                runs = zip(*(result.cost.most for result in results), strict=True)
                yield Sample(name, rows, plan, [min(runs_of_one, key=lambda spent: spent.seconds) for runs_of_one in runs])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.seconds", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    print(f"{'query':<16}{'rows':>10}{'rounds':>8}{'predicted':>12}{'measured':>12}  measured / predicted")
    for sample in samples(options.rows, options.repeat):
        predicted = nanoseconds(sum(sample.predicted, Cost()), sample.plan.network) / 1e9
        measured = sum(spent.seconds for spent in sample.spent)
        ratio = measured / predicted
        rounds = sum(spent.rounds for spent in sample.spent)
        print(f"{sample.name:<16}{sample.rows:>10,}{rounds:>8,}{duration(predicted):>12}{duration(measured):>12}"
              f"  {ratio:.2f}{'' if 0.5 <= ratio <= 2 else '  <<'}", flush=True)


if __name__ == "__main__":
    main()
