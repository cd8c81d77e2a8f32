"""EXPLAIN ANALYZE: what every operator was predicted to cost, beside what it cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sdh.planners.costs import Cost, Network, Spent, nanoseconds, operator_costs
from sdh.planners.explain import explained
from sdh.planners.physical import Input, Node, Release, operator_name
from sdh.planners.units import duration, size

if TYPE_CHECKING:
    from sdh.planners.plan import Plan

OFF, TRIFLE = 2, 0.01
"""A figure is marked where it is off by more than this factor, and by more than this part of the whole."""


class Column(NamedTuple):
    """A figure of every operator: how it is taken from Spent, and how written."""

    title: str
    of: Callable[[Spent], float]
    write: Callable[[Any], str]


COLUMNS = (
    Column("bytes sent", lambda spent: spent.sent, size),
    Column("rounds", lambda spent: spent.rounds, "{:,}".format),
    Column("dealer bytes", lambda spent: spent.dealt, size),
    Column("seconds", lambda spent: spent.seconds, duration),
)


def analyze(plan: Plan, spent: Sequence[Spent], session: str) -> str:
    """EXPLAIN of a plan that ran, with what its operators cost and the digest of the session.

    spent: of every operator in the order of `operator_costs`, at the party where it was most; empty for a local plan.
    session: empty where no party took part.
    """
    table = [] if plan.root is None else ["", *_table(plan.root, plan, spent)]
    digests = [f"Plan digest {plan.digest}", *([f"Session digest {session}"] if session else [])]
    return "\n".join([*explained(plan), *table, "", *digests])


def _table(root: Release, plan: Plan, spent: Sequence[Spent]) -> list[str]:
    """A line an operator, predicted beside measured, and one for all."""
    costs = operator_costs(root, len(plan.placed.parties), plan.network)
    predicted = [_predicted(cost, plan.network) for _, cost in costs]
    names = ["operator", *(f"#{number} {_name(node)}" for number, (node, _) in enumerate(costs)), "in all"]
    whole = _sum(predicted), _sum(spent)
    rows = ["".join(f"{'predicted':>12}{'measured':>11}" for _ in COLUMNS)]
    rows += [_row(pair, whole) for pair in [*zip(predicted, spent, strict=True), whole]]
    width = max(map(len, names))
    return ["At the party where it is most:", " " * width + "".join(f"{column.title:>23}" for column in COLUMNS),
            *(name.ljust(width) + row for name, row in zip(names, rows, strict=True))]  # fmt: skip


def _row(pair: tuple[Spent, Spent], whole: tuple[Spent, Spent]) -> str:
    text, off = "", list[str]()
    for column in COLUMNS:
        (predicted, measured), most = map(column.of, pair), max(map(column.of, whole))
        text += f"{column.write(predicted):>12}{column.write(measured):>11}"
        if max(predicted, measured) > OFF * min(predicted, measured) and abs(predicted - measured) > TRIFLE * most:
            off.append(f"{column.title} x{measured / predicted:.2g}" if predicted else column.title)
    return f"{text}  {', '.join(off)}".rstrip()


def _name(node: Node | Release) -> str:
    match node:
        case Input(fragment, party):
            return f"fragment {fragment} at {party}"
        case _:
            return operator_name(node)


def _predicted(cost: Cost, network: Network) -> Spent:
    return Spent(cost.sent, cost.rounds, cost.dealt, nanoseconds(cost, network) / 1e9)


def _sum(parts: Sequence[Spent]) -> Spent:
    return Spent(sum(one.sent for one in parts), sum(one.rounds for one in parts), sum(one.dealt for one in parts),
                 sum(one.seconds for one in parts))
