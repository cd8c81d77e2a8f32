"""What facts say of a plaintext subtree: rows, unique keys, ranges, and which tables stand in it row for row."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

from sdh.catalog import Facts
from sdh.errors import Unsupported, WidthError
from sdh.planners.clamped_ranges import formed_range
from sdh.planners.columns import call_shared, owned
from sdh.planners.expressions import Apply, Cast, Expression, Field, Ref, conjuncts
from sdh.planners.intervals import WORD, Range, Shared, together, type_range
from sdh.planners.logical import (
    Aggregate,
    Call,
    Cut,
    Filter,
    Join,
    Limit,
    Node,
    Noised,
    OneRow,
    Private,
    Project,
    Reused,
    Scan,
    Sort,
    UnionAll,
    fields,
    nodes,
)
from sdh.planners.mechanisms import reach
from sdh.planners.repeats import Repeats, most_rows, repeated, summed
from sdh.schema import Kind


@dataclass(frozen=True, slots=True)
class Known:
    """rows: upper bound. columns: those that can be shared, by number; `why` says why another cannot.

    keys: unique among rows where no column of the key is NULL. single: tables whose rows stand here at most once.
    repeats: other keys, and the most rows that agree on one without NULL.
    """

    rows: int
    columns: dict[int, Shared]
    why: dict[int, Unsupported | WidthError]
    keys: tuple[frozenset[int], ...] = ()
    single: frozenset[str] = frozenset()
    repeats: Repeats = ()

    def times(self, numbers: frozenset[int]) -> int | None:
        """The most rows that agree on these columns, none NULL. None: nothing is known."""
        return most_rows(self.keys, self.repeats, numbers)


def known(node: Node) -> Known:
    match node:
        case Scan():
            return _scan(node)
        case OneRow():
            return Known(1, {}, {}, (frozenset(),))
        case Filter(input) | Sort(input):
            return known(input)
        case Limit(input, limit):
            inner = known(input)
            return inner if limit is None else replace(inner, rows=min(inner.rows, limit))
        case Project():
            return _project(node, known(node.input))
        case Aggregate():
            return _aggregate(node, known(node.input))
        case Join():
            return _join(node, known(node.left), known(node.right))
        case UnionAll(parts):
            return _union_all(node, tuple(map(known, parts)))
        case Reused():
            return known(node.renaming)
        case Cut():
            return _cut(node, known(node.input))
        case Noised():
            return _noised(node, known(node.input))
        case Private():
            return _aggregate(node.aggregate, known(node.input))
        case _:
            assert_never(node)


def _cut(node: Cut, inner: Known) -> Known:
    """The cut's own keys are unique where one row of each stays."""
    numbers = frozenset(e.field.number for e in node.keys if isinstance(e, Ref))
    alone = node.most == 1 and len(numbers) == len(node.keys)
    return replace(inner, keys=(*inner.keys, numbers)) if alone else inner


def _noised(node: Noised, inner: Known) -> Known:
    """What is noised is no key, and wider by what noise may be."""
    noises = {noise.input.number: noise for noise in node.noises}
    columns = {n: column for n, column in inner.columns.items() if n not in noises}
    for number, noise in noises.items():
        if number in inner.columns:
            more, column = reach(noise.mechanism, 1), inner.columns[number]
            columns[noise.output.number] = Shared(noise.output, column.low - more, column.high + more)
    why = {noises[n].output.number if n in noises else n: fault for n, fault in inner.why.items()}
    keys = tuple(key for key in inner.keys if not key & noises.keys())
    return Known(inner.rows, columns, why, keys)


def _scan(scan: Scan) -> Known:
    columns: dict[int, Shared] = {}
    why: dict[int, Unsupported | WidthError] = {}
    facts = {column.name: fact for column, fact in zip(scan.table.columns, scan.table.facts, strict=True)}
    for name, field in scan.columns:
        try:
            columns[field.number] = _column(field, facts[name])
        except (Unsupported, WidthError) as error:
            why[field.number] = error
    numbers = {name: field.number for name, field in scan.columns}
    keys = tuple(frozenset(numbers[c] for c in key) for key in scan.table.keys if all(c in numbers for c in key))
    repeats = tuple((frozenset(numbers[c] for c in key), times) for key, times in scan.table.repeats
                    if all(c in numbers for c in key))
    return Known(scan.table.rows, columns, why, keys, frozenset({scan.table.full_name}), repeats)


