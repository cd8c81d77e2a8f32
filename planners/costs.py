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

from sdh.planners.aggregate_costs import aggregate, record
from sdh.planners.comparing import LOCAL, Network
from sdh.planners.expression_costs import (
    At,
    holds,
    nullable,
    value,
    words_of,
)
from sdh.planners.expressions import Expression, walk
from sdh.planners.group_costs import first_rows, group_aggregate, mark_distinct, unique
from sdh.planners.join_costs import align, nested_loop, pairs_at, sort_merge
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
    expressions,
    has_validity,
    inputs,
    may_be_several,
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
    by_size,
    mux,
    nanoseconds,
    shared,
    shuffled,
    total,
)
from sdh.planners.quotient_costs import quotient
from sdh.planners.quotients import is_quotient
from sdh.planners.ranges import overflows
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
        case NestedLoop(kind=kind):
            at = pairs_at(node, network)
            sizes = _slices(node) if sliced and kind == "INNER" else [at.rows]
            return by_size(sizes, lambda rows: nested_loop(node, replace(at, rows=rows))).among(parties)
        case Align():
            return align(node, parties, network)
        case SortMerge():
            return sort_merge(node, parties, network)
        case Aggregate():
            sizes = [traits(node.input).slots] if node.owner_keys else _slices(node.input)
            return aggregate(node, _at(node.input, network), sizes).among(parties)
        case GroupAggregate():
            return group_aggregate(node, _at(node.input, network), parties)
        case MarkDistinct():
            return mark_distinct(node, _at(node.input, network), parties)
        case TopK():
            return first_rows(node, _at(node.input, network), parties)
        case Unique(input):
            return unique(node, _at(input, network), parties)
        case Concat(parts, _, values):
            return _concat(node, [_at(part, network) for part in parts], values).among(parties)
        case Release():
            return _release(node, _at(node.input, network), parties).among(parties)
        case _:
            assert_never(node)


def _concat(node: Concat, places: list[At], values: tuple[tuple[Expression, ...], ...]) -> Steps:
    """executors/appending.py: what the outputs are of each input; rows are copied, which is local."""
    computed = total(value(e, at) for row, at in zip(values, places, strict=True) for e in row)
    return computed + Steps(words=2 * traits(node).slots * sum(record(node)))


def _slices(node: Node) -> list[int]:
    """Rows of the slices in which an aggregate takes them."""
    match node:
        case Filter(input):
            return _slices(input)
        case NestedLoop(left, right, _, "INNER"):
            few, many = traits(left).slots, traits(right).slots
            rows = _borders(few, max(1, SLICE // max(many, 1)))
            return [some * others for some in rows for others in _borders(many, SLICE)]
        case _:
            return _borders(traits(node).slots, SLICE)


def _borders(rows: int, step: int) -> list[int]:
    return [min(step, rows - start) for start in range(0, max(rows, 1), step)]


def _at(node: Node, network: Network) -> At:
    return At(traits(node).slots, traits(node).ranges, network)


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
    if isinstance(node, Concat):
        parts = zip(node.inputs, node.values, strict=True)
        failed = [rows for part, values in parts for rows in _failures(values, _at(part, network))]
        return failed + [rows for part in node.inputs for rows in _failures_below(part, network)]
    own = [traits(node).slots] if may_be_several(node) else []
    if isinstance(node, NestedLoop | Align | SortMerge):
        at = pairs_at(node, network)
    else:
        over: Node = node.input if isinstance(node, Filter | Aggregate | GroupAggregate | MarkDistinct | TopK | Unique) else node
        at = _at(over, network)
    return own + _failures(expressions(node), at) + [rows for part in inputs(node) for rows in _failures_below(part, network)]


def _output(e: Expression, at: At) -> Steps:
    if is_quotient(e):
        return quotient(e, at)
    count = words_of(e, at.columns)
    return value(e, at) + (mux(at.rows, count) if nullable(e, at.columns) else NONE)


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
