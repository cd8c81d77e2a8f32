"""Which of the rows of its key a row is, at the owner of a key that repeats."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sdh.errors import KeyViolated


def number_of(words: Sequence[Tensor], usable: Tensor, most: int) -> Tensor:
    """0, 1, .. over the usable rows of equal words, in their order, int64 [rows]; 0 elsewhere.

    Raises KeyViolated if one stands in more than `most` rows: a declaration that the data does not meet.
    """
    rows = torch.nonzero(usable).flatten()
    for word in reversed(words):   # stable: the first word decides last
        rows = rows[torch.sort(word[rows], stable=True).indices]
    first = torch.ones(len(rows), dtype=torch.bool)
    if len(rows):
        first[1:] = torch.stack([word[rows][1:] != word[rows][:-1] for word in words]).any(0)
    places = torch.arange(len(rows))
    numbers = places - torch.cummax(torch.where(first, places, 0), 0).values if len(rows) else places
    if bool((numbers >= most).any()):
        raise KeyViolated(f"A join's key stands in more than the {most:,} rows that were declared.",
                          advice="Declare more in repeats=, or mend the data.")
    found = torch.zeros(len(usable), dtype=torch.int64)
    found[rows] = numbers
    return found
