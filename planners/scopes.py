"""Names in scope: which columns a FROM clause offers, by which names."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sdh.errors import UnknownColumn
from sdh.parsers import syntax
from sdh.planners.expressions import Field
from sdh.planners.logical import Node, fields
from sdh.schema import BIGINT


@dataclass(frozen=True, slots=True)
class Binding:
    """A column that can be named: `qualifiers` are the names its table goes by; `merged`: hidden behind USING."""

    qualifiers: tuple[str, ...]
    name: str
    field: Field
    merged: bool = False


Scope = tuple[Binding, ...]


@dataclass(frozen=True, slots=True)
class Relation:
    node: Node
    scope: Scope


@dataclass(frozen=True, slots=True)
class StarItem(syntax.Item):
    """A column that * stands for: already resolved, since its name alone may be ambiguous."""

    field: Field = Field(0, "", BIGINT)


def renamed(relation: Relation, alias: str, columns: tuple[str, ...]) -> Relation:
    names = [*columns, *(b.name for b in relation.scope[len(columns) :])]
    if alias:
        names = _distinct(names)
    return Relation(
        relation.node,
        tuple(
            replace(b, qualifiers=(alias,) if alias else b.qualifiers, name=name)
            for b, name in zip(relation.scope, names, strict=True)
        ),
    )


def _distinct(names: list[str]) -> list[str]:
    """As DuckDB names the columns of a derived table: the second of one name is name_1."""
    found: list[str] = []
    for name in names:
        one, again = name, 0
        while one and one.lower() in (other.lower() for other in found):
            again += 1
            one = f"{name}_{again}"
        found.append(one)
    return found


def current(scope: Scope, node: Node) -> Scope:
    """The scope with the nullability that the node gives its fields."""
    now = {f.number: f for f in fields(node)}
    return tuple(replace(b, field=now[b.field.number]) for b in scope)


def position_of(scope: list[Binding], name: str, join: syntax.Join) -> int:
    found = [i for i, b in enumerate(scope) if b.name.lower() == name.lower() and not b.merged]
    if len(found) != 1:
        raise UnknownColumn(f"USING ({name}) does not name one column on each side.", line=join.at.line, column=join.at.column)
    return found[0]


def common_names(left: list[Binding], right: list[Binding], join: syntax.Join) -> list[str]:
    """The names that NATURAL joins on, in the left's order."""
    theirs = {b.name.lower() for b in right if not b.merged}
    found = list(dict.fromkeys(b.name for b in left if not b.merged and b.name.lower() in theirs))
    if not found:
        raise UnknownColumn(
            "NATURAL JOIN finds no column of one name on both sides.",
            advice="Write ON, or CROSS JOIN for all pairs.",
            line=join.at.line,
            column=join.at.column,
        )
    return found


def expanded(items: tuple[syntax.Item, ...], scope: Scope) -> tuple[syntax.Item, ...]:
    """The items with every * replaced by its columns, as items that carry the field."""
    found: list[syntax.Item] = []
    for item in items:
        if not isinstance(item.expression, syntax.Star):
            found.append(item)
            continue
        wanted = ".".join(item.expression.qualifier).lower()
        found += [
            StarItem(syntax.Name((b.name,)), "", item.at, b.field)
            for b in scope
            if (not wanted and not b.merged) or (wanted and wanted in (q.lower() for q in b.qualifiers))
        ]
    return tuple(found)
