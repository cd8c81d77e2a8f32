"""How to group rows of several owners: by what one owner knows, over a small domain, or by a sort on shares.

DISTINCT arguments are marked first, by a sort on (keys, argument): then only the marked rows count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sdh.errors import SdhError, Unsupported
from sdh.planners.check import check
from sdh.planners.dependencies import is_unique, least_keys
from sdh.planners.derive_traits import groups_bound, places, traits
from sdh.planners.expressions import Expression, Field, Ref, references
from sdh.planners.key_limbs import LIMIT, check_key
from sdh.planners.logical import Call, call_expressions
from sdh.planners.physical import ALONE, GIVEN, Aggregate, GroupAggregate, MarkDistinct, Node, TopK
from sdh.planners.placed import Grouped, Limited
from sdh.planners.ranges import range_of
from sdh.planners.render import readable
from sdh.schema import BOOLEAN, Kind

MOST_CELLS = 256
WIDEST_DOMAIN = 64
MARKS = 1 << 40
"""Where the numbers of marks begin: above those of all other fields."""


def groupings(node: Grouped, input: Node) -> Iterator[Node | SdhError]:
    """The ways to group these rows, or why not."""
    calls = tuple(_plain(call, node, input) for call in node.calls)
    try:
        for call in calls:
            for e in call_expressions(call):
                check(e, traits(input).ranges)
        ways = _marked if any(call.distinct for call in calls) else _unmarked
    except SdhError as error:
        yield error
        return
    for way in ways(replace(node, calls=calls), input):
        try:
            traits(way)
            yield way
        except SdhError as error:
            yield error


def first_rows(node: Limited, input: Node) -> Node:
    """LIMIT and OFFSET, where they cut anything off. Raises Unsupported, WidthError."""
    columns, slots = traits(input).ranges, traits(input).slots
    for key in node.keys:
        check_key(key.expression, columns, LIMIT)
    if places(slots, node.limit, node.offset) == slots:
        return input
    return TopK(input, node.keys, node.limit, node.offset, frozenset(columns))


def _plain(call: Call, node: Grouped, input: Node) -> Call:
    """DISTINCT left out where it says nothing: of MIN and MAX, and of values that no two rows of a group share."""
    if not call.distinct:
        return call
    keys = tuple(e for _, e in node.keys)
    if call.function in ("min", "max") or is_unique((*keys, *call.arguments), input):
        return replace(call, distinct=False)
    return call


def _unmarked(node: Grouped, input: Node) -> Iterator[Node]:
    if not node.keys:
        yield Aggregate(input, "", (), (), node.calls)
        return
    keys, carried = least_keys(node.keys, input)
    if is_unique(tuple(e for _, e in node.keys), input):
        yield GroupAggregate(input, keys, carried, node.calls, ALONE)
        return
    yield from _by_owner(node, input)
    if all(_is_key(e, input) for _, e in keys):
        yield GroupAggregate(input, keys, carried, node.calls)


def _is_key(e: Expression, input: Node) -> bool:
    check_key(e, traits(input).ranges, "GROUP BY")
    return True


def _marked(node: Grouped, input: Node) -> Iterator[Node]:
    """A sort for every DISTINCT argument; the last leaves the rows in order of the keys."""
    keys, carried = least_keys(node.keys, input) if node.keys else ((), ())
    by = tuple(e for _, e in keys)
    for e in (*by, *(argument for call in node.calls if call.distinct for argument in call.arguments)):
        _is_key(e, input)
    read = references(*by, *(e for _, e in carried), *(e for call in node.calls for e in call_expressions(call)))
    marks: dict[tuple[Expression, Expression | None], Field] = {}
    for call in node.calls:
        what = (*call.arguments, call.filter)
        if call.distinct and (what[0], call.filter) not in marks:
            assert what[0] is not None
            mark = Field(MARKS + call.output.number, f"distinct {readable(what[0])}", BOOLEAN, nullable=False)
            kept = (read | {one.number for one in marks.values()}) & frozenset(traits(input).ranges)
            input = MarkDistinct(input, by, what[0], call.filter, mark, kept)
            marks[what[0], call.filter] = mark
    calls = tuple(_counting(call, marks) if call.distinct else call for call in node.calls)
    if not keys:
        yield Aggregate(input, "", (), (), calls)
        return
    yield GroupAggregate(input, keys, carried, calls, GIVEN)


def _counting(call: Call, marks: dict[tuple[Expression, Expression | None], Field]) -> Call:
    """The call over the marked rows, whose arguments are not NULL."""
    [argument] = call.arguments
    mark = Ref(marks[argument, call.filter])
    if call.function == "count":
        return Call(call.output, "count_star", (), filter=mark)
    return replace(call, distinct=False, filter=mark)


def _by_owner(node: Grouped, input: Node) -> Iterator[Node]:
    """Keys that one owner knows, and others of small domains; nothing where there are others yet."""
    found = traits(input)
    refs = [e.field.number for _, e in node.keys if isinstance(e, Ref)]
    party = max((p for p, _ in found.known), key=lambda p: sum(n in found.known_by(p) for n in refs), default="")
    owner_keys: list[tuple[Field, Field]] = []
    domain_keys: list[tuple[Field, Expression]] = []
    for field, e in node.keys:
        if isinstance(e, Ref) and e.field.number in found.known_by(party):
            owner_keys.append((field, e.field))
        elif _is_small(e, input):
            domain_keys.append((field, e))
        else:
            return
    aggregate = Aggregate(input, party if owner_keys else "", tuple(owner_keys), tuple(domain_keys), node.calls)
    # without the calls: whether their results fit is not asked yet
    if traits(replace(aggregate, calls=())).slots // max(groups_bound(aggregate), 1) <= MOST_CELLS:
        yield aggregate


def _is_small(e: Expression, input: Node) -> bool:
    """A key that takes few public values: BOOLEAN, or an exact one of narrow declared bounds."""
    columns = traits(input).ranges
    try:
        check(e, columns)
    except Unsupported:
        return False
    exact = e.type.is_exact or e.type.kind in (Kind.BOOLEAN, Kind.DATE)
    return exact and range_of(e, columns).size <= WIDEST_DOMAIN
