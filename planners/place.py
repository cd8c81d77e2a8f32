"""Place every node: in the clear at one owner, or on shares among several.

A maximal plaintext subtree becomes one fragment. Above it, expressions over one fragment's columns move into it, so
that shares carry results, not their inputs; projections are substituted into what reads them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import count
from typing import assert_never

from sdh.errors import Unsupported
from sdh.planners import logical
from sdh.planners.expressions import (
    Apply,
    Constant,
    Expression,
    Field,
    Ref,
    children,
    conjunction,
    conjuncts,
    rebuild,
    references,
    substitute,
)
from sdh.planners.local import computed, known
from sdh.planners.prune_columns import prune_columns
from sdh.planners.ranges import QUOTIENTS, exact_below_cast, may_fail
from sdh.planners.render import readable
from sdh.schema import BIGINT, BOOLEAN, DOUBLE, HUGEINT, Kind, Type

PUBLIC = ""
"""The owner of public tables: any party."""


@dataclass(frozen=True, slots=True)
class Local:
    """A plaintext subtree and its owner (PUBLIC: any)."""

    party: str
    node: logical.Node


@dataclass(frozen=True, slots=True)
class Joined:
    """Relations on shares that inner joins bring together, with all conjuncts; the order is not chosen yet."""

    parts: tuple[Secure, ...]
    conjuncts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Filtered:
    input: Secure
    predicate: Expression


@dataclass(frozen=True, slots=True)
class Grouped:
    input: Secure
    keys: tuple[tuple[Field, Expression], ...]
    calls: tuple[logical.Call, ...]


Secure = Local | Joined | Filtered | Grouped
"""What runs on shares; its leaves are Local."""


@dataclass(frozen=True, slots=True)
class Top:
    """The root: the output expressions, how many of them are columns of the result, the order."""

    input: Secure
    outputs: tuple[tuple[Field, Expression], ...]
    visible: int
    order: tuple[tuple[int, bool, bool], ...]


@dataclass(frozen=True, slots=True)
class _Projected:
    """A relation and, for each of its fields by number, the expression over `input` that it stands for."""

    input: Secure
    values: dict[int, Expression] = field(default_factory=dict)


def owners(node: logical.Node) -> frozenset[str]:
    """The parties whose tables a subtree reads; public tables add none."""
    return frozenset(n.table.party for n in logical.nodes(node) if isinstance(n, logical.Scan)) - {PUBLIC}


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
    return Top(placed.input, named, len(logical.fields(node)), order)


def _top(node: logical.Node) -> tuple[logical.Node, tuple[Field, ...], tuple[tuple[int, bool, bool], ...]]:
    """Split the result's order off: (relation, its fields to release, order)."""
    visible = logical.fields(node)
    values: dict[int, Expression] = {f.number: Ref(f) for f in visible}
    inner = node
    if isinstance(inner, logical.Project) and isinstance(inner.input, (logical.Sort, logical.Limit)):
        values = {f.number: e for f, e in inner.outputs}
        inner = inner.input
    if isinstance(inner, logical.Limit):
        raise Unsupported(
            "LIMIT and OFFSET over rows of several owners are not supported.", advice="Leave them out, or aggregate."
        )
    if not isinstance(inner, logical.Sort):
        return node, visible, ()
    outputs = [_field(values[f.number]) for f in visible]
    order: list[tuple[int, bool, bool]] = []
    for key in inner.keys:
        wanted = _field(key.expression)
        if wanted not in outputs:
            outputs.append(wanted)
        order.append((outputs.index(wanted), key.descending, key.nulls_first))
    return inner.input, tuple(outputs), tuple(order)


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
            return _Projected(placed.input, placed.values | {f.number: substitute(e, placed.values) for f, e in outputs})
        case logical.Sort(input):
            return _place(input)
        case logical.Limit():
            raise Unsupported(
                "LIMIT and OFFSET over rows of several owners are not supported.", advice="Leave them out, or aggregate."
            )
        case logical.Join():
            return _join(node)
        case logical.Aggregate(input, keys, calls):
            return _group(_place(input), keys, calls)
        case logical.Scan() | logical.OneRow():
            raise AssertionError("a leaf has one owner")
        case _:
            assert_never(node)


