"""EXPLAIN: the plan as a tree of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, assert_never

from sdh.catalog import Facts, TableFacts
from sdh.planners.costs import Cost, Network, nanoseconds, operator_costs, payload_bytes, tree_cost
from sdh.planners.logical import Call
from sdh.planners.memory import mebibytes, peak
from sdh.planners.physical import (
    ALONE,
    GIVEN,
    Aggregate,
    Align,
    Concat,
    Filter,
    GroupAggregate,
    Input,
    MarkDistinct,
    NestedLoop,
    Node,
    Release,
    SortMerge,
    TopK,
    Unique,
    inputs,
    traits,
)
from sdh.planners.render import call_sql, expression_sql, readable
from sdh.planners.units import duration, size

if TYPE_CHECKING:
    from sdh.planners.plan import Plan


def explain(plan: Plan) -> str:
    """The tree, then what is revealed, to whom, what is known beforehand, and the alternatives that lost."""
    return "\n".join([*explained(plan), "", f"Plan digest {plan.digest}"])


def explained(plan: Plan) -> list[str]:
    """All but the digest, as lines."""
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
    return lines


def _release(root: Release, plan: Plan) -> list[str]:
    *costs, (_, cost) = operator_costs(root, len(plan.placed.parties), plan.network)
    outputs = ", ".join(readable(e) for _, e in root.outputs)
    payload = f"{size(payload_bytes(root, may_fail=plan.may_fail))} from each party to the client"
    lines = [f"   {outputs}: on shares, {traits(root.input).slots:,} slots, {_cost(cost, plan.network)}; {payload}"]
    if isinstance(root.input, TopK):
        lines.append(f"   cut on shares: the client gets at most {traits(root.input).slots:,} rows")
    if root.order:
        lines.append("   ordered at the client")
    texts = [_cost(one, plan.network) for _, one in costs]
    lines += _tree(root.input, plan, texts, "")[0]
    lines.append(f"In all: {_cost(sum((one for _, one in costs), cost), plan.network)}")
    most = peak(root)
    lines.append(f"Memory of each party on shares: at most about {mebibytes(most.bytes)}, in {most.operator}")
    return lines


def _tree(node: Node, plan: Plan, costs: Sequence[str], indent: str, first: int = 0, last: bool = True) -> tuple[list[str], int]:
    """The lines of a node and all below it, and its number. `first`: the number of the operator that is run first of them."""
    branch, below = ("└─ ", "   ") if last else ("├─ ", "│  ")
    parts, texts, number = inputs(node), list[str](), first
    for i, part in enumerate(parts):
        more, number = _tree(part, plan, costs, indent + below, number, i == len(parts) - 1)
        texts, number = texts + more, number + 1
    lines = [f"{indent}{branch}#{number} {_title(node, plan, costs[number])}"]
    if isinstance(node, Input):
        lines.append(f"{indent}{below}     {plan.placed.fragments[node.fragment].sql}")
    return lines + texts, number


def _title(node: Node, plan: Plan, cost: str) -> str:
    tail = f"on shares, {traits(node).slots:,} slots, {cost}"
    match node:
        case Input(fragment, party, slots):
            return f"fragment {fragment} at {party}: in the clear, then shared in {slots:,} slots; reveals nothing more"
        case Filter(_, predicate):
            return f"filter {readable(predicate)}: {tail}; reveals nothing"
        case NestedLoop(_, _, condition):
            on = "all pairs" if condition is None else readable(condition)
            return f"nested_loop{_kind(node)} on {on}: {tail}; reveals nothing"
        case Align(_, _, pairs, probe_party, build_party):
            on = " AND ".join(f"{probe_party}'s {a.name or a.sql} = {build_party}'s {b.name or b.sql}" for a, b in pairs)
            return f"align{_kind(node)} on {on}{_further(node)}: {tail}; reveals nothing"
        case SortMerge(_, _, pairs):
            on = " AND ".join(f"{readable(a)} = {readable(b)}" for a, b in pairs)
            return f"sort_merge{_kind(node)} on {on}{_further(node)}: {tail}; reveals nothing"
        case Aggregate(_, party, owner_keys, domain_keys, calls):
            keys = [f"{new.name or old.name or old.sql} (known to {party})" for new, old in owner_keys]
            keys += [f"{readable(e)} (small public domain)" for _, e in domain_keys]
            by = f" by {', '.join(keys)}" if keys else ""
            what = ", ".join(_call(call) for call in calls)
            return f"aggregate {what or 'distinct'}{by}: {tail}; reveals nothing"
        case GroupAggregate():
            return f"{_groups(node)}: {tail}; reveals nothing"
        case MarkDistinct(_, keys, argument, condition):
            by = f" by {', '.join(map(readable, keys))}" if keys else ""
            met = "" if condition is None else f" where {readable(condition)}"
            return f"mark distinct {readable(argument)}{met}{by} (sorted on shares): {tail}; reveals nothing"
        case TopK():
            return f"{_first_rows(node)}: {tail}; reveals nothing"
        case Unique(_, key):
            return f"check that ({', '.join(f.name or f.sql for f in key)}) is unique: {tail}; reveals nothing but an error"
        case Concat(parts):
            return f"append {len(parts)} inputs{_declared(node)}: {tail}; reveals nothing"
        case _:
            assert_never(node)


def _declared(node: Concat) -> str:
    """Keys that no owner could check: the client's word."""
    names = {f.number: f.name.rpartition(".")[2] or f.sql for f in node.outputs}
    keys = ["(" + ", ".join(names[n] for n in sorted(key)) + ")" for key in node.keys]
    return f", {' and '.join(keys)} unique by declaration" if keys else ""


