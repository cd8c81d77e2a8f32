"""Joins of relations on shares by keys: those that owners know, those that are sorted together on shares, a private table."""

from __future__ import annotations

import torch

from sdh.errors import InternalError
from sdh.executors import bits, sort_merge
from sdh.executors.align import Side, align
from sdh.executors.arithmetic import mux_many
from sdh.executors.bits import Bits
from sdh.executors.clear_keys import clear_keys, key_widths, numbered_keys
from sdh.executors.evaluate import operand_of
from sdh.executors.join_kinds import both_valid, brought_columns, outcome
from sdh.executors.lookup import lookup_private
from sdh.executors.private_tables import private_table, table_values
from sdh.executors.runtime import Session
from sdh.executors.scope import Scope
from sdh.executors.shares import Shared as Share
from sdh.executors.values import Number, Relation, Text, flatten, null_of, spread, unflatten
from sdh.planners.derive_traits import carried, traits
from sdh.planners.expressions import Expression, Ref
from sdh.planners.key_limbs import joint_limbs
from sdh.planners.key_words import numbered, table_bits
from sdh.planners.physical import Align, Expand, Lookup, SortMerge, inputs


def align_rows(session: Session, node: Align, probe: Relation, build: Relation, parties: tuple[str, ...],
               errors: list[Bits]) -> Relation:
    """The probe's rows, each with the build row of equal key: valid where there is one that is valid itself.

    Where a key stands in up to k build rows, each probe row stands k times, and its j-th copy meets the j-th of them: keys
    with their number are unique. Raises KeyViolated at their owner, before a share leaves, if a key stands in more.
    """
    if node.repeats > 1:
        probe = spread(probe, node.repeats, each=True)
    probe_rank, build_rank = parties.index(node.probe_party), parties.index(node.build_party)
    a, b = traits(node.probe).ranges, traits(node.build).ranges
    single = [width for pair in node.pairs for width in key_widths(pair, a, b)]
    widths = numbered(single, node.repeats)
    at_probe = session.at(probe_rank, lambda: numbered_keys(node, *clear_keys(node, probe, 0, a, b), single, 0))
    at_build = session.at(build_rank, lambda: numbered_keys(node, *clear_keys(node, build, 1, a, b), single, 1))
    sides = [
        Side(rank, relation.slots, None if keys is None else keys[0], None if keys is None else keys[1])
        for rank, relation, keys in ((probe_rank, probe, at_probe), (build_rank, build, at_build))
    ]
    brought = brought_columns(node, build)
    record = flatten(brought) + ([] if build.valid is None else [build.valid])
    match, payload = align(session, sides[0], sides[1], widths, record)
    if build.valid is not None:
        last = payload[-1]
        if not isinstance(last, Bits):
            raise InternalError("The build side's validity came back as a number.")
        match = last
    valid = match if probe.valid is None else bits.and_(session, match, probe.valid)
    nulls = [(null_of(probe.columns[a.number], session), null_of(build.columns[b.number], session)) for a, b in node.pairs]
    return outcome(session, node, probe, build, valid, unflatten(brought, payload), nulls, errors)


def sort_merge_rows(session: Session, node: SortMerge, probe: Relation, build: Relation, errors: list[Bits]) -> Relation:
    """The same of keys on shares, whoever knows them."""
    keys, widths = _keys_of(session, node, probe, build, errors)
    nulls = [(one[1], two[1]) for one, two in zip(*keys, strict=True)]
    sides = [_side(session, relation, key) for key, relation in zip(keys, (probe, build), strict=True)]
    brought = brought_columns(node, build)
    match, payload = sort_merge.sort_merge(session, sides[0], sides[1], widths, flatten(brought))
    return outcome(session, node, probe, build, match, unflatten(brought, payload), nulls, errors)


