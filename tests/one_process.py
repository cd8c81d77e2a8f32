"""Parties and dealer as threads of this process, on one GPU or on any devices, with links in memory: no network at all.

`Crew.run` is `Pool.run` (tests/parties.py) with a device for every party and one for the dealer. Every thread has a CUDA
stream of its own, so that their kernels run side by side. CrypTen's tensors work in one session of a process: programs
that multiply with them need processes.
"""

from __future__ import annotations

import contextlib
import importlib
import queue
import secrets
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from sdh.connectors.wire import session_seed
from sdh.errors import ProtocolError
from sdh.executors import dealing, devices, runtime, tracing
from tests.parties import DEALER, peak_rss

AHEAD = 8
"""Frames that a dealer may be ahead of a party."""
PATIENCE = 900.0
"""Seconds that a thread waits for a frame: another has failed then."""


class MemoryLink:
    """One end of a link in memory. A frame is passed as it is: nobody writes to it once it was sent."""

    def __init__(self, peer: str, secret: bytes, out: queue.Queue[Any], into: queue.Queue[Any]) -> None:
        self.peer, self.secret, self._out, self._in = peer, secret, out, into

    def send(self, address: str, payload: Any) -> None:
        self._out.put((address, memoryview(payload).cast("B")), timeout=PATIENCE)

    send_paced = send

    def receive(self, address: str, length: int) -> bytes:
        payload = bytearray(length)
        self.receive_into(address, payload)
        return bytes(payload)

    def receive_into(self, address: str, buffer: Any) -> None:
        came, payload = self._in.get(timeout=PATIENCE)
        view = np.frombuffer(buffer, np.uint8) if len(buffer) else np.empty(0, np.uint8)
        if came != address or len(payload) != len(view):
            raise ProtocolError(f"{self.peer} sent a frame that was not planned at {address!r}.")
        np.copyto(view, np.frombuffer(payload, np.uint8) if len(payload) else view)


def link_pair(first: str, second: str, ahead: int = 0) -> tuple[MemoryLink, MemoryLink]:
    """The ends at `first` and at `second`; at most `ahead` frames wait at either (0: any number)."""
    secret = secrets.token_bytes(32)
    one: queue.Queue[Any] = queue.Queue(ahead)
    other: queue.Queue[Any] = queue.Queue(ahead)
    return MemoryLink(second, secret, one, other), MemoryLink(first, secret, other, one)


class Crew:
    """n parties and a dealer."""

    def __init__(self, parties: int) -> None:
        self.parties, self.dealer_peak = parties, 0
        if devices.INTERPRETED:
            _one_kernel_at_a_time()

    def run(self, program: str, per_rank: list[dict[str, Any]] | None = None, /, *, digest: bytes | None = None,
            start: str = "", device: str = "cpu", on: Sequence[str] = (), **arguments: Any) -> list[Any]:
        """`on`: the devices of all parties by rank, then the dealer's; without it all are on `device`.

        A failure raises AssertionError.
        """
        names = [f"party{rank}" for rank in range(self.parties)]
        where = list(on) or [device] * (self.parties + 1)
        between = {(a, b): link_pair(names[a], names[b]) for a in range(self.parties) for b in range(a + 1, self.parties)}
        peers = [{b if a == me else a: ends[a != me] for (a, b), ends in between.items() if me in (a, b)}
                 for me in range(self.parties)]
        dealt = [link_pair(name, DEALER, AHEAD) for name in names]
        digest = digest or secrets.token_bytes(32)
        orders = [arguments | (per_rank[rank] if per_rank else {}) for rank in range(self.parties)]
        traced = [tracing.trace(partial(_function(program), **order), names, rank) for rank, order in enumerate(orders)]

        def compute(rank: int) -> Any:
            links: Any = peers[rank]
            dealer: Any = dealt[rank][0]
            late = _function(start)(rank, links, **orders[rank]) if start else {}
            if rank == 0:
                begun.set()
            items, meter = traced[rank]
            session = runtime.Session(rank, names, links, dealer, digest, expected=items, device=where[rank])
            value = _function(program)(session, **orders[rank] | late)
            assert session.items == items, "the trace and the run drew different randomness"
            assert [(c.sent, c.rounds, c.dealt) for c in meter.operators.values()] == [
                (c.sent, c.rounds, c.dealt) for c in session.meter.operators.values()], "they cost differently"
            return value

        def deal(_: int) -> None:
            begun.wait(PATIENCE)
            seeds = [session_seed(ends[1].secret, digest) for ends in dealt]
            dealing.serve(traced[0][0], seeds, lambda rank, address, correction: dealt[rank][1].send_paced(address, correction),
                          engine_on(where[-1]))

        begun = threading.Event()
        values = _together([compute] * self.parties + [deal], where)
        self.dealer_peak = peak_rss()
        return values[:self.parties]


def engine_on(device: str) -> dealing.Engine:
    """NumPy's for a CPU."""
    if device == "cpu" and not devices.INTERPRETED:
        return dealing.NUMPY
    from sdh.executors import cuda

    return cuda.engine(torch.device(device))


@contextlib.contextmanager
def crew(parties: int) -> Iterator[Crew]:
    yield Crew(parties)


def _together(works: Sequence[Callable[[int], Any]], where: Sequence[str]) -> list[Any]:
    """What each gives, run at the same time in a thread of its own. AssertionError with what failed."""
    found: dict[int, Any] = {}
    failed: list[str] = []

    def thread(index: int) -> None:
        try:
            with _own_stream() if where[index] == "cuda" else contextlib.nullcontext():
                found[index] = works[index](index)
        except Exception:
            failed.append(traceback.format_exc())

    threads = [threading.Thread(target=thread, args=(index,), daemon=True) for index in range(len(works))]
    for one in threads:
        one.start()
    while any(one.is_alive() for one in threads) and not failed:
        for one in threads:
            one.join(0.05)
    assert not failed, "\n".join(failed)
    return [found[index] for index in range(len(works))]


def _own_stream() -> Any:
    cuda: Any = torch.cuda
    return cuda.stream(cuda.Stream())


def _function(path: str) -> Any:
    """"module:function" imported."""
    module, _, function = path.partition(":")
    return getattr(importlib.import_module(module), function)


def _one_kernel_at_a_time() -> None:
    """Triton's interpreter keeps its state in the module."""
    interpreter = importlib.import_module("triton.runtime.interpreter")
    run = interpreter.InterpretedFunction.run
    if getattr(run, "locked", False):
        return
    lock = threading.RLock()

    def locked(*args: Any, **kwargs: Any) -> Any:
        with lock:
            return run(*args, **kwargs)

    locked.locked = True  # type: ignore[attr-defined]
    interpreter.InterpretedFunction.run = locked
