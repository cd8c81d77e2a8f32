"""Comparison and equality by masked opening (protocols.md section 2, leaf-major bit planes).

With c = x + r mod 2^k public, MSB(x) = c_msb ^ r_msb ^ borrow, where borrow says that the low k-1 bits of c are
less than r's; x = 0 iff c = r. A block of m bits is compared by looking the public block up in the dealt one-hot
of r's (blocks.py); blocks are combined in a tree of nodes with r inputs (trees.py). m and r follow from rows and
network, bytes and rounds from both: planners/comparing.py. For two parties and many rows m = r = 2, which costs
9.25 / 9.375 / 5 (bytes sent / dealt a row / rounds) at k = 33, 19 / 19 / 6 at k = 64, equality of 64 bits
15.75 / 15.875 / 6; for few rows m = r = 4: three rounds up to k = 65. With n parties an opening costs n-1 times that.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from sdh.errors import InternalError
from sdh.executors.bits import Bits, and_, concat, slice_
from sdh.executors.blocks import look_up
from sdh.executors.dealing import Correlation
from sdh.executors.jobs import CHUNK, Job, Opening, Rounds
from sdh.executors.messages import Masked
from sdh.executors.runtime import Session
from sdh.executors.shares import Shared, bits_of, planes, raw, words_of
from sdh.executors.trees import Nodes, combine, correlations, plan_levels
from sdh.planners.comparing import EQ, LT, Tree, choose

Limb = tuple[Shared, Shared, int]
"""x, y, and the bits that hold x - y."""


def msb(session: Session, x: Shared, width: int) -> Bits:
    """The sign of shared values in [-2^(width-1), 2^(width-1)), 1 <= width <= 64."""
    return msb_many(session, [(x, width)])[0]


def less(session: Session, x: Shared, y: Shared, width: int) -> Bits:
    """x < y, where `width` bits hold x - y: k+1 for k-bit columns."""
    return msb(session, raw(x) - raw(y), width)


def less_many(session: Session, triples: Sequence[Limb]) -> list[Bits]:
    """x < y for several (x, y, width) of one row count, in one set of rounds."""
    return msb_many(session, [(raw(x) - raw(y), width) for x, y, width in triples])


def less_rows(session: Session, limbs: Sequence[Limb]) -> Bits:
    """The order of rows of several limbs, highest first: lexicographic x < y. Full-range 64-bit columns are two limbs.

    Limbs are in [0, 2^(width-1)), or the first is signed, so that x - y is 0 mod 2^(width-1) only if it is 0. The roots
    of the limbs' trees meet in one more tree: lt = lt_hi ^ (eq_hi & lt_lo). Two limbs of 32 bits: 19.25 / 19.25 bytes
    a row, 6 rounds.
    """
    return _chunked(session, "rows", [(raw(x) - raw(y), width) for x, y, width in limbs])[0]


def less_wide(session: Session, x: Shared, y: Shared) -> Bits:
    """x < y for any signed 64-bit values on shares, by three signs in one batch and one AND.

    With d = x - y mod 2^64: less = d_s ^ ((x_s ^ y_s) & (x_s ^ d_s)): where the signs differ x_s decides, else d_s.
    """
    sx, sy, sd = msb_many(session, [(x, 64), (y, 64), (raw(x) - raw(y), 64)])
    differ, other = bits_of(sx.share ^ sy.share, sx.rows), bits_of(sx.share ^ sd.share, sx.rows)
    return bits_of(sd.share ^ and_(session, differ, other).share, sx.rows)


def msb_many(session: Session, values: Sequence[tuple[Shared, int]]) -> list[Bits]:
    """The signs of several (value, width) of one row count, in one set of rounds a chunk."""
    return _chunked(session, "signs", values)


def is_zero(session: Session, x: Shared, width: int) -> Bits:
    """x mod 2^width == 0. For equality of two columns give their difference and the columns' own width."""
    return is_zero_many(session, [(x, width)])[0]


def is_zero_many(session: Session, values: Sequence[tuple[Shared, int]]) -> list[Bits]:
    """Whether several (value, width) of one row count are 0 mod 2^width, in one set of rounds a chunk."""
    return _chunked(session, "zeros", values)


_FEW = 1 << 12
"""Below this many rows, values of one width are compared as one column: few words, few array operations."""


