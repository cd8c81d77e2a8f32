"""The planner's two doors: `place` (before anything is counted) and `finish` (with the counted slots).

Both are pure: a plan is a function of text, parameters, published facts and policies, slots and network, so that every
node makes the same one, and its digest proves it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import count

from sdh.accounting import Charge
from sdh.audit import Reveal
from sdh.catalog import Catalog, padded
from sdh.errors import SdhError, TooLarge, Unsupported, WidthError
from sdh.parsers import syntax
from sdh.parsers.parse import parse, without_privacy
from sdh.planners import explain, physical
from sdh.planners.announced import announced, counted
from sdh.planners.apply_floors import apply_floors
from sdh.planners.authorize import authorize
from sdh.planners.authorize_private import authorize_private
from sdh.planners.bind import bind, check_parameters
from sdh.planners.charges import charges_of
from sdh.planners.choose import Ways, choose
from sdh.planners.comparing import LOCAL, Network
from sdh.planners.costs import nanoseconds, tree_cost
from sdh.planners.determined import determined
from sdh.planners.digest import digest
from sdh.planners.error_bits import release_may_fail
from sdh.planners.expressions import Ref
from sdh.planners.facts import known
from sdh.planners.grants import floors
from sdh.planners.logical import Aggregate, Limit, Node, Noise, Noised, Private, Project, Reused, Scan, fields, nodes
from sdh.planners.optimize import optimize, rules_of
from sdh.planners.oracle import oracle
from sdh.planners.order_wholly import order_wholly
from sdh.planners.place import owners
from sdh.planners.place import place as place_nodes
from sdh.planners.placed import PUBLIC, Local, Top, highest_number, leaves_of
from sdh.planners.private_blocks import blocks_of, check_blocks, with_privacy
from sdh.planners.private_failures import refuse_failures_after_noise
from sdh.planners.privatise import Block, privatise
from sdh.planners.push_aggregates import push_aggregates
from sdh.planners.push_expressions import push_expressions
from sdh.planners.push_into_unions import push_into_unions
from sdh.planners.render import node_sql
from sdh.planners.share_leaves import share_leaves
from sdh.planners.sink_texts import sink_texts
from sdh.privacy import DP
from sdh.schema import INTEGER, Column, Schema

NOTHING = Column("nothing", INTEGER)
"""What a fragment of no columns, whose rows alone count, puts out."""
MOST_COPIED = 16
"""Tables in a plan, each as often as it is read, up to which common table expressions are planned as copies too."""
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
    privacy: DP | None = None
    """As a clause WITH DIFFERENTIAL_PRIVACY of the outermost SELECT that aggregates."""


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
    noises: tuple[Noise, ...] = ()
    """What its owner adds in the clear (render.noise_function)."""


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
    rivals: tuple[Rival, ...] = ()
    """This one, then those of other fragments, cheapest first; for people."""
    blocks: tuple[Block, ...] = ()
    """Of WITH DIFFERENTIAL_PRIVACY."""


@dataclass(frozen=True, slots=True)
class Rival:
    """How a plan would run with as many rows as the catalog lets expect."""

    placed: Placed
    root: physical.Release


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
    def question_digest(self) -> str:
        """Of what is asked and of what, but for the data's versions, whose ids are of one process: what is charged once."""
        catalog = self.placed.catalog
        parties = tuple(replace(party, tables=tuple(replace(table, snapshot="") for table in party.tables))
                        for party in catalog.parties)
        return digest((VERSION, self.placed.question, replace(catalog, parties=parties), self.charges))

    @property
    def charges(self) -> tuple[Charge, ...]:
        """What it costs the owners' ledgers."""
        return charges_of(self.placed.blocks, self.placed.question.client)

    @property
    def is_local(self) -> bool:
        """One owner (or none) has all that is asked for: no shares, no dealer."""
        return self.root is None

    @property
    def may_fail(self) -> bool:
        """An operator on shares may fail as DuckDB's would: one error bit is released in place of the rows."""
        return any(reveal.reason == "error" for reveal in self.reveals)

    def would_reveal(self, root: physical.Release, placed: Placed) -> tuple[Reveal, ...]:
        """What another plan of the same question would have revealed, and to whom."""
        return revealed(placed, root)

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
    except RecursionError:
        raise TooLarge("The query is nested too deep to be planned.", sql=question.text,
                       advice="Write IN for a long chain of ORs, and move inner parts into WITH queries.") from None


