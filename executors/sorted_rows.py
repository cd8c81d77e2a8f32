"""Rows in an order on shares: one of each value marked (DISTINCT), all but so many cut, or the first ones (LIMIT)."""

from __future__ import annotations

from sdh.executors import bits
from sdh.executors.arithmetic import to_arithmetic
from sdh.executors.compaction import columns_of as as_columns
from sdh.executors.compaction import compact
from sdh.executors.evaluate import evaluate
from sdh.executors.key_limbs import coded, falling, neighbours
from sdh.executors.permute import Given, shuffle
from sdh.executors.records import (
    Parts,
    as_bits,
    bit_of,
    coded_shapes,
    flat,
    hollow,
    regrouped,
    row_limbs,
    rows_between,
    shapes,
    without_columns,
)
from sdh.executors.scope import Scope
from sdh.executors.shares import raw
from sdh.executors.sorting import sort, top_k
from sdh.executors.values import Relation, Truth, flatten, optional, unflatten
from sdh.executors.weighing import weight_of
from sdh.planners.physical import Cut, MarkDistinct, TopK


def mark_distinct(node: MarkDistinct, scope: Scope) -> Relation:
    """Rows sorted by (is not there, keys, is not counted, argument); the first of equal counted ones is marked."""
    session, valid = scope.session, scope.relation.valid
    counted = weight_of(valid, node.filter, evaluate(node.argument, scope), scope)
    keys = coded(node.keys, scope, valid)
    [argument] = coded([node.argument], scope, counted)
    limbs = row_limbs(session, keys, valid)
    if counted is not None and counted is not valid:
        limbs.append((raw(to_arithmetic(session, bits.not_(session, counted))), 2))
    kept = {number: value for number, value in scope.relation.columns.items() if number in node.kept}
    limbs += argument.limbs
    parts: Parts = [optional(valid), optional(counted), *(key.record for key in (*keys, argument)), flatten(kept)]
    record, parts, keys = Given(flat(parts)), hollow(parts), coded_shapes([*keys, argument])
    kept, scope = dict(zip(kept, shapes(list(kept.values())), strict=True)), without_columns(scope)
    del argument
    [there, count, *coded_keys, columns] = regrouped(parts, sort(session, limbs, record))
    moved = [key.of(one) for key, one in zip(keys, coded_keys, strict=True)]
    first = scope.bit(True) if counted is None else as_bits(count[0])
    same = neighbours(session, moved) if scope.rows > 1 else None
    if same is not None:
        new = bits.concat([bits.constant(session, 1, True), bits.not_(session, same)])
        first = new if counted is None else bits.and_(session, first, new)
    return Relation(scope.rows, bit_of(there), unflatten(kept, columns) | {node.mark.number: Truth(first)})


def cut(node: Cut, scope: Scope) -> Relation:
    """At most so many rows of each value of the keys (privacy.md: the bound on what one unit contributes).

    1. A shuffle, so that which of equal keys come first is random. 2. Sort by (is not there, keys), which is stable. 3. A row
    stays unless the one `most` places before has its keys: an equality a row, and nothing is counted.
    """
    session, valid, rows = scope.session, scope.relation.valid, scope.rows
    kept = {number: value for number, value in scope.relation.columns.items() if number in node.kept}
    if rows <= node.most:
        return Relation(rows, scope.bit(True) if valid is None else valid, kept)
    keys = coded(node.keys, scope, valid)
    parts: Parts = [optional(valid), *(key.record for key in keys), flatten(kept)]
    parts = regrouped(parts, shuffle(session, flat(parts)))
    there, keys = bit_of(parts[0]), [key.of(record) for key, record in zip(keys, parts[1:-1], strict=True)]
    parts = regrouped(parts, sort(session, row_limbs(session, keys, there), flat(parts)))
    there, keys = bit_of(parts[0]), [key.of(record) for key, record in zip(keys, parts[1:-1], strict=True)]
    same = neighbours(session, keys, node.most)
    later = bits.constant(session, rows - node.most, False) if same is None else bits.not_(session, same)
    first = bits.concat([bits.constant(session, node.most, True), later])
    return Relation(rows, first if there is None else bits.and_(session, first, there), unflatten(kept, parts[-1]))


def first_rows(node: TopK, scope: Scope) -> Relation:
    """The rows at places offset .. offset + limit - 1 of a sort by (is not there, keys)."""
    session, valid, relation = scope.session, scope.relation.valid, scope.relation
    rows = relation.slots if node.limit is None else min(relation.slots, node.offset + node.limit)
    kept = {number: value for number, value in relation.columns.items() if number in node.kept}
    parts: Parts = [optional(valid), flatten(kept)]
    if node.keys:
        high = [key.nulls_first == key.descending for key in node.keys]
        keys = coded([key.expression for key in node.keys], scope, valid, high)
        falls = [*[False] * (valid is not None), *falling(keys, [key.descending for key in node.keys])]
        limbs, record, slots = row_limbs(session, keys, valid), Given(flat(parts)), relation.slots
        kept, scope, parts = dict(zip(kept, shapes(list(kept.values())), strict=True)), without_columns(scope), hollow(parts)
        del keys, relation
        moved = sort(session, limbs, record, falls) if rows == slots else top_k(session, limbs, record, rows, falls)
    elif valid is not None:
        moved = compact(session, valid, flat(parts))
    else:
        moved = as_columns(flat(parts))
    [there, columns] = regrouped(parts, rows_between(moved, min(node.offset, rows), rows))
    return Relation(rows - min(node.offset, rows), bit_of(there), unflatten(kept, columns))
