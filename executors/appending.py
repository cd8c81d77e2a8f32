"""UNION ALL of relations on shares: rows one after the other. Moving them is local; only what is computed of them costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from sdh.executors import bits
from sdh.executors.bits import Bits
from sdh.executors.evaluate import typed
from sdh.executors.runtime import Session
from sdh.executors.scope import Scope
from sdh.executors.values import Number, Relation, Text, Truth, Value, false_of, joined
from sdh.planners.derive_traits import traits
from sdh.planners.expressions import Expression
from sdh.planners.intervals import Shared
from sdh.planners.physical import Concat


def concat(session: Session, node: Concat, parts: Sequence[Relation], errors: list[Bits]) -> Relation:
    """The rows of all parts as the node's outputs: texts of one width, a NULL bit where any part has one."""
    scopes = [Scope(session, part, traits(below).ranges, errors) for part, below in zip(parts, node.inputs, strict=True)]
    columns: dict[int, Value] = {}
    for place, column in enumerate(traits(node).columns):
        found = [shaped(values[place], column, scope) for values, scope in zip(node.values, scopes, strict=True)]
        columns[column.field.number] = joined(found)
    return Relation(sum(part.slots for part in parts), _valid(scopes), columns)


def _valid(scopes: Sequence[Scope]) -> Bits | None:
    """Where a part's slots all hold rows, publicly, they are valid."""
    if all(scope.relation.valid is None for scope in scopes):
        return None
    return bits.concat([scope.bit(True) if scope.relation.valid is None else scope.relation.valid for scope in scopes])


def shaped(e: Expression, column: Shared, scope: Scope) -> Value:
    """A part's value with the width of the whole column and, where that has one, a NULL bit."""
    found = typed(e, column.field.type, scope, column.bytes)
    if not column.field.nullable:
        return found
    match found:
        case Number(_, null) | Text(_, null):
            return replace(found, null=scope.bit(False) if null is None else null)
        case Truth():
            return replace(found, false=false_of(found, scope.session))
        case _:
            assert_never(found)
