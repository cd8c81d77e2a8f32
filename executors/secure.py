"""A plan's secure part at one party: encode and share the fragments, run the operators, hand over result shares.

Every node of the physical plan is run by the function of its name, once, inputs first, from left to right: all
parties take the same steps, and `trace` takes them on no data at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import assert_never

import pyarrow as pa

from sdh.audit import Reveal
from sdh.errors import InternalError
from sdh.executors import bits, tracing
from sdh.executors.all_pairs import nested_loop
from sdh.executors.appending import concat
from sdh.executors.arithmetic import mux_many
from sdh.executors.bits import Bits
from sdh.executors.crypten_seam import installed
from sdh.executors.dealing import DealingList
from sdh.executors.encode import Encoded, encode_table
from sdh.executors.evaluate import evaluate, holds, typed
from sdh.executors.fetch import fetch
from sdh.executors.group_sorted import group_aggregate
from sdh.executors.grouping import Partial, aggregate, aggregate_slice, aggregate_slices
from sdh.executors.inputs import share_input
from sdh.executors.joining import align_rows, expand_rows, lookup_rows, sort_merge_rows
from sdh.executors.metering import Meter
from sdh.executors.noising import noised
from sdh.executors.permute import shuffle
from sdh.executors.projecting import project
from sdh.executors.quotient import divided
from sdh.executors.reveal import reveal
from sdh.executors.runtime import Session
from sdh.executors.scope import Scope
from sdh.executors.shares import Shared, raw
from sdh.executors.slices import Slice, by_left, cut, pairs
from sdh.executors.sorted_rows import cut as rows_cut
from sdh.executors.sorted_rows import first_rows, mark_distinct
from sdh.executors.uniqueness import unique
from sdh.executors.values import Number, Relation, Text, Truth, false_of, null_of
from sdh.planners.derive_traits import traits
from sdh.planners.expressions import Expression
from sdh.planners.keep_read import columns_read
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
    inputs,
)
from sdh.planners.plan import Plan
from sdh.planners.quotients import is_quotient
from sdh.planners.ranges import bytes_of
from sdh.planners.sharing import readers
from sdh.schema import Kind

Inputs = dict[int, Encoded]
"""Own fragments by number."""


@dataclass(slots=True)
class _Run:
    plan: Plan
    session: Session
    inputs: Inputs | None
    errors: list[Bits] = field(default_factory=list)
    operators: int = 0
    readers: Counter[Node] = field(default_factory=Counter)
    """Of every node those that have not read it yet."""
    kept: dict[Node, Relation] = field(default_factory=dict)
    reads: Mapping[Node, frozenset[int]] = field(default_factory=dict)
    """Of every node its columns that are read; others are dropped as soon as it has run."""


def encode(plan: Plan, party: str, tables: dict[int, pa.Table]) -> Inputs:
    """Own fragments (by number) as ring integers, checked against the published facts.

    Raises StaleFact. Runs before the first share leaves.
    """
    assert plan.root is not None
    return {node.fragment: encode_table(tables[node.fragment], node) for node in _leaves(plan.root.input) if node.party == party}


def trace(plan: Plan, party: str) -> tuple[DealingList, Meter]:
    """The dealing list and the cost of the run at `party`, from sizes alone."""
    return tracing.trace(lambda session: run(plan, session, None), plan.placed.parties, plan.placed.parties.index(party))


def prepare(plan: Plan, session: Session, inputs: Inputs) -> None:
    """Sort, hash and place what this party knows in the clear, before the first frame. Raises KeyViolated, DataError."""
    tracing.prepare(session, lambda preparing: run(plan, preparing, inputs))


def run(plan: Plan, session: Session, inputs: Inputs | None) -> bytes:
    """Run the plan on shares. This party's payload for the client: one bit of error if planned, then the rows."""
    if plan.root is None:
        raise InternalError("A local plan has no secure part.")
    with installed(session):
        state = _Run(plan, session, inputs, readers=readers(plan.root.input), reads=columns_read(plan.root))
        relation = _node(plan.root.input, state)
        with session.operator(f"{state.operators}:release"):
            return _release(plan.root, relation, state)


def _leaves(node: Node) -> list[Input]:
    return [node] if isinstance(node, Input) else [leaf for part in inputs(node) for leaf in _leaves(part)]


