"""Aggregate below a join, at the owner: groups by what the join and the query read of that owner's rows.

SUM over matches = SUM of the owner's partial sums; a sum over other columns counts each row as often as the partial
group has rows; SUM(a * b) = SUM(a * partial SUM(b)); MIN and MAX pass. The join then meets unique keys, and fewer rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count

from sdh.planners import logical
from sdh.planners.expressions import (
    Apply,
    Cast,
    Constant,
    Expression,
    Field,
    Ref,
    conjunction,
    conjuncts,
    null_of_nulls,
    references,
)
from sdh.planners.facts import known
from sdh.planners.logical import Call, call_expressions
from sdh.planners.overflow import may_fail
from sdh.planners.placed import (
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
    computed_of,
    numbers_of,
    rewritten,
)
from sdh.schema import BIGINT, BOOLEAN, HUGEINT, Kind, Type

PARTIAL = frozenset({"sum", "count", "count_star", "min", "max", "sum_count"})


def push_aggregates(top: Top, numbers: count[int]) -> Iterator[Top]:
    """The plans that differ from `top` in one or more owners' rows being aggregated first, for all readers of what is shared."""
    for variant in _variants(top.input, numbers):
        yield replace(top, input=variant)
    for shared in computed_of(top.input):
        for variant in _variants(shared.input, numbers):
            yield replace(top, input=_replaced(top.input, shared, replace(shared, input=variant)))


def _replaced(node: Secure, old: Secure, new: Secure) -> Secure:
    return rewritten(node, lambda one: new if one == old else one)


def _variants(node: Secure, numbers: count[int]) -> Iterator[Secure]:
    match node:
        case Local() | Computed():
            return
        case Joined(parts):
            for i, part in enumerate(parts):
                for variant in _variants(part, numbers):
                    yield replace(node, parts=(*parts[:i], variant, *parts[i + 1 :]))
        case Combined(_, left, right):
            for variant in _variants(left, numbers):
                yield replace(node, left=variant)
            for variant in _variants(right, numbers):
                yield replace(node, right=variant)
        case Filtered(input) | Limited(input) | Cut(input) | Noised(input):
            for variant in _variants(input, numbers):
                yield replace(node, input=variant)
        case Grouped(input):
            for variant in _variants(input, numbers):
                yield replace(node, input=variant)
            yield from _pushed(node, numbers)
            yield from _below_left(node, numbers)


def _below_left(node: Grouped, numbers: count[int]) -> Iterator[Grouped]:
    """The right side of a LEFT join aggregates first: a row of the left then meets one at most, and none counts as one.

    A call over the right's columns must not count rows of NULL, which the partial ones have not seen.
    """
    match node.input:
        case Combined("LEFT", _, Local() as right, condition) if not isinstance(right.node, logical.Aggregate):
            own = numbers_of(right)
        case _:
            return
    read = [e for call in node.calls for e in call_expressions(call) if references(e) & own]
    if not all(map(null_of_nulls, read)) or any(may_fail(e, known(right.node).columns) for e in read):
        return
    partial = _Partial(numbers, Field(next(numbers), "rows", BIGINT), padded=True)
    calls = [_split(call, own, partial) for call in node.calls]
    kept = references(condition, *(e for _, e in node.keys)) & own
    keys = tuple((f, Ref(f)) for f in logical.fields(right.node) if f.number in kept)
    if keys and all(call is not None for call in calls):
        partial.calls.append(Call(partial.rows, "count_star", ()))
        local = Local(right.party, logical.Aggregate(right.node, keys, tuple(partial.calls)))
        yield replace(node, input=replace(node.input, right=local), calls=tuple(call for call in calls if call is not None))


def _pushed(node: Grouped, numbers: count[int]) -> Iterator[Grouped]:
    """Each owner alone, then one after the other all that can."""
    found = [_below(node, i, numbers) for i in range(len(_joined(node).parts))] if _is_join(node) else []
    yield from (one for one in found if one is not None)
    whole: Grouped | None = node
    for i, one in enumerate(found):
        if one is not None and whole is not None:
            whole = _below(whole, i, numbers)
    if whole is not None and sum(one is not None for one in found) > 1:
        yield whole


def _is_join(node: Grouped) -> bool:
    return isinstance(node.input, Joined) or isinstance(node.input, Filtered) and isinstance(node.input.input, Joined)


def _joined(node: Grouped) -> Joined:
    inner = node.input.input if isinstance(node.input, Filtered) else node.input
    assert isinstance(inner, Joined)
    return inner


