"""Place every node: in the clear at one owner, or on shares among several.

A maximal plaintext subtree becomes one fragment; projections above it are substituted into what reads them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import count
from typing import assert_never

from sdh.planners import logical
from sdh.planners.aggregate_parts import parts_of
from sdh.planners.combine import combine
from sdh.planners.expressions import (
    Apply,
    Cast,
    Expression,
    Field,
    Ref,
    conjunction,
    conjuncts,
    null_of_nulls,
    references,
    substitute,
    walk,
)
from sdh.planners.last_steps import last_steps
from sdh.planners.pair_columns import outward, spread
from sdh.planners.placed import (
    PUBLIC,
    Appended,
    Computed,
    Cut,
    Filtered,
    Grouped,
    Joined,
    Limited,
    Local,
    Noised,
    Secure,
    Top,
    numbers_of,
)
from sdh.planners.quotients import is_quotient


@dataclass(frozen=True, slots=True)
class _Projected:
    """A relation and, for each of its fields by number, the expression over `input` that it stands for."""

    input: Secure
    values: dict[int, Expression] = field(default_factory=dict)


def place(node: logical.Node) -> Top | Local:
    """The placed plan: a Local where one owner (or none) has it all.

    Raises Unsupported for what cannot run on shares.
    """
    found = owners(node)
    if len(found) < 2:
        return Local(min(found, default=PUBLIC), node)
    inner, outputs, order = _top(node)
    placed = _place(inner)
    named = tuple((f, substitute(Ref(f), placed.values)) for f in outputs)
    released, steps = last_steps(node, named)
    return Top(placed.input, released, len(logical.fields(node)), order, steps)


def _top(node: logical.Node) -> tuple[logical.Node, tuple[Field, ...], tuple[tuple[int, bool, bool], ...]]:
    """Split the result's order off: (relation, its fields to release, order)."""
    visible = logical.fields(node)
    values: dict[int, Expression] = {f.number: Ref(f) for f in visible}
    inner = node
    renames = isinstance(inner, logical.Project) and all(isinstance(e, Ref) for _, e in inner.outputs)
    if renames and isinstance(inner, logical.Project) and isinstance(inner.input, (logical.Sort, logical.Limit)):
        values = {f.number: e for f, e in inner.outputs}
        inner = inner.input
    sort = inner.input if isinstance(inner, logical.Limit) else inner
    if not isinstance(sort, logical.Sort):
        return node, visible, ()
    outputs = [_field(values[f.number]) for f in visible]
    order: list[tuple[int, bool, bool]] = []
    for key in sort.keys:
        wanted = _field(key.expression)
        if wanted not in outputs:
            outputs.append(wanted)
        order.append((outputs.index(wanted), key.descending, key.nulls_first))
    return inner if isinstance(inner, logical.Limit) else sort.input, tuple(outputs), tuple(order)


def _field(e: Expression) -> Field:
    assert isinstance(e, Ref)
    return e.field


def _place(node: logical.Node) -> _Projected:
    found = owners(node)
    if len(found) < 2:
        return _Projected(Local(min(found, default=PUBLIC), node))
    match node:
        case logical.Filter(input, predicate):
            placed = _place(input)
            return replace(placed, input=Filtered(placed.input, substitute(predicate, placed.values)))
        case logical.Project(input, outputs):
            placed = _place(input)
            return _Projected(placed.input, placed.values | {f.number: outward(substitute(e, placed.values)) for f, e in outputs})
        case logical.Sort(input):
            return _place(input)
        case logical.Limit(input, limit, offset):
            placed = _place(input)
            order = input.keys if isinstance(input, logical.Sort) else ()
            keys = tuple(replace(key, expression=substitute(key.expression, placed.values)) for key in order)
            return replace(placed, input=Limited(placed.input, keys, limit, offset))
        case logical.Join():
            return _join(node)
        case logical.Aggregate(input, keys, calls):
            return _group(_place(input), keys, calls)
        case logical.UnionAll():
            return _append(node)
        case logical.Cut(input, by, most):
            placed = _place(input)
            return replace(placed, input=Cut(placed.input, tuple(substitute(e, placed.values) for e in by), most))
        case logical.Noised(input, noises):
            return _Projected(Noised(_computed(_place(input), logical.fields(input)), noises))
        case logical.Private():
            raise AssertionError("a private block is rewritten before")
        case logical.Reused():
            return _reused(node)
        case logical.Scan() | logical.OneRow():
            raise AssertionError("a leaf has one owner")
        case _:
            assert_never(node)


