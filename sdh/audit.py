"""Records. `Reveal`: one entry for each thing that leaves the shares or a party. `Entry`: a party's own book of the
questions it answered, kept for its owner alone. Standard library only.

Work on clear data takes longer for some data than for other, so its seconds stay with the owner of that data: they are
written into the book, in a folder that the owner names to its own node (the variable SDH_AUDIT of the node's
environment; without it no book is kept), and are in no message to the hub, the dealer or another party. `sdh audit`
prints a book.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

VARIABLE = "SDH_AUDIT"


@dataclass(frozen=True, slots=True, order=True)
class Reveal:
    """`what` is shown `to` a receiver for `reason`. EXPLAIN lists a plan's reveals; a run passes the same to `reveal`.

    reason: 'result' (the released rows), 'error' (one bit: did any operator fail), 'slots' (a padded count).
    to: a party, client or 'everyone'.
    """

    reason: str
    what: str
    to: str

    def __str__(self) -> str:
        return f"{self.what} -> {self.to} ({self.reason})"


def reasons(reveals: Iterable[Reveal]) -> list[list[str]]:
    """[reason, receiver] of all but sizes, which are announced before a run, in order."""
    return sorted([one.reason, one.to] for one in reveals if one.reason != "slots")


@dataclass(frozen=True, slots=True)
class Entry:
    """A question that a party answered. when: UTC, ISO 8601. plan, session: digests.

    clear: seconds of the party's work on its clear data, by step. shared: of the run on shares, by operator.
    """

    when: str
    client: str
    question: str
    plan: str
    session: str
    revealed: tuple[str, ...]
    clear: Mapping[str, float]
    shared: Mapping[str, float]


def book_of(party: str) -> Path | None:
    """Where this process keeps the party's book, if its owner wants one."""
    folder = os.environ.get(VARIABLE)
    return Path(folder) / f"{party}.jsonl" if folder else None


def write(book: Path, entry: Entry) -> None:
    """Append an entry, in one piece, to a book that its owner alone can read. Raises OSError."""
    book.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    line = json.dumps(asdict(entry), ensure_ascii=False).encode() + b"\n"
    file = os.open(book, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line)
    finally:
        os.close(file)


def read(book: Path) -> Iterator[Entry]:
    """The entries, oldest first. Raises OSError; ValueError for what is no book."""
    with book.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                found = json.loads(line)
                yield Entry(**found | {"revealed": tuple(found["revealed"])})
            except (TypeError, KeyError) as error:
                raise ValueError(str(error)) from None
