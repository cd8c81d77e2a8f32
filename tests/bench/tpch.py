"""The 22 TPC-H queries over owners, text unmodified but for table names: python -m tests.bench tpch --scale 0.01 --check.

Three splits of the tables among owners; nation and region are public. Every owner grants the client all (`Policy.open()`)
and declares its keys. A query that is refused is listed and the next one asked; the exit code is 1 where one is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter

import duckdb
from rich.console import Console
from rich.table import Table

import sdh
from sdh.demo import KEYS as DEMO_KEYS
from sdh.demo import data
from sdh.hub import Hub
from sdh.planners.units import size
from tests.bench.memory import resident
from tests.bench.tpch_answers import Answers

TEXTS = Path(__file__).parent / "tpch"
QUERIES = tuple(range(1, 23))
PUBLIC = ("nation", "region")
KEYS = {table: keys for owned in DEMO_KEYS.values() for table, keys in owned.items()}
HALVES = ("orders", "lineitem")
"""What the horizontal split divides between its two owners, by the order's key."""
SPLITS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "vertical": {"retail": ("customer", "orders"), "supply": ("lineitem", "part", "partsupp", "supplier")},
    "scattered": {"alfa": ("customer", "lineitem"), "bravo": ("orders", "part"), "charlie": ("partsupp", "supplier")},
    "horizontal": {"north": (*HALVES, "customer", "part"), "south": (*HALVES, "partsupp", "supplier")},
}
WARM_UP = "SELECT count(*) FROM {customer}, {supplier} WHERE c_custkey = s_suppkey AND c_custkey < 3"
"""Its first secure query has a node import what it needs."""
REFUSALS = (sdh.errors.QuestionError, sdh.errors.PolicyError, sdh.errors.MemoryExceeded)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One query on one split.

    verdict: answered, refused (by name, before anything ran), failed (while it ran) or wrong. seconds: the client's.
    sent: bytes by party. link: bytes that the busiest party sends to each other one. peak: bytes of memory by process.
    """

    split: str
    scale: float
    query: int
    verdict: str
    detail: str = ""
    secure: bool = False
    rows: int = 0
    seconds: float = 0.0
    link: int = 0
    rounds: int = 0
    dealer_bytes: int = 0
    sent: Mapping[str, int] = field(default_factory=dict)
    peak: Mapping[str, int] = field(default_factory=dict)


def text(query: int, split: str) -> str:
    """The query with every {table} replaced by its name in the split."""
    return (TEXTS / f"q{query:02}.sql").read_text().format(**names(split))


def names(split: str) -> Mapping[str, str]:
    """By table: party.table; a public table and one of several parties have a plain name."""
    found = {table: table for table in PUBLIC}
    for party, tables in SPLITS[split].items():
        found |= {table: table if table in shared(split) else f"{party}.{table}" for table in tables}
    return found


def shared(split: str) -> tuple[str, ...]:
    """The tables of which several parties have a part."""
    counts = Counter(table for tables in SPLITS[split].values() for table in tables)
    return tuple(table for table, count in counts.items() if count > 1)


# The data


def arranged(split: str, scale: float) -> Path:
    """The folder of a split's Parquet files, a subfolder for each owner. Made once, then kept beside the demo's."""
    source = data(scale, Console(stderr=True))
    folder = source.with_name(f"{source.name}-{split}")
    for place, (party, tables) in enumerate(SPLITS[split].items()):
        for table in tables:
            _write(_file(source, table), folder / party / f"{table}.parquet", place if table in shared(split) else None)
    return folder


def _file(source: Path, table: str) -> Path:
    [file] = source.glob(f"*/{table}.parquet")
    return file


def _write(source: Path, target: Path, half: int | None) -> None:
    """A whole table, or the half of it whose orders have even (0) or odd (1) numbers."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    making = target.with_name(f"{target.name}.{os.getpid()}")
    if half is None:
        making.hardlink_to(source)
    else:
        key = KEYS[target.stem][0][0]
        with duckdb.connect() as connection:
            connection.read_parquet(str(source)).filter(f"{key} % 2 = {half}").write_parquet(str(making))
    making.rename(target)   # at once: nobody sees half of it


@contextmanager
def opened(split: str, scale: float, memory_limit: str | None = None) -> Iterator[Hub]:
    """A hub with the split's owners attached, its public tables published and its halves put together."""
    folder = arranged(split, scale)
    with sdh.connect(memory_limit=memory_limit) as hub:
        for party, tables in SPLITS[split].items():
            hub.attach(party, folder / party, policy=sdh.Policy.open(), keys={table: KEYS[table] for table in tables})
        for table in PUBLIC:
            hub.publish(table, _file(data(scale, Console(stderr=True)), table))
        for table in shared(split):
            parts = [f"{party}.{table}" for party, tables in SPLITS[split].items() if table in tables]
            hub.federate(table, parts, keys=KEYS[table])
        yield hub


# One query


