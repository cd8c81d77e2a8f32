"""Move functions of texts down to where an owner has their columns: shares compare texts and compute nothing of them.

A function of group keys is one more key, since equal keys have equal ones; a function of the columns of an append, or of what
several read, is one more column of it. What is chosen among columns of several owners is computed of each
(planners/spread_texts.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import count
from typing import assert_never

from sdh.planners.expressions import (
    Apply,
    Case,
    Constant,
    Expression,
    Field,
    Ref,
    children,
    conjunction,
    conjuncts,
    null_of_nulls,
    rebuild,
    references,
    substitute,
    walk,
)
from sdh.planners.functions import NEVER_FAIL
from sdh.planners.logical import Call
from sdh.planners.placed import (
    Appended,
    Combined,
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
from sdh.planners.render import readable
from sdh.planners.spread_texts import compared, is_textual, spread
from sdh.schema import FLOATING


@dataclass(frozen=True, slots=True)
class _Source:
    """Where columns come from: a leaf, an append or group keys. padded: some of its rows are NULL above an outer join."""

    numbers: frozenset[int]
    is_leaf: bool
    padded: bool


@dataclass(slots=True)
class _Sinker:
    """Goes over a plan until nothing new is asked of any node: what several read may be reached before all have asked."""

    numbers: count[int]
    wanted: dict[frozenset[int], dict[Expression, Field]] = field(default_factory=dict)
    """New columns by the fields of the source that is to make them."""
    done: dict[Computed, Computed] = field(default_factory=dict)
    """What became of what several read."""

    def whole(self, top: Top) -> Top:
        while True:
            before, self.done = sum(map(len, self.wanted.values())), {}
            outputs = tuple((f, self.rewritten(e, top.input)) for f, e in top.outputs)
            found = replace(top, input=self.sunk(top.input), outputs=outputs)
            if sum(map(len, self.wanted.values())) == before:
                return found

    def sunk(self, node: Secure) -> Secure:
        match node:
            case Local():
                return node
            case Joined(parts, wanted):
                changed = tuple(self.rewritten(c, node) for c in wanted)
                return Joined(tuple(map(self.sunk, parts)), changed)
            case Combined(_, left, right, condition):
                met = conjunction([self.rewritten(c, left, right) for c in conjuncts(condition)])
                return replace(node, left=self.sunk(left), right=self.sunk(right), condition=met)
            case Filtered(input, predicate):
                kept = conjunction([self.rewritten(c, input) for c in conjuncts(predicate)]) or predicate
                return Filtered(self.sunk(input), kept)
            case Limited(input, order):
                keys = tuple(replace(key, expression=self.rewritten(key.expression, input)) for key in order)
                return replace(node, input=self.sunk(input), keys=keys)
            case Cut(input, by):
                return replace(node, input=self.sunk(input), keys=tuple(self.rewritten(e, input) for e in by))
            case Noised(input):
                return replace(node, input=self.sunk(input))
            case Grouped():
                return self._grouped(node)
            case Appended():
                return self._appended(node)
            case Computed():
                if node not in self.done:
                    self.done[node] = self._computed(node)
                return self.done[node]
            case _:
                assert_never(node)

    def _grouped(self, node: Grouped) -> Grouped:
        made = {f.number: e for f, e in node.keys}
        more = tuple((f, substitute(e, made)) for e, f in self._of(node).items())
        keys = tuple((f, self.rewritten(e, node.input)) for f, e in (*node.keys, *more))
        calls = tuple(self._call(call, node.input) for call in node.calls)
        return Grouped(self.sunk(node.input), keys, calls)

    def _call(self, call: Call, input: Secure) -> Call:
        condition = None if call.filter is None else self.rewritten(call.filter, input)
        return replace(call, arguments=tuple(self.rewritten(a, input) for a in call.arguments), filter=condition)

    def _appended(self, node: Appended) -> Appended:
        new, rows, inputs = self._of(node), list[tuple[Expression, ...]](), list[Secure]()
        for part, values in zip(node.inputs, node.values, strict=True):
            made = {f.number: e for f, e in zip(node.outputs, values, strict=True)}
            more = (substitute(e, made) for e in new)
            rows.append(tuple(self.rewritten(e, part) for e in (*values, *more)))
            inputs.append(self.sunk(part))
        return replace(node, inputs=tuple(inputs), outputs=(*node.outputs, *new.values()), values=tuple(rows))

    def _computed(self, node: Computed) -> Computed:
        made = {f.number: e for f, e in node.outputs}
        more = tuple((f, substitute(e, made)) for e, f in self._of(node).items())
        return Computed(self.sunk(node.input), tuple((f, self.rewritten(e, node.input)) for f, e in (*node.outputs, *more)))

    def _of(self, node: Grouped | Appended | Computed) -> dict[Expression, Field]:
        return self.wanted.get(_own(node), {})

    def rewritten(self, e: Expression, *inputs: Secure) -> Expression:
        """An expression over the inputs with what sources are to compute in it as their columns."""
        if not any(map(is_textual, walk(e))):
            return e
        return self._rewritten(e, [source for one in inputs for source in _sources(one)])

    def _rewritten(self, e: Expression, sources: list[_Source]) -> Expression:
        if isinstance(e, (Ref, Constant)) or not any(map(is_textual, walk(e))):
            return e
        source = next((one for one in sources if references(e) and references(e) <= one.numbers), None)
        if source is not None and (not source.padded or null_of_nulls(e)):
            if source.is_leaf:
                return e   # planners/push_expressions.py
            if _sinks(e):
                new = self.wanted.setdefault(source.numbers, {})
                return Ref(new.setdefault(e, Field(next(self.numbers), readable(e), e.type, e.nullable)))
        if isinstance(e, Apply) and is_textual(e):
            found = spread(e)
            if found != e:
                return self._rewritten(found, sources)
            e = self._rebuilt(e, sources)
            return compared(e) if isinstance(e, Apply) else e
        return self._rebuilt(e, sources)

    def _rebuilt(self, e: Expression, sources: list[_Source]) -> Expression:
        return rebuild(e, tuple(self._rewritten(child, sources) for child in children(e)))


def _sinks(e: Expression) -> bool:
    """It fails nowhere, and where keys are equal it is: 0.0 and -0.0 are equal keys."""
    return all(
        isinstance(part, (Constant, Case)) or isinstance(part, Ref) and part.type.kind not in FLOATING
        or isinstance(part, Apply) and (part.function in NEVER_FAIL or is_textual(part))
        for part in walk(e)
    )  # fmt: skip


def _own(node: Secure) -> frozenset[int]:
    return frozenset(f.number for f, _ in node.keys) if isinstance(node, Grouped) else numbers_of(node)


def _sources(node: Secure, *, padded: bool = False) -> list[_Source]:
    match node:
        case Local() | Grouped() | Appended() | Computed():
            return [_Source(_own(node), isinstance(node, Local), padded)]
        case Joined(parts):
            return [source for part in parts for source in _sources(part, padded=padded)]
        case Combined(kind, left, right):
            sides = _sources(left, padded=padded or kind == "FULL")
            return sides + _sources(right, padded=padded or kind in ("LEFT", "SINGLE", "FULL"))
        case Filtered(input) | Limited(input) | Cut(input) | Noised(input):
            return _sources(input, padded=padded)
        case _:
            assert_never(node)


def sink_texts(top: Top, numbers: count[int]) -> Top:
    """The plan with functions of texts where an owner can compute them."""
    return _Sinker(numbers).whole(top)
