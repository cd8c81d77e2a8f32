"""Rule: in a class of equal columns, joins compare those of one owner there, and what limits one column limits all.

Of `s.k = l.k AND p.k = l.k`, with s and p of one owner, `s.k = p.k` is that owner's own join, and one equality is left
to be asked on shares: of the column whose table shares most keys with others, since there a composite key is whole.
`a.k = b.k AND a.k < 9` lets b's owner leave out rows too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

from sdh.planners.expressions import TRUE, Apply, Expression, Field, Ref, conjunction, references, substitute
from sdh.planners.factor_predicates import is_total
from sdh.planners.inner_trees import classes, equal_columns, parts
from sdh.planners.logical import Filter, Join, Node, Scan, fields, inputs, nodes, with_inputs
from sdh.schema import BOOLEAN

Leaves = dict[int, int]
"""By a field's number the place of its leaf."""


def equate_columns(node: Node) -> Node:
    """Applied to every tree of INNER joins as a whole; those that need no change stay as they are."""
    leaves, wanted = parts(node)
    if len(leaves) < 2:
        return with_inputs(node, tuple(equate_columns(part) for part in inputs(node)))
    place = {f.number: i for i, leaf in enumerate(leaves) for f in fields(leaf)}
    owners = [frozenset(n.table.party for n in nodes(leaf) if isinstance(n, Scan)) - {""} for leaf in leaves]
    found = _spread(_rewired(wanted, place, owners), place)
    if found == wanted:
        return _rebuilt(node, keep=True)
    return Filter(_rebuilt(node, keep=False), conjunction(found) or TRUE)


def _rebuilt(node: Node, keep: bool) -> Node:
    """The tree with its leaves done, with or without its conjuncts."""
    match node:
        case Filter(input, predicate):
            inner = _rebuilt(input, keep)
            return Filter(inner, predicate) if keep else inner
        case Join("INNER", left, right, condition):
            return Join("INNER", _rebuilt(left, keep), _rebuilt(right, keep), condition if keep else None)
        case _:
            return with_inputs(node, tuple(equate_columns(part) for part in inputs(node)))


# --- equalities ----------------------------------------------------------------------------------


def _rewired(wanted: list[Expression], place: Leaves, owners: list[frozenset[str]]) -> list[Expression]:
    """Each class that joins several tables of an owner, but not to each other, joins them to each other."""
    pairs = {c: equal_columns(c)[0] for c in wanted if equal_columns(c)}
    found = classes(pairs.values())
    crossing = Counter(leaf for one in found if _crosses(one, place, owners) for leaf in {place[f.number] for f in one})
    for one in found:
        numbers = {f.number for f in one}
        edges = [c for c, (a, _) in pairs.items() if a.number in numbers]
        if not _apart(one, [pairs[c] for c in edges], place, owners):
            continue
        new = _tree(one, [pairs[c] for c in edges], place, owners, crossing)
        at = wanted.index(edges[0])
        kept = [c for c in wanted if c not in edges]
        wanted = [*kept[:at], *new, *kept[at:]]
    return wanted


def _crosses(one: list[Field], place: Leaves, owners: list[frozenset[str]]) -> bool:
    return len({owners[place[f.number]] for f in one} - {frozenset()}) > 1


def _apart(one: list[Field], edges: Iterable[tuple[Field, Field]], place: Leaves, owners: list[frozenset[str]]) -> bool:
    """Whether some owner's columns of the class are not connected by equalities among themselves."""
    if not _crosses(one, place, owners):
        return False
    inside = [(a, b) for a, b in edges if owners[place[a.number]] == owners[place[b.number]]]
    groups = classes([*inside, *((f, f) for f in one)])
    held = Counter(owners[place[group[0].number]] for group in groups)
    return any(count > 1 for owner, count in held.items() if len(owner) == 1)


def _tree(
    one: list[Field],
    edges: list[tuple[Field, Field]],
    place: Leaves,
    owners: list[frozenset[str]],
    crossing: Counter[int],
) -> list[Expression]:
    """A spanning tree of the class: each owner's columns in a row, then one equality for each further owner."""
    public = {f.number for f in one if not owners[place[f.number]]}
    kept = [(a, b) for a, b in edges if a.number in public or b.number in public]
    groups: dict[frozenset[str], list[Field]] = {}
    for f in one:
        if f.number not in public:
            groups.setdefault(owners[place[f.number]], []).append(f)
    rows = [pair for group in groups.values() for pair in pairwise(group)]
    first, *rest = (max(group, key=lambda f: crossing[place[f.number]]) for group in groups.values())
    pairs = [*rows, *kept]
    for other in rest:  # unless a public table stands between them
        if not any({first, other} <= set(connected) for connected in classes(pairs)):
            pairs.append((first, other))
    return [_equality(a, b) for a, b in pairs]


def _equality(a: Field, b: Field) -> Expression:
    return Apply("=", (Ref(a), Ref(b)), BOOLEAN, a.nullable or b.nullable)


# --- limits --------------------------------------------------------------------------------------


def _spread(wanted: list[Expression], place: Leaves) -> list[Expression]:
    """Conjuncts on one column of a class, asked of the columns of other tables in it too."""
    further: list[Expression] = []
    for one in classes(pair for c in wanted for pair in equal_columns(c)):
        for c in wanted:
            own = next((f for f in one if references(c) == {f.number}), None)
            if own is None or not is_total(c):
                continue
            others = [f for f in one if place[f.number] != place[own.number]]
            further += [substitute(c, {own.number: Ref(f)}) for f in others]
    return list(dict.fromkeys([*wanted, *further]))
