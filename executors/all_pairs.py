"""Joins by all pairs of rows (nested_loop), and what the pairs of each left row say where only these stay."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from sdh.executors import bits
from sdh.executors.arithmetic import mux_many, to_arithmetic
from sdh.executors.bits import Bits
from sdh.executors.compare import less
from sdh.executors.evaluate import truth
from sdh.executors.join_kinds import both_valid, kept_rows, met_by, ranges_below, with_mark
from sdh.executors.runtime import Session
from sdh.executors.scope import Scope
from sdh.executors.shares import raw
from sdh.executors.values import Number, Relation, Text, Truth, Value, false_of, null_of, spread
from sdh.planners.derive_traits import carried
from sdh.planners.physical import NestedLoop


def nested_loop(session: Session, node: NestedLoop, left: Relation, right: Relation, errors: list[Bits]) -> Relation:
    """All pairs, or of other kinds the left's rows, by what the pairs of each say.

    Copying shares is local; the condition costs what it costs a pair.
    """
    if node.kind == "INNER":
        pairs = _pairs(session, left, right, left_outermost=True)
        return met_by(session, node.condition, pairs, ranges_below(node), errors)
    kept = {number: value for number, value in right.columns.items() if number in carried(node)}
    pairs = _pairs(session, left, Relation(right.slots, right.valid, kept), left_outermost=False)
    if node.kind == "MARK":
        return _marked(session, node, left, pairs, right.slots, errors)
    found = met_by(session, node.condition, pairs, ranges_below(node), errors).valid
    met = bits.constant(session, pairs.slots, True) if found is None else found
    if node.kind == "SINGLE":
        return _single(session, left, pairs, met, right, errors)
    return kept_rows(session, node.kind, left, _any(session, met, left.slots, right.slots))


def _pairs(session: Session, left: Relation, right: Relation, *, left_outermost: bool) -> Relation:
    a = spread(left, right.slots, each=left_outermost)
    b = spread(right, left.slots, each=not left_outermost)
    real = a.real if b.real is None else b.real if a.real is None else a.real & b.real
    return Relation(a.slots, both_valid(session, a.valid, b.valid), a.columns | b.columns, a.clear | b.clear, real)


def _any(session: Session, found: Bits, rows: int, times: int) -> Bits:
    """The OR over `times` blocks of `rows` rows: halves, ceil(log2(times)) rounds."""
    return _halved(session, found, rows, times, partial(bits.or_, session))


def _halved(session: Session, found: Bits, rows: int, times: int, meet: Callable[[Bits, Bits], Bits]) -> Bits:
    if not times:
        return bits.constant(session, rows, False)
    while times > 1:
        half = times // 2
        first, second = (bits.slice_(found, part * half * rows, (part + 1) * half * rows) for part in range(2))
        rest = bits.slice_(found, 2 * half * rows, times * rows)
        found, times = bits.concat([meet(first, second), rest]), times - half
    return found


def _marked(session: Session, node: NestedLoop, left: Relation, pairs: Relation, times: int, errors: list[Bits]) -> Relation:
    """TRUE where a pair is; FALSE where none is TRUE or NULL."""
    assert node.mark is not None
    if node.condition is None or not node.mark.nullable:
        found = met_by(session, node.condition, pairs, ranges_below(node), errors).valid
        met = bits.constant(session, pairs.slots, True) if found is None else found
        return with_mark(left, node.mark, Truth(_any(session, met, left.slots, times)))
    value = truth(node.condition, Scope(session, pairs, ranges_below(node), errors))
    true, possible = value.true, bits.not_(session, false_of(value, session))
    if pairs.valid is not None:
        true, possible = bits.and_many(session, [(true, pairs.valid), (possible, pairs.valid)])
    none = bits.not_(session, _any(session, possible, left.slots, times))
    return with_mark(left, node.mark, Truth(_any(session, true, left.slots, times), none))


def _single(session: Session, left: Relation, pairs: Relation, met: Bits, right: Relation, errors: list[Bits]) -> Relation:
    """The right row that meets the condition, or NULL; two are an error. At most one counts, so sums and XORs find it."""
    rows, times = left.slots, right.slots
    if times > 1:
        count = raw(to_arithmetic(session, met)).reshape(times, rows).sum(0)
        one = torch.full_like(count, 1 if session.rank == 0 else 0)
        errors.append(less(session, one, count, times.bit_length() + 1))
    values = {number: pairs.columns[number] for number in right.columns}
    found = {number: _chosen(session, value, met, rows, times) for number, value in values.items()}
    return Relation(rows, left.valid, left.columns | found, left.clear, left.real)


def _chosen(session: Session, value: Value, met: Bits, rows: int, times: int) -> Value:
    """Of a column of pairs the value of the pair that is met, else NULL."""
    if isinstance(value, Truth):
        true, false = bits.and_many(session, [(value.true, met), (false_of(value, session), met)])
        return Truth(_folded(session, true, rows, times), _folded(session, false, rows, times))
    null = null_of(value, session)
    there = met if null is None else bits.and_(session, met, bits.not_(session, null))
    shares = [value.share] if isinstance(value, Number) else list(value.words)
    words = [raw(part).reshape(times, rows).sum(0) for part in mux_many(session, [(met, shares)])[0]]
    none = bits.not_(session, _folded(session, there, rows, times))
    return Number(words[0], none) if isinstance(value, Number) else Text(tuple(words), none)


def _folded(session: Session, found: Bits, rows: int, times: int) -> Bits:
    """The XOR over `times` blocks of `rows` rows: local."""
    return _halved(session, found, rows, times, bits.xor)
