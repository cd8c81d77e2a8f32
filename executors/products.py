"""Nodes of comparison trees as products of masked bits: which masks, which products of masks, how to evaluate.

A node of arity r takes (lt_i, eq_i), i = 0 (lowest) .. r-1, and gives (some of)
    lt = lt_(r-1) ^ XOR over j < r-1 of eq_(r-1) .. eq_(j+1) lt_j        eq = eq_(r-1) .. eq_0
in one round (Ohata and Nuida 2020; protocols.md section 2): with d = x ^ a opened for every variable x, a product of
x's is the XOR over subsets of the product of the other d's with the product of the subset's masks, which is dealt.
A node opens 2r - 1 bits a row with both outputs, 2r - 2 for lt alone, r for eq alone. Dealt: 2, 1, 1 bits a row at
r = 2; 8, 5, 4 at r = 3; 22, 15, 11 at r = 4.

Tables only: the dealer evaluates them with NumPy, the parties with torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, reduce
from itertools import combinations
from operator import and_
from typing import Any

LT, EQ = 1, 2
"""Which outputs a node has: a sum of these."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Variables are numbered lt_0 .. lt_(r-2) (if lt is wanted), then eq_0 (if eq is wanted), eq_1 .. eq_(r-1).

    targets: for each wanted output the products it is the XOR of. monomials: sets of two or more variables whose
    masks' products are dealt, in the order of dealing.
    """

    lts: int
    eqs: range
    targets: tuple[tuple[frozenset[int], ...], ...]
    monomials: tuple[frozenset[int], ...]

    @property
    def variables(self) -> int:
        return self.lts + len(self.eqs)


@cache
def plan(arity: int, outputs: int) -> Plan:
    """The tables of a node of 2 to 4 inputs."""
    lts = arity - 1 if outputs & LT else 0
    eqs = range(0 if outputs & EQ else 1, arity)
    number = {index: lts + place for place, index in enumerate(eqs)}
    targets = []
    if outputs & LT:
        targets.append(tuple(frozenset([j, *(number[i] for i in range(j + 1, arity))]) for j in range(lts)))
    if outputs & EQ:
        targets.append((frozenset(number.values()),))
    subsets = {frozenset(part) for target in targets for product in target
               for size in range(2, len(product) + 1) for part in combinations(sorted(product), size)}
    return Plan(lts, eqs, tuple(targets), tuple(sorted(subsets, key=lambda part: (len(part), sorted(part)))))


def products(arity: int, outputs: int, masks: Any) -> list[Any]:
    """The products of masks that are dealt; `masks` [variables, words]. A longer one extends a shorter one."""
    found: dict[frozenset[int], Any] = {frozenset([index]): mask for index, mask in enumerate(masks)}
    monomials = plan(arity, outputs).monomials
    for part in monomials:
        last = max(part)
        rest = part - {last}
        found[part] = found[rest] & masks[last] if rest in found else reduce(and_, (masks[i] for i in sorted(part)))
    return [found[part] for part in monomials]


@dataclass(frozen=True, slots=True)
class Schedule:
    """How a party works the outputs out, step by step.

    public: products of opened variables, each an earlier one (or variable) and one more variable. targets: for each
    output its terms (product of masks, public product; either may be empty): their XOR.
    """

    public: tuple[tuple[frozenset[int], frozenset[int], int], ...]
    targets: tuple[tuple[tuple[frozenset[int], frozenset[int]], ...], ...]


@cache
def schedule(arity: int, outputs: int, *, first: bool) -> Schedule:
    """The terms of `evaluate`; party 0 (`first`) adds what is public."""
    public: dict[frozenset[int], tuple[frozenset[int], frozenset[int], int]] = {}
    targets = []
    for target in plan(arity, outputs).targets:
        terms: list[tuple[frozenset[int], frozenset[int]]] = []
        for product in target:
            for size in range(0 if first else 1, len(product) + 1):
                for part in combinations(sorted(product), size):
                    hidden, rest = frozenset(part), product - frozenset(part)
                    members = sorted(rest)
                    for stop in range(2, len(members) + 1):
                        made = frozenset(members[:stop])
                        public.setdefault(made, (made, frozenset(members[:stop - 1]), members[stop - 1]))
                    terms.append((hidden, rest))
        targets.append(tuple(terms))
    return Schedule(tuple(public.values()), tuple(targets))


def evaluate(arity: int, outputs: int, masks: Any, dealt: Any, opened: Any, *, first: bool) -> list[Any]:
    """A party's shares of every output, without the top lt that is only added: [words] each.

    `masks` [variables, words] and `dealt` [monomials, words] are its shares, `opened` [variables, words] is public.
    """
    steps = schedule(arity, outputs, first=first)
    share = {frozenset([index]): mask for index, mask in enumerate(masks)}
    share |= dict(zip(plan(arity, outputs).monomials, dealt, strict=True))
    public = {frozenset([index]): value for index, value in enumerate(opened)}
    for made, before, last in steps.public:
        public[made] = public[before] & opened[last]
    found = []
    for terms in steps.targets:
        total: Any = None
        for hidden, rest in terms:
            term = public[rest] if not hidden else share[hidden] if not rest else share[hidden] & public[rest]
            total = term if total is None else total ^ term
        found.append(total)
    return found
