"""What a plan costs, operator by operator: bytes, rounds, dealer's bytes, and from these nanoseconds on a given network.

EXPLAIN shows it, the planner chooses by it, and EXPLAIN ANALYZE prints it beside what the run measured: bytes agree
within a tenth for every operator (tests/test_costs.py), seconds within a factor of two (python -m tests.bench.seconds).
Operators are counted as they are run: inputs first, from left to right, the release last.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import assert_never

from sdh.planners.comparing import LOCAL, Network, choose
from sdh.planners.dividing import TOP, significand_cost
from sdh.planners.expression_costs import (
    LENGTH_BITS,
    TEXT_BITS,
    At,
    all_of,
    equality_bits,
    holds,
    nullable,
    number,
    value,
    words_of,
)
from sdh.planners.expressions import Expression, walk
from sdh.planners.logical import Call
from sdh.planners.physical import (
    Aggregate,
    Align,
    Filter,
    Input,
    NestedLoop,
    Node,
    Release,
    domain_of,
    expressions,
    groups_bound,
    has_validity,
    inputs,
    traits,
)
from sdh.planners.protocol_costs import (
    NONE,
    SLICE,
    Cost,
    Machine,
    Steps,
    and_,
    any_of,
    beside,
    by_size,
    divided,
    duplicated,
    less,
    mux,
    nanoseconds,
    permuted,
    shared,
    shuffled,
    sign,
    to_ring,
    total,
    zeros,
)
from sdh.planners.quotients import division_of, is_quotient, pair_of
from sdh.planners.ranges import overflows, range_of, scale_of
from sdh.schema import Kind

__all__ = ["LOCAL", "Cost", "Machine", "Network", "Spent", "nanoseconds", "operator_costs", "payload_bytes", "record",
           "tree_cost"]


@dataclass(frozen=True, slots=True)
class Spent:
    """What one operator cost a party, as measured: bytes it sent, rounds, bytes by the dealer to all, seconds."""

    sent: int = 0
    rounds: int = 0
    dealt: int = 0
    seconds: float = 0.0


def operator_costs(node: Node | Release, parties: int, network: Network = LOCAL) -> list[tuple[Node | Release, Cost]]:
    """The node and all below it, in the order in which they are run, each with what it costs alone.

    Raises WidthError, Unsupported for what cannot run.
    """
    return _costs(node, parties, network, sliced=False)


def tree_cost(node: Node | Release, parties: int, network: Network = LOCAL) -> Cost:
    """Of the node and all below it. Raises WidthError, Unsupported for what cannot run."""
    return sum((cost for _, cost in operator_costs(node, parties, network)), Cost())


def _costs(node: Node | Release, parties: int, network: Network, *, sliced: bool) -> list[tuple[Node | Release, Cost]]:
    """sliced: an aggregate takes the rows a slice at a time (executors/slices.py)."""
    below = (node.input,) if isinstance(node, Release) else inputs(node)
    slices = sliced and isinstance(node, Filter) or isinstance(node, Aggregate) and not node.owner_keys
    found = [one for part in below for one in _costs(part, parties, network, sliced=slices)]
    return [*found, (node, _cost(node, parties, network, sliced=sliced))]


@lru_cache(maxsize=4096)
def _cost(node: Node | Release, parties: int, network: Network, *, sliced: bool) -> Cost:
    match node:
        case Input():
            return shared(node.slots, *record(node)).among(parties)
        case Filter(input, predicate):
            at, valid = _at(input, network), has_validity(input)
            sizes = _slices(node) if sliced else [at.rows]
            return by_size(sizes, lambda rows: holds(predicate, replace(at, rows=rows), valid=valid)).among(parties)
        case NestedLoop():
            at = _at(node, network)
            sizes = _slices(node) if sliced else [at.rows]
            return by_size(sizes, lambda rows: _nested_loop(node, replace(at, rows=rows))).among(parties)
        case Align():
            return _align(node, parties, network)
        case Aggregate():
            return _aggregate(node, _at(node.input, network)).among(parties)
        case Release():
            return _release(node, _at(node.input, network), parties).among(parties)
        case _:
            assert_never(node)


def _slices(node: Node) -> list[int]:
    """Rows of the slices in which an aggregate takes them."""
    match node:
        case Filter(input):
            return _slices(input)
        case NestedLoop(left, right):
            few, many = traits(left).slots, traits(right).slots
            rows = _borders(few, max(1, SLICE // max(many, 1)))
            return [some * others for some in rows for others in _borders(many, SLICE)]
        case _:
            return _borders(traits(node).slots, SLICE)


def _borders(rows: int, step: int) -> list[int]:
    return [min(step, rows - start) for start in range(0, max(rows, 1), step)]


def _at(node: Node, network: Network) -> At:
    return At(traits(node).slots, traits(node).ranges, network)


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


def _nested_loop(node: NestedLoop, at: At) -> Steps:
    """All pairs are copied, which is local; the condition is evaluated on them."""
    valid = [has_validity(part) for part in (node.left, node.right)]
    both = and_(at.rows) if all(valid) else NONE
    return Steps(words=2 * at.rows * sum(record(node))) + both + holds(node.condition, at, valid=any(valid))


# --- align ---------------------------------------------------------------------------------------


def _align(node: Align, parties: int, network: Network) -> Cost:
    """executors/align.py: the build side into the table, three candidates a probe row, equalities, selection."""
    probe, build = traits(node.probe).slots, traits(node.build).slots
    words, bits = record(node.build)
    bits += has_validity(node.build)
    widths = _key_widths(node)
    table = -(-max(-(-build * 127 // 100), build + 512) // 3) * 3
    rows = 3 * probe
    placed = permuted(words, bits, build, table, table) if words + bits else NONE
    fetched = duplicated(words + len(widths), bits + 1, table, rows)
    matched = shared(table + probe, len(widths), 1) + zeros(rows, tuple(widths), network) + all_of(len(widths) + 1, rows)
    selected = mux(rows, words) + and_(rows, bits) + (and_(probe) if has_validity(node.probe) else NONE)
    rest = (matched + selected).among(parties)
    others = parties - 1   # the build side's owner programs the first permutation, the probe side's the others
    sent = [others * placed.told + fetched.moved, placed.moved + others * fetched.told]
    sent += [placed.moved + fetched.moved] if parties > 2 else []
    routed = placed + fetched
    return rest + Cost(max(sent) // 8, routed.rounds, routed.dealt // 8, routed.words)


def _key_widths(node: Align) -> list[int]:
    a, b = traits(node.probe).ranges, traits(node.build).ranges
    found: list[int] = []
    for first, second in node.pairs:
        if first.type.kind is Kind.VARCHAR:
            found += [TEXT_BITS] * -(-max(a[first.number].bytes, b[second.number].bytes) // 7) + [LENGTH_BITS]
        else:
            scales = [scale_of(field.type) if field.type.is_exact else 0 for field in (first, second)]
            factors = [10 ** (max(scales) - scale) for scale in scales]
            found.append(equality_bits(a[first.number].range.times(factors[0]) - b[second.number].range.times(factors[1])))
    return found


# --- aggregate -----------------------------------------------------------------------------------

ALL: tuple[Expression | None, Expression | None] = (None, None)
"""What weighs a row that is counted whatever is in it."""


def _aggregate(node: Aggregate, at: At) -> Steps:
    """executors/grouping.py: what each row weighs in every cell; sums and extremes of groups, or of slices; what they give."""
    slots = groups_bound(node)
    cells = max(1, traits(node).slots // max(slots, 1))
    sums = sum(call.function in ("sum", "sum_count") for call in node.calls)
    tested = [max(at.rows, 1).bit_length()] * (sums + node.is_grouped)
    last = zeros(slots, tuple(tested), at.network) + (and_(slots) if node.owner_keys else NONE)
    sizes = [at.rows] if node.owner_keys else _slices(node.input)
    if len(sizes) > 1:   # the slices' extremes meet
        met = replace(at, rows=len(sizes))
        last += total(_extreme(call, met, grouped=False, null=True) for call in node.calls if call.function in ("min", "max"))
    return by_size(sizes, lambda rows: _weighed(node, replace(at, rows=rows), slots, cells)) + total([last] * cells)


def _weighed(node: Aggregate, at: At, slots: int, cells: int) -> Steps:
    """All but what is done with the results."""
    sums = [call for call in node.calls if call.function in ("sum", "sum_count")]
    extremes = [call for call in node.calls if call.function in ("min", "max")]
    by_call = {call: (call.filter, _counted(call, at)) for call in node.calls}
    valid = has_validity(node.input) or bool(node.domain_keys)
    weights = {weight for weight in (*by_call.values(), ALL) if valid or weight != ALL}
    weighed = {call for call, weight in by_call.items() if weight in weights}
    arguments = {argument for call in node.calls for argument in call.arguments}
    cell = total(value(argument, at) for argument in arguments) + total(_weight(*weight, at, valid=valid) for weight in weights)
    cell += beside(mux(at.rows, 1) for call in sums if call in weighed) + to_ring(at.rows, len(weights))
    cell += total(_extreme(call, at, grouped=bool(node.owner_keys), null=call in weighed) for call in extremes)
    if node.owner_keys:
        counts = len(weights) + (0 if valid else 1 + sum(weight == ALL for weight in by_call.values()))   # of all: a column each
        added, nulls = counts + len(sums), len(weighed & set(extremes))
        cell += _group_sums(at.rows, slots, added, len(extremes), nulls)
    return _cells(node, at, cells, valid=has_validity(node.input)) + total([cell] * cells)


def _counted(call: Call, at: At) -> Expression | None:
    """The argument that a call counts by: where it is not NULL."""
    return next((argument for argument in call.arguments if nullable(argument, at.columns)), None)


def _weight(condition: Expression | None, argument: Expression | None, at: At, *, valid: bool) -> Steps:
    """The rows that a call counts: those of the cell that meet its FILTER and whose argument is not NULL."""
    met = NONE if condition is None else value(condition, at)
    return met + total([and_(at.rows)] * (valid + (condition is not None) + (argument is not None) - 1))


def _cells(node: Aggregate, at: At, cells: int, *, valid: bool) -> Steps:
    """Which rows have which values of the small-domain keys, and every combination of these."""
    found = NONE
    for _, e in node.domain_keys:
        size = domain_of(e, at.columns).size
        found += number(e, at) if e.type.kind is not Kind.BOOLEAN else value(e, at)
        if e.type.kind is not Kind.BOOLEAN:
            found += zeros(at.rows, (max(size, 2).bit_length(),) * size, at.network)
            found += and_(at.rows, size) if e.nullable else NONE
    return found + total([and_(at.rows)] * (cells * (len(node.domain_keys) - (not valid)) if node.domain_keys else 0))


def _group_sums(rows: int, slots: int, added: int, best: int, nulls: int) -> Steps:
    """Rows to the order of their owner, and the last of each group to its place."""
    return permuted(added + best, nulls, rows, rows, rows) + permuted(added + best, best, rows, rows + slots, slots)


def _extreme(call: Call, at: At, *, grouped: bool, null: bool) -> Steps:
    """executors/scan.py: a tournament of halves, or of a group's rows at growing distances."""
    if not (at.rows or grouped):
        return NONE
    width = min(range_of(call.arguments[0], at.columns).bits, 64)
    merged = width <= 62   # NULL is a value above all others
    whole, rows, distance = mux(at.rows, 1) if merged and null else NONE, at.rows, 1
    while rows > 1 if not grouped else distance < at.rows:
        met = at.rows - distance if grouped else rows // 2
        whole += less(met, width + 2 if merged else 65, at.network) + mux(met, 1) + (and_(met) if grouped else NONE)
        whole += total([and_(met)] * 3) if null and not merged else NONE
        rows, distance = rows - met, 2 * distance
    last = at.rows if grouped else 1
    found = sign(last, width + 2, at.network) if merged else NONE
    return whole + found + mux(last, 1) if null else whole


