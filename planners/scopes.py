"""Names in scope: which columns a FROM clause offers, by which names."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sdh.errors import UnknownColumn, Unsupported
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
        star = item.expression
        _check_merged(star, scope)
        found += _columns(star, item, [b for b in _meant(star, scope) if not any(_means(name, b) for name in star.exclude)])
    return tuple(found)


def _meant(star: syntax.Star, scope: Scope) -> list[Binding]:
    wanted = ".".join(star.qualifier).lower()
    return [b for b in scope if (wanted in (q.lower() for q in b.qualifiers) if wanted else not b.merged)]


def _columns(star: syntax.Star, item: syntax.Item, bindings: list[Binding]) -> list[syntax.Item]:
    """REPLACE has its value in place of the first column of a name, and in place of others nothing, as in DuckDB."""
    found: list[syntax.Item] = []
    waiting = {column.lower(): (value, column) for value, column in star.replace}
    gone: set[str] = set()
    for b in bindings:
        replaced = waiting.pop(b.name.lower(), None)
        if replaced is not None:
            gone.add(b.name.lower())
            found.append(syntax.Item(*replaced, item.at))
        elif b.name.lower() not in gone:
            name = next((new for old, new in star.rename if _means(old, b)), b.name)
            found.append(StarItem(syntax.Name((name,)), "", item.at, b.field))
    return found


def _check_merged(star: syntax.Star, scope: Scope) -> None:
    """Of a column that USING merges DuckDB then shows the other side's. Raises Unsupported."""
    merged = {b.name.lower() for b in scope if b.merged}
    for name in (*star.exclude, *(old for old, _ in star.rename)):
        if len(name.parts) > 1 and name.parts[-1].lower() in merged:
            raise Unsupported(
                "EXCLUDE or RENAME of one side of a column that USING merges is not supported.",
                advice="Name the column without its table.",
                line=name.at.line,
                column=name.at.column,
            )


def _means(name: syntax.Name, binding: Binding) -> bool:
    *qualifier, column = (part.lower() for part in name.parts)
    return column == binding.name.lower() and (not qualifier or ".".join(qualifier) in (q.lower() for q in binding.qualifiers))
