"""Differential privacy: what a client asks for (`DP`), and what an owner allows (`PrivacyPolicy`). Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

from sdh.errors import ParameterError, UnknownDeclaration

MOST_EPSILON = Fraction(10**6)
LEAST_EPSILON = Fraction(1, 10**9)
"""Of a question: what ledgers count in; less would cost as much."""
MOST_CONTRIBUTIONS = 10**6
STRATEGIES = ("LAPLACE_THRESHOLD", "PUBLIC_GROUPS")
WAYS = ("JOINT", "PARTIES", "DEALER")
Number = int | float | str | Decimal | Fraction
Value = None | bool | int | str


@dataclass(frozen=True, slots=True, init=False)
class DP:
    """SELECT WITH DIFFERENTIAL_PRIVACY OPTIONS (...) for the outermost SELECT that aggregates.

    epsilon, delta: taken as written, 0.1 as 1/10. groups: max_groups_contributed. rows: max_rows_contributed. unit:
    privacy_unit_column. strategy: 'LAPLACE_THRESHOLD' or 'PUBLIC_GROUPS'. noise: 'JOINT', 'PARTIES' or 'DEALER'. What is not
    given is the owners'. Raises ParameterError.
    """

    epsilon: Fraction
    delta: Fraction | None
    groups: int | None
    rows: int | None
    unit: str
    strategy: str
    noise: str

    def __init__(self, epsilon: Number, delta: Number | None = None, groups: int | None = None, rows: int | None = None,
                 unit: str = "", strategy: str = "", noise: str = "") -> None:
        values: dict[str, Any] = {
            "epsilon": _within(epsilon, "epsilon", MOST_EPSILON),
            "groups": _count(groups, "groups"), "rows": _count(rows, "rows"),
            "delta": None if delta is None else _within(delta, "delta", Fraction(1, 2)), "unit": unit,
            "strategy": _word(strategy, "strategy", STRATEGIES), "noise": _word(noise, "noise", WAYS),
        }
        if values["epsilon"] < LEAST_EPSILON:
            raise _wrong("epsilon", epsilon, f"It is at least {float(LEAST_EPSILON):g}.")
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def to_message(self) -> dict[str, Any]:
        texts = {"epsilon": str(self.epsilon), "delta": None if self.delta is None else str(self.delta)}
        return texts | {name: getattr(self, name) for name in ("groups", "rows", "unit", "strategy", "noise")}


def dp_from_message(message: Mapping[str, Any]) -> DP:
    return DP(**message)


def _within(value: Number, name: str, most: Fraction) -> Fraction:
    found = exact(value)
    if found is None or not 0 <= found <= most:
        raise _wrong(name, value, f"It is a number from 0 to {float(most):g}.")
    return found


def _count(value: int | None, name: str) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_CONTRIBUTIONS):
        raise _wrong(name, value, f"It is a whole number from 1 to {MOST_CONTRIBUTIONS:,}.")
    return value


def _word(value: str, name: str, words: tuple[str, ...]) -> str:
    if value and value.upper() not in words:
        raise _wrong(name, value, f"It is {' or '.join(words)}.")
    return value.upper()


def _wrong(name: str, value: object, advice: str) -> ParameterError:
    return ParameterError(f"{name} of a DP question cannot be {value!r}.", advice=advice)


def exact(value: Number) -> Fraction | None:
    """The number as people wrote it: a float by its shortest text. None for nan, infinity and what is no number."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, Fraction)):
        return Fraction(value)
    if isinstance(value, str) and "/" in value and len(value) < 200:
        top, _, bottom = value.partition("/")
        return Fraction(int(top), int(bottom)) if top.isdecimal() and bottom.isdecimal() and int(bottom) else None
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        return None
    return Fraction(found) if found.is_finite() and abs(found.adjusted()) < 50 else None


