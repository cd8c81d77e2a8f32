"""Move what one owner can compute into its fragment: shares then carry results, not what they were computed from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from typing import assert_never

from sdh.errors import Unsupported, WidthError
from sdh.planners import logical
from sdh.planners.expressions import (
    COMPARISONS,
    TRUE,
    Apply,
    Constant,
    Expression,
    Field,
    Ref,
    children,
    conjunction,
    conjuncts,
    null_of_nulls,
    rebuild,
    references,
    substitute,
)
from sdh.planners.facts import computed, known
from sdh.planners.overflow import may_fail
from sdh.planners.placed import (
    Appended,
    Combined,
    Computed,
    Cut,
    Filtered,
    Grouped,
    Joined,
    Limited,
    Local,
    Noised,
    Secure,
    Top,
    appended_of,
    leaves_of,
    locals_of,
    numbers_of,
)
from sdh.planners.prune_columns import prune_columns
from sdh.planners.quotients import exact_below_cast, gathered, is_quotient, shortened
from sdh.planners.render import readable
from sdh.schema import BOOLEAN

COMPARED = COMPARISONS | {"BETWEEN", "IN"}
"""Where a quotient may stand as an exact pair."""


@dataclass(slots=True)
class _Pusher:
    """Collects, for each Local leaf and Appended (by its position), the columns that are computed there."""

    leaves: list[Local | Appended]
    numbers: count[int]
    new: dict[Expression, tuple[int, Field]] = field(default_factory=dict)
    padded: set[int] = field(default_factory=set)
    """Leaves whose rows an outer join has padded with NULL: only what is NULL of NULLs may still be computed there."""
    done: dict[Computed, Computed] = field(default_factory=dict)
    """What became of what several read, by what it was."""

    def pushed(self, e: Expression, *, guarded: bool = True) -> Expression:
        """`e` with every maximal subexpression over one leaf's columns replaced by a column of that leaf.

        One that may fail on rows that are not in the result must not fail the query: `guarded`, it comes with a
        column that says whether it failed, which counts only where the row is there.
        """
        if isinstance(e, (Ref, Constant)):
            return e
        leaf = self._leaf(e)
        # on shares a quotient stays an exact pair, and what it is compared with is not cast to DOUBLE either
        if leaf is None and isinstance(e, Apply) and any(_meets_as_quotient(a, e) and not self._whole(a) for a in e.arguments):
            e = rebuild(e, tuple(exact_below_cast(a) or a for a in e.arguments))
        if leaf is not None and _shareable(e, self.leaves[leaf]):
            if guarded and _fails(e, self.leaves[leaf]):
                value = Apply("try_value", (e,), e.type)
                failed = Apply("try_failed", (e,), BOOLEAN, nullable=False)
                return Apply("guarded", (self._column(leaf, value), self._column(leaf, failed)), e.type)
            return self._column(leaf, e)
        if leaf is None and isinstance(e, Apply) and e.function in ("AND", "OR"):
            e = self._regrouped(e)
        parts = tuple(self.pushed(child, guarded=guarded) for child in children(e))
        return rebuild(e, tuple(map(gathered, parts)) if isinstance(e, Apply) and e.function in COMPARED else parts)

    def _leaf(self, e: Expression) -> int | None:
        """The leaf that can compute all of it."""
        read = references(e)
        leaf = next((i for i, local in enumerate(self.leaves) if read and read <= numbers_of(local)), None)
        return None if leaf in self.padded and not null_of_nulls(e) else leaf

    def _regrouped(self, e: Apply) -> Apply:
        """The operands of an AND or OR, those of one leaf as one: a single column is shared for all of them."""
        found: list[tuple[int | None, list[Expression]]] = []
        for part in _operands(e):
            leaf = self._leaf(part)
            sure = leaf is not None and leaf not in self.padded and not _fails(part, self.leaves[leaf])
            group = next((parts for place, parts in found if sure and place == leaf), None)
            if group is None:
                found.append((leaf if sure else None, [part]))
            else:
                group.append(part)
        return Apply(e.function, tuple(_connected(e.function, parts) for _, parts in found), e.type, e.nullable)

    def _whole(self, e: Expression) -> bool:
        """One owner computes all of it."""
        return any(references(e) <= numbers_of(local) for local in self.leaves)

    def _column(self, leaf: int, e: Expression) -> Ref:
        if e not in self.new:
            self.new[e] = (leaf, Field(next(self.numbers), readable(e), e.type, e.nullable))
        return Ref(self.new[e][1])

    def of(self, numbers: frozenset[int]) -> tuple[tuple[Field, Expression], ...]:
        """What is computed at the leaf that puts out these fields."""
        places = {i for i, leaf in enumerate(self.leaves) if numbers_of(leaf) == numbers}
        return tuple((f, e) for e, (place, f) in self.new.items() if place in places)

    def at(self, input: Secure, e: Expression) -> Expression:
        """A value of an appended input, computed by its owner."""
        assert isinstance(input, Local)
        return e if isinstance(e, (Ref, Constant)) else self._column(self.leaves.index(input), e)


def _meets_as_quotient(operand: Expression, e: Apply) -> bool:
    return is_quotient(gathered(operand) if e.function in COMPARED else operand)


def _operands(e: Apply) -> Iterator[Expression]:
    """Of an AND within ANDs, or an OR within ORs, from left to right."""
    for part in e.arguments:
        if isinstance(part, Apply) and part.function == e.function:
            yield from _operands(part)
        else:
            yield part


def _connected(function: str, parts: list[Expression]) -> Expression:
    return parts[0] if len(parts) == 1 else Apply(function, tuple(parts), BOOLEAN, any(part.nullable for part in parts))


def _shareable(e: Expression, leaf: Local | Appended) -> bool:
    """Its owner, or the owner of every appended input, can compute and share it."""
    if isinstance(leaf, Appended):
        parts = zip(_of_inputs(e, leaf), leaf.inputs, strict=True)
        return all(isinstance(part, Local) and _shareable(one, part) for one, part in parts)
    try:
        computed(Field(0, "", e.type, e.nullable), e, known(leaf.node).columns)
    except (Unsupported, WidthError):
        return False
    return True


def _fails(e: Expression, leaf: Local | Appended) -> bool:
    if isinstance(leaf, Local):
        return may_fail(e, known(leaf.node).columns)
    return any(isinstance(part, Local) and _fails(one, part) for one, part in zip(_of_inputs(e, leaf), leaf.inputs, strict=True))


def _of_inputs(e: Expression, node: Appended) -> list[Expression]:
    """An expression over the outputs as one over each input."""
    numbers = [f.number for f in node.outputs]
    return [substitute(e, dict(zip(numbers, values, strict=True))) for values in node.values]


def push_expressions(top: Top, numbers: count[int]) -> Top:
    """Move what one owner can compute into its fragment; fragments put out what is read on shares and no more."""
    pusher = _Pusher([*leaves_of(top), *dict.fromkeys(appended_of(top.input))], numbers)
    input = _rewrite(top.input, pusher)
    outputs = tuple((f, shortened(pusher.pushed(e))) for f, e in top.outputs)
    return _pruned(replace(top, input=_with_columns(input, pusher), outputs=outputs))


def _rewrite(node: Secure, pusher: _Pusher) -> Secure:
    match node:
        case Local():
            return node
        case Joined(parts, wanted):
            return Joined(tuple(_rewrite(part, pusher) for part in parts), tuple(_pushed_condition(c, pusher) for c in wanted))
        case Appended(inputs, _, values):
            below_all = tuple(_rewrite(part, pusher) for part in inputs)
            return replace(node, inputs=below_all, values=tuple(tuple(pusher.pushed(e) for e in row) for row in values))
        case Combined(kind, left, right, condition):
            sides = _rewrite(left, pusher), _rewrite(right, pusher)
            met = conjunction([_pushed_condition(c, pusher) for c in conjuncts(condition)])
            hidden = {"LEFT": [right], "SINGLE": [right], "FULL": [left, right]}.get(kind, [])
            padded: list[Local | Appended] = [leaf for side in hidden for leaf in locals_of(side)]
            padded += [leaf for side in hidden for leaf in appended_of(side)]
            pusher.padded |= {pusher.leaves.index(leaf) for leaf in padded}
            return replace(node, left=sides[0], right=sides[1], condition=met)
        case Filtered(input, predicate):
            return Filtered(_rewrite(input, pusher), conjunction([pusher.pushed(c) for c in conjuncts(predicate)]) or predicate)
        case Grouped(input, keys, calls):
            below = _rewrite(input, pusher)
            new_calls = tuple(
                replace(
                    call,
                    arguments=tuple(pusher.pushed(a) for a in call.arguments),
                    filter=None if call.filter is None else pusher.pushed(call.filter),
                )
                for call in calls
            )
            return _guarded_keys(below, tuple((f, pusher.pushed(e)) for f, e in keys), new_calls)
        case Cut(input, keys):
            return replace(node, input=_rewrite(input, pusher), keys=tuple(pusher.pushed(e, guarded=False) for e in keys))
        case Noised(input):
            return replace(node, input=_rewrite(input, pusher))
        case Limited(input, order):
            below = _rewrite(input, pusher)
            return replace(node, input=below, keys=tuple(replace(key, expression=pusher.pushed(key.expression)) for key in order))
        case Computed(input, outputs):
            if node not in pusher.done:
                pusher.done[node] = Computed(_rewrite(input, pusher), tuple((f, pusher.pushed(e)) for f, e in outputs))
            return pusher.done[node]
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
        case Apply("=", arguments) if not any(_meets_as_quotient(side, conjunct) for side in arguments):
            return rebuild(conjunct, tuple(pusher.pushed(side, guarded=False) for side in arguments))
        case _:
            return pusher.pushed(conjunct)


def _with_columns(node: Secure, pusher: _Pusher) -> Secure:
    """From the top, since what an Appended puts out more is computed by its inputs."""
    match node:
        case Local(party, inner):
            added = pusher.of(numbers_of(node))
            same = tuple((f, Ref(f)) for f in logical.fields(inner))
            return Local(party, logical.Project(inner, same + added)) if added else node
        case Joined(parts):
            return replace(node, parts=tuple(_with_columns(part, pusher) for part in parts))
        case Appended(inputs, outputs, values):
            new = pusher.of(numbers_of(node))
            more = [[pusher.at(part, _of_inputs(e, node)[i]) for _, e in new] for i, part in enumerate(inputs)]
            values = tuple((*row, *added) for row, added in zip(values, more, strict=True))
            outputs = (*outputs, *(f for f, _ in new))
            return replace(node, inputs=tuple(_with_columns(part, pusher) for part in inputs), outputs=outputs, values=values)
        case Combined(_, left, right):
            return replace(node, left=_with_columns(left, pusher), right=_with_columns(right, pusher))
        case Filtered(input) | Grouped(input) | Limited(input) | Computed(input) | Cut(input) | Noised(input):
            return replace(node, input=_with_columns(input, pusher))
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
        case Appended(inputs):  # its values are read where its outputs are
            return [e for part in inputs for e in _read(part)]
        case Combined(_, left, right, condition):
            return [*([] if condition is None else [condition]), *_read(left), *_read(right)]
        case Filtered(input, predicate):
            return [predicate, *_read(input)]
        case Grouped(input, keys, calls):
            found = [e for _, e in keys] + [a for call in calls for a in call.arguments]
            return found + [call.filter for call in calls if call.filter is not None] + _read(input)
        case Cut(input, keys):
            return [*keys, *_read(input)]
        case Noised(input, noises):
            return [*(Ref(noise.input) for noise in noises), *_read(input)]
        case Limited(input, order):
            return [*(key.expression for key in order), *_read(input)]
        case Computed(input, outputs):
            return [*(e for _, e in outputs), *_read(input)]
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
        case Appended(inputs, outputs, values, unique):
            places = [place for place, f in enumerate(outputs) if f.number in read]
            rows = tuple(tuple(row[place] for place in places) for row in values)
            wanted = read | references(*(e for row in rows for e in row))
            slim = tuple(_slim(part, wanted) for part in inputs)
            return Appended(slim, tuple(outputs[place] for place in places), rows, tuple(key for key in unique if key <= read))
        case Combined(_, left, right):
            return replace(node, left=_slim(left, read), right=_slim(right, read))
        case Filtered(input) | Grouped(input) | Limited(input) | Cut(input) | Noised(input):
            return replace(node, input=_slim(input, read))
        case Computed(input, outputs):
            return Computed(_slim(input, read), tuple(pair for pair in outputs if pair[0].number in read))
        case _:
            assert_never(node)
