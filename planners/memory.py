"""What a plan's secure part takes of a party's memory, from public sizes, so that what cannot fit is refused beforehand.

A relation on shares takes 8 bytes a word and one bit a flag of every slot, from the operator that makes it to the one
that takes it; an own fragment's rows stay beside them in the clear for the whole run. An operator works on top of that:

* Filters, aggregates without an owner's keys, and the pairs of nested loops below them go a slice of 2^20 rows at a
  time: 8 bytes a row for every part of their expressions and 16 for each column of a pair. Comparisons and products go in
  chunks, a few under way at a time: CHUNKS bytes in all.
* What moves rows is linear. A permutation of rows of w bytes has, at its worst moment, the rows that came in, masked,
  received and summed, both masks, the result and a row of zeros under it: 8 w; and the permutation as drawn, sorted and
  inverted, its map, its source and copies: 8 indices of 8 bytes. So (8 w + 64) bytes a row moved.
  - align: 3 rows for each probe row and 1.27 for each build row are moved, the build's record and key words wide: with
    equal sides and one 8-byte payload beside the key (w = 25) 1.1 kB a row.
  - aggregate by an owner's keys: its rows and its groups, each count, sum and extreme a word.
  - release: its rows, when they are shuffled.
* nested_loop that is not aggregated away: all its pairs.

Measured (python -m tests.bench.memory): the resident peak is 0.5 to 0.85 of the estimate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from sdh.errors import MemoryExceeded
from sdh.planners.costs import record
from sdh.planners.expressions import Expression, walk
from sdh.planners.physical import (
    Aggregate,
    Align,
    Concat,
    Filter,
    GroupAggregate,
    Input,
    MarkDistinct,
    NestedLoop,
    Node,
    Release,
    SortMerge,
    TopK,
    Unique,
    carried,
    expressions,
    groups_bound,
    inputs,
    key_limbs,
    traits,
)
from sdh.planners.quotients import is_quotient
from sdh.planners.ranges import bytes_of
from sdh.schema import Kind

WORD = 8
SLICE = 1 << 20
"""Rows of a slice (executors/slices.py)."""
CHUNKS = 96 << 20
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
    running = _peak(root.input)
    held = _held(root.input)
    release = Use(held + _evaluated(tuple(e for _, e in root.outputs), traits(root.input).slots) + _released(root), "release")
    most = max(running, release)
    return max(encoding, Use(clear + CHUNKS + most.bytes, most.operator))


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
        words, bits = record(leaf)
        own[leaf.party] = own.get(leaf.party, 0) + leaf.slots * (WORD * words + bits + 1)
    return max(own.values())


def _leaves(node: Node) -> list[Input]:
    return [node] if isinstance(node, Input) else [leaf for part in inputs(node) for leaf in _leaves(part)]


# --- what an operator takes ----------------------------------------------------------------------


def _peak(node: Node, sliced: bool = False) -> Use:
    """While a node and all below it are worked out. `sliced`: it gives its rows a slice at a time."""
    sliced = sliced and (isinstance(node, Filter) or _gives_pairs(node))
    found, kept = [Use(0, "")], 0
    for part in inputs(node):
        below = _peak(part, _slices(node, sliced))
        found.append(Use(kept + below.bytes, below.operator))
        kept += _kept(part, _slices(node, sliced))
    own = SLICE if sliced else traits(node).slots
    result = _held(node) * min(own, traits(node).slots) // max(traits(node).slots, 1)
    found.append(Use(kept + result + _working(node, own), _name(node)))
    return max(found)


def _slices(node: Node, sliced: bool) -> bool:
    """Whether a node takes its inputs a slice at a time."""
    return isinstance(node, Aggregate) and not node.owner_keys or isinstance(node, Filter) and sliced


def _gives_pairs(node: Node) -> bool:
    return isinstance(node, NestedLoop) and node.kind == "INNER"


def _kept(node: Node, sliced: bool) -> int:
    """What is there of a node's rows while its parent works."""
    if sliced and isinstance(node, Filter):
        return _kept(node.input, True)
    if sliced and _gives_pairs(node):
        return sum(_held(part) for part in inputs(node))
    return _held(node)


