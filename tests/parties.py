"""A harness for protocols: n party processes and a dealer, with real links between them.

A test names a *program*: a function `program(session, **arguments)` in a test module, called at every party; it
returns JSON values, which the test gets by rank. Every run checks that the program drew and cost what its trace said
and left torch's generators alone. Processes are started once per number of parties and session.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import secrets
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from sdh.connectors.emulated import emulate, parse_network
from sdh.connectors.wire import Connection, Identity, Link, handshake, new_identity
from sdh.executors import dealing
from sdh.planners.comparing import LOCAL, Network
from sdh.processes import HUGE_PAGES

DEALER = "dealer"


class Pool:
    """n parties and a dealer. `run` calls a program at every party and returns what each returned.

    `network`, such as 1gbit,20ms, is put between all of them; '' leaves the machine's own speed.
    """

    def __init__(self, parties: int, network: str = "") -> None:
        self.parties, self.network = parties, network
        self.dealer_peak = 0
        """Bytes of memory that the dealer had held at most when the last run ended."""
        self._members: list[subprocess.Popen[bytes]] = []
        self._controls: list[socket.socket] = []
        self._start()

    def _start(self) -> None:
        parties = self.parties
        names = [*(f"party{rank}" for rank in range(parties)), DEALER]
        keys = [secrets.token_bytes(32) for _ in names]
        pairs = {(a, b): socket.socketpair() for a in range(len(names)) for b in range(a + 1, len(names))}
        for me in range(len(names)):
            mine, theirs = socket.socketpair()
            ends = {(b if a == me else a): pair[0 if a == me else 1]
                    for (a, b), pair in pairs.items() if me in (a, b)}
            start = {"me": me, "names": names, "key": keys[me].hex(), "public": [_public(key) for key in keys],
                     "network": self.network,
                     "control": theirs.fileno(), "links": {str(peer): end.fileno() for peer, end in ends.items()}}
            self._members.append(subprocess.Popen(
                [sys.executable, "-m", "tests.parties", json.dumps(start)],
                pass_fds=[theirs.fileno(), *(end.fileno() for end in ends.values())],
                env={"GLIBC_TUNABLES": HUGE_PAGES, **os.environ, "OMP_NUM_THREADS": "1"}))
            theirs.close()
            self._controls.append(mine)
        for pair in pairs.values():
            for end in pair:
                end.close()

    def run(self, program: str, per_rank: list[dict[str, Any]] | None = None, /, *, digest: bytes | None = None,
            tamper: str = "", start: str = "", device: str = "cpu", **arguments: Any) -> list[Any]:
        """`program` is "module:function". `per_rank` adds arguments by rank. A failure raises AssertionError.

        `start` is another: start(rank, links, **arguments) runs at every party when all is traced and nothing is dealt
        yet, and gives further arguments of the program's run (not of its trace): what a benchmark's clock leaves out.
        """
        if not self._members:
            self._start()
        digest = digest or secrets.token_bytes(32)
        for rank, control in enumerate(self._controls):
            extra = per_rank[rank] if per_rank and rank < self.parties else {}
            _write(control, {"program": program, "digest": digest.hex(), "tamper": tamper,
                             "start": start, "device": device, "network": self.network, "arguments": {**arguments, **extra}})
        answers = [_read(control) for control in self._controls]
        failed = [answer["error"] for answer in answers if "error" in answer]
        if failed:
            self.close()
        assert not failed, "\n".join(failed)
        self.dealer_peak = answers[-1]["value"]
        return [answer["value"] for answer in answers[:self.parties]]

    def close(self) -> None:
        for control in self._controls:
            control.close()
        for member in self._members:
            try:
                member.wait(timeout=5)
            except subprocess.TimeoutExpired:
                member.kill()
                member.wait()
        self._members, self._controls = [], []


@contextlib.contextmanager
def pool(parties: int, network: str = "") -> Iterator[Pool]:
    started = Pool(parties, network)
    try:
        yield started
    finally:
        started.close()


def peak_rss() -> int:
    """Bytes of memory that this process has held at most since it began (ru_maxrss would count its parent's too)."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def _public(key: bytes) -> str:
    return _identity("", key).public.hex()


def _identity(name: str, key: bytes) -> Identity:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    return Identity(name, X25519PrivateKey.from_private_bytes(key))


def link_pair(first: str = "a", second: str = "b") -> tuple[Link, Link]:
    """Two linked ends in this process."""
    import threading
    left, right = socket.socketpair()
    a, b = new_identity(first), new_identity(second)
    found: list[Link] = []
    thread = threading.Thread(target=lambda: found.append(
        handshake(right, b, first, a.public, initiator=False, context=b"test")))
    thread.start()
    link = handshake(left, a, second, b.public, initiator=True, context=b"test")
    thread.join()
    return link, found[0]


def _write(control: socket.socket, message: dict[str, Any]) -> None:
    data = json.dumps(message).encode()
    control.sendall(len(data).to_bytes(8, "little") + data)


def _read(control: socket.socket) -> dict[str, Any]:
    size = int.from_bytes(_exactly(control, 8), "little")
    message: dict[str, Any] = json.loads(_exactly(control, size))
    return message


def _exactly(control: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        more = control.recv(min(size - len(data), 1 << 20))
        if not more:
            raise EOFError
        data += more
    return bytes(data)


# --- in the processes ---

def _main(start: dict[str, Any]) -> None:
    me, names = start["me"], start["names"]
    identity = _identity(names[me], bytes.fromhex(start["key"]))
    links = {}
    for peer in sorted(int(peer) for peer in start["links"]):
        connection: Connection = socket.socket(fileno=start["links"][str(peer)])
        if start["network"]:
            connection = emulate(connection, parse_network(start["network"]))
        links[peer] = handshake(connection, identity, names[peer], bytes.fromhex(start["public"][peer]),
                                initiator=me < peer, context=b"tests")
    control = socket.socket(fileno=start["control"])
    work = _deal if names[me] == DEALER else _compute
    while True:
        try:
            order = _read(control)
        except EOFError:
            return
        try:
            answer: dict[str, Any] = {"value": work(me, names, links, order)}
        except Exception:
            answer = {"error": f"{names[me]}: {traceback.format_exc()}"}
        _write(control, answer)
        if "error" in answer:
            return


def _deal(me: int, names: list[str], links: dict[int, Link], order: dict[str, Any]) -> int:
    from sdh.connectors.wire import session_seed
    digest = bytes.fromhex(order["digest"])
    items = dealing.list_from_json(links[0].receive_message()["list"], me)
    if order["tamper"] == "skip":
        items = items[1:]
    seeds = [session_seed(links[rank].secret, digest) for rank in range(me)]
    engine = dealing.NUMPY
    if order["device"] == "cuda":
        import torch

        from sdh.executors import cuda
        engine = cuda.engine(torch.device("cuda"))
    dealing.serve(items, seeds, lambda rank, address, correction: links[rank].send_paced(address, correction), engine)
    return peak_rss()


def _compute(me: int, names: list[str], links: dict[int, Link], order: dict[str, Any]) -> Any:
    import torch

    from sdh.executors import crypten_seam, runtime, tracing
    torch.set_num_threads(1)
    program, arguments = _function(order["program"]), order["arguments"]
    parties, peers = names[:-1], {peer: link for peer, link in links.items() if peer < len(names) - 1}

    def installed(session: runtime.Session) -> Any:
        with crypten_seam.installed(session):
            return program(session, **arguments)

    network = _planned(order["network"])
    items, meter = tracing.trace(installed, parties, me, network)
    if order["start"]:
        arguments = {**arguments, **_function(order["start"])(me, peers, **arguments)}
    if me == 0:
        links[len(parties)].send_message({"list": dealing.list_to_json(items)})
    session = runtime.Session(me, parties, peers, links[len(parties)], bytes.fromhex(order["digest"]), expected=items,
                              device=order["device"], network=network)
    state = [torch.random.get_rng_state(), torch.default_generator.get_state()]
    value = installed(session)
    assert session.items == items, "the trace and the run drew different randomness"
    traced, measured = ({label: (cost.sent, cost.rounds, cost.dealt) for label, cost in found.operators.items()}
                        for found in (meter, session.meter))
    assert traced == measured, "the trace and the run cost differently"
    after = [torch.random.get_rng_state(), torch.default_generator.get_state()]
    assert all(torch.equal(a, b) for a, b in zip(state, after, strict=True)), "a torch generator was used"
    return value


def _planned(network: str) -> Network:
    """An emulated network as plans take it: the processors' share stays that of one machine."""
    if not network:
        return LOCAL
    found = parse_network(network)
    return replace(LOCAL, bandwidth=int(found.bandwidth / 8), delay=LOCAL.delay + int(found.delay * 1e9))


def _function(path: str) -> Any:
    """"module:function" imported."""
    module, _, function = path.partition(":")
    return getattr(importlib.import_module(module), function)


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
