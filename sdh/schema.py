"""SQL types, columns and schemas, named as DuckDB names them. Standard library only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    BOOLEAN = "BOOLEAN"
    TINYINT = "TINYINT"
    SMALLINT = "SMALLINT"
    INTEGER = "INTEGER"
    BIGINT = "BIGINT"
    HUGEINT = "HUGEINT"
    UTINYINT = "UTINYINT"
    USMALLINT = "USMALLINT"
    UINTEGER = "UINTEGER"
    UBIGINT = "UBIGINT"
    UHUGEINT = "UHUGEINT"
    DECIMAL = "DECIMAL"
    FLOAT = "FLOAT"
    DOUBLE = "DOUBLE"
    DATE = "DATE"
    TIMESTAMP = "TIMESTAMP"
    VARCHAR = "VARCHAR"
    OTHER = "OTHER"
    """Any other DuckDB type: lives in owner fragments and released payload of one owner only."""


SIGNED = {Kind.TINYINT: 8, Kind.SMALLINT: 16, Kind.INTEGER: 32, Kind.BIGINT: 64, Kind.HUGEINT: 128}
UNSIGNED = {Kind.UTINYINT: 8, Kind.USMALLINT: 16, Kind.UINTEGER: 32, Kind.UBIGINT: 64, Kind.UHUGEINT: 128}
FLOATING = frozenset({Kind.FLOAT, Kind.DOUBLE})


@dataclass(frozen=True, slots=True)
class Type:
    """A SQL type. `precision` and `scale` are DECIMAL's; `text` is DuckDB's name of an OTHER type."""

    kind: Kind
    precision: int = 0
    scale: int = 0
    text: str = ""

    def __str__(self) -> str:
        match self.kind:
            case Kind.DECIMAL:
                return f"DECIMAL({self.precision},{self.scale})"
            case Kind.OTHER:
                return self.text
            case _:
                return self.kind.value

    @property
    def is_integer(self) -> bool:
        return self.kind in SIGNED or self.kind in UNSIGNED

    @property
    def is_exact(self) -> bool:
        """Integers and DECIMAL: numbers that shares hold exactly, as value * 10^scale."""
        return self.is_integer or self.kind is Kind.DECIMAL

    @property
    def is_temporal(self) -> bool:
        return self.kind in (Kind.DATE, Kind.TIMESTAMP)

    def range(self) -> tuple[int, int]:
        """The least and greatest value of a BOOLEAN, exact or temporal type, times 10^scale.

        Days since 1970-01-01 for DATE, microseconds since then for TIMESTAMP. Raises ValueError for others.
        """
        if self.kind in SIGNED:
            return -(1 << (SIGNED[self.kind] - 1)), (1 << (SIGNED[self.kind] - 1)) - 1
        if self.kind in UNSIGNED:
            return 0, (1 << UNSIGNED[self.kind]) - 1
        match self.kind:
            case Kind.BOOLEAN:
                return 0, 1
            case Kind.DECIMAL:
                return -(10**self.precision - 1), 10**self.precision - 1
            case Kind.DATE:
                return -(1 << 31) + 1, (1 << 31) - 1
            case Kind.TIMESTAMP:
                return -(1 << 63) + 1, (1 << 63) - 1
            case _:
                raise ValueError(f"{self} has no integer range")


BOOLEAN, INTEGER, BIGINT, HUGEINT = Type(Kind.BOOLEAN), Type(Kind.INTEGER), Type(Kind.BIGINT), Type(Kind.HUGEINT)
DOUBLE, FLOAT = Type(Kind.DOUBLE), Type(Kind.FLOAT)
DATE, TIMESTAMP, VARCHAR = Type(Kind.DATE), Type(Kind.TIMESTAMP), Type(Kind.VARCHAR)

NULL = Type(Kind.OTHER, text='"NULL"')
"""Of a NULL that nothing gives a type."""

_DECIMAL = re.compile(r"DECIMAL\((\d+),\s*(\d+)\)")
_SIMPLE = {kind.value: kind for kind in Kind if kind not in (Kind.DECIMAL, Kind.OTHER)}


def parse_type(text: str) -> Type:
    """The type that DuckDB's DESCRIBE prints as `text`; one that shares do not know is OTHER."""
    if found := _DECIMAL.fullmatch(text):
        return Type(Kind.DECIMAL, int(found[1]), int(found[2]))
    return Type(_SIMPLE[text]) if text in _SIMPLE else Type(Kind.OTHER, text=text)


@dataclass(frozen=True, slots=True)
class Column:
    """A named column of a table or result."""

    name: str
    type: Type
    nullable: bool = True


Schema = tuple[Column, ...]
