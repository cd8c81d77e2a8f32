"""Measures links between two processes of this machine: python -m tests.bench.wire [--mib N] [--json].

Transports: `unix`; `tls`, TLS 1.3 over TCP; `tcp`, the yardstick of what TLS costs, on no path of the product. The frames
inside are the same, sealed. `sockets`: so many links at once, each with a thread at both ends and its part of the bytes.
One way, in frames of 1 MiB; the best of some passes over all. `mb_per_cpu_s` counts both processes' seconds on a core.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import socket
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, process_time

from sdh.connectors.tls import accept_tls, dial_tls, listen_tls, new_credential
from sdh.connectors.wire import Connection, Identity, Link, handshake, new_identity

TRANSPORTS = ("unix", "tls", "tcp")
SOCKETS = (1, 2, 4)
PASSES = 3
FRAME = 1 << 20
ROUND_TRIPS = 500
Connect = Callable[[], Connection]


@dataclass(frozen=True, slots=True)
class Measured:
    """A line of output. MB are 10^6 bytes of payload; a round trip carries 16 bytes each way."""

    transport: str
    sockets: int
    mb_per_s: int
    mb_per_cpu_s: int
    round_trip_us: int


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.wire", description=__doc__)
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    runs = [(transport, sockets) for transport in TRANSPORTS for sockets in SOCKETS]
    passes = [[measure(*run, options.mib) for run in runs] for _ in range(PASSES)]
    found = [max(tried, key=lambda one: one.mb_per_s) for tried in zip(*passes, strict=True)]
    if options.json:
        print("\n".join(json.dumps(asdict(line)) for line in found))
        return
    print(f"{'transport':>9} {'sockets':>7} {'MB/s':>7} {'MB/CPU s':>8} {'round trip':>10}")
    for line in found:
        print(f"{line.transport:>9} {line.sockets:>7} {line.mb_per_s:>7} {line.mb_per_cpu_s:>8} {line.round_trip_us:>7} us")


def measure(transport: str, sockets: int, mib: int) -> Measured:
    """Receive `mib` MiB from a process that is started for it."""
    frames = max(1, (mib << 20) // FRAME // sockets)
    mine, theirs = new_identity("receiver"), new_identity("sender")
    with tempfile.TemporaryDirectory(prefix="sdh-bench-") as folder:
        accept, dial = _doors(transport, Path(folder))
        sender = multiprocessing.get_context("fork").Process(target=_send, args=(dial, theirs, mine.public, sockets, frames))
        sender.start()
        links = [handshake(accept(), mine, theirs.name, theirs.public, initiator=False, context=b"") for _ in range(sockets)]
    began = perf_counter()
    for _ in range(ROUND_TRIPS):
        links[0].send("ping", bytes(16))
        links[0].receive("ping", 16)
    round_trip = (perf_counter() - began) / ROUND_TRIPS
    spent, began = process_time(), perf_counter()
    _at_once(links, lambda link: _take_frames(link, frames))
    seconds, spent = perf_counter() - began, process_time() - spent
    spent += links[0].receive_message()["spent"]
    for link in links:
        link.close()
    sender.join()
    size = frames * sockets * FRAME / 1e6
    return Measured(transport, sockets, round(size / seconds), round(size / spent), round(1e6 * round_trip))


def _send(dial: Connect, mine: Identity, peer: bytes, sockets: int, frames: int) -> None:
    """The other process."""
    links = [handshake(dial(), mine, "receiver", peer, initiator=True, context=b"") for _ in range(sockets)]
    for _ in range(ROUND_TRIPS):
        links[0].send("ping", links[0].receive("ping", 16))
    payload, spent = random.randbytes(FRAME), process_time()
    _at_once(links, lambda link: _give_frames(link, payload, frames))
    links[0].send_message({"spent": process_time() - spent})
    for link in links:
        link.close()


def _take_frames(link: Link, frames: int) -> None:
    buffer = bytearray(FRAME)
    link.send("go", b"")
    for _ in range(frames):
        link.receive_into("frame", buffer)


def _give_frames(link: Link, payload: bytes, frames: int) -> None:
    link.receive("go", 0)
    for _ in range(frames):
        link.send_paced("frame", payload)


def _at_once(links: Sequence[Link], work: Callable[[Link], None]) -> None:
    threads = [threading.Thread(target=work, args=(link,)) for link in links]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _doors(transport: str, folder: Path) -> tuple[Connect, Connect]:
    """What accepts a connection and what makes one."""
    if transport == "unix":
        door = socket.socket(socket.AF_UNIX)
        door.bind(str(folder / "door"))
        door.listen()
        return lambda: door.accept()[0], lambda: _dial_unix(str(folder / "door"))
    listener = listen_tls("127.0.0.1", 0)
    address = listener.getsockname()
    if transport == "tcp":
        return lambda: _at_speed(listener.accept()[0]), lambda: _at_speed(socket.create_connection(address))
    mine, theirs = (new_credential(_made(folder / name), name) for name in ("receiver", "sender"))
    pins = {"sender": theirs.pin}
    return (lambda: accept_tls(listener.accept()[0], mine, pins)[1],
            lambda: dial_tls(address, theirs, "receiver", mine.pin))


def _dial_unix(address: str) -> Connection:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    return connection


def _at_speed(connection: socket.socket) -> Connection:
    """A small frame leaves at once, as tls.py sees to for itself."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    main()
