"""The syntax tree of the SQL that SDH accepts: frozen dataclasses, nothing bound yet.

Every node that can be at fault carries `at`, its place in the text, which does not take part in equality.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Position:
    """Line and column, counted from 1; 0, 0 where unknown."""

    line: int = 0
    column: int = 0


NOWHERE = Position()


def _at() -> Position:
    return field(default=NOWHERE, compare=False, repr=False)


# --- expressions ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Name:
    """A column: (column,), (table, column) or (party, table, column). Spelling as written, quotes removed."""

    parts: tuple[str, ...]
    at: Position = _at()


@dataclass(frozen=True, slots=True)
class Number:
    """A numeric literal as written: '1', '2.50', '1e3'."""

    text: str
    at: Position = _at()


@dataclass(frozen=True, slots=True)
class String:
    value: str
    at: Position = _at()


@dataclass(frozen=True, slots=True)
class Boolean:
    value: bool
    at: Position = _at()


@dataclass(frozen=True, slots=True)
class Null:
    at: Position = _at()


@dataclass(frozen=True, slots=True)
class Parameter:
    """$name."""

    name: str
    at: Position = _at()


@dataclass(frozen=True, slots=True)
class Interval:
    """INTERVAL 'amount' unit; amount is any accepted expression, unit one of DuckDB's words, upper case."""

    amount: Expression
    unit: str
    at: Position = _at()


@dataclass(frozen=True, slots=True)
class Unary:
    """operator: '-', 'NOT'."""

    operator: str
    operand: Expression
    at: Position = _at()


@dataclass(frozen=True, slots=True)
class Binary:
    """operator: + - * / // % || = <> < <= > >= AND OR 'IS DISTINCT FROM' 'IS NOT DISTINCT FROM'."""

    operator: str
    left: Expression
    right: Expression
    at: Position = _at()


@dataclass(frozen=True, slots=True)
class IsNull:
    operand: Expression
    at: Position = _at()


@dataclass(frozen=True, slots=True)
class Between:
    operand: Expression
    low: Expression
    high: Expression
    at: Position = _at()


@dataclass(frozen=True, slots=True)
class InList:
    operand: Expression
    items: tuple[Expression, ...]
    at: Position = _at()


@dataclass(frozen=True, slots=True)
class Like:
    """operator: LIKE or ILIKE."""

    operator: str
    operand: Expression
    pattern: Expression
    escape: Expression | None = None
    at: Position = _at()


@dataclass(frozen=True, slots=True)
class Case:
    """CASE [operand] WHEN ... THEN ... [ELSE default] END."""

    operand: Expression | None
    branches: tuple[tuple[Expression, Expression], ...]
    default: Expression | None
    at: Position = _at()


@dataclass(frozen=True, slots=True)
class Cast:
    """CAST(operand AS type), operand::type, DATE 'text'; `attempt` for TRY_CAST. `type` is DuckDB's text."""

    operand: Expression
    type: str
    attempt: bool = False
    at: Position = _at()


@dataclass(frozen=True, slots=True)
class Bounds:
    """contribution_bounds_per_group or _per_row => (low, high) of an aggregate. kind: 'group' or 'row'."""

    kind: str
    low: Fraction
    high: Fraction
    at: Position = _at()


@dataclass(frozen=True, slots=True)
class Call:
    """A function or aggregate by its DuckDB name in lower case; COUNT(*) is 'count_star' without arguments.

    EXTRACT(part FROM x) is date_part('part', x). CASE-like forms COALESCE, NULLIF, GREATEST, LEAST are calls too.
    """

    function: str
    arguments: tuple[Expression, ...]
    distinct: bool = False
    filter: Expression | None = None
    at: Position = _at()
    bounds: Bounds | None = None


@dataclass(frozen=True, slots=True)
class ScalarQuery:
    """(SELECT ...) as a value: that of its one row, NULL of none."""

    query: Query
    at: Position = _at()


@dataclass(frozen=True, slots=True)
class Exists:
    query: Query
    at: Position = _at()


@dataclass(frozen=True, slots=True)
class Quantified:
    """operand operator quantifier (SELECT ...). quantifier: ANY, ALL. x IN (SELECT ...) is x = ANY (SELECT ...).

    more: of (x, y, ...) IN (SELECT ...) what follows the first, each against its own column.
    """

    operator: str
    quantifier: str
    operand: Expression
    query: Query
    at: Position = _at()
    more: tuple[Expression, ...] = ()


