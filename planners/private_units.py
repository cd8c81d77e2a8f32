"""Whose is a row: every row of a private relation has exactly one owner unit, and depends on that unit's rows and public data.

Then adding or removing a unit adds or removes its rows and no others, so that bounding what each unit puts into an
aggregate, once, right before it, bounds how much the answer may move. What loses the property is refused by its rule
(../shared/design/privacy.md is the source of the rules; the property is that of Wilson et al. 2020, section 3).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

from sdh.catalog import Catalog
from sdh.errors import Unsupported
from sdh.planners.expressions import Apply, Expression, Field, Ref, conjuncts
from sdh.planners.logical import (
    Aggregate,
    Cut,
    Filter,
    Join,
    Limit,
    Node,
    Noised,
    OneRow,
    Private,
    Project,
    Reused,
    Scan,
    Sort,
    UnionAll,
    fields,
)


@dataclass(frozen=True, slots=True)
class Owned:
    """units: numbers of the columns each of which is the row's unit. free: those of tables whose unit nobody has named.

    is_public: the rows are everybody's; they have no unit. Private rows without either have lost the column of their unit.
    spaces: of the units, by the policies that name one: one unit of a space is in all of its tables, and leaves all at once.
    """

    units: frozenset[int] = frozenset()
    free: frozenset[int] = frozenset()
    is_public: bool = False
    spaces: frozenset[str] = frozenset()


PUBLIC = Owned(is_public=True)
SET_OPERATION = "a UNION, INTERSECT or EXCEPT"
"""All three append the rows of their parts; the latter two then group by all columns, the unit among them."""


def units_of(node: Node, catalog: Catalog, named: Field | None) -> frozenset[int]:
    """The columns of a relation that are its rows' unit. named: what the question says is one. Raises Unsupported."""
    found = _Units(catalog, named).of(node)
    if found.is_public:
        raise _refused("over public tables alone has nobody to protect", "Leave the clause out.")
    if not found.units and not found.free:
        raise _refused("cannot rest on a derived table that drops the column of the unit", "Select it there too.")
    if not found.units:
        raise _refused("needs a column that tells units apart", "Name it: privacy_unit_column = table.column.")
    if named is not None and named.number not in found.units:
        raise _refused("cannot have this unit: the rows are of another", "Name the unit of the owners' policies, or none.")
    return found.units


class _Units:
    def __init__(self, catalog: Catalog, named: Field | None) -> None:
        self._catalog, self._named = catalog, named

    def of(self, node: Node) -> Owned:
        found = self._of(node)
        named = frozenset() if self._named is None else found.free & {self._named.number}
        return replace(found, units=found.units | named, free=frozenset()) if named else found

    def _of(self, node: Node) -> Owned:
        match node:
            case Scan():
                return self._scan(node)
            case OneRow():
                return PUBLIC
            case Filter(input) | Sort(input):
                return self.of(input)
            case Reused():
                return self.of(node.renaming)
            case Limit(input):
                below = self.of(input)
                if not below.is_public:
                    raise _refused("cannot rest on LIMIT: whose rows stay would depend on others", "Leave LIMIT out below.")
                return below
            case Project(input, outputs):
                return _passed(self.of(input), outputs)
            case Aggregate(input, keys):
                return _grouped(self.of(input), keys)
            case Join():
                return _Join(node, self.of(node.left), self.of(node.right)).owned()
            case UnionAll(parts):
                return self._union(node, [self.of(part) for part in parts])
            case Private() | Noised() | Cut():
                raise _refused("cannot stand inside another one", "Join or aggregate its answer outside of the block.")
            case _:
                assert_never(node)

    def _scan(self, scan: Scan) -> Owned:
        table = scan.table
        if not table.party:
            return PUBLIC
        policy = self._catalog.party(table.party).policy
        numbers = {name: f.number for name, f in scan.columns}
        named = self._named.number if self._named is not None and self._named.number in numbers.values() else None
        column = policy.unit_of(table.name)
        if column is None and policy.privacy is not None:
            raise _refused(f"needs a unit of {table.full_name}, and its owner names none", "Its policy could have unit=.")
        spaces = frozenset({"" if policy.privacy is None else policy.privacy.space})
        if column is None:
            free = frozenset(numbers.values())
            return Owned(free=free, spaces=spaces) if named is None else Owned(frozenset({named}), spaces=spaces)
        if column not in numbers:
            raise _refused(f"needs the unit of {table.full_name}, which has no column {column}", "Its policy names another.")
        if named is not None and named != numbers[column]:
            raise _refused(f"has {table.full_name}.{column} for its unit, by the owner's policy", "Name that one, or none.")
        return Owned(frozenset({numbers[column]}), spaces=spaces)

    def _union(self, node: UnionAll, parts: list[Owned]) -> Owned:
        if all(part.is_public for part in parts):
            return PUBLIC
        if any(part.is_public for part in parts):
            raise _refused(f"cannot rest on {SET_OPERATION} of private rows with public ones", "Join them, or leave one out.")
        places = [{i for i, f in enumerate(fields(input)) if f.number in part.units | part.free}
                  for input, part in zip(node.inputs, parts, strict=True)]  # fmt: skip
        same = frozenset(node.outputs[i].number for i in set.intersection(*places))
        if not same:
            raise _refused(f"cannot rest on {SET_OPERATION} whose parts have their units in different columns",
                           "Select it first.")  # fmt: skip
        spaces = _of_one_space(SET_OPERATION, *parts)
        if any(part.free for part in parts):   # one column is the unit of all: the one that the question names
            named = same & ({self._named.number} if self._named is not None else set())
            return Owned(named, spaces=spaces) if named else Owned(free=same, spaces=spaces)
        return Owned(same, spaces=spaces)


