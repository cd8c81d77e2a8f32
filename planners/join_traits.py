"""What is public of a join's rows: how often either side's rows come again, what stays unique, who still knows what."""

from __future__ import annotations

from dataclasses import replace

from sdh.planners.expressions import Apply, Expression, Field, Ref, conjuncts, references
from sdh.planners.intervals import Shared
from sdh.planners.physical import Align, ByKey, Expand, Lookup, NestedLoop
from sdh.planners.repeats import repeated
from sdh.planners.traits import Traits


def nested_loop_traits(left: Traits, right: Traits, node: NestedLoop) -> Traits:
    """Of all pairs: either side still knows its own columns."""
    if node.kind != "INNER":
        return _of_kind(left, right, node.kind, node.mark)
    pairs = equalities(node.condition, left, right)
    known = _merged(left.known + right.known)
    return replace(_many(left, right, pairs), slots=left.slots * right.slots, known=known)


def keyed_traits(probe: Traits, build: Traits, node: ByKey, pairs: tuple[tuple[Field, Field], ...]) -> Traits:
    """Of the probe's rows, each with what it meets by `pairs`: its owner still knows the probe's columns."""
    if isinstance(node, Lookup):
        build = _kept(build, tuple(column for column in build.columns if column.field.number in brought(node, build)))
    if node.kind != "INNER":
        return _of_kind(probe, build, node.kind, node.mark)
    found = _many(probe, build, pairs)
    times = node.repeats if isinstance(node, Align) else 1
    if times > 1:
        return replace(found, slots=times * probe.slots, known=probe.known,
                       placed_repeats=repeated(probe.placed_keys, probe.placed_repeats, times))
    probe_times = _times(probe, build, pairs)[0]
    single = probe.single | (build.single if probe_times == 1 else frozenset())
    keys = probe.keys + (build.keys if probe_times == 1 else ())
    repeats = probe.repeats + repeated(build.keys, build.repeats, probe_times)
    return replace(found, slots=probe.slots, known=probe.known, keys=keys, single=single, repeats=repeats,
                   placed_keys=probe.placed_keys, placed_repeats=probe.placed_repeats)


def expand_traits(left: Traits, right: Traits, node: Expand) -> Traits:
    """No party knows which rows stand where."""
    columns = tuple(column for column in left.columns + right.columns if column.field.number in node.kept)
    return _kept(replace(_many(left, right, columns_of(node.pairs)), slots=node.slots), columns)


def columns_of(pairs: tuple[tuple[Expression, Expression], ...]) -> tuple[tuple[Field, Field], ...]:
    return tuple((a.field, b.field) for a, b in pairs if isinstance(a, Ref) and isinstance(b, Ref))


def _kept(whole: Traits, columns: tuple[Shared, ...]) -> Traits:
    """With these columns, and what is known of them alone."""
    numbers = frozenset(column.field.number for column in columns)
    return replace(whole, columns=columns, keys=tuple(key for key in whole.keys if key <= numbers),
                   repeats=tuple(one for one in whole.repeats if one[0] <= numbers))


def _many(left: Traits, right: Traits, pairs: tuple[tuple[Field, Field], ...]) -> Traits:
    """The pairs of rows that are equal in `pairs`: a row of either side comes as often as the other's keys repeat."""
    left_times, right_times = _times(left, right, pairs)
    keys = (left.keys if right_times == 1 else ()) + (right.keys if left_times == 1 else ())
    keys = keys or tuple(a | b for a in left.keys for b in right.keys)
    single = (left.single if right_times == 1 else frozenset()) | (right.single if left_times == 1 else frozenset())
    repeats = repeated(left.keys, left.repeats, right_times) + repeated(right.keys, right.repeats, left_times)
    return Traits(0, left.columns + right.columns, (), keys, single, (), repeats)


def _times(left: Traits, right: Traits, pairs: tuple[tuple[Field, Field], ...]) -> tuple[int | None, int | None]:
    """How often a key repeats at either side."""
    return left.times(frozenset(a.number for a, _ in pairs)), right.times(frozenset(b.number for _, b in pairs))


def _merged(known: tuple[tuple[str, frozenset[int]], ...]) -> tuple[tuple[str, frozenset[int]], ...]:
    merged: dict[str, frozenset[int]] = {}
    for party, numbers in known:
        merged[party] = merged.get(party, frozenset()) | numbers
    return tuple(merged.items())


def _of_kind(left: Traits, right: Traits, kind: str, mark: Field | None) -> Traits:
    """The left's rows in their order, with what a join that is not INNER adds to them."""
    match kind:
        case "SEMI" | "ANTI":
            return left
        case "MARK":
            assert mark is not None
            return replace(left, columns=(*left.columns, Shared(mark, 0, 1)))
        case _:
            return replace(left, columns=left.columns + tuple(map(padded, right.columns)))


def padded(column: Shared) -> Shared:
    """A column with NULL, and 0 under it, in rows that an outer join adds."""
    return replace(column, field=replace(column.field, nullable=True), low=min(column.low, 0), high=max(column.high, 0))


def brought(node: NestedLoop | ByKey, build: Traits) -> frozenset[int]:
    """Numbers of the right (build) side's columns that its rows bring to the left's: all, or those that the condition reads."""
    numbers = frozenset(build.ranges)
    if isinstance(node, Lookup):
        numbers &= node.kept | references(node.condition)
    return numbers & references(node.condition) if node.kind in ("SEMI", "ANTI", "MARK") else numbers


def equalities(condition: Expression | None, left: Traits, right: Traits) -> tuple[tuple[Field, Field], ...]:
    """The conjuncts `left column = right column`, as (left field, right field)."""
    found: list[tuple[Field, Field]] = []
    for conjunct in conjuncts(condition):
        match conjunct:
            case Apply("=", (Ref(a), Ref(b))) if a.number in left.ranges and b.number in right.ranges:
                found.append((a, b))
            case Apply("=", (Ref(b), Ref(a))) if a.number in left.ranges and b.number in right.ranges:
                found.append((a, b))
    return tuple(found)
