"""EXPLAIN: the plan as a tree of text."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from sdh.catalog import Facts, TableFacts
from sdh.planners.costs import Cost, Network, node_cost, tree_cost
from sdh.planners.logical import Call
from sdh.planners.physical import Aggregate, Align, Filter, Input, NestedLoop, Node, Release, inputs, traits
from sdh.planners.render import call_sql, expression_sql, readable

if TYPE_CHECKING:
    from sdh.planners.plan import Plan


def explain(plan: Plan) -> str:
    """The tree, then what is revealed, to whom, what is known beforehand, and the alternatives that lost."""
    client = plan.placed.question.client
    lines = [f"Release to {client}: {', '.join(column.name for column in plan.placed.schema)}"]
    if plan.root is None:
        (fragment,) = plan.placed.fragments
        where = f"at {fragment.party}" if fragment.party else "at the client"
        lines.append(f"└─ in the clear {where}, nothing is shared")
        lines.append(f"     {fragment.sql}")
    else:
        lines += _release(plan.root, plan)
    lines += ["", "Revealed:", *(f"  {reveal}" for reveal in plan.reveals)]
    lines += _floors(plan)
    lines += ["", "Known beforehand:", *_known(plan)]
    if plan.root is not None:
        lines += ["", "The dealer learns the sizes above and nothing else."]
        lines += _alternatives(plan)
    lines += ["", f"Plan digest {plan.digest}"]
    return "\n".join(lines)


def _release(root: Release, plan: Plan) -> list[str]:
    parties = len(plan.placed.parties)
    total = tree_cost(root, parties)
    outputs = ", ".join(readable(e) for _, e in root.outputs)
    lines = [f"   {outputs}: on shares, {traits(root.input).slots:,} slots, {_cost(node_cost(root, parties), plan.network)}"]
    if root.order:
        lines.append("   ordered at the client")
    lines += _tree(root.input, plan, "")
    lines.append(f"In all: {_cost(total, plan.network)}")
    return lines


def _tree(node: Node, plan: Plan, indent: str, last: bool = True) -> list[str]:
    branch, below = ("└─ ", "   ") if last else ("├─ ", "│  ")
    lines = [f"{indent}{branch}{_title(node, plan)}"]
    if isinstance(node, Input):
        lines.append(f"{indent}{below}     {plan.placed.fragments[node.fragment].sql}")
    parts = inputs(node)
    for i, part in enumerate(parts):
        lines += _tree(part, plan, indent + below, i == len(parts) - 1)
    return lines


def _title(node: Node, plan: Plan) -> str:
    tail = f"on shares, {traits(node).slots:,} slots, {_cost(node_cost(node, len(plan.placed.parties)), plan.network)}"
    match node:
        case Input(fragment, party, slots):
            return f"fragment {fragment} at {party}: in the clear, then shared in {slots:,} slots; reveals nothing more"
        case Filter(_, predicate):
            return f"filter {readable(predicate)}: {tail}; reveals nothing"
        case NestedLoop(_, _, condition):
            return f"nested_loop on {'all pairs' if condition is None else readable(condition)}: {tail}; reveals nothing"
        case Align(_, _, pairs, probe_party, build_party):
            on = " AND ".join(f"{probe_party}'s {a.name or a.sql} = {build_party}'s {b.name or b.sql}" for a, b in pairs)
            return f"align on {on}: {tail}; reveals nothing"
        case Aggregate(_, party, owner_keys, domain_keys, calls):
            keys = [f"{new.name or old.name or old.sql} (known to {party})" for new, old in owner_keys]
            keys += [f"{readable(e)} (small public domain)" for _, e in domain_keys]
            by = f" by {', '.join(keys)}" if keys else ""
            what = ", ".join(_call(call) for call in calls)
            return f"aggregate {what or 'distinct'}{by}: {tail}; reveals nothing"
        case _:
            assert_never(node)


def _call(call: Call) -> str:
    sql = call_sql(call)
    for part in (*call.arguments, *(() if call.filter is None else (call.filter,))):
        sql = sql.replace(expression_sql(part), readable(part))
    return sql


def _cost(cost: Cost, network: Network) -> str:
    seconds = network.nanoseconds(cost) / 1e9
    return f"{size(cost.bytes)} sent, {cost.rounds:,} rounds, dealer {size(cost.dealer_bytes)}, ~{seconds:.3g} s"


def size(count: int) -> str:
    """A number of bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.3g} {unit}" if unit != "B" else f"{count} B"
        count = count / 1000  # type: ignore[assignment]
    raise AssertionError


def _floors(plan: Plan) -> list[str]:
    """What a floor of contributors does, and what it does not."""
    read = {name.split(".")[0] for fragment in plan.placed.fragments for name in fragment.tables}
    found = [
        f"  {party.name}: every aggregate over its rows counts {party.policy.floor} contributors or shows nothing."
        for party in plan.placed.catalog.parties
        if party.policy.floor > 1 and party.name in read and party.name != plan.placed.question.client
    ]
    if not found:
        return []
    warning = (
        "  A floor stops neither two questions one contributor apart, nor a total minus its groups, nor an expression that is"
        " 0 for all but one: differential privacy does."
    )
    return ["", "Floors:", *found, warning]


def _known(plan: Plan) -> list[str]:
    read = {name for fragment in plan.placed.fragments for name in fragment.tables}
    return [f"  {_table(table)}" for table in plan.placed.catalog.tables if table.full_name in read]


def _table(table: TableFacts) -> str:
    columns = ", ".join(
        f"{c.name} {c.type}{'' if c.nullable else ' NOT NULL'}{_facts(f)}"
        for c, f in zip(table.columns, table.facts, strict=True)
    )
    keys = "".join(f", unique ({', '.join(key)})" for key in table.keys)
    return f"{table.full_name}: at most {table.rows:,} rows{keys}; {columns}"


def _facts(facts: Facts) -> str:
    if facts.low is not None:
        return f" in [{facts.low}, {facts.high}]"
    if facts.bytes is not None:
        return f" ({facts.bytes} bytes)"
    return "" if facts.bits is None else f" ({facts.bits} bits)"


def _alternatives(plan: Plan) -> list[str]:
    if not plan.others:
        return []
    parties = len(plan.placed.parties)
    lines = ["", "Alternatives that cost more (and would reveal the same):"]
    for other in plan.others[:3]:
        lines.append(f"  {_shape(other)}: {_cost(tree_cost(other, parties), plan.network)}")
    return lines


def _shape(node: Node) -> str:
    match node:
        case Input(_, party):
            return party
        case Filter(input):
            return f"filter({_shape(input)})"
        case NestedLoop(left, right):
            return f"nested_loop({_shape(left)}, {_shape(right)})"
        case Align(probe, build):
            return f"align({_shape(probe)}, {_shape(build)})"
        case Aggregate(input):
            return f"aggregate({_shape(input)})"
        case _:
            assert_never(node)