# --- release -------------------------------------------------------------------------------------


def _release(node: Release, at: At, parties: int) -> Steps:
    """executors/secure.py: the outputs, one error bit, rows that are not there wiped, a shuffle by all."""
    words, bits = released(node)
    failures = [*_failures([e for _, e in node.outputs], at), *_failures_below(node.input, at.network)]
    whole = total(_output(e, at) for _, e in node.outputs) + (any_of(sum(failures)) if failures else NONE)
    whole += and_(at.rows) if failures and has_validity(node.input) else NONE
    if failures or has_validity(node.input):
        whole += mux(at.rows, words) + and_(at.rows, bits - 1)
    return whole + (shuffled(words, bits, at.rows, parties) if at.rows > 1 else NONE)


def _failures(evaluated: Iterable[Expression], at: At) -> list[int]:
    """The rows of every column of bits that says where an operator failed."""
    return [at.rows for e in evaluated for part in walk(e) if overflows(part, at.columns)]


def _failures_below(node: Node, network: Network) -> list[int]:
    at = _at(node.input if isinstance(node, Filter | Aggregate) else node, network)
    return _failures(expressions(node), at) + [rows for part in inputs(node) for rows in _failures_below(part, network)]


def _output(e: Expression, at: At) -> Steps:
    if is_quotient(e):
        return _quotient(e, at)
    count = words_of(e, at.columns)
    return value(e, at) + (mux(at.rows, count) if nullable(e, at.columns) else NONE)


