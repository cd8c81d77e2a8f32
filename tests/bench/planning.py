"""Seconds to plan, nothing is run: python -m tests.bench planning [--scale 0.01] [--json], the longest first.

TPC-H's queries on its three splits (their catalogs are read from running owners, once), and shapes that are hard to plan,
over three owners of one table each. Every node of a query plans it, and so does the hub.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from time import process_time

from rich.console import Console
from rich.table import Table

from sdh.catalog import Catalog, Facts, Party, TableFacts, padded
from sdh.planners.plan import Plan, Question, finish, place
from sdh.policy import Policy
from sdh.schema import BIGINT, INTEGER, VARCHAR, Column
from tests.bench import tpch

OWNERS = ("alfa", "bravo", "charlie")
COLUMNS = (Column("id", INTEGER, False), Column("k", INTEGER), Column("n", BIGINT), Column("s", VARCHAR))
FACTS = (Facts(bits=14), Facts(bits=10), Facts(bits=20), Facts(bytes=16))
JOINED = "alfa.t a JOIN bravo.t b ON a.id = b.id"
THREE = f"{JOINED} JOIN charlie.t c ON c.id = b.k"
SUMS = f"WITH w0 AS (SELECT a.k AS k, sum(b.n) AS n FROM {THREE} GROUP BY a.k)"


@dataclass(frozen=True, slots=True)
class Timed:
    """place: CPU seconds before anything is counted. finish: after."""

    query: str
    place: float
    finish: float

    @property
    def seconds(self) -> float:
        return self.place + self.finish


def catalog() -> Catalog:
    """Of three owners with 10,000 rows each."""
    return Catalog(tuple(Party(name, (TableFacts(name, "t", COLUMNS, FACTS, padded(10_000), (("id",),), "1"),), Policy.open())
                         for name in OWNERS), ())


def chain(levels: int) -> str:
    """Common table expressions each of which reads the one before twice."""
    below = [f", w{i + 1} AS (SELECT k, n FROM w{i} WHERE n > (SELECT min(n) FROM w{i}))" for i in range(levels)]
    return f"{SUMS}{''.join(below)} SELECT k, n FROM w{levels}"


def reads(times: int) -> str:
    """One common table expression read so often by subqueries."""
    return f"{SUMS} SELECT k FROM w0 WHERE {' AND '.join(f'n <> (SELECT max(n) + {i} FROM w0)' for i in range(times))}"


def self_joins(times: int) -> str:
    return f"{SUMS} SELECT w0.k FROM w0 {' '.join(f'JOIN w0 x{i} ON x{i}.k = w0.k' for i in range(times))}"


def appended(parts: int) -> str:
    return " UNION ALL ".join(f"SELECT a.k, b.n FROM {JOINED} WHERE a.n > {i}" for i in range(parts))


def joined(relations: int) -> str:
    """A chain of joins, whose owners take turns."""
    more = [f"JOIN {OWNERS[i % 3]}.t x{i} ON x{i}.id = x{i - 1}.k" for i in range(1, relations)]
    return f"SELECT count(*) FROM {OWNERS[0]}.t x0 {' '.join(more)}"


def wide(columns: int) -> str:
    return f"SELECT {', '.join(f'a.n * {i + 1} + b.n AS c{i}' for i in range(columns))} FROM {JOINED}"


def listed(values: int) -> str:
    return f"SELECT count(*) FROM {JOINED} WHERE b.k IN ({', '.join(map(str, range(values)))})"


def compared(values: int) -> str:
    """A list that is compared on shares."""
    return f"SELECT count(*) FROM {JOINED} WHERE a.k + b.k IN ({', '.join(map(str, range(values)))})"


def disjunction(terms: int) -> str:
    return f"SELECT count(*) FROM {JOINED} WHERE {' OR '.join(f'(a.k = {i} AND b.k < {i % 7})' for i in range(terms))}"


def nested(levels: int) -> str:
    return f"SELECT sum({'(' * levels}a.k{' + b.k)' * levels}) FROM {JOINED}"


SHAPES: Mapping[str, tuple[Callable[[int], str], int]] = {
    "chain of common tables": (chain, 4), "reads of one common table": (reads, 3), "self-joins": (self_joins, 2),
    "parts of a union": (appended, 8), "relations joined": (joined, 6), "columns": (wide, 150),
    "values in a list": (listed, 10_000), "values compared on shares": (compared, 2_000), "terms of an OR": (disjunction, 200),
    "levels of parentheses": (nested, 100),
}


def plan(text: str, known: Catalog) -> Plan:
    """The whole plan, with as many rows as the catalog allows."""
    placed = place(Question(text, "analyst"), known)
    return finish(placed, tuple(fragment.slots for fragment in placed.fragments))


def timed(query: str, text: str, known: Catalog) -> Timed:
    began = process_time()
    placed = place(Question(text, "analyst"), known)
    between = process_time()
    finish(placed, tuple(fragment.slots for fragment in placed.fragments))
    return Timed(query, round(between - began, 3), round(process_time() - between, 3))


def all_timed(scale: float) -> Iterator[Timed]:
    for name, (shape, size) in SHAPES.items():
        yield timed(f"{size:,} {name}", shape(size), catalog())
    for split in tpch.SPLITS:
        with tpch.opened(split, scale) as hub:
            known = hub._members.catalog
        for query in tpch.QUERIES:
            yield timed(f"{split} Q{query}", tpch.text(query, split), known)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scale", type=float, default=0.01, help="TPC-H's scale factor")
    parser.add_argument("--json", action="store_true", help="one JSON object a line for each query")


def run(options: argparse.Namespace) -> int:
    found = sorted(all_timed(options.scale), key=lambda one: -one.seconds)
    if options.json:
        for one in found:
            print(json.dumps(asdict(one)))
        return 0
    shown = Table("query", "place, s", "finish, s")
    for one in found:
        shown.add_row(one.query, f"{one.place:.3f}", f"{one.finish:.3f}")
    out = Console(width=None if sys.stdout.isatty() else 100)
    out.print(shown)
    out.print(f"{len(found)} plans in {sum(one.seconds for one in found):.1f} s of CPU")
    return 0
