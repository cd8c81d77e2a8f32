"""An owner's ledger: what differentially private answers have cost its units, never forgotten (privacy.md, 'Budget').

One SQLite file in WAL mode, synchronous FULL: what `reserve` and `spend` have returned from outlives a crash. Entries are
chained by SHA-256 and numbered; the head goes into receipts, signed with the ledger's own key, which the other owners keep:
an old copy of the file that is put back is behind what they hold, and refused. Several processes may share one file.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sdh.accounting import Charge, Spending, in_delta, in_epsilon, spending
from sdh.errors import BudgetSpent, CorruptLedger, LedgerBehind

EVERYBODY = "*"
"""As a receiver: the budget that all share."""
RESERVE, SPENT, CANCELLED, BUDGET = "reserve", "spent", "cancelled", "budget"
"""Kinds of entries. A RESERVE without CANCELLED counts as spent, whatever became of its run."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS owner (name TEXT NOT NULL, key BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS entries (
    seq INTEGER PRIMARY KEY, at TEXT NOT NULL, kind TEXT NOT NULL, of INTEGER NOT NULL, space TEXT NOT NULL,
    receiver TEXT NOT NULL, epsilon INTEGER NOT NULL, delta INTEGER NOT NULL, question TEXT NOT NULL, events TEXT NOT NULL,
    head BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS peers (name TEXT PRIMARY KEY, key BLOB NOT NULL, seq INTEGER NOT NULL, head BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS answers (question TEXT PRIMARY KEY, session TEXT NOT NULL, payload BLOB NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Row:
    """An entry. of: the RESERVE that a SPENT or CANCELLED is about, else its own number. head: of the chain, 32 bytes."""

    seq: int
    at: str
    kind: str
    of: int
    space: str
    receiver: str
    epsilon: int
    delta: int
    question: str
    events: tuple[str, ...]
    head: bytes

    def charge(self, party: str) -> Charge:
        return Charge(party, self.space, self.receiver, self.epsilon, self.delta, self.events)


@dataclass(frozen=True, slots=True)
class Receipt:
    """How far an owner's ledger has come. key: 32 bytes of Ed25519; signature: of all else and of the run's digest."""

    name: str
    seq: int
    head: bytes
    key: bytes
    signature: bytes

    def signed(self, run: bytes) -> bytes:
        return json.dumps([self.name, self.seq, self.head.hex(), run.hex()]).encode()

    def to_message(self) -> dict[str, object]:
        return {"name": self.name, "seq": self.seq, "head": self.head.hex(), "key": self.key.hex(),
                "signature": self.signature.hex()}


def receipt_from_message(message: dict[str, object]) -> Receipt:
    """Raises ValueError, KeyError."""
    texts = [bytes.fromhex(str(message[name])) for name in ("head", "key", "signature")]
    return Receipt(str(message["name"]), int(str(message["seq"])), *texts)


Peers = dict[str, tuple[bytes, int, bytes]]
"""Of other owners' ledgers by name: key, number of the last entry seen, head."""


class Ledger:
    """The ledger of the owner `name` in the file `path`, made where there is none. Raises CorruptLedger."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        with _told(path):
            fresh = not path.exists()
            self._connection = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
            if fresh:
                os.chmod(path, 0o600)
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "fullfsync=ON"):
                self._connection.execute(f"PRAGMA {pragma}").fetchall()
            self._connection.executescript(_SCHEMA)
            self._key = self._owner()
            self._verify()

    def close(self) -> None:
        self._connection.close()

    @property
    def salt(self) -> bytes:
        """A secret of this ledger, for ids that nobody else can try values against."""
        return hashlib.sha256(b"sdh ledger salt" + self._key.private_bytes_raw()).digest()

    def _owner(self) -> Ed25519PrivateKey:
        with self._writing():
            row = self._connection.execute("SELECT name, key FROM owner").fetchone()
            if row is None:
                key = Ed25519PrivateKey.generate()
                self._connection.execute("INSERT INTO owner VALUES (?, ?)", (self.name, key.private_bytes_raw()))
                return key
        if row[0] != self.name:
            raise CorruptLedger(f"{self.path.name} is the ledger of {row[0]}, not of {self.name}.",
                                advice="Give each owner a ledger of its own.")
        return Ed25519PrivateKey.from_private_bytes(row[1])

    def _verify(self) -> None:
        """The chain is whole."""
        head = b""
        for place, row in enumerate(self.rows(), 1):
            head = _chained(head, row)
            if row.seq != place or row.head != head:
                raise CorruptLedger(f"The ledger {self.path.name} was changed at entry {place}.",
                                    advice="No budget can be trusted to it: put the last good copy back.")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction, durable when it ends; other processes wait. Raises CorruptLedger: locked for long, a full disk."""
        with _told(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):   # a full disk has rolled it back already
                    self._connection.execute("ROLLBACK")
                raise

    # --- entries ---

    def rows(self) -> list[Row]:
        """All entries, the first first."""
        found = self._connection.execute("SELECT * FROM entries ORDER BY seq").fetchall()
        return [Row(seq, at, kind, of, space, receiver, epsilon, delta, question, tuple(json.loads(events)), head)
                for seq, at, kind, of, space, receiver, epsilon, delta, question, events, head in found]

    def _append(self, kind: str, of: int, charge: Charge, question: str) -> int:
        """Within a transaction."""
        seq, head = self._connection.execute("SELECT coalesce(max(seq), 0), (SELECT head FROM entries ORDER BY seq DESC LIMIT 1) "
                                             "FROM entries").fetchone()
        row = Row(seq + 1, datetime.now(UTC).isoformat(timespec="seconds"), kind, of or seq + 1, charge.space, charge.receiver,
                  charge.epsilon, charge.delta, question, charge.events, b"")
        self._connection.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (
            row.seq, row.at, row.kind, row.of, row.space, row.receiver, row.epsilon, row.delta, row.question,
            json.dumps(row.events), _chained(head or b"", row)))
        return row.seq

    def charges(self, space: str, receiver: str) -> list[Charge]:
        """What counts as spent by a receiver ('*': by all together)."""
        return self._charges(self.rows(), space, receiver)

    def _charges(self, rows: Sequence[Row], space: str, receiver: str) -> list[Charge]:
        cancelled = {row.of for row in rows if row.kind == CANCELLED}
        return [row.charge(self.name) for row in rows if row.kind == RESERVE and row.seq not in cancelled
                and row.space == space and receiver in (EVERYBODY, row.receiver)]

    def budgets(self) -> list[tuple[str, str, int, int]]:
        """(space, receiver, epsilon, delta) in units, as last set."""
        return [(*account, *limit) for account, limit in sorted(_budgets(self.rows()).items())]

    def set_budget(self, space: str, receiver: str, epsilon: int, delta: int) -> None:
        """From now on; what was spent stays spent."""
        with self._writing():
            self._append(BUDGET, 0, Charge(self.name, space, receiver, epsilon, delta), "")

    # --- a question's charge ---

    def reserve(self, charge: Charge, question: str) -> int:
        """Durable when it returns: the entry's number. Raises BudgetSpent, which says what is left."""
        with self._writing():
            rows = self.rows()
            budgets = _budgets(rows)
            limits = {receiver: budgets.get((charge.space, receiver)) for receiver in (charge.receiver, EVERYBODY)}
            if not any(limits.values()):
                raise BudgetSpent(f"{self.name} has no budget for {charge.receiver} in {charge.space}.",
                                  advice="Ask the owner for one (sdh budget set).")
            for receiver, limit in limits.items():
                if limit is not None:
                    self._require(charge, receiver, limit, spending(self._charges(rows, charge.space, receiver)))
            return self._append(RESERVE, 0, charge, question)

    def _require(self, charge: Charge, receiver: str, limit: tuple[int, int], spent: Spending) -> None:
        if spent.plus(charge).within(*limit):
            return
        whose = "all receivers together" if receiver == EVERYBODY else receiver
        raise BudgetSpent(f"{self.name}'s budget of {whose} does not cover epsilon {in_epsilon(charge.epsilon)}: "
                          f"{_left(spent, limit)}.", advice="Ask with less epsilon, or ask the owner for more.")

    def cancel(self, entry: int) -> None:
        """Nothing of the question's run was shared: it costs nothing."""
        with self._writing():
            self._settle(CANCELLED, entry)

    def spend(self, entries: Sequence[int], question: str, session: str, payload: bytes) -> None:
        """Durable before anything of the answer leaves; and this owner's part of it, for whoever asks the same again."""
        with self._writing():
            for entry in entries:
                self._settle(SPENT, entry)
            self._connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", (question, session, payload))

    def _settle(self, kind: str, entry: int) -> None:
        row = next(row for row in self.rows() if row.seq == entry)
        self._append(kind, entry, row.charge(self.name), row.question)

    # --- answers ---

    def answer(self, question: str) -> tuple[str, bytes] | None:
        """The session and this owner's part of an answer that was given before."""
        found = self._connection.execute("SELECT session, payload FROM answers WHERE question = ?", (question,)).fetchone()
        return None if found is None else (str(found[0]), bytes(found[1]))

    # --- receipts ---

    def receipt(self, run: bytes) -> Receipt:
        """How far this ledger has come, for the other owners of a run."""
        row = self._connection.execute("SELECT seq, head FROM entries ORDER BY seq DESC LIMIT 1").fetchone() or (0, b"")
        key = self._key.public_key().public_bytes_raw()
        unsigned = Receipt(self.name, row[0], row[1], key, b"")
        return Receipt(self.name, row[0], row[1], key, self._key.sign(unsigned.signed(run)))

    def peers(self) -> Peers:
        """What is kept of the others: taken before a run's nonces are told, it is what their receipts are held against."""
        return {name: (key, seq, head) for name, key, seq, head in self._connection.execute("SELECT * FROM peers")}

    def holds(self, seq: int, head: bytes) -> bool:
        """Whether the entry that another owner saw last is in this chain: an old copy that went on since has another there."""
        found = self._connection.execute("SELECT head FROM entries WHERE seq = ?", (seq,)).fetchone()
        return seq == 0 or found is not None and bytes(found[0]) == head

    def accept(self, receipts: Sequence[Receipt], run: bytes, before: Peers) -> None:
        """Keep the other owners' receipts. Raises LedgerBehind for one that is behind what was kept `before` the run began
        (runs beside it may bring later ones in the meantime), or is not signed with the key that was."""
        for receipt in receipts:
            self._check(receipt, run, before.get(receipt.name))
        with self._writing():
            for receipt in receipts:
                self._connection.execute(
                    "INSERT INTO peers VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET seq = excluded.seq, "
                    "head = excluded.head WHERE excluded.seq > peers.seq",
                    (receipt.name, receipt.key, receipt.seq, receipt.head))

    def _check(self, receipt: Receipt, run: bytes, kept: tuple[bytes, int, bytes] | None) -> None:
        try:
            Ed25519PublicKey.from_public_bytes(receipt.key).verify(receipt.signature, receipt.signed(run))
        except (InvalidSignature, ValueError):
            raise LedgerBehind(f"The receipt of {receipt.name}'s ledger is not signed by it.",
                               advice="Nothing was shared.") from None
        if kept is None:
            return
        key, seq, head = kept
        if key != receipt.key or receipt.seq < seq or receipt.seq == seq and receipt.head != head:
            raise LedgerBehind(f"The ledger of {receipt.name} is not the one that {self.name} saw last: an old copy, or another.",
                               advice="Its owner has to put the latest back; nothing was shared.")


def owner_of(path: Path) -> str:
    """Whose ledger a file is. Raises CorruptLedger."""
    if not path.is_file():
        raise CorruptLedger(f"There is no ledger {path}.", advice="Give the file that attach() was given as ledger=.")
    with _told(path):
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=60)
        try:
            row = connection.execute("SELECT name FROM owner").fetchone()
        finally:
            connection.close()
    if row is None:
        raise CorruptLedger(f"The ledger {path.name} has no owner.")
    return str(row[0])


def _budgets(rows: Sequence[Row]) -> dict[tuple[str, str], tuple[int, int]]:
    """(epsilon, delta) in units by (space, receiver), as last set."""
    return {(row.space, row.receiver): (row.epsilon, row.delta) for row in rows if row.kind == BUDGET}


def _chained(head: bytes, row: Row) -> bytes:
    told = [row.seq, row.at, row.kind, row.of, row.space, row.receiver, row.epsilon, row.delta, row.question, list(row.events)]
    return hashlib.sha256(head + json.dumps(told).encode()).digest()


def _left(spent: Spending, limit: tuple[int, int]) -> str:
    left = max(0, limit[0] - spent.at(limit[1]))
    return f"epsilon {in_epsilon(left)} of {in_epsilon(limit[0])} is left (delta {in_delta(limit[1])})"


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.DatabaseError, OSError) as fault:
        raise CorruptLedger(f"The ledger {path.name} cannot be used ({type(fault).__name__}).",
                            advice="Give the path of a ledger, or of a new file in a folder that can be written.") from None