def _quotient(e: Expression, at: At) -> Steps:
    """executors/quotient.py."""
    division, pair = division_of(e, at.columns), pair_of(e)
    parts = [part for part in (pair.numerator, pair.divisor) if part is not None]
    nulls = sum(nullable(part, at.columns) for part in parts)
    whole = total([number(part, at) for part in parts]) + total([and_(at.rows)] * (nulls - 1))
    tree = choose(2 * at.rows, TOP + 2, at.network)
    whole += divided(significand_cost(division.top, division.bottom, tree), at.rows)
    return whole + and_(at.rows) + (and_(at.rows, 4) if nulls else NONE) + mux(at.rows, 2)


def released(node: Release) -> tuple[int, int]:
    """Words and bits of a released row, its validity with them."""
    columns = traits(node.input).ranges
    words, bits = 0, 1
    for _, e in node.outputs:
        if is_quotient(e):
            words, bits = words + 2, bits + 4
        else:
            words += words_of(e, columns)
            bits += 2 if e.type.kind is Kind.BOOLEAN else 1
    return words, bits


def payload_bytes(node: Release, *, may_fail: bool) -> int:
    """Bytes of a party's share of the result, to the client."""
    words, bits = released(node)
    slots = traits(node.input).slots
    return 8 * (may_fail + words * slots + bits * -(-slots // 64))
