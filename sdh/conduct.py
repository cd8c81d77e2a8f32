"""One run of a placed question, as the hub conducts it: tell parties and dealer, check what they planned, open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sdh.errors import PlanMismatch, ProtocolError
from sdh.exchange import Exchange, perform
from sdh.members import Members, known
from sdh.order import Order
from sdh.planners.plan import Placed, Plan, finish
from sdh.processes import Event, Process
from sdh.session import Member, unseal

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run: the plan that all agreed on and every party's payload, by rank.

    costs: what each party reports by operator: [bytes sent, rounds, bytes dealt] (its seconds are its own).
    released: bytes of a payload.
    """

    plan: Plan
    payloads: list[bytes]
    costs: dict[str, dict[str, list[int]]]
    released: int


@dataclass(slots=True)
class Listener:
    """What nodes say on the way: their plans' digests, which must be the hub's own, and how far they are."""

    placed: Placed
    progress: Progress | None
    plan: Plan | None = None
    done: dict[str, tuple[int, int]] = field(default_factory=dict)

    def hear(self, process: Process, message: dict[str, Any]) -> None:
        match message.get("say"):
            case "planned":
                self._compare(process.name, tuple(int(count) for count in message["slots"]), str(message["digest"]))
            case "progress" if self.progress is not None:
                self.done[process.name] = int(message["done"]), int(message["planned"])
                done, planned = (sum(column) for column in zip(*self.done.values(), strict=True))
                self.progress(done, planned * len(self.placed.parties) // len(self.done), str(message["label"]))
            case _:
                pass

    def _compare(self, name: str, slots: tuple[int, ...], digest: str) -> None:
        if self.plan is None:
            self.plan = finish(self.placed, slots)
        if self.plan.slots != slots or self.plan.digest != digest:
            raise PlanMismatch(f"{name} planned something else than this hub.", advice="Nothing was released.")


def conduct(members: Members, placed: Placed, seconds: float | None, progress: Progress | None) -> Outcome:
    """Run it. Raises the cause of whatever fails; afterwards no process is at work on it any more."""
    crew = [members.process(name) for name in placed.parties]
    dealer = members.dealer() if len(crew) > 1 else None
    listener = Listener(placed, progress)
    exchange = Exchange(crew if dealer is None else [dealer, *crew], members.events, listener.hear)
    order = order_for(members, placed, crew, dealer)
    requests = [(process, {"do": "query"} | order.to_message()) for process in crew]
    if dealer is not None:
        requests.insert(0, (dealer, {"do": "deal", "parties": [party.to_message() for party in order.parties]}))
    perform(exchange, requests, seconds, members.limits.stop)
    return _outcome(members, listener, [exchange.answers[process] for process in crew], placed)


def order_for(members: Members, placed: Placed, crew: list[Process], dealer: Process | None) -> Order:
    receiver = Member(members.identity.name, members.identity.public)
    return Order(placed.question, placed.catalog, tuple(known(process) for process in crew),
                 None if dealer is None else known(dealer), receiver)


def _outcome(members: Members, listener: Listener, answers: list[Event], placed: Placed) -> Outcome:
    if listener.plan is None:
        raise PlanMismatch("No node told what it planned.")
    messages = [answer.message or {} for answer in answers]
    contexts = {str(message["session"]) for message in messages}
    if len(contexts) != 1:
        raise ProtocolError("The parties' results are of different sessions.")
    context = bytes.fromhex(contexts.pop())
    payloads = [unseal(answer.pieces, name, members.identity.key, context)
                for name, answer in zip(placed.parties, answers, strict=True)]
    costs = {name: dict(message["cost"]) for name, message in zip(placed.parties, messages, strict=True)}
    return Outcome(listener.plan, payloads, costs, max(map(len, payloads)))
