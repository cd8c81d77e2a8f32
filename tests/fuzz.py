"""Generated queries against DuckDB: python -m tests.fuzz --n 300 --parties 2|3 [--seed S] [--rows exact|padded|hidden].

A failure names its seed and its number; --query asks that one alone. Nothing is wrong where the last line has no 'wrong'.
A third of the queries do not take the cheapest plan, but another (tests/programs/otherwise.py).
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
from collections import Counter
from dataclasses import dataclass

import duckdb
import pyarrow as pa

import sdh
from sdh.config import Programs
from sdh.planners.plan import Plan
from tests.compare import difference
from tests.data import PARTS, oracle, parts, public_table, tables
from tests.generate import nestings, queries
from tests.programs import otherwise
from tests.shapes import shapes

OTHERWISE = Programs(node="tests.programs.otherwise")
Tables = dict[str, dict[str, pa.Table]]
"""By party and name."""
REFUSED = (sdh.Unsupported, sdh.WidthError, sdh.MemoryExceeded)
"""By name and by public sizes, before anything is shared."""
_ORDERED = re.compile(r" ORDER BY [^()]*$")
"""The rows of the whole query are."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """verdict: same, refused (by name, before anything ran), raised (as DuckDB did) or wrong."""

    verdict: str
    detail: str = ""
    secure: bool = False
    plan: Plan | None = None


def everything(parties: int, seed: int) -> Tables:
    """The tables that the whole grammar asks."""
    found, more = tables(parties, seed), parts(seed)
    return {party: owned | more.get(party, {}) for party, owned in found.items()}


def whole(seed: int, count: int, parties: int) -> list[str]:
    """`count` queries from a seed: half of every shape, the rest joins and subqueries of finer conditions."""
    nested, plain = count // 4, count // 4
    found = [*shapes(seed, count - nested - plain, parties), *nestings(seed, nested, parties), *queries(seed, plain, parties)]
    draw = random.Random(f"whole {seed}")
    draw.shuffle(found)
    return [f"{query} -- plan: {draw.randrange(1000)}" if draw.random() < 1 / 3 else query for query in found]


def open_hub(parties: int, seed: int, rows: str, owned: Tables | None = None) -> sdh.Hub:
    """A hub whose parties hold the tables of `tests.data`, or those given, with id as key.

    Of those given it is declared how often their values of k and s repeat.
    """
    otherwise.install()
    hub = sdh.connect(client="analyst", programs=OTHERWISE if owned else Programs())
    for party, found in (owned or tables(parties, seed)).items():
        repeats = {name: {column: _most(table, column) for column in ("k", "s")} for name, table in found.items()}
        hub.attach(party, dict(found), policy=sdh.Policy.open(rows=rows), keys={name: [("id",)] for name in found},
                   repeats=repeats if owned else None)
    hub.publish("code", public_table())
    hub.federate("pooled", ["bank.accounts", "shop.orders"])
    if owned:
        hub.federate("ward", [f"{party}.{name}" for party, (name, _) in PARTS.items()], keys=[("id",)])
    return hub


def _most(table: pa.Table, column: str) -> int:
    """The most rows that have one value of a column."""
    counts = Counter(table[column].drop_null().to_pylist())
    return max(counts.values(), default=1)


def ask(hub: sdh.Hub, connection: duckdb.DuckDBPyConnection, query: str) -> Outcome:
    """One query at both."""
    try:
        expected = connection.sql(query).to_arrow_table()
        fault = ""
    except duckdb.Error as error:
        expected, fault = None, str(error).splitlines()[0]
    try:
        result = hub.sql(query)
    except REFUSED as error:
        return Outcome("refused", type(error).__name__ + ": " + error.message)
    except sdh.DataError as error:
        return Outcome("raised" if fault else "wrong", f"{error.message} for {fault or 'rows'}")
    except sdh.SdhError as error:
        return Outcome("wrong", f"{type(error).__name__}: {error} for {fault or 'rows'}")
    if expected is None:
        expected = _skipping(connection, query)
    if expected is None:
        return Outcome("wrong", f"rows for {fault}")
    found = difference(result.arrow(), expected, ordered=_ORDERED.search(query) is not None)
    secure = result.plan is not None and not result.plan.is_local
    return Outcome("wrong" if found else "same", found, secure, result.plan)


def _skipping(connection: duckdb.DuckDBPyConnection, query: str) -> pa.Table | None:
    """What DuckDB gives where a product that overflows is skipped: beside OR its optimizer decides whether it is reached.

    SDH fails only where no other operand decides, so its rows must be these. None where DuckDB fails all the same.
    """
    skipping = re.sub(r"(\w+\.small \* \w+\.small > 5)", r"TRY(\1)", query)
    try:
        return None if skipping == query else connection.sql(skipping).to_arrow_table()
    except duckdb.Error:
        return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--parties", type=int, default=2, choices=(2, 3))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--query", type=int, help="this one alone, by its number among --n")
    parser.add_argument("--rows", default="exact", choices=("exact", "padded", "hidden"))
    options = parser.parse_args()
    counts, refused = Counter[str](), Counter[str]()
    owned = everything(options.parties, options.seed)
    connection = oracle(owned)
    with open_hub(options.parties, options.seed, options.rows, owned) as hub:
        for i, query in enumerate(whole(options.seed, options.n, options.parties)):
            if options.query not in (None, i):
                continue
            start = time.perf_counter()
            outcome = ask(hub, connection, query)
            counts["same on shares" if outcome.secure else outcome.verdict] += 1
            if outcome.verdict == "wrong":
                print(f"seed {options.seed}, query {i}: {query}\n  {outcome.detail}", flush=True)
            elif outcome.verdict == "refused":
                refused[outcome.detail] += 1
            if (took := time.perf_counter() - start) > 5:
                print(f"seed {options.seed}, query {i} took {took:.1f} s: {query}", flush=True)
    for sentence, count in refused.most_common():
        print(f"{count:5} refused: {sentence}")
    print(dict(counts))
    return 1 if counts["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