Expression = (
    Name | Number | String | Boolean | Null | Parameter | Interval | Unary | Binary | IsNull | Between | InList
    | Like | Case | Cast | Call | ScalarQuery | Exists | Quantified
)


# --- relations -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Table:
    """(table,) for a public table or CTE, (party, table) for an owner's."""

    parts: tuple[str, ...]
    alias: str = ""
    columns: tuple[str, ...] = ()
    at: Position = _at()


@dataclass(frozen=True, slots=True)
class Derived:
    """(SELECT ...) AS alias (columns)."""

    query: Query
    alias: str = ""
    columns: tuple[str, ...] = ()
    at: Position = _at()


@dataclass(frozen=True, slots=True)
class Join:
    """kind: INNER, LEFT, RIGHT, FULL, SEMI, ANTI, CROSS (a comma too). Either `on`, or `using`, or `natural`, or none (CROSS)."""

    kind: str
    left: Relation
    right: Relation
    on: Expression | None = None
    using: tuple[str, ...] = ()
    at: Position = _at()
    natural: bool = False


Relation = Table | Derived | Join


@dataclass(frozen=True, slots=True)
class Star:
    """* or table.*: `qualifier` is () or the table's name.

    exclude: columns left out. replace: (expression, column) for columns computed otherwise. rename: (column, new name).
    """

    qualifier: tuple[str, ...] = ()
    at: Position = _at()
    exclude: tuple[Name, ...] = ()
    replace: tuple[tuple[Expression, str], ...] = ()
    rename: tuple[tuple[Name, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Item:
    expression: Expression | Star
    alias: str = ""
    at: Position = _at()


@dataclass(frozen=True, slots=True)
class OrderKey:
    """`nulls_first` is None where the text does not say (DuckDB: NULLS LAST in both directions). every: ORDER BY ALL."""

    expression: Expression
    descending: bool = False
    nulls_first: bool | None = None
    at: Position = _at()
    every: bool = False


@dataclass(frozen=True, slots=True)
class CommonTable:
    """WITH name (columns) AS (query)."""

    name: str
    columns: tuple[str, ...]
    query: Query
    at: Position = _at()


@dataclass(frozen=True, slots=True)
class Privacy:
    """WITH DIFFERENTIAL_PRIVACY OPTIONS (...): what is None or '' is left to the owners' policies.

    groups, rows: most groups of a unit, most rows of it in a group. strategy: LAPLACE_THRESHOLD or PUBLIC_GROUPS. noise:
    JOINT, PARTIES or DEALER.
    """

    epsilon: Fraction | None = None
    delta: Fraction | None = None
    groups: int | None = None
    rows: int | None = None
    unit: Name | None = None
    strategy: str = ""
    noise: str = ""
    at: Position = _at()


@dataclass(frozen=True, slots=True)
class Select:
    items: tuple[Item, ...]
    source: Relation | None = None
    where: Expression | None = None
    group_by: tuple[Expression, ...] = ()
    group_all: bool = False
    having: Expression | None = None
    distinct: bool = False
    order_by: tuple[OrderKey, ...] = ()
    limit: Expression | None = None
    offset: Expression | None = None
    common: tuple[CommonTable, ...] = ()
    at: Position = _at()
    privacy: Privacy | None = None
    grouping_sets: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class SetOperation:
    """left UNION [ALL] right, left INTERSECT right, left EXCEPT right; order, limit and common tables belong to the whole.

    operator: UNION, INTERSECT or EXCEPT. distinct: without ALL, which only UNION has. by_name: UNION BY NAME.
    """

    operator: str
    left: Query
    right: Query
    distinct: bool
    order_by: tuple[OrderKey, ...] = ()
    limit: Expression | None = None
    offset: Expression | None = None
    common: tuple[CommonTable, ...] = ()
    at: Position = _at()
    by_name: bool = False


Query = Select | SetOperation


# --- statements ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Explain:
    query: Query
    analyze: bool = False


@dataclass(frozen=True, slots=True)
class Describe:
    """DESCRIBE table, or DESCRIBE SELECT."""

    target: Table | Query


@dataclass(frozen=True, slots=True)
class ShowTables:
    pass


Statement = Query | Explain | Describe | ShowTables
