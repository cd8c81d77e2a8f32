"""Constants on shares: public values, held by party 0."""

from __future__ import annotations

from sdh.errors import InternalError
from sdh.executors.codes import code_of_double
from sdh.executors.scope import Scope
from sdh.executors.text import constant_text
from sdh.executors.values import Number, Text, Truth, Value
from sdh.planners.expressions import Constant, Expression
from sdh.schema import Kind


def constant_value(e: Constant, scope: Scope) -> Value:
    """A constant in every row."""
    null = scope.bit(True) if e.value is None else None
    match e.type.kind:
        case Kind.BOOLEAN:
            return Truth(scope.bit(e.value is True), None if null is None else scope.bit(False))
        case Kind.VARCHAR:
            text = e.value if isinstance(e.value, str) else ""
            words = constant_text(text)
            return Text(tuple(scope.constant(word) for word in words), null)
        case _:
            return Number(scope.constant(ring_of(e)), null)


def ring_of(e: Constant) -> int:
    """What a constant is as a ring integer; 0 under NULL."""
    match e.value:
        case None:
            return 0
        case float() as value:
            return code_of_double(value)
        case str():
            raise InternalError("A constant of a type that shares do not hold.")
        case value:
            return int(value)


def is_null(e: Expression) -> bool:
    return isinstance(e, Constant) and e.value is None
