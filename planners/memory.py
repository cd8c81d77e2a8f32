"""What a plan's secure part takes of a party's memory, from public sizes, so that what cannot fit is refused beforehand.

A relation on shares takes 8 bytes a word and one bit a flag of every slot, from the operator that makes it to the one
that takes it; an own fragment's rows stay in the clear until they are shared. An operator works on top of that:

* Filters, aggregates without an owner's keys, and the pairs of nested loops below them go a slice of 2^20 rows at a
  time: 8 bytes a row for every part of their expressions and 16 for each column of a pair. Comparisons and products go in
  chunks, a few under way at a time: CHUNKS bytes in all.
* Columns that no later operator reads are dropped at once; what sorts rows takes its input away.
* What moves rows is linear. Rows of w bytes are there as they came in and as they go out, a group of columns at a time:
  2 w. On top of that come, first, the permutation as drawn and sorted: DRAWN bytes a place; then maps (MAPS bytes) and, of
  the group that moves, rows that were received, dealt masks, and these taken row by row: 4 times its bytes.
  - sorts: keys as limbs go with the rows; comparing takes two words a limb, and PLACES bytes a row for public places.
  - align: the candidates of one pass (protocol_costs.passes) and 1.27 rows for each build row are moved, the build's record
    and key words wide; routes that were worked out before take 5 bytes a candidate, and what passes have found stays.
  - aggregate by an owner's keys: its rows and its groups, each count, sum and extreme a word.
  - release: its rows, when they are shuffled.
* nested_loop: all its pairs, if it is INNER and not aggregated away; of other kinds those of some rows of the left.

Measured (python -m tests.bench.memory): the resident peak is 0.6 to 0.9 of the estimate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

from sdh.errors import MemoryExceeded
from sdh.planners.costs import record, slices_of
from sdh.planners.derive_traits import carried, groups_bound, traits
from sdh.planners.expression_costs import record_of
from sdh.planners.expressions import Expression, Ref, walk
from sdh.planners.fetch_costs import fetching, row_bits
from sdh.planners.keep_read import columns_read
from sdh.planners.key_limbs import joint_limbs
from sdh.planners.key_words import table_bits
from sdh.planners.noise_costs import noise_bytes
from sdh.planners.physical import (
    SORTED,
    Aggregate,
    Align,
    Concat,
    Cut,
    Expand,
    Fetch,
    Filter,
    GroupAggregate,
    Input,
    Lookup,
    MarkDistinct,
    NestedLoop,
    Node,
    Noised,
    Project,
    Release,
    SortMerge,
    TopK,
    Unique,
    expressions,
    inputs,
    operator_name,
)
from sdh.planners.protocol_costs import column_groups, passes
from sdh.planners.quotients import is_quotient
from sdh.planners.ranges import bytes_of
from sdh.planners.sharing import readers, runs
from sdh.schema import Kind

WORD = 8
SLICE = 1 << 20
"""Rows of a slice (executors/slices.py)."""
CHUNKS = 128 << 20
DRAWN, MAPS, PLACES = 28, 9, 128
"""Bytes a place: of an order as it is drawn and sorted; of the maps made of it; of a sort's public places."""
LOOKED_UP = 256
"""Bytes of unit vectors of 2^8 bits, with those they are worked out from, a row; the bits of a number that is found are words."""
QUOTIENT = 512
"""Bytes of a division on shares, a row."""


@dataclass(frozen=True, slots=True, order=True)
class Use:
    """Bytes, and the operator at work when a party has them."""

    bytes: int
    operator: str


def peak(root: Release) -> Use:
    """The most that the secure part takes of a party at a time, fragments' results included."""
    clear = _in_the_clear(root.input)
    encoding = Use(2 * clear + max(_held(leaf) for leaf in _leaves(root.input)), "sharing the fragments")
    running = _peak(root)
    held = _held(root.input)
    release = Use(held + _evaluated(tuple(e for _, e in root.outputs), traits(root.input).slots) + _released(root), "release")
    most = max(running, release)
    return max(encoding, Use(_late(root.input) + CHUNKS + most.bytes, most.operator))


