"""Jobs: protocols on one chunk of rows each, written as generators of openings, of which several are under way at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor

from sdh.executors.messages import Masked

T = TypeVar("T")

CHUNK = 1 << max(6, int(os.environ.get("SDH_CHUNK_BITS", "18")))
"""Rows of a comparison that are worked on at a time: memory stays bounded. The same at all parties, as the dealing list
that they compare follows from it; GPUs want 2^21."""
WINDOW = 3
"""Chunks under way at a time: while one waits for its opening, the others compute and their randomness is dealt."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What one round of a protocol opens, and what hides it (`Session.open_masked`)."""

    values: Sequence[Masked]
    hidden_by: str


Rounds = Generator[Opening, list[Tensor], T]
"""The body of a protocol on one chunk: it yields each opening and is sent what came of it."""


@dataclass(frozen=True, slots=True)
class Job(Generic[T]):
    """One chunk's protocol. Equal `key`s (its name, row counts, widths) have equal steps; no `at` inside."""

    key: Hashable
    body: Callable[[], Rounds[T]]
