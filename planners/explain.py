"""EXPLAIN: the plan as a tree of text."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from sdh.catalog import Facts, TableFacts
from sdh.planners.alternatives import others, rivals, ungranted
from sdh.planners.costs import Cost, Network, nanoseconds, operator_costs, payload_bytes
from sdh.planners.derive_traits import traits
from sdh.planners.explain_privacy import explained_privacy
from sdh.planners.logical import Call, Scan, nodes
from sdh.planners.memory import mebibytes, peak
from sdh.planners.noise_costs import noise_text
from sdh.planners.physical import (
    ALONE,
    GIVEN,
    Aggregate,
    Align,
    ByKey,
    Concat,
    Cut,
    Expand,
    Fetch,
    Filter,
    GroupAggregate,
    Input,
    Lookup,
    MarkDistinct,
    NestedLoop,
    Node,
    Noised,
    Project,
    Release,
    SortMerge,
    TopK,
    Unique,
    inputs,
)
from sdh.planners.placed import Top
from sdh.planners.properties import properties, unqualified
from sdh.planners.render import call_sql, expression_sql, readable
from sdh.planners.units import duration, size, wrapped

if TYPE_CHECKING:
    from sdh.planners.plan import Plan


Costs = dict[Node | Release, tuple[int, str]]


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
        lines += wrapped(fragment.sql, "     ", "       ")
    else:
        lines += _release(plan.root, plan)
    lines += ["", "Revealed:", *(f"  {reveal}" for reveal in plan.reveals)]
    lines += explained_privacy(plan.placed.blocks, plan.charges, len(plan.placed.parties)) or _floors(plan)
    lines += ["", "Known beforehand:", *_known(plan)]
    if plan.root is not None:
        lines += ["", "The dealer learns the sizes above and nothing else."]
        lines += _alternatives(plan)
    return lines


def _release(root: Release, plan: Plan) -> list[str]:
    costs = operator_costs(root.input, len(plan.placed.parties), plan.network)
    _, cost = operator_costs(root, len(plan.placed.parties), plan.network)[-1]
    outputs = ", ".join(readable(e) for _, e in root.outputs)
    payload = f"{size(payload_bytes(root, may_fail=plan.may_fail))} from each party to the client"
    lines = wrapped(outputs, "   ", "   ")
    lines += [f"   on shares, {traits(root.input).slots:,} slots, {_cost(cost, plan.network)}; {payload}"]
    if isinstance(_before_fetching(root.input), TopK):
        lines.append(f"   cut on shares: the client gets at most {traits(root.input).slots:,} rows")
    if isinstance(plan.placed.top, Top):
        for step in plan.placed.top.steps:
            name = plan.placed.schema[step.place].name if step.place < root.visible else "a sort key"
            lines += wrapped(f"worked out at the client: {name} = {readable(step.value)}", "   ", "     ")
    if root.order:
        lines.append("   ordered at the client")
    texts = {node: (number, _cost(one, plan.network)) for number, (node, one) in enumerate(costs)}
    lines += _tree(root.input, plan, texts, "")
    lines.append(f"In all: {_cost(sum((one for _, one in costs), cost), plan.network)}")
    most = peak(root)
    lines.append(f"Memory of each party on shares: at most about {mebibytes(most.bytes)}, in {most.operator}")
    return lines


def _before_fetching(node: Node) -> Node:
    return _before_fetching(node.input) if isinstance(node, Fetch) else node


def _tree(node: Node, plan: Plan, costs: Costs, indent: str, last: bool = True) -> list[str]:
    """The lines of a node and all below it. costs: numbers, in the order in which they run, and costs of what is not shown yet:
    a node that several read stands in full at the first."""
    branch, below = ("└─ ", "   ") if last else ("├─ ", "│  ")
    number, cost = costs[node]
    if not cost:
        return [f"{indent}{branch}#{number} again, which is worked out once"]
    costs[node] = number, ""
    parts = inputs(node)
    rest = f"{indent}{below}{'│  ' if parts else '   '}"
    lines = [*wrapped(_title(node), f"{indent}{branch}#{number} ", rest), f"{rest}{_spent(node, cost)}"]
    lines += wrapped(properties(node), rest, rest)
    if isinstance(node, Input):
        lines += wrapped(plan.placed.fragments[node.fragment].sql, rest, f"{rest}  ")
    return lines + [line for i, part in enumerate(parts)
                    for line in _tree(part, plan, costs, indent + below, i == len(parts) - 1)]


def _spent(node: Node, cost: str) -> str:
    match node:
        case Input():
            return f"{cost}; reveals nothing more"
        case Unique() | Expand():
            but = " but an error"
        case Fetch():
            but = ", nor which rows"
        case _:
            but = ""
    return f"on shares, {traits(node).slots:,} slots, {cost}; reveals nothing{but}"


def _title(node: Node) -> str:
    match node:
        case Input(fragment, party, slots):
            but = f", {len(node.late)} columns fetched late" if node.late else ""
            return f"fragment {fragment} at {party}: in the clear, then shared in {slots:,} slots{but}"
        case Filter(_, predicate):
            return f"filter {readable(predicate)}"
        case NestedLoop(_, _, condition):
            on = "all pairs" if condition is None else readable(condition)
            return f"nested_loop{_kind(node)} on {on}"
        case Align(_, _, pairs, probe_party, build_party):
            on = " AND ".join(f"{probe_party}'s {a.name or a.sql} = {build_party}'s {b.name or b.sql}" for a, b in pairs)
            way = "align" if node.repeats == 1 else f"expand (up to {node.repeats:,} rows of a key)"
            return f"{way}{_kind(node)} on {on}{_further(node)}"
        case SortMerge(_, _, pairs):
            on = " AND ".join(f"{readable(a)} = {readable(b)}" for a, b in pairs)
            return f"sort_merge{_kind(node)} on {on}{_further(node)}"
        case Lookup(_, build, pairs):
            on = " AND ".join(f"{readable(a)} = {readable(b)}" for a, b in pairs)
            return f"lookup{_kind(node)} on {on} in a table of {build.party}'s{_further(node)}"
        case Expand(_, _, pairs):
            on = " AND ".join(f"{readable(a)} = {readable(b)}" for a, b in pairs)
            return f"expand on {on} (sorted on shares)"
        case Aggregate(_, party, owner_keys, domain_keys, calls):
            keys = [f"{new.name or old.name or old.sql} (known to {party})" for new, old in owner_keys]
            keys += [f"{readable(e)} (small public domain)" for _, e in domain_keys]
            by = f" by {', '.join(keys)}" if keys else ""
            what = ", ".join(_call(call) for call in calls)
            return f"aggregate {what or 'distinct'}{by}"
        case GroupAggregate():
            return f"{_groups(node)}"
        case MarkDistinct(_, keys, argument, condition):
            by = f" by {', '.join(map(readable, keys))}" if keys else ""
            met = "" if condition is None else f" where {readable(condition)}"
            return f"mark distinct {readable(argument)}{met}{by} (sorted on shares)"
        case Cut(_, keys, most):
            by = ", ".join(map(readable, keys))
            return f"cut to {most:,} rows drawn at random of each {by} (sorted on shares)"
        case Noised(_, noises):
            return f"noise on {', '.join(map(noise_text, noises))}"
        case TopK():
            return f"{_first_rows(node)}"
        case Unique(_, key):
            return f"check that ({', '.join(f.name or f.sql for f in key)}) is unique"
        case Concat(parts):
            return f"append {len(parts)} inputs{_declared(node)}"
        case Project(_, outputs):
            return f"project {', '.join(readable(e) for _, e in outputs)}"
        case Fetch(_, source, columns):
            names = ", ".join(f.field.name or f.field.sql for f, _ in columns)
            return f"fetch {names} of {source.party}'s fragment {source.fragment}"
        case _:
            assert_never(node)


def _declared(node: Concat) -> str:
    """Keys that no owner could check: the client's word."""
    names = {f.number: unqualified(f) for f in node.outputs}
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