def _group(placed: _Projected, keys: tuple[tuple[Field, Expression], ...], calls: tuple[logical.Call, ...]) -> _Projected:
    """AVG becomes SUM and COUNT, whose quotient is formed on shares."""
    values = placed.values
    numbers = count(100_000 + 100 * max([c.output.number for c in calls], default=0))
    found: list[logical.Call] = []
    results: dict[int, Expression] = {}
    for call in (_substituted(call, values) for call in calls):
        if call.distinct and call.function not in ("min", "max"):
            raise Unsupported(
                f"{call.function}(DISTINCT) over columns of several owners is not supported.",
                advice="Group by the column in a derived table, then count its rows.",
            )
        if call.function == "avg":
            total, rows = _average_parts(call, next(numbers), next(numbers))
            found += [total, rows]
            results[call.output.number] = Apply("average", (Ref(total.output), Ref(rows.output)), DOUBLE)
        else:
            found.append(call)
    new_keys = tuple((f, substitute(e, values)) for f, e in keys)
    return _Projected(Grouped(placed.input, new_keys, tuple(found)), results)


def _average_parts(call: logical.Call, first: int, second: int) -> tuple[logical.Call, logical.Call]:
    argument = call.arguments[0]
    if not argument.type.is_exact or argument.type.kind is Kind.BOOLEAN:
        raise Unsupported(
            f"AVG of {argument.type} over columns of several owners is not supported.", advice="Cast to DECIMAL first."
        )
    total = Type(Kind.DECIMAL, 38, argument.type.scale) if argument.type.kind is Kind.DECIMAL else HUGEINT
    return (
        replace(call, function="sum", output=Field(first, "sum", total)),
        replace(call, function="count", output=Field(second, "count", BIGINT, nullable=False)),
    )


def _substituted(call: logical.Call, values: dict[int, Expression]) -> logical.Call:
    condition = None if call.filter is None else substitute(call.filter, values)
    return replace(call, arguments=tuple(substitute(a, values) for a in call.arguments), filter=condition)


def _join(node: logical.Join) -> _Projected:
    if node.kind != "INNER":
        raise Unsupported(
            f"{node.kind} JOIN of tables of several owners is not supported.",
            advice="INNER JOIN is; an outer join of one owner's tables is too.",
        )
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
    wanted = [substitute(c, values) for c in wanted]
    single = [c for c in wanted if sum(bool(references(c) & numbers_of(part)) for part in parts) < 2]
    parts = [_filtered(part, [c for c in single if references(c) & numbers_of(part)]) for part in parts]
    merged = _merged(parts, [c for c in wanted if c not in single])
    return _Projected(_filtered(merged, [c for c in single if not references(c)]), values)


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
    """Two Locals to join in the clear: of one owner and connected; else a public one, connected if possible."""

    def owner(left: Local, right: Local) -> bool:
        return left.party == right.party and _connected(left, right, wanted)

    def near(left: Local, right: Local) -> bool:
        return PUBLIC in (left.party, right.party) and _connected(left, right, wanted)

    def public(left: Local, right: Local) -> bool:
        return PUBLIC in (left.party, right.party)

    for fits in (owner, near, public):
        for b, right in enumerate(parts):
            for a, left in enumerate(parts[:b]):
                if isinstance(left, Local) and isinstance(right, Local) and fits(left, right):
                    return a, b
    return None


def _connected(left: Local, right: Local, wanted: list[Expression]) -> bool:
    a, b = numbers_of(left), numbers_of(right)
    return any(references(c) & a and references(c) & b and references(c) <= a | b for c in wanted)


