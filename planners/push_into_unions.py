"""Below an append on shares: each owner aggregates its rows first, and joins with the rows that all others meet anyway.

An aggregate over (A u B) is one over the few rows that A's and B's own aggregates leave. (A u B) join C = (A join C) u
(B join C): then what lies with one owner is joined in the clear, and keys that no owner of the whole knows are known again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count

from sdh.errors import Unsupported, WidthError
from sdh.planners import logical
from sdh.planners.columns import call_shared
from sdh.planners.combine import OF_LEFT, combine
from sdh.planners.expressions import Apply, Expression, Field, Ref, conjuncts, references, substitute
from sdh.planners.facts import known
from sdh.planners.logical import Call
from sdh.planners.place import bring_together
from sdh.planners.placed import (
    PUBLIC,
    Appended,
    Combined,
    Grouped,
    Joined,
    Local,
    Secure,
    Top,
    appended_of,
    numbers_of,
    rewritten,
)
from sdh.planners.push_aggregates import PARTIAL

Fits = Callable[[Local], bool]


def push_into_unions(top: Top, numbers: count[int]) -> Iterator[Top]:
    """The plans that differ from `top`: with aggregates below appends, with joins below them, with both.

    Joins with public tables, which cost nothing there, or with all relations that one owner has.
    """
    if not appended_of(top.input):
        return
    public = rewritten(top.input, lambda node: _join_below(node, numbers, lambda part: part.party == PUBLIC))
    every = rewritten(public, lambda node: _join_below(node, numbers, lambda _: True))
    seen = {top.input}
    for base in dict.fromkeys((top.input, public, every)):
        for variant in (rewritten(base, lambda node: _aggregate_below(node, numbers)), base):
            if variant not in seen:
                seen.add(variant)
                yield replace(top, input=variant)


# --- aggregates ----------------------------------------------------------------------------------


def _aggregate_below(node: Secure, numbers: count[int]) -> Secure:
    """Partial results of every input, appended, then one aggregate over them; as it is where a call does not come apart."""
    if not isinstance(node, Grouped) or not isinstance(node.input, Appended):
        return node
    if any(call.function not in PARTIAL or call.distinct for call in node.calls):
        return node
    whole = node.input
    outputs = [Field(next(numbers), f.name, f.type, f.nullable) for f, _ in node.keys]
    outputs += [_partial(call, next(numbers)) for call in node.calls]
    pairs = zip(whole.inputs, whole.values, strict=True)
    parts = [_aggregated(node, part, _over(whole, values), numbers) for part, values in pairs]
    refs = tuple(tuple(Ref(f) for f in fields) for _, fields in parts)
    met = Appended(tuple(part for part, _ in parts), tuple(outputs), refs)
    keys = tuple((f, Ref(output)) for (f, _), output in zip(node.keys, outputs, strict=False))
    made = outputs[len(keys) :]
    return Grouped(met, keys, tuple(_final(call, made[i], _within(call, whole)) for i, call in enumerate(node.calls)))


def _over(whole: Appended, values: tuple[Expression, ...]) -> dict[int, Expression]:
    """What the outputs are of one input."""
    return {f.number: e for f, e in zip(whole.outputs, values, strict=True)}


def _partial(call: Call, number: int) -> Field:
    return replace(call.output, number=number, nullable=call.function not in ("count", "count_star"))


def _aggregated(node: Grouped, part: Secure, values: dict[int, Expression], numbers: count[int]) -> tuple[Secure, list[Field]]:
    """An input's own groups, in the clear where one owner has it all, and what they put out."""
    keys = tuple((replace(f, number=next(numbers)), substitute(e, values)) for f, e in node.keys)
    calls = tuple(_own(call, values, next(numbers)) for call in node.calls)
    fields = [*(f for f, _ in keys), *(call.output for call in calls)]
    if not isinstance(part, Local):
        return Grouped(part, keys, calls), fields
    plain = tuple(replace(call, function="sum") if call.function == "sum_count" else call for call in calls)
    return Local(part.party, logical.Aggregate(part.node, keys, plain)), fields


def _own(call: Call, values: dict[int, Expression], number: int) -> Call:
    arguments = tuple(substitute(e, values) for e in call.arguments)
    condition = None if call.filter is None else substitute(call.filter, values)
    return replace(call, output=_partial(call, number), arguments=arguments, filter=condition)


def _final(call: Call, made: Field, within: tuple[int, int] | None) -> Call:
    function = "sum_count" if call.function in ("count", "count_star", "sum_count") else call.function
    return replace(call, function=function, arguments=(Ref(made),), filter=None, within=within)


def _within(call: Call, whole: Appended) -> tuple[int, int] | None:
    """What a sum or count over all rows of all inputs lies in: a sum of partial sums is no more than that."""
    if call.function in ("min", "max"):
        return None
    low = high = 0
    for part, values in zip(whole.inputs, whole.values, strict=True):
        if not isinstance(part, Local):
            return None
        try:
            facts = known(part.node)
            found = call_shared(_own(call, _over(whole, values), 0), facts.columns, facts.rows)
        except (Unsupported, WidthError, KeyError):
            return None
        low, high = low + min(found.low, 0), high + max(found.high, 0)
    return low, high


# --- joins ---------------------------------------------------------------------------------------


