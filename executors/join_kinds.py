"""What a kind of join makes of the rows that met: INNER, LEFT, SEMI, ANTI, MARK."""

from __future__ import annotations

from sdh.executors import bits
from sdh.executors.bits import Bits
from sdh.executors.evaluate import holds
from sdh.executors.runtime import Session
from sdh.executors.scope import Scope
from sdh.executors.values import Number, Relation, Text, Truth, Value, columns_of
from sdh.planners.derive_traits import carried, traits
from sdh.planners.expressions import Expression, Field
from sdh.planners.intervals import Columns, Shared
from sdh.planners.physical import ByKey, NestedLoop


def outcome(session: Session, node: ByKey, probe: Relation, build: Relation, met: Bits, brought: dict[int, Value],
            nulls: list[tuple[Bits | None, Bits | None]], errors: list[Bits]) -> Relation:
    """What a kind of join makes of the rows that met one, with what it brought. A further condition decides the match."""
    both = Relation(probe.slots, met, probe.columns | brought, probe.clear, probe.real)
    both = met_by(session, node.condition, both, ranges_below(node), errors)
    assert both.valid is not None
    match node.kind:
        case "INNER":
            return both
        case "SEMI" | "ANTI":
            return kept_rows(session, node.kind, probe, both.valid)
        case "MARK":
            assert node.mark is not None
            unknown = _unknown(session, probe, build, nulls[0]) if node.mark.nullable else None
            return with_mark(probe, node.mark, _mark(session, both.valid, unknown))
        case _:
            columns = probe.columns | _padded(session, brought, both.valid)
            return Relation(probe.slots, probe.valid, columns, probe.clear, probe.real)


def met_by(session: Session, condition: Expression | None, rows: Relation, ranges: Columns, errors: list[Bits]) -> Relation:
    """The rows that meet a condition, if there is one."""
    return rows if condition is None else rows.with_valid(holds(condition, Scope(session, rows, ranges, errors)))


def ranges_below(node: NestedLoop | ByKey) -> dict[int, Shared]:
    """Of both sides' columns, as a condition reads them."""
    first, second = (node.left, node.right) if isinstance(node, NestedLoop) else (node.probe, node.build)
    return traits(first).ranges | traits(second).ranges


def both_valid(session: Session, a: Bits | None, b: Bits | None) -> Bits | None:
    """Rows that are in both; None: all are."""
    if a is None or b is None:
        return a if b is None else b
    return bits.and_(session, a, b)


def kept_rows(session: Session, kind: str, left: Relation, met: Bits) -> Relation:
    """The left's rows that are in `met` (SEMI), or are not (ANTI). Rows that are not valid are not in it."""
    if kind == "SEMI":
        return left.with_valid(met)
    return left.with_valid(bits.not_(session, met) if left.valid is None else bits.xor(left.valid, met))


def with_mark(left: Relation, mark: Field, value: Truth) -> Relation:
    """The left's rows with one more column."""
    return Relation(left.slots, left.valid, left.columns | {mark.number: value}, left.clear, left.real)


def brought_columns(node: ByKey, build: Relation) -> dict[int, Value]:
    """The build side's columns that its rows bring to the probe's."""
    return {number: value for number, value in build.columns.items() if number in carried(node)}


def _mark(session: Session, met: Bits, unknown: Bits | None) -> Truth:
    if unknown is None:
        return Truth(met)
    [none] = bits.and_many(session, [(bits.not_(session, met), bits.not_(session, unknown))])
    return Truth(met, none)


def _unknown(session: Session, probe: Relation, build: Relation, nulls: tuple[Bits | None, Bits | None]) -> Bits:
    """Where the key is NULL for some build row: it is NULL itself and there is a row, or a row's key is NULL."""
    own, theirs = nulls
    found = bits.constant(session, probe.slots, False)
    if own is not None:
        there = bits.constant(session, build.slots, True) if build.valid is None else build.valid
        found = bits.and_(session, own, bits.repeat(bits.all_or(session, there), probe.slots))
    if theirs is not None:
        some = theirs if build.valid is None else bits.and_(session, theirs, build.valid)
        found = bits.or_(session, found, bits.repeat(bits.all_or(session, some), probe.slots))
    return found


def _padded(session: Session, brought: dict[int, Value], met: Bits) -> dict[int, Value]:
    """The columns, NULL where there is no match: one AND for each bit of theirs, all in one round."""
    none, flags = bits.not_(session, met), list[Bits]()
    for value in brought.values():
        flags += [part for part in columns_of(value) if isinstance(part, Bits)]
    kept = iter(bits.and_many(session, [(flag, met) for flag in flags]))
    found: dict[int, Value] = {}
    for number, value in brought.items():
        if isinstance(value, Truth):
            true = next(kept)
            found[number] = Truth(true, bits.xor(true, met) if value.false is None else next(kept))
            continue
        null = none if value.null is None else bits.xor(next(kept), none)
        found[number] = Number(value.share, null) if isinstance(value, Number) else Text(value.words, null)
    return found
