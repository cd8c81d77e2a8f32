"""Generated queries against DuckDB: python -m tests.fuzz --n 300 --parties 2 [--seed S] [--rows exact|padded|hidden]."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter
from dataclasses import dataclass

import duckdb
import pyarrow as pa

import sdh
from tests.compare import difference
from tests.data import oracle, public_table, tables
from tests.generate import nestings, queries


@dataclass(frozen=True, slots=True)
class Outcome:
    """verdict: same, refused (by name, before anything ran), raised (as DuckDB did) or wrong."""

    verdict: str
    detail: str = ""
    secure: bool = False


def open_hub(parties: int, seed: int, rows: str) -> sdh.Hub:
    """A hub whose parties hold the tables of `tests.data`, with id as key."""
    hub = sdh.connect(client="analyst")
    for party, owned in tables(parties, seed).items():
        hub.attach(party, dict(owned), policy=sdh.Policy.open(rows=rows), keys={name: [("id",)] for name in owned})
    hub.publish("code", public_table())
    hub.federate("pooled", ["bank.accounts", "shop.orders"])
    return hub


def ask(hub: sdh.Hub, connection: duckdb.DuckDBPyConnection, query: str) -> Outcome:
    """One query at both."""
    try:
        expected = connection.sql(query).to_arrow_table()
        fault = ""
    except duckdb.Error as error:
        expected, fault = None, str(error).splitlines()[0]
    try:
        result = hub.sql(query)
    except (sdh.Unsupported, sdh.WidthError) as error:
        return Outcome("refused", type(error).__name__ + ": " + error.message)
    except sdh.DataError as error:
        return Outcome("raised" if fault else "wrong", f"{error.message} for {fault or 'rows'}")
    except sdh.SdhError as error:
        return Outcome("wrong", f"{type(error).__name__}: {error} for {fault or 'rows'}")
    if expected is None:
        expected = _skipping(connection, query)
    if expected is None:
        return Outcome("wrong", f"rows for {fault}")
    found = difference(result.arrow(), expected, ordered=" ORDER BY " in query)
    return Outcome("wrong" if found else "same", found, secure=result.plan is not None and not result.plan.is_local)


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
    parser.add_argument("--rows", default="exact", choices=("exact", "padded", "hidden"))
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    connection = oracle(tables(options.parties, options.seed))
    with open_hub(options.parties, options.seed, options.rows) as hub:
        nested = options.n // 4
        asked = queries(options.seed, options.n - nested, options.parties) + nestings(options.seed, nested, options.parties)
        for i, query in enumerate(asked):
            start = time.perf_counter()
            outcome = ask(hub, connection, query)
            counts[outcome.verdict] += 1
            if outcome.verdict == "wrong":
                print(f"seed {options.seed}, query {i}: {query}\n  {outcome.detail}", flush=True)
            elif outcome.verdict == "refused":
                counts[outcome.detail.split(":")[0] + ": " + " ".join(outcome.detail.split()[1:6])] += 1
            if (took := time.perf_counter() - start) > 5:
                print(f"query {i} took {took:.1f} s: {query}", flush=True)
    print(dict(counts))
    return 1 if counts["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