def _of_one_space(what: str, *parts: Owned) -> frozenset[str]:
    """Where a unit that leaves one side alone would change the other's rows, not just drop them, it has to leave both."""
    spaces = frozenset().union(*(part.spaces for part in parts))
    if len(spaces) > 1:
        raise _refused(f"cannot rest on {what} of tables whose units are not of one space",
                       "Write an inner JOIN, or let the owners' policies name one space.")  # fmt: skip
    return spaces


def _passed(below: Owned, outputs: tuple[tuple[Field, Expression], ...]) -> Owned:
    """The columns that go on unchanged."""
    if below.is_public:
        return below

    def kept(numbers: frozenset[int]) -> frozenset[int]:
        return frozenset(f.number for f, e in outputs if isinstance(e, Ref) and e.field.number in numbers)

    return replace(below, units=kept(below.units), free=kept(below.free))


def _grouped(below: Owned, keys: tuple[tuple[Field, Expression], ...]) -> Owned:
    found = _passed(below, keys)
    if not found.is_public and not found.units and not found.free:
        raise _refused("cannot rest on an aggregate, or DISTINCT, that mixes units", "Add the unit to its GROUP BY.")
    return found


@dataclass(frozen=True, slots=True)
class _Join:
    node: Join
    left: Owned
    right: Owned

    def owned(self) -> Owned:
        """Of two private relations, rows meet by the unit alone; the public side of an outer join is not kept."""
        kind, left, right = self.node.kind, self.left, self.right
        if left.is_public and right.is_public:
            return PUBLIC
        if kind in ("LEFT", "SEMI", "ANTI", "MARK", "SINGLE", "FULL") and left.is_public:
            raise _refused("cannot rest on public rows that private ones pick", "Keep the private side.")
        if kind in ("RIGHT", "FULL") and right.is_public:
            raise _refused("cannot rest on public rows that private ones pick", "Keep the private side.")
        if left.is_public or right.is_public:
            return right if left.is_public else left
        return self._both()

    def _both(self) -> Owned:
        pairs = self._met()
        if not pairs:
            raise self._apart()
        if self.node.kind == "FULL":
            raise _refused("cannot rest on a FULL JOIN of private tables", "Write LEFT JOIN.")
        if self.node.kind == "MARK" and any(self._nullable(b) for _, b in pairs):
            raise _refused("cannot rest on IN of private rows whose unit may be NULL", "Add a condition IS NOT NULL to it.")
        lefts = self.left.units | {a for a, _ in pairs}
        rights = self.right.units | {b for _, b in pairs}
        match self.node.kind:
            case "INNER":
                return Owned(lefts | rights, spaces=self.left.spaces | self.right.spaces)
            case "SEMI":
                return Owned(lefts, spaces=self.left.spaces | self.right.spaces)
            case kind:
                what = "IN" if kind == "MARK" else "a subquery" if kind == "SINGLE" else f"{kind} JOIN"
                return Owned(rights if kind == "RIGHT" else lefts, spaces=_of_one_space(what, self.left, self.right))

    def _nullable(self, number: int) -> bool:
        return any(f.number == number and f.nullable for f in fields(self.node.right))

    def _met(self) -> list[tuple[int, int]]:
        """The pairs of unit columns, or of one with a column that nobody has named another unit of, that must be equal."""
        found: list[tuple[int, int]] = []
        for conjunct in conjuncts(self.node.condition):
            match conjunct:
                case Apply("=" | "IS NOT DISTINCT FROM", (Ref(a), Ref(b))):
                    found += [(x, y) for x, y in ((a.number, b.number), (b.number, a.number)) if self._are_units(x, y)]
        return found

    def _are_units(self, a: int, b: int) -> bool:
        left, right = self.left, self.right
        return a in left.units and b in right.units | right.free or a in left.free and b in right.units

    def _apart(self) -> Unsupported:
        if self.node.kind == "SINGLE" or self.node.condition is None and self.node.kind != "INNER":
            return _refused("cannot rest on a private subquery that no unit ties to its rows", "Compare the units in it.")
        if self.node.condition is None:
            return _refused("cannot rest on a cross join of private tables", "Join them on the unit.")
        if not self.left.units and not self.right.units:
            return _refused("needs a column that tells units apart", "Name it: privacy_unit_column = table.column.")
        return _refused("cannot rest on a join of private tables on anything but the unit", "Add the units' equality to it.")


def _refused(what: str, advice: str) -> Unsupported:
    return Unsupported(f"WITH DIFFERENTIAL_PRIVACY {what}.", advice=advice)
