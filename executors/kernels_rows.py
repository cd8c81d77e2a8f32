# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,import-not-found,import-untyped"
# pyright: reportMissingImports=false, reportIndexIssue=false
"""Rows moved by a permutation on a GPU, with the masks that come off and on: one pass, a random read of a row each."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

CELLS = 1024
"""Cells of the output that a program makes."""


@triton.jit(do_not_specialize=["rows", "count"])
def _move(a, b, source, c, place, out, rows, count, XOR: tl.constexpr, PLACED: tl.constexpr, ROWS: tl.constexpr,
          COLUMNS: tl.constexpr):
    """out[q] = (a + b)[source[q]] + c[place[q]], XORs if XOR; a negative source adds nothing; unless PLACED place[q] is q."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1).to(tl.int64) * COLUMNS + tl.arange(0, COLUMNS)
    there = (row < rows)[:, None] & (column < count)[None, :]
    read = tl.load(source + row, mask=row < rows, other=-1)
    added = tl.load(place + row, mask=row < rows, other=0) if PLACED else row
    taken, kept = read[:, None] * count + column[None, :], there & (read >= 0)[:, None]
    x, y = tl.load(a + taken, mask=kept, other=0), tl.load(b + taken, mask=kept, other=0)
    z = tl.load(c + added[:, None] * count + column[None, :], mask=there, other=0)
    tl.store(out + row[:, None] * count + column[None, :], x ^ y ^ z if XOR else x + y + z, mask=there)


def move(a: Tensor, b: Tensor, source: Tensor, c: Tensor, place: Tensor | None = None) -> Tensor:
    """(a + b)[source] + c[place], row q from row source[q] of a and b (-1: 0) and row place[q] (None: q) of c.

    a, b, c: [rows, columns] of int64, which add mod 2^64, or of uint8, by XOR. source, place: int64 [rows out].
    """
    rows, count = len(source), a.shape[1]
    out = torch.empty((rows, count), dtype=a.dtype, device=a.device)
    if rows and count:
        columns = min(64, triton.next_power_of_2(count))
        grid = (triton.cdiv(rows, CELLS // columns), triton.cdiv(count, columns))
        _move[grid](a.contiguous(), b.contiguous(), source.contiguous(), c.contiguous(),
                    source if place is None else place.contiguous(), out, rows, count, a.dtype == torch.uint8,
                    place is not None, CELLS // columns, columns)
    return out
