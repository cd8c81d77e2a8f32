"""What a hub starts and how long it waits. Standard library only."""

from __future__ import annotations

import os
from dataclasses import dataclass


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


@dataclass(frozen=True, slots=True)
class Share:
    """One local process's part of this machine: torch and DuckDB threads, DuckDB's memory limit."""

    threads: int
    memory: str


def share_of_machine(processes: int) -> Share:
    """Divide the cores and three fifths of the memory among so many processes."""
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    megabytes = max(256, size * 3 // 5 // max(processes, 1) >> 20)
    return Share(max(1, (os.cpu_count() or 1) // max(processes, 1)), f"{megabytes}MB")
