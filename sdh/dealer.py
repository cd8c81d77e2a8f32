"""The dealer: a process of its own, operated by no party. `python -m sdh.dealer` is started by a hub.

It knows public sizes and every mask, and no data: no SQL, no names of columns, nothing that is opened. One session:

1. Handshake with every party; 32 fresh bytes to each, a commitment to its nonce part from each.
2. From each party the session digest and the digest of the dealing list, which must be equal at all.
3. From rank 0 the list itself, which must have that digest; then corrections, item by item.

numpy, cryptography and the standard library: no torch, no DuckDB.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sdh.connectors.wire import Identity, Link, handshake
from sdh.errors import PlanMismatch, ProtocolError
from sdh.executors import dealing
from sdh.serving import Door, begin, control_link
from sdh.session import DIGEST, NONCE, Member, Nonces, member_from_message, session_seed
from sdh.turn import Answer, Turn, Worker


def deal_session(turn: Turn, identity: Identity, door: Door, nonces: Nonces, parties: Sequence[Member]) -> None:
    """Steps 1 to 3. Raises PlanMismatch, ProtocolError, PartyLost."""
    turn.operator = "meeting the parties"
    links = [_welcome(turn, identity, door, party) for party in parties]
    nonce = nonces.draw()
    for link in links:
        link.send("hello", nonce)
    nonces.use([nonce, *(link.receive("hello", NONCE) for link in links)])
    digest, items = _agree(links)
    turn.operator = "dealing"
    seeds = [session_seed(link.secret, digest) for link in links]
    dealing.serve(items, seeds, lambda holder, address, correction: links[holder].send_paced(address, correction))
    for link in links:
        link.receive("end", 0)   # it has read all that was dealt


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
    nonces = Nonces()

    def task(turn: Turn, message: dict[str, Any]) -> Answer:
        deal_session(turn, identity, door, nonces, [member_from_message(party) for party in message["parties"]])
        return {}, ()

    Worker(start, door, control_link(start, identity, door), task).serve()


if __name__ == "__main__":
    main()
