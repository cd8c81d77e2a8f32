"""Functions by what they do: which are conditions, divisions or arithmetic, which never fail."""

from __future__ import annotations

from sdh.planners.expressions import COMPARISONS, CONNECTIVES, DISTINCTIONS

PREDICATES = COMPARISONS | DISTINCTIONS | CONNECTIVES | {"IS NULL", "BETWEEN", "IN", "try_failed"}
QUOTIENTS = frozenset({"/", "average"})
"""'average' is SUM / COUNT of an AVG: NULL, not nan, over nothing."""
NEVER_FAIL = PREDICATES | {
    "LIKE", "ILIKE", "coalesce", "nullif", "greatest", "least", "lower", "upper", "length", "substring", "substr", "left",
    "right", "trim", "ltrim", "rtrim", "||", "concat", "year", "month", "day", "/", "starts_with", "ends_with", "contains",
    "strftime", "dayname", "monthname",
    "prefix", "suffix", "strpos", "instr", "lcase", "ucase", "len", "strlen", "replace", "reverse",
}  # fmt: skip
"""Functions that give a value or NULL for any arguments."""
REMAINDERS = frozenset({"%", "mod"})
DIVISIONS = frozenset({"//", "divide"}) | REMAINDERS
"""Of integers, toward zero: the remainder, which DECIMAL has too, bears the dividend's sign. They fail on a divisor of 0."""
ARITHMETIC = frozenset({"+", "-", "*", "negate", "abs"}) | DIVISIONS
