"""Choose join order and protocols by cost: dynamic programming over sets of relations.

The state of a set is what its parties still know in the clear, since a later `align` or GROUP BY may need it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from sdh.errors import InternalError, SdhError, Unsupported
from sdh.planners.check import check, check_output
from sdh.planners.comparing import LOCAL, Network
from sdh.planners.costs import nanoseconds, tree_cost
from sdh.planners.digest import canonical
from sdh.planners.expressions import Expression, Field, Ref, conjunction, references
from sdh.planners.physical import Aggregate, Align, Filter, Input, NestedLoop, Node, Release, equalities, groups_bound, traits
from sdh.planners.placed import Filtered, Grouped, Joined, Local, Secure, Top
from sdh.planners.ranges import range_of
from sdh.schema import FLOATING, Kind

MOST_RELATIONS = 10
MOST_PAIRS = 1 << 25
"""Above this many pairs a nested loop is refused: it would not end in reasonable time."""
MOST_CELLS = 256
WIDEST_DOMAIN = 64


def choose(top: Top, leaves: dict[Local, Input], parties: int, network: Network = LOCAL) -> tuple[Release, tuple[Node, ...]]:
    """The cheapest plan and the inputs of the runners-up. Raises Unsupported, WidthError."""
    found: list[tuple[int, Release]] = []
    fault: SdhError | None = None
    for candidate in _candidates(top.input, leaves, parties, network):
        try:
            columns = traits(candidate).ranges
            for _, e in top.outputs:
                check_output(e, columns)
            release = Release(candidate, top.outputs, top.visible, top.order)
            found.append((nanoseconds(tree_cost(release, parties, network), network), release))
        except SdhError as error:
            fault = fault or error
    if not found:
        raise fault or InternalError("There is no plan.")
    ordered = [release for _, release in sorted(found, key=lambda pair: (pair[0], canonical(pair[1])))]
    return ordered[0], tuple(release.input for release in ordered[1:])


def _candidates(node: Secure, leaves: dict[Local, Input], parties: int, network: Network) -> list[Node]:
    match node:
        case Local():
            return [leaves[node]]
        case Filtered(input, predicate):
            return [Filter(one, _checked(predicate, one)) for one in _candidates(input, leaves, parties, network)]
        case Joined():
            return _join_orders(node, leaves, parties, network)
        case Grouped():
            return _feasible(node, _candidates(node.input, leaves, parties, network))
        case _:
            assert_never(node)


def _checked(predicate: Expression, input: Node) -> Expression:
    check(predicate, traits(input).ranges)
    return predicate


def _join_orders(node: Joined, leaves: dict[Local, Input], parties: int, network: Network) -> list[Node]:
    count = len(node.parts)
    if count > MOST_RELATIONS:
        raise Unsupported(
            f"A join of {count} relations of several owners is not supported.", advice=f"Join at most {MOST_RELATIONS}."
        )
    best: dict[int, dict[str, tuple[int, Node]]] = {}
    fault: SdhError | None = None
    for i, part in enumerate(node.parts):
        best[1 << i] = {repr(one): (0, one) for one in _candidates(part, leaves, parties, network)}
    for subset in sorted(range(1, 1 << count), key=lambda s: (s.bit_count(), s)):
        if subset in best:
            continue
        states: dict[str, tuple[int, Node]] = {}
        for some in _splits(subset):
            for left in best[some].values():
                for right in best[subset ^ some].values():
                    for joined in _joins(left[1], right[1], node.conjuncts):
                        try:
                            cost = nanoseconds(tree_cost(joined, parties, network), network)
                        except SdhError as error:
                            fault = fault or error
                            continue
                        state = repr([(p, sorted(k)) for p, k in traits(joined).known])
                        if state not in states or cost < states[state][0]:
                            states[state] = (cost, joined)
        best[subset] = states
    found = [one for _, one in best[(1 << count) - 1].values()]
    if not found:
        raise fault or Unsupported(
            f"No join of these relations stays under {MOST_PAIRS} pairs.",
            advice="Join on a key that its owner declares unique (keys=).",
        )
    return found


def _splits(subset: int) -> Iterator[int]:
    """Proper, non-empty parts of a set, each split once from either side."""
    part = (subset - 1) & subset
    while part:
        yield part
        part = (part - 1) & subset


def _joins(left: Node, right: Node, wanted: tuple[Expression, ...]) -> Iterator[Node]:
    """Ways to join two relations, with every conjunct that they can decide together and neither alone."""
    a, b = traits(left), traits(right)
    numbers_a, numbers_b = frozenset(a.ranges), frozenset(b.ranges)
    here = tuple(
        c
        for c in wanted
        if references(c) <= numbers_a | numbers_b and not (references(c) <= numbers_a) and not (references(c) <= numbers_b)
    )
    for probe_party, _ in a.known:
        for build_party, _ in b.known:
            if probe_party != build_party:
                yield from _align(left, right, here, probe_party, build_party)
    if a.slots * b.slots <= MOST_PAIRS:
        yield NestedLoop(left, right, _checked_condition(here, left, right))


def _checked_condition(here: tuple[Expression, ...], left: Node, right: Node) -> Expression | None:
    condition = conjunction(here)
    if condition is not None:
        check(condition, traits(left).ranges | traits(right).ranges)
    return condition


def _align(probe: Node, build: Node, here: tuple[Expression, ...], probe_party: str, build_party: str) -> Iterator[Node]:
    a, b = traits(probe), traits(build)
    known_a, known_b = a.known_by(probe_party), b.known_by(build_party)
    pairs: list[tuple[Field, Field]] = []
    rest: list[Expression] = []
    for conjunct in here:
        found = [
            pair
            for pair in equalities(conjunct, a, b)
            if pair[0].number in known_a and pair[1].number in known_b and _same_words(*pair)
        ]
        if found:
            pairs += found
        else:
            rest.append(conjunct)
    if pairs and any(key <= {f.number for _, f in pairs} for key in b.placed_keys):
        node: Node = Align(probe, build, tuple(pairs), probe_party, build_party)
        predicate = conjunction(rest)
        yield node if predicate is None else Filter(node, _checked(predicate, node))


def _same_words(a: Field, b: Field) -> bool:
    """Equal values of the two columns are equal ring integers, after scaling."""
    exact = a.type.is_exact and b.type.is_exact
    floating = a.type.kind in FLOATING and b.type.kind in FLOATING
    return exact or floating or (a.type.kind is b.type.kind and a.type.kind is not Kind.OTHER)


def _feasible(node: Grouped, candidates: list[Node]) -> list[Node]:
    found: list[Node] = []
    fault: SdhError | None = None
    for candidate in candidates:
        try:
            found.append(_aggregate(node, candidate))
        except SdhError as error:
            fault = fault or error
    if not found:
        raise fault or InternalError("There is no plan for a GROUP BY.")
    return found


def _aggregate(node: Grouped, input: Node) -> Node:
    found = traits(input)
    for call in node.calls:
        for e in (*call.arguments, *(() if call.filter is None else (call.filter,))):
            check(e, found.ranges)
    refs = [e.field.number for _, e in node.keys if isinstance(e, Ref)]
    party = max((p for p, _ in found.known), key=lambda p: sum(n in found.known_by(p) for n in refs), default="")
    owner_keys: list[tuple[Field, Field]] = []
    domain_keys: list[tuple[Field, Expression]] = []
    for field, e in node.keys:
        if isinstance(e, Ref) and e.field.number in found.known_by(party):
            owner_keys.append((field, e.field))
        else:
            domain_keys.append((field, _small(field, e, input)))
    aggregate = Aggregate(input, party if owner_keys else "", tuple(owner_keys), tuple(domain_keys), node.calls)
    cells = traits(aggregate).slots // max(groups_bound(aggregate), 1)
    if cells > MOST_CELLS:
        raise Unsupported(
            f"GROUP BY columns of {cells} combinations on shares is not supported.", advice="Group by columns of one owner."
        )
    return aggregate


def _small(field: Field, e: Expression, input: Node) -> Expression:
    """A key that takes few public values: BOOLEAN, or an exact one of narrow declared bounds. Raises Unsupported."""
    columns = traits(input).ranges
    check(e, columns)
    exact = e.type.is_exact or e.type.kind in (Kind.BOOLEAN, Kind.DATE)
    if not exact or range_of(e, columns).size > WIDEST_DOMAIN:
        raise Unsupported(
            f"GROUP BY {field.name or 'an expression'} is not supported here: no owner knows its rows' order.",
            advice="Group by columns of the owner whose rows the join keeps, or declare narrow bounds= for it.",
        )
    return e
