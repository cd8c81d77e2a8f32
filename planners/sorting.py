"""How a sort on shares goes, and what it costs, to the last comparison: known from public sizes before it begins.

Sample sort (Frazer and McKellar 1970) after a shuffle. A *stage* puts the next rows of the shuffled list among the
`known` = 2^levels - 1 first ones, which are sorted: `levels` comparisons a row find the gap of each, then all pairs of
new rows within one gap are compared. How many pairs there are is random, but by the shuffle alone: a row is equally
likely to come next above any row before it or to be the lowest, so the counts in the gaps are uniform over all that add
up, whatever the keys. `pairs` is what they exceed less than once in 2^46; a wave is filled up to it. Sorting 2^20 rows
takes 19.2 comparisons a row (log2(n!) / n is 18.6, quicksort 25) and always as many, so that a dealing list holds them.

Radix sort: counted by passes of two bits. executors/samplesort.py and radix.py run exactly what is counted here.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial

from sdh.planners.comparing import LOCAL, LT, Compared, Network, choose, compared, picoseconds

FAILURE = 46
"""Each bound is passed less often than once in 2^46, so that a sort of some dozen waves fails less than once in 2^40."""
ALL_PAIRS = 1 << 9
"""So many rows may be sorted by comparing all pairs at once."""
STEEPEST = 5
"""A stage makes a sorted list at most 2^5 times as long."""
WINDOW = 1 << 19
"""Values of a limb under way at a time: each window of a wave takes its rounds anew (executors/runtime.py)."""
WIDEST = 63
"""Bits of a limb: 64 hold a difference."""
DIGIT = 2
"""Bits of a pass of radix sort."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Rows known .. rows of the shuffled list go among its first `known` ones, which are sorted (none: all pairs)."""

    known: int
    rows: int
    pairs: int

    @property
    def levels(self) -> int:
        """Comparisons of a new row with sorted ones."""
        return self.known.bit_length()

    @property
    def waves(self) -> list[int]:
        """Rows compared at a time."""
        return [self.rows - self.known] * self.levels + [self.pairs]


@dataclass(frozen=True, slots=True)
class Cut:
    """Of `rows` shuffled rows the first `sample` are sorted; all others are compared with its `place`-th smallest (from 1).

    It and the rows below it are no fewer than the wanted ones and no more than `kept`, but once in 2^45.
    """

    rows: int
    sample: int
    place: int
    kept: int


# --- what is done ---

@cache
def stages(rows: int, widths: tuple[int, ...], network: Network = LOCAL) -> tuple[Stage, ...]:
    """The stages that sort `rows` rows soonest; `widths` are those of a comparison's limbs. None for a single row."""
    return _best(rows, widths, network)[1]


@cache
def cuts(rows: int, wanted: int, widths: tuple[int, ...], network: Network = LOCAL) -> tuple[Cut, ...]:
    """What narrows `rows` rows down to few that hold the `wanted` smallest; these are then sorted."""
    _, cut = _narrow(rows, wanted, widths, network)
    return () if cut is None else (cut, *cuts(cut.kept, wanted, widths, network))


def radix_is_sooner(rows: int, bits: Sequence[int], octets: int, parties: int, network: Network = LOCAL) -> bool:
    """Whether a radix sort takes less time than a sample sort of limbs of so many bits, with records of `octets`."""
    radix = _sum([radix_cost(rows, sum(bits), octets, parties), *(decomposing_cost(rows, part, parties) for part in bits)])
    return _time(radix, network) < _time(sample_sort_cost(rows, bits, octets, parties, network), network)


def radix_bits(bits: Sequence[int]) -> list[int]:
    """The bits of limbs that a radix sort sorts by: the first might be signed (radix.bits_of_key)."""
    return [bits[0] + 1, *bits[1:]]


def carried_along(octets: int, passes: int) -> bool:
    """Whether a radix sort moves records of so many bytes in every pass, or once at the end by the rows' numbers."""
    return octets * (passes - 1) <= 8 * passes + 24


def place_bits(rows: int) -> int:
    """Bits that hold a position among `rows`."""
    return max(1, (rows - 1).bit_length())


def joined(bits: Sequence[int]) -> list[tuple[int, ...]]:
    """Limbs of so many bits, the highest first, as groups of neighbours that have up to 63 bits together."""
    groups: list[tuple[int, ...]] = []
    for part in reversed(bits):
        if groups and part + sum(groups[-1]) <= WIDEST:
            groups[-1] = (part, *groups[-1])
        else:
            groups.append((part,))
    return groups[::-1]


