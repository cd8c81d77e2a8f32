"""The planner's two doors: `place` (before anything is counted) and `finish` (with the counted slots).

Both are pure: a plan is a function of text, parameters, published facts and policies, slots and network, so that every
node makes the same one, and its digest proves it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count

from sdh.audit import Reveal
from sdh.catalog import Catalog, padded
from sdh.errors import SdhError, Unsupported, WidthError
from sdh.parsers import syntax
from sdh.parsers.parse import parse
from sdh.planners import explain, physical
from sdh.planners.apply_floors import apply_floors
from sdh.planners.authorize import authorize, floors
from sdh.planners.bind import bind, check_parameters
from sdh.planners.choose import choose
from sdh.planners.comparing import LOCAL, Network
from sdh.planners.costs import nanoseconds, tree_cost
from sdh.planners.determined import determined
from sdh.planners.digest import digest
from sdh.planners.expressions import Expression, Ref, walk
from sdh.planners.facts import known
from sdh.planners.logical import Aggregate, Node, Project, Scan, fields, nodes
from sdh.planners.optimize import optimize, rules_of
from sdh.planners.oracle import oracle
from sdh.planners.place import place as place_nodes
from sdh.planners.placed import PUBLIC, Local, Top, highest_number, leaves_of
from sdh.planners.push_aggregates import push_aggregates
from sdh.planners.push_expressions import push_expressions
from sdh.planners.push_into_unions import push_into_unions
from sdh.planners.ranges import Columns, overflows
from sdh.planners.render import node_sql
from sdh.schema import INTEGER, Column, Schema

NOTHING = Column("nothing", INTEGER)
"""What a fragment of no columns, whose rows alone count, puts out."""
GROUPED = 10
"""Rows that a group is taken to have where plans are compared before anything is counted."""
VERSION = 1
"""Of protocols, packing and plan shape: nodes of different versions refuse each other by their digests."""


@dataclass(frozen=True, slots=True)
class Question:
    """What the client asks.

    params: (name, value) sorted by name; a value is None, bool, int, float, str or a (SQL type, text) pair, as
    ('DECIMAL(9,2)', '1.50').
    """

    text: str
    client: str
    params: tuple[tuple[str, object], ...] = ()
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True)
class Fragment:
    """One plaintext subtree: SQL for its owner's DuckDB.

    number: its index in `Placed.fragments`. party: its owner. sql: one SELECT over "party"."table" and public tables.
    slots: upper bound of rows, from the catalog. rows: how its count is announced ('exact', 'padded', 'hidden').
    """

    number: int
    party: str
    sql: str
    schema: Schema
    slots: int
    rows: str
    tables: tuple[str, ...]
    """Full names of the tables it reads."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Step one: what runs where, from catalog facts alone."""

    question: Question
    catalog: Catalog
    schema: Schema
    """Of the result, DuckDB's for the same text."""
    parties: tuple[str, ...]
    """Who takes part, in rank order. One party: the plan is a single plaintext fragment. None: public tables alone."""
    fragments: tuple[Fragment, ...]
    top: Top | Local
    leaves: tuple[Local, ...]
    """By fragment number."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Step two: protocols chosen for the announced slots."""

    placed: Placed
    slots: tuple[int, ...]
    """By fragment number."""
    root: physical.Release | None
    """None for a local plan."""
    others: tuple[physical.Node, ...]
    """The alternatives that lost, cheapest first."""
    digest: str
    """Plan digest, hexadecimal SHA-256; equal at every node whatever its hash seed."""
    reveals: tuple[Reveal, ...]
    network: Network = LOCAL

    @property
    def is_local(self) -> bool:
        """One owner (or none) has all that is asked for: no shares, no dealer."""
        return self.root is None

    @property
    def may_fail(self) -> bool:
        """An operator on shares may fail as DuckDB's would: one error bit is released in place of the rows."""
        return any(reveal.reason == "error" for reveal in self.reveals)

    def explain(self) -> str:
        """The plan as a tree: where each node runs, what it costs, what it reveals to whom, what is known beforehand."""
        # pyright sees this file twice, here and through the link that sdh.planners is
        return explain.explain(self)  # pyright: ignore[reportArgumentType]