def _node(node: Node, state: _Run) -> Relation:
    """Worked out for the first that reads it, kept till the last has."""
    found = state.kept.pop(node, None)
    relation = _worked_out(node, state) if found is None else found
    state.readers[node] -= 1
    if state.readers[node] > 0:
        state.kept[node] = relation
    return relation


def _worked_out(node: Node, state: _Run) -> Relation:
    if isinstance(node, Aggregate) and not node.owner_keys:
        return _aggregate(node, state)
    below = [_node(part, state) for part in inputs(node)]
    with state.session.operator(_label(node, state)):
        return _read(_operator(node, below, state), state.reads.get(node))


def _read(relation: Relation, numbers: frozenset[int] | None) -> Relation:
    """The columns that are read."""
    if numbers is None or numbers >= relation.columns.keys():
        return relation
    return replace(relation, columns={number: value for number, value in relation.columns.items() if number in numbers})


def _label(node: Node, state: _Run) -> str:
    """The operator's name in addresses and costs: numbered from the leaves up."""
    label, state.operators = f"{state.operators}:{type(node).__name__.lower()}", state.operators + 1
    return label


# --- in slices -----------------------------------------------------------------------------------


def _aggregate(node: Aggregate, state: _Run) -> Relation:
    """Slice by slice, in memory that does not grow with the input's slots; the slices' results meet at the end."""
    session, ranges = state.session, traits(node.input).ranges
    source = _slices(node.input, state)
    label = _label(node, state)

    def reduced(part: Slice) -> tuple[list[Partial], list[Bits]]:
        errors: list[Bits] = []
        relation = part.make(errors)
        with session.operator(label):
            return aggregate_slice(node, Scope(session, relation, ranges, errors)), errors

    parts = []
    for part in source:
        partials, errors = session.once((label, part.rows), partial(reduced, part))
        parts.append(partials)
        state.errors += errors
    with session.operator(label):
        return aggregate_slices(node, parts, Scope(session, Relation(sum(part.rows for part in source), None, {}), ranges))


def _slices(node: Node, state: _Run) -> list[Slice]:
    """The rows of a node in slices of a public size; filters and pairs are worked out a slice at a time."""
    session = state.session
    if state.readers[node] > 1 or node in state.kept:
        return cut(_node(node, state))
    match node:
        case Filter(input):
            below, label = _slices(input, state), _label(node, state)
            return [Slice(part.rows, partial(_kept, node, label, part, session)) for part in below]
        case NestedLoop(left, right, _, "INNER"):
            a, b = _node(left, state), _node(right, state)
            label = _label(node, state)
            return [Slice(part.rows, partial(_labelled, label, part, session)) for part in pairs(session, node, a, b)]
        case _:
            return cut(_node(node, state))


def _labelled(label: str, part: Slice, session: Session, errors: list[Bits]) -> Relation:
    with session.operator(label):
        return part.make(errors)


def _kept(node: Filter, label: str, part: Slice, session: Session, errors: list[Bits]) -> Relation:
    relation = part.make(errors)
    with session.operator(label):
        return relation.with_valid(holds(node.predicate, Scope(session, relation, traits(node.input).ranges, errors)))


