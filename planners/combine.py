"""Place a join that is not INNER: at one owner where it can be, else on shares, with as few rows of the right as will do."""

from __future__ import annotations

from dataclasses import replace

from sdh.planners import logical
from sdh.planners.expressions import Apply, Expression, Field, Ref, conjuncts, references
from sdh.planners.facts import known
from sdh.planners.placed import PUBLIC, Combined, Filtered, Joined, Local, Secure, numbers_of

OF_LEFT = ("SEMI", "ANTI", "MARK")
"""Kinds that only ask which of the left's rows meet one of the right's."""


def combine(kind: str, left: Secure, right: Secure, condition: Expression | None, mark: Field | None) -> Secure:
    """The join of two relations of several owners. Kinds but RIGHT and INNER."""
    if isinstance(right, Local) and kind in (*OF_LEFT, "SINGLE", "LEFT"):
        sunk = _sunk(kind, left, right, condition, mark)
        if sunk is not None:
            return sunk
    if isinstance(right, Local) and kind in OF_LEFT:
        right = replace(right, node=_once(right.node, condition))
    return Combined(kind, left, right, condition, mark)


def _sunk(kind: str, node: Secure, right: Local, condition: Expression | None, mark: Field | None) -> Secure | None:
    """The join done by the owner of the only relation that the condition reads of an inner join; None where it is another's.

    What a join of this kind adds to a row, or whether it keeps it, follows from that row alone.
    """
    match node:
        case Local(party, inner) if party == right.party or PUBLIC in (party, right.party):
            if references(condition) <= numbers_of(node) | numbers_of(right):
                return Local(party or right.party, logical.Join(kind, inner, right.node, condition, mark))
            return None
        case Filtered(input) if kind != "SINGLE":   # it might fail on rows that the filter drops
            below = _sunk(kind, input, right, condition, mark)
            return None if below is None else replace(node, input=below)
        case Joined(parts) if kind != "SINGLE":
            for i, part in enumerate(parts):
                below = _sunk(kind, part, right, condition, mark)
                if below is not None:
                    return replace(node, parts=(*parts[:i], below, *parts[i + 1 :]))
            return None
        case _:
            return None


def _once(right: logical.Node, condition: Expression | None) -> logical.Node:
    """The right's rows, each combination of what the condition reads once; one row if it reads nothing."""
    read = references(condition)
    columns = tuple((f, Ref(f)) for f in logical.fields(right) if f.number in read)
    if not columns:
        return logical.Limit(right, 1, 0)
    keys = {f.number for c in conjuncts(condition) for f in _equal(c)}
    if any(key <= keys for key in known(right).keys):
        return right
    return logical.Aggregate(right, columns, ())


def _equal(conjunct: Expression) -> list[Field]:
    match conjunct:
        case Apply("=", arguments):
            return [e.field for e in arguments if isinstance(e, Ref)]
        case _:
            return []