def place(question: Question, catalog: Catalog) -> Placed:
    """Parse, bind, optimize, place and authorize. Raises QuestionError and PolicyError."""
    try:
        return _place(question, catalog)
    except SdhError as error:
        error.sql = error.sql or question.text
        raise


def bound(question: Question, catalog: Catalog) -> tuple[Node, Schema]:
    """The logical plan before any rule, and the schema of the result. Raises QuestionError."""
    query = parse(question.text)
    if not isinstance(query, (syntax.Select, syntax.Union)):
        raise Unsupported("Only SELECT can be planned.", advice="Ask it without EXPLAIN or DESCRIBE.")
    source = oracle(catalog)
    params = dict(question.params)
    check_parameters(query, params)
    schema = source.describe(question.text, params)
    return bind(query, source, params, schema), schema


def _place(question: Question, catalog: Catalog) -> Placed:
    first, schema = bound(question, catalog)
    node = optimize(first)
    authorize(node, catalog, question.client)
    node = apply_floors(node, floors(catalog, question.client))
    node = optimize(node, rules_of(node))
    top = _cheapest(place_nodes(node), catalog)
    leaves = (top,) if isinstance(top, Local) else leaves_of(top)
    names = _participants(leaves, catalog)
    fragments = tuple(_fragment(i, leaf, names, catalog) for i, leaf in enumerate(leaves))
    return Placed(question, catalog, schema, names, fragments, top, leaves)


def _participants(leaves: tuple[Local, ...], catalog: Catalog) -> tuple[str, ...]:
    return tuple(name for name in catalog.names if any(leaf.party == name for leaf in leaves))


def _cheapest(top: Top | Local, catalog: Catalog) -> Top | Local:
    """The placed plan, with or without aggregates below joins and either below appends, that costs least by catalog facts.

    Raises what the plain plan is refused for where no other can run either.
    """
    if isinstance(top, Local):
        return top
    numbers = count(1_000 + highest_number(top))
    fault: SdhError | None = None
    found: list[tuple[int, Top]] = []
    appended = (top, *push_into_unions(top, numbers))
    for variant in (*appended, *(one for base in appended for one in push_aggregates(base, numbers))):
        try:
            pushed = push_expressions(variant, numbers)
            found.append((_estimate(pushed, catalog, _expected), pushed))
        except (Unsupported, WidthError) as error:
            fault = fault or error
    if not found:
        assert fault is not None
        raise fault
    by_cost = [one for _, one in sorted(found, key=lambda pair: pair[0])]
    return next((one for one in by_cost if _fits(one, catalog)), by_cost[0])


def _fits(top: Top, catalog: Catalog) -> bool:
    """Whether it can run with as many rows as there may be."""
    try:
        _estimate(top, catalog, lambda fragment, _: fragment.slots)
    except (Unsupported, WidthError):
        return False
    return True


def _estimate(top: Top, catalog: Catalog, sizes: Callable[[Fragment, Node], int]) -> int:
    """Nanoseconds with these slots of every fragment."""
    leaves = leaves_of(top)
    names = _participants(leaves, catalog)
    fragments = [_fragment(i, leaf, names, catalog) for i, leaf in enumerate(leaves)]
    inputs = {leaf: _input(fragment, leaf, sizes(fragment, leaf.node)) for leaf, fragment in zip(leaves, fragments, strict=True)}
    root, _ = choose(top, inputs, len(names))
    return nanoseconds(tree_cost(root, len(names)), LOCAL)


