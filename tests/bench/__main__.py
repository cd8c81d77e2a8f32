"""Times one operation of the secret-shared runtime: python -m tests.bench OP N [--parties P] [--json].

OP: lt32, lt64, lt64shares, eq64, mul64, shuffle, align; or `start`: from sdh.connect() to the first and second answer.
All parties and the dealer share this machine; the dealer's work and traffic are inside the clock, process start is not.
"""

from __future__ import annotations

import argparse
import json
from time import perf_counter

OPERATIONS = ("lt32", "lt64", "lt64shares", "eq64", "mul64", "shuffle", "align")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("op", choices=(*OPERATIONS, "start"))
    parser.add_argument("n", type=int, nargs="?", default=1 << 20)
    parser.add_argument("--parties", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = start() if options.op == "start" else measure(options.op, options.n, options.parties)
    print(json.dumps(found) if options.json else "\n".join(f"{key:>24} {value}" for key, value in found.items()))


def measure(op: str, rows: int, parties: int) -> dict[str, object]:
    """The slowest party's time; bytes by the busiest."""
    from tests.parties import pool

    with pool(parties) as crew:
        crew.run("tests.bench.programs:operation", name="lt32", rows=1024)  # imports, outside the clock
        answers = crew.run("tests.bench.programs:operation", name=op, rows=rows)
    seconds = max(answer["seconds"] for answer in answers)
    return {
        "op": op,
        "n": rows,
        "seconds": round(seconds, 4),
        "rows_per_s": int(rows / seconds),
        "online_bytes_per_row": round(max(answer["online_bytes"] for answer in answers) / rows, 2),
        "dealer_bytes_per_row": round(answers[0]["dealer_bytes"] / rows, 2),
        "rounds": answers[0]["rounds"],
        "peak_rss_bytes": int(max(answer["peak_rss_bytes"] for answer in answers)),
    }


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
    main()
