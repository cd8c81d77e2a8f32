"""Times one operation of the secret-shared runtime: python -m tests.bench OP N [--parties P] [--json].

N: 4194304, 2^22 or 1e8. Parties and dealer share this machine. The clock runs from plaintext columns at their owners to
the result's shares: before the dealer hears of anything, until the last party is done. Starting processes, imports and
the plan's trace lie before it, the check of the answer after it.

`tpch`: the 22 queries over owners, with a --scale in place of N. `private`: one of them with noise and without. `planning`:
the planner alone. `start`: from sdh.connect() to the first and second answer. `suite`: all operations, which `make bench`
runs; `linear`: comparisons, arithmetic and casesum from 10^5 rows to N; both append lines to a file, which `table` and `plot`
show.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from time import perf_counter

from sdh.connectors.emulated import parse_network
from sdh.errors import DeviceMissing
from tests.bench import peer, planning, private, reporting, tpch
from tests.bench.measuring import LINEAR, OPERATIONS, Measured, measure

SUITE = (
    *((op, 1 << 22) for op in ("lt32", "crypten-lt", "lt64", "lt64shares", "eq64", "mul64", "crypten-mul")),
    ("div64", 1 << 17),
    *((op, 1 << 20) for op in ("shuffle", "sort64", "sort32", "topk", "align")),
    ("sort64", 1 << 17),
    ("sortmerge", 1 << 17),
    ("casesum", 10**8),
)


def main() -> int:
    options = _parser().parse_args()
    match options.what:
        case "tpch":
            return tpch.run(options)
        case "private":
            return private.run(options)
        case "planning":
            return planning.run(options)
        case "start":
            _show(start(), options.json)
        case "suite":
            _append(options.file, SUITE, options.repeat)
        case "linear":
            _append(options.file, ((op, rows) for op in LINEAR for rows in _decades(options.n)), options.repeat)
        case "table":
            print(reporting.table(reporting.read(options.file)))
        case "plot":
            options.svg.parent.mkdir(exist_ok=True)
            options.svg.write_text(reporting.plot(reporting.read(options.file)))
        case op:
            try:
                _require(options.device)
            except DeviceMissing as error:
                print(error.message, file=sys.stderr)
                return 2
            measured = measure(op, options.n, options.parties, options.network, options.device, options.step)
            _show(json.loads(reporting.line(measured)), options.json)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True, metavar="OP")
    for op in OPERATIONS:
        one = commands.add_parser(op, help=reporting.NAMES[op])
        one.add_argument("n", type=_rows, nargs="?", default=1 << 20)
        one.add_argument("--parties", type=_parties, default=2)
        one.add_argument("--json", action="store_true", help="one JSON object on one line")
        if op in peer.OPERATIONS:
            one.add_argument("--step", type=_rows, default=0, help="rows that CrypTen gets at a time (default: all)")
            one.set_defaults(network="", device="cpu")
        else:
            one.add_argument("--network", type=_network, default="", help="an emulated network between all, such as 1gbit,20ms")
            one.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
            one.set_defaults(step=0)
    tpch.add_arguments(commands.add_parser("tpch", help="the 22 TPC-H queries over owners"))
    private.add_arguments(commands.add_parser("private", help="TPC-H's Q12 with differential privacy and without"))
    planning.add_arguments(commands.add_parser("planning", help="seconds to plan TPC-H's queries and others"))
    commands.add_parser("start", help="seconds to a hub's first and second answer").add_argument("--json", action="store_true")
    suite = commands.add_parser("suite", help="all operations, a table")
    linear = commands.add_parser("linear", help="comparisons, arithmetic and casesum, 10^5 rows to N, a table")
    linear.add_argument("n", type=_rows, nargs="?", default=10**8)
    for many, file in ((suite, "build/bench.jsonl"), (linear, "build/linear.jsonl")):
        many.add_argument("--file", type=Path, default=Path(file))
        many.add_argument("--repeat", type=int, default=3, help="runs of each, of which the median in seconds counts")
    commands.add_parser("table", help="a file's lines as a Markdown table").add_argument("file", type=Path)
    plot = commands.add_parser("plot", help="a file's lines as an SVG")
    plot.add_argument("file", type=Path)
    plot.add_argument("svg", type=Path, nargs="?", default=Path("docs/bench.svg"))
    return parser


def _rows(text: str) -> int:
    """4194304, 2^22, 1e8."""
    base, power, exponent = text.partition("^")
    try:
        rows = int(base) ** int(exponent) if power else int(text) if text.isdigit() else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rows, such as 4194304, 2^22 or 1e8") from None
    if not 1 <= rows <= 1 << 40 or rows != int(rows):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of rows from 1 on")
    return int(rows)


def _parties(text: str) -> int:
    if not text.isdigit() or not 2 <= int(text) <= 16:
        raise argparse.ArgumentTypeError("parties are 2 to 16")
    return int(text)


def _network(text: str) -> str:
    try:
        _ = text and parse_network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _require(device: str) -> None:
    """Raises DeviceMissing where this machine has not the device."""
    if device != "cpu":
        from sdh.executors.devices import chosen

        chosen(device)


def _decades(last: int) -> list[int]:
    return [10**power for power in range(5, 12) if 10**power <= last]


def _append(file: Path, wanted: Iterable[tuple[str, int]], repeat: int) -> None:
    """Measure and write line by line: what was measured stays if the next one fails."""
    file.parent.mkdir(exist_ok=True)
    found = list[Measured]()
    with file.open("a") as out:
        for op, rows in wanted:
            runs = sorted((measure(op, rows) for _ in range(repeat)), key=lambda run: run.seconds)
            found.append(runs[len(runs) // 2])
            print(reporting.line(found[-1]), file=out, flush=True)
            print(f"{op} {reporting.count(rows)}: {found[-1].seconds:.2f} s", file=sys.stderr)
    print(reporting.table(found))


def _show(found: dict[str, object], as_json: bool) -> None:
    print(json.dumps(found) if as_json else "\n".join(f"{key:>24} {value}" for key, value in found.items()))


def start() -> dict[str, object]:
    """Seconds of an embedded hub of two parties with small tables: to its first secure answer, and for a second."""
    import pyarrow as pa

    import sdh

    rows = pa.table({"id": [1, 2, 3], "x": [5, 6, 7]})
    query = "SELECT sum(a.x * b.x), avg(a.x) FROM left_.t a JOIN right_.t b ON a.id = b.id"
    begun = perf_counter()
    with sdh.connect() as hub:
        for party in ("left_", "right_"):
            hub.attach(party, {"t": rows}, policy=sdh.Policy.open(), keys={"t": [("id",)]})
        hub.sql(query)
        first = perf_counter()
        hub.sql(query)
        return {"op": "start", "first_answer_s": round(first - begun, 2), "second_query_s": round(perf_counter() - first, 3)}


if __name__ == "__main__":
    sys.exit(main())
