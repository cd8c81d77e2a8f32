"""What the planner knows of a relation on shares, for people: columns, keys, what determines or equals what, who knows it."""

from __future__ import annotations

from sdh.planners.dependencies import Dependency, dependencies
from sdh.planners.derive_traits import traits
from sdh.planners.expressions import Field
from sdh.planners.intervals import Shared
from sdh.planners.physical import Input, Node, inputs
from sdh.schema import Kind

MOST = 4
"""Properties of a kind that are shown."""
Names = dict[int, str]


def properties(node: Node) -> str:
    """Widths of the columns that it makes, unique keys, what new ones determine or equal, and whose order its rows have.

    Slots are said with its costs. Bits are those of the range that is published or follows, NULL: it may be.
    """
    found = traits(node)
    below = {number for part in inputs(node) for number in traits(part).ranges}
    names = _names(found.columns)
    made = [f"{names[c.field.number]} {_width(c)}" for c in found.columns if c.field.number not in below]
    keys = [_list(key, names) for key in found.keys if key <= names.keys()]
    parts = [", ".join(made), *_some("unique", keys), *_some("", _determined(node, names)), *_some("", _equal(node, names))]
    return "; ".join(part for part in [*parts, *_known(node, names)] if part)


def _names(columns: tuple[Shared, ...]) -> Names:
    """Without their tables, unless two are called alike."""
    short = {c.field.number: unqualified(c.field) for c in columns}
    twice = {name for name in short.values() if list(short.values()).count(name) > 1}
    return {c.field.number: (c.field.name or c.field.sql) if short[c.field.number] in twice else short[c.field.number]
            for c in columns}


def unqualified(field: Field) -> str:
    """A column's name without its table; an expression's whole."""
    return (field.name if "(" in field.name else field.name.rpartition(".")[2]) or field.sql


def _width(column: Shared) -> str:
    null = " NULL" if column.field.nullable else ""
    match column.field.type.kind:
        case Kind.VARCHAR:
            return f"{column.bytes} bytes{null}"
        case Kind.BOOLEAN:
            return f"1 bit{null}"
        case _:
            bits = column.range.bits - (column.low >= 0)   # no sign
            return f"{bits} bit{'' if bits == 1 else 's'}{null}"


def _list(numbers: frozenset[int], names: Names) -> str:
    found = [names[number] for number in sorted(numbers)]
    return found[0] if len(found) == 1 else f"({', '.join(found)})"


def _some(word: str, found: list[str]) -> list[str]:
    """The first of them, and how many others there are."""
    unique = list(dict.fromkeys(found))
    if not unique:
        return []
    more = f" and {len(unique) - MOST} more" if len(unique) > MOST else ""
    return [f"{word} {', '.join(unique[:MOST])}{more}".strip()]


def _determined(node: Node, names: Names) -> list[str]:
    """What columns that are no key determine; columns that hold each other equal stand apart."""
    keys, found = traits(node).keys, list[str]()
    for key, others in _own(node, names):
        rest = frozenset(n for n in others - key if not _are_equal(node, key, n))
        if key and rest and not any(one <= key for one in keys):
            found.append(f"{_list(key, names)} determines {_list(rest, names)}")
    return found


def _own(node: Node, names: Names) -> list[Dependency]:
    """Those that its inputs do not have."""
    columns, below = frozenset(names), {one for part in inputs(node) for one in dependencies(part)}
    found = [(key, others & columns) for key, others in dependencies(node) if key <= columns and (key, others) not in below]
    return [(key, others) for key, others in dict.fromkeys(found) if others - key]


def _are_equal(node: Node, key: frozenset[int], number: int) -> bool:
    return len(key) == 1 and (frozenset({number}), key) in dependencies(node)


def _equal(node: Node, names: Names) -> list[str]:
    """Columns that determine each other, one and one."""
    pairs = [(*key, *others) for key, others in _own(node, names) if len(key) == len(others) == 1]
    return [f"{names[a]} = {names[b]}" for a, b in pairs if a < b and (b, a) in pairs]


def _known(node: Node, names: Names) -> list[str]:
    """The party whose rows they are, one for one, still knows its columns there."""
    if isinstance(node, Input):
        return []
    found = []
    for party, numbers in traits(node).known:
        own = [names[number] for number in sorted(numbers) if number in names]
        if own:
            found.append(f"in {party}'s order, who knows {', '.join(own)}")
    return found
