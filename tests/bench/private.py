"""What differential privacy costs: TPC-H's Q12 with noise and public groups against the same query without it.

python -m tests.bench private --scale 0.1: both at one hub on the vertical split, in turn. Both hide how many rows pass the
filters (`rows = 'hidden'`), which a private question does whatever a policy says.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import sdh
from sdh.hub import Hub
from sdh.planners.units import size
from sdh.privacy import PrivacyPolicy
from sdh.result import Cost
from tests.bench.tpch import KEYS, SPLITS, arranged

MODES = ("MAIL", "SHIP")
UNITS = {"orders": "o_orderkey", "lineitem": "l_orderkey"}
CLAUSE = ("WITH DIFFERENTIAL_PRIVACY OPTIONS(epsilon = 1, group_selection_strategy = PUBLIC_GROUPS, "
          "privacy_unit_column = o_orderkey)")  # fmt: skip
FORMS = {
    "keys": ("SELECT {clause} l_shipmode, o_orderpriority IN ('1-URGENT', '2-HIGH') AS high, count(*{bounds}) AS lines",
             "GROUP BY l_shipmode, o_orderpriority IN ('1-URGENT', '2-HIGH')"),
    "filters": ("SELECT {clause} l_shipmode, "
                "count(*{bounds}) FILTER (WHERE o_orderpriority IN ('1-URGENT', '2-HIGH')) AS high_line_count, "
                "count(*{bounds}) FILTER (WHERE o_orderpriority NOT IN ('1-URGENT', '2-HIGH')) AS low_line_count",
                "GROUP BY l_shipmode"),
    "cases": ("SELECT {clause} l_shipmode, sum(CASE WHEN o_orderpriority = '1-URGENT' OR o_orderpriority = '2-HIGH' THEN 1 "
              "ELSE 0 END{bounds}) AS high_line_count, sum(CASE WHEN o_orderpriority <> '1-URGENT' AND "
              "o_orderpriority <> '2-HIGH' THEN 1 ELSE 0 END{bounds}) AS low_line_count",
              "GROUP BY l_shipmode"),
}  # fmt: skip
"""The priority as a key, in two counts, and as TPC-H has it. Of each the lines' owner bounds what an order adds, in the clear."""
ROWS = """FROM retail.orders, supply.lineitem
WHERE o_orderkey = l_orderkey AND l_shipmode IN ('MAIL', 'SHIP') AND l_commitdate < l_receiptdate AND l_shipdate < l_commitdate
  AND l_receiptdate >= DATE '1994-01-01' AND l_receiptdate < DATE '1995-01-01' AND l_orderkey <> {number}"""


@dataclass(frozen=True, slots=True)
class Timed:
    """Median, over the repeats. link: bytes of the busiest party."""

    form: str
    private: bool
    rows: str
    seconds: float
    every: tuple[float, ...]
    link: int
    rounds: int
    dealer_bytes: int
    slots: tuple[int, ...]


def text(form: str, number: int, *, private: bool) -> str:
    """Q12; `number`: no order's, which makes it another question."""
    bounds = ", contribution_bounds_per_group => (0, 7)" if private else ""
    select, group = FORMS[form]
    return f"{select} {ROWS} {group}".format(clause=CLAUSE if private else "", bounds=bounds, number=number)


@contextmanager
def opened(scale: float, rows: str, ledgers: Path) -> Iterator[Hub]:
    """The vertical split's orders and lineitem; all is granted, with noise and without."""
    folder = arranged("vertical", scale)
    privacy = PrivacyPolicy.of(budgets={"analyst": (10**6, "1e-2")}, groups=2, rows=7)
    with sdh.connect() as hub:
        for party, tables in SPLITS["vertical"].items():
            keys = {table: KEYS[table] for table in tables}
            units = tuple((table, column) for table, column in UNITS.items() if table in tables)
            policy = replace(sdh.Policy.open(rows=rows), unit=units, privacy=privacy)
            repeats = {"lineitem": {("l_orderkey",): 7}} if "lineitem" in tables else None
            if "lineitem" in tables:
                policy = replace(policy, privacy=replace(privacy, public=(("lineitem", "l_shipmode", MODES),)))
            hub.attach(party, folder / party, policy=policy, keys=keys, repeats=repeats, ledger=ledgers / f"{party}.ledger")
        yield hub


def compared(scale: float, repeats: int, rows: str, forms: Sequence[str]) -> list[Timed]:
    """Each form without and with noise, in turn, after one of each that warms up."""
    found: dict[tuple[str, bool], list[sdh.Result]] = {(form, private): [] for form in forms for private in (False, True)}
    with tempfile.TemporaryDirectory() as ledgers, opened(scale, rows, Path(ledgers)) as hub:
        for number in range(repeats + 1):
            for (form, private), results in found.items():
                results.append(hub.sql(text(form, -1 - number, private=private)))
    return [_timed(results[1:], form, rows, private=private) for (form, private), results in found.items()]


def _timed(results: Sequence[sdh.Result], form: str, rows: str, *, private: bool) -> Timed:
    costs: list[Cost] = [one.cost for one in results]
    every = tuple(round(cost.seconds, 2) for cost in costs)
    slots = results[0].plan.slots if results[0].plan is not None else ()
    return Timed(form, private, rows, statistics.median(every), every, max(costs[0].bytes.values()), costs[0].rounds,
                 costs[0].dealer_bytes, slots)  # fmt: skip


# The command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scale", type=float, default=0.1, help="TPC-H's scale factor")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--form", choices=tuple(FORMS), action="append", help="may be given again (default: all)")
    parser.add_argument("--rows", choices=("hidden", "padded"), default="hidden", help="how owners announce rows without noise")
    parser.add_argument("--json", action="store_true", help="one JSON object a line for each query")


def run(options: argparse.Namespace) -> int:
    """1 if noise costs more than twice as much."""
    found = compared(options.scale, options.repeats, options.rows, options.form or tuple(FORMS))
    for one in found:
        if options.json:
            print(json.dumps(asdict(one)))
        else:
            print(f"{one.form}, {'with' if one.private else 'without'} noise: {one.seconds:.2f} s of {one.every}, "
                  f"{size(one.link)} sent, {one.rounds:,} rounds, {size(one.dealer_bytes)} dealt, slots {one.slots}")
    ratios = {exact.form: private.seconds / exact.seconds for exact, private in zip(found[::2], found[1::2], strict=True)}
    for form, ratio in ratios.items():
        print(f"{form}: {ratio:.2f} times as long with noise", file=sys.stderr)
    return int(max(ratios.values()) > 2)