# --- owners --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PrivacyPolicy:
    """What an owner lets be known of its units by answers with noise. `Policy.unit` says which column tells units apart.

    budgets: (receiver, epsilon, delta) that are never passed in all; receiver '*': of everybody together. epsilon, delta:
    most of one question. groups, rows: most groups of a unit and most of its rows in a group, where a question does not say,
    and the most that it may say. bounds: (table, column, low, high), to which values are clamped where a question does not
    say, and the widest that it may say. public: (table, column, values): groups that may show whether or not anybody is in
    them. least_units: a hidden group shows only with this many. space: the units' name in the ledger: owners' tables of one
    population share a budget.
    """

    budgets: tuple[tuple[str, Fraction, Fraction], ...] = ()
    epsilon: Fraction = Fraction(1)
    delta: Fraction = Fraction(1, 10**6)
    groups: int | None = None
    rows: int | None = None
    bounds: tuple[tuple[str, str, Fraction, Fraction], ...] = ()
    public: tuple[tuple[str, str, tuple[Value, ...]], ...] = ()
    least_units: int = 1
    space: str = "units"

    def __post_init__(self) -> None:
        if self.least_units < 1:
            raise UnknownDeclaration(f"A least number of {self.least_units} units makes no sense.", advice="Use 1 or more.")
        for most in (self.groups, self.rows):
            if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
                raise UnknownDeclaration(f"A unit cannot be in {most!r} groups, or have so many rows.", advice="Use 1 or more.")
        if not self.epsilon > 0 or not 0 <= self.delta < 1:
            raise UnknownDeclaration("The most epsilon of a question is more than 0, and delta from 0 to 1.")
        for receiver, epsilon, delta in self.budgets:
            if epsilon < 0 or not 0 <= delta <= 1:
                raise UnknownDeclaration(f"The budget of {receiver} makes no sense.", advice="Give (receiver, epsilon, delta).")
        for table, column, low, high in self.bounds:
            if low > high:
                raise UnknownDeclaration(f"The bounds of {table}.{column} are the wrong way round.")

    @staticmethod
    def of(*, budgets: Mapping[str, tuple[Number, Number]] | None = None, epsilon: Number = 1, delta: Number = "1e-6",
           groups: int | None = None, rows: int | None = None, bounds: Mapping[str, tuple[Number, Number]] | None = None,
           public: Mapping[str, tuple[Value, ...]] | None = None, least_units: int = 1, space: str = "units") -> PrivacyPolicy:
        """From plain values: columns as 'table.column'. Raises UnknownDeclaration."""
        return PrivacyPolicy(
            tuple(sorted((receiver, _exactly(e), _exactly(d)) for receiver, (e, d) in (budgets or {}).items())),
            _exactly(epsilon), _exactly(delta), groups, rows,
            tuple(sorted((*_column(name), _exactly(low), _exactly(high)) for name, (low, high) in (bounds or {}).items())),
            tuple((*_column(name), tuple(values)) for name, values in sorted((public or {}).items())), least_units, space,
        )

    def bounds_of(self, table: str, column: str) -> tuple[Fraction, Fraction] | None:
        return next(((low, high) for t, c, low, high in self.bounds if (t, c) == (table, column)), None)

    def values_of(self, table: str, column: str) -> tuple[Value, ...] | None:
        return next((values for t, c, values in self.public if (t, c) == (table, column)), None)

    def to_message(self) -> dict[str, Any]:
        return {
            "budgets": [[receiver, str(e), str(d)] for receiver, e, d in self.budgets], "epsilon": str(self.epsilon),
            "delta": str(self.delta), "groups": self.groups, "rows": self.rows,
            "bounds": [[table, column, str(low), str(high)] for table, column, low, high in self.bounds],
            "public": [[table, column, list(values)] for table, column, values in self.public],
            "least_units": self.least_units, "space": self.space,
        }


def privacy_from_message(message: Mapping[str, Any]) -> PrivacyPolicy:
    return PrivacyPolicy(
        tuple((str(receiver), Fraction(e), Fraction(d)) for receiver, e, d in message["budgets"]), Fraction(message["epsilon"]),
        Fraction(message["delta"]), message["groups"], message["rows"],
        tuple((str(table), str(column), Fraction(low), Fraction(high)) for table, column, low, high in message["bounds"]),
        tuple((str(table), str(column), tuple(values)) for table, column, values in message["public"]),
        int(message["least_units"]), str(message["space"]),
    )


def _exactly(value: Number) -> Fraction:
    found = exact(value)
    if found is None:
        raise UnknownDeclaration(f"{value!r} is not a number.", advice="Write it in decimal digits.")
    return found


def _column(name: str) -> tuple[str, str]:
    table, dot, column = name.rpartition(".")
    if not (table and dot and column):
        raise UnknownDeclaration(f"{name!r} is not a column.", advice="Write table.column.")
    return table, column