def _column(field: Field, facts: Facts) -> Shared:
    match field.type.kind:
        case Kind.OTHER:
            raise Unsupported(
                f"A column of type {field.type} ({field.name}) cannot be shared.",
                advice="Cast it to a type that can, in a query of its owner alone.",
            )
        case Kind.VARCHAR:
            if facts.bytes is None:
                raise WidthError(f"The width of {field.name} is not published.", advice="Its owner can grant facts='measured'.")
            return Shared(field, 0, 0, facts.bytes)
        case Kind.DOUBLE | Kind.FLOAT:
            return Shared(field, WORD.low, WORD.high)
    found = _declared(field, facts)
    if not found.within(WORD):
        raise WidthError(
            f"{field.name} of type {field.type} might not fit 63 bits on shares.",
            advice="Its owner can declare bounds= or grant facts='measured'.",
        )
    return Shared(field, found.low, found.high)


def _declared(field: Field, facts: Facts) -> Range:
    whole = type_range(field.type)
    low, high = whole.low, whole.high
    if facts.bits is not None:
        low, high = max(low, -(1 << facts.bits) + 1), min(high, (1 << facts.bits) - 1)
    if facts.low is not None and facts.high is not None:
        low, high = max(low, facts.low), min(high, facts.high)
    # 0 stands under NULL and in padding
    return Range(min(low, 0), max(high, 0)) if field.nullable else Range(min(low, high, 0), max(low, high, 0))


def _project(node: Project, inner: Known) -> Known:
    columns: dict[int, Shared] = {}
    why: dict[int, Unsupported | WidthError] = {}
    for field, e in node.outputs:
        _add(field, e, inner, columns, why)
    renamed = {e.field.number: field.number for field, e in node.outputs if isinstance(e, Ref)}
    keys = tuple(frozenset(renamed[n] for n in key) for key in inner.keys if key <= renamed.keys())
    repeats = tuple((frozenset(renamed[n] for n in key), times) for key, times in inner.repeats if key <= renamed.keys())
    return Known(inner.rows, columns, why, keys, inner.single, repeats)


def _add(field: Field, e: Expression, inner: Known, columns: dict[int, Shared], why: dict[int, Unsupported | WidthError]) -> None:
    if isinstance(e, Ref) and e.field.number in inner.why:
        why[field.number] = inner.why[e.field.number]
        return
    try:
        columns[field.number] = computed(field, e, inner.columns)
    except (Unsupported, WidthError) as error:
        why[field.number] = error


def computed(field: Field, e: Expression, columns: dict[int, Shared]) -> Shared:
    """An expression that its owner computes in the clear, as a column: by its range, else by its form or type."""
    try:
        found = owned(field, e, columns)
        if e.type.is_exact or e.type.is_temporal or e.type.kind is Kind.BOOLEAN:
            within = Range(max(found.low, type_range(e.type).low), min(found.high, type_range(e.type).high))
            return Shared(field, min(within.low, 0), max(within.high, 0))
        return found
    except (Unsupported, KeyError):
        if e.type.kind in (Kind.VARCHAR, Kind.OTHER):
            raise Unsupported(
                f"No fact bounds the width of a computed {e.type} column.",
                advice="Leave the computation to a query of its owner alone.",
            ) from None
    except WidthError:
        if e.type.kind is Kind.VARCHAR:
            raise
    whole = formed_range(e, columns)
    if not whole.within(WORD):
        raise WidthError(f"A computed {e.type} might not fit 63 bits on shares.", advice="Cast it to BIGINT.")
    return Shared(field, min(whole.low, 0), max(whole.high, 0))


def _aggregate(node: Aggregate, inner: Known) -> Known:
    columns: dict[int, Shared] = {}
    why: dict[int, Unsupported | WidthError] = {}
    for field, e in node.keys:
        _add(field, e, inner, columns, why)
    for call in node.calls:
        try:
            columns[call.output.number] = _call(call, inner)
        except (Unsupported, WidthError) as error:
            why[call.output.number] = error
    key = frozenset(field.number for field, _ in node.keys)
    renamed = {e.field.number: field.number for field, e in node.keys if isinstance(e, Ref)}
    repeats = tuple((frozenset(renamed[n] for n in one), times) for one, times in inner.repeats if one <= renamed.keys())
    return Known(inner.rows if node.keys else 1, columns, why, (key,), repeats=repeats)


