"""What each protocol costs over n rows: bits that a party sends, rounds, bits that the dealer sends, words it touches.

The formulas are those of the docstrings in executors/ (protocols.md), exact but for the rounding of a message to bytes;
tests/test_costs.py holds them against traces of the run. Bits on shares travel in words of 64 rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from sdh.planners.comparing import LOCAL, LT, Compared, Network, choose, compared
from sdh.planners.comparing import sign as sign_bits
from sdh.planners.comparing import zero as zero_bits

CHUNK, WINDOW, FEW, SLICE, DIVIDED = 1 << 18, 3, 1 << 12, 1 << 20, 1 << 16
"""As the executors have them: values of a chunk, chunks under way at a time, rows below which widths are merged; rows of a
slice of what is aggregated, and of what is divided."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of an operator or plan: bytes by the party that sends most, rounds, bytes by the dealer to all together, 64-bit
    words that a party touches beside what it opens and is dealt."""

    sent: int = 0
    rounds: int = 0
    dealt: int = 0
    words: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.sent + other.sent, self.rounds + other.rounds, self.dealt + other.dealt, self.words + other.words)


@dataclass(frozen=True, slots=True)
class Machine:
    """What parties and dealer on one machine take, in picoseconds: of a round (most of it is Python), a byte sent, a byte
    dealt, a word touched beside.

    The defaults are two parties' and a dealer's on two cores, as `python -m tests.bench.calibrate` finds them; run it anew
    where protocols or machine are others.
    """

    round: int = 560_000_000
    sent: int = 3_300
    dealt: int = 600
    word: int = 4_400


HERE = Machine()


def nanoseconds(cost: Cost, network: Network, machine: Machine = HERE) -> int:
    """What the machine takes, and what a slower network than one machine's adds: rounds x delay + bytes / bandwidth."""
    size = cost.sent + cost.dealt
    travel = size * 1_000_000_000 // network.bandwidth - size * 1_000_000_000 // LOCAL.bandwidth
    added = cost.rounds * (network.delay - LOCAL.delay) + travel
    work = cost.rounds * machine.round + cost.sent * machine.sent + cost.dealt * machine.dealt + cost.words * machine.word
    return work // 1000 + max(added, 0)


