"""A black-box audit of noise over a join of two owners: python -m tests.privacy_audit --draws 20000 --noise joint.

One query has 2,000 public groups, which are 2,000 independent draws. On one side each group has a unit that it has not on
the other; how much likelier an answer is with the unit than without it bounds epsilon from below (Jagielski et al. 2020):
where the bound, at 3.3 standard deviations, lies above the epsilon that was asked for, the noise is too small. The same
draws are held against the law: variance and chi-square.
"""

from __future__ import annotations

import argparse
import math
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
from sdh.config import PROGRAMS, Programs
from sdh.hub import Hub
from sdh.planners.mechanisms import Mechanism, laplace_scale, variance
from sdh.privacy import PrivacyPolicy, exact

GROUPS = 2_000
UNITS = 3
SURE = 3.3
"""Standard deviations of the bound: it passes a right epsilon once in 2,000 audits."""


@dataclass(frozen=True, slots=True)
class Audit:
    """draws: noise of every answer with the unit, and without it. epsilon: asked for; bound: from below, by the draws."""

    epsilon: float
    bound: float
    with_unit: list[int]
    without: list[int]

    @property
    def caught(self) -> bool:
        return self.bound > self.epsilon

    @property
    def spread(self) -> float:
        """Variance of the noise over that of one draw of the scale that was asked for."""
        law = Mechanism("laplace", laplace_scale(1, exact(self.epsilon) or Fraction(1)), "dealer")
        return float(np.var([*self.with_unit, *self.without])) / variance(law, 2)


@contextmanager
def audited(folder: Path, programs: Programs = PROGRAMS) -> Iterator[Hub]:
    """Tables `more` and `less`, the second without one unit of each group; every unit has one row at each owner."""
    ids = np.arange(GROUPS * UNITS)
    group, place = ids // UNITS, ids % UNITS
    more, less = (pa.table({"id": pa.array(ids[kept]), "g": pa.array(group[kept])}) for kept in (place >= 0, place > 0))
    policy = {
        "north": sdh.Policy.parse("GRANT DP ON * TO analyst", unit={"more": "id", "less": "id"},
                                  privacy=PrivacyPolicy.of(budgets={"analyst": (1000, "1e-3")})),
        "south": sdh.Policy.parse("GRANT DP ON * TO analyst", unit={"seen": "id"},
                                  privacy=PrivacyPolicy.of(budgets={"analyst": (1000, "1e-3")})),
    }
    with sdh.connect(programs=programs) as hub:
        hub.attach("north", {"more": more, "less": less}, policy=policy["north"], ledger=folder / "north.ledger",
                   keys={"more": [("id",)], "less": [("id",)]}, bounds={"more.g": (0, GROUPS - 1), "less.g": (0, GROUPS - 1)})
        hub.attach("south", {"seen": pa.table({"id": pa.array(ids)})}, policy=policy["south"], ledger=folder / "south.ledger",
                   keys={"seen": [("id",)]})
        hub.publish("kinds", pa.table({"g": pa.array(np.arange(GROUPS))}), keys=[("g",)])
        yield hub


def audit(hub: Hub, draws: int, noise: str, epsilon: float = 1.0) -> Audit:
    """With `draws` answers a side."""
    queries = -(-draws // GROUPS)
    found = {table: [value - truth for i in range(queries) for value in _answers(hub, table, noise, epsilon, i)]
             for table, truth in (("more", UNITS), ("less", UNITS - 1))}
    sides = [np.array(found["more"]) + UNITS, np.array(found["less"]) + UNITS - 1]
    likely, rare = (int((side >= UNITS).sum()) for side in sides)
    return Audit(epsilon, bounded(likely, rare, len(sides[0])), found["more"], found["less"])


def bounded(likely: int, rare: int, draws: int) -> float:
    """ln of the ratio of two chances, less SURE standard deviations of its estimate; also of their complements."""
    def one(a: int, b: int) -> float:
        p, q = a / draws, b / draws
        return math.log(p / q) - SURE * math.sqrt((1 - p) / (p * draws) + (1 - q) / (q * draws)) if p and q else 0.0

    return max(one(likely, rare), one(draws - rare, draws - likely))


def _answers(hub: Hub, table: str, noise: str, epsilon: float, number: int) -> list[int]:
    clause = f"WITH DIFFERENTIAL_PRIVACY OPTIONS(epsilon = {epsilon}, noise = {noise}, group_selection_strategy = PUBLIC_GROUPS)"
    text = (f"SELECT {clause} k.g, count(*) AS n FROM north.{table} a JOIN south.seen b ON a.id = b.id "
            f"JOIN kinds k ON a.g = k.g WHERE a.id <> {-1 - number} GROUP BY k.g")
    rows = hub.sql(text).fetchall()
    assert sorted(g for g, _ in rows) == list(range(GROUPS))
    return [n for _, n in rows]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.privacy_audit", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=20_000, help="answers a side")
    parser.add_argument("--noise", choices=("joint", "parties", "dealer"), default="joint")
    parser.add_argument("--epsilon", type=float, default=1.0)
    parser.add_argument("--wrong", action="store_true", help="with noise of a scale a tenth too small: it must be caught")
    options = parser.parse_args()
    programs = Programs(node="tests.programs.misnoised_node") if options.wrong else PROGRAMS
    with tempfile.TemporaryDirectory() as folder, audited(Path(folder), programs) as hub:
        found = audit(hub, options.draws, options.noise, options.epsilon)
    print(f"{len(found.with_unit):,} answers a side: epsilon {found.epsilon:g} asked for, at least {found.bound:.3f} seen; "
          f"variance {found.spread:.3f} of one draw's; {'CAUGHT' if found.caught else 'passed'}")
    return int(found.caught != options.wrong)


if __name__ == "__main__":
    sys.exit(main())
