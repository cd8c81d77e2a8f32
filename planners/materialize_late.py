"""Late materialisation: columns that are only carried to the result stay with their owner, and their rows carry a place.

Once all else is done a Fetch gets them for the rows that are left: names and comments need not be joined and sorted on
shares where twenty rows come out. Source: Abadi et al., 'Materialization Strategies in a Column-Oriented DBMS' (2007).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from sdh.planners.derive_traits import traits
from sdh.planners.expression_costs import record_of
from sdh.planners.expressions import Field, Ref, references
from sdh.planners.fetch_costs import row_bits
from sdh.planners.intervals import Shared
from sdh.planners.join_traits import padded
from sdh.planners.logical import call_expressions
from sdh.planners.physical import (
    Align,
    Expand,
    Fetch,
    Filter,
    GroupAggregate,
    Input,
    Lookup,
    MarkDistinct,
    NestedLoop,
    Node,
    Release,
    SortMerge,
    TopK,
    Unique,
    expressions,
    inputs,
)
from sdh.schema import BIGINT, Kind

PLACES = 1 << 41
"""Where the numbers of places begin: above those of all other fields."""
MOST_CELLS = 1 << 30
"""Entries of unit vectors, and bits of fetched rows as words, of all rows together."""
Numbers = dict[int, int]
_Passes = Filter | NestedLoop | Align | SortMerge | Expand | MarkDistinct | TopK | Unique | Fetch
"""What gives columns of its inputs as they are."""


@dataclass(frozen=True, slots=True)
class _Left:
    """A node without the columns that stay behind. found: their numbers at the root, and in the fragment."""

    node: Node
    found: Numbers


def materialized_late(root: Release, time: Callable[[Release], int]) -> Release:
    """The plan that fetches late of every fragment, one after the other, what makes it cheaper. The same plan if nothing."""
    leaves = _leaves(root.input)
    numbers = [leaf.fragment for leaf in leaves]
    for leaf in leaves:
        other = _fetching(root, leaf) if numbers.count(leaf.fragment) == 1 else None
        if other is not None and time(other) < time(root):
            root = other
    return root


def _leaves(node: Node) -> list[Input]:
    return [node] if isinstance(node, Input) else [leaf for part in inputs(node) for leaf in _leaves(part)]


def _fetching(root: Release, leaf: Input) -> Release | None:
    """Where several words of a fragment's columns are read by nothing but the release."""
    left = _without(root.input, {n: n for n in references(*(e for _, e in root.outputs))}, leaf.fragment)
    if not left.found:
        return None
    [source] = [one for one in _leaves(left.node) if one.fragment == leaf.fragment]
    own = {column.field.number: column for column in source.columns}
    before, place = traits(root.input).ranges, _place(left.node, source)
    columns = tuple((_put_out(before[number], own[old], place), own[old]) for number, old in left.found.items())
    fetch = Fetch(left.node, source, columns)
    return replace(root, input=fetch) if _is_few(fetch) else None


def _is_few(node: Fetch) -> bool:
    """Rows to fetch for which unit vectors and words fit into memory."""
    rows, slots = traits(node.input).slots, node.source.slots
    return rows > 0 and slots > 0 and rows * (slots + 64 * row_bits(node)) <= MOST_CELLS


def _place(node: Node, source: Input) -> Field:
    """The place of a fragment's rows, as it comes out of a node."""
    assert source.place is not None
    return traits(node).ranges[source.place.number].field


def _put_out(before: Shared, own: Shared, place: Field) -> Shared:
    """The owner's column under the number and name that it had here; NULL too where there is no place."""
    found = padded(own) if place.nullable else own
    return replace(found, field=replace(before.field, nullable=found.field.nullable))


def _without(node: Node, wanted: Numbers, fragment: int) -> _Left:
    """wanted: the columns of the node that nothing above reads, by number, and their numbers at the root."""
    match node:
        case Input() if node.fragment == fragment and node.place is None:
            return _stay(node, wanted)
        case GroupAggregate():
            return _grouped(node, wanted, fragment)
        case Lookup(probe):   # the build's columns are a table already
            left = _without(probe, _unread(node, wanted), fragment)
            return _Left(replace(node, probe=left.node), left.found) if left.found else _Left(node, {})
        case _ if isinstance(node, _Passes):
            return _passed(node, wanted, fragment)
        case _:
            return _Left(node, {})


def _stay(node: Input, wanted: Numbers) -> _Left:
    """One word a row, its place, for several."""
    columns = [column for column in node.columns if column.field.number in wanted and column.field.type.kind is not Kind.BOOLEAN]
    if record_of(columns)[0] < 2:
        return _Left(node, {})
    late = [column.field.number for column in columns]
    place = Field(PLACES + node.fragment, "place", BIGINT, nullable=False)
    return _Left(replace(node, late=frozenset(late), place=place), {wanted[number]: number for number in late})


def _unread(node: Node, wanted: Numbers) -> Numbers:
    """What a node does not read itself."""
    read = references(*expressions(node))
    if isinstance(node, Align):
        read |= {field.number for pair in node.pairs for field in pair}
    return {number: at_root for number, at_root in wanted.items() if number not in read}


def _passed(node: _Passes, wanted: Numbers, fragment: int) -> _Left:
    parts = [_without(part, _unread(node, wanted), fragment) for part in inputs(node)]
    found = {number: old for part in parts for number, old in part.found.items()}
    if not found:
        return _Left(node, {})
    match node:
        case NestedLoop() | Expand():
            node = replace(node, left=parts[0].node, right=parts[1].node)
        case Align() | SortMerge():
            node = replace(node, probe=parts[0].node, build=parts[1].node)
        case _:
            node = replace(node, input=parts[0].node)
    if isinstance(node, TopK | MarkDistinct | Expand):
        late = {number for number, at_root in wanted.items() if at_root in found}
        node = replace(node, kept=node.kept - late | {PLACES + fragment})
    return _Left(node, found)


def _grouped(node: GroupAggregate, wanted: Numbers, fragment: int) -> _Left:
    """Columns that the keys determine: any row's place of a group will do."""
    carried = {e.field.number: f.number for f, e in node.carried if isinstance(e, Ref) and f.number in wanted}
    others = [e for f, e in (*node.keys, *node.carried) if f.number not in carried.values()]
    read = references(*others, *(e for call in node.calls for e in call_expressions(call)))
    left = _without(node.input, {old: wanted[new] for old, new in carried.items() if old not in read}, fragment)
    if not left.found:
        return _Left(node, {})
    kept = tuple((f, e) for f, e in node.carried if wanted.get(f.number) not in left.found)
    [source] = [one for one in _leaves(left.node) if one.fragment == fragment]
    place = _place(left.node, source)
    return _Left(replace(node, input=left.node, carried=(*kept, (place, Ref(place)))), left.found)
