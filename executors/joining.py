"""Joins of relations on shares: all pairs, or alignment by keys that owners know."""

from __future__ import annotations

import torch
from torch import Tensor

from sdh.errors import InternalError
from sdh.executors import bits
from sdh.executors.align import Side, align
from sdh.executors.bits import Bits
from sdh.executors.evaluate import Scope, holds
from sdh.executors.predicates import equality_width
from sdh.executors.runtime import Session
from sdh.executors.text import LENGTH_WIDTH, TEXT_WIDTH, words_for
from sdh.executors.values import Clear, Relation, flatten, repeat_rows, repeated, unflatten
from sdh.planners.expressions import Field
from sdh.planners.physical import Align, NestedLoop, traits
from sdh.planners.ranges import Shared, scale_of
from sdh.schema import Kind


def nested_loop(session: Session, node: NestedLoop, left: Relation, right: Relation, errors: list[Bits]) -> Relation:
    """All pairs, the left's row outermost. Copying shares is local; the condition costs what it costs a pair."""
    a, b = _spread(left, right.slots, each=True), _spread(right, left.slots, each=False)
    real = a.real if b.real is None else b.real if a.real is None else a.real & b.real
    pairs = Relation(a.slots, _both(session, a.valid, b.valid), a.columns | b.columns, a.clear | b.clear, real)
    if node.condition is None:
        return pairs
    scope = Scope(session, pairs, traits(node).ranges, errors)
    return pairs.with_valid(holds(node.condition, scope))


def _both(session: Session, a: Bits | None, b: Bits | None) -> Bits | None:
    if a is None or b is None:
        return a if b is None else b
    return bits.and_(session, a, b)


def _spread(relation: Relation, times: int, *, each: bool) -> Relation:
    valid = None if relation.valid is None else bits.repeat(relation.valid, times, each=each)
    columns = {n: repeated(value, times, each=each) for n, value in relation.columns.items()}
    clear = {
        n: Clear(
            tuple(repeat_rows(word, times, each=each) for word in c.words),
            None if c.null is None else repeat_rows(c.null, times, each=each),
        )
        for n, c in relation.clear.items()
    }
    real = None if relation.real is None else repeat_rows(relation.real, times, each=each)
    return Relation(relation.slots * times, valid, columns, clear, real)


def align_rows(session: Session, node: Align, probe: Relation, build: Relation, parties: tuple[str, ...]) -> Relation:
    """The probe's rows, each with the build row of equal key: valid where there is one that is valid itself."""
    probe_rank, build_rank = parties.index(node.probe_party), parties.index(node.build_party)
    a, b = traits(node.probe).ranges, traits(node.build).ranges
    widths = [width for pair in node.pairs for width in _widths(pair, a, b)]
    at_probe = session.at(probe_rank, lambda: _keys(node, probe, 0, a, b))
    at_build = session.at(build_rank, lambda: _keys(node, build, 1, a, b))
    sides = [
        Side(rank, relation.slots, None if keys is None else keys[0], None if keys is None else keys[1])
        for rank, relation, keys in ((probe_rank, probe, at_probe), (build_rank, build, at_build))
    ]
    record = flatten(build.columns) + ([] if build.valid is None else [build.valid])
    match, payload = align(session, sides[0], sides[1], widths, record)
    if build.valid is not None:
        last = payload[-1]
        if not isinstance(last, Bits):
            raise InternalError("The build side's validity came back as a number.")
        match = last
    valid = match if probe.valid is None else bits.and_(session, match, probe.valid)
    columns = probe.columns | unflatten(build.columns, payload)
    return Relation(probe.slots, valid, columns, probe.clear, probe.real)


def _widths(pair: tuple[Field, Field], a: dict[int, Shared], b: dict[int, Shared]) -> list[int]:
    first, second = pair
    if first.type.kind is Kind.VARCHAR:
        return [TEXT_WIDTH] * max(words_for(a[first.number].bytes), words_for(b[second.number].bytes)) + [LENGTH_WIDTH]
    up, down = _factors(pair)
    return [equality_width(a[first.number].range.times(up), b[second.number].range.times(down))]


def _factors(pair: tuple[Field, Field]) -> tuple[int, int]:
    """What brings both keys to one scale."""
    scales = [scale_of(field.type) if field.type.is_exact else 0 for field in pair]
    return int(10 ** (max(scales) - scales[0])), int(10 ** (max(scales) - scales[1]))


def _keys(node: Align, relation: Relation, side: int, a: dict[int, Shared], b: dict[int, Shared]) -> tuple[list[Tensor], Tensor]:
    """The key words of one side in the clear, and which rows can match: real ones without NULL in the key."""
    if relation.real is None:
        raise InternalError("The owner of a key does not know its rows.")
    usable, words = relation.real, list[Tensor]()
    for pair in node.pairs:
        clear = relation.clear[pair[side].number]
        if clear.null is not None:
            usable = usable & ~clear.null
        if pair[0].type.kind is Kind.VARCHAR:
            missing = len(_widths(pair, a, b)) - len(clear.words)
            words += [*clear.words[:-1], *[torch.zeros_like(clear.words[0])] * missing, clear.words[-1]]
        else:
            words.append(clear.words[0] * _factors(pair)[side])
    return words, usable