def bound(question: Question, catalog: Catalog, shared: Callable[[Node], bool] | None = None) -> tuple[Node, Schema]:
    """The logical plan before any rule, and the schema of the result. Raises QuestionError.

    shared: which common table expressions all their uses share; None: those of several owners, and what varies.
    """
    query = parse(question.text)
    if not isinstance(query, (syntax.Select, syntax.SetOperation)):
        raise Unsupported("Only SELECT can be planned.", advice="Ask it without EXPLAIN or DESCRIBE.")
    if question.privacy is not None:
        query = with_privacy(query, question.privacy)
    source = oracle(catalog)
    params = dict(question.params)
    check_parameters(query, params)
    schema = source.describe(without_privacy(question.text), params)
    return bind(query, source, params, schema, shared or (lambda node: len(owners(node)) > 1 or _varies(node))), schema


def _varies(node: Node) -> bool:
    """Whether another time its rows might be others: LIMIT picks some, noise is drawn."""
    return any(isinstance(one, Limit | Private) for one in nodes(node))


def _place(question: Question, catalog: Catalog) -> Placed:
    first, schema = bound(question, catalog)
    blocks: tuple[Block, ...] = ()
    if blocks_of(first):
        node, blocks = _privatised(first, question, catalog)
        plans = [place_nodes(optimize(node, rules_of(node)))]
    else:
        plans = [_optimized(one, question, catalog) for one in _sharing(first, question, catalog)]
    start = partial(_started, question, catalog, schema, blocks)
    tops = [one for one in plans if isinstance(one, Top)]
    return _cheapest(tops, start) if len(tops) == len(plans) else start(plans[0])


def _privatised(node: Node, question: Question, catalog: Catalog) -> tuple[Node, tuple[Block, ...]]:
    """Noise in place of private blocks. No floor holds there: nothing exact shows."""
    check_blocks(node)
    node = optimize(node)
    authorize_private(node, catalog, question.client)
    node, blocks = privatise(node, catalog, question.client)
    return order_wholly(node), blocks


def _started(question: Question, catalog: Catalog, schema: Schema, blocks: tuple[Block, ...], top: Top | Local) -> Placed:
    leaves = (top,) if isinstance(top, Local) else leaves_of(top)
    names = tuple(name for name in catalog.names if any(leaf.party == name for leaf in leaves))
    for leaf in () if isinstance(top, Local) or not blocks else leaves:
        refuse_failures_after_noise(leaf.node)
    rows = _hiding(catalog) if blocks else catalog
    fragments = tuple(_fragment(i, leaf, names, rows) for i, leaf in enumerate(leaves))
    return Placed(question, catalog, schema, names, fragments, top, leaves, (), blocks)


def _hiding(catalog: Catalog) -> Catalog:
    """No owner announces a count: it would be an exact answer beside the noisy ones."""
    hidden = (replace(party, policy=replace(party.policy, rows="hidden")) for party in catalog.parties)
    return replace(catalog, parties=tuple(hidden))


def _sharing(node: Node, question: Question, catalog: Catalog) -> list[Node]:
    """The plan with what its common table expressions share, and with a copy for each use, which filters go down into.

    Where a floor holds there are only copies: contributors are counted in each.
    """
    if not any(isinstance(one, Reused) for one in nodes(node)):
        return [node]
    least = floors(catalog, question.client)
    if any(least.get(party, 1) > 1 for party in owners(node)):
        return [bound(question, catalog, lambda _: False)[0]]
    if sum(isinstance(one, Scan) for one in nodes(node)) > MOST_COPIED:
        return [node]
    copied, _ = bound(question, catalog, _varies)
    return [node] if copied == node else [node, copied]


def _optimized(node: Node, question: Question, catalog: Catalog) -> Top | Local:
    node = optimize(node)
    authorize(node, catalog, question.client)
    node = apply_floors(node, floors(catalog, question.client))
    return place_nodes(optimize(node, rules_of(node)))


def _cheapest(tops: list[Top], start: Callable[[Top], Placed]) -> Placed:
    """The placed plan, with or without aggregates below joins and either below appends, that costs least by catalog facts.

    Raises what the plain plan is refused for where no other can run either.
    """
    fault: SdhError | None = None
    found: list[tuple[int, Rival]] = []
    ways: Ways = {}
    for variant in (one for top in tops for one in _variants(top)):
        try:
            if isinstance(variant, SdhError):
                raise variant
            one = _estimate(start(variant), _expected, ways)
            found.append((nanoseconds(tree_cost(one.root, len(one.placed.parties)), LOCAL), one))
        except (Unsupported, WidthError) as error:
            fault = fault or error
    if not found:
        assert fault is not None
        raise fault
    by_cost = [one for _, one in sorted(found, key=lambda pair: pair[0])]
    best = next((one for one in by_cost if _fits(one.placed)), by_cost[0])
    return replace(best.placed, rivals=(best, *(one for one in by_cost if one is not best)))


