"""One of two values by a bit: numbers, texts or truths of one shape."""

from __future__ import annotations

from torch import Tensor

from sdh.errors import InternalError
from sdh.executors import bits
from sdh.executors.arithmetic import mux_many
from sdh.executors.bits import Bits
from sdh.executors.scope import Scope
from sdh.executors.shares import raw
from sdh.executors.values import Number, Text, Truth, Value, false_of


def chosen(bit: Bits, value: Value, otherwise: Value, scope: Scope) -> Value:
    """`value` where the bit is set, else `otherwise`; both of one shape."""
    session = scope.session
    match value, otherwise:
        case Number(a), Number(b):
            [[moved]] = mux_many(session, [(bit, [a - b])])
            return Number(b + raw(moved), _chosen_null(bit, value, otherwise, scope))
        case Text(words), Text(others):
            length = max(len(words), len(others))
            first, second = _widened(words, length, scope), _widened(others, length, scope)
            [moved_words] = mux_many(session, [(bit, [a - b for a, b in zip(first, second, strict=True)])])
            return Text(
                tuple(b + raw(m) for b, m in zip(second, moved_words, strict=True)), _chosen_null(bit, value, otherwise, scope)
            )
        case Truth(), Truth():
            true = _chosen_bit(bit, value.true, otherwise.true, scope)
            if value.false is None and otherwise.false is None:
                return Truth(true)
            return Truth(true, _chosen_bit(bit, false_of(value, session), false_of(otherwise, session), scope))
        case _:
            raise InternalError("Values of two kinds met in a choice.")


def _widened(words: tuple[Tensor, ...], length: int, scope: Scope) -> list[Tensor]:
    return [*words[:-1], *(scope.constant(0) for _ in range(length - len(words))), words[-1]]


def _chosen_bit(bit: Bits, a: Bits, b: Bits, scope: Scope) -> Bits:
    return bits.xor(b, bits.and_(scope.session, bit, bits.xor(a, b)))


def _chosen_null(bit: Bits, value: Number | Text, otherwise: Number | Text, scope: Scope) -> Bits | None:
    if value.null is None and otherwise.null is None:
        return None
    a, b = value.null or scope.bit(False), otherwise.null or scope.bit(False)
    return _chosen_bit(bit, a, b, scope)
