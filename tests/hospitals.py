"""Two hospitals and their noise: python -m tests.hospitals --draws 20000 --noise joint.

Patients of one hospital are joined with their costs at another and counted and summed by a diagnosis that nobody named, with
epsilon 1. One answer has 2,000 groups of enough patients that they show. The mean size and the variance of its errors are
held against the law of one draw at the scale that each aggregate's part of epsilon asks for.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa

import sdh
from sdh.hub import Hub
from sdh.planners.mechanisms import Mechanism, laplace_scale, tail, variance
from sdh.privacy import PrivacyPolicy

GROUPS = 2_000
PATIENTS = 40
"""Of a group: 25 and more above the threshold, which one group in 10,000 fails."""
MOST_COST = 10
EPSILON, PART = Fraction(1), Fraction(1, 3)
"""Two aggregates and the choice of groups have a third each."""
FACTORS = {"joint": 1, "dealer": 1, "parties": 2}
"""Draws that are added up, and so the variance over one draw's."""
AGREES = 0.05


@dataclass(frozen=True, slots=True)
class Errors:
    """Of one aggregate: the noise of every answer; and what its law says. sensitivity: what a patient adds at most."""

    name: str
    sensitivity: int
    noise: str
    drawn: list[int]

    @property
    def _law(self) -> Mechanism:
        return Mechanism("laplace", laplace_scale(self.sensitivity, EPSILON * PART), self.noise)

    @property
    def factor(self) -> float:
        """Variance over that of one draw."""
        one = Mechanism("laplace", self._law.scale, "dealer")
        return float(np.mean(np.square(self.drawn))) / variance(one, 2)

    @property
    def size(self) -> float:
        """The mean size over what the law says: E|X| is twice the sum of P(X >= m), m = 1, 2, .."""
        draws, most = self._law.draws(2), int(60 * self._law.scale)
        wanted = 2 * float(sum(tail(self._law.scale, draws, m) for m in range(1, most)))
        return float(np.mean(np.abs(self.drawn))) / wanted

    @property
    def agrees(self) -> bool:
        return abs(self.factor / FACTORS[self.noise] - 1) <= AGREES and abs(self.size - 1) <= AGREES


@contextmanager
def opened(folder: Path, groups: int = GROUPS) -> Iterator[Hub]:
    """Every patient is once at each hospital."""
    ids = np.arange(groups * PATIENTS)
    privacy = PrivacyPolicy.of(budgets={"analyst": (10_000, 1)}, delta="1e-2")
    tables = {"north": {"patients": pa.table({"id": pa.array(ids), "diagnosis": pa.array(ids % groups)})},
              "south": {"costs": pa.table({"id": pa.array(ids[::-1].copy()), "cost": pa.array(costs(ids[::-1]))})}}
    with sdh.connect() as hub:
        for party, owned in tables.items():
            [name] = owned
            policy = sdh.Policy.parse("GRANT DP ON * TO analyst", unit={name: "id"}, facts="measured", privacy=privacy)
            hub.attach(party, owned, policy=policy, ledger=folder / f"{party}.ledger", keys={name: [("id",)]})
        yield hub


def costs(ids: np.ndarray) -> np.ndarray:
    return ids * 7 % (MOST_COST + 1)


def measured(hub: Hub, draws: int, noise: str, groups: int = GROUPS) -> tuple[Errors, Errors]:
    """Of counts and of sums, of `draws` answers each."""
    ids = np.arange(groups * PATIENTS)
    sums = np.bincount(ids % groups, weights=costs(ids)).astype(int)
    counted, summed = list[int](), list[int]()
    asked = 0
    while len(counted) < draws:
        for diagnosis, n, total in hub.sql(_text(noise, asked)).fetchall():
            counted.append(n - PATIENTS)
            summed.append(total - int(sums[diagnosis]))
        asked += 1
    return Errors("count", 1, noise, counted[:draws]), Errors("sum", MOST_COST, noise, summed[:draws])


def _text(noise: str, number: int) -> str:
    """A question of its own each: the same one again would get the answer that it had."""
    return (f"SELECT WITH DIFFERENTIAL_PRIVACY OPTIONS(epsilon = {EPSILON}, delta = 1e-2, noise = {noise}) a.diagnosis, "
            f"count(*) AS n, sum(b.cost, contribution_bounds_per_group => (0, {MOST_COST})) AS total "
            f"FROM north.patients a JOIN south.costs b ON a.id = b.id WHERE a.id <> {-1 - number} GROUP BY a.diagnosis")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hospitals", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=20_000, help="of each aggregate")
    parser.add_argument("--noise", choices=tuple(FACTORS), action="append", help="may be given again (default: all)")
    options = parser.parse_args()
    right = True
    for noise in options.noise or FACTORS:
        with tempfile.TemporaryDirectory() as folder, opened(Path(folder)) as hub:
            for one in measured(hub, options.draws, noise):
                right &= one.agrees
                print(f"{noise}, {one.name}: {len(one.drawn):,} draws; variance x {one.factor:.3f} of one draw's "
                      f"(theory {FACTORS[noise]}.00), mean size x {one.size:.3f} of theory's; "
                      f"{'agrees' if one.agrees else 'WRONG'}", flush=True)  # fmt: skip
    return int(not right)


if __name__ == "__main__":
    sys.exit(main())