def key_widths(rows: int, bits: Sequence[int]) -> tuple[int, ...]:
    """Bits of a difference of every limb that is compared, the row's number among them."""
    return tuple(sum(group) + 1 for group in joined([*bits, place_bits(rows)]))


# --- what it costs: bits of all rows, of the party that sends most ---

def sample_sort_cost(rows: int, bits: Sequence[int], octets: int, parties: int = 2, network: Network = LOCAL) -> Compared:
    """Sorting rows of `octets` bytes by limbs of so many bits."""
    widths = key_widths(rows, bits)
    return _sum([_shuffled(rows, 8 * len(widths) + octets, parties), _waves(rows, widths, parties, network)])


@cache
def _waves(rows: int, widths: tuple[int, ...], parties: int, network: Network) -> Compared:
    """All comparisons of a sort, whatever its records."""
    return _sum(_wave(wave, widths, parties, network) for stage in stages(rows, widths, network) for wave in stage.waves)


def select_cost(rows: int, wanted: int, bits: Sequence[int], octets: int, parties: int = 2, network: Network = LOCAL) -> Compared:
    """Finding the `wanted` smallest of them."""
    widths, waves, left = key_widths(rows, bits), list[int](), rows
    for cut in cuts(rows, wanted, widths, network) if 0 < wanted < rows else ():
        waves += [*(wave for stage in stages(cut.sample, widths, network) for wave in stage.waves), cut.rows - cut.sample]
        left = cut.kept
    waves += [wave for stage in stages(left if wanted else 0, widths, network) for wave in stage.waves]
    return _sum([_shuffled(rows if wanted else 0, 8 * len(widths) + octets, parties),
                 *(_wave(wave, widths, parties, network) for wave in waves)])


