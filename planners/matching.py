"""Which rows stand in a result only where a key of theirs equals one that counts: what JOIN and PAYLOAD are granted for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import assert_never

from sdh.catalog import TableFacts
from sdh.planners.expressions import Apply, Expression, Field, Ref, conjuncts, references
from sdh.planners.flows import asked
from sdh.planners.inner_trees import parts
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
    inputs,
)

Columns = Callable[[TableFacts, str], bool]
"""Whether a column is one of some kind."""
PRESERVED = {"LEFT": (True, False), "SINGLE": (True, False), "ANTI": (True, False), "MARK": (True, False),
             "RIGHT": (False, True), "FULL": (True, True)}
"""Which sides of a join have rows in its output that met none of the other's."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Scans, numbered anew for every place where one stands. names: of their tables.

    columns: the scans of which a field is a column, unchanged, that may be joined on. keys: fields whose values count.
    single: scans whose rows stand here one by one. alone: those of them of which one may stand without a key that counts.
    """

    names: dict[int, str]
    columns: dict[int, frozenset[int]]
    keys: frozenset[int]
    single: frozenset[int]
    alone: frozenset[int]

    def tables(self, scans: frozenset[int]) -> frozenset[str]:
        return frozenset(self.names[scan] for scan in scans)

    def met(self, table: str) -> bool:
        """Whether each of its rows that stand here one by one has a key that counts."""
        return table not in self.tables(self.alone)


def rows_of(node: Node, counts: Columns, joins: Columns) -> Rows:
    """counts: keys such as the receiver's own. joins: columns that are granted to be joined on."""
    return _rows(node, counts, joins, count())


def _rows(node: Node, counts: Columns, joins: Columns, numbers: Iterator[int]) -> Rows:
    if isinstance(node, Filter) or isinstance(node, Join) and node.kind == "INNER":
        leaves, wanted = parts(node)
        return _met(_beside([_rows(leaf, counts, joins, numbers) for leaf in leaves]), wanted, lambda _, __: True)
    below = [_rows(part, counts, joins, numbers) for part in inputs(node)]
    match node:
        case Scan(table, columns):
            scan = next(numbers)
            keys = frozenset(f.number for name, f in columns if counts(table, name))
            own = frozenset({scan}) if table.party else frozenset[int]()
            joined = {f.number: frozenset({scan}) for name, f in columns if joins(table, name)}
            return Rows({scan: table.full_name}, joined, keys, own, own)
        case OneRow():
            return Rows({}, {}, frozenset(), frozenset(), frozenset())
        case Sort() | Limit() | Cut():
            return below[0]
        case Reused():
            return _renamed(below[0], node.renaming.outputs)
        case Project(_, outputs):
            return _renamed(below[0], outputs)
        case Aggregate(_, keys) | Private(_, keys):
            return replace(_renamed(below[0], keys), alone=frozenset(), single=frozenset())
        case Noised(_, noises):
            noised = {noise.input.number for noise in noises}
            kept = {n: scans for n, scans in below[0].columns.items() if n not in noised}
            return replace(below[0], columns=kept, keys=below[0].keys - noised)
        case Join(_, _, _, condition):
            return _met(_beside(below), conjuncts(condition), _must(node))
        case UnionAll():
            return _united(node, below)
        case _:
            assert_never(node)


def _renamed(below: Rows, outputs: tuple[tuple[Field, Expression], ...]) -> Rows:
    columns = {f.number: below.columns[e.field.number] for f, e in outputs
               if isinstance(e, Ref) and e.field.number in below.columns}
    keys = frozenset(f.number for f, e in outputs if _counts(e, below.keys))
    return replace(below, columns=columns, keys=keys)


def _counts(e: Expression, keys: frozenset[int]) -> bool:
    """Whether a value is computed from keys that count alone."""
    return bool(references(e)) and references(e) <= keys


def _beside(sides: list[Rows]) -> Rows:
    """The rows of all, side by side."""
    names = {scan: name for one in sides for scan, name in one.names.items()}
    columns = {number: scans for one in sides for number, scans in one.columns.items()}
    keys = frozenset(number for one in sides for number in one.keys)
    single = frozenset(scan for one in sides for scan in one.single)
    return Rows(names, columns, keys, single, frozenset(scan for one in sides for scan in one.alone))


def _met(rows: Rows, wanted: Iterable[Expression], must: Callable[[int, Expression], bool]) -> Rows:
    """A column that must equal what counts of another table counts itself, and its rows do not stand alone."""
    keys, alone = rows.keys, rows.alone
    pairs = [pair for c in wanted for part in conjuncts(asked(c)) for pair in _pairs(part)]
    for _ in pairs:  # each may make another one count
        for column, other in pairs:
            if column in rows.columns and _counts(other, keys) and must(column, other):
                keys, alone = keys | {column}, alone - rows.columns[column]
    return replace(rows, keys=keys, alone=alone)


def _must(join: Join) -> Callable[[int, Expression], bool]:
    """Whether a column of a side of which no row stands without one of the other's equals what the other says."""
    sides = [frozenset(f.number for f in fields(side)) for side in (join.left, join.right)]
    kept = PRESERVED.get(join.kind, (False, False))
    ways = [(own, beyond) for own, beyond, lone in zip(sides, sides[::-1], kept, strict=True) if not lone]
    return lambda column, other: any(column in own and references(other) <= beyond for own, beyond in ways)


def _pairs(conjunct: Expression) -> Iterator[tuple[int, Expression]]:
    match conjunct:
        case Apply("=", (a, b)):
            for column, other in ((a, b), (b, a)):
                if isinstance(column, Ref):
                    yield column.field.number, other
        case _:
            return


def _united(union: UnionAll, below: list[Rows]) -> Rows:
    """What holds of a field in every input holds of the union's."""
    columns: dict[int, frozenset[int]] = {}
    keys: set[int] = set()
    for place, f in enumerate(union.outputs):
        found = [(fields(part)[place].number, rows) for part, rows in zip(union.inputs, below, strict=True)]
        if all(number in rows.columns for number, rows in found):
            columns[f.number] = frozenset().union(*(rows.columns[number] for number, rows in found))
        if all(number in rows.keys for number, rows in found):
            keys.add(f.number)
    return replace(_beside(below), columns=columns, keys=frozenset(keys))