def numbers_of(node: Secure) -> frozenset[int]:
    """Numbers of the fields that a node puts out."""
    match node:
        case Local(_, inner):
            return frozenset(f.number for f in logical.fields(inner))
        case Joined(parts):
            return frozenset().union(*(numbers_of(part) for part in parts))
        case Filtered(input):
            return numbers_of(input)
        case Grouped(_, keys, calls):
            return frozenset(f.number for f, _ in keys) | frozenset(c.output.number for c in calls)
        case _:
            assert_never(node)


# --- expressions to their owners -----------------------------------------------------------------


@dataclass(slots=True)
class _Pusher:
    """Collects, for each Local leaf (by its position), the columns that are computed there."""

    leaves: list[Local]
    numbers: count[int]
    new: dict[Expression, tuple[int, Field]] = field(default_factory=dict)

    def pushed(self, e: Expression, *, guarded: bool = True) -> Expression:
        """`e` with every maximal subexpression over one leaf's columns replaced by a column of that leaf.

        One that may fail on rows that are not in the result must not fail the query: `guarded`, it comes with a
        column that says whether it failed, which counts only where the row is there.
        """
        if isinstance(e, (Ref, Constant)):
            return e
        read = references(e)
        leaf = next((i for i, local in enumerate(self.leaves) if read and read <= numbers_of(local)), None)
        if leaf is None and isinstance(e, Apply) and any(_is_quotient(a) for a in e.arguments):
            e = rebuild(e, tuple(exact_below_cast(a) or a for a in e.arguments))
        if leaf is not None and _shareable(e, self.leaves[leaf]):
            if guarded and may_fail(e, known(self.leaves[leaf].node).columns):
                value = Apply("try_value", (e,), e.type)
                failed = Apply("try_failed", (e,), BOOLEAN, nullable=False)
                return Apply("guarded", (self._column(leaf, value), self._column(leaf, failed)), e.type)
            return self._column(leaf, e)
        return rebuild(e, tuple(self.pushed(child, guarded=guarded) for child in children(e)))

    def _column(self, leaf: int, e: Expression) -> Ref:
        if e not in self.new:
            self.new[e] = (leaf, Field(next(self.numbers), readable(e), e.type, e.nullable))
        return Ref(self.new[e][1])


def _is_quotient(e: Expression) -> bool:
    """A quotient; on shares it stays an exact pair, and what it is compared with is not cast to DOUBLE either."""
    return isinstance(e, Apply) and e.function in QUOTIENTS


def _shareable(e: Expression, leaf: Local) -> bool:
    try:
        computed(Field(0, "", e.type, e.nullable), e, known(leaf.node).columns)
    except Exception:
        return False
    return True


def push_expressions(top: Top, numbers: count[int]) -> Top:
    """Move what one owner can compute into its fragment; fragments put out what is read on shares and no more."""
    leaves = list(leaves_of(top))
    pusher = _Pusher(leaves, numbers)
    input = _rewrite(top.input, pusher)
    outputs = tuple((f, pusher.pushed(e)) for f, e in top.outputs)
    by_leaf: dict[Local, list[tuple[Field, Expression]]] = {}
    for e, (leaf, f) in pusher.new.items():
        by_leaf.setdefault(leaves[leaf], []).append((f, e))
    return _pruned(Top(_with_columns(input, by_leaf), outputs, top.visible, top.order))


def highest_number(top: Top) -> int:
    """The greatest field number anywhere in the plan."""
    own = [f.number for f, _ in top.outputs] + [call.output.number for call in _calls(top.input)]
    return max(own + [f.number for leaf in leaves_of(top) for n in logical.nodes(leaf.node) for f in logical.fields(n)])


def _calls(node: Secure) -> list[logical.Call]:
    match node:
        case Local():
            return []
        case Joined(parts):
            return [call for part in parts for call in _calls(part)]
        case Filtered(input):
            return _calls(input)
        case Grouped(input, _, calls):
            return [*calls, *_calls(input)]
        case _:
            assert_never(node)