def require(root: Release, allowed: int) -> None:
    """Raises MemoryExceeded when the secure part does not fit into `allowed` bytes."""
    most = peak(root)
    if most.bytes > allowed:
        raise MemoryExceeded(f"{most.operator} needs about {mebibytes(most.bytes)} of a party's memory; its limit leaves "
                             f"{mebibytes(allowed)} for it.",
                             advice="Nothing was shared. Ask for fewer rows or columns, or give more with memory_limit=.")


def mebibytes(size: int) -> str:
    """A number of bytes in the unit of limits."""
    return f"{size >> 20:,} MiB" if size >= 1 << 20 else f"{size >> 10:,} KiB"


# --- what stays ----------------------------------------------------------------------------------


def _row(node: Node) -> int:
    """Bits of a row on shares, its validity included."""
    words, bits = record(node)
    return 8 * WORD * words + bits + 1


def _held(node: Node) -> int:
    return -(-_row(node) * traits(node).slots // 8)


def _in_the_clear(node: Node) -> int:
    """The encoded fragments of the party that has most."""
    own: dict[str, int] = {}
    for leaf in _leaves(node):
        own[leaf.party] = own.get(leaf.party, 0) + _clear(leaf)
    return max(own.values())


def _clear(leaf: Input) -> int:
    words, bits = record_of(leaf.columns)
    return leaf.slots * (WORD * words + bits + 1)


def _late(node: Node) -> int:
    """Columns that are not shared, but fetched: they stay in the clear for the whole run."""
    found = 0
    for leaf in _leaves(node):
        late = [column for column in leaf.columns if column not in leaf.shared]
        found += leaf.slots * WORD * sum(record_of(late))
    return found


def _leaves(node: Node) -> list[Input]:
    return [one for one in runs(node) if isinstance(one, Input)]


# --- what an operator takes ----------------------------------------------------------------------


def _peak(release: Release) -> Use:
    """Of the operators in the order in which they run: what is kept for readers, its own rows, and what it works with."""
    root, reads = release.input, columns_read(release)
    order, found, kept = runs(root), [Use(0, "")], dict[Node, int]()
    sizes, left, ahead = slices_of(order), readers(root), _ahead(order)
    sliced: set[Node] = {node for node in order if node in sizes and not isinstance(node, Aggregate)}
    for place, node in enumerate(order):
        slots = traits(node).slots
        rows = min(SLICE, slots) if node in sliced else slots
        there = sum(kept.values()) + ahead[place] + _fresh(node) * rows // max(slots, 1)
        found.append(Use(there - _taken(node, kept, left) + _working(node, rows), _name(node)))
        if node not in sliced:   # else what it reads stays till the aggregate has all slices
            _let_go(node, kept, left, sliced)
        kept[node] = 0 if node in sliced else _read(node, reads.get(node))
    return max(found)


def _taken(node: Node, kept: Mapping[Node, int], left: Counter[Node]) -> int:
    """Rows that a sort takes away from what has nobody else to read it: it moves them, and counts them there."""
    sorts = isinstance(node, MarkDistinct | TopK) or isinstance(node, GroupAggregate) and node.arrangement == SORTED
    return kept[inputs(node)[0]] if sorts and left[inputs(node)[0]] == 1 else 0


def _read(node: Node, numbers: frozenset[int] | None) -> int:
    """What stays of a node's rows: the columns that are read."""
    columns = [column for column in traits(node).columns if numbers is None or column.field.number in numbers]
    words, bits = record_of(columns)
    return -(-(8 * WORD * words + bits + 1) * traits(node).slots // 8)


def _ahead(order: Sequence[Node]) -> list[int]:
    """When each node runs, of the party that has most: what is in the clear for it and for those after it."""
    parties = {leaf.party for leaf in order if isinstance(leaf, Input)}
    later, found = dict.fromkeys(parties, 0), list[int]()
    for node in reversed(order):
        if isinstance(node, Align):   # its own routes are counted where it works
            found.append(max(later.values()))
            later[node.probe_party] += _routes(traits(node).slots, traits(node.build).slots)
            later[node.build_party] += 3 * WORD * traits(node.build).slots
            continue
        if isinstance(node, Input):
            later[node.party] += _clear(node)
        found.append(max(later.values()))
    return found[::-1]


def _routes(probe: int, build: int) -> int:
    return 5 * 3 * probe + 4 * (build * 127 // 100 + 512)


def _fresh(node: Node) -> int:
    """What a node's rows take beside its input's: a join that adds columns to the probe's rows, and a filter, copy nothing."""
    if isinstance(node, Filter | Align | SortMerge | Lookup) and traits(node).slots == traits(inputs(node)[0]).slots:
        return max(0, _held(node) - _held(inputs(node)[0]))
    return _held(node)


def _let_go(node: Node, kept: dict[Node, int], left: Counter[Node], sliced: set[Node]) -> None:
    """What the node was the last to read."""
    for part in inputs(node):
        left[part] -= 1
        if not left[part]:
            del kept[part]
            if part in sliced:
                _let_go(part, kept, left, sliced)


def _working(node: Node, rows: int) -> int:
    """Beside what it is given and gives, at most `rows` of its rows at a time."""
    slots = min(rows, traits(node).slots)
    match node:
        case Input():
            return WORD * slots
        case Filter():
            return _evaluated(expressions(node), slots)
        case NestedLoop(left, right, _, "SEMI" | "ANTI" | "MARK" | "SINGLE"):
            pairs = min(traits(left).slots * traits(right).slots, max(SLICE, traits(right).slots))
            read = _words_of(left, frozenset(traits(left).ranges)) + _words_of(right, carried(node))
            return _evaluated(expressions(node), pairs) + pairs * (2 * WORD * read + 2)
        case NestedLoop():
            return _evaluated(expressions(node), slots) + slots * (2 * WORD * sum(record(node)) + 2)
        case Align(probe, build, pairs):
            words, bits = _words_of(build, carried(node)), record(build)[1]
            keys = sum(_key_words(a.type.kind, node, a.number) for a, _ in pairs)
            return _aligned(slots, traits(build).slots, words, keys, bits + 2)
        case SortMerge(probe, build, pairs):
            keys = sum(len(joint_limbs(pair, traits(probe), traits(build)).tops) for pair in pairs)
            rows = traits(probe).slots + traits(build).slots
            return moved(2 * rows, 2 * keys + 1 + _words_of(build, carried(node)), 2 + traits(build).slots.bit_length())
        case Lookup(probe, build):
            brought = [column for column in traits(build).columns if column.field.number in carried(node)]
            found = [size for column in brought for size in table_bits(column)]
            return traits(probe).slots * (LOOKED_UP + len(found) * WORD + 2 * WORD * max([*found, 0]))
        case Expand(left, right, pairs, bound, kept):
            keys = sum(len(joint_limbs(pair, traits(left), traits(right)).tops) for pair in pairs)
            rows, words = traits(left).slots + traits(right).slots, max(_words_of(left, kept), _words_of(right, kept))
            sorted_, copied = moved(2 * rows, 2 * keys + 1 + words, 4), moved(rows + bound, 4 + words, 2)
            return max(sorted_, copied) + WORD * rows * (keys + 2 * words + 8)
        case Aggregate(input):
            return _aggregated(node, traits(input).slots)
        case GroupAggregate(input) | MarkDistinct(input) | TopK(input) | Unique(input) | Cut(input):
            return _sorted(node, traits(input).slots)
        case Noised():
            return noise_bytes(node)
        case Fetch(_, source):
            return fetching(slots, source.slots, row_bits(node))
        case Project():
            return _evaluated(tuple(e for e in expressions(node) if not isinstance(e, Ref)), slots)
        case Concat(parts, _, values):
            return sum(_evaluated(row, traits(part).slots) for part, row in zip(parts, values, strict=True))
        case _:
            assert_never(node)


def _aligned(probe: int, build: int, words: int, keys: int, bits: int) -> int:
    """The table and the keys, the routes of all passes, the candidates of one pass."""
    table, turns = build * 127 // 100 + 512, passes(probe, words + keys)
    rows = 3 * probe // len(turns)
    there = WORD * (words + keys) * table + WORD * keys * probe + _routes(probe, build)
    return there + moved(table // len(turns) + rows, words + keys, bits)


def _aggregated(node: Aggregate, slots: int) -> int:
    rows = slots if node.owner_keys else min(slots, SLICE)
    working = _evaluated(expressions(node), rows) + 4 * WORD * len(node.calls) * rows
    if not node.owner_keys:
        return working
    cells = max(1, traits(node).slots // max(groups_bound(node), 1))
    return cells * working + moved(slots + groups_bound(node), 1 + 2 * len(node.calls), 1 + len(node.calls))


def _sorted(node: GroupAggregate | MarkDistinct | TopK | Unique | Cut, slots: int) -> int:
    """Keys as limbs, and rows that are shuffled with them; then comparisons of half the rows at public places."""
    keys = [e for _, e in node.keys] if isinstance(node, GroupAggregate) else expressions(node)
    read, (words, bits) = 1 + sum(_key_size(e, node) for e in keys), record(node)
    calls = len(node.calls) if isinstance(node, GroupAggregate) else 0
    within = 0 if isinstance(node, GroupAggregate) else read   # limbs that are no columns of the result
    carried = words + within + calls
    moving = moved(slots, carried + read, bits + calls + 2)
    comparing = WORD * slots * (carried + 2 * read) + PLACES * slots
    compacted = WORD * slots * carried + moved(slots, words + calls + 1, bits + 2) if isinstance(node, GroupAggregate) else 0
    most = max(moving, comparing, compacted)
    return _evaluated(expressions(node), slots) + most + QUOTIENT * slots * sum(map(is_quotient, keys))


def _key_size(e: Expression, node: GroupAggregate | MarkDistinct | TopK | Unique | Cut) -> int:
    return 2 if e.type.kind is not Kind.VARCHAR else 1 + -(-bytes_of(e, traits(node.input).ranges) // 7)


def _released(root: Release) -> int:
    """The record of the outputs, wiped and shuffled."""
    slots, flags = traits(root.input).slots, 2 * len(root.outputs) + 1
    words = sum(_words(e, root) for _, e in root.outputs)
    quotients = sum(is_quotient(e) for _, e in root.outputs)
    shuffled = moved(slots, words, flags) if slots > 1 else 0
    return slots * (2 * WORD * words + QUOTIENT * quotients) + shuffled


def moved(rows: int, words: int, bits: int) -> int:
    """A permutation of so many rows: with those that come in and go out."""
    octets = -(-bits // 8)
    widest = max(WORD * count + width for count, width in column_groups(words, octets, rows))
    return rows * (2 * (WORD * words + octets) + max(DRAWN, 4 * widest + MAPS))


def _evaluated(found: tuple[Expression, ...], rows: int) -> int:
    """The values of all parts of expressions, which stay until the last is there."""
    return WORD * rows * sum(not isinstance(part, Ref) for e in found for part in walk(e))


def _words(e: Expression, root: Release) -> int:
    """Words of an output: seven characters of a text each, and its length."""
    if e.type.kind is not Kind.VARCHAR:
        return 1
    return 1 + -(-bytes_of(e, traits(root.input).ranges) // 7)


def _words_of(node: Node, numbers: frozenset[int]) -> int:
    """Words of these columns of a row, bits among them."""
    columns = [column for column in traits(node).columns if column.field.number in numbers]
    return sum(1 if column.field.type.kind is not Kind.VARCHAR else 1 + -(-column.bytes // 7) for column in columns)


def _key_words(kind: Kind, node: Align, number: int) -> int:
    return 1 if kind is not Kind.VARCHAR else 1 + -(-traits(node.probe).ranges[number].bytes // 7)


def _name(node: Node) -> str:
    match node:
        case Input():
            return f"sharing fragment {node.fragment}"
        case _:
            return operator_name(node)