def _reused(node: logical.Reused) -> _Projected:
    """What is computed of the shared rows is computed for all uses; quotients stay pairs, of which each use makes its own."""
    placed = _place(node.input)
    whole = [(f, substitute(Ref(f), placed.values)) for f in logical.fields(node.input)]
    pairs = {f.number: e for f, e in whole if any(map(is_quotient, walk(e)))}
    parts = {part.field.number: part.field for e in pairs.values() for part in walk(e) if isinstance(part, Ref)}
    made = [(f, e) for f, e in whole if f.number not in pairs] + [(f, Ref(f)) for f in parts.values()]
    outputs = [(own, Ref(its)) for own, its in node.outputs if its.number not in pairs]
    values: dict[int, Expression] = {}
    for own, its in node.outputs:
        if its.number in pairs:
            read = dict.fromkeys(part.field for part in walk(pairs[its.number]) if isinstance(part, Ref))
            copies = {f.number: replace(f, number=100_000 + 100 * own.number + i) for i, f in enumerate(read)}
            outputs += [(copies[f.number], Ref(f)) for f in read]
            values[own.number] = substitute(pairs[its.number], {number: Ref(f) for number, f in copies.items()})
    return _Projected(Computed(Computed(placed.input, tuple(made)), tuple(outputs)), values)


def _computed(placed: _Projected, named: tuple[Field, ...]) -> Secure:
    """The relation with just these fields as columns of its own."""
    return Computed(placed.input, tuple((f, substitute(Ref(f), placed.values)) for f in named))


def _append(union: logical.UnionAll) -> _Projected:
    """Each owner appends its inputs in the clear; then all are appended on shares."""
    inputs: list[Secure] = []
    values: list[tuple[Expression, ...]] = []
    for part in _by_owner(union):
        placed = _place(part)
        inputs.append(placed.input)
        pairs = zip(logical.fields(part), union.outputs, strict=True)
        values.append(tuple(substitute(_typed(old, new), placed.values) for old, new in pairs))
    whole = spread(logical.fields(union), values)
    return _Projected(Appended(tuple(inputs), tuple(whole.outputs), tuple(map(tuple, whole.rows)), union.keys), whole.values)


def _typed(old: Field, new: Field) -> Expression:
    return Ref(old) if old.type == new.type else Cast(Ref(old), new.type)


def _by_owner(union: logical.UnionAll) -> list[logical.Node]:
    """The inputs, with those of one owner (public ones with the first) as one; what crosses owners stays alone."""
    flat, alone, own = _flat(union), list[logical.Node](), dict[str, list[logical.Node]]()
    for part in flat:
        found = owners(part)
        if len(found) < 2:
            own.setdefault(min(found, default=PUBLIC), []).append(part)
        else:
            alone.append(part)
    if PUBLIC in own and len(own) > 1:
        public = own.pop(PUBLIC)
        next(iter(own.values())).extend(public)
    return [_one_owner(parts, union) for parts in own.values()] + alone


