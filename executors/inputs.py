"""Fragments onto shares: free, from seeds that pairs of parties share."""

from __future__ import annotations

import torch

from sdh.executors.encode import Encoded
from sdh.executors.runtime import Session
from sdh.executors.shares import raw
from sdh.executors.text import words_for
from sdh.executors.values import Clear, Number, Relation, Text, Truth, Value
from sdh.planners.expressions import Field
from sdh.planners.physical import Input
from sdh.schema import Kind


def share_input(session: Session, node: Input, encoded: Encoded | None, parties: tuple[str, ...], *, exact: bool) -> Relation:
    """The rows of a fragment, padded to its slots; which slots hold rows is shared too, unless the count is public.

    `encoded` is None but at the owner. After `Session.prepare` its columns are given up as they are shared.
    """
    owner, slots = parties.index(node.party), node.slots
    given_up = encoded is not None and session.is_prepared
    columns = {}
    for c in node.shared:
        own = None if encoded is None else encoded.columns[c.field.number]
        columns[c.field.number] = shared_value(session, owner, own, slots, c.field, words_for(c.bytes) + 1)
        if encoded is not None and given_up:
            del encoded.columns[c.field.number]
    real = None if encoded is None else torch.arange(slots) < encoded.count
    clear = {} if encoded is None or given_up else {number: encoded.columns[number] for number in columns}
    valid = None if exact else session.share_bits(owner, real, slots)
    return Relation(slots, valid, columns, clear, real)


def shared_value(session: Session, owner: int, clear: Clear | None, slots: int, field: Field, words: int) -> Value:
    """A column that its owner knows, on shares. `words`: of a text, with its length."""
    null = None
    if field.nullable:
        null = session.share_bits(owner, None if clear is None else clear.null, slots)
    match field.type.kind:
        case Kind.VARCHAR:
            shares = [raw(session.share(owner, None if clear is None else clear.words[i], slots)) for i in range(words)]
            return Text(tuple(shares), null)
        case Kind.BOOLEAN:
            return _shared_truth(session, owner, clear, slots, field)
        case _:
            return Number(raw(session.share(owner, None if clear is None else clear.words[0], slots)), null)


def _shared_truth(session: Session, owner: int, clear: Clear | None, slots: int, field: Field) -> Truth:
    true = false = None
    if clear is not None:
        true = clear.words[0] == 1
        false = ~true if clear.null is None else ~true & ~clear.null
    shared = session.share_bits(owner, true, slots)
    return Truth(shared, session.share_bits(owner, false, slots) if field.nullable else None)