def _operator(node: Node, below: list[Relation], state: _Run) -> Relation:
    """`below`: what it reads; what sorts it takes it away, so that rows go as they are moved."""
    session, parties = state.session, state.plan.placed.parties
    match node:
        case Input(fragment):
            encoded = None if state.inputs is None else state.inputs.get(fragment)
            exact = state.plan.placed.fragments[fragment].rows == "exact"
            return share_input(session, node, encoded, parties, exact=exact)
        case Filter(input, predicate):
            return below[0].with_valid(holds(predicate, Scope(session, below[0], traits(input).ranges, state.errors)))
        case NestedLoop(kind="INNER"):
            return nested_loop(session, node, below[0], below[1], state.errors)
        case NestedLoop():
            return by_left(session, node, below[0], below[1], state.errors)
        case Align():
            return align_rows(session, node, below[0], below[1], parties, state.errors)
        case SortMerge():
            return sort_merge_rows(session, node, below[0], below[1], state.errors)
        case Lookup():
            return lookup_rows(session, node, below[0], below[1], parties, state.errors)
        case Expand():
            return expand_rows(session, node, below[0], below[1], state.errors)
        case Aggregate(input):
            return aggregate(node, Scope(session, below[0], traits(input).ranges, state.errors), parties)
        case GroupAggregate(input):
            return group_aggregate(node, Scope(session, below.pop(), traits(input).ranges, state.errors))
        case MarkDistinct(input):
            return mark_distinct(node, Scope(session, below.pop(), traits(input).ranges, state.errors))
        case Cut(input):
            return rows_cut(node, Scope(session, below[0], traits(input).ranges, state.errors))
        case Noised():
            return noised(session, node, below[0])
        case TopK(input):
            return first_rows(node, Scope(session, below.pop(), traits(input).ranges, state.errors))
        case Unique(input):
            return unique(node, Scope(session, below[0], traits(input).ranges, state.errors))
        case Concat():
            return concat(session, node, below, state.errors)
        case Fetch(_, source):
            own = None if state.inputs is None else state.inputs.get(source.fragment)
            return fetch(session, node, below[0], None if own is None else own.columns, parties)
        case Project(input):
            return project(node, Scope(session, below[0], traits(input).ranges, state.errors))
        case _:
            assert_never(node)


# --- release -------------------------------------------------------------------------------------


def _release(root: Release, relation: Relation, state: _Run) -> bytes:
    """1. The outputs. 2. One error bit over all operators. 3. What is not valid becomes 0. 4. A fresh shuffle by all.
    5. Shares to the client."""
    session, client, planned = state.session, state.plan.placed.question.client, state.plan.reveals
    scope = Scope(session, relation, traits(root.input).ranges, state.errors)
    words: list[Shared] = []
    flags: list[Bits] = []
    for _, e in root.outputs:
        _output(e, scope, words, flags)
    valid, payload = relation.valid, b""
    if state.plan.may_fail:
        failed = bits.all_or(session, bits.concat(state.errors)) if state.errors else bits.constant(session, 1, False)
        fine = bits.repeat(bits.not_(session, failed), relation.slots)
        valid = fine if valid is None else bits.and_(session, valid, fine)
        payload = reveal(session, [failed], client, "error", planned)
    record = _wiped(session, words, flags, valid, relation.slots)
    if relation.slots > 1:
        record = list(shuffle(session, record))
    rows = reveal(session, record, client, "result", planned)
    _require_all(session.revealed, planned)
    return payload + rows


def _require_all(revealed: list[Reveal], planned: tuple[Reveal, ...]) -> None:
    """What was passed to `reveal` is what EXPLAIN lists; sizes were announced before the run."""
    if sorted(revealed) != sorted(one for one in planned if one.reason != "slots"):
        raise InternalError("The run revealed something else than the plan lists.")


def _wiped(session: Session, words: list[Shared], flags: list[Bits], valid: Bits | None, slots: int) -> list[Shared | Bits]:
    """Every column times the row's validity; the validity itself is the last bit."""
    if valid is None:
        return [*words, *flags, bits.constant(session, slots, True)]
    kept: list[Shared | Bits] = list(mux_many(session, [(valid, words)])[0]) if words else []
    return [*kept, *bits.and_many(session, [(flag, valid) for flag in flags]), valid]


def _output(e: Expression, scope: Scope, words: list[Shared], flags: list[Bits]) -> None:
    """Append the words and bits of one output, as `layout` says. What stands under NULL is wiped too."""
    session = scope.session
    if is_quotient(e):
        numbers, shown = divided(e, scope)
        words += numbers
        flags += shown
        return
    width = bytes_of(e, scope.columns) if e.type.kind is Kind.VARCHAR else 0
    value = typed(e, e.type, scope, width) if e.type.kind is Kind.VARCHAR else evaluate(e, scope)
    match value:
        case Truth(true):
            flags += [true, false_of(value, session)]
            return
        case Text(parts):
            shares = list(parts)
        case Number(share):
            shares = [share]
        case _:
            assert_never(value)
    null = null_of(value, session)
    if null is not None:
        shares = [raw(one) for one in mux_many(session, [(bits.not_(session, null), shares)])[0]]
    words += shares
    flags.append(scope.bit(False) if null is None else null)