@dataclass(frozen=True, slots=True)
class Steps:
    """Of protocols, in bits. opened: by every party to each other. In permutations by one party: `told` by it to each
    other, `moved` by each other to it; shuffles are `moved` too. dealt: to all together. rounds, words: as in Cost.
    """

    opened: int = 0
    rounds: int = 0
    dealt: int = 0
    words: int = 0
    moved: int = 0
    told: int = 0

    def __add__(self, other: Steps) -> Steps:
        return Steps(self.opened + other.opened, self.rounds + other.rounds, self.dealt + other.dealt,
                     self.words + other.words, self.moved + other.moved, self.told + other.told)

    def among(self, parties: int) -> Cost:
        """All permutations are by one party."""
        others = parties - 1
        return Cost((self.opened * others + max(self.moved, self.told * others)) // 8, self.rounds, self.dealt // 8, self.words)


NONE = Steps()


def total(steps: Iterable[Steps]) -> Steps:
    """One after the other."""
    return sum(steps, NONE)


def beside(steps: Iterable[Steps]) -> Steps:
    """In one set of rounds."""
    found = list(steps)
    return replace(total(found), rounds=max((one.rounds for one in found), default=0))


def by_size(sizes: Iterable[int], steps: Callable[[int], Steps]) -> Steps:
    """Slices of these rows, one after the other."""
    return total(one for rows, count in Counter(sizes).items() for one in [steps(rows)] * count)


GROUP = 1 << 25
"""Bytes of the columns that are permuted at a time: more columns than that go one group after the other."""


def column_groups(words: int, octets: int, places: int) -> list[tuple[int, int]]:
    """(words, octets) of a row in each group of columns that moves over so many places; octets with the last."""
    most = max(1, GROUP // (WORD * max(places, 1)))
    sizes = [min(most, words - start) for start in range(0, words, most)] or [0]
    return [*((size, 0) for size in sizes[:-1]), (sizes[-1], octets)]


FETCHED = 1 << 28
"""Bytes of candidates that are fetched at a time: beyond that the three candidates of a row come one after the other."""


def passes(probe: int, words: int) -> tuple[tuple[int, ...], ...]:
    """The thirds of a cuckoo table whose candidates are fetched together, for so many words of a candidate."""
    return ((0, 1, 2),) if 3 * probe * WORD * words <= FETCHED else ((0,), (1,), (2,))


def spans(rows: int) -> list[int]:
    """Rows of the slices in which what was fetched is selected."""
    return [min(SLICE, rows - start) for start in range(0, max(rows, 1), SLICE)]


WORD = 8
SORTING = 6
"""Words touched for a random order, a place."""


def padded(rows: int) -> int:
    """Rows of a column of bits: whole words."""
    return -(-rows // 64) * 64


def _waves(rows: int, values: int = 1) -> int:
    """How often rounds are taken for `values` columns of `rows` rows in chunks, of which WINDOW go side by side."""
    step = max(64, CHUNK // max(values, 1) // 64 * 64)
    return -(-max(1, -(-rows // step)) // WINDOW)


# --- bits and numbers ----------------------------------------------------------------------------


def and_(rows: int, count: int = 1) -> Steps:
    """`count` ANDs of columns in one round."""
    bits = count * padded(rows)
    return Steps(2 * bits, min(count, 1), bits)


def any_of(rows: int) -> Steps:
    """The OR of all rows (bits.all_or): halves of words, then of the last word."""
    words, found = -(-rows // 64), NONE
    while words > 1:
        found += and_(64 * (words // 2))
        words -= words // 2
    return found + total([and_(64)] * max(min(rows, 64) - 1, 0).bit_length())


def to_ring(rows: int, count: int = 1) -> Steps:
    return Steps(count * padded(rows), _waves(rows * count), 64 * rows * count) if count else NONE


def mux(rows: int, values: int) -> Steps:
    """One bit a row selects several words."""
    return Steps(padded(rows) + 64 * values * rows, _waves(rows * values), 64 * rows * (1 + values)) if values else NONE


def multiply(rows: int) -> Steps:
    return Steps(128 * rows, _waves(rows), 64 * rows)


@lru_cache(maxsize=4096)
def signs(rows: int, widths: tuple[int, ...], network: Network = LOCAL) -> Steps:
    """The signs of several columns in one set of rounds."""
    return _compared(rows, widths, network, signed=True)


@lru_cache(maxsize=4096)
def zeros(rows: int, widths: tuple[int, ...], network: Network = LOCAL) -> Steps:
    """Whether each of several columns is 0, in one set of rounds."""
    return _compared(rows, widths, network, signed=False)


def _compared(rows: int, widths: tuple[int, ...], network: Network, *, signed: bool) -> Steps:
    if not widths:
        return NONE
    if len(widths) > 1 and len(set(widths)) == 1 and rows < FEW:
        rows, widths = rows * len(widths), widths[:1]
    tree = choose(rows * len(widths), max(widths), network)
    found = beside(_spread((sign_bits if signed else zero_bits)(width, tree), rows) for width in widths)
    return replace(found, rounds=found.rounds * _waves(rows, len(widths)))


def _spread(one: Compared, rows: int) -> Steps:
    """A row's bits over all rows; planes of bits take whole words."""
    spare = padded(rows) - rows
    return Steps(one.sent * rows + one.planes_sent * spare, one.rounds, one.dealt * rows + one.planes_dealt * spare)


def sign(rows: int, width: int, network: Network = LOCAL) -> Steps:
    return signs(rows, (width,), network)


@lru_cache(maxsize=4096)
def less_rows(rows: int, widths: tuple[int, ...], network: Network = LOCAL) -> Steps:
    """The order of rows of several limbs (compare.less_rows)."""
    tree = choose(rows * len(widths), max(widths), network)
    found = _spread(compared(widths, LT, tree), rows)
    return replace(found, rounds=found.rounds * _waves(rows, len(widths)))


def zero(rows: int, width: int, network: Network = LOCAL) -> Steps:
    return zeros(rows, (width,), network)


def sign_wide(rows: int, network: Network = LOCAL) -> Steps:
    """Of a difference of any two 64-bit values: compare.less_wide."""
    return signs(rows, (64, 64, 64), network) + and_(rows)


def less(rows: int, width: int, network: Network = LOCAL) -> Steps:
    """x < y where `width` bits hold x - y, however many."""
    return sign(rows, width, network) if width <= 64 else sign_wide(rows, network)


# --- rows ----------------------------------------------------------------------------------------


def record_bits(words: int, bits: int) -> int:
    """Of a row as it is routed: words, and bits in whole bytes."""
    return 64 * words + 8 * -(-bits // 8)


def shared(rows: int, words: int, bits: int) -> Steps:
    """An owner's columns onto shares, from seeds: no traffic."""
    return Steps(words=rows * words + padded(rows) * bits // 8)


def permuted(words: int, bits: int, rows: int, places: int, told: int) -> Steps:
    """A programmed permutation of `rows` rows over `places` places, `told` of which the owner names to the others."""
    width = record_bits(words, bits)
    return Steps(rounds=1, dealt=width * places, words=_moved(words, bits, places), moved=width * rows, told=32 * told)


def duplicated(words: int, bits: int, rows: int, copies: int) -> Steps:
    """`copies` rows, each a copy of one of `rows`: three permutations (permute.duplicate)."""
    sums = Steps(words=copies * -(-bits // 8) * copies.bit_length())   # of bits, at growing distances
    return (permuted(words, bits, rows, rows, rows) + permuted(words, bits, rows, rows + copies, copies) + sums
            + permuted(words, bits, copies, copies, copies))


def shuffled(words: int, bits: int, rows: int, parties: int) -> Steps:
    """Every party in turn permutes by what the dealer drew for it."""
    width = record_bits(words, bits)
    return Steps(rounds=parties, dealt=parties * width * rows, words=parties * _moved(words, bits, rows),
                moved=(parties - 1) * width * rows)


def _moved(words: int, bits: int, places: int) -> int:
    """Masking, packing and gathering a row; drawing an order, which is sorting words."""
    return (words + -(-bits // 8) + SORTING) * places


# --- division ------------------------------------------------------------------------------------


def divided(one: Compared, rows: int) -> Steps:
    """What planners/dividing.py counts of a row, over rows that are divided in slices."""
    return replace(_spread(one, rows), rounds=one.rounds * -(-max(1, -(-rows // DIVIDED)) // WINDOW))
