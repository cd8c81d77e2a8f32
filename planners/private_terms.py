"""The terms of a private block: what the question says, within what every owner of its rows allows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from sdh.catalog import Catalog
from sdh.errors import NotGranted, Unsupported
from sdh.planners.logical import Node, Private, Scan, nodes
from sdh.privacy import PrivacyPolicy


@dataclass(frozen=True, slots=True)
class Limits:
    """Of the owners whose rows a block reads, but the receiver itself, those that have a policy of privacy."""

    policies: tuple[tuple[str, PrivacyPolicy], ...]

    def least_units(self) -> int:
        return max((policy.least_units for _, policy in self.policies), default=1)


def owners_of(node: Node) -> tuple[str, ...]:
    return tuple(sorted({one.table.party for one in nodes(node) if isinstance(one, Scan) and one.table.party}))


def limits_of(block: Private, catalog: Catalog, receiver: str) -> Limits:
    policies = ((name, catalog.party(name).policy.privacy) for name in owners_of(block) if name != receiver)
    return Limits(tuple((name, policy) for name, policy in policies if policy is not None))


def epsilon_of(block: Private, limits: Limits) -> Fraction:
    """Raises Unsupported, NotGranted."""
    epsilon = block.terms.epsilon
    if epsilon is None:
        raise refused(block, "WITH DIFFERENTIAL_PRIVACY needs its epsilon", "Write OPTIONS (epsilon = 0.5).")
    for party, policy in limits.policies:
        if epsilon > policy.epsilon:
            raise _above(block, f"epsilon {_shown(epsilon)}", party, _shown(policy.epsilon))
    return epsilon


def delta_of(block: Private, limits: Limits, *, wanted: bool) -> Fraction:
    """wanted: without it there is no answer, so that the owners' is taken where the question does not say."""
    given = block.terms.delta
    if given is None:
        return min((policy.delta for _, policy in limits.policies), default=Fraction(0)) if wanted else Fraction(0)
    for party, policy in limits.policies:
        if given > policy.delta:
            raise _above(block, f"delta {_shown(given)}", party, _shown(policy.delta))
    return given


def groups_of(block: Private, limits: Limits) -> int | None:
    """L0: the most groups that a unit may be in. None: nobody says."""
    caps = [(party, policy.groups) for party, policy in limits.policies]
    return _contributions(block, block.terms.groups, caps, "max_groups_contributed")


def rows_of(block: Private, limits: Limits) -> int | None:
    """C: the most rows of a unit in a group. None: nobody says."""
    caps = [(party, policy.rows) for party, policy in limits.policies]
    return _contributions(block, block.terms.rows, caps, "max_rows_contributed")


def _contributions(block: Private, given: int | None, caps: Iterable[tuple[str, int | None]], name: str) -> int | None:
    known = [(party, cap) for party, cap in caps if cap is not None]
    for party, cap in known:
        if given is not None and given > cap:
            raise _above(block, f"{name} {given}", party, str(cap))
    return given if given is not None else min((cap for _, cap in known), default=None)


def _above(block: Private, what: str, party: str, cap: str) -> NotGranted:
    at = block.terms.at
    return NotGranted(f"{what} of WITH DIFFERENTIAL_PRIVACY is above what {party} allows: {cap}.",
                      advice=f"Ask for {cap} or less.", line=at.line, column=at.column)  # fmt: skip


def refused(block: Private, what: str, advice: str) -> Unsupported:
    at = block.terms.at
    return Unsupported(f"{what}.", advice=advice, line=at.line, column=at.column)


def _shown(value: Fraction) -> str:
    return f"{float(value):g}"