def _expected(fragment: Fragment, node: Node) -> int:
    """Slots to compare plans by, upper bounds but of groups: fewer than an owner has rows, unless a key is among theirs."""
    match node:
        case Project(input):
            return _expected(fragment, input)
        case Aggregate(input, keys) if keys:
            own = {e.field.number for _, e in keys if isinstance(e, Ref)}
            alone = any(key <= own for key in known(input).keys)
            return fragment.slots if alone else max(1, fragment.slots // GROUPED)
        case _:
            return fragment.slots


def _fragment(number: int, leaf: Local, names: tuple[str, ...], catalog: Catalog) -> Fragment:
    party = leaf.party or (names[0] if names else PUBLIC)
    rows = catalog.party(party).policy.rows if party else "exact"
    schema = tuple(Column(f.sql, f.type, f.nullable) for f in fields(leaf.node)) or (NOTHING,)
    tables = tuple(sorted({n.table.full_name for n in nodes(leaf.node) if isinstance(n, Scan)}))
    bound = known(leaf.node).rows
    slots = bound if rows == "exact" or bound == 1 else padded(bound)  # that there is one row is public: nothing to hide
    return Fragment(number, party, node_sql(leaf.node), schema, slots, rows, tables)


def finish(placed: Placed, slots: tuple[int, ...], network: Network = LOCAL) -> Plan:
    """Choose protocols by cost for these slots (by fragment number). Raises Unsupported, WidthError."""
    if isinstance(placed.top, Local):
        return _with_digest(Plan(placed, slots, None, (), "", _reveals(placed, None), network))
    inputs = {leaf: _input(placed.fragments[i], leaf, slots[i]) for i, leaf in enumerate(placed.leaves)}
    root, others = choose(placed.top, inputs, len(placed.parties), network)
    return _with_digest(Plan(placed, slots, root, others, "", _reveals(placed, root), network))


def _with_digest(plan: Plan) -> Plan:
    placed = plan.placed
    return replace(
        plan,
        digest=digest(
            (
                VERSION,
                placed.question,
                placed.catalog,
                placed.schema,
                placed.parties,
                placed.fragments,
                plan.slots,
                plan.root,
                plan.reveals,
                plan.network,
            )
        ),
    )


def _input(fragment: Fragment, leaf: Local, slots: int) -> physical.Input:
    facts = known(leaf.node)
    for f in fields(leaf.node):
        if f.number in facts.why:
            raise facts.why[f.number]
    columns = tuple(facts.columns[f.number] for f in fields(leaf.node))
    numbers = {f.number for f in fields(leaf.node)}
    keys = tuple(key for key in facts.keys if key <= numbers)
    exact = fragment.rows == "exact"
    return physical.Input(fragment.number, fragment.party, slots, columns, keys, facts.single, exact, determined(leaf.node))


def _reveals(placed: Placed, root: physical.Release | None) -> tuple[Reveal, ...]:
    client = placed.question.client
    columns = ", ".join(column.name for column in placed.schema)
    if root is None:
        return (Reveal("result", f"the rows of the result ({columns})", client),)
    hidden = len(root.outputs) - root.visible
    found = [Reveal("result", f"the rows of the result ({columns}{f' and {hidden} sort keys' if hidden else ''})", client)]
    if _may_fail(root):
        found.append(Reveal("error", "one bit in place of the rows: whether an operator failed", client))
    for fragment in placed.fragments:
        if fragment.rows != "hidden":
            found.append(Reveal("slots", f"the {fragment.rows} row count of fragment {fragment.number}", "everyone"))
    return tuple(sorted(found))


def _may_fail(root: physical.Release) -> bool:
    columns = physical.traits(root.input).ranges
    if any(_overflows(e, columns) for _, e in root.outputs):
        return True
    return _node_may_fail(root.input)


def _node_may_fail(node: physical.Node) -> bool:
    below = [physical.traits(part).ranges for part in physical.inputs(node)]
    columns: Columns = {number: column for one in below for number, column in one.items()}
    own = any(_overflows(e, columns) for e in physical.expressions(node)) or physical.may_be_several(node)
    return own or any(_node_may_fail(part) for part in physical.inputs(node))


def _overflows(e: Expression, columns: Columns) -> bool:
    return any(overflows(part, columns) for part in walk(e))