def leaves_of(top: Top) -> tuple[Local, ...]:
    """The plaintext subtrees, from left to right, each once."""
    return tuple(dict.fromkeys(_locals(top.input)))


def _locals(node: Secure) -> list[Local]:
    match node:
        case Local():
            return [node]
        case Joined(parts):
            return [local for part in parts for local in _locals(part)]
        case Filtered(input) | Grouped(input):
            return _locals(input)
        case _:
            assert_never(node)


def _rewrite(node: Secure, pusher: _Pusher) -> Secure:
    match node:
        case Local():
            return node
        case Joined(parts, wanted):
            return Joined(tuple(_rewrite(part, pusher) for part in parts), tuple(_pushed_condition(c, pusher) for c in wanted))
        case Filtered(input, predicate):
            return Filtered(_rewrite(input, pusher), conjunction([pusher.pushed(c) for c in conjuncts(predicate)]) or predicate)
        case Grouped(input, keys, calls):
            new_calls = tuple(
                replace(
                    call,
                    arguments=tuple(pusher.pushed(a) for a in call.arguments),
                    filter=None if call.filter is None else pusher.pushed(call.filter),
                )
                for call in calls
            )
            return replace(
                node,
                input=_rewrite(input, pusher),
                keys=tuple((f, pusher.pushed(e, guarded=False)) for f, e in keys),
                calls=new_calls,
            )
        case _:
            assert_never(node)


def _pushed_condition(conjunct: Expression, pusher: _Pusher) -> Expression:
    """Join keys are computed for every row, by DuckDB too: they may fail at their owner."""
    match conjunct:
        case Apply("=", arguments) if not any(_is_quotient(side) for side in arguments):
            return rebuild(conjunct, tuple(pusher.pushed(side, guarded=False) for side in arguments))
        case _:
            return pusher.pushed(conjunct)


def _with_columns(node: Secure, new: dict[Local, list[tuple[Field, Expression]]]) -> Secure:
    match node:
        case Local(party, inner):
            added = tuple(new.get(node, ()))
            same = tuple((f, Ref(f)) for f in logical.fields(inner))
            return Local(party, logical.Project(inner, same + added)) if added else node
        case Joined(parts):
            return replace(node, parts=tuple(_with_columns(part, new) for part in parts))
        case Filtered(input) | Grouped(input):
            return replace(node, input=_with_columns(input, new))
        case _:
            assert_never(node)


# --- columns that nobody reads -------------------------------------------------------------------


def _pruned(top: Top) -> Top:
    """Leaves put out only what is read on shares."""
    read = references(*(e for _, e in top.outputs), *_read(top.input))
    return replace(top, input=_slim(top.input, read))


def _read(node: Secure) -> list[Expression]:
    match node:
        case Local():
            return []
        case Joined(parts, wanted):
            return [*wanted, *(e for part in parts for e in _read(part))]
        case Filtered(input, predicate):
            return [predicate, *_read(input)]
        case Grouped(input, keys, calls):
            found = [e for _, e in keys] + [a for call in calls for a in call.arguments]
            return found + [call.filter for call in calls if call.filter is not None] + _read(input)
        case _:
            assert_never(node)


def _slim(node: Secure, read: frozenset[int]) -> Secure:
    match node:
        case Local(party, inner):
            kept = tuple((f, Ref(f)) for f in logical.fields(inner) if f.number in read)
            if len(kept) == len(logical.fields(inner)):
                return Local(party, prune_columns(inner))
            return Local(party, prune_columns(logical.Project(inner, kept)))
        case Joined(parts):
            return replace(node, parts=tuple(_slim(part, read) for part in parts))
        case Filtered(input) | Grouped(input):
            return replace(node, input=_slim(input, read))
        case _:
            assert_never(node)
