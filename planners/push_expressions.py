"""Move what one owner can compute into its fragment: shares then carry results, not what they were computed from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import count
from typing import assert_never

from sdh.errors import Unsupported, WidthError
from sdh.planners import logical
from sdh.planners.expressions import (
    TRUE,
    Apply,
    Constant,
    Expression,
    Field,
    Ref,
    children,
    conjunction,
    conjuncts,
    rebuild,
    references,
)
from sdh.planners.facts import computed, known
from sdh.planners.placed import Filtered, Grouped, Joined, Local, Secure, Top, leaves_of, numbers_of
from sdh.planners.prune_columns import prune_columns
from sdh.planners.quotients import is_quotient
from sdh.planners.ranges import exact_below_cast, may_fail
from sdh.planners.render import readable
from sdh.schema import BOOLEAN


@dataclass(slots=True)
class _Pusher:
    """Collects, for each Local leaf (by its position), the columns that are computed there."""

    leaves: list[Local]
    numbers: count[int]
    new: dict[Expression, tuple[int, Field]] = field(default_factory=dict)

    def pushed(self, e: Expression, *, guarded: bool = True) -> Expression:
        """`e` with every maximal subexpression over one leaf's columns replaced by a column of that leaf.

        One that may fail on rows that are not in the result must not fail the query: `guarded`, it comes with a
        column that says whether it failed, which counts only where the row is there.
        """
        if isinstance(e, (Ref, Constant)):
            return e
        read = references(e)
        leaf = next((i for i, local in enumerate(self.leaves) if read and read <= numbers_of(local)), None)
        # on shares a quotient stays an exact pair, and what it is compared with is not cast to DOUBLE either
        if leaf is None and isinstance(e, Apply) and any(is_quotient(a) and not self._whole(a) for a in e.arguments):
            e = rebuild(e, tuple(exact_below_cast(a) or a for a in e.arguments))
        if leaf is not None and _shareable(e, self.leaves[leaf]):
            if guarded and may_fail(e, known(self.leaves[leaf].node).columns):
                value = Apply("try_value", (e,), e.type)
                failed = Apply("try_failed", (e,), BOOLEAN, nullable=False)
                return Apply("guarded", (self._column(leaf, value), self._column(leaf, failed)), e.type)
            return self._column(leaf, e)
        return rebuild(e, tuple(self.pushed(child, guarded=guarded) for child in children(e)))

    def _whole(self, e: Expression) -> bool:
        """One owner computes all of it."""
        return any(references(e) <= numbers_of(local) for local in self.leaves)

    def _column(self, leaf: int, e: Expression) -> Ref:
        if e not in self.new:
            self.new[e] = (leaf, Field(next(self.numbers), readable(e), e.type, e.nullable))
        return Ref(self.new[e][1])


def _shareable(e: Expression, leaf: Local) -> bool:
    try:
        computed(Field(0, "", e.type, e.nullable), e, known(leaf.node).columns)
    except (Unsupported, WidthError):
        return False
    return True


def push_expressions(top: Top, numbers: count[int]) -> Top:
    """Move what one owner can compute into its fragment; fragments put out what is read on shares and no more."""
    leaves = list(leaves_of(top))
    pusher = _Pusher(leaves, numbers)
    input = _rewrite(top.input, pusher)
    outputs = tuple((f, pusher.pushed(e)) for f, e in top.outputs)
    by_leaf: dict[Local, list[tuple[Field, Expression]]] = {}
    for e, (leaf, f) in pusher.new.items():
        by_leaf.setdefault(leaves[leaf], []).append((f, e))
    return _pruned(Top(_with_columns(input, by_leaf), outputs, top.visible, top.order))


def _rewrite(node: Secure, pusher: _Pusher) -> Secure:
    match node:
        case Local():
            return node
        case Joined(parts, wanted):
            return Joined(tuple(_rewrite(part, pusher) for part in parts), tuple(_pushed_condition(c, pusher) for c in wanted))
        case Filtered(input, predicate):
            return Filtered(_rewrite(input, pusher), conjunction([pusher.pushed(c) for c in conjuncts(predicate)]) or predicate)
        case Grouped(input, keys, calls):
            new_calls = tuple(
                replace(
                    call,
                    arguments=tuple(pusher.pushed(a) for a in call.arguments),
                    filter=None if call.filter is None else pusher.pushed(call.filter),
                )
                for call in calls
            )
            return _guarded_keys(_rewrite(input, pusher), tuple((f, pusher.pushed(e)) for f, e in keys), new_calls)
        case _:
            assert_never(node)


def _guarded_keys(input: Secure, keys: tuple[tuple[Field, Expression], ...], calls: tuple[logical.Call, ...]) -> Grouped:
    """A key that may fail is its value's column, over a filter that drops no row and notes the failure."""
    guards: list[Expression] = []
    plain: list[tuple[Field, Expression]] = []
    for f, e in keys:
        match e:
            case Apply("guarded", (value, failed)):
                guards.append(Apply("guarded", (TRUE, failed), BOOLEAN))
                plain.append((f, value))
            case _:
                plain.append((f, e))
    predicate = conjunction(guards)
    return Grouped(input if predicate is None else Filtered(input, predicate), tuple(plain), calls)


def _pushed_condition(conjunct: Expression, pusher: _Pusher) -> Expression:
    """Join keys are computed for every row, by DuckDB too: they may fail at their owner."""
    match conjunct:
        case Apply("=", arguments) if not any(is_quotient(side) for side in arguments):
            return rebuild(conjunct, tuple(pusher.pushed(side, guarded=False) for side in arguments))
        case _:
            return pusher.pushed(conjunct)


def _with_columns(node: Secure, new: dict[Local, list[tuple[Field, Expression]]]) -> Secure:
    match node:
        case Local(party, inner):
            added = tuple(new.get(node, ()))
            same = tuple((f, Ref(f)) for f in logical.fields(inner))
            return Local(party, logical.Project(inner, same + added)) if added else node
        case Joined(parts):
            return replace(node, parts=tuple(_with_columns(part, new) for part in parts))
        case Filtered(input) | Grouped(input):
            return replace(node, input=_with_columns(input, new))
        case _:
            assert_never(node)


def _pruned(top: Top) -> Top:
    """Leaves put out only what is read on shares."""
    read = references(*(e for _, e in top.outputs), *_read(top.input))
    return replace(top, input=_slim(top.input, read))


def _read(node: Secure) -> list[Expression]:
    match node:
        case Local():
            return []
        case Joined(parts, wanted):
            return [*wanted, *(e for part in parts for e in _read(part))]
        case Filtered(input, predicate):
            return [predicate, *_read(input)]
        case Grouped(input, keys, calls):
            found = [e for _, e in keys] + [a for call in calls for a in call.arguments]
            return found + [call.filter for call in calls if call.filter is not None] + _read(input)
        case _:
            assert_never(node)


def _slim(node: Secure, read: frozenset[int]) -> Secure:
    match node:
        case Local(party, inner):
            kept = tuple((f, Ref(f)) for f in logical.fields(inner) if f.number in read)
            if len(kept) == len(logical.fields(inner)):
                return Local(party, prune_columns(inner))
            return Local(party, prune_columns(logical.Project(inner, kept)))
        case Joined(parts):
            return replace(node, parts=tuple(_slim(part, read) for part in parts))
        case Filtered(input) | Grouped(input):
            return replace(node, input=_slim(input, read))
        case _:
            assert_never(node)
