"""What the benchmarks time: from plaintext columns at their owners to the result's shares, then a check outside the clock."""

from __future__ import annotations

import resource
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sdh.executors import bits
from sdh.executors.align import Side, align
from sdh.executors.arithmetic import multiply
from sdh.executors.bits import Bits
from sdh.executors.compare import is_zero, less, less_wide
from sdh.executors.permute import shuffle
from sdh.executors.runtime import Masked, Session
from sdh.executors.shares import raw

WORDS = 4
"""Of a shuffled row: 32 bytes."""


def column(rows: int, width: int, seed: int) -> Tensor:
    """Signed integers of `width` bits that every process can make again: the check compares with them."""
    words = np.random.Generator(np.random.PCG64(seed)).integers(-(1 << 63), (1 << 63) - 1, rows, dtype=np.int64)
    return torch.from_numpy(words >> (64 - width))


def operation(session: Session, name: str, rows: int) -> dict[str, float]:
    """Run one operation, check it, and say what it cost this party."""
    x, y = column(rows, _width(name), 1), column(rows, _width(name), 2)
    start = perf_counter()
    found = _run(session, name, x, y)
    seconds, cost = perf_counter() - start, session.meter.total
    _check(session, name, found, x, y)
    return {
        "seconds": seconds,
        "online_bytes": cost.sent,
        "dealer_bytes": cost.dealt,
        "rounds": cost.rounds,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def _width(name: str) -> int:
    return {"lt32": 32, "lt64": 64, "lt64shares": 63}.get(name, 64)


def _run(session: Session, name: str, x: Tensor, y: Tensor) -> Any:
    rows = len(x)
    if name == "align":
        return _align(session, rows)
    a = session.share(0, x if session.rank == 0 else None, rows)
    b = session.share(1, y if session.rank == 1 else None, rows)
    match name:
        case "lt32":
            return less(session, a, b, 33)
        case "lt64":
            return less_wide(session, a, b)
        case "lt64shares":
            return less(session, a, b, 64)
        case "eq64":
            return is_zero(session, raw(a) - raw(b), 64)
        case "mul64":
            return multiply(session, a, b)
        case "shuffle":
            return shuffle(session, [a, b, a, b][:WORDS])
        case _:
            raise ValueError(name)


def _align(session: Session, rows: int) -> Any:
    keys = torch.arange(rows) * 3
    probes = torch.arange(rows) * 2
    usable = torch.ones(rows, dtype=torch.bool)
    probe = Side(0, rows, [probes] if session.rank == 0 else None, usable if session.rank == 0 else None)
    build = Side(1, rows, [keys] if session.rank == 1 else None, usable if session.rank == 1 else None)
    payload = session.share(1, keys + 1 if session.rank == 1 else None, rows)
    return align(session, probe, build, [32], [payload])


def _check(session: Session, name: str, found: Any, x: Tensor, y: Tensor) -> None:
    """Open what the operation gave, behind a fresh zero sharing, and compare. Benchmarks alone do this."""
    match name:
        case "lt32" | "lt64" | "lt64shares":
            _same_bits(session, found, x < y)
        case "eq64":
            _same_bits(session, found, x == y)
        case "mul64":
            _same(session, _open(session, raw(found)), x * y)
        case "shuffle":
            opened = _open(session, raw(found[0]))
            _same(session, opened if session.tracing else opened.sort().values, x.sort().values)
        case "align":
            match, (payload,) = found
            probes = torch.arange(len(x)) * 2
            matched = (probes % 3 == 0) & (probes < 3 * len(x))
            _same_bits(session, match, matched)
            _same(session, _open(session, raw(payload)), torch.where(matched, probes + 1, 0))


def _open(session: Session, share: Tensor) -> Tensor:
    return session.open_masked([Masked(session.rerandomize(share))], "a benchmark's own check")[0]


def _same(session: Session, opened: Tensor, wanted: Tensor) -> None:
    assert session.tracing or torch.equal(opened, wanted)


def _same_bits(session: Session, found: Bits, wanted: Tensor) -> None:
    opened = session.open_masked([Masked(session.rerandomize(found.share, xor=True), xor=True)], "a benchmark's own check")[0]
    _same(session, bits.unpack(opened, found.rows), wanted.to(torch.uint8))
