"""Ways to the same rows that lost, or that no grant allows: what they cost, and what they would have revealed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdh.planners.announced import counted
from sdh.planners.costs import Cost, record, tree_cost
from sdh.planners.derive_traits import traits
from sdh.planners.logical import Scan, nodes
from sdh.planners.physical import Align, Input, Release
from sdh.planners.sharing import runs
from sdh.policy import Use

if TYPE_CHECKING:
    from sdh.planners.plan import Placed, Plan

SHOWN = 3
"""Alternatives of a kind."""
TAG = 100
"""Bytes that a key's tag costs each party, about."""
TAG_ROUNDS = 5
TAG_WORDS = 10_700
"""A power on an elliptic curve, as words touched in the same time: 47 us on the machine of `protocol_costs.Machine`."""


def others(plan: Plan) -> list[tuple[Release, Cost, str]]:
    """Other orders and protocols of the same fragments, cheapest first: the plan, its cost, what it would have revealed."""
    assert plan.root is not None
    found: list[tuple[Release, Cost, str]] = []
    for node in plan.others[:SHOWN]:
        root = Release(node, plan.root.outputs, plan.root.visible, plan.root.order)
        found.append((root, tree_cost(root, len(plan.placed.parties), plan.network), beside(plan, _reveals(plan, root))))
    return found


def rivals(plan: Plan) -> list[tuple[Release, Cost, str]]:
    """The same of plans of other fragments, and first of this one: all with as many rows as the catalog lets expect."""
    found: list[tuple[Release, Cost, str]] = []
    for rival in plan.placed.rivals[: SHOWN + 1]:
        told = frozenset(map(str, plan.would_reveal(rival.root, rival.placed)))
        what = _sizes(rival.placed) + (f"; {_error(told)}" if _error(told) else "")
        found.append((rival.root, tree_cost(rival.root, len(rival.placed.parties), plan.network), what))
    return found


def _reveals(plan: Plan, root: Release) -> frozenset[str]:
    return frozenset(map(str, plan.would_reveal(root, plan.placed)))


def beside(plan: Plan, told: frozenset[str]) -> str:
    """What is revealed (`told`) that this plan does not reveal, and the other way round."""
    own = frozenset(map(str, plan.reveals))
    more, less = sorted(told - own), sorted(own - told)
    said = [f"would also reveal {', '.join(more)}" if more else "", f"would not reveal {', '.join(less)}" if less else ""]
    return "; ".join(filter(None, said)) or "would reveal the same"


def _error(told: frozenset[str]) -> str:
    return next((f"and {one}" for one in told if one.endswith("(error)")), "")


def _sizes(placed: Placed) -> str:
    counts = [f"the {fragment.rows} {counted(leaf.node)} of {' with '.join(fragment.tables) or 'public tables'}"
              for fragment, leaf in zip(placed.fragments, placed.leaves, strict=True) if fragment.rows != "hidden"]
    return f"would reveal {', '.join(counts) or 'no counts'}"


# --- what no plan does ---------------------------------------------------------------------------


def ungranted(plan: Plan) -> list[tuple[str, Cost, str]]:
    """Ways that show parties something of each other: what they are, their cost, what they would reveal."""
    assert plan.root is not None
    return [*_by_tags(plan, plan.root), *_in_the_clear(plan, plan.root)]


def _by_tags(plan: Plan, root: Release) -> list[tuple[str, Cost, str]]:
    """Joins by keys that their owners know: each owner raises every key to a secret power of its own and shuffles, all see
    which come out equal."""
    order = runs(root.input)
    joins = [(number, node) for number, node in enumerate(order) if isinstance(node, Align)]
    if not joins:
        return []
    rows = sum(traits(node.probe).slots + traits(node.build).slots for _, node in joins)
    cost = Cost(TAG * rows, TAG_ROUNDS * len(joins), 0, TAG_WORDS * rows)
    parties = sorted({party for _, node in joins for party in (node.probe_party, node.build_party)})
    what = f"tags for {', '.join(f'#{number}' for number, _ in joins)}"
    return [(what, cost, f"would reveal to {' and '.join(parties)} how often keys repeat and match: not supported")]


def _in_the_clear(plan: Plan, root: Release) -> list[tuple[str, Cost, str]]:
    """Every other party's fragments at one party."""
    leaves = [node for node in runs(root.input) if isinstance(node, Input)]
    found = []
    for party in plan.placed.parties:
        sent = [leaf for leaf in leaves if leaf.party != party]
        size = sum(leaf.slots * (8 * record(leaf)[0] + -(-record(leaf)[1] // 8)) for leaf in sent)
        names = ", ".join(f"{leaf.fragment} of {leaf.party}" for leaf in sent)
        granted = all(_is_granted(plan, leaf.fragment, party) for leaf in sent)
        allowed = "granted, but not supported" if granted else "not granted"
        found.append((f"all rows at {party}, in the clear", Cost(size, 1, 0),
                      f"would reveal the rows of fragment{'s' * (len(sent) > 1)} {names} to {party}: {allowed}"))
    return found


def _is_granted(plan: Plan, fragment: int, party: str) -> bool:
    """Whether the owner lets a party, by its name, see all columns that the fragment reads."""
    scans = [node for node in nodes(plan.placed.leaves[fragment].node) if isinstance(node, Scan) and node.table.party]
    return all(any(grant.receiver == party and grant.covers(Use.REVEAL, scan.table.name, name, party)
                   for grant in plan.placed.catalog.party(scan.table.party).policy.grants)
               for scan in scans for name, _ in scan.columns)