def _flat(union: logical.UnionAll) -> list[logical.Node]:
    """The inputs, those of unions among them too."""
    found: list[logical.Node] = []
    for part in union.inputs:
        if not isinstance(part, logical.UnionAll):
            found.append(part)
            continue
        for inner in _flat(part):
            pairs = list(zip(logical.fields(inner), part.outputs, strict=True))
            casts = tuple((replace(new, number=old.number), _typed(old, new)) for old, new in pairs)
            found.append(inner if all(old.type == new.type for old, new in pairs) else logical.Project(inner, casts))
    return found


def _one_owner(parts: list[logical.Node], union: logical.UnionAll) -> logical.Node:
    """Columns keep the numbers that they have in the first part."""
    if len(parts) == 1:
        return parts[0]
    pairs = zip(logical.fields(parts[0]), union.outputs, strict=True)
    return logical.UnionAll(tuple(parts), tuple(replace(new, number=old.number) for old, new in pairs))


def _group(placed: _Projected, keys: tuple[tuple[Field, Expression], ...], calls: tuple[logical.Call, ...]) -> _Projected:
    """AVG becomes SUM and COUNT, whose quotient is formed on shares; others fall into parts like it."""
    values = placed.values
    numbers = count(100_000 + 100 * max([c.output.number for c in calls], default=0))
    found: list[logical.Call] = []
    results: dict[int, Expression] = {}
    for call in calls:
        parts, value = parts_of(_substituted(call, values), numbers)
        found += parts
        if value != Ref(call.output):
            results[call.output.number] = value
    new_keys = tuple((f, substitute(e, values)) for f, e in keys)
    return _Projected(Grouped(placed.input, new_keys, tuple(found)), results)


def _substituted(call: logical.Call, values: dict[int, Expression]) -> logical.Call:
    condition = None if call.filter is None else substitute(call.filter, values)
    return replace(call, arguments=tuple(substitute(a, values) for a in call.arguments), filter=condition)


def _join(node: logical.Join) -> _Projected:
    if node.kind != "INNER":
        return _combine(node)
    values: dict[int, Expression] = {}
    parts: list[Secure] = []
    wanted: list[Expression] = []
    for leaf in _leaves(node, wanted):
        placed = _place(leaf)
        values |= placed.values
        match placed.input:
            case Joined(inner, conditions):
                parts += inner
                wanted += conditions
            case Filtered(Joined(inner, conditions), predicate):
                parts += inner
                wanted += [*conditions, *conjuncts(predicate)]
            case other:
                parts.append(other)
    return _Projected(bring_together(parts, [substitute(c, values) for c in wanted]), values)


def _padded(placed: _Projected, side: logical.Node) -> _Projected:
    """The side of an outer join that gets rows of NULL: what is not NULL of NULLs is computed below the join."""
    fields = logical.fields(side)
    values = tuple(substitute(Ref(f), placed.values) for f in fields)
    if all(map(null_of_nulls, values)):
        return placed
    whole = spread(fields, (values,))
    return _Projected(Appended((placed.input,), tuple(whole.outputs), tuple(map(tuple, whole.rows))), whole.values)


def _combine(node: logical.Join) -> _Projected:
    """A join that is not INNER; RIGHT is LEFT turned round."""
    if node.kind == "RIGHT":
        node = replace(node, kind="LEFT", left=node.right, right=node.left)
    left, right = _place(node.left), _place(node.right)
    if node.kind == "FULL":
        left = _padded(left, node.left)
    if node.kind in ("LEFT", "SINGLE", "FULL"):
        right = _padded(right, node.right)
    values = left.values | right.values
    condition = None if node.condition is None else substitute(node.condition, values)
    return _Projected(combine(node.kind, left.input, right.input, condition, node.mark), values)


def bring_together(parts: list[Secure], wanted: list[Expression]) -> Secure:
    """The inner join of relations: conjuncts over one filter it, relations of one owner are joined in the clear."""
    single = [c for c in wanted if sum(bool(references(c) & numbers_of(part)) for part in parts) < 2]
    parts = [_filtered(part, [c for c in single if references(c) & numbers_of(part)]) for part in parts]
    merged = _merged(parts, [c for c in wanted if c not in single])
    return _filtered(merged, [c for c in single if not references(c)])


