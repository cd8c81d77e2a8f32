"""What a plan costs, in integers: bytes a party sends, rounds, dealer bytes, nanoseconds on a given network.

The formulas are protocols.md's for m = 2, per row and two parties; with n parties an opening costs n-1 times as much.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from sdh.planners.expressions import COMPARISONS, DISTINCTIONS, Apply, Case, Expression, walk
from sdh.planners.physical import Aggregate, Align, Filter, Input, NestedLoop, Node, Release, groups_bound, inputs, traits
from sdh.planners.ranges import QUOTIENTS, Columns, bytes_of, range_of
from sdh.schema import FLOATING, Kind


@dataclass(frozen=True, slots=True)
class Cost:
    """bytes: sent by the busiest party. dealer_bytes: sent by the dealer in all."""

    bytes: int = 0
    rounds: int = 0
    dealer_bytes: int = 0
    rows: int = 0
    """Row operations: what is computed, for the part of the time that no network explains."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.bytes + other.bytes, self.rounds + other.rounds, self.dealer_bytes + other.dealer_bytes, self.rows + other.rows
        )

    def times(self, count: int) -> Cost:
        """The same on `count` rows in one go: rounds stay."""
        return Cost(self.bytes * count, self.rounds, self.dealer_bytes * count, self.rows * count)


@dataclass(frozen=True, slots=True)
class Network:
    """bandwidth in bytes a second, delay of a round in nanoseconds, time of a row operation in nanoseconds."""

    bandwidth: int = 400_000_000
    delay: int = 400_000
    row: int = 120

    def nanoseconds(self, cost: Cost) -> int:
        sent = (cost.bytes + cost.dealer_bytes) * 1_000_000_000 // self.bandwidth
        return sent + cost.rounds * self.delay + cost.rows * self.row


LOCAL = Network()
"""Nodes on one machine."""


def comparison(bits: int) -> Cost:
    """Masked open with m = 2 (protocols.md, section 2): 19.0 / 19.0 bytes at 64 bits."""
    sent = (bits * 30 + 99) // 100
    return Cost(sent + 1, max(bits - 1, 1).bit_length(), sent + 1, 4)


MUX = Cost(9, 1, 16, 2)
TO_ARITHMETIC = Cost(1, 1, 8, 1)


def permutation(words: int) -> Cost:
    """One programmed permutation of a record of 8-byte words."""
    return Cost(8 * words + 4, 1, 8 * words, 3 * words + 3)


def expression_cost(e: Expression, columns: Columns) -> Cost:
    """Of a row."""
    total = Cost()
    for node in walk(e):
        match node:
            case Apply(function, arguments) if function in COMPARISONS | DISTINCTIONS | {"BETWEEN", "IN"}:
                one = comparison(_width(arguments, columns))
                total += Cost(one.bytes * (len(arguments) - 1), one.rounds, one.dealer_bytes * (len(arguments) - 1), one.rows)
            case Apply("AND" | "OR", _):
                total += Cost(1, 1, 1, 1)
            case Apply("*", _):
                total += Cost(16, 1, 8, 2)
            case Apply(function) if function in QUOTIENTS:
                total += comparison(64).times(120) + Cost(0, 500)
            case Case(branches, _):
                total += Cost(MUX.bytes * len(branches), len(branches), MUX.dealer_bytes * len(branches), 2)
    return total


def _width(arguments: tuple[Expression, ...], columns: Columns) -> int:
    first = arguments[0]
    if first.type.kind is Kind.VARCHAR:
        return 8 * max(bytes_of(first, columns), 1)
    if first.type.kind in FLOATING:
        return 192
    try:
        return max(range_of(a, columns).bits for a in arguments) + 1
    except Exception:
        return 64


def words_of(node: Node) -> int:
    """8-byte words of a row on shares, with a word for flags."""
    return 1 + sum(1 + column.bytes // 7 for column in traits(node).columns)


def node_cost(node: Node | Release, parties: int) -> Cost:
    """Of this node alone."""
    one = _node_cost(node)
    return Cost(one.bytes * max(parties - 1, 1), one.rounds, one.dealer_bytes, one.rows)


def _node_cost(node: Node | Release) -> Cost:
    match node:
        case Input():
            return Cost(0, 0, 0, 2 * node.slots * words_of(node))
        case Filter(input, predicate):
            found = traits(input)
            return expression_cost(predicate, found.ranges).times(found.slots)
        case NestedLoop(left, right, condition):
            columns = traits(left).ranges | traits(right).ranges
            row = (
                Cost(rows=words_of(node))
                if condition is None
                else expression_cost(condition, columns) + Cost(1, 1, 1, words_of(node))
            )
            return row.times(traits(node).slots)
        case Align():
            return _align_cost(node)
        case Aggregate():
            return _aggregate_cost(node)
        case Release():
            found = traits(node.input)
            words = 1 + len(node.outputs)
            total = Cost()
            for _, e in node.outputs:
                total += expression_cost(e, found.ranges)
            total += Cost(9 * words, 1, 16 * words, 2 * words)
            shuffle = Cost(16 * words, 2, 16 * words, 6 * words) if found.slots > 1 else Cost()
            return (total + shuffle + Cost(8 * words)).times(found.slots)
        case _:
            assert_never(node)


def _align_cost(node: Align) -> Cost:
    probe, build = traits(node.probe).slots, traits(node.build).slots
    table = max(-(-build * 127 // 100), build + 512)
    keys = len(node.pairs)
    words = words_of(node.build)
    one = Cost(3 * (8 * words * 3), 9, 3 * 8 * words * 3, 30 * words)
    candidates = one.times(probe + table)
    equal = comparison(64).times(3 * probe * keys)
    select = Cost(9 * words, 2, 16 * words, 4 * words).times(3 * probe)
    return candidates + equal + select


def _aggregate_cost(node: Aggregate) -> Cost:
    found = traits(node.input)
    cells = max(1, traits(node).slots // max(groups_bound(node), 1))
    total = Cost()
    for call in node.calls:
        for e in (*call.arguments, *(() if call.filter is None else (call.filter,))):
            total += expression_cost(e, found.ranges)
        total += Cost((MUX.bytes + 1) * cells, 2, 24 * cells, 3 * cells)
        if call.function in ("min", "max"):
            steps = max(found.slots, 2).bit_length()
            step = comparison(64) + MUX
            total += Cost(
                step.bytes * (steps if node.owner_keys else 2), step.rounds * steps, step.dealer_bytes * steps, 10 * steps
            )
    for _, e in node.domain_keys:
        total += expression_cost(e, found.ranges) + comparison(16).times(cells)
    if node.owner_keys:
        total += permutation(2 * len(node.calls)) + permutation(2 * len(node.calls))
    return total.times(found.slots)


def tree_cost(node: Node | Release, parties: int) -> Cost:
    """Of the node and all below it."""
    below = (node.input,) if isinstance(node, Release) else inputs(node)
    total = node_cost(node, parties)
    for part in below:
        total += tree_cost(part, parties)
    return total
