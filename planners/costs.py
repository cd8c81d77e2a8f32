"""What a plan costs, operator by operator: bytes, rounds, dealer's bytes, and from these nanoseconds on a given network.

EXPLAIN shows it, the planner chooses by it, and EXPLAIN ANALYZE prints it beside what the run measured: bytes agree
within a tenth for every operator (tests/test_costs.py), seconds within a factor of two (python -m tests.bench.seconds).
Operators are counted as they are run: inputs first, from left to right, the release last.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from sdh.planners.aggregate_costs import aggregate, record
from sdh.planners.columns import nullable
from sdh.planners.comparing import LOCAL, Network
from sdh.planners.derive_traits import has_validity, traits
from sdh.planners.error_bits import may_be_several
from sdh.planners.expression_costs import At, holds, value, words_of
from sdh.planners.expressions import Expression, walk
from sdh.planners.fetch_costs import fetch
from sdh.planners.group_costs import cut, first_rows, group_aggregate, mark_distinct, unique
from sdh.planners.join_costs import align, expand, lookup, nested_loop, pairs_at, sort_merge
from sdh.planners.noise_costs import noised
from sdh.planners.overflow import overflows
from sdh.planners.physical import (
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
from sdh.planners.remembering import remembering
from sdh.planners.sharing import reread, runs
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
    below = runs(node.input if isinstance(node, Release) else node)
    sizes = slices_of(below)
    found: list[Node | Release] = [*below, *([node] if isinstance(node, Release) else [])]
    return [(one, _cost(one, parties, network, sizes.get(one, ()))) for one in found]


def tree_cost(node: Node | Release, parties: int, network: Network = LOCAL) -> Cost:
    """Of the node and all below it. Raises WidthError, Unsupported for what cannot run."""
    return sum((cost for _, cost in operator_costs(node, parties, network)), Cost())


@remembering
def _cost(node: Node | Release, parties: int, network: Network, sizes: tuple[int, ...]) -> Cost:
    """sizes: the rows of the slices in which it works, if it does (executors/slices.py)."""
    match node:
        case Input():
            return shared(node.slots, *record(node)).among(parties)
        case Filter(input, predicate):
            at, valid = _at(input, network), has_validity(input)
            steps = by_size(sizes or [at.rows], lambda rows: holds(predicate, replace(at, rows=rows), valid=valid))
            return steps.among(parties)
        case NestedLoop(kind=kind):
            at = pairs_at(node, network)
            slices = sizes or ([at.rows] if kind == "INNER" else _by_left(node))
            return by_size(slices, lambda rows: nested_loop(node, replace(at, rows=rows))).among(parties)
        case Align():
            return align(node, parties, network)
        case SortMerge():
            return sort_merge(node, parties, network)
        case Lookup():
            return lookup(node, parties, network)
        case Expand():
            return expand(node, parties, network)
        case Aggregate():
            return aggregate(node, _at(node.input, network), list(sizes) or [traits(node.input).slots]).among(parties)
        case GroupAggregate():
            return group_aggregate(node, _at(node.input, network), parties)
        case MarkDistinct():
            return mark_distinct(node, _at(node.input, network), parties)
        case Cut():
            return cut(node, _at(node.input, network), parties)
        case Noised():
            return noised(node, parties).among(parties)
        case TopK():
            return first_rows(node, _at(node.input, network), parties)
        case Unique(input):
            return unique(node, _at(input, network), parties)
        case Concat(parts, _, values):
            return _concat(node, [_at(part, network) for part in parts], values).among(parties)
        case Project(input, outputs):
            return total(value(e, _at(input, network)) for _, e in outputs).among(parties)
        case Fetch():
            return fetch(node, parties)
        case Release():
            return _release(node, _at(node.input, network), parties).among(parties)
        case _:
            assert_never(node)


def _concat(node: Concat, places: list[At], values: tuple[tuple[Expression, ...], ...]) -> Steps:
    """executors/appending.py: what the outputs are of each input; rows are copied, which is local."""
    computed = total(value(e, at) for row, at in zip(values, places, strict=True) for e in row)
    return computed + Steps(words=2 * traits(node).slots * sum(record(node)))


def slices_of(found: Sequence[Node]) -> dict[Node | Release, tuple[int, ...]]:
    """Of a plan's nodes in the order in which they run, those that work a slice at a time, and the rows of the slices."""
    whole = reread(found[-1])
    sizes: dict[Node | Release, tuple[int, ...]] = {}
    for node in found:
        if not isinstance(node, Aggregate) or node.owner_keys:
            continue
        sizes[node] = tuple(_slices(node.input, whole))
        while isinstance(node, Aggregate | Filter) and is_sliced(node.input, whole):
            node = node.input
            sizes[node] = tuple(_slices(node, whole))
    return sizes


