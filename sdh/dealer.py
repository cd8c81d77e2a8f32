"""The dealer: a process of its own, operated by no party. `python -m sdh.dealer` is started by a hub.

It knows public sizes and every mask, and no data: no SQL, no names of columns, nothing that is opened. One session:

1. Handshake with every party; 32 fresh bytes to each, a commitment to its nonce part from each.
2. From each party the session digest and the digest of the dealing list, which must be equal at all.
3. From rank 0 the list itself, which must have that digest.
4. Corrections, item by item. For a prepared query they go to disk (sdh/ahead.py), the seeds are erased, and in the turn
   of its run the stream is marked used and sent.

numpy, cryptography and the standard library: no torch, no DuckDB.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sdh.ahead import Ahead
from sdh.connectors.wire import Identity, Link, handshake, session_seed
from sdh.errors import InternalError, PlanMismatch, ProtocolError
from sdh.executors import dealing
from sdh.serving import Door, Start, begin, control_link
from sdh.session import DIGEST, NONCE, Member, Nonces, member_from_message
from sdh.shelf import Shelf
from sdh.turn import Answer, Turn, Worker


@dataclass(frozen=True, slots=True)
class Deal:
    """A session that all parties agreed on: links and seeds by rank, and the dealing list."""

    links: tuple[Link, ...]
    seeds: tuple[bytes, ...]
    items: dealing.DealingList


@dataclass(frozen=True, slots=True)
class Dealt:
    """A session whose corrections are on disk: no seeds any more."""

    links: tuple[Link, ...]
    items: dealing.DealingList
    stream: Ahead

    def close(self) -> None:
        self.stream.close()


class Dealer:
    """Deals for a hub's queries: as they run, or ahead of a run."""

    def __init__(self, start: Start, identity: Identity, door: Door) -> None:
        self._start, self._identity, self._door = start, identity, door
        self._nonces, self._prepared = Nonces(), Shelf[Dealt]()

    def task(self, turn: Turn, message: dict[str, Any]) -> Answer:
        match message["do"]:
            case "deal":
                self._deal(turn, self._meet(turn, message))
            case "deal ahead":
                self._prepared.put(turn, self._deal_ahead(turn, self._meet(turn, message)))
            case "run":
                self._send(turn, self._prepared.take(turn, str(message["prepared"])))
            case "drop":
                self._prepared.drop(str(message["prepared"]))
            case other:
                raise InternalError(f"The dealer has no task {other!r}.")
        return {}, ()

    def _meet(self, turn: Turn, message: dict[str, Any]) -> Deal:
        """Steps 1 to 3. Raises PlanMismatch, ProtocolError, PartyLost."""
        turn.operator = "meeting the parties"
        parties = [member_from_message(party) for party in message["parties"]]
        links = tuple(_welcome(turn, self._identity, self._door, party) for party in parties)
        nonce = self._nonces.draw()
        for link in links:
            link.send("hello", nonce)
        self._nonces.use([nonce, *(link.receive("hello", NONCE) for link in links)])
        digest, items = _agree(links)
        return Deal(links, tuple(session_seed(link.secret, digest) for link in links), items)

    def _deal(self, turn: Turn, deal: Deal) -> None:
        """Step 4, as the query runs."""
        turn.operator = "dealing"
        dealing.serve(deal.items, deal.seeds,
                      lambda holder, address, correction: deal.links[holder].send_paced(address, correction))
        _part(deal.links)

    def _deal_ahead(self, turn: Turn, deal: Deal) -> Dealt:
        """Step 4 for a prepared query: to disk. Raises DiskFull, Cancelled."""
        turn.operator = "dealing ahead"
        stream = Ahead(self._start.folder / secrets.token_hex(8), len(deal.links))

        def keep(holder: int, address: str, correction: bytes) -> None:
            turn.check()
            stream.write(holder, address, correction)

        try:
            dealing.serve(deal.items, deal.seeds, keep)
            stream.finish()
        except BaseException:
            stream.close()
            raise
        return Dealt(deal.links, deal.items, stream)

    def _send(self, turn: Turn, dealt: Dealt) -> None:
        """The run of a prepared query. Raises PreparedSpent, ProtocolError (the files were altered), PartyLost."""
        turn.operator = "sending what was dealt ahead"
        try:
            dealt.stream.use()
            for item in dealt.items:
                for size in item.messages:
                    correction = dealt.stream.read(item.holder, item.address, size)
                    dealt.links[item.holder].send_paced(item.address, correction)
            _part(dealt.links)
        finally:
            dealt.close()


def _part(links: Sequence[Link]) -> None:
    """Wait until every party has read all that was dealt."""
    for link in links:
        link.receive("end", 0)


def _welcome(turn: Turn, identity: Identity, door: Door, party: Member) -> Link:
    connection = turn.guard(door.take("data", turn.identifier, party.name))
    link = handshake(connection, identity, party.name, party.public, initiator=False,
                     context=b"data" + turn.identifier.encode())
    return turn.adopt(link)


def _agree(links: Sequence[Link]) -> tuple[bytes, dealing.DealingList]:
    """The session digest and the dealing list that all parties want."""
    wanted = [link.receive("session", 2 * DIGEST) for link in links]
    if len(set(wanted)) != 1:
        raise PlanMismatch("The parties asked the dealer for different sessions.", advice="Nothing was shared.")
    items = dealing.list_from_json(links[0].receive_message().get("items"), len(links))
    if dealing.list_digest(items) != wanted[0][DIGEST:]:
        raise ProtocolError("The dealing list is not the one that the parties agreed on.", advice="Nothing was shared.")
    return wanted[0][:DIGEST], items


def main() -> None:
    start, identity, door = begin()
    Worker(start, door, control_link(start, identity, door), Dealer(start, identity, door).task).serve()


if __name__ == "__main__":
    main()
