"""SQL's three-valued logic on bits of TRUE and FALSE."""

from __future__ import annotations

from collections.abc import Sequence

from sdh.executors import bits
from sdh.executors.bits import Bits
from sdh.executors.scope import Scope
from sdh.executors.values import Truth, false_of


def connective(function: str, parts: Sequence[Truth], scope: Scope) -> Truth:
    """AND or OR of all parts, from the first on."""
    found = parts[0]
    for part in parts[1:]:
        found = (
            _and(found, part, scope)
            if function == "AND"
            else negated(_and(negated(found, scope), negated(part, scope), scope), scope)
        )
    return found


def negated(t: Truth, scope: Scope) -> Truth:
    """NOT."""
    return Truth(bits.not_(scope.session, t.true)) if t.false is None else Truth(t.false, t.true)


def _and(a: Truth, b: Truth, scope: Scope) -> Truth:
    """TRUE where both are, FALSE where one is."""
    if a.false is None and b.false is None:
        return Truth(bits.and_(scope.session, a.true, b.true))
    session = scope.session
    not_false = [bits.not_(session, false_of(t, session)) for t in (a, b)]
    true, possible = bits.and_many(session, [(a.true, b.true), (not_false[0], not_false[1])])
    return Truth(true, bits.not_(session, possible))


def with_null(outcome: Bits, null: Bits | None, scope: Scope) -> Truth:
    """An outcome that is NULL where `null` is set."""
    if null is None:
        return Truth(outcome)
    known = bits.not_(scope.session, null)
    true = bits.and_(scope.session, outcome, known)
    return Truth(true, bits.xor(known, true))


def extreme_truth(function: str, a: Truth, b: Truth, scope: Scope) -> Truth:
    """GREATEST is TRUE where one is, else FALSE where one is; LEAST the other way round."""
    session = scope.session
    (first, second), (third, fourth) = (a.true, b.true), (false_of(a, session), false_of(b, session))
    if function == "least":
        first, second, third, fourth = third, fourth, first, second
    wins, other = bits.or_many(session, [(first, second), (third, fourth)])
    loses = bits.and_(session, other, bits.not_(session, wins))
    return Truth(wins, loses) if function == "greatest" else Truth(loses, wins)
