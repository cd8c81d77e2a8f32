"""One party's part in one query.

1. Check what the hub says: the receiver's key, this party's own entry in the catalog, the public tables.
2. Plan, step one, and run the own fragments; announce their slots by the row policy. One owner's own noise is drawn in
   step 6 instead.
3. Meet the other parties and the dealer on fresh links; exchange hellos: nonce parts, question, slots.
4. Plan, step two; trace the dealing list; encode the own rows; sort them, place them in cuckoo tables. Whoever fails
   here fails before anything is shared. All work on clear data ends here.
5. Exchange session digests: equal digests from all say that all are ready. The dealer compares them too.
6. Run on shares; the result's share goes to the client, sealed to its key. The links end, the seeds are dropped. What a
   differentially private answer costs is reserved before, and spent before it leaves (sdh/charging.py).

`prepare` does steps 1 to 5, `run` the last. A prepared query keeps what `prepare` gave, its links too, in between.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, assert_never

from sdh import audit
from sdh.charging import Charging
from sdh.connectors.ledger import Peers
from sdh.connectors.wire import Identity, Link, handshake
from sdh.errors import PlanMismatch
from sdh.order import UNSHARED, Order, agreed_slots, announced, question_digest
from sdh.parsers.parse import STACK_BYTES
from sdh.planners import memory
from sdh.planners.plan import Placed, Plan, finish, place
from sdh.serving import Door, Start, dial, unused_memory
from sdh.session import (
    DEALER,
    DIGEST,
    NONCE,
    Hello,
    Member,
    Nonces,
    commitment,
    hash_parts,
    hello_from_message,
    local_digest,
    seal,
    session_digest,
)
from sdh.store import Holdings
from sdh.turn import Answer, Say, Turn

PROGRESS_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Alone:
    """A question of one owner, or answered as it was before: how its result is come by, and the digest it is bound to.

    payload: called once what it costs is reserved, since noise is drawn there and whether that failed tells of it. clear: as
    in Part.
    """

    order: Order
    plan: Plan
    digest: bytes
    payload: Callable[[], bytes]
    clear: Mapping[str, float]
    charging: Charging

    def close(self) -> None:
        """There are no seeds."""


@dataclass(frozen=True, slots=True)
class Together:
    """A run on shares that may begin, once: the fragments' rows are pinned in `inputs`, nothing was shared yet.

    planned: bytes that this party will send. clear: as in Part.
    """

    order: Order
    plan: Plan
    digest: bytes
    links: Mapping[int, Link]
    dealing_link: Link
    session: Any
    inputs: Any
    planned: int
    clear: Mapping[str, float]
    charging: Charging

    def close(self) -> None:
        """Erase the seeds."""
        self.session.close()


Ready = Alone | Together


@dataclass(frozen=True, slots=True)
class Part:
    """A node at one query. `ready` waits for the runtime's imports, `say` reports to the hub.

    clear: seconds of work on clear data by step. They tell of the data: for this party's owner alone (sdh/audit.py).
    """

    start: Start
    identity: Identity
    door: Door
    holdings: Holdings
    nonces: Nonces
    turn: Turn
    ready: Callable[[], None]
    say: Say
    clear: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.identity.name

    def play(self, order: Order) -> Answer:
        """All steps. Raises SdhError; nothing was shared before the digests were compared."""
        return self.run(self.prepare(order))

    def run(self, ready: Ready) -> Answer:
        """Step 6, once."""
        match ready:
            case Alone(order, _, digest, made, _, charging):
                with charging.reserved((), digest) as entries:
                    payload = made()
                    charging.spend(entries, digest, payload)
                self._enter(ready, {})
                answer = {"session": digest.hex(), "cost": {}, "revealed": audit.reasons(ready.plan.reveals)}
                return answer, seal(payload, self.name, order.receiver.public, digest)
            case Together():
                return self._run(ready)
            case _:
                assert_never(ready)

    def _enter(self, ready: Ready, shared: Mapping[str, float]) -> None:
        """Write the question into the book that the owner keeps, if any, before the answer leaves. Raises OSError."""
        if (book := audit.book_of(self.name)) is not None:
            plan, question, now = ready.plan, ready.order.question, datetime.now(UTC).isoformat(timespec="seconds")
            audit.write(book, audit.Entry(now, question.client, question.text, plan.digest, ready.digest.hex(),
                                          tuple(map(str, plan.reveals)), ready.clear, shared))

    @contextlib.contextmanager
    def _clear(self, step: str) -> Iterator[None]:
        """Work on clear data: its seconds are kept, and told to nobody."""
        self.turn.operator, began = step, perf_counter()
        try:
            yield
        finally:
            self.clear[step] = perf_counter() - began

    def prepare(self, order: Order) -> Ready:
        """Steps 1 to 5. Raises SdhError; nothing was shared then."""
        self._check(order)
        self.turn.operator = "planning"
        with unused_memory(STACK_BYTES):
            placed = place(order.question, order.catalog)
        if placed.parties != tuple(party.name for party in order.parties) or (order.dealer is None) != (len(placed.parties) < 2):
            raise PlanMismatch(f"{self.name}'s plan has other parties than the hub says.", advice=UNSHARED)
        if order.dealer is None and placed.blocks:
            return self._private(order, placed)
        tables = self._fragments(placed, order.question.timezone)
        slots = {fragment.number: announced(fragment, tables[fragment.number].num_rows)
                 for fragment in placed.fragments if fragment.number in tables}
        if order.dealer is None:
            return self._alone(order, self._finish(placed, slots), lambda: _stream(tables[0]))
        return self._together(order, order.dealer, placed, tables, slots)

    def _check(self, order: Order) -> None:
        hub = self.start.hub
        if (order.receiver.name, order.receiver.public) != (hub.name, hub.public) or order.question.client != hub.name:
            raise PlanMismatch(f"{self.name} does not know the receiver {order.receiver.name}.", advice=UNSHARED)
        self.holdings.check(order.catalog)
        if order.dealer is not None:
            self._check_dealer(order, order.dealer)

    def _check_dealer(self, order: Order, dealer: Member) -> None:
        """The dealer knows every mask, so it is no party, under whatever name."""
        keys = [party.public for party in order.parties]
        if dealer.name != DEALER or dealer.public in keys or len(set(keys)) != len(keys):
            raise PlanMismatch("The dealer, or a party, is another party as well.", advice=UNSHARED)

    def _fragments(self, placed: Placed, timezone: str) -> dict[int, Any]:
        from sdh.executors.local import run_fragment

        connection = self.holdings.connection(timezone)
        self.turn.on_cancel(connection.interrupt)
        tables = {}
        for fragment in placed.fragments:
            if fragment.party == self.name:
                with self._clear(f"fragment {fragment.number}"):
                    tables[fragment.number] = run_fragment(connection, fragment)
                self.turn.check()
        return tables

    # --- one owner ---

    def _private(self, order: Order, placed: Placed) -> Alone:
        """With differential privacy: the count of rows is not told, and nothing runs that was answered before."""
        self.holdings.connection(order.question.timezone)   # a store that changed is refused before anything is charged
        plan = self._finish(placed, {fragment.number: fragment.slots for fragment in placed.fragments})
        charging = self._charging(plan)
        stored = charging.stored(())
        if stored is not None:
            return self._alone(order, plan, lambda: stored, replace(charging, charges=()))
        return self._alone(order, plan, lambda: _stream(self._fragments(placed, order.question.timezone)[0]), charging)

    def _alone(self, order: Order, plan: Plan, payload: Callable[[], bytes], charging: Charging | None = None) -> Alone:
        nonce = self.nonces.draw()
        self.nonces.use([nonce])
        digest = local_digest(plan.digest, order.parties[0], order.receiver, nonce)
        return Alone(order, plan, digest, payload, self.clear, charging or self._charging(plan))

    def _charging(self, plan: Plan, known: Peers | None = None) -> Charging:
        question = hash_parts(b"sdh charged", bytes.fromhex(plan.question_digest), self.holdings.version.encode())
        return Charging(self.name, self.holdings.ledger, known or {}, plan.charges, question.hex())

    def _again(self, order: Order, dealer: Member, plan: Plan, links: Mapping[int, Link], dealing_link: Link,
               nonces: Sequence[bytes], charging: Charging, payload: bytes) -> Alone:
        """What all owners answered before: the dealer deals nothing, and nothing is charged."""
        from sdh.executors import dealing

        listed = dealing.list_digest([])
        digest = session_digest(plan.digest, order.parties, dealer, order.receiver, nonces, listed)
        self._compare(order, links, dealing_link, digest, listed)
        if order.parties[0].name == self.name:
            dealing_link.send_message({"items": []})
        self._part(links, dealing_link)
        return Alone(order, plan, digest, lambda: payload, self.clear, replace(charging, charges=()))

    # --- several owners ---

    def _together(self, order: Order, dealer: Member, placed: Placed, tables: dict[int, Any],
                  slots: dict[int, int]) -> Ready:
        self.turn.operator = "meeting the other parties"
        known = {} if self.holdings.ledger is None else self.holdings.ledger.peers()
        links = self._meet(order.parties)
        dealing_link = self._connect(dealer, initiator=True)
        nonce = self.nonces.draw()
        asked = question_digest(order.question, order.catalog)
        hellos = self._greet(order, links, Hello(nonce, asked, tuple(slots.items())))
        dealing_link.send("hello", commitment(nonce))
        nonces = [*(hello.nonce for hello in hellos), dealing_link.receive("hello", NONCE)]
        self.nonces.use(nonces)
        plan = self._finish(placed, agreed_slots(placed, order.parties, hellos))
        charging = self._charging(plan, known)
        stored = charging.stored(tuple(links.values()))
        if stored is not None:
            return self._again(order, dealer, plan, links, dealing_link, nonces, charging, stored)
        return self._agree(order, dealer, plan, tables, links, dealing_link, nonces, charging)

    def _agree(self, order: Order, dealer: Member, plan: Plan, tables: dict[int, Any], links: Mapping[int, Link],
               dealing_link: Link, nonces: Sequence[bytes], charging: Charging) -> Together:
        self.ready()
        from sdh.executors import dealing, devices, secure
        from sdh.executors.runtime import Session

        assert plan.root is not None
        memory.require(plan.root, self.start.share.shares)
        rank = plan.placed.parties.index(self.name)
        self.turn.operator = "tracing"
        device = devices.chosen()
        items, planned = secure.trace(plan, self.name)
        with self._clear("encoding"):
            inputs = secure.encode(plan, self.name, tables)
        tables.clear()
        listed = dealing.list_digest(items)
        digest = session_digest(plan.digest, order.parties, dealer, order.receiver, nonces, listed)
        session = Session(rank, plan.placed.parties, links, dealing_link, digest, expected=items, device=device)
        try:
            with self._clear("preparing"):
                secure.prepare(plan, session, inputs)
            self.turn.operator = "comparing digests"
            self._compare(order, links, dealing_link, digest, listed)
            if rank == 0:
                dealing_link.send_message({"items": dealing.list_to_json(items)})
        except BaseException:
            session.close()
            raise
        return Together(order, plan, digest, links, dealing_link, session, inputs, planned.total.sent, self.clear, charging)

    def _run(self, ready: Together) -> Answer:
        from sdh.executors import secure

        session, digest = ready.session, ready.digest
        self.turn.operator = "the run on shares"
        try:
            with ready.charging.reserved(tuple(ready.links.values()), digest) as entries:
                with Reporter(session.meter, ready.planned, self.say):
                    payload = secure.run(ready.plan, session, ready.inputs)
                ready.charging.spend(entries, digest, payload)
        finally:
            session.close()
        self._part(ready.links, ready.dealing_link)
        self._enter(ready, {label: spent.seconds for label, spent in session.meter.whole.items()})
        answer = {"session": digest.hex(), "cost": told(session.meter), "revealed": audit.reasons(session.revealed)}
        return answer, seal(payload, self.name, ready.order.receiver.public, digest)

    def _finish(self, placed: Placed, slots: Mapping[int, int]) -> Plan:
        self.turn.operator = "planning"
        plan = finish(placed, tuple(slots[fragment.number] for fragment in placed.fragments))
        self.say({"say": "planned", "slots": list(plan.slots), "digest": plan.digest})
        return plan

    # --- links ---

    def _meet(self, parties: Sequence[Member]) -> dict[int, Link]:
        """A fresh link to every other party, by rank: the lower dials. All meet in one order: none wait in a ring."""
        own = [party.name for party in parties].index(self.name)
        return {rank: self._connect(member, initiator=own < rank) for rank, member in enumerate(parties) if rank != own}

    def _connect(self, member: Member, *, initiator: bool) -> Link:
        session = self.turn.identifier
        raw = (dial(member.address, "data", session, self.name) if initiator
               else self.door.take("data", session, member.name))
        link = handshake(self.turn.guard(raw), self.identity, member.name, member.public, initiator=initiator,
                         context=b"data" + session.encode())
        return self.turn.adopt(link)

    def _greet(self, order: Order, links: Mapping[int, Link], mine: Hello) -> list[Hello]:
        """The hellos of all parties by rank. Raises PlanMismatch when one was asked another question."""
        for link in links.values():
            link.send_message(mine.to_message())
        hellos = []
        for rank, party in enumerate(order.parties):
            hello = hello_from_message(links[rank].receive_message(), party.name) if rank in links else mine
            if hello.question != mine.question:
                raise PlanMismatch(f"{party.name} was told another question or catalog than {self.name}.",
                                   advice=UNSHARED)
            hellos.append(hello)
        return hellos

    def _compare(self, order: Order, links: Mapping[int, Link], dealing_link: Link, digest: bytes,
                 listed: bytes) -> None:
        """Nobody has shared anything when this raises PlanMismatch."""
        for link in links.values():
            link.send("session", digest)
        dealing_link.send("session", digest + listed)
        for rank, link in links.items():
            if link.receive("session", DIGEST) != digest:
                raise PlanMismatch(f"{order.parties[rank].name} planned another run than {self.name}.",
                                   advice=UNSHARED)

    def _part(self, links: Mapping[int, Link], dealing_link: Link) -> None:
        """Leave together: a link that ended earlier could take with it what its peer has not read."""
        for link in (*links.values(), dealing_link):
            link.send("end", b"")
        for link in links.values():
            link.receive("end", 0)
        for link in (*links.values(), dealing_link):
            link.close()


def _stream(table: Any) -> bytes:
    from sdh.executors.local import to_stream

    return to_stream(table)


def told(meter: Any) -> dict[str, list[Any]]:
    """What the hub hears of the run on shares, by number of the operator: bytes sent, rounds, bytes dealt, seconds.

    All of it follows from public sizes, seconds too: work on shares takes the same steps for any data (rule 8), and no
    work on clear data lies between two frames. A wait for a peer tells nothing of that peer's own: the run begins when
    all have compared digests, which each does after its last work on clear data (step 5). What that work took is in
    `Part.clear` and in no message. Seconds have a fixed length, so that a message's length tells no more than they do.
    """
    return {label.partition(":")[0]: [spent.sent, spent.rounds, spent.dealt, f"{spent.seconds:016.6f}"]
            for label, spent in meter.whole.items()}


class Reporter:
    """Tells the hub some times a second how many of the planned bytes were sent. Public sizes only."""

    def __init__(self, meter: Any, planned: int, say: Say) -> None:
        self._meter, self._planned, self._say = meter, planned, say
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._report, daemon=True, name="progress")

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *fault: object) -> None:
        self._over.set()
        self._thread.join()

    def _report(self) -> None:
        while not self._over.wait(PROGRESS_SECONDS):
            operators = list(self._meter.operators.items())
            done = sum(cost.sent for _, cost in operators)
            label = operators[-1][0] if operators else ""
            self._say({"say": "progress", "done": done, "planned": self._planned, "label": label})
