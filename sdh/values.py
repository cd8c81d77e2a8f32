"""Python values on their way into a question: JSON values, or (SQL type, text) pairs. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal

from sdh.errors import ParameterError

Plain = None | bool | int | float | str | tuple[str, str]


def plain(value: object) -> Plain:
    """A value as Question.params holds it. Raises ParameterError for one that is of no SQL type."""
    match value:
        case None | bool() | str():
            return value
        case int() if -(1 << 127) <= value < 1 << 127:
            return value
        case float():
            return float(value)
        case Decimal() if value.is_finite():
            return _decimal(value)
        case datetime() if value.tzinfo is None:
            return "TIMESTAMP", value.isoformat(" ")
        case datetime():
            raise ParameterError("A moment with a time zone cannot be a parameter.", advice="Convert it to UTC.")
        case date():
            return "DATE", value.isoformat()
        case _ if callable(item := getattr(value, "item", None)) and type(value).__module__.split(".")[0] == "numpy":
            return plain(item())
        case _:
            raise ParameterError(f"A {type(value).__name__} cannot be a parameter.",
                                 advice="Use None, bool, int, float, str, Decimal, date or datetime.")


def _decimal(value: Decimal) -> tuple[str, str]:
    _, digits, exponent = value.as_tuple()
    scale = max(0, -int(exponent))
    precision = max(len(digits) + max(0, int(exponent)), scale, 1)
    if precision > 38:
        raise ParameterError(f"A DECIMAL of {precision} digits cannot be a parameter.", advice="38 are the most.")
    return f"DECIMAL({precision},{scale})", f"{value:f}"


def params_of(params: Mapping[str, object] | None) -> tuple[tuple[str, object], ...]:
    """Parameters sorted by name. Raises ParameterError."""
    return tuple(sorted((str(name), plain(value)) for name, value in (params or {}).items()))
