"""EXPLAIN of differential privacy: what bounds a unit, what noise is added and by whom, and what the answer costs."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from sdh.accounting import Charge
from sdh.planners.mechanisms import DEALER, GAUSSIAN, JOINT, OFF, OWNER, PARTIES, Mechanism, interval
from sdh.planners.privatise import Answer, Block

MAKERS = {
    JOINT: "by all parties on shares; nobody knows any part of it",
    PARTIES: "by every party, a draw of its own each; whoever knows all others' is left with one",
    DEALER: "by the dealer, on shares; who runs it can take the noise off an answer that it sees",
    OWNER: "by the rows' owner, in the clear",
}
"""By way: who makes the noise, and who is trusted with it."""


def explained_privacy(blocks: Sequence[Block], charges: Sequence[Charge], parties: int) -> list[str]:
    """As lines; none where nothing is private."""
    if not blocks:
        return []
    lines = ["", "Differential privacy:"]
    for block in blocks:
        lines += [*_unit(block), *(_answer(answer, parties) for answer in block.answers), _groups(block), _noise(block, parties)]
    lines += [f"  charge to {one.party} ({one.space}, for {one.receiver}): {one}" for one in charges]
    return lines if charges else [*lines, "  no charge: no owner has a policy of privacy"]


def _unit(block: Block) -> list[str]:
    owners = " and ".join(block.owners)
    bounds = [f"{block.groups} group{'s' if block.groups > 1 else ''} of a unit"]
    bounds += [] if block.rows is None else [f"{block.rows} of its rows in a group"]
    return [f"  unit {block.unit} over rows of {owners}; at most {', and '.join(bounds)}",
            f"  epsilon {_number(block.epsilon)}, delta {float(block.delta):g}"]  # fmt: skip


def _answer(answer: Answer, parties: int) -> str:
    low, high = (_number(Fraction(bound, 10**answer.scale)) for bound in (answer.low, answer.high))
    around = _number(Fraction(interval(answer.mechanism, parties), 10**answer.scale))
    return (f"  {answer.title}: a unit adds {low} to {high} to a group; {_kind(answer.mechanism, answer.scale)}: "
            f"within {around} of the bounded value in 95% of answers")  # fmt: skip


def _kind(mechanism: Mechanism, scale: int) -> str:
    if mechanism.kind == GAUSSIAN:
        return f"Gaussian noise of deviation {float(mechanism.scale) ** 0.5 / 10**scale:.6g}"
    return f"Laplace noise of scale {_number(mechanism.scale / 10**scale)}"


def _groups(block: Block) -> str:
    if block.threshold is None:
        return "  groups: public, each shows whoever is in it"
    least = f", of at least {block.least_units} units" if block.least_units > 1 else ""
    return f"  groups: hidden{least}; one shows where its noisy count of units is {block.threshold} or more"


def _noise(block: Block, parties: int) -> str:
    mechanism = block.answers[0].mechanism
    return f"  noise: made {MAKERS[mechanism.way]}; variance x {mechanism.draws(parties)}.00{_almost(block)}"


def _almost(block: Block) -> str:
    """Of noise that is made jointly: coins on shares have so many bits, and enough candidates are accepted almost always."""
    if block.answers[0].mechanism.way != JOINT:
        return ""
    counted = any(answer.mechanism.kind == GAUSSIAN for answer in block.answers)
    beside = "delta has room for it" if counted else "beside epsilon and delta"
    return f"; its law is met but for 2^-{OFF.denominator.bit_length() - 1} in total variation ({beside})"


def _number(value: Fraction) -> str:
    return f"{float(value):.6g}"
