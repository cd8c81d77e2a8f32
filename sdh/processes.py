"""The hub's side of a process: starting a program, its control link, its last words, its end.

A program is `python -m <module>`, never the user's script imported again, so scripts need no main guard.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import site
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from time import monotonic
from typing import Any

from sdh.config import Share
from sdh.connectors.wire import Identity, Link, handshake
from sdh.errors import DealerLost, PartyLost, ProtocolError, SdhError
from sdh.serving import Start, dial
from sdh.session import DEALER, Member

HUGE_PAGES = "glibc.malloc.hugetlb=1"
"""Of two megabytes for arrays: faulting in small ones took a fifth of the time of comparisons and products."""
LAST_LINES = 12
LONGEST_LINE = 300
LONGEST_SOCKET_PATH = 100
"""Unix socket paths have 108 bytes at most (104 on other systems), with the closing zero."""


@dataclass(frozen=True, slots=True)
class Event:
    """What the hub hears: a message of a process, its end (`message` is None), or of the hub itself (no sender)."""

    sender: Process | None
    message: dict[str, Any] | None
    pieces: tuple[bytes, ...] = ()


Events = SimpleQueue["Event"]


def private_folder() -> Path:
    """A new folder of mode 0700 with a path short enough for sockets within."""
    for parent in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        with contextlib.suppress(OSError):
            folder = Path(tempfile.mkdtemp(prefix="sdh-", dir=parent))
            if len(os.fsencode(folder)) + len("/9999/door") <= LONGEST_SOCKET_PATH:
                return folder
            folder.rmdir()
    raise PartyLost("There is no temporary folder with a short path.", advice="Set TMPDIR to one, such as /tmp.")


@dataclass(slots=True, eq=False)
class Process:
    """A node or the dealer, from its start to its end. Made by `launch`; `ready` makes it answer."""

    name: str
    folder: Path
    popen: subprocess.Popen[bytes]
    events: Events
    tail: deque[str]
    log: threading.Thread
    member: Member | None = None
    link: Link | None = None

    @property
    def title(self) -> str:
        return "The dealer" if self.name == DEALER else f"The node of {self.name}"

    @property
    def alive(self) -> bool:
        return self.popen.poll() is None

    def ready(self, identity: Identity, seconds: float) -> Member:
        """Wait until the process answers, connect to it and listen.

        Raises PartyLost or DealerLost when it does not answer, ProtocolError when it answers something else.
        """
        if self.member is not None:
            return self.member
        member = self._greeting(self._first_line(seconds))
        try:
            self.link = handshake(dial(member.address, "control"), identity, self.name, member.public,
                                  initiator=True, context=b"control")
        except PartyLost:   # its last words say more
            raise self.lost("It did not start.") from None
        self.member = member
        threading.Thread(target=_listen, args=(self, self.link), daemon=True, name=f"from {self.name}").start()
        return member

    def send(self, message: dict[str, Any]) -> None:
        """Raises PartyLost when the process is gone."""
        if self.link is None:
            raise self.lost()
        self.link.send_message(message)

    def lost(self, advice: str = "It is started again at the next use.") -> PartyLost | DealerLost:
        """The error for a process that is gone."""
        return (DealerLost if self.name == DEALER else PartyLost)(self.last_words(), advice=advice)

    def last_words(self) -> str:
        """How the process ended, and the last line it wrote."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(1.0)   # its connections end a moment before it does
            self.log.join(1.0)
        code = self.popen.poll()
        manner = ("ended" if code is None else f"was killed by signal {-code}" if code < 0
                  else f"ended with exit code {code}")
        tail = [line for line in self.tail if line.strip()]
        return f"{self.title} {manner}" + (f": {tail[-1].strip()}" if tail and code is not None and code > 0 else ".")

    def kill(self) -> None:
        """End the process at once and remove its folder."""
        self.popen.kill()
        self.popen.wait()
        if self.link is not None:
            self.link.cut()
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _greeting(self, line: bytes) -> Member:
        try:
            words = json.loads(line)
            return Member(self.name, bytes.fromhex(words["public"]), str(words["address"]))
        except (ValueError, TypeError, KeyError):
            raise ProtocolError(f"{self.title} did not greet the hub as it should.") from None

    def _first_line(self, seconds: float) -> bytes:
        assert self.popen.stdout is not None
        watch, line, end = select.poll(), b"", monotonic() + seconds
        watch.register(self.popen.stdout, select.POLLIN | select.POLLHUP)
        while not line.endswith(b"\n"):
            if not watch.poll(max(0.0, end - monotonic()) * 1000):
                raise ProtocolError(f"{self.title} did not answer within {seconds:.0f} s of its start.")
            more = os.read(self.popen.stdout.fileno(), 4096)
            if not more:
                raise self.lost("It did not start.")
            line += more
        return line