def expand_rows(session: Session, node: Expand, left: Relation, right: Relation, errors: list[Bits]) -> Relation:
    """All pairs of rows of equal keys in so many places; those that are not filled are not valid and hold 0."""
    keys, widths = _keys_of(session, node, left, right, errors)
    sides = [_side(session, relation, key) for key, relation in zip(keys, (left, right), strict=True)]
    kept = [{n: value for n, value in relation.columns.items() if n in node.kept} for relation in (left, right)]
    found = sort_merge.many_to_many(session, sides[0], sides[1], widths, flatten(kept[0]), flatten(kept[1]), node.slots)
    errors.append(found.overflow)
    return Relation(node.slots, found.valid, unflatten(kept[0], found.left) | unflatten(kept[1], found.right))


def lookup_rows(session: Session, node: Lookup, probe: Relation, build: Relation, parties: tuple[str, ...],
                errors: list[Bits]) -> Relation:
    """The probe's rows, each with what the table of the build's owner holds at its key."""
    scope = Scope(session, probe, traits(node.probe).ranges, errors)
    [pair], owner = node.pairs, parties.index(node.build.party)
    shape = joint_limbs(pair, traits(node.probe), traits(node.build))
    [size] = shape.bits
    [index], null = _limbs(node, pair, 0, scope)
    columns = [column for column in traits(node.build).columns if column.field.number in carried(node)]
    table = session.at(owner, lambda: private_table(node, build, shape.low, 1 << size, columns))
    widths = [abs(size) for column in columns for size in table_bits(column)]
    [[found], *parts] = lookup_private(session, index, 1 << size, owner, table, [1, *widths])
    met = found
    for usable in (probe.valid, None if null is None else bits.not_(session, null)):
        met = met if usable is None else bits.and_(session, met, usable)
    brought = table_values(session, columns, parts)
    own = build.columns[pair[1].field.number] if isinstance(pair[1], Ref) else None
    nulls = [(null, None if own is None else null_of(own, session))]
    return outcome(session, node, probe, build, met, brought, nulls, errors)


def _keys_of(session: Session, node: SortMerge | Expand, first: Relation, second: Relation,
             errors: list[Bits]) -> tuple[list[list[tuple[list[Share], Bits | None]]], list[int]]:
    """Of both sides every key's limbs and where it is NULL; bits of a difference of two, limb by limb."""
    scopes = [Scope(session, relation, traits(part).ranges, errors)
              for relation, part in zip((first, second), inputs(node), strict=True)]
    widths = [size + 1 for pair in node.pairs for size in joint_limbs(pair, *map(traits, inputs(node))).bits]
    return [[_limbs(node, pair, side, scope) for pair in node.pairs] for side, scope in enumerate(scopes)], widths


def _side(session: Session, relation: Relation, key: list[tuple[list[Share], Bits | None]]) -> sort_merge.Side:
    """The limbs, 0 where a row cannot match: what stands under NULL and in rows that are not there might not fit them."""
    limbs, usable = [limb for part, _ in key for limb in part], _usable(session, relation, [null for _, null in key])
    return sort_merge.Side(limbs if usable is None else mux_many(session, [(usable, limbs)])[0], usable)


def _limbs(node: SortMerge | Expand | Lookup, pair: tuple[Expression, Expression], side: int,
           scope: Scope) -> tuple[list[Share], Bits | None]:
    """One side's limbs of a key, none below 0, and where it is NULL."""
    shape = joint_limbs(pair, *map(traits, inputs(node)))
    value = operand_of(pair[side], pair[1 - side], scope).value
    if isinstance(value, Text):
        missing = len(shape.tops) - len(value.words)
        zero = torch.zeros_like(value.words[0])
        return [*value.words[:-1], *[zero] * missing, value.words[-1]], value.null
    assert isinstance(value, Number)
    return [value.share - scope.constant(shape.low)], value.null


def _usable(session: Session, relation: Relation, nulls: list[Bits | None]) -> Bits | None:
    """Rows that are there and whose key has no NULL."""
    found = relation.valid
    for null in nulls:
        found = found if null is None else both_valid(session, found, bits.not_(session, null))
    return found
