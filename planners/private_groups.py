"""Public groups: keys whose values everybody may know, listed whether or not anybody is in them.

The values come from an owner's policy, from a column of a public table, from bounds that an owner declared of an integer
column, or from BOOLEAN itself. Rows of other values are left out before contributions are bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from math import prod

from sdh.catalog import Catalog, TableFacts
from sdh.errors import QuestionError
from sdh.planners.expressions import FALSE, TRUE, Apply, Case, Constant, Expression, Field, Ref
from sdh.planners.facts import known
from sdh.planners.logical import Aggregate, Filter, Node, OneRow, Private, Project, Reused, Scan, UnionAll, nodes
from sdh.planners.oracle import oracle
from sdh.planners.private_terms import Limits, refused
from sdh.planners.render import literal
from sdh.privacy import Value
from sdh.schema import BOOLEAN, INTEGER, Kind, Type

MOST_GROUPS = 100_000
"""Public groups: combinations of the keys' values."""
MOST_VALUES = 1_000
"""Of a key that are listed in a plan; a public table has room for more."""
NARROW = 64
"""Values of an integer column of declared bounds that are taken for its groups."""


@dataclass(frozen=True, slots=True)
class Domain:
    """relation: every value of a key once, in `field`, and what stands for it in `code`. of_row: the same of a row, NULL
    where it has no value of the domain."""

    relation: Node
    code: Field
    of_row: Expression


def domains_of(block: Private, catalog: Catalog, limits: Limits, numbers: count[int]) -> tuple[Domain, ...] | None:
    """Of every key; None where groups are hidden. Raises Unsupported."""
    strategy = block.terms.strategy
    if strategy == "LAPLACE_THRESHOLD" and block.keys:
        return None
    found = [domain_of(f, e, block, catalog, limits, numbers) for f, e in block.keys]
    for (field, _), domain in zip(block.keys, found, strict=True):
        if domain is None and strategy == "PUBLIC_GROUPS":
            raise refused(block, f"Nobody names public values of {field.name or 'a key'}",
                          "Its owner's policy could, or join a public table and group by its column.")  # fmt: skip
    domains = tuple(one for one in found if one is not None)
    if len(domains) < len(found):
        return None
    if prod(known(one.relation).rows for one in domains) > MOST_GROUPS:
        raise refused(block, f"More than {MOST_GROUPS:,} public groups are not supported", "Group by fewer keys.")
    return domains


def domain_of(
    field: Field, e: Expression, block: Private, catalog: Catalog, limits: Limits, numbers: count[int]
) -> Domain | None:
    """The public values of a key; None where nobody says. Raises Unsupported."""
    found = origin(block.input, e.field.number) if isinstance(e, Ref) else None
    if found is not None and not found[0].party:
        return _of_public_table(field, e, *found, numbers)
    values = _values(e, found, limits)
    if values is None:
        return None
    if len(values) > MOST_VALUES:
        raise refused(block, f"A key of more than {MOST_VALUES:,} public values is not supported", "Publish them as a table.")
    try:
        return _of_values(field, e, [_constant(value, e.type, catalog) for value in values], numbers)
    except QuestionError:
        what = f"A public value of {field.name or 'a key'} is no {e.type}"
        raise refused(block, what, "Its owner's policy names it.") from None


def origin(node: Node, number: int) -> tuple[TableFacts, str] | None:
    """The table and column that a field is, unchanged; None where it is computed or several."""
    for one in nodes(node):
        match one:
            case Scan(table, columns):
                for name, f in columns:
                    if f.number == number:
                        return table, name
            case Project(input, named) | Aggregate(input, named):
                for f, e in named:
                    if f.number == number:
                        return origin(input, e.field.number) if isinstance(e, Ref) else None
            case Reused(_, input, renamed):
                for own, its in renamed:
                    if own.number == number:
                        return origin(input, its.number)
    return None


def _values(e: Expression, found: tuple[TableFacts, str] | None, limits: Limits) -> Sequence[Value] | None:
    if found is not None:
        table, column = found
        policy = dict(limits.policies).get(table.party)
        declared = None if policy is None else policy.values_of(table.name, column)
        if declared is not None:
            return list(dict.fromkeys(declared))
    if e.type.kind is Kind.BOOLEAN:
        return [False, True, *([None] if e.nullable else [])]
    return None if found is None else _between(e, *found)


def _between(e: Expression, table: TableFacts, column: str) -> Sequence[Value] | None:
    facts = next(fact for c, fact in zip(table.columns, table.facts, strict=True) if c.name == column)
    if not e.type.is_integer or facts.low is None or facts.high is None or facts.high - facts.low >= NARROW:
        return None
    return [*range(facts.low, facts.high + 1), *([None] if e.nullable else [])]


def _constant(value: Value, type_: Type, catalog: Catalog) -> Constant:
    if type_.kind is Kind.BOOLEAN and value is not None:
        return TRUE if value else FALSE
    text = "NULL" if value is None else literal(str(value))
    sql = f"CAST({text} AS {type_})"
    return Constant(type_, oracle(catalog).value(sql)[1], sql)


def _of_values(field: Field, e: Expression, constants: list[Constant], numbers: count[int]) -> Domain:
    """Each value stands for itself by its place: a code that is never NULL, and of few values."""
    code = Field(next(numbers), f"group of {field.name}", INTEGER, nullable=False)
    branches, rows = list[tuple[Expression, Expression]](), list[Node]()
    for place, value in enumerate(constants):
        number = Constant(INTEGER, place, f"CAST({place} AS INTEGER)")
        branches.append((_is(e, value), number))
        rows.append(Project(OneRow(), ((Field(next(numbers), "", INTEGER, nullable=False), number),
                                       (Field(next(numbers), "", field.type), value))))  # fmt: skip
    return Domain(UnionAll(tuple(rows), (code, field)), code, Case(tuple(branches), None, INTEGER))


def _is(e: Expression, value: Constant) -> Expression:
    if value.value is None:
        return Apply("IS NULL", (e,), BOOLEAN, nullable=False)
    if e.type.kind is Kind.BOOLEAN:
        return e if value.value else Apply("NOT", (e,), BOOLEAN, e.nullable)
    return Apply("=", (e, value), BOOLEAN, e.nullable)


def _of_public_table(field: Field, e: Expression, table: TableFacts, column: str, numbers: count[int]) -> Domain:
    """Every value of the column but NULL."""
    own = Field(next(numbers), field.name, field.type, e.nullable)
    present = Apply("NOT", (Apply("IS NULL", (Ref(own),), BOOLEAN, nullable=False),), BOOLEAN, nullable=False)
    rows: Node = Scan(table, ((column, own),))
    rows = Filter(rows, present) if own.nullable else rows
    return Domain(Aggregate(rows, ((field, Ref(own)),), ()), field, e)