def launch(module: str, name: str, identity: Identity, root: Path, number: int, share: Share,
           events: Events) -> Process:
    """Start a program and tell it who it is; it boots while the hub goes on."""
    folder = root / str(number)
    folder.mkdir(mode=0o700)
    start = Start(name, Member(identity.name, identity.public), os.getpid(), folder, root, share)
    popen = subprocess.Popen([sys.executable, "-P", "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, start_new_session=True, env=environment(os.environ, share.threads))
    tail: deque[str] = deque(maxlen=LAST_LINES)
    log = threading.Thread(target=_keep_tail, args=(popen, tail), daemon=True, name=f"log of {name}")
    log.start()
    assert popen.stdin is not None
    with contextlib.suppress(OSError):
        popen.stdin.write(json.dumps(start.to_message()).encode() + b"\n")
        popen.stdin.flush()
    return Process(name, folder, popen, events, tail, log)


def environment(base: Mapping[str, str], threads: int) -> dict[str, str]:
    """The hub's environment with hash seeds of the node's own, and SDH found where the hub found it.

    Allocators give memory back, reserve none ahead and share one heap: what they hold counts against the node's limit.
    """
    home = str(Path(__file__).parent.parent)
    paths = [path for path in base.get("PYTHONPATH", "").split(os.pathsep) if path]
    if home not in (*paths, *site.getsitepackages(), site.getusersitepackages()):
        paths.append(home)
    kept = {name: value for name, value in base.items() if name not in ("PYTHONHASHSEED", "PYTHONPATH")}
    libraries = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    libraries |= {"ARROW_DEFAULT_MEMORY_POOL": "system", "DUCKDB_JE_MALLOC_CONF": "retain:false", "MALLOC_ARENA_MAX": "1"}
    return {"GLIBC_TUNABLES": HUGE_PAGES} | kept | libraries | {"PYTHONPATH": os.pathsep.join(paths)}


def _keep_tail(popen: subprocess.Popen[bytes], tail: deque[str]) -> None:
    assert popen.stderr is not None
    with popen.stderr as log:
        for line in _lines(log.fileno()):
            tail.append(line)


def _lines(descriptor: int) -> Iterator[str]:
    """Lines cut to a bounded length, whatever is written."""
    rest = b""
    while more := os.read(descriptor, 4096):
        *lines, rest = (rest + more).split(b"\n")
        rest = rest[:LONGEST_LINE]
        yield from (line[:LONGEST_LINE].decode(errors="replace") for line in lines)
    if rest:
        yield rest.decode(errors="replace")


def _listen(process: Process, link: Link) -> None:
    """Hand every message over; a result's sealed pieces follow their message."""
    try:
        while True:
            message = link.receive_message()
            sizes = message.get("sizes", [])
            process.events.put(Event(process, message, tuple(link.receive("result", int(size)) for size in sizes)))
    except (SdhError, ValueError):
        pass
    try:
        process.popen.wait(1.0)
    except subprocess.TimeoutExpired:
        process.popen.kill()
        process.popen.wait()
    process.events.put(Event(process, None))