def ask(hub: Hub, split: str, scale: float, query: int, answers: Answers | None, timeout: float | None = None) -> Outcome:
    """One query at the hub, compared with DuckDB's answer where `answers` are given."""
    processes = {process.name: process.popen.pid for process in hub._members._running}
    for pid in processes.values():
        Path(f"/proc/{pid}/clear_refs").write_text("5")   # its peak counts from now on
    began = perf_counter()
    try:
        result = hub.sql(text(query, split), timeout=timeout)
    except Exception as error:   # whatever it is: the other queries are asked all the same
        verdict = "refused" if isinstance(error, REFUSALS) else "failed"
        detail = f"{type(error).__name__}: {error.message if isinstance(error, sdh.SdhError) else str(error)[:100]}"
        return Outcome(split, scale, query, verdict, detail, seconds=round(perf_counter() - began, 3))
    seconds = round(perf_counter() - began, 3)
    peak = {name: resident(pid)["VmHWM"] for name, pid in processes.items()}
    wrong = "" if answers is None else answers.difference(query, result.arrow())
    sent, secure = dict(result.cost.bytes), result.plan is not None and not result.plan.is_local
    link = max(sent.values(), default=0) // max(len(sent) - 1, 1)
    return Outcome(split, scale, query, "wrong" if wrong else "answered", wrong, secure, len(result), seconds, link,
                   result.cost.rounds, result.cost.dealer_bytes, sent, peak)


def outcomes(split: str, scale: float, queries: Iterable[int], *, check: bool, timeout: float | None = None,
             memory_limit: str | None = None) -> Iterator[Outcome]:
    """Each query in turn, at one hub that has answered before."""
    answers = Answers(data(scale, Console(stderr=True))) if check else None
    with opened(split, scale, memory_limit) as hub:
        with suppress(sdh.SdhError):
            hub.sql(WARM_UP.format(**names(split)))
        for query in queries:
            yield ask(hub, split, scale, query, answers, timeout)


# The command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scale", type=float, default=0.01, help="TPC-H's scale factor, such as 0.01, 0.1 or 1")
    parser.add_argument("--split", choices=tuple(SPLITS), action="append", help="may be given again (default: all)")
    parser.add_argument("--query", type=int, choices=QUERIES, action="append", help="may be given again (default: all)")
    parser.add_argument("--check", action="store_true", help="compare with DuckDB's answers")
    parser.add_argument("--timeout", type=float, help="seconds after which a query is given up")
    parser.add_argument("--memory-limit", help="of every process, such as 2GiB")
    parser.add_argument("--json", action="store_true", help="one JSON object a line for each query")


def run(options: argparse.Namespace) -> int:
    """1 if an answer is wrong or a query failed while it ran."""
    found: list[Outcome] = []
    for split in options.split or SPLITS:
        asked = outcomes(split, options.scale, options.query or QUERIES, check=options.check, timeout=options.timeout,
                         memory_limit=options.memory_limit)
        for one in asked:
            found.append(one)
            print(json.dumps(asdict(one)) if options.json else _line(one), flush=True,
                  file=sys.stdout if options.json else sys.stderr)
    if not options.json:
        out = Console(width=None if sys.stdout.isatty() else 160)
        out.print(table(found))
        out.print(summary(found, checked=options.check))
    return int(any(one.verdict in ("wrong", "failed") for one in found))


def _line(one: Outcome) -> str:
    return f"{one.split} Q{one.query}: {one.verdict} in {one.seconds:.1f} s {one.detail[:200]}"


def table(found: Sequence[Outcome]) -> Table:
    """What is answered, refused (by what) and wrong, with what it cost."""
    shown = Table("split", "query", "outcome", "rows", "seconds", "a link", "rounds", "dealer", "peak memory",
                  "refused by, or what differs")
    for one in found:
        cost = ("", "", "", "") if not one.secure else (
            size(one.link), f"{one.rounds:,}", size(one.dealer_bytes), size(max(one.peak.values(), default=0)))
        shown.add_row(one.split, f"Q{one.query}", "local" if one.verdict == "answered" and not one.secure else one.verdict,
                      str(one.rows) if one.verdict in ("answered", "wrong") else "", f"{one.seconds:.2f}", *cost, one.detail)
    return shown


def summary(found: Sequence[Outcome], *, checked: bool) -> str:
    """A line for each split."""
    lines = []
    for split in dict.fromkeys(one.split for one in found):
        ours = [one for one in found if one.split == split]
        counts = Counter(one.verdict for one in ours)
        spent = sum(one.seconds for one in ours if one.verdict == "answered")
        equal = " (equal to DuckDB's)" if checked else " (not checked: --check)"
        lines.append(f"{split}: {counts['answered']} of {len(ours)} answered{equal} in {spent:.1f} s, "
                     f"{counts['refused']} refused, {counts['failed']} failed, {counts['wrong']} wrong.")
    return "\n".join(lines)
