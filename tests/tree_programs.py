"""Programs for tests/test_trees.py: every tree on every width, orders of rows of several limbs."""

from __future__ import annotations

from functools import partial

import torch

from sdh.executors.bits import Bits
from sdh.executors.compare import compare_chunk, less_rows
from sdh.executors.jobs import Job
from sdh.executors.runtime import Session
from sdh.executors.shares import raw
from sdh.planners.comparing import Compared, Network, Tree, compared, sign, zero
from tests.protocol_programs import LOW, same, share, signed_range, values


def trees(session: Session, rows: int, widths: list[int], block: int, arity: int) -> None:
    """Signs and zeros under one tree, and that they cost what the planner counts."""
    tree = Tree(block, arity)
    for width in widths:
        low, high = signed_range(width)
        x = values(width, rows, low, high)
        column = raw(share(session, 0, x))
        same(session, _run(session, "signs", column, width, tree, sign(width, tree)), x < 0, f"sign {width}")
        same(session, _run(session, "zeros", column, width, tree, zero(width, tree)), x == 0, f"zero {width}")


def _run(session: Session, what: str, column: torch.Tensor, width: int, tree: Tree, wanted: Compared) -> Bits:
    rows, before = len(column), session.meter.total
    body = partial(compare_chunk, session, what, [column], (width,), tree)
    [[found]] = session.interleave([Job((what, width, tree, rows), body)])
    after = session.meter.total
    assert after.rounds - before.rounds == wanted.rounds
    if rows and rows % 64 == 0:
        assert (after.sent - before.sent) * 8 == wanted.sent * rows * (session.count - 1)
        assert (after.dealt - before.dealt) * 8 == wanted.dealt * rows
    return found


def rows_of_limbs(session: Session, rows: int, delay: int) -> None:
    """Full-range 64-bit columns as two limbs, and (key, tie, index) as three; `delay` moves the choice of trees."""
    session.network = Network(delay=delay)
    x, y = values(1, rows, LOW, -LOW - 1), values(2, rows, LOW, -LOW - 1)
    x[rows // 2:] = y[rows // 2:]   # equal rows
    if rows > 5:
        x[5], y[5] = LOW, -LOW - 1
        x[4], y[4] = -LOW - 1, LOW
    limbs = [(share(session, 0, x >> 32), share(session, 1, y >> 32), 33),
             (share(session, 0, x & 0xFFFFFFFF), share(session, 1, y & 0xFFFFFFFF), 33)]
    same(session, less_rows(session, limbs), x < y, "two limbs")
    index = torch.arange(rows)
    other = index.flip(0)
    three = [*limbs, (share(session, 0, index), share(session, 1, other), 33)]
    same(session, less_rows(session, three), (x < y) | ((x == y) & (index < other)), "three limbs")
    same(session, less_rows(session, limbs[1:]), (x & 0xFFFFFFFF) < (y & 0xFFFFFFFF), "one limb")


def compared_as_planned(session: Session, rows: int) -> None:
    """What less_rows costs."""
    session.network = Network(delay=0)
    x = share(session, 0, torch.zeros(rows, dtype=torch.int64))
    before = session.meter.total
    less_rows(session, [(x, x, 33), (x, x, 33)])
    after, wanted = session.meter.total, compared([33, 33], 1, Tree(2, 2))
    assert (after.sent - before.sent) * 8 == wanted.sent * rows * (session.count - 1)
    assert (after.dealt - before.dealt) * 8 == wanted.dealt * rows
    assert after.rounds - before.rounds == wanted.rounds
