"""What a differentially private answer costs, at one owner: reserved before anything is shared, spent before it leaves.

1. Whoever asks the same of the same data gets the same answer again: each owner sends what it sent, at no cost.
2. RESERVE, durably; receipts of all owners' ledgers go round, with what each saw last of the other; one that is behind what
   another holds, or went another way since, ends the run.
3. The run. 4. SPENT, durably, with this owner's part of the answer; only then does that leave.
A run that fails before 3 is cancelled; after that RESERVED counts as spent, whatever became of it (privacy.md, 'Budget').
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sdh.accounting import Charge
from sdh.connectors.ledger import Ledger, Peers, Receipt, receipt_from_message
from sdh.connectors.wire import Link
from sdh.errors import InternalError, LedgerBehind, ProtocolError


@dataclass(frozen=True, slots=True)
class Charging:
    """One owner's side of a question. charges: of all owners; question: of the plan and this owner's data; known:
    others' ledgers before it."""

    party: str
    ledger: Ledger | None
    known: Peers
    charges: tuple[Charge, ...]
    question: str

    @property
    def own(self) -> tuple[Charge, ...]:
        return tuple(charge for charge in self.charges if charge.party == self.party)

    def stored(self, links: Sequence[Link]) -> bytes | None:
        """This owner's part of an answer that all owners gave before, in one session."""
        if not self.charges:
            return None
        found = None if self.ledger is None else self.ledger.answer(self.question)
        session = "" if found is None else found[0]
        for link in links:
            link.send_message({"answer": session})
        told = {str(link.receive_message().get("answer")) for link in links}
        return found[1] if found is not None and told <= {session} else None

    @contextmanager
    def reserved(self, links: Sequence[Link], run: bytes) -> Iterator[list[int]]:
        """Steps 2 and 3: the numbers of this owner's entries, while the run goes on. Raises BudgetSpent, LedgerBehind."""
        entries = self._reserve()
        try:
            if self.charges:
                self._exchange(links, run)
        except BaseException:
            for entry in entries:
                self._ledger().cancel(entry)
            raise
        yield entries

    def spend(self, entries: Sequence[int], session: bytes, payload: bytes) -> None:
        """Step 4. An owner whom nothing is charged keeps its part as well, if it has a ledger."""
        if self.charges and self.ledger is not None:
            self.ledger.spend(entries, self.question, session.hex(), payload)

    def _reserve(self) -> list[int]:
        entries: list[int] = []
        try:
            for charge in self.own:
                entries.append(self._ledger().reserve(charge, self.question))
        except BaseException:
            for entry in entries:
                self._ledger().cancel(entry)
            raise
        return entries

    def _ledger(self) -> Ledger:
        if self.ledger is None:
            raise InternalError(f"{self.party} is charged and has no ledger.")
        return self.ledger

    def _exchange(self, links: Sequence[Link], run: bytes) -> None:
        """Receipts go to all; every owner that is charged has to have sent one, of a ledger that others know."""
        mine = None if self.ledger is None else self.ledger.receipt(run)
        for link in links:
            _, seq, head = self.known.get(link.peer, (b"", 0, b""))
            link.send_message({"receipt": mine and mine.to_message(), "seen": [seq, head.hex()]})
        told = [_received(link) for link in links]
        receipts = [receipt for receipt, _, _ in told if receipt is not None]
        if self.ledger is not None and not all(self.ledger.holds(seq, head) for _, seq, head in told):
            raise LedgerBehind(f"The ledger of {self.party} is not the one that another owner saw last: an old copy, or another.",
                               advice="Its owner has to put the latest back; nothing was shared.")
        charged = {charge.party for charge in self.charges} - {self.party}
        if not charged <= {receipt.name for receipt in receipts}:
            raise LedgerBehind("An owner that is charged sent no receipt of its ledger.", advice="Nothing was shared.")
        if self.ledger is not None:
            self.ledger.accept(receipts, run, self.known)


def _received(link: Link) -> tuple[Receipt | None, int, bytes]:
    """The peer's receipt, if it keeps a ledger; number and head of the entry that it saw last of this owner's ledger.

    Raises ProtocolError.
    """
    message: Mapping[str, Any] = link.receive_message()
    try:
        receipt = None if message["receipt"] is None else receipt_from_message(message["receipt"])
        seq, head = message["seen"]
        seen = int(seq), bytes.fromhex(head)
    except (KeyError, ValueError, TypeError):
        raise ProtocolError(f"{link.peer} sent a receipt that cannot be read.") from None
    if receipt is not None and receipt.name != link.peer:
        raise ProtocolError(f"{link.peer} sent the receipt of another owner.")
    return receipt, *seen
