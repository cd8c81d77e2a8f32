"""Contributions bounded in the clear: where one owner has all that is counted, and other owners' rows only say which units count.

Those others have one row a unit, declared by their owners, and are joined on the unit alone: such a join keeps all rows of a
unit or none, so what one owner bounds before it is bounded after it, to the same rows. A condition over those others alone is
alike in all rows of a unit, so that what it leaves of a unit's contribution is all of it or nothing: it may be asked after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sdh.planners.expressions import Apply, Expression, Field, Ref, conjunction, conjuncts, references, substitute
from sdh.planners.facts import known
from sdh.planners.inner_trees import parts
from sdh.planners.logical import Call, Filter, Join, Node, Scan, fields, nodes
from sdh.planners.push_filters import push_filters


@dataclass(frozen=True, slots=True)
class Sides:
    """counted: the rows whose contributions are bounded, by `unit`. others: relations of one row a unit, and its column."""

    counted: Node
    unit: Field
    units: frozenset[int]
    """All columns that equal it, by number."""
    others: tuple[tuple[Node, Field], ...] = ()

    def of_counted(self, e: Expression) -> Expression | None:
        """`e` over counted rows, their unit for its other names; None where it reads columns of others."""
        own = _numbers(self.counted)
        found = substitute(e, dict.fromkeys(self.units - own, Ref(self.unit)))
        return found if references(found) <= own else None

    def of_others(self, e: Expression, unit: Field) -> Expression:
        """`e` over the join of others with what was made of counted rows by `unit`."""
        return substitute(e, dict.fromkeys(self.units & _numbers(self.counted), Ref(unit)))

    def call_of_counted(self, call: Call) -> Call:
        """Over counted rows, without the conjuncts of its filter that are over others."""
        def own(parts: Sequence[Expression]) -> tuple[Expression, ...]:
            return tuple(found for e in parts if (found := self.of_counted(e)) is not None)

        return replace(call, arguments=own(call.arguments), filter=conjunction(own(conjuncts(call.filter))))

    def asked_of_others(self, call: Call, unit: Field) -> Expression | None:
        """Those conjuncts: a unit's rows meet them all or none, so what it adds is what it adds without them, or 0."""
        return conjunction([self.of_others(e, unit) for e in conjuncts(call.filter) if self.of_counted(e) is None])


def sides_of(rows: Node, unit: Field, units: frozenset[int], read: frozenset[int], whole: Sequence[Expression]) -> Sides:
    """read: numbers of the columns that the aggregates sum. All rows are counted ones where they do not come apart.

    whole: keys and conditions, each of which is of counted rows alone, or of others.
    """
    leaves, wanted = parts(rows)
    if len({f.type for leaf in leaves for f in fields(leaf) if f.number in units}) != 1:
        return Sides(rows, unit, units)
    parties = sorted({party for leaf in leaves for party in _owners(leaf)})
    for party in parties if len(parties) > 1 else ():
        inner = [leaf for leaf in leaves if _owners(leaf) <= {party}]
        others = [leaf for leaf in leaves if not _owners(leaf) <= {party}]
        own, counted = _unit_of(inner, units), frozenset().union(*map(_numbers, inner))
        mixed = any(one & counted and not one <= counted for one in (references(e) - units for e in whole))
        if own is not None and not mixed and all(_is_of_units(leaf, wanted, units, read) for leaf in others):
            found = tuple((_joined([leaf], wanted), _unit_of([leaf], units)) for leaf in others)
            met = tuple((node, column) for node, column in found if column is not None)
            return Sides(_joined(inner, wanted), own, units, met)
    return Sides(rows, unit, units)


def _owners(node: Node) -> frozenset[str]:
    return frozenset(one.table.party for one in nodes(node) if isinstance(one, Scan)) - {""}


def _numbers(leaf: Node) -> frozenset[int]:
    return frozenset(f.number for f in fields(leaf))


def _unit_of(leaves: Sequence[Node], units: frozenset[int]) -> Field | None:
    return next((f for leaf in leaves if _owners(leaf) for f in fields(leaf) if f.number in units), None)


def _is_of_units(leaf: Node, wanted: Sequence[Expression], units: frozenset[int], read: frozenset[int]) -> bool:
    """One row a unit, nothing of it is counted, and it meets others by the unit alone."""
    own = _numbers(leaf)
    met = [c for c in wanted if references(c) & own and not references(c) <= own]
    alone = known(leaf).times(own & units) == 1
    return alone and bool(own & units) and not (read - units) & own and bool(met) and all(_equates(c, units) for c in met)


def _equates(conjunct: Expression, units: frozenset[int]) -> bool:
    match conjunct:
        case Apply("=", (Ref(a), Ref(b))):
            return a.number in units and b.number in units
        case _:
            return False


def _joined(leaves: Sequence[Node], wanted: Sequence[Expression]) -> Node:
    """The inner join of the leaves, with the conjuncts over them alone."""
    whole = leaves[0]
    for leaf in leaves[1:]:
        whole = Join("INNER", whole, leaf, None)
    predicate = conjunction([c for c in wanted if references(c) <= _numbers(whole)])
    return whole if predicate is None else push_filters(Filter(whole, predicate))