def _kind(node: NestedLoop | ByKey) -> str:
    return "" if node.kind == "INNER" else f" ({node.kind.lower()})"


def _further(node: ByKey) -> str:
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
    """Of every table that is read: of the columns that are read, and how many others there are."""
    read: dict[str, set[str]] = {}
    for scan in (node for leaf in plan.placed.leaves for node in nodes(leaf.node) if isinstance(node, Scan)):
        read.setdefault(scan.table.full_name, set()).update(name for name, _ in scan.columns)
    tables = [table for table in plan.placed.catalog.tables if table.full_name in read]
    return [line for table in tables for line in wrapped(_table(table, read[table.full_name]), "  ", "    ")]


def _table(table: TableFacts, read: set[str]) -> str:
    columns = ", ".join(
        f"{c.name} {c.type}{'' if c.nullable else ' NOT NULL'}{_facts(f)}"
        for c, f in zip(table.columns, table.facts, strict=True)
        if c.name in read
    )
    rest = len(table.columns) - len(read)
    others = f" and {rest} other{'s' * (rest > 1)}" if rest else ""
    keys = "".join(f", unique ({', '.join(key)})" for key in table.keys)
    repeats = "".join(f", ({', '.join(key)}) in at most {times:,} rows each" for key, times in table.repeats)
    return f"{table.full_name}: at most {table.rows:,} rows{keys}{repeats}; {columns or 'columns'}{others}"