def _groups(node: GroupAggregate) -> str:
    """Whether the keys are sorted, come sorted, or are unique; and what they determine."""
    how = {ALONE: "each row alone", GIVEN: "sorted below"}.get(node.arrangement, "sorted on shares")
    what = ", ".join(_call(call) for call in node.calls) or "distinct"
    carried = f", which determine {', '.join(readable(e) for _, e in node.carried)}" if node.carried else ""
    return f"aggregate {what} by {', '.join(readable(e) for _, e in node.keys)} ({how}){carried}"


def _first_rows(node: TopK) -> str:
    rows = "all rows" if node.limit is None else f"the first {node.limit:,} rows"
    after = f" after {node.offset:,} others" if node.offset else ""
    order = [f"{readable(key.expression)}{' DESC' if key.descending else ''} NULLS {'FIRST' if key.nulls_first else 'LAST'}"
             for key in node.keys]
    return f"top_k {rows}{after}{' by ' + ', '.join(order) if order else ', any of them'}"


def _kind(node: NestedLoop | Align | SortMerge) -> str:
    return "" if node.kind == "INNER" else f" ({node.kind.lower()})"


def _further(node: Align | SortMerge) -> str:
    return "" if node.condition is None else f" where {readable(node.condition)}"


def _call(call: Call) -> str:
    sql = call_sql(call)
    for part in (*call.arguments, *(() if call.filter is None else (call.filter,))):
        sql = sql.replace(expression_sql(part), readable(part))
    return sql


def _cost(cost: Cost, network: Network) -> str:
    seconds = duration(nanoseconds(cost, network) / 1e9)
    return f"{size(cost.sent)} sent, {cost.rounds:,} rounds, dealer {size(cost.dealt)}, ~{seconds}"


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
        lines.append(f"  {_shape(other)}: {_cost(tree_cost(other, parties, plan.network), plan.network)}")
    return lines


def _shape(node: Node) -> str:
    match node:
        case Input(_, party):
            return party
        case Filter(input):
            return f"filter({_shape(input)})"
        case NestedLoop(left, right):
            return f"nested_loop{_kind(node)}({_shape(left)}, {_shape(right)})"
        case Align(probe, build):
            return f"align{_kind(node)}({_shape(probe)}, {_shape(build)})"
        case SortMerge(probe, build):
            return f"sort_merge{_kind(node)}({_shape(probe)}, {_shape(build)})"
        case Aggregate(input):
            return f"aggregate({_shape(input)})"
        case GroupAggregate(input):
            return f"sort_aggregate({_shape(input)})"
        case MarkDistinct(input):
            return f"mark_distinct({_shape(input)})"
        case TopK(input):
            return f"top_k({_shape(input)})"
        case Unique(input):
            return f"unique({_shape(input)})"
        case Concat(parts):
            return f"append({', '.join(map(_shape, parts))})"
        case _:
            assert_never(node)
