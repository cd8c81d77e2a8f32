"""A private block as ordinary algebra: what a unit adds is bounded, then noise is added to every group's sums.

    rows with a unit -> at most C of a unit and group -> partial results by (unit, group), clamped
    -> at most L0 groups of a unit -> sums by group -> noise

Public groups are listed by an outer join from their values; a hidden one stays where its noisy count of units reaches a
threshold. All above the noise is post-processing. A bound that owners declared (a unit has one row, a unit has one group) is
not enforced again; what was measured proves nothing here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import reduce
from itertools import count

from sdh.catalog import Catalog
from sdh.planners.dependencies import closure
from sdh.planners.determined import holding
from sdh.planners.expressions import Apply, Case, Constant, Expression, Field, Ref, conjunction, conjuncts, references
from sdh.planners.facts import known
from sdh.planners.logical import (
    Aggregate,
    Call,
    Cut,
    Filter,
    Join,
    Node,
    Noise,
    Noised,
    Private,
    Project,
    bottom_up,
    fields,
    nodes,
)
from sdh.planners.mechanisms import JOINT, OWNER, Mechanism
from sdh.planners.private_calls import (
    Asked,
    Part,
    Released,
    clamped,
    constant,
    counts_values,
    filtered,
    released,
    sum_type,
)
from sdh.planners.private_failures import refuse_failures
from sdh.planners.private_groups import Domain, domains_of
from sdh.planners.private_noise import Moved, Terms, Wanted, terms_of
from sdh.planners.private_sides import Sides, sides_of
from sdh.planners.private_terms import Limits, groups_of, limits_of, owners_of, refused, rows_of
from sdh.planners.private_widths import refuse_wide_totals
from sdh.planners.push_filters import push_filters
from sdh.schema import BIGINT, BOOLEAN


@dataclass(frozen=True, slots=True)
class Answer:
    """A noisy number of each group. title: for people. low, high: what a unit adds to a group, in units of the ring."""

    title: str
    low: int
    high: int
    scale: int
    """Decimals of the ring's unit."""
    groups: int
    """What one unit moves: so many groups, each by the greater of |low| and |high|."""
    mechanism: Mechanism


@dataclass(frozen=True, slots=True)
class Block:
    """What EXPLAIN and the ledgers say of a block. threshold: of hidden groups' noisy counts of units; None: public groups."""

    owners: tuple[str, ...]
    unit: str
    epsilon: Fraction
    delta: Fraction
    groups: int
    rows: int | None
    threshold: int | None
    least_units: int
    answers: tuple[Answer, ...]
    slack: Fraction
    """The parts of delta for a group of fewer units that shows, and for noise that meets its law almost."""
    spaces: tuple[tuple[str, str], ...]
    """(owner, name of the units' space) of the ledgers that it is charged to."""


def privatise(node: Node, catalog: Catalog, receiver: str) -> tuple[Node, tuple[Block, ...]]:
    """The plan without private blocks, and what became of each. Raises Unsupported, NotGranted."""
    numbers = count(1 + max((f.number for one in nodes(node) for f in fields(one)), default=0))
    blocks: list[Block] = []
    parties = len(owners_of(node))

    def change(one: Node) -> Node:
        if not isinstance(one, Private):
            return one
        made, block = _Rewriter(one, catalog, receiver, numbers, parties).rewritten()
        blocks.append(block)
        return made

    return bottom_up(node, change), tuple(blocks)


@dataclass(frozen=True, slots=True)
class _Group:
    """The groups' sums: the parts' numbers, and how many units there are where groups are hidden."""

    node: Node
    keys: tuple[Field, ...]
    sums: tuple[Field, ...]
    units: Field | None