def _chunked(session: Session, what: str, values: Sequence[tuple[Shared, int]]) -> list[Bits]:
    """Each chunk's outcomes in row order: one for every value, or for rows one in all."""
    if not values:
        return []
    widths = tuple(width for _, width in values)
    columns = [raw(value) for value, _ in values]
    rows = len(columns[0])
    if any(len(column) != rows for column in columns) or not all(1 <= width <= 64 for width in widths):
        raise InternalError("Values compared together have one row count and 1 to 64 bits.")
    if what != "rows" and len(columns) > 1 and len(set(widths)) == 1 and rows < _FEW:
        [met] = _chunked(session, what, [(torch.cat(columns), widths[0])])
        return [slice_(met, index * rows, (index + 1) * rows) for index in range(len(columns))]
    tree = choose(rows * len(columns), max(widths), session.network)
    step = max(64, CHUNK // len(values) // 64 * 64)
    jobs = []
    for start in range(0, max(rows, 1), step):
        part = [column[start:start + step] for column in columns]
        jobs.append(Job((what, widths, tree, len(part[0])), partial(compare_chunk, session, what, part, widths, tree)))
    chunks = session.interleave(jobs)
    # a list of the caller's own: a trace gives the same outcome for every chunk of one shape
    return list(chunks[0]) if len(chunks) == 1 else [concat(parts) for parts in zip(*chunks, strict=True)]


def compare_chunk(session: Session, what: str, columns: list[Tensor], widths: tuple[int, ...], tree: Tree) -> Rounds[list[Bits]]:
    """The body of all comparisons on one chunk; the columns are differences.

    1. Draw r mod 2^k, its one-hot blocks, its top bit and all nodes' products: one item. 2. Open c = x + r mod 2^k.
    3. Look the blocks of c up: `lt` and `eq` of every block are local. 4. Combine the nodes, level by level.
    5. A sign is the borrow ^ c_msb ^ r_msb. For rows, the limbs' signs and equalities meet in one more tree.
    """
    rows, words = len(columns[0]), words_of(len(columns[0]))
    first, kind = session.rank == 0, "equal" if what == "zeros" else "masked"
    outputs = [_outputs(what, place, len(widths)) for place in range(len(widths))]
    bits = [width if what == "zeros" else width - 1 for width in widths]
    counts = [(max(1, -(-low // tree.block)), wanted) for low, wanted in zip(bits, outputs, strict=True)]
    inner = plan_levels(counts, tree.arity)
    outer = plan_levels([(len(widths), LT)] if what == "rows" else [], tree.arity)
    drawn = session.draw(*(Correlation(kind, rows, width, tree.block) for width in widths),
                         *(one for level in [*inner, *outer] for one in correlations(level, words)))
    masked, dealt = drawn[:len(widths)], iter(drawn[len(widths):])
    opened = yield Opening([Masked(column + r, width) for column, (r, _), width in zip(columns, masked, widths, strict=True)],
                           "masked comparison")
    public = [planes(c, width) for c, width in zip(opened, widths, strict=True)]
    nodes = []
    for c, (_, hot), low, wanted in zip(public, masked, bits, outputs, strict=True):
        lt, eq = look_up(c[:low], hot, tree.block, wanted, first=first)
        nodes.append(Nodes(lt, eq[1:] if wanted == LT else eq, wanted))
    for level in inner:
        nodes = yield from combine(session, level, nodes, [next(dealt) for _ in level])
    if what == "zeros":
        return [bits_of(node.eq[0], rows) for node in nodes]
    signs = [node.lt[0] ^ (hot[-1] ^ c[-1] if first else hot[-1])
             for node, c, (_, hot) in zip(nodes, public, masked, strict=True)]
    if what == "signs":
        return [bits_of(sign, rows) for sign in signs]
    equal = [node.eq[0] for node in nodes[-2::-1]]
    met = [Nodes(torch.stack(signs[::-1]), torch.stack(equal) if equal else signs[0].new_empty((0, words)), LT)]
    for level in outer:
        met = yield from combine(session, level, met, [next(dealt) for _ in level])
    return [bits_of(met[0].lt[0], rows)]


def _outputs(what: str, place: int, limbs: int) -> int:
    """What the tree of a value gives; the lowest limb of rows needs no eq."""
    if what == "zeros":
        return EQ
    return LT if what == "signs" or place == limbs - 1 else LT | EQ