def radix_cost(rows: int, key_bits: int, octets: int, parties: int = 2) -> Compared:
    """Passes of two bits over a key's shared bits."""
    passes = -(-key_bits // DIGIT)
    direct, costs = carried_along(octets, passes), list[Compared]()
    for left in reversed(range(0, key_bits, DIGIT)):
        costs += [_destined(rows, parties), _moved(rows, (octets if direct else 8) + (left + 7) // 8, parties)]
    return _sum(costs if direct else [*costs, _moved(rows, 8, parties), _moved(rows, octets, parties)])


def decomposing_cost(rows: int, bits: int, parties: int = 2) -> Compared:
    """A value's bits from its shares (rounds.bit_planes)."""
    depth = max(0, bits - 2).bit_length()
    nodes = sum(1 for step in range(depth) for place in range(bits - 1) if place >> step & 1)
    return Compared((bits + 3 * nodes) * rows * (parties - 1), (bits + 2 * nodes) * rows, (1 + depth) * _windows(rows))


def sorting_cost(rows: int, bits: Sequence[int], octets: int, parties: int = 2, network: Network = LOCAL) -> Compared:
    """Of the sort that takes less time."""
    if not radix_is_sooner(rows, bits, octets, parties, network):
        return sample_sort_cost(rows, bits, octets, parties, network)
    taken = radix_bits(bits)
    return _sum([radix_cost(rows, sum(taken), octets, parties), *(decomposing_cost(rows, part, parties) for part in taken)])


def sort_merge_cost(rows: int, bits: Sequence[int], octets: int, carried: int, parties: int = 2,
                    network: Network = LOCAL) -> Compared:
    """Sorting `rows` rows of both sides of a join, `octets` bytes each, and carrying `carried` of these from every row of one
    side to those behind it (sort_merge.sort_merge, all but the match)."""
    sorting = sorting_cost(rows, bits, octets, parties, network)
    routed = [_routed(rows, carried, parties)] * 2
    return _sum([sorting, _destined(rows, parties, 1), _arranged(rows, parties), *routed, _moved(rows, carried, parties)])


def degrees_cost(rows: int, parties: int = 2) -> Compared:
    """What moves where sorted rows learn the sizes of their groups (sort_merge.many_to_many)."""
    return _sum([_destined(rows, parties, 1), _arranged(rows, parties), *(_routed(rows, width, parties) for width in (16, 24))])


def copies_cost(rows: int, bound: int, octets: int, parties: int = 2) -> Compared:
    """Copying rows of `octets` bytes by shared degrees into `bound` places (expand.copy_runs)."""
    places, width = rows + 1 + bound, max(1, bound.bit_length())
    spread = Compared((width - 1) * (width + 2) // 2 * places * (parties - 1), width * (width - 1) // 2 * places, width - 1)
    return _sum([decomposing_cost(rows + 1, width, parties), spread, _destined(places, parties, 1), _arranged(places, parties),
                 *[_routed(places, octets, parties)] * 2])


def paired_cost(bound: int, octets: int, parties: int = 2) -> Compared:
    """Moving copies of `octets` bytes to their partners (expand.expand)."""
    return _moved(bound, octets, parties)


def _arranged(rows: int, parties: int) -> Compared:
    """A shared permutation to move rows by (expand.arrange)."""
    opened = Compared(place_bits(rows) * rows * (parties - 1), 0, 1)
    return _sum([_routed(rows, 8, parties), opened])


def _routed(rows: int, octets: int, parties: int) -> Compared:
    """Every party in turn permutes by an order of its own (expand.forward)."""
    return Compared((parties - 1) * (32 + 8 * octets) * rows, parties * 8 * octets * rows, parties)


def compaction_cost(rows: int, octets: int, parties: int = 2) -> Compared:
    """A stable partition by a shared bit (compaction.compact)."""
    return _sum([_destined(rows, parties, 1), _moved(rows, octets, parties)])


def _destined(rows: int, parties: int, bits: int = DIGIT) -> Compared:
    others = (1 << bits) - 1
    return Compared((bits + others * place_bits(rows)) * rows * (parties - 1), 128 * others * rows, 2 if rows > 1 else 0)


def _moved(rows: int, octets: int, parties: int) -> Compared:
    opened = Compared(place_bits(rows) * rows * (parties - 1), 0, 1) if rows > 1 else Compared(0, 0, 0)
    return _sum([opened, _shuffled(rows, 8 + octets, parties)])


def _shuffled(rows: int, octets: int, parties: int) -> Compared:
    bits = 8 * octets * rows if rows > 1 else 0
    return Compared(bits * (parties - 1), bits * parties, parties if rows > 1 else 0)


def _wave(rows: int, widths: tuple[int, ...], parties: int, network: Network) -> Compared:
    """Comparing so many rows and opening the outcomes."""
    if not rows:
        return Compared(0, 0, 0)
    cost = compared(widths, LT, choose(rows * len(widths), max(widths), network))
    return Compared((cost.sent + 1) * rows * (parties - 1), cost.dealt * rows, cost.rounds * _windows(rows * len(widths)) + 1)


def _windows(values: int) -> int:
    return -(-values // WINDOW)


def _sum(costs: Iterable[Compared]) -> Compared:
    sent = dealt = rounds = 0
    for cost in costs:
        sent, dealt, rounds = sent + cost.sent, dealt + cost.dealt, rounds + cost.rounds
    return Compared(sent, dealt, rounds)


def _time(cost: Compared, network: Network) -> int:
    return picoseconds(1, cost, network)


def _wave_time(rows: int, widths: tuple[int, ...], network: Network) -> int:
    return _time(_wave(rows, widths, 2, network), network)


# --- stages ---

@cache
def _best(rows: int, widths: tuple[int, ...], network: Network) -> tuple[int, tuple[Stage, ...]]:
    """Picoseconds of all comparisons, and the stages."""
    if rows < 2:
        return 0, ()
    options: list[tuple[int, tuple[Stage, ...]]] = []
    if rows <= ALL_PAIRS:
        pairs = rows * (rows - 1) // 2
        options.append((_wave_time(pairs, widths, network), (Stage(0, rows, pairs),)))
    top = (rows - 1).bit_length()
    for levels in range(max(1, top - STEEPEST), top + 1):
        known = (1 << levels) - 1
        if known < rows:
            before, steps = _best(known, widths, network)
            stage = Stage(known, rows, most_pairs(known + 1, rows - known))
            time = levels * _wave_time(rows - known, widths, network) + _wave_time(stage.pairs, widths, network)
            options.append((before + time, (*steps, stage)))
    return min(options, key=lambda option: option[0])


@cache
def most_pairs(gaps: int, rows: int) -> int:
    """What the number of pairs of rows in one gap exceeds less than once in 2^46, for counts uniform over all that add up.

    Such counts c are independent geometric ones, P(c) = p q^c with q = rows / (rows + gaps), given that they add up to
    `rows`. No count is above L but once in 2^47, and by Chernoff's bound on the rest, for every t > 0,
    P(sum of c (c - 1) / 2 > K) <= (sum over c <= L of P(c) e^(t c (c - 1) / 2))^gaps e^(-t K) / P(they add up).
    """
    most = rows * (rows - 1) // 2
    if rows < 2 or gaps < 2:
        return most
    p, q = gaps / (rows + gaps), rows / (rows + gaps)
    rare = (FAILURE + 1) * math.log(2)
    together = (math.lgamma(rows + gaps) - math.lgamma(rows + 1) - math.lgamma(gaps) + gaps * math.log(p) + rows * math.log(q))
    longest = min(rows, math.ceil((rare + math.log(gaps) - together) / -math.log(q)))
    bound = partial(_chernoff, p, q, longest, gaps, rare - together)
    exponent = _least(bound, -2 * math.log(q) / max(1, longest - 1))
    # in whole words of outcomes, so that the last digit of a logarithm does not matter
    return min(most, -(-math.ceil(bound(exponent)) // 64) * 64)


def _chernoff(p: float, q: float, longest: int, gaps: int, rare: float, t: float) -> float:
    """With the sum over c <= longest of p q^c e^(t c (c - 1) / 2), each term from the one before."""
    moment, term, factor, step = p, p, q, math.exp(t)
    for _ in range(longest):
        term *= factor
        moment += term
        factor *= step
    return (gaps * math.log(moment) + rare) / t


def _least(bound: Callable[[float], float], high: float) -> float:
    """Near the minimum of a function that falls, then rises, from high / 2^16 to high: golden section on a log scale."""
    low, ratio = high / (1 << 16), (math.sqrt(5) - 1) / 2
    left, right = high * (low / high) ** ratio, low * (high / low) ** ratio
    at_left, at_right = bound(left), bound(right)
    for _ in range(15):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high * (low / high) ** ratio
            at_left = bound(left)
        else:
            low, left, at_left = left, right, at_right
            right = low * (high / low) ** ratio
            at_right = bound(right)
    return math.sqrt(low * high)


# --- cuts ---

@cache
def _narrow(rows: int, wanted: int, widths: tuple[int, ...], network: Network) -> tuple[int, Cut | None]:
    """Picoseconds to find the smallest rows, and the first cut on the way, if any."""
    options: list[tuple[int, Cut | None]] = [(_best(rows, widths, network)[0], None)]
    for levels in range(4, rows.bit_length() - 1):
        cut = _cut(rows, wanted, (1 << levels) - 1)
        if cut is not None:
            size = 1 << (cut.kept - 1).bit_length()   # nearly: few sizes to try
            later = _narrow(size, wanted, widths, network)[0] if size < rows else _best(cut.kept, widths, network)[0]
            time = _best(cut.sample, widths, network)[0] + _wave_time(rows - cut.sample, widths, network) + later
            options.append((time, cut))
    return min(options, key=lambda option: option[0])


@cache
def _cut(rows: int, wanted: int, sample: int) -> Cut | None:
    """The lowest place that leaves enough rows, and how many it may leave; None where that is more than 3/4."""
    place = _first(1, sample, lambda place: _above(sample, place, (wanted - 1) / rows))
    if place is None:
        return None
    kept = _first(wanted, rows * 3 // 4, lambda kept: _below(sample, place - 1, kept / rows))
    return None if kept is None else Cut(rows, sample, place, kept)


def _first(low: int, high: int, holds: Callable[[int], bool]) -> int | None:
    """The least number from low to high from which on it holds; None if there is none."""
    found = low + bisect_left(range(low, high + 1), True, key=holds)
    return found if found <= high else None


def _above(sample: int, count: int, share: float) -> bool:
    """Whether a sample holds `count` or more of rows that are this share of all less than once in 2^46."""
    return count > share * sample and sample * _divergence(count / sample, share) >= FAILURE * math.log(2)


def _below(sample: int, count: int, share: float) -> bool:
    """Whether it holds `count` or fewer less than once in 2^46."""
    return count < share * sample and sample * _divergence(count / sample, share) >= FAILURE * math.log(2)


def _divergence(x: float, y: float) -> float:
    """Kullback and Leibler's, of two coins: the exponent of Hoeffding's bound for samples without replacement (1963)."""
    head = x * math.log(x / y) if x and y else math.inf if x else 0.0
    tail = (1 - x) * math.log((1 - x) / (1 - y)) if x < 1 and y < 1 else math.inf if x < 1 else 0.0
    return head + tail
