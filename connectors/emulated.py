"""An emulated network for benchmarks: a bandwidth and a delay in front of a connection on one machine.

What is sent at time t leaves when all that was sent before it has left, takes size / bandwidth to leave, and arrives
`delay` later. The sender waits only while more than a socket's buffer has yet to leave. Each end emulates what it sends,
so a link needs both ends; links share nothing.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass

from sdh.connectors.wire import Buffer, Connection

UNSENT = 1 << 22
"""Bytes that may wait to leave: what Linux lets a TCP socket's buffer grow to."""
_NETWORK = re.compile(r"(\d+(?:\.\d+)?)([kmg]?)bit,(\d+(?:\.\d+)?)(us|ms|s)")
_PREFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True, slots=True)
class Network:
    """`bandwidth` in bits per second each way; `delay` in seconds one way: half of a round trip."""

    bandwidth: float
    delay: float


def parse_network(text: str) -> Network:
    """`1gbit,20ms`: the bandwidth each way and the time of a *round trip*. Raises ValueError."""
    found = _NETWORK.fullmatch(text)
    if found is None or float(found[1]) == 0:
        raise ValueError(f"{text!r} is no network such as 1gbit,20ms: bits per second each way, time of a round trip.")
    return Network(float(found[1]) * _PREFIXES[found[2]], float(found[3]) * _SECONDS[found[4]] / 2)


def emulate(connection: Connection, network: Network) -> Connection:
    """The same connection with what this end sends on such a network. As with a socket, what was sent before a
    shutdown still arrives."""
    return _Emulated(connection, network)


class _Emulated:
    def __init__(self, connection: Connection, network: Network) -> None:
        self._connection, self._network = connection, network
        self._line_free = 0.0
        """When all that was sent will have left; like all times here, of time.monotonic."""
        self._under_way: deque[tuple[float, bytes]] = deque()
        self._changed = threading.Condition()
        self._ended = False
        threading.Thread(target=self._deliver, daemon=True, name="emulated network").start()

    def send(self, data: Buffer, flags: int = 0, /) -> int:
        with self._changed:
            while not self._ended and (wait := self._wait()) > 0:
                if flags & socket.MSG_DONTWAIT:
                    raise BlockingIOError
                self._changed.wait(wait)
            if self._ended:
                raise BrokenPipeError
            self._line_free = max(self._line_free, time.monotonic()) + 8 * len(data) / self._network.bandwidth
            self._under_way.append((self._line_free + self._network.delay, bytes(data)))
            self._changed.notify_all()
        return len(data)

    def sendall(self, data: Buffer, /) -> None:
        self.send(data)

    def recv_into(self, buffer: memoryview, /) -> int:
        return self._connection.recv_into(buffer)

    def shutdown(self, how: int, /) -> None:
        del how   # links end both directions
        self._end()
        self._connection.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        self._end()

    def _end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _wait(self) -> float:
        """Seconds until there is room in the buffer."""
        return self._line_free - time.monotonic() - 8 * UNSENT / self._network.bandwidth

    def _deliver(self) -> None:
        with contextlib.suppress(OSError):
            while (next_ := self._next()) is not None:
                due, data = next_
                time.sleep(max(0.0, due - time.monotonic()))
                self._connection.sendall(data)
        self._end()
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def _next(self) -> tuple[float, bytes] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._under_way or self._ended)
            return self._under_way.popleft() if self._under_way else None
