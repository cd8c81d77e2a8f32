"""Join keys at their owner, in the clear: words of one scale on both sides, numbered where they repeat."""

from __future__ import annotations

import torch
from torch import Tensor

from sdh.errors import InternalError
from sdh.executors.equal_keys import number_of
from sdh.executors.predicates import equality_width
from sdh.executors.text import LENGTH_WIDTH, TEXT_WIDTH, words_for
from sdh.executors.values import Relation
from sdh.planners.expressions import Field
from sdh.planners.intervals import Shared
from sdh.planners.key_words import numbered
from sdh.planners.physical import Align
from sdh.planners.ranges import scale_of
from sdh.schema import Kind


def key_widths(pair: tuple[Field, Field], a: dict[int, Shared], b: dict[int, Shared]) -> list[int]:
    """Bits of the words that a pair of key columns is compared by."""
    first, second = pair
    if first.type.kind is Kind.VARCHAR:
        return [TEXT_WIDTH] * max(words_for(a[first.number].bytes), words_for(b[second.number].bytes)) + [LENGTH_WIDTH]
    up, down = _factors(pair)
    return [equality_width(a[first.number].range.times(up), b[second.number].range.times(down))]


def clear_keys(node: Align, relation: Relation, side: int, a: dict[int, Shared],
               b: dict[int, Shared]) -> tuple[list[Tensor], Tensor]:
    """The key words of one side in the clear, and which rows can match: real ones without NULL in the key."""
    if relation.real is None:
        raise InternalError("The owner of a key does not know its rows.")
    usable, words = relation.real, list[Tensor]()
    for pair in node.pairs:
        clear = relation.clear[pair[side].number]
        if clear.null is not None:
            usable = usable & ~clear.null
        if pair[0].type.kind is Kind.VARCHAR:
            missing = len(key_widths(pair, a, b)) - len(clear.words)
            words += [*clear.words[:-1], *[torch.zeros_like(clear.words[0])] * missing, clear.words[-1]]
        else:
            factor = _factors(pair)[side]
            words.append(clear.words[0] if factor == 1 else clear.words[0] * factor)
    return words, usable


def numbered_keys(node: Align, words: list[Tensor], usable: Tensor, widths: list[int], side: int) -> tuple[list[Tensor], Tensor]:
    """The key words with which of a key's places a copy of a probe row, or which of its rows a build row is."""
    if node.repeats == 1:
        return words, usable
    numbers = torch.arange(len(usable)) % node.repeats if side == 0 else number_of(words, usable, node.repeats)
    if len(numbered(widths, node.repeats)) > len(widths):
        return [*words, numbers], usable
    return [*words[:-1], words[-1] * (1 << (node.repeats - 1).bit_length()) + numbers], usable


def _factors(pair: tuple[Field, Field]) -> tuple[int, int]:
    """What brings both keys to one scale."""
    scales = [scale_of(field.type) if field.type.is_exact else 0 for field in pair]
    return int(10 ** (max(scales) - scales[0])), int(10 ** (max(scales) - scales[1]))