class _Rewriter:
    def __init__(self, block: Private, catalog: Catalog, receiver: str, numbers: count[int], parties: int) -> None:
        self._block, self._catalog, self._numbers, self._parties = block, catalog, numbers, parties
        self._limits: Limits = limits_of(block, catalog, receiver)
        self._owners = owners_of(block)
        self._way = OWNER if len(self._owners) < 2 else (block.terms.noise or JOINT).lower()

    def rewritten(self) -> tuple[Node, Block]:
        block = self._block
        refuse_failures(block)
        domains = domains_of(block, self._catalog, self._limits, self._numbers)
        rows = self._rows(domains)
        facts = known(rows)
        alone = facts.times(block.units) == 1
        groups = self._groups(rows, alone)
        asked = Asked(block, self._limits, rows_of(block, self._limits), alone, self._numbers)
        block = self._block = replace(block, calls=tuple(filtered(one, asked) for one in block.calls))
        if any(counts_values(one, block) for one in block.calls) and len(block.calls) == 1:
            return self._values(asked, rows, groups, domains)
        calls = [released(one, asked) for one in block.calls]
        made = self._single(rows, calls, domains) if alone else self._summed(rows, calls, domains, groups, asked)
        return self._noised(made, calls, domains, groups, asked)

    # --- rows --------------------------------------------------------------------------------------

    def _rows(self, domains: tuple[Domain, ...] | None) -> Node:
        """Those that have a unit, and are in a group that is listed: others would take places of those that are."""
        unit = self._block.unit
        wanted = [Ref(unit), *(one.of_row for one in domains or ())]
        predicate = conjunction([_present(e) for e in wanted if e.nullable])
        return self._block.input if predicate is None else Filter(self._block.input, predicate)

    def _groups(self, rows: Node, alone: bool) -> int:
        """L0: 1 where owners declared that a unit has one row, or that it determines the keys."""
        block = self._block
        if not block.keys or alone or self._is_determined(rows):
            return 1
        found = groups_of(block, self._limits)
        if found is None:
            raise refused(block, "WITH DIFFERENTIAL_PRIVACY needs a bound of a unit's groups",
                          "Write max_groups_contributed = 2 in OPTIONS.")
        return found

    def _is_determined(self, rows: Node) -> bool:
        block = self._block
        reached = closure(block.units, holding(rows))
        return all(isinstance(e, Ref) and e.field.number in reached for _, e in block.keys)

    def _bounded(self, sides: Sides, keys: Sequence[Expression], calls: list[Released], asked: Asked) -> Node:
        """At most C rows of a unit in a group, where calls take rows one by one and no owner declared it."""
        if not any(call.per_row for call in calls) or asked.rows is None:
            return sides.counted
        own = frozenset(f.number for f in fields(sides.counted)) & self._block.units
        times = known(sides.counted).times(own)
        if times is not None and times <= asked.rows:
            return sides.counted
        return Cut(sides.counted, (Ref(sides.unit), *keys), asked.rows)

    # --- groups ------------------------------------------------------------------------------------

    def _keys(self, domains: tuple[Domain, ...] | None) -> tuple[tuple[Field, Expression], ...]:
        """What rows are grouped by: the keys, or what stands for them in their domains."""
        if domains is None:
            return tuple((replace(f, number=next(self._numbers)), e) for f, e in self._block.keys)
        return tuple((replace(one.code, number=next(self._numbers), nullable=one.of_row.nullable), one.of_row) for one in domains)

    def _single(self, rows: Node, calls: list[Released], domains: tuple[Domain, ...] | None) -> _Group:
        """Each unit has one row: what it adds is that row's."""
        keys = self._keys(domains)
        most = known(rows).rows
        sums = [_within(part.single, part, most) for call in calls for part in call.parts]
        return self._grouped(rows, keys, sums, domains)

    def _summed(self, rows: Node, calls: list[Released], domains: tuple[Domain, ...] | None, groups: int, asked: Asked) -> _Group:
        """By unit and group first, then over the units that are left."""
        keys, parts = self._keys(domains), [part for call in calls for part in call.parts]
        sides = self._sides(rows, parts, keys)
        inner = tuple((f, own) for f, e in keys if (own := sides.of_counted(e)) is not None)
        unit = replace(sides.unit, number=next(self._numbers))
        bounded = self._bounded(sides, [e for _, e in inner], calls, asked)
        made_of = zip(self._block.calls, calls, strict=True)
        refuse_wide_totals(bounded, ((one, part.call) for one, call in made_of for part in call.parts))
        partial: Node = Aggregate(bounded, ((unit, Ref(sides.unit)), *inner), tuple(sides.call_of_counted(p.call) for p in parts))
        if inner and not self._is_determined(rows):
            partial = Cut(partial, (Ref(unit),), groups)
        for other, column in sides.others:
            partial = Join("INNER", partial, other, _equal(Ref(unit), Ref(column)))
        made = dict(inner)
        outer = tuple((replace(f, number=next(self._numbers)), Ref(f) if f in made else sides.of_others(e, unit))
                      for f, e in keys)  # fmt: skip
        most = known(partial).rows
        sums = [_within(self._sum_of(part, sides.asked_of_others(part.call, unit)), part, most) for part in parts]
        return self._grouped(partial, outer, sums, domains)

    def _sides(self, rows: Node, parts: list[Part], keys: tuple[tuple[Field, Expression], ...]) -> Sides:
        block = self._block
        read = references(*(e for part in parts for e in part.call.arguments))
        filters = [e for part in parts for e in conjuncts(part.call.filter)]
        return sides_of(push_filters(rows), block.unit, block.units, read, [*(e for _, e in keys), *filters])

    def _sum_of(self, part: Part, asked: Expression | None) -> Call:
        """asked: what a unit's number counts under, alike in all of the unit's rows."""
        output = part.call.output
        value: Expression = Ref(output)
        if part.clamp:
            value = clamped(value, part.low, part.high)
        elif output.nullable:
            value = Apply("coalesce", (value, constant(0, output.type)), output.type, nullable=False)
        if asked is not None:
            value = Case(((asked, value),), constant(0, output.type), output.type)
        return Call(replace(part.single.output, type=sum_type(output.type)), "sum", (value,))

    def _grouped(self, rows: Node, keys: tuple[tuple[Field, Expression], ...], sums: list[Call],
                 domains: tuple[Domain, ...] | None) -> _Group:  # fmt: skip
        units = Field(next(self._numbers), "units", BIGINT, nullable=False) if domains is None else None
        counting = () if units is None else (Call(units, "count_star", ()),)
        node = Aggregate(rows, keys, (*sums, *counting))
        return _Group(node, tuple(f for f, _ in keys), tuple(call.output for call in sums), units)

    def _listed(self, found: _Group, domains: tuple[Domain, ...] | None) -> tuple[Node, tuple[Field, ...]]:
        """Keys and sums, 0 where nobody is in a group; every public group. And the fields of the sums, then of the units."""
        named = self._block.keys
        sums = found.sums if found.units is None else (*found.sums, found.units)
        whole = tuple(self._output(f) for f in sums)
        values = tuple((f, _or_zero(own, nullable=bool(domains) or not named)) for f, own in zip(whole, sums, strict=True))
        if not domains:
            keys = tuple((f, Ref(own)) for (f, _), own in zip(named, found.keys, strict=True))
            return Project(found.node, (*keys, *values)), whole
        return Project(self._outer(found, domains), (*((f, Ref(f)) for f, _ in named), *values)), whole

    def _outer(self, found: _Group, domains: tuple[Domain, ...]) -> Node:
        whole = reduce(lambda left, right: Join("INNER", left, right, None), (one.relation for one in domains))
        met = conjunction([_equal(Ref(one.code), Ref(own)) for one, own in zip(domains, found.keys, strict=True)])
        return Join("LEFT", whole, found.node, met)

    # --- noise -------------------------------------------------------------------------------------

    def _noised(self, found: _Group, calls: list[Released], domains: tuple[Domain, ...] | None, groups: int,
                asked: Asked) -> tuple[Node, Block]:  # fmt: skip
        parts = [part for call in calls for part in call.parts]
        wanted = [Wanted(part.sensitivity, Fraction(1, len(calls) * len(call.parts))) for call in calls for part in call.parts]
        moved = Moved(groups, len(calls), domains is None)
        terms = terms_of(self._block, self._limits, wanted, moved, self._way, self._parties)
        listed, whole = self._listed(found, domains)
        mechanisms = terms.parts if terms.units is None else (*terms.parts, terms.units)
        noises = tuple(Noise(f, self._output(f), mechanism) for f, mechanism in zip(whole, mechanisms, strict=True))
        node: Node = Noised(listed, noises)
        if terms.threshold is not None:
            node = Filter(node, _reaches(noises[-1].output, terms.threshold))
        outputs: list[tuple[Field, Expression]] = [(f, Ref(f)) for f, _ in self._block.keys]
        rest = list(noises)
        for call in calls:
            own, rest = rest[: len(call.parts)], rest[len(call.parts) :]
            outputs.append((call.call.output, call.value(tuple(Ref(noise.output) for noise in own))))
        answers = tuple(
            Answer(part.title, part.low, part.high, part.single.output.type.scale, groups, mechanism)
            for part, mechanism in zip(parts, terms.parts, strict=True)
        )
        if terms.units is not None:
            answers = (*answers, Answer("units of a group", 0, 1, 0, groups, terms.units))
        return Project(node, tuple(outputs)), self._described(terms, groups, asked, answers)

    def _output(self, field: Field) -> Field:
        return replace(field, number=next(self._numbers), nullable=False)

    def _described(self, terms: Terms, groups: int, asked: Asked, answers: tuple[Answer, ...]) -> Block:
        unit = self._block.unit
        return Block(self._owners, unit.name or unit.sql, terms.epsilon, terms.delta, groups, 1 if asked.alone else asked.rows,
                     terms.threshold, self._limits.least_units(), answers, terms.slack,
                     tuple((party, policy.space) for party, policy in self._limits.policies))  # fmt: skip

    # --- distinct values ---------------------------------------------------------------------------

    def _values(self, asked: Asked, rows: Node, groups: int, domains: tuple[Domain, ...] | None) -> tuple[Node, Block]:
        """COUNT(DISTINCT x): of all (group, value) pairs of a unit at most L0 * C, then what is left is counted."""
        block = self._block
        [one] = block.calls
        [argument] = one.call.arguments
        times = 1 if asked.alone else asked.rows
        if times is None:
            raise refused(block, "COUNT(DISTINCT) WITH DIFFERENTIAL_PRIVACY needs a bound of a unit's values in a group",
                          "Write max_rows_contributed = 5 in OPTIONS.")
        most = groups * times
        kept = conjunction([e for e in (one.call.filter, _present(argument) if argument.nullable else None) if e is not None])
        unit = replace(block.unit, number=next(self._numbers))
        value = Field(next(self._numbers), "value", argument.type, argument.nullable)
        keys = self._keys(domains)
        pairs: Node = Aggregate(rows if kept is None else Filter(rows, kept),
                                ((unit, Ref(block.unit)), *keys, (value, argument)), ())  # fmt: skip
        pairs = Cut(pairs, (Ref(unit),), most)
        outer = tuple((replace(f, number=next(self._numbers)), Ref(f)) for f, _ in keys)
        total = Field(next(self._numbers), "count", BIGINT, nullable=False)
        units = Field(next(self._numbers), "units", BIGINT, nullable=False) if domains is None else None
        counting = () if units is None else (Call(units, "count", (Ref(unit),), distinct=True),)
        node = Aggregate(pairs, outer, (Call(total, "count", (Ref(value),), distinct=True), *counting))
        found = _Group(node, tuple(f for f, _ in outer), (total,), units)
        part = Part(Call(total, "count", ()), 0, 1, False, Call(total, "count", ()), "count(DISTINCT values)")
        call = Released(one.call, (part,), lambda found: found[0], False)
        return self._noised(found, [call], domains, most, asked)


def _within(call: Call, part: Part, rows: int) -> Call:
    """Its total lies in the bounds of so many units."""
    return replace(call, within=(rows * min(part.low, 0), rows * max(part.high, 0))) if call.function == "sum" else call


def _present(e: Expression) -> Expression:
    return Apply("NOT", (Apply("IS NULL", (e,), BOOLEAN, nullable=False),), BOOLEAN, nullable=False)


def _equal(a: Expression, b: Expression) -> Expression:
    return Apply("=", (a, b), BOOLEAN, a.nullable or b.nullable)


def _or_zero(field: Field, *, nullable: bool) -> Expression:
    if not nullable:
        return Ref(field)
    return Apply("coalesce", (Ref(replace(field, nullable=True)), constant(0, field.type)), field.type, nullable=False)


def _reaches(field: Field, least: int) -> Expression:
    return Apply(">=", (Ref(field), Constant(BIGINT, least, str(least))), BOOLEAN, nullable=False)