def _call(call: Call, inner: Known) -> Shared:
    try:
        return call_shared(call, inner.columns, inner.rows)
    except (Unsupported, KeyError):
        whole = type_range(call.output.type) if call.output.type.kind not in (Kind.VARCHAR, Kind.OTHER) else None
        if whole is None or not whole.within(WORD):
            raise WidthError(
                f"{call.function} of type {call.output.type} cannot be shared.", advice="Cast its result to a narrower type."
            ) from None
        return Shared(call.output, whole.low, whole.high)


def _join(node: Join, left: Known, right: Known) -> Known:
    pairs = [
        (a.field.number, b.field.number)
        for c in conjuncts(node.condition)
        if isinstance(c, Apply) and c.function == "="
        for a, b in _both(c.arguments, left, right)
    ]
    left_times, right_times = left.times(frozenset(a for a, _ in pairs)), right.times(frozenset(b for _, b in pairs))
    left_unique, right_unique = left_times == 1, right_times == 1
    if node.kind in ("SEMI", "ANTI", "MARK"):
        mark = {} if node.mark is None else {node.mark.number: Shared(node.mark, 0, 1)}
        return replace(left, columns=left.columns | mark)
    matched = left.rows * right.rows
    if right_times is not None or node.kind == "SINGLE":
        matched = min(matched, left.rows * (right_times or 1))
    if left_times is not None:
        matched = min(matched, right.rows * left_times)
    rows = matched + (left.rows if node.kind in ("LEFT", "FULL") else 0) + (right.rows if node.kind in ("RIGHT", "FULL") else 0)
    if node.kind == "LEFT" and right_unique or node.kind == "SINGLE":
        rows = left.rows
    keys = (left.keys if right_unique else ()) + (right.keys if left_unique else ())
    keys = keys or tuple(a | b for a in left.keys for b in right.keys)
    repeats = repeated(left.keys, left.repeats, right_times) + repeated(right.keys, right.repeats, left_times)
    if node.kind != "INNER":
        kept = node.kind == "LEFT" and right_unique or node.kind == "SINGLE"
        keys, repeats = (left.keys, left.repeats) if kept else ((), ())
    once = right_unique or node.kind == "SINGLE"
    single = (left.single if once else frozenset()) | (right.single if left_unique else frozenset())
    columns = left.columns | right.columns
    nullable = {f.number: f for f in fields(node)}
    columns = {n: replace(c, field=nullable[n], low=min(c.low, 0), high=max(c.high, 0)) for n, c in columns.items()}
    return Known(rows, columns, left.why | right.why, keys, single, repeats)


def _union_all(node: UnionAll, parts: tuple[Known, ...]) -> Known:
    """Ranges of all inputs together; declared keys are the client's word and not a fact."""
    columns: dict[int, Shared] = {}
    why: dict[int, Unsupported | WidthError] = {}
    for place, field in enumerate(fields(node)):
        try:
            columns[field.number] = _over_all(field, node, parts, place)
        except (Unsupported, WidthError) as error:
            why[field.number] = error
    seen = [name for part in node.inputs for name in {n.table.full_name for n in nodes(part) if isinstance(n, Scan)}]
    single = frozenset(name for part in parts for name in part.single if seen.count(name) == 1)
    sources = [{new.number: old.number for new, old in zip(fields(node), fields(part), strict=True) if old.type == new.type}
               for part in node.inputs]
    repeats = summed([(source, part.keys, part.repeats) for source, part in zip(sources, parts, strict=True)])
    return Known(sum(part.rows for part in parts), columns, why, (), single, repeats)


def _over_all(field: Field, node: UnionAll, parts: tuple[Known, ...], place: int) -> Shared:
    found: list[Shared] = []
    for part, below in zip(node.inputs, parts, strict=True):
        source = fields(part)[place]
        if source.number in below.why:
            raise below.why[source.number]
        value = Ref(source) if source.type == field.type else Cast(Ref(source), field.type)
        found.append(computed(field, value, below.columns))
    return together(field, found)


def _both(arguments: tuple[Expression, ...], left: Known, right: Known) -> list[tuple[Ref, Ref]]:
    a, b = arguments
    if not (isinstance(a, Ref) and isinstance(b, Ref)):
        return []
    lefts, rights = left.columns.keys() | left.why.keys(), right.columns.keys() | right.why.keys()
    if a.field.number in lefts and b.field.number in rights:
        return [(a, b)]
    return [(b, a)] if b.field.number in lefts and a.field.number in rights else []