def _filtered(part: Secure, wanted: list[Expression]) -> Secure:
    predicate = conjunction(wanted)
    if predicate is None:
        return part
    return Local(part.party, logical.Filter(part.node, predicate)) if isinstance(part, Local) else Filtered(part, predicate)


def _leaves(node: logical.Node, wanted: list[Expression]) -> list[logical.Node]:
    if isinstance(node, logical.Join) and node.kind == "INNER" and len(owners(node)) > 1:
        wanted += conjuncts(node.condition)
        return _leaves(node.left, wanted) + _leaves(node.right, wanted)
    if isinstance(node, logical.Filter) and isinstance(node.input, logical.Join) and len(owners(node)) > 1:
        wanted += conjuncts(node.predicate)
        return _leaves(node.input, wanted)
    return [node]


def _merged(parts: list[Secure], wanted: list[Expression]) -> Secure:
    """Join in the clear what one owner can: its relations that a conjunct connects, public ones wherever they fit."""
    parts, wanted = list(parts), list(wanted)
    while (pair := _mergeable(parts, wanted)) is not None:
        a, b = pair
        left, right = parts[a], parts[b]
        assert isinstance(left, Local)
        assert isinstance(right, Local)
        numbers = numbers_of(left) | numbers_of(right)
        inside = [c for c in wanted if references(c) <= numbers]
        wanted = [c for c in wanted if not references(c) <= numbers]
        merged = Local(left.party or right.party, logical.Join("INNER", left.node, right.node, conjunction(inside)))
        parts = [part for i, part in enumerate(parts) if i not in pair]
        parts.insert(a, merged)
    whole = conjunction(wanted)
    if len(parts) == 1:
        return parts[0] if whole is None else Filtered(parts[0], whole)
    return Joined(tuple(parts), tuple(wanted))


def _mergeable(parts: list[Secure], wanted: list[Expression]) -> tuple[int, int] | None:
    """Two Locals to join in the clear: of one owner and connected; else a public one, by an equality if one connects it."""

    def owner(left: Local, right: Local) -> bool:
        return left.party == right.party != PUBLIC and _connected(left, right, wanted)

    def equated(left: Local, right: Local) -> bool:
        return PUBLIC in (left.party, right.party) and _connected(left, right, [c for c in wanted if _is_equality(c)])

    def near(left: Local, right: Local) -> bool:
        return PUBLIC in (left.party, right.party) and _connected(left, right, wanted)

    def public(left: Local, right: Local) -> bool:
        return any(one.party == PUBLIC and not _wanted_on_shares(one, parts, wanted) for one in (left, right))

    for fits in (owner, equated, near, public):
        for b, right in enumerate(parts):
            for a, left in enumerate(parts[:b]):
                if isinstance(left, Local) and isinstance(right, Local) and fits(left, right):
                    return a, b
    return None


def _is_equality(conjunct: Expression) -> bool:
    return isinstance(conjunct, Apply) and conjunct.function == "="


def _wanted_on_shares(part: Local, parts: list[Secure], wanted: list[Expression]) -> bool:
    """Whether a conjunct connects it with what is on shares: an append may take it to its owners."""
    own, shared = numbers_of(part), [numbers_of(one) for one in parts if not isinstance(one, Local)]
    return any(references(c) & own and references(c) & numbers for c in wanted for numbers in shared)


def _connected(left: Local, right: Local, wanted: list[Expression]) -> bool:
    a, b = numbers_of(left), numbers_of(right)
    return any(references(c) & a and references(c) & b and references(c) <= a | b for c in wanted)


def owners(node: logical.Node) -> frozenset[str]:
    """The parties whose tables a subtree reads; public tables add none."""
    return frozenset(n.table.party for n in logical.nodes(node) if isinstance(n, logical.Scan)) - {PUBLIC}
