"""What an aggregate costs: of owner-known keys, of small domains, of all rows (executors/grouping.py)."""

from __future__ import annotations

from dataclasses import replace

from sdh.planners.columns import nullable
from sdh.planners.derive_traits import domain_of, groups_bound, has_validity, traits
from sdh.planners.expression_costs import At, number, record_of, value
from sdh.planners.expressions import Expression
from sdh.planners.key_limbs import limbs_of
from sdh.planners.logical import Call
from sdh.planners.physical import Aggregate, Node
from sdh.planners.protocol_costs import (
    NONE,
    Steps,
    and_,
    beside,
    by_size,
    less,
    less_rows,
    mux,
    permuted,
    sign,
    to_ring,
    total,
    zeros,
)
from sdh.planners.ranges import range_of
from sdh.schema import Kind


def record(node: Node) -> tuple[int, int]:
    """Words and bits of a row on shares, without its validity."""
    return record_of(traits(node).columns)


ALL: tuple[Expression | None, Expression | None] = (None, None)
"""What weighs a row that is counted whatever is in it."""


def aggregate(node: Aggregate, at: At, sizes: list[int]) -> Steps:
    """executors/grouping.py: what each row weighs in every cell; sums and extremes of groups, or of slices; what they give."""
    slots = groups_bound(node)
    cells = max(1, traits(node).slots // max(slots, 1))
    sums = sum(call.function in ("sum", "sum_count") for call in node.calls)
    tested = [max(at.rows, 1).bit_length()] * (sums + node.is_grouped)
    last = zeros(slots, tuple(tested), at.network) + (and_(slots) if node.owner_keys else NONE)
    last += text_ends(node.calls, at, slots)
    if len(sizes) > 1:   # the slices' extremes meet
        met = replace(at, rows=len(sizes))
        last += total(extreme(call, met, grouped=False, null=True) for call in node.calls if call.function in ("min", "max"))
    return by_size(sizes, lambda rows: _weighed(node, replace(at, rows=rows), slots, cells)) + total([last] * cells)


def _weighed(node: Aggregate, at: At, slots: int, cells: int) -> Steps:
    """All but what is done with the results."""
    sums = [call for call in node.calls if call.function in ("sum", "sum_count")]
    extremes = [call for call in node.calls if call.function in ("min", "max")]
    by_call = {call: (call.filter, counted_by(call, at)) for call in node.calls}
    valid = has_validity(node.input) or bool(node.domain_keys)
    weights = {weight for weight in (*by_call.values(), ALL) if valid or weight != ALL}
    weighed = {call for call, weight in by_call.items() if weight in weights}
    arguments = {argument for call in node.calls for argument in call.arguments}
    cell = total(value(argument, at) for argument in arguments) + total(weight_of(*weight, at, valid=valid) for weight in weights)
    cell += beside(mux(at.rows, 1) for call in sums if call in weighed) + to_ring(at.rows, len(weights))
    cell += total(extreme(call, at, grouped=bool(node.owner_keys), null=call in weighed) for call in extremes)
    if node.owner_keys:
        counts = len(weights) + (0 if valid else 1 + sum(weight == ALL for weight in by_call.values()))   # of all: a column each
        numbers = [call for call in extremes if not is_text(call)]
        added, nulls = counts + len(sums) + text_words(node.calls, at), len(weighed & set(numbers))
        cell += _group_sums(at.rows, slots, added, len(numbers), nulls)
    return _cells(node, at, cells, valid=has_validity(node.input)) + total([cell] * cells)


def counted_by(call: Call, at: At) -> Expression | None:
    """The argument that a call counts by: where it is not NULL."""
    return next((argument for argument in call.arguments if nullable(argument, at.columns)), None)


def weight_of(condition: Expression | None, argument: Expression | None, at: At, *, valid: bool) -> Steps:
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
            found += and_(at.rows, size) if nullable(e, at.columns) else NONE
    return found + total([and_(at.rows)] * (cells * (len(node.domain_keys) - (not valid)) if node.domain_keys else 0))


def _group_sums(rows: int, slots: int, added: int, best: int, nulls: int) -> Steps:
    """Rows to the order of their owner, and the last of each group to its place."""
    return permuted(added + best, nulls, rows, rows, rows) + permuted(added + best, best, rows, rows + slots, slots)


def extreme(call: Call, at: At, *, grouped: bool, null: bool) -> Steps:
    """executors/scan.py: a tournament of halves, or of a group's rows at growing distances."""
    if not (at.rows or grouped):
        return NONE
    if call.output.type.kind is Kind.VARCHAR:
        return _text_extreme(call.arguments[0], at, grouped=grouped, null=null)
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


def _text_extreme(e: Expression, at: At, *, grouped: bool, null: bool) -> Steps:
    """executors/text_extremes.py: rows of limbs, of which what is not counted is the worst."""
    shape = replace(limbs_of(e, at.columns), nullable=True)
    widths, rows, distance = [size + 1 for size in shape.bits], at.rows, 1
    whole = mux(at.rows, len(widths)) if null else NONE
    while rows > 1 if not grouped else distance < at.rows:
        met = at.rows - distance if grouped else rows // 2
        whole += less_rows(met, tuple(widths), at.network) + mux(met, len(widths)) + (and_(met) if grouped else NONE)
        rows, distance = rows - met, 2 * distance
    return whole


def text_ends(calls: tuple[Call, ...], at: At, rows: int) -> Steps:
    """Where the texts found are none."""
    shapes = [replace(limbs_of(call.arguments[0], at.columns), nullable=True) for call in calls if is_text(call)]
    return total(zeros(rows, (shape.bits[0],), at.network) for shape in shapes)


def is_text(call: Call) -> bool:
    return call.function in ("min", "max") and call.output.type.kind is Kind.VARCHAR


def text_words(calls: tuple[Call, ...], at: At) -> int:
    return sum(len(limbs_of(call.arguments[0], at.columns).tops) for call in calls if is_text(call))
