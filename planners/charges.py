"""What the private blocks of a plan cost each owner, with the events that another accounting can start from."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from sdh.accounting import Charge, charge_of
from sdh.planners.mechanisms import GAUSSIAN
from sdh.planners.privatise import Answer, Block


def charges_of(blocks: tuple[Block, ...], receiver: str) -> tuple[Charge, ...]:
    """One for each owner and space of units, of all blocks together."""
    accounts = dict.fromkeys(sorted(pair for block in blocks for pair in block.spaces))
    return tuple(_charge(*account, receiver, [block for block in blocks if account in block.spaces]) for account in accounts)


def _charge(party: str, space: str, receiver: str, blocks: list[Block]) -> Charge:
    epsilon, delta = (sum((amount for amount in amounts), Fraction(0))
                      for amounts in ((b.epsilon for b in blocks), (b.delta for b in blocks)))  # fmt: skip
    return charge_of(party, space, receiver, epsilon, delta, (event for block in blocks for event in _events(block)))


def _events(block: Block) -> Iterator[str]:
    yield from map(_event, block.answers)
    if block.slack:
        yield f"slack {block.slack}"


def _event(answer: Answer) -> str:
    """'laplace E': E = D / scale of the sensitivity D. 'gaussian R': R = D^2 / (2 sigma^2), D^2 = groups * most^2."""
    most = max(abs(answer.low), abs(answer.high))
    if answer.mechanism.kind == GAUSSIAN:
        return f"gaussian {Fraction(answer.groups * most * most) / (2 * answer.mechanism.scale)}"
    return f"laplace {Fraction(answer.groups * most) / answer.mechanism.scale}"