def is_sliced(node: Node, whole: frozenset[Node]) -> bool:
    """Whether it gives its rows to an aggregate, or to a filter that does, a slice at a time. whole: what several read."""
    return node not in whole and (isinstance(node, Filter) or isinstance(node, NestedLoop) and node.kind == "INNER")


def _slices(node: Node, whole: frozenset[Node]) -> list[int]:
    """Rows of the slices in which an aggregate takes them."""
    if not is_sliced(node, whole):
        return _borders(traits(node).slots, SLICE)
    match node:
        case Filter(input):
            return _slices(input, whole)
        case NestedLoop(left, right, _, "INNER"):
            few, many = traits(left).slots, traits(right).slots
            rows = _borders(few, max(1, SLICE // max(many, 1)))
            return [some * others for some in rows for others in _borders(many, SLICE)]
        case _:
            return _borders(traits(node).slots, SLICE)


def _by_left(node: NestedLoop) -> list[int]:
    """Pairs of the slices of the left's rows that meet all of the right's at a time."""
    few, many = traits(node.left).slots, traits(node.right).slots
    return [some * many for some in _borders(few, max(1, SLICE // max(many, 1)))]


def _borders(rows: int, step: int) -> list[int]:
    return [min(step, rows - start) for start in range(0, max(rows, 1), step)]


def _at(node: Node, network: Network) -> At:
    return At(traits(node).slots, traits(node).ranges, network)


# --- release -------------------------------------------------------------------------------------


def _release(node: Release, at: At, parties: int) -> Steps:
    """executors/secure.py: the outputs, one error bit, rows that are not there wiped, a shuffle by all."""
    words, bits = released(node)
    below = (rows for one in runs(node.input) for rows in _failures_in(one, at.network))
    failures = [*_failures([e for _, e in node.outputs], at), *below]
    whole = total(_output(e, at) for _, e in node.outputs) + (any_of(sum(failures)) if failures else NONE)
    whole += and_(at.rows) if failures and has_validity(node.input) else NONE
    if failures or has_validity(node.input):
        whole += mux(at.rows, words) + and_(at.rows, bits - 1)
    return whole + (shuffled(words, bits, at.rows, parties) if at.rows > 1 else NONE)


_Unary = Filter | Aggregate | GroupAggregate | MarkDistinct | TopK | Unique | Project | Cut | Noised
"""What evaluates expressions over its input's rows."""


def _failures(evaluated: Iterable[Expression], at: At) -> list[int]:
    """The rows of every column of bits that says where an operator failed."""
    return [at.rows for e in evaluated for part in walk(e) if overflows(part, at.columns)]


def _failures_in(node: Node, network: Network) -> list[int]:
    if isinstance(node, Concat):
        parts = zip(node.inputs, node.values, strict=True)
        return [rows for part, values in parts for rows in _failures(values, _at(part, network))]
    own = [1 if isinstance(node, Expand) else traits(node).slots] if may_be_several(node) else []
    if isinstance(node, NestedLoop | Align | SortMerge | Lookup | Expand):
        at = pairs_at(node, network)
    else:
        at = _at(node.input if isinstance(node, _Unary) else node, network)
    return own + _failures(expressions(node), at)


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