def _join_below(node: Secure, numbers: count[int], fits: Fits) -> Secure:
    """(A u B) join C as (A join C) u (B join C), where C is one owner's: its rows are shared once for each input."""
    match node:
        case Joined():
            return _inner_below(node, numbers, fits)
        case Combined(kind, Appended() as whole, Local() as right, condition, mark) if kind != "FULL" and fits(right):
            return _combined_below(whole, kind, right, condition, mark, numbers)
        case _:
            return node


def _inner_below(node: Joined, numbers: count[int], fits: Fits) -> Secure:
    """Each append takes the relations that conjuncts connect with it; where it is the only one, all."""
    parts, wanted = list(node.parts), list(node.conjuncts)
    unions = [part for part in parts if isinstance(part, Appended)]
    for whole in unions:
        others = [part for part in parts if isinstance(part, Local) and fits(part)]
        own = others if len(unions) == 1 else _connected(whole, others, wanted)
        if not own:
            continue
        reach = frozenset().union(numbers_of(whole), *map(numbers_of, own))
        inside = [c for c in wanted if references(c) <= reach]
        wanted = [c for c in wanted if c not in inside]
        parts = [_joined(whole, own, inside, numbers) if part is whole else part for part in parts if part not in own]
    return node if parts == list(node.parts) else bring_together(parts, wanted)


def _connected(whole: Appended, others: list[Local], wanted: list[Expression]) -> list[Local]:
    """Those that a conjunct brings to the append, or to one that is brought to it."""
    found: list[Local] = []
    reach = numbers_of(whole)
    while True:
        more = [part for part in others if part not in found and any(_meets(c, reach, numbers_of(part)) for c in wanted)]
        if not more:
            return found
        found += more
        reach = reach.union(*map(numbers_of, more))


def _meets(conjunct: Expression, reach: frozenset[int], own: frozenset[int]) -> bool:
    read = references(conjunct)
    return bool(read & reach and read & own) and read <= reach | own


def _joined(whole: Appended, others: list[Local], wanted: list[Expression], numbers: count[int]) -> Appended:
    inputs: list[Secure] = []
    rows: list[tuple[Expression, ...]] = []
    added = [f for other in others for f in logical.fields(other.node)]
    for part, values in zip(whole.inputs, whole.values, strict=True):
        copies = [_copied(other, numbers) for other in others]
        renamed = _over(whole, values) | {n: e for _, names in copies for n, e in names.items()}
        first, inside = ([*part.parts], [*part.conjuncts]) if isinstance(part, Joined) else ([part], [])
        inside += [substitute(c, renamed) for c in wanted]
        inputs.append(bring_together([*first, *(copy for copy, _ in copies)], inside))
        rows.append((*values, *(renamed[f.number] for f in added)))
    return Appended(tuple(inputs), (*whole.outputs, *added), tuple(rows), whole.keys if _once(whole, others, wanted) else ())


def _once(whole: Appended, others: list[Local], wanted: Sequence[Expression]) -> bool:
    """Whether every row of the append meets one row of the others at most: what was unique then still is."""
    reach, left = numbers_of(whole), list(others)
    while left:
        met = [part for part in left if any(key <= _equated(wanted, reach, numbers_of(part)) for key in known(part.node).keys)]
        if not met:
            return False
        reach = reach.union(*map(numbers_of, met))
        left = [part for part in left if part not in met]
    return True


def _equated(wanted: Sequence[Expression], reach: frozenset[int], own: frozenset[int]) -> frozenset[int]:
    """Own columns that a conjunct holds equal to one that is in reach."""
    found: set[int] = set()
    for conjunct in wanted:
        match conjunct:
            case Apply("=", (Ref(a), Ref(b))):
                found |= {y.number for x, y in ((a, b), (b, a)) if x.number in reach and y.number in own}
    return frozenset(found)


def _combined_below(whole: Appended, kind: str, right: Local, condition: Expression | None, mark: Field | None,
                    numbers: count[int]) -> Appended:  # fmt: skip
    """What a join of these kinds makes of a left row follows from that row and the right side."""
    inputs: list[Secure] = []
    rows: list[tuple[Expression, ...]] = []
    added = [] if kind in OF_LEFT else [replace(f, nullable=True) for f in logical.fields(right.node)]
    for part, values in zip(whole.inputs, whole.values, strict=True):
        copy, names = _copied(right, numbers)
        own = None if mark is None else replace(mark, number=next(numbers))
        met = None if condition is None else substitute(condition, _over(whole, values) | names)
        inputs.append(combine(kind, part, copy, met, own))
        shown = [Ref(replace(e.field, nullable=True)) for f in added for e in [names[f.number]]]
        rows.append((*values, *shown, *([] if own is None else [Ref(own)])))
    outputs = (*whole.outputs, *added, *([] if mark is None else [mark]))
    once = kind != "LEFT" or _once(whole, [right], conjuncts(condition))
    return Appended(tuple(inputs), outputs, tuple(rows), whole.keys if once else ())


def _copied(part: Local, numbers: count[int]) -> tuple[Local, dict[int, Ref]]:
    """The same rows under numbers of their own, and what the old numbers are now."""
    pairs = [(replace(f, number=next(numbers)), f) for f in logical.fields(part.node)]
    node = logical.Project(part.node, tuple((new, Ref(old)) for new, old in pairs))
    return Local(part.party, node), {old.number: Ref(new) for new, old in pairs}