def _working(node: Node, rows: int) -> int:
    """Beside what it is given and gives, at most `rows` of its rows at a time."""
    slots = min(rows, traits(node).slots)
    match node:
        case Input():
            return WORD * slots
        case Filter():
            return _evaluated(expressions(node), slots)
        case NestedLoop(left, right, _, "SEMI" | "ANTI" | "MARK" | "SINGLE"):
            pairs = traits(left).slots * traits(right).slots
            read = _words_of(left, frozenset(traits(left).ranges)) + _words_of(right, carried(node))
            return _evaluated(expressions(node), pairs) + pairs * (2 * WORD * read + 2)
        case NestedLoop():
            return _evaluated(expressions(node), slots) + slots * (2 * WORD * sum(record(node)) + 2)
        case Align(probe, build, pairs):
            words, bits = _words_of(build, carried(node)), record(build)[1]
            keys = sum(_key_words(a.type.kind, node, a.number) for a, _ in pairs)
            return moved(3 * traits(probe).slots + traits(build).slots * 127 // 100 + 512, words + keys, bits + 2)
        case SortMerge(probe, build, pairs):
            keys = sum(len(key_limbs(pair, traits(probe), traits(build))) for pair in pairs)
            rows = traits(probe).slots + traits(build).slots
            return moved(2 * rows, 2 * keys + 1 + _words_of(build, carried(node)), 2 + traits(build).slots.bit_length())
        case Aggregate(input):
            return _aggregated(node, traits(input).slots)
        case GroupAggregate(input) | MarkDistinct(input) | TopK(input) | Unique(input):
            return _sorted(node, traits(input).slots)
        case Concat(parts, _, values):
            return sum(_evaluated(row, traits(part).slots) for part, row in zip(parts, values, strict=True))
        case _:
            assert_never(node)


def _aggregated(node: Aggregate, slots: int) -> int:
    rows = slots if node.owner_keys else min(slots, SLICE)
    working = _evaluated(expressions(node), rows) + 4 * WORD * len(node.calls) * rows
    if not node.owner_keys:
        return working
    cells = max(1, traits(node).slots // max(groups_bound(node), 1))
    return cells * working + moved(slots + groups_bound(node), 1 + 2 * len(node.calls), 1 + len(node.calls))


def _sorted(node: GroupAggregate | MarkDistinct | TopK | Unique, slots: int) -> int:
    """Keys, and rows that are shuffled with them: 8 words a limb for comparisons of public places."""
    keys = [e for _, e in node.keys] if isinstance(node, GroupAggregate) else expressions(node)
    read, (words, bits) = sum(_key_size(e, node) for e in keys), record(node)
    calls = len(node.calls) if isinstance(node, GroupAggregate) else 0
    within = 0 if isinstance(node, GroupAggregate) else read   # limbs that are no columns of the result
    moving = moved(slots, words + within + read + calls, bits + calls + 2)
    moving += QUOTIENT * slots * sum(map(is_quotient, keys))
    return _evaluated(expressions(node), slots) + moving + 8 * WORD * slots * (1 + read)


def _key_size(e: Expression, node: GroupAggregate | MarkDistinct | TopK | Unique) -> int:
    return 2 if e.type.kind is not Kind.VARCHAR else 1 + -(-bytes_of(e, traits(node.input).ranges) // 7)


def _released(root: Release) -> int:
    """The record of the outputs, wiped and shuffled."""
    slots, flags = traits(root.input).slots, 2 * len(root.outputs) + 1
    words = sum(_words(e, root) for _, e in root.outputs)
    quotients = sum(is_quotient(e) for _, e in root.outputs)
    shuffled = moved(slots, words, flags) if slots > 1 else 0
    return slots * (2 * WORD * words + QUOTIENT * quotients) + shuffled


def moved(rows: int, words: int, bits: int) -> int:
    """A permutation, or several one after the other, of so many rows in all."""
    return rows * (8 * (WORD * words + -(-bits // 8)) + 8 * WORD)


def _evaluated(found: tuple[Expression, ...], rows: int) -> int:
    """The values of all parts of expressions, which stay until the last is there."""
    return WORD * rows * sum(len(list(walk(e))) for e in found)


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
        case NestedLoop():
            return "nested_loop"
        case _:
            return type(node).__name__.lower()
