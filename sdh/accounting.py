"""What differentially private answers cost: charges, their sum by basic composition and by zCDP. Standard library only.

Numbers are exact or rounded to the side of privacy: Fractions, Decimals of 50 digits, charges in integers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from functools import lru_cache

EPSILONS, DELTAS = 10**9, 10**15
"""Units of a charge in 1 of epsilon, and of delta."""
EXACT = Context(prec=50)


@dataclass(frozen=True, slots=True)
class Charge:
    """What one answer costs one owner's units.

    space: of units; receiver: who gets the answer. epsilon: in 1e-9, delta: in 1e-15, rounded up. events: what was done, for
    re-accounting: 'laplace E' (an E-DP mechanism), 'gaussian R' (R-zCDP), 'slack D' (fails with a chance of D), as fractions.
    """

    party: str
    space: str
    receiver: str
    epsilon: int
    delta: int
    events: tuple[str, ...] = ()

    @property
    def rho(self) -> Fraction:
        """Of zCDP: E^2 / 2 for an E-DP mechanism (Bun and Steinke 2016, proposition 1.4)."""
        return sum((amount**2 / 2 if kind == "laplace" else amount for kind, amount in self._amounts() if kind != "slack"),
                   Fraction(0))

    @property
    def slack(self) -> Fraction:
        """The chance that a mechanism fails, beside what zCDP accounts for."""
        return sum((amount for kind, amount in self._amounts() if kind == "slack"), Fraction(0))

    def _amounts(self) -> list[tuple[str, Fraction]]:
        return [(kind, Fraction(amount)) for kind, _, amount in (event.partition(" ") for event in self.events)]

    def __str__(self) -> str:
        return f"epsilon {in_epsilon(self.epsilon)}, delta {in_delta(self.delta)}"


def charge_of(party: str, space: str, receiver: str, epsilon: Fraction, delta: Fraction, events: Iterable[str]) -> Charge:
    """Rounded up to whole units."""
    return Charge(party, space, receiver, math.ceil(epsilon * EPSILONS), math.ceil(delta * DELTAS), tuple(events))


def in_epsilon(units: int) -> str:
    return f"{units / EPSILONS:.9g}"


def in_delta(units: int) -> str:
    return f"{units / DELTAS:.6g}"


@dataclass(frozen=True, slots=True)
class Spending:
    """What charges come to. epsilon, delta: by basic composition, in units. rho, slack: by zCDP."""

    epsilon: int = 0
    delta: int = 0
    rho: Fraction = Fraction(0)
    slack: Fraction = Fraction(0)

    def plus(self, charge: Charge) -> Spending:
        """Without events an answer counts as one epsilon-DP mechanism that fails with a chance of delta."""
        rho, slack = charge.rho, charge.slack
        if not charge.events:
            rho, slack = Fraction(charge.epsilon, EPSILONS) ** 2 / 2, Fraction(charge.delta, DELTAS)
        return Spending(self.epsilon + charge.epsilon, self.delta + charge.delta, self.rho + rho, self.slack + slack)

    def within(self, epsilon: int, delta: int) -> bool:
        """Whether one of the two accounts stays in the budget. Either bound alone holds for questions that depend on earlier
        answers (privacy filters: Rogers et al. 2016). Every sequence ends within one of them, but those that end within the
        other add their delta: all together fail with a chance of twice the budget's delta at most."""
        if self.epsilon <= epsilon and self.delta <= delta:
            return True
        left = Fraction(delta, DELTAS) - self.slack
        return left > 0 and delta_of(self.rho, Fraction(epsilon, EPSILONS)) <= left

    def by_zcdp(self, delta: int) -> int:
        """The epsilon, in units and rounded up, that zCDP gives for a delta in units."""
        left = Fraction(delta, DELTAS) - self.slack
        if left <= 0:
            return 1 << 62
        return math.ceil(epsilon_of(self.rho, left) * EPSILONS)

    def at(self, delta: int) -> int:
        """The lesser epsilon of the two accounts, in units."""
        return min(self.epsilon, self.by_zcdp(delta)) if self.delta <= delta else self.by_zcdp(delta)


def spending(charges: Iterable[Charge]) -> Spending:
    total = Spending()
    for charge in charges:
        total = total.plus(charge)
    return total


# --- zCDP ----------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def rho_of(epsilon: Fraction, delta: Fraction) -> Fraction:
    """The greatest rho, to 12 digits and rounded down, such that rho-zCDP is (epsilon, delta)-DP."""
    if delta <= 0:
        return Fraction(0)
    low, high = Fraction(0), epsilon
    for _ in range(44):
        middle = (low + high) / 2
        low, high = (middle, high) if delta_of(middle, epsilon) <= delta else (low, middle)
    return Fraction(math.floor(low * 10**12), 10**12)


def epsilon_of(rho: Fraction, delta: Fraction) -> Fraction:
    """The least epsilon, to 10 digits and rounded up, such that rho-zCDP is (epsilon, delta)-DP."""
    if rho <= 0:
        return Fraction(0)
    low, high = rho, rho + 1
    while delta_of(rho, high) > delta:
        high *= 2
    for _ in range(44):
        middle = (low + high) / 2
        low, high = (low, middle) if delta_of(rho, middle) <= delta else (middle, high)
    return Fraction(math.ceil(high * 10**10), 10**10)


def delta_of(rho: Fraction, epsilon: Fraction) -> Fraction:
    """An upper bound of delta: inf over alpha > 1 of e^((alpha-1)(alpha rho - epsilon)) / (alpha-1) (1 - 1/alpha)^alpha.

    Source: Canonne, Kamath, Steinke 2020, corollary 13. Any alpha gives a bound, so how well it is chosen is no matter of
    privacy.
    """
    if rho <= 0:
        return Fraction(0)
    if epsilon <= rho:
        return Fraction(1)
    best = min(_delta_at(decimal(alpha), decimal(rho), decimal(epsilon)) for alpha in _alphas(rho, epsilon))
    return min(Fraction(1), Fraction(best))


def _alphas(rho: Fraction, epsilon: Fraction) -> list[Fraction]:
    """Around (epsilon + rho) / (2 rho), where the exponent alone is least."""
    centre = (epsilon + rho) / (2 * rho)
    found = [1 + (centre - 1) * Fraction(k, 8) for k in range(4, 17)]
    return [alpha.limit_denominator(10**9) for alpha in found if alpha > Fraction(1001, 1000)] or [Fraction(1001, 1000)]


def _delta_at(alpha: Decimal, rho: Decimal, epsilon: Decimal) -> Decimal:
    one = Decimal(1)
    exponent = EXACT.multiply(EXACT.subtract(alpha, one), EXACT.subtract(EXACT.multiply(alpha, rho), epsilon))
    shrunk = EXACT.power(EXACT.subtract(one, EXACT.divide(one, alpha)), alpha)
    return EXACT.multiply(EXACT.divide(EXACT.exp(exponent), EXACT.subtract(alpha, one)), shrunk)


def decimal(x: Fraction) -> Decimal:
    """To 50 digits."""
    return EXACT.divide(Decimal(x.numerator), Decimal(x.denominator))
