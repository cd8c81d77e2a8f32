"""What a hub asks of nodes, and the counts that nodes announce to each other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sdh.catalog import Catalog, catalog_from_message, padded
from sdh.errors import ProtocolError, StaleFact
from sdh.planners.plan import Fragment, Placed, Question
from sdh.privacy import dp_from_message
from sdh.session import Hello, Member, hash_parts, member_from_message

UNSHARED = "Nothing was shared."
ATTACH_AGAIN = "Detach it and attach it again."


@dataclass(frozen=True, slots=True)
class Order:
    """What the hub asks: the question, the catalog, who takes part and who receives."""

    question: Question
    catalog: Catalog
    parties: tuple[Member, ...]
    dealer: Member | None
    receiver: Member

    def to_message(self) -> dict[str, Any]:
        return {"question": question_to_message(self.question), "catalog": self.catalog.to_message(),
                "parties": [party.to_message() for party in self.parties],
                "dealer": self.dealer and self.dealer.to_message(), "receiver": self.receiver.to_message()}


def order_from_message(message: dict[str, Any]) -> Order:
    return Order(question_from_message(message["question"]), catalog_from_message(message["catalog"]),
                 tuple(member_from_message(party) for party in message["parties"]),
                 None if message["dealer"] is None else member_from_message(message["dealer"]),
                 member_from_message(message["receiver"]))


def question_to_message(question: Question) -> dict[str, Any]:
    params = [[name, list(value) if isinstance(value, tuple) else value] for name, value in question.params]
    return {"text": question.text, "client": question.client, "params": params, "timezone": question.timezone,
            "privacy": question.privacy and question.privacy.to_message()}


def question_from_message(message: dict[str, Any]) -> Question:
    params = tuple((str(name), tuple(value) if isinstance(value, list) else value) for name, value in message["params"])
    privacy = message["privacy"]
    return Question(str(message["text"]), str(message["client"]), params, str(message["timezone"]),
                    None if privacy is None else dp_from_message(privacy))


def question_digest(question: Question, catalog: Catalog) -> bytes:
    """What every party must have been told alike before sizes mean the same to all."""
    content = [question_to_message(question), catalog.to_message()]
    return hash_parts(b"sdh question", json.dumps(content, sort_keys=True, separators=(",", ":")).encode())


# --- slots ---------------------------------------------------------------------------------------


def announced(fragment: Fragment, count: int) -> int:
    """The slots that the row policy announces for `count` rows. Raises StaleFact when the facts allow fewer."""
    if count > fragment.slots:
        raise StaleFact(f"A table of {fragment.party} has more rows than were published.", advice=ATTACH_AGAIN)
    match fragment.rows:
        case "exact":
            return count
        case "padded":
            return min(padded(count), fragment.slots)
        case _:
            return fragment.slots


def agreed_slots(placed: Placed, parties: Sequence[Member], hellos: Sequence[Hello]) -> dict[int, int]:
    """Every fragment's slots, from its owner. Raises ProtocolError for counts its policy cannot announce."""
    told = {party.name: dict(hello.slots) for party, hello in zip(parties, hellos, strict=True)}
    slots = {}
    for fragment in placed.fragments:
        count = told[fragment.party].get(fragment.number, -1)
        if count < 0 or not legal_slots(fragment, count, padded(count)):
            raise ProtocolError(f"{fragment.party} announced a count that its policy does not allow.", advice=UNSHARED)
        slots[fragment.number] = count
    return slots


def legal_slots(fragment: Fragment, slots: int, step: int) -> bool:
    """Whether `slots` is a count that the fragment's row policy may announce; `step` is the ladder's step for it."""
    match fragment.rows:
        case "hidden":
            return slots == fragment.slots
        case "padded":
            return 0 <= slots <= fragment.slots and slots in (step, fragment.slots)
        case _:
            return 0 <= slots <= fragment.slots
