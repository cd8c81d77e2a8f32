"""What a plan costs, in integers: bits a party sends, rounds, dealer bits, and nanoseconds on a given network.

Comparisons cost what planners/comparing.py counts; what the runtime meters agrees within a tenth
(tests/test_costs.py). For two parties; with n parties an opening costs n - 1 times as much.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from sdh.planners import comparing
from sdh.planners.expressions import COMPARISONS, DISTINCTIONS, Apply, Case, Expression, walk
from sdh.planners.logical import Call
from sdh.planners.physical import (
    Aggregate,
    Align,
    Filter,
    Input,
    NestedLoop,
    Node,
    Release,
    groups_bound,
    inputs,
    traits,
)
from sdh.planners.quotients import Division, crossed, division_of, is_quotient, pair_of
from sdh.planners.ranges import Columns, Range, bytes_of, range_of
from sdh.schema import Kind

CHUNK = 1 << 19
"""Rows that are under way at a time: each window of chunks takes its rounds anew (executors/runtime.py)."""


@dataclass(frozen=True, slots=True)
class Cost:
    """sent: bits by the busiest party. dealt: bits by the dealer in all. work: row operations of each party."""

    sent: int = 0
    rounds: int = 0
    dealt: int = 0
    work: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.sent + other.sent, self.rounds + other.rounds, self.dealt + other.dealt, self.work + other.work)

    def times(self, rows: int, chunk: int = CHUNK) -> Cost:
        """A row's cost over `rows` rows: one set of rounds a chunk."""
        chunks = max(1, -(-rows // chunk))
        return Cost(self.sent * rows, self.rounds * chunks, self.dealt * rows, self.work * rows)

    @property
    def bytes(self) -> int:
        return self.sent // 8

    @property
    def dealer_bytes(self) -> int:
        return self.dealt // 8


def total(costs: list[Cost]) -> Cost:
    whole = Cost()
    for cost in costs:
        whole += cost
    return whole


@dataclass(frozen=True, slots=True)
class Network:
    """bandwidth: bytes a second. delay: nanoseconds of a round. row: nanoseconds of a row operation."""

    bandwidth: int = 400_000_000
    delay: int = 350_000
    row: int = 25

    def nanoseconds(self, cost: Cost) -> int:
        return (
            (cost.bytes + cost.dealer_bytes) * 1_000_000_000 // self.bandwidth + cost.rounds * self.delay + cost.work * self.row
        )


LOCAL = Network()
"""Nodes on one machine."""

AND = Cost(2, 1, 1, 1)
TO_RING = Cost(1, 1, 64, 2)


def mux(words: int) -> Cost:
    """One bit selects several words."""
    return Cost(1 + 64 * words, 1, 64 + 64 * words, 4 * words)


def sign(width: int, rows: int) -> Cost:
    """MSB of a value of `width` bits by masked opening, a row of `rows`."""
    one = comparing.sign(width, comparing.choose(rows, width))
    return Cost(one.sent, one.rounds, one.dealt, 2 + width // 8)


def zero(width: int, rows: int) -> Cost:
    """Equality to 0 of a value of `width` bits, a row of `rows`."""
    one = comparing.zero(width, comparing.choose(rows, width))
    return Cost(one.sent, one.rounds, one.dealt, 2 + width // 10)


# --- expressions, a row --------------------------------------------------------------------------


def expression_cost(e: Expression, columns: Columns, rows: int) -> Cost:
    """Of evaluating an expression in one row of `rows`."""
    return total([_operator_cost(node, columns, rows) for node in walk(e)])


def _operator_cost(node: Expression, columns: Columns, rows: int) -> Cost:
    match node:
        case Apply("BETWEEN", (operand, low, high)):
            return _compared(">=", operand, low, columns, rows) + _compared("<=", operand, high, columns, rows) + AND + AND
        case Apply("IN", (operand, *items)):
            return total([_compared("=", operand, item, columns, rows) + AND + AND for item in items])
        case Apply(function, (left, right)) if function in COMPARISONS | DISTINCTIONS:
            return _compared("=" if function in DISTINCTIONS else function, left, right, columns, rows)
        case Apply("AND" | "OR", arguments):
            nullable = any(a.nullable for a in arguments)
            return Cost(4 if nullable else 2, 1, 2 if nullable else 1, 2)
        case Apply("*", (left, right)):
            return Cost(128, 1, 64, 4) if all(_varies(side) for side in (left, right)) else Cost(work=1)
        case Apply("abs", (operand,)):
            return sign(range_of(operand, columns).bits, rows) + mux(1)
        case Apply("coalesce" | "greatest" | "least", arguments):
            one = _chosen(node, columns) + (Cost() if node.function == "coalesce" else sign(64, rows))
            return total([one] * (len(arguments) - 1))
        case Apply("nullif", (left, right)):
            return _compared("=", left, right, columns, rows) + AND
        case Case(branches):
            return total([_chosen(node, columns)] * len(branches))
        case _:
            return Cost(work=1)


def _varies(e: Expression) -> bool:
    return any(True for node in walk(e) if not hasattr(node, "sql"))


def _chosen(e: Expression, columns: Columns) -> Cost:
    words = 1 if e.type.kind is not Kind.VARCHAR else 1 + -(-bytes_of(e, columns) // 7)
    return (AND + AND if e.type.kind is Kind.BOOLEAN else mux(words)) + (AND if e.nullable else Cost())


def _compared(function: str, left: Expression, right: Expression, columns: Columns, rows: int) -> Cost:
    nulls = Cost(2, 1, 1, 1) if left.nullable or right.nullable else Cost()
    both = Cost(2, 1, 1, 1) if left.nullable and right.nullable else Cost()
    return _bare_comparison(function, left, right, columns, rows) + nulls + both


def _bare_comparison(function: str, left: Expression, right: Expression, columns: Columns, rows: int) -> Cost:
    if left.type.kind is Kind.VARCHAR or right.type.kind is Kind.VARCHAR:
        words = -(-max(bytes_of(left, columns), bytes_of(right, columns)) // 7)
        same = total([zero(56, rows)] * words)
        if function in ("=", "<>"):
            return same + zero(32, rows) + total([AND] * words)
        return same + total([sign(57, rows)] * words) + sign(33, rows) + total([AND] * words)
    difference = _difference(left, right, columns)
    if function in ("=", "<>"):
        return zero(min(64, max(abs(difference.low), abs(difference.high), 1).bit_length()), rows)
    return sign(difference.bits, rows) if difference.bits <= 64 else total([sign(64, rows)] * 3) + AND


def _difference(left: Expression, right: Expression, columns: Columns) -> Range:
    if is_quotient(left) or is_quotient(right):
        a, b = crossed(pair_of(left), pair_of(right), columns)
        return a - b
    scales = [e.type.scale if e.type.kind is Kind.DECIMAL else 0 for e in (left, right)]
    a, b = (range_of(e, columns).times(10 ** (max(scales) - scale)) for e, scale in zip((left, right), scales, strict=True))
    return a - b


# --- nodes ---------------------------------------------------------------------------------------


def record(node: Node) -> tuple[int, int]:
    """Words and bits of a row on shares, without its validity."""
    words = bits = 0
    for column in traits(node).columns:
        if column.field.type.kind is Kind.BOOLEAN:
            bits += 1 + column.field.nullable
        else:
            words += 1 if column.field.type.kind is not Kind.VARCHAR else 1 + -(-column.bytes // 7)
            bits += column.field.nullable
    return words, bits


def node_cost(node: Node | Release, parties: int) -> Cost:
    """Of this node alone."""
    one = _node_cost(node, parties)
    return Cost(one.sent * max(parties - 1, 1), one.rounds, one.dealt, one.work)


def _node_cost(node: Node | Release, parties: int) -> Cost:
    match node:
        case Input():
            return Cost(work=2 * node.slots * sum(record(node)))
        case Filter(input, predicate):
            slots = traits(input).slots
            return (expression_cost(predicate, traits(input).ranges, slots) + AND).times(slots)
        case NestedLoop(left, right, condition):
            row = Cost(work=2 * sum(record(node))) + AND
            if condition is not None:
                row += expression_cost(condition, traits(left).ranges | traits(right).ranges, traits(node).slots) + AND
            return row.times(traits(node).slots)
        case Align():
            return _align_cost(node)
        case Aggregate():
            return _aggregate_cost(node)
        case Release():
            return _release_cost(node, parties)
        case _:
            assert_never(node)


def permuted(words: int, bits: int, rows: int, places: int, told: int) -> Cost:
    """A programmed permutation of `rows` rows over `places` places, `told` of which the owner names to the others."""
    width = 64 * words + 8 * -(-bits // 8)
    return Cost(max(width * rows, 32 * told), 1, width * places, (words + 1) * places)


def _align_cost(node: Align) -> Cost:
    """permute the build side into the table, duplicate 3 candidates a probe row, equalities, selection."""
    probe, build = traits(node.probe).slots, traits(node.build).slots
    words, bits = record(node.build)
    bits += 1
    widths = _key_widths(node)
    table = max(-(-build * 127 // 100), build + 512)
    rows = 3 * probe
    carried = 64 * (words + len(widths)) + 8 * -(-(bits + 1) // 8)
    to_table = permuted(words, bits, build, table, table)
    copies = Cost(
        carried * (2 * table + rows),
        3,
        carried * (2 * table + 2 * rows),
        (words + len(widths)) * (3 * table + 4 * rows) + 20 * rows,
    )
    equal = total([zero(width, rows) for width in widths] + [AND] * len(widths)).times(rows)
    select = mux(words) + total([AND] * bits) if words else total([AND] * bits)
    return to_table + copies + equal + select.times(rows) + AND.times(probe)


def _key_widths(node: Align) -> list[int]:
    a, b = traits(node.probe).ranges, traits(node.build).ranges
    found: list[int] = []
    for first, second in node.pairs:
        if first.type.kind is Kind.VARCHAR:
            found += [56] * -(-max(a[first.number].bytes, b[second.number].bytes) // 7) + [32]
        else:
            difference = a[first.number].range - b[second.number].range
            found.append(min(64, max(abs(difference.low), abs(difference.high), 1).bit_length()))
    return found


def _aggregate_cost(node: Aggregate) -> Cost:
    found = traits(node.input)
    rows, columns = found.slots, found.ranges
    slots = groups_bound(node)
    cells = max(1, traits(node).slots // max(slots, 1))
    one = zero(7, rows) + AND
    domain = total([expression_cost(e, columns, rows) + total([one] * (1 if e.type.kind is Kind.BOOLEAN else cells))
                    for _, e in node.domain_keys])  # fmt: skip
    arguments = total([expression_cost(e, columns, rows) for call in node.calls for e in _parts(call)])
    weights = _weights(node)
    sums = [call for call in node.calls if call.function in ("sum", "sum_count")]
    extremes = [call for call in node.calls if call.function in ("min", "max")]
    cell = total([AND] * (weights - 1)) + total([TO_RING] * weights) + total([Cost(65, 1, 128, 4)] * len(sums))
    whole = (domain + arguments).times(rows) + cell.times(rows * cells)
    for call in extremes:
        whole += _extreme_cost(call, rows, columns, grouped=bool(node.owner_keys)).times(cells, 1)
    nothing = total([zero(max(rows, 1).bit_length(), slots * cells)] * (1 + len(sums)) + [AND])
    if node.owner_keys:
        words, flags = weights + len(sums) + len(extremes), len(extremes)
        moved = permuted(words, flags, rows, rows, rows) + permuted(words, flags, rows, rows + slots, slots)
        whole += moved.times(cells, 1)
    return whole + nothing.times(slots * cells)


def _parts(call: Call) -> list[Expression]:
    return [*call.arguments, *([] if call.filter is None else [call.filter])]


def _weights(node: Aggregate) -> int:
    """Different sets of rows that are counted: by argument's NULLs and by FILTER."""
    return len(
        {(call.filter, call.arguments if call.arguments and call.arguments[0].nullable else ()) for call in node.calls}
        | {(None, ())}
    )


def _extreme_cost(call: Call, rows: int, columns: Columns, *, grouped: bool) -> Cost:
    width = min(range_of(call.arguments[0], columns).bits, 64)
    compare = sign(width + 2, rows) if width <= 62 else total([sign(64, rows)] * 3) + AND + AND + AND
    step = compare + mux(1) + (AND if grouped else Cost())
    steps = max(rows - 1, 0).bit_length()
    ends = mux(1) + sign(min(width + 2, 64), rows if grouped else 1) + mux(1)
    if grouped:
        return total([step.times(rows)] * steps) + ends.times(rows)
    return Cost(step.sent * rows, step.rounds * steps, step.dealt * rows, step.work * rows) + mux(1).times(rows) + ends


def _release_cost(node: Release, parties: int) -> Cost:
    found = traits(node.input)
    words = bits = 0
    row = Cost()
    whole = Cost()
    for _, e in node.outputs:
        if is_quotient(e):
            division = division_of(e, found.ranges)
            bits += 5 + division.bits
            whole += (
                total([expression_cost(part, found.ranges, found.slots) for part in e.arguments]).times(found.slots)
                if isinstance(e, Apply)
                else Cost()
            )
            whole += division_cost(division, found.slots)
            continue
        row += expression_cost(e, found.ranges, found.slots)
        count = (
            0 if e.type.kind is Kind.BOOLEAN else 1 if e.type.kind is not Kind.VARCHAR else 1 + -(-bytes_of(e, found.ranges) // 7)
        )
        words, bits = words + count, bits + (2 if e.type.kind is Kind.BOOLEAN else 1)
        row += mux(count) if count and e.nullable else Cost()
    always = not _is_filtered(node.input)
    if not always:
        row += (mux(words) if words else Cost()) + Cost(2 * bits, 1, bits, bits)
    whole += row.times(found.slots)
    if found.slots > 1:
        width = 64 * words + 8 * -(-(bits + 1) // 8)
        whole += Cost(width * found.slots, parties, parties * width * found.slots, 4 * (words + 1) * found.slots)
    return whole


def _is_filtered(node: Node) -> bool:
    """Whether its rows have a validity on shares: all but an ungrouped aggregate."""
    return not isinstance(node, Aggregate) or node.is_grouped


def division_cost(division: Division, rows: int) -> Cost:
    """Long division, radix 2^g: 2^g - 1 comparisons and muxes a digit (executors/divide.py)."""
    g = 4 if rows <= 1 << 10 else 2 if rows <= 1 << 15 else 1
    g = max(1, min(g, 63 - division.bottom))
    digits = -(-division.bits // g)
    many = (1 << g) - 1
    trial = sign(division.bottom + g + 1, rows * many)
    digit = Cost(many * (trial.sent + 65), trial.rounds + 1,
                 many * (trial.dealt + 128), 12 * many)  # fmt: skip
    bits = division.top
    decomposed = Cost(bits + bits * 2 * bits.bit_length(), 1 + bits.bit_length(), 65 * bits + bits * bits.bit_length(), 4 * bits)
    rounding = Cost(10 * division.bits, 14, 5 * division.bits, 4 * division.bits)
    return (total([digit] * digits) + decomposed + rounding + zero(division.bottom, rows) + zero(division.top, rows)).times(rows)


def tree_cost(node: Node | Release, parties: int) -> Cost:
    """Of the node and all below it. Raises WidthError, Unsupported for what cannot run."""
    below = (node.input,) if isinstance(node, Release) else inputs(node)
    return node_cost(node, parties) + total([tree_cost(part, parties) for part in below])
