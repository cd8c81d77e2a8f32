"""What a hub starts, how long it waits, and what each process may use. Standard library only."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from sdh.errors import UnknownDeclaration


@dataclass(frozen=True, slots=True)
class Programs:
    """The modules that run as processes of their own (`python -m ...`). Tests put taped or broken ones here."""

    node: str = "sdh.node"
    dealer: str = "sdh.dealer"


@dataclass(frozen=True, slots=True)
class Limits:
    """start: seconds for a process to come up. stop: seconds for a node to end a query it was told to end."""

    start: float = 30.0
    stop: float = 1.5


PROGRAMS, LIMITS = Programs(), Limits()


MIB = 1 << 20
OVERHEAD, STACKS = 416 * MIB, 16 * MIB
"""Of a node before any rows: interpreter, libraries and what they keep (measured: 400 MiB), and for each more thread."""
MAPPED = 192 * MIB
"""Pages of libraries that count as a process's memory, but not for RLIMIT_DATA (measured: 188 MiB)."""
LEAST = 1024 * MIB
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b\s*", re.I)
_UNITS = " kmgt"


@dataclass(frozen=True, slots=True)
class Share:
    """One local process's part of this machine: torch and DuckDB threads, and bytes of memory in all."""

    threads: int
    memory: int

    @property
    def duckdb(self) -> int:
        """DuckDB's limit; beyond it DuckDB spills to the node's private folder."""
        return self.memory // 4

    @property
    def shares(self) -> int:
        """What is left for rows outside of DuckDB: fragments' results and all that is on shares."""
        return max(0, self.memory - self.duckdb - MAPPED - OVERHEAD - STACKS * (self.threads - 1))


def share_of_machine(processes: int, memory: int | None = None) -> Share:
    """Divide the cores, and without a `memory` for each three quarters of the memory, among so many processes."""
    threads = max(1, (os.cpu_count() or 1) // processes)
    return Share(threads, memory or max(LEAST, machine_memory() * 3 // 4 // processes))


def machine_memory() -> int:
    """Bytes of memory of this machine, or of the container (cgroup 2) that this process is in."""
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        allowed = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return size
    return min(size, int(allowed)) if allowed.isdigit() else size


def memory_from_text(text: str) -> int:
    """Bytes that a limit such as '2GiB' or '1.5 GB' stands for. Raises UnknownDeclaration for less than 1GiB."""
    found = _SIZE.fullmatch(text)
    size = 0
    if found is not None:
        number, unit, binary = found.groups()
        size = int(float(number) * (1024 if binary else 1000) ** _UNITS.index(unit.lower() or " "))
    if size < LEAST:
        raise UnknownDeclaration(f"{text!r} cannot be the memory limit of a process.",
                                 advice="Write a size such as '2GiB'; a node needs 1GiB at least.")
    return size
