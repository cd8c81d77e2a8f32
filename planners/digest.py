"""One text, and one digest, for equal plans: whatever the hash seed of the process."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from enum import Enum
from fractions import Fraction


def canonical(value: object) -> str:
    """A text that two values share only if they are equal. Sets and mappings are sorted."""
    match value:
        case None | bool() | int() | float() | str():
            return repr(value)
        case bytes():
            return value.hex()
        case Fraction():
            return f"{value.numerator}/{value.denominator}"
        case Enum():
            return str(value.value)
        case tuple() | list():
            return f"[{','.join(canonical(part) for part in value)}]"
        case frozenset() | set():
            return f"{{{','.join(sorted(canonical(part) for part in value))}}}"
        case Mapping():
            pairs = sorted((canonical(key), canonical(part)) for key, part in value.items())
            return f"{{{','.join(f'{key}:{part}' for key, part in pairs)}}}"
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            parts = ",".join(canonical(getattr(value, f.name)) for f in dataclasses.fields(value))
            return f"{type(value).__name__}({parts})"
        case _:
            raise TypeError(f"{type(value).__name__} has no canonical text")


def digest(value: object) -> str:
    """Hexadecimal SHA-256 of the canonical text."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()