def _facts(facts: Facts) -> str:
    if facts.low is not None:
        return f" in [{facts.low}, {facts.high}]"
    if facts.bytes is not None:
        return f" ({facts.bytes} bytes)"
    return "" if facts.bits is None else f" ({facts.bits} bits)"


def _alternatives(plan: Plan) -> list[str]:
    lost, begun = others(plan), rivals(plan)[1:]
    lines = ["", "Alternatives that cost more:"] if lost else []
    for root, cost, what in lost:
        lines += [f"  {_cost(cost, plan.network)}", *wrapped(f"{_shape(root.input)}: {what}", "    ", "    ")]
    if begun:
        own = f"  {_cost(rivals(plan)[0][1], plan.network)}: this plan"
        lines += ["", "Other fragments, with as many rows as may be expected beforehand:", own]
    for root, cost, what in begun:
        lines += [f"  {_cost(cost, plan.network)}", *wrapped(f"{_shape(root.input)}: {what}", "    ", "    ")]
    lines += ["", "What shows parties something of each other, and is never done:"]
    for name, cost, what in ungranted(plan):
        lines += [f"  {_cost(cost, plan.network)}", *wrapped(f"{name}: {what}", "    ", "    ")]
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
            return f"{'align' if node.repeats == 1 else 'expand'}{_kind(node)}({_shape(probe)}, {_shape(build)})"
        case SortMerge(probe, build):
            return f"sort_merge{_kind(node)}({_shape(probe)}, {_shape(build)})"
        case Lookup(probe, build):
            return f"lookup{_kind(node)}({_shape(probe)}, {_shape(build)})"
        case Expand(left, right):
            return f"sorted expand({_shape(left)}, {_shape(right)})"
        case Aggregate(input):
            return f"aggregate({_shape(input)})"
        case GroupAggregate(input):
            return f"sort_aggregate({_shape(input)})"
        case MarkDistinct(input):
            return f"mark_distinct({_shape(input)})"
        case Cut(input):
            return f"cut({_shape(input)})"
        case Noised(input):
            return f"noise({_shape(input)})"
        case TopK(input):
            return f"top_k({_shape(input)})"
        case Unique(input):
            return f"unique({_shape(input)})"
        case Concat(parts):
            return f"append({', '.join(map(_shape, parts))})"
        case Project(input):
            return _shape(input)
        case Fetch(input):
            return f"fetch({_shape(input)})"
        case _:
            assert_never(node)
