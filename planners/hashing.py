"""Trees of frozen dataclasses that are hashed once: they are looked up often, and a hash is that of all that is below.

A base class, which the generated `__hash__` of each class below is wrapped for; equality stays the fields'.
"""

from __future__ import annotations

from collections.abc import Callable


class HashedOnce:
    """Base of `@dataclass(frozen=True, slots=True)`: the hash is worked out when first asked for, and kept in the object."""

    __slots__ = ("_hash",)
    _hash: int

    def __init_subclass__(cls) -> None:
        if "__hash__" in vars(cls):   # the class with slots, which `dataclass` makes of the one that is written
            type.__setattr__(cls, "__hash__", _once(vars(cls)["__hash__"]))


def _once(hashed: Callable[[object], int]) -> Callable[[HashedOnce], int]:
    def __hash__(self: HashedOnce) -> int:
        try:
            return self._hash
        except AttributeError:
            found = hashed(self)
            object.__setattr__(self, "_hash", found)
            return found

    return __hash__