@dataclass(slots=True)
class _Partial:
    """What is computed at the owner: partial calls, and how often each group counts."""

    numbers: count[int]
    rows: Field
    calls: list[Call] = field(default_factory=list)
    padded: bool = False
    """An outer join gives rows without a group: each counts once."""

    @property
    def weight(self) -> Expression:
        """How often a row counts."""
        one = Constant(BIGINT, 1, "1")
        return Apply("coalesce", (Ref(self.rows), one), BIGINT, nullable=False) if self.padded else Ref(self.rows)

    def column(self, function: str, arguments: tuple[Expression, ...], condition: Expression | None, like: Field) -> Ref:
        nullable = function not in ("count", "count_star")
        output = Field(next(self.numbers), "", BIGINT if not nullable else like.type, nullable)
        self.calls.append(Call(output, function, arguments, filter=condition))
        return Ref(output)


def _below(node: Grouped, place: int, numbers: count[int]) -> Grouped | None:
    """The owner of part `place` aggregates first; None where a call does not come apart."""
    joined = _joined(node)
    part = joined.parts[place]
    if not isinstance(part, Local) or isinstance(part.node, logical.Aggregate):
        return None
    own = numbers_of(part)
    columns = {n: c for one in joined.parts if isinstance(one, Local) for n, c in known(one.node).columns.items()}
    if any(may_fail(e, columns) for call in node.calls for e in call_expressions(call) if references(e) & own):
        return None  # it would fail on rows that the join drops, or not fail where a product of single rows would
    partial = _Partial(numbers, Field(next(numbers), "rows", BIGINT, nullable=False))
    calls = [_split(call, own, partial) for call in node.calls]
    if any(call is None for call in calls):
        return None
    outside = [
        *joined.conjuncts,
        *(e for _, e in node.keys),
        *([node.input.predicate] if isinstance(node.input, Filtered) else []),
    ]
    kept = references(*outside) & own
    keys = tuple((f, Ref(f)) for f in logical.fields(part.node) if f.number in kept)
    if not keys:
        return None
    partial.calls.append(Call(partial.rows, "count_star", ()))
    local = Local(part.party, logical.Aggregate(part.node, keys, tuple(partial.calls)))
    new_join: Secure = replace(joined, parts=(*joined.parts[:place], local, *joined.parts[place + 1 :]))
    if isinstance(node.input, Filtered):
        new_join = Filtered(new_join, node.input.predicate)
    return replace(node, input=new_join, calls=tuple(call for call in calls if call is not None))


def _split(call: Call, own: frozenset[int], partial: _Partial) -> Call | None:
    """The call over partial results; None where it needs single rows of the owner."""
    read = references(*call.arguments, call.filter)
    if call.function not in PARTIAL or call.distinct:
        return None
    if not read & own:
        return _weighted(call, partial)
    if read <= own:
        return _of_partials(call, partial)
    return _product(call, own, partial) if call.function == "sum" and call.filter is None else None


def _weighted(call: Call, partial: _Partial) -> Call:
    """Over other columns: every row stands for as many as the partial group has."""
    rows = partial.weight
    match call.function:
        case "min" | "max":
            return call
        case "count_star":
            return replace(call, function="sum_count", arguments=(rows,))
        case "count":
            present = Apply("NOT", (Apply("IS NULL", call.arguments, BOOLEAN, nullable=False),), BOOLEAN, nullable=False)
            return replace(call, function="sum_count", arguments=(rows,), filter=conjunction([*conjuncts(call.filter), present]))
        case _:
            (argument,) = call.arguments
            product: Expression = Apply("*", (argument, rows), call.output.type, argument.nullable)
            if not references(argument):  # the owner computes it, in whose SQL a product is of another type than a sum
                product = Cast(product, call.output.type)
            return replace(call, arguments=(product,))


def _of_partials(call: Call, partial: _Partial) -> Call:
    column = partial.column("sum" if call.function == "sum_count" else call.function, call.arguments, call.filter, call.output)
    function = "sum_count" if call.function in ("count", "count_star", "sum_count") else call.function
    return replace(call, function=function, arguments=(column,), filter=None)


def _product(call: Call, own: frozenset[int], partial: _Partial) -> Call | None:
    """SUM(a * b) with b the owner's: a * partial SUM(b)."""
    match call.arguments:
        case (Apply("*", (left, right), _, nullable),):
            ours, theirs = (left, right) if references(left) <= own and references(left) else (right, left)
            if not (references(ours) and references(ours) <= own) or references(theirs) & own:
                return None
            like = replace(call.output, type=_sum_type(ours))
            column = partial.column("sum", (ours,), None, like)
            return replace(call, arguments=(Apply("*", (theirs, column), call.output.type, nullable),))
        case _:
            return None


def _sum_type(e: Expression) -> Type:
    return Type(Kind.DECIMAL, 38, e.type.scale) if e.type.kind is Kind.DECIMAL else HUGEINT
