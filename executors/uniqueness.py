"""A declared key, checked on shares: two rows that are there and agree in it are an error, of which nothing else shows."""

from __future__ import annotations

from sdh.executors import bits
from sdh.executors.arithmetic import to_arithmetic
from sdh.executors.bits import Bits
from sdh.executors.key_limbs import coded, neighbours
from sdh.executors.scope import Scope
from sdh.executors.shares import raw
from sdh.executors.sorting import sort
from sdh.executors.values import Relation, null_of
from sdh.planners.expressions import Ref
from sdh.planners.physical import Unique


def unique(node: Unique, scope: Scope) -> Relation:
    """The rows as they are.

    1. The rows that are there with a key without NULL. 2. A copy of the key is sorted, these rows first. 3. Neighbours that
    are equal and both of these: an error bit each.
    """
    session, relation = scope.session, scope.relation
    if relation.slots < 2:
        return relation
    keys = [Ref(f) for f in node.key]
    usable = _usable(scope, keys)
    found = coded(keys, scope, usable)
    late = [] if usable is None else [(raw(to_arithmetic(session, bits.not_(session, usable))), 2)]
    record = [*(() if usable is None else (usable,)), *(part for key in found for part in key.shares)]
    moved = sort(session, [*late, *(limb for key in found for limb in key.limbs)], record)
    there = None if usable is None else moved.pop(0)
    copies = []
    for key in found:
        shares, moved = moved[: len(key.shares)], moved[len(key.shares) :]
        copies.append(key.of(shares))
    same = neighbours(session, copies)
    assert same is not None
    if there is not None:
        assert isinstance(there, Bits)
        same = bits.and_(session, same, bits.slice_(there, 1, relation.slots))
    scope.errors.append(bits.concat([same, bits.constant(session, 1, False)]))
    return relation


def _usable(scope: Scope, keys: list[Ref]) -> Bits | None:
    session = scope.session
    nulls = [null_of(scope.relation.columns[key.field.number], session) for key in keys]
    terms = [bits.not_(session, null) for null in nulls if null is not None]
    terms = [*([] if scope.relation.valid is None else [scope.relation.valid]), *terms]
    whole = terms[0] if terms else None
    for term in terms[1:]:
        assert whole is not None
        whole = bits.and_(session, whole, term)
    return whole