def _variants(top: Top) -> Iterator[Top | SdhError]:
    """The plan, and others that give the same rows, with fragments that are alike as one and not; or why one cannot run."""
    numbers = count(1_000 + highest_number(top))
    top = sink_texts(top, numbers)
    appended = (top, *push_into_unions(top, numbers))
    for variant in (*appended, *(one for base in appended for one in push_aggregates(base, numbers))):
        try:
            pushed = push_expressions(variant, numbers)
            yield from dict.fromkeys((share_leaves(pushed), pushed))
        except (Unsupported, WidthError) as error:
            yield error


def _fits(placed: Placed) -> bool:
    """Whether it can run with as many rows as there may be."""
    try:
        tree_cost(_estimate(placed, lambda fragment, _: fragment.slots, {}).root, len(placed.parties))
    except (Unsupported, WidthError):
        return False
    return True


def _estimate(placed: Placed, sizes: Callable[[Fragment, Node], int], ways: Ways) -> Rival:
    """With these slots of every fragment. ways: choose."""
    assert isinstance(placed.top, Top)
    leaves = zip(placed.leaves, placed.fragments, strict=True)
    inputs = {leaf: _input(fragment, leaf, sizes(fragment, leaf.node)) for leaf, fragment in leaves}
    return Rival(placed, choose(placed.top, inputs, len(placed.parties), ways=ways)[0])


def _expected(fragment: Fragment, node: Node) -> int:
    """Slots to compare plans by, upper bounds but of groups: fewer than an owner has rows, unless a key is among theirs."""
    match node:
        case Project(input) | Reused(_, input):
            return _expected(fragment, input)
        case Aggregate(input, keys) if keys:
            own = {e.field.number for _, e in keys if isinstance(e, Ref)}
            alone = any(key <= own for key in known(input).keys)
            return fragment.slots if alone else max(1, fragment.slots // GROUPED)
        case _:
            return fragment.slots


def _fragment(number: int, leaf: Local, names: tuple[str, ...], catalog: Catalog) -> Fragment:
    party = leaf.party or (names[0] if names else PUBLIC)
    rows = announced(leaf.node, catalog.party(party).policy) if leaf.party else "exact"   # what is public has no owner's count
    schema = tuple(Column(f.sql, f.type, f.nullable) for f in fields(leaf.node)) or (NOTHING,)
    tables = tuple(sorted({n.table.full_name for n in nodes(leaf.node) if isinstance(n, Scan)}))
    bound = known(leaf.node).rows
    slots = bound if rows == "exact" or bound == 1 else padded(bound)  # that there is one row is public: nothing to hide
    noises = tuple(noise for n in nodes(leaf.node) if isinstance(n, Noised) for noise in n.noises)
    return Fragment(number, party, node_sql(leaf.node), schema, slots, rows, tables, noises)


def finish(placed: Placed, slots: tuple[int, ...], network: Network = LOCAL) -> Plan:
    """Choose protocols by cost for these slots (by fragment number). Raises Unsupported, WidthError."""
    if isinstance(placed.top, Local):
        return _with_digest(Plan(placed, slots, None, (), "", revealed(placed, None), network))
    inputs = {leaf: _input(placed.fragments[i], leaf, slots[i]) for i, leaf in enumerate(placed.leaves)}
    root, others = choose(placed.top, inputs, len(placed.parties), network)
    return _with_digest(Plan(placed, slots, root, others, "", revealed(placed, root), network))


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
                plan.charges,
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
    repeats = tuple((key, times) for key, times in facts.repeats if key <= numbers)
    exact = fragment.rows == "exact"
    return physical.Input(fragment.number, fragment.party, slots, columns, keys, facts.single, exact, determined(leaf.node),
                          repeats)


def revealed(placed: Placed, root: physical.Release | None) -> tuple[Reveal, ...]:
    """What a run reveals, and to whom; it refuses to reveal anything else."""
    client = placed.question.client
    early = {step.place for step in placed.top.steps} if isinstance(placed.top, Top) else set()
    columns = ", ".join(f"the quotient in {c.name}" if i in early else c.name for i, c in enumerate(placed.schema))
    if root is None:
        return (Reveal("result", f"the rows of the result ({columns})", client),)
    hidden = len(root.outputs) - root.visible
    found = [Reveal("result", f"the rows of the result ({columns}{f' and {hidden} sort keys' if hidden else ''})", client)]
    if release_may_fail(root):
        found.append(Reveal("error", "one bit in place of the rows: whether an operator failed", client))
    for fragment, leaf in zip(placed.fragments, placed.leaves, strict=True):
        if fragment.rows != "hidden":
            found.append(Reveal("slots", f"the {fragment.rows} {counted(leaf.node)} of fragment {fragment.number}", "everyone"))
    return tuple(sorted(found))
