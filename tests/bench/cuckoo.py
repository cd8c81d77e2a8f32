"""How often cuckoo tables fail, measured on small tables and carried over to the sizes in use: python -m tests.bench.cuckoo.

A set of keys has no places if k keys have k - 1 bins (Hall 1935); in a least such set every bin is a candidate of two keys
or more. `exponent` is of how many such sets are expected: an upper bound on the failures by them (the union bound).
Failures by large sets come with load: three hashes hold 0.918 of the bins, and below 0.818 all but small sets peel off
(Molloy 2005); tables in use are at most 1/1.27 = 0.787 full. A set that has places may also be left by the
walk that looks for them: `decay` measures what each round adds.
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from functools import cache
from itertools import product
from math import comb, log2

import numpy as np

from sdh.executors import cuckoo
from sdh.executors.streams import Words, fresh_source

LARGEST = 9
SMALL = ((4, 2), (4, 3), (6, 3), (6, 4), (8, 4), (8, 5), (12, 6), (16, 8), (32, 14))
"""Keys, and bins in a third: small enough to fail in sight."""
USED = (128, 410, 1000, 1896, 1 << 14)
CROWDED = (0.80, 0.84, 0.88, 0.90, 0.92)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.cuckoo", description=__doc__)
    parser.add_argument("--tables", type=int, default=30_000)
    tables: int = parser.parse_args().tables
    survivors(1000, cuckoo.bins(1000), 1)  # one table: the walk is cuckoo.place's
    print(f"{tables} tables a line. Small tables: measured failures, and the bound by sets of all sizes")
    for rows, third in SMALL:
        lost = survivors(rows, 3 * third, tables)[-1]
        print(f"  {rows:3} keys {3 * third:3} bins  measured {lost / tables:.2e}  bound {2 ** exponent(rows, third, rows):.2e}")
    print("Crowded tables of 1896 keys: failures by load")
    for load in CROWDED:
        size, some = -(-int(1896 / load) // 3) * 3, max(1, tables // 300)
        print(f"  {load:.2f}  {survivors(1896, size, some)[-1]} of {some}")
    print("Tables in use: rounds until all are placed, bits that a round adds, exponent after all rounds")
    for rows in USED:
        left = survivors(rows, cuckoo.bins(rows), max(64, min(tables, 4_000_000 // rows)))
        print(f"  {rows:6} keys {cuckoo.bins(rows):6} bins  {np.count_nonzero(left):4} rounds  {decay(left):.3f} bits  "
              f"2^-{decay(left) * cuckoo.ROUNDS:.0f}")  # fmt: skip
    sizes = sorted({*range(4, 4096), *(1 << power for power in range(12, 28))})
    exponents = {rows: exponent(rows, cuckoo.bins(rows) // 3, LARGEST) for rows in sizes}
    worst = max(exponents, key=lambda rows: exponents[rows])
    print(f"Sizes in use, 4 to 2^27 keys: failures by sets of up to {LARGEST} keys at most 2^{exponents[worst]:.1f} (at {worst})")
    print("  " + ", ".join(f"2^{exponents[rows]:.1f} at {rows}" for rows in (16, 128, 1000, 1896, 1 << 14, 1 << 20)))


def exponent(rows: int, third: int, largest: int) -> float:
    """log2 of the expected number of least sets of k <= `largest` keys that have k - 1 bins in three thirds."""
    total = 0.0
    for k in range(4, min(rows, largest) + 1):
        ways = sum(_maps(k, a, third) * _maps(k, b, third) * _maps(k, k - 1 - a - b, third)
                   for a, b in product(range(1, k), repeat=2) if a + b < k - 1)
        total += float(Fraction(comb(rows, k) * ways, third ** (3 * k)))
    return log2(total) if total else float("-inf")


@cache
def _maps(keys: int, bins: int, third: int) -> int:
    """Maps of k keys onto some `bins` bins of a third, at least two to each."""
    return comb(third, bins) * _onto(keys, bins)


@cache
def _onto(keys: int, bins: int) -> int:
    if not bins:
        return int(not keys)
    return sum(comb(keys, first) * _onto(keys - first, bins - 1) for first in range(2, keys + 1))


def survivors(rows: int, size: int, tables: int, rounds: int = cuckoo.ROUNDS) -> Words:
    """How many of the tables still have keys without a place after each round of `cuckoo.place`."""
    source = fresh_source()
    choices = np.concatenate([cuckoo.candidates([np.arange(rows)], source.key(str(index)), size) + index * size
                              for index in range(tables)], axis=1)  # fmt: skip
    left = np.zeros(rounds, dtype=np.int64)
    table, pending = np.full(tables * size, -1, dtype=np.int64), np.arange(tables * rows)
    turn = np.zeros(len(pending), dtype=np.int64)
    for step in range(rounds):   # as cuckoo.place does, all tables at once
        wanted = choices[turn, pending]
        before = table[wanted]
        table[wanted] = pending
        won = table[wanted] == pending
        pending = np.concatenate([pending[~won], before[won & (before >= 0)]])
        turn = cuckoo._next_turn(table, choices, pending, step)
        left[step] = len(np.unique(pending // rows))
        if not left[step]:
            assert tables > 1 or np.array_equal(table, cuckoo.place(choices, size))
            break
    return left


def decay(left: Words) -> float:
    """Bits by which a round makes failure rarer, in the tail: from a tenth of the tables to the last."""
    tail = left[(left > 0) & (left < left[0] / 10)]
    return log2(tail[0] / tail[-1]) / (len(tail) - 1) if len(tail) > 1 else float("inf")


if __name__ == "__main__":
    main()
