"""Choose join order and protocols by cost: dynamic programming over sets of relations.

The state of a set is what its parties still know in the clear, since a later `align` or GROUP BY may need it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar, assert_never

from sdh.errors import InternalError, SdhError, Unsupported
from sdh.planners import physical
from sdh.planners.check import check, check_output
from sdh.planners.choose_groups import first_rows, groupings
from sdh.planners.comparing import LOCAL, Network
from sdh.planners.costs import nanoseconds, tree_cost
from sdh.planners.derive_traits import traits
from sdh.planners.digest import canonical
from sdh.planners.error_bits import node_may_fail
from sdh.planners.expressions import Expression, references
from sdh.planners.join_ways import combined, inner, too_many_pairs
from sdh.planners.keep_read import keep_read
from sdh.planners.key_limbs import check_key
from sdh.planners.materialize_late import materialized_late
from sdh.planners.physical import Concat, Filter, Input, Node, Project, Release, Unique
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
    locals_of,
)
from sdh.planners.traits import Traits

Chosen = TypeVar("Chosen", Node, Release)

MOST_RELATIONS = 10
Ways = dict[tuple[Secure, tuple[Input, ...]], list[Node]]
"""How each node may run over these inputs of its leaves: looked for once, whoever reads it, in all variants of a plan."""


@dataclass(frozen=True, slots=True)
class _Setting:
    """What candidates are candidates for. ways: those that are known already, and more as they are found."""

    leaves: Mapping[Local, Input]
    parties: int
    network: Network
    ways: Ways

    def time(self, node: Node | Release) -> int:
        return nanoseconds(tree_cost(node, self.parties, self.network), self.network)


def choose(top: Top, leaves: Mapping[Local, Input], parties: int, network: Network = LOCAL,
           ways: Ways | None = None) -> tuple[Release, tuple[Node, ...]]:
    """The cheapest plan and the inputs of the runners-up. Raises Unsupported, WidthError.

    ways: what was found for other plans of as many parties at the same network, and what is found here.
    """
    here = _Setting(leaves, parties, network, {} if ways is None else ways)
    found: list[tuple[int, Release]] = []
    fault: SdhError | None = None
    for candidate in _candidates(top.input, here):
        try:
            columns = traits(candidate).ranges
            for _, e in top.outputs:
                check_output(e, columns)
            kept = keep_read(candidate, references(*(e for _, e in top.outputs)))
            release = Release(kept, top.outputs, top.visible, top.order)
            found += [(here.time(one), one) for one in dict.fromkeys((release, materialized_late(release, here.time)))]
        except SdhError as error:
            fault = fault or error
    if not found:
        raise fault or InternalError("There is no plan.")
    ordered = _ranked(found)
    return ordered[0], tuple(release.input for release in ordered[1:])


def _ranked(found: list[tuple[int, Chosen]]) -> list[Chosen]:
    """The cheapest first; of equally cheap ones, whose texts take long to write, that of the least text."""
    times = Counter(time for time, _ in found)
    ordered = sorted(found, key=lambda pair: (pair[0], canonical(pair[1]) if times[pair[0]] > 1 else ""))
    return [one for _, one in ordered]


def _candidates(node: Secure, here: _Setting) -> list[Node]:
    key = node, tuple(here.leaves[leaf] for leaf in locals_of(node))
    if key not in here.ways:
        here.ways[key] = _found(node, here)
    return here.ways[key]


def _found(node: Secure, here: _Setting) -> list[Node]:
    match node:
        case Local():
            return [here.leaves[node]]
        case Filtered(input, predicate):
            return [Filter(one, _checked(predicate, one)) for one in _candidates(input, here)]
        case Joined():
            return _join_orders(node, here)
        case Combined():
            return _combined(node, here)
        case Grouped():
            return _feasible(node, _candidates(node.input, here))
        case Limited(input):
            return [first_rows(node, one) for one in _candidates(input, here)]
        case Appended():
            whole = _concat(node, [_candidates(part, here) for part in node.inputs], here)
            return [whole, *_proven(whole)]
        case Cut(input, keys, most):
            found = [(one, traits(one).ranges) for one in _candidates(input, here)]
            return [physical.Cut(one, tuple(_key(e, one) for e in keys), most, frozenset(ranges)) for one, ranges in found]
        case Noised(input, noises):
            below = [one for one in _candidates(input, here) if not node_may_fail(one)]
            if not below:
                raise Unsupported("Every way to compute what WITH DIFFERENTIAL_PRIVACY adds noise to might fail, and show it.",
                                  advice="Have bounds= or keys= declared for its columns.")
            return [physical.Noised(one, noises) for one in below]
        case Computed(input, outputs):
            one = _cheapest(_candidates(input, here), here)
            return [Project(one, tuple((f, _checked(e, one)) for f, e in outputs))]
        case _:
            assert_never(node)


def _key(e: Expression, input: Node) -> Expression:
    check_key(e, traits(input).ranges, "A bound of contributions")
    return e


def _concat(node: Appended, candidates: list[list[Node]], here: _Setting) -> Concat:
    """Of every input the cheapest: what its parties know does not outlive the append."""
    found: list[Node] = []
    for some, values in zip(candidates, node.values, strict=True):
        part = _cheapest(some, here)
        columns = traits(part).ranges
        for e in values:
            check(e, columns)
        found.append(part)
    return Concat(tuple(found), node.outputs, node.values, node.keys)


def _cheapest(some: list[Node], here: _Setting) -> Node:
    return _ranked([(here.time(one), one) for one in some])[0]


def _proven(whole: Concat) -> list[Node]:
    """With a declared key checked on shares: what is planned above may rest on it."""
    fields = {column.field.number: column.field for column in traits(whole).columns}
    found: list[Node] = [Unique(whole, tuple(fields[n] for n in sorted(key))) for key in whole.keys]
    return found


def _checked(predicate: Expression, input: Node) -> Expression:
    check(predicate, traits(input).ranges)
    return predicate


def _join_orders(node: Joined, here: _Setting) -> list[Node]:
    count = len(node.parts)
    if count > MOST_RELATIONS:
        raise Unsupported(
            f"A join of {count} relations of several owners is not supported.", advice=f"Join at most {MOST_RELATIONS}."
        )
    best: dict[int, dict[str, tuple[int, Node]]] = {}
    fault: SdhError | None = None
    for i, part in enumerate(node.parts):
        best[1 << i] = {str(n): (0, one) for n, one in enumerate(dict.fromkeys(_candidates(part, here)))}
    for subset in sorted(range(1, 1 << count), key=lambda s: (s.bit_count(), s)):
        if subset in best:
            continue
        states: dict[str, tuple[int, Node]] = {}
        for some in _splits(subset):
            for left in best[some].values():
                for right in best[subset ^ some].values():
                    for joined in inner(left[1], right[1], node.conjuncts):
                        try:
                            cost = here.time(joined)
                        except SdhError as error:
                            fault = fault or error
                            continue
                        state = _state(joined)
                        if state not in states or cost < states[state][0]:
                            states[state] = (cost, joined)
        best[subset] = _undominated(states)
    found = [one for _, one in best[(1 << count) - 1].values()]
    if not found:
        raise fault or too_many_pairs("INNER")
    return found


def _undominated(states: dict[str, tuple[int, Node]]) -> dict[str, tuple[int, Node]]:
    """Without those beside which another is no dearer, has no more slots, and leaves parties to know no less."""
    kept: dict[str, tuple[int, Node]] = {}
    for state, (cost, node) in sorted(states.items(), key=lambda one: (one[1][0], one[0])):
        if not any(_covers(traits(other), traits(node)) for _, other in kept.values()):
            kept[state] = (cost, node)
    return kept


def _covers(one: Traits, other: Traits) -> bool:
    return one.slots <= other.slots and all(numbers <= one.known_by(party) for party, numbers in other.known)


def _splits(subset: int) -> Iterator[int]:
    """Proper, non-empty parts of a set, each split once from either side."""
    part = (subset - 1) & subset
    while part:
        yield part
        part = (part - 1) & subset


def _combined(node: Combined, here: _Setting) -> list[Node]:
    """Of every join that is not INNER the cheapest for each state of what parties know."""

    def cheapest(some: list[Node]) -> Node:
        return _cheapest(some, here)

    states: dict[str, list[Node]] = {}
    for left in _candidates(node.left, here):
        for right in _candidates(node.right, here):
            for one in combined(node, left, right, cheapest):
                states.setdefault(_state(one), []).append(one)
    if not states:
        raise too_many_pairs(node.kind)
    return [cheapest(some) for some in states.values()]


def _state(node: Node) -> str:
    """What parties still know, which a later join or GROUP BY may need, and the slots, which it has to work on."""
    found = traits(node)
    return repr(([(party, sorted(known)) for party, known in found.known], found.slots))


def _feasible(node: Grouped, candidates: list[Node]) -> list[Node]:
    ways = [way for candidate in candidates for way in groupings(node, candidate)]
    found = [way for way in ways if not isinstance(way, SdhError)]
    if not found:
        raise next((way for way in ways if isinstance(way, SdhError)), InternalError("There is no plan for a GROUP BY."))
    return found
