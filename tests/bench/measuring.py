"""One operation measured: parties and dealer as processes of this machine, warmed up on a slice of the rows."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tests.bench import files, peer
from tests.bench.columns import SLICE
from tests.parties import pool

Answers = list[dict[str, Any]]
OPERATIONS = ("lt32", "lt64", "lt64shares", "eq64", "mul64", "div64", "shuffle", "sort64", "sort32", "topk", "align",
              "sortmerge", "casesum", *peer.OPERATIONS)
LINEAR = ("lt32", "lt64", "lt64shares", "eq64", "mul64", "casesum")
"""Whose cost grows with the rows: what the plot shows."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A line of output. Bytes sent by the busiest party, dealt to all; the memory of the largest process."""

    op: str
    n: int
    seconds: float
    rows_per_s: int
    online_bytes_per_row: float
    dealer_bytes_per_row: float
    rounds: int
    peak_rss_bytes: int


def measure(op: str, rows: int, parties: int = 2, network: str = "", device: str = "cpu", step: int = 0) -> Measured:
    """Run `op` on `rows` rows, checked. AssertionError if an answer is wrong or a process fails.

    `network` as Pool takes it. `step`: rows that CrypTen gets at a time (0: all). On `cuda` without a network all are
    threads of this process on the one GPU. Outside the clock a run on a slice warms all up: a node that serves queries has
    its libraries, memory and kernels.
    """
    if op in peer.OPERATIONS:
        return _measured(op, rows, peer.run(op, rows, parties, step or rows), 0)
    run = _case_sum if op == "casesum" else _operation
    if device == "cuda" and not network:
        from tests.one_process import Crew

        one = Crew(parties)
        run(one, op, min(rows, SLICE), device)
        return _measured(op, rows, run(one, op, rows, device), one.dealer_peak)
    with pool(parties, network) if network else pool(parties) as crew:
        run(crew, op, min(rows, SLICE), device)
        return _measured(op, rows, run(crew, op, rows, device), crew.dealer_peak)


class Runs(Protocol):
    """A Pool, or a Crew of threads."""

    def run(self, program: str, /, *, start: str, device: str, **arguments: Any) -> list[Any]: ...


def _operation(crew: Runs, op: str, rows: int, device: str) -> Answers:
    return crew.run("tests.bench.programs:operation", start="tests.bench.programs:start", device=device, name=op, rows=rows)


def _case_sum(crew: Runs, op: str, rows: int, device: str) -> Answers:
    del op
    with tempfile.TemporaryDirectory(prefix="sdh-bench-") as folder:
        wanted = files.make(Path(folder), rows)
        return crew.run("tests.bench.casesum:operation", start="tests.bench.casesum:start", device=device, rows=rows,
                        folder=folder, wanted=wanted)


def _measured(op: str, rows: int, answers: Sequence[dict[str, Any]], dealer_peak: int) -> Measured:
    """The clock runs from the first party's start to the last one's end."""
    def most(what: str) -> Any:
        return max(answer[what] for answer in answers)

    seconds = most("ended") - min(answer["began"] for answer in answers)
    return Measured(
        op=op,
        n=rows,
        seconds=round(seconds, 4),
        rows_per_s=int(rows / seconds),
        online_bytes_per_row=round(most("online_bytes") / rows, 2),
        dealer_bytes_per_row=round(most("dealer_bytes") / rows, 2),
        rounds=most("rounds"),
        peak_rss_bytes=max(dealer_peak, most("peak_rss_bytes")),
    )
