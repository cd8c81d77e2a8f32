"""Plans with differential privacy: each rule's refusal, how contributions are bounded, grants, caps and charges."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction

import pytest

import sdh
from sdh.accounting import delta_of
from sdh.catalog import Catalog, Facts, Party, TableFacts, padded
from sdh.errors import FloorUnsupported, NotGranted, SdhError, Unsupported
from sdh.planners.logical import Aggregate, Cut, Filter, Node, Noised, nodes
from sdh.planners.mechanisms import OWNER, joint_slack
from sdh.planners.optimize import optimize
from sdh.planners.physical import TopK
from sdh.planners.placed import Top
from sdh.planners.plan import Fragment, Plan, Question, bound, finish, place
from sdh.planners.privatise import privatise
from sdh.policy import Policy
from sdh.privacy import PrivacyPolicy
from sdh.schema import BOOLEAN, DOUBLE, INTEGER, VARCHAR, Column, Kind, Type

MONEY = Type(Kind.DECIMAL, 15, 2)
PATIENTS = (Column("id", INTEGER, False), Column("age", INTEGER), Column("sex", BOOLEAN, False), Column("city", VARCHAR),
            Column("cost", MONEY))  # fmt: skip
VISITS = (Column("pid", INTEGER), Column("item", INTEGER, False), Column("qty", INTEGER), Column("kind", VARCHAR),
          Column("f", DOUBLE))  # fmt: skip
PRIVACY = PrivacyPolicy.of(epsilon=2, delta="1e-6", groups=4, rows=8, bounds={"patients.age": (0, 110)},
                           public={"patients.city": ("Bern", "Basel")})  # fmt: skip
NORTH = Policy.parse("GRANT DP ON patients TO analyst", unit={"patients": "id"}, facts="measured", privacy=PRIVACY)
SOUTH = Policy.parse("GRANT DP ON visits TO analyst", unit={"visits": "pid"}, facts="measured", privacy=PRIVACY)


def catalog(north: Policy = NORTH, south: Policy = SOUTH) -> Catalog:
    patients = TableFacts("north", "patients", PATIENTS, (Facts(bits=10), Facts(bits=8), Facts(bits=1), Facts(bytes=8),
                          Facts(bits=24)), padded(1000), (("id",),))  # fmt: skip
    visits = TableFacts("south", "visits", VISITS, (Facts(bits=10), Facts(low=1, high=6), Facts(bits=8), Facts(bytes=8),
                        Facts(bits=8)), padded(3000))  # fmt: skip
    items = TableFacts("", "items", (Column("code", INTEGER, False), Column("label", VARCHAR)), (Facts(bits=5), Facts(bytes=8)),
                       25, (("code",),))  # fmt: skip
    return Catalog((Party("north", (patients,), north), Party("south", (visits,), south)), (items,))


BOTH = catalog()
JOIN = "FROM north.patients p JOIN south.visits v ON p.id = v.pid"
DP = "SELECT WITH DIFFERENTIAL_PRIVACY OPTIONS(epsilon = 1, max_groups_contributed = 2, max_rows_contributed = 3)"
BARE = "SELECT WITH DIFFERENTIAL_PRIVACY OPTIONS(epsilon = 1)"


def plan(text: str, known: Catalog = BOTH, client: str = "analyst", privacy: sdh.DP | None = None) -> Plan:
    placed = place(Question(text, client, (), "UTC", privacy), known)
    return finish(placed, tuple(fragment.slots for fragment in placed.fragments))


def rewritten(text: str, known: Catalog = BOTH) -> list[Node]:
    """The nodes of the plan in which noise stands for the blocks."""
    node = optimize(bound(Question(text, "analyst"), known)[0])
    return list(nodes(privatise(node, known, "analyst")[0]))


def cuts(text: str, known: Catalog = BOTH) -> list[tuple[int, int]]:
    """(keys, most) of every cut, from the rows up."""
    return [(len(one.keys), one.most) for one in rewritten(text, known) if isinstance(one, Cut)]


# --- refusals ------------------------------------------------------------------------------------

REFUSED = [
    (f"{DP} v.item {JOIN} GROUP BY v.item", "without an aggregate"),
    (f"{DP} min(v.qty) {JOIN}", "MIN .* single unit's value"),
    (f"{DP} max(v.qty) {JOIN}", "MAX .* single unit's value"),
    (f"{DP} median(v.qty) {JOIN}", "MEDIAN .* single unit's value"),
    (f"{DP} stddev_pop(v.qty) {JOIN}", "STDDEV_POP .* needs a bound"),
    (f"{DP} skewness(v.qty) {JOIN}", "SKEWNESS .* is not supported"),
    (f"{DP} sum(v.qty) {JOIN}", "SUM .* needs a bound"),
    (f"{DP} avg(v.qty) {JOIN}", "AVG .* needs a bound"),
    (f"{DP} sum(DISTINCT v.qty) {JOIN}", "DISTINCT values is not supported"),
    (f"{DP} count(DISTINCT v.qty), count(*) {JOIN}", "beside other aggregates"),
    (f"{DP} sum(v.f, contribution_bounds_per_row => (0, 1)) {JOIN}", "SUM .* of DOUBLE"),
    (f"{DP} sum(p.cost, contribution_bounds_per_row => (0, 1.005)) {JOIN}", "more decimals"),
    (f"{DP} sum(p.age, contribution_bounds_per_row => (0, 200)) {JOIN}", "wider bounds per row"),
    (f"{DP} count(*, contribution_bounds_per_row => (0, 1)) {JOIN}", "no bounds per row"),
    (f"{DP} count(*, contribution_bounds_per_group => (0, 1.5)) {JOIN}", "whole number"),
    (f"{DP} var_pop(v.qty, contribution_bounds_per_group => (0, 9)) {JOIN}", "with bounds per row"),
    ("SELECT sum(v.qty, contribution_bounds_per_row => (0, 1)) " + JOIN, "without WITH DIFFERENTIAL_PRIVACY"),
    (f"{DP} p.id, count(*) {JOIN} GROUP BY p.id", "GROUP BY the unit"),
    (f"{DP} v.pid, count(*) {JOIN} GROUP BY v.pid", "GROUP BY the unit"),
    (f"{DP.replace('epsilon = 1', 'epsilon = 1, delta = 0')} v.kind, count(*) {JOIN} GROUP BY v.kind", "delta above 0"),
    (f"{DP.replace('epsilon = 1', 'epsilon = 1, group_selection_strategy = PUBLIC_GROUPS')} v.kind, count(*) {JOIN} "
     "GROUP BY v.kind", "Nobody names public values"),
    ("SELECT WITH DIFFERENTIAL_PRIVACY count(*) " + JOIN, "needs its epsilon"),
    (f"{DP} count(*) FROM north.patients p JOIN south.visits v ON p.age = v.qty", "anything but the unit"),
    (f"{DP} count(*) FROM north.patients p, south.visits v", "cross join"),
    (f"{DP} count(*) FROM north.patients p JOIN south.visits v ON p.id < v.pid", "anything but the unit"),
    (f"{DP} count(*) FROM north.patients p FULL JOIN south.visits v ON p.id = v.pid", "FULL JOIN"),
    (f"{DP} count(*) FROM items i LEFT JOIN south.visits v ON i.code = v.item", "public rows that private"),
    (f"{DP} count(*) FROM items i WHERE i.code IN (SELECT item FROM south.visits)", "public rows that private"),
    (f"{DP} count(*) FROM (SELECT * FROM south.visits LIMIT 5) v", "LIMIT"),
    (f"{DP} count(*) FROM (SELECT item, count(*) AS n FROM south.visits GROUP BY item) v", "mixes units"),
    (f"{DP} count(*) FROM (SELECT DISTINCT item FROM south.visits) v", "mixes units"),
    (f"{DP} count(*) FROM south.visits v WHERE v.qty > (SELECT avg(age) FROM north.patients)", "mixes units"),
    (f"{DP} count(*) FROM south.visits v WHERE v.qty > (SELECT age FROM north.patients)", "no unit ties|cross join"),
    (f"{DP} count(*) FROM south.visits v WHERE EXISTS (SELECT 1 FROM north.patients p WHERE p.age = v.qty)", "but the unit"),
    (f"{DP} count(*) FROM south.visits v WHERE v.item NOT IN (SELECT age FROM north.patients)", "no unit ties|but the unit"),
    (f"{DP} count(*) FROM (SELECT qty FROM south.visits) v", "drops the column"),
    (f"{DP} count(*) FROM (SELECT pid + 1 AS pid FROM south.visits) v", "drops the column"),
    (f"{DP} count(*) FROM (SELECT id FROM north.patients UNION ALL SELECT code FROM items) v", "private rows with public"),
    (f"{DP} count(*) FROM (SELECT code FROM items INTERSECT SELECT pid FROM south.visits) v", "EXCEPT of private .* with public"),
    (f"{DP} count(*) FROM (SELECT pid FROM south.visits EXCEPT SELECT code FROM items) v", "EXCEPT of private .* with public"),
    (f"{DP} count(*) FROM (SELECT id, age FROM north.patients EXCEPT SELECT qty, pid FROM south.visits) v", "different columns"),
    (f"{DP} count(*) FROM (SELECT age FROM north.patients INTERSECT SELECT qty FROM south.visits) v", "different columns"),
    (f"WITH w AS ({DP} v.item, count(*) AS n {JOIN} GROUP BY 1) SELECT n FROM w EXCEPT SELECT n + 1 FROM w", "read twice"),
    (f"WITH w AS ({DP} v.item, count(*) AS n {JOIN} GROUP BY 1), x AS (SELECT n FROM w), y AS (SELECT n FROM w WHERE n > 3) "
     "SELECT x.n FROM x JOIN y ON x.n = y.n", "read twice"),
    (f"{DP} count(*) AS n FROM south.visits UNION SELECT id FROM north.patients", "exactly beside"),
    (f"{DP} count(*) FROM items", "nobody to protect"),
    (f"{DP} count(*) FROM ({DP} v.item, count(*) AS n FROM south.visits v GROUP BY v.item) w", "inside another"),
    (f"WITH w AS ({DP} count(*) AS n FROM south.visits) SELECT a.n + b.n FROM w a, w b", "read twice"),
    (f"SELECT ({DP} count(*) FROM south.visits) AS n", "in a subquery"),
    (f"{DP} v.kind, count(*) FROM south.visits v GROUP BY v.kind LIMIT 3", "LIMIT without ORDER BY above"),
    (f"SELECT n FROM ({DP} v.kind, count(*) AS n FROM south.visits v GROUP BY v.kind) LIMIT 3", "LIMIT without ORDER BY above"),
    (f"SELECT d.n, p.age FROM ({DP} count(*) AS n FROM south.visits) d, north.patients p", "exactly beside"),
    (f"SELECT n FROM ({DP} count(*) AS n FROM south.visits) d WHERE n > (SELECT count(*) FROM north.patients)", "exactly beside"),
    (f"{DP} count(*) FROM south.visits v WHERE CAST(v.kind AS INTEGER) > 3", "may fail"),
    (f"{DP} count(*) FROM south.visits v WHERE 10 // v.qty > 3", "may fail"),
    (f"{DP} count(*) FROM south.visits v WHERE v.qty > (SELECT code FROM items)", "may have several|may$|key that only"),
    (f"{BARE.replace('epsilon = 1', 'epsilon = 1, privacy_unit_column = v.qty')} count(*) FROM south.visits v", "owner's policy"),
    (f"{BARE.replace('epsilon = 1', 'epsilon = 1, privacy_unit_column = i.code')} count(*) FROM south.visits v "
     "JOIN items i ON i.code = v.item", "rows are of another"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "rule"), REFUSED)
def test_refused_by_its_rule(text: str, rule: str) -> None:
    with pytest.raises(Unsupported) as caught:
        plan(text)
    assert re.search(rule, caught.value.message), caught.value.message
    assert caught.value.line == 1
    assert caught.value.column > 0


@pytest.mark.parametrize(("options", "rule"), [
    ("epsilon = 3", "epsilon 3 .* north allows: 2"),
    ("epsilon = 1, delta = 1e-5", "delta 1e-05 .* north allows: 1e-06"),
    ("epsilon = 1, max_groups_contributed = 5", "max_groups_contributed 5 .* allows: 4"),
    ("epsilon = 1, max_rows_contributed = 9", "max_rows_contributed 9 .* allows: 8"),
])  # fmt: skip
def test_what_is_above_the_caps(options: str, rule: str) -> None:
    with pytest.raises(NotGranted, match=rule):
        plan(f"SELECT WITH DIFFERENTIAL_PRIVACY OPTIONS({options}) v.kind, count(*) {JOIN} GROUP BY v.kind")
    own = [replace(policy, privacy=None, grants=Policy.open().grants, floor=1) for policy in (NORTH, SOUTH)]
    loose = options if "max_rows" in options else f"{options}, max_rows_contributed = 3"
    loose = loose if "max_groups" in loose else f"{loose}, max_groups_contributed = 3"
    loose = loose if "delta" in loose else f"{loose}, delta = 1e-8"
    plan(f"SELECT WITH DIFFERENTIAL_PRIVACY OPTIONS({loose}) v.kind, count(*) {JOIN} GROUP BY v.kind", catalog(*own))


def test_without_anybody_to_bound_contributions() -> None:
    opened = Policy.open()
    known = catalog(opened, opened)
    start = "SELECT WITH DIFFERENTIAL_PRIVACY OPTIONS(epsilon = 1, delta = 1e-8, privacy_unit_column = p.id"
    with pytest.raises(Unsupported, match="bound of a unit's groups"):
        plan(f"{start}, max_rows_contributed = 1) v.kind, count(*) {JOIN} GROUP BY 1", known)
    with pytest.raises(Unsupported, match=r"COUNT .* needs a bound"):
        plan(f"{start}, max_groups_contributed = 1) v.kind, count(*) {JOIN} GROUP BY 1", known)
    with pytest.raises(Unsupported, match="tells units apart"):
        plan(f"{DP} count(*) {JOIN}", known)
    plan(f"{start}, max_rows_contributed = 1) count(*) {JOIN}", known)


# --- grants --------------------------------------------------------------------------------------


def test_dp_lets_a_column_into_a_block_and_nowhere_else() -> None:
    plan(f"{DP} v.kind, count(*), sum(p.age), sum(v.qty, contribution_bounds_per_group => (0, 9)) {JOIN} GROUP BY v.kind "
         "HAVING count(*) > 3 ORDER BY 2 LIMIT 5")  # fmt: skip
    for text in (f"SELECT count(*) {JOIN}", f"SELECT p.age {JOIN}", "SELECT age FROM north.patients"):
        with pytest.raises(NotGranted):
            plan(text)


def test_every_column_that_enters_needs_its_grant() -> None:
    some = replace(NORTH, grants=Policy.parse("GRANT DP ON patients (id, age) TO analyst").grants)
    plan(f"{DP} sum(p.age) {JOIN}", catalog(some))
    for text in (f"{DP} sum(p.age) {JOIN} WHERE p.cost > 3", f"{DP} p.sex, count(*) {JOIN} GROUP BY p.sex"):
        with pytest.raises(NotGranted, match=r"north.patients.(cost|sex) enters"):
            plan(text, catalog(some))
    with pytest.raises(NotGranted, match="not granted to somebody"):
        plan(f"{DP} sum(p.age) {JOIN}", client="somebody")


def test_dp_without_a_policy_of_privacy_counts_for_nothing() -> None:
    with pytest.raises(NotGranted):
        plan(f"{DP} count(*) {JOIN}", catalog(replace(NORTH, privacy=None)))


def test_exact_grants_do_too_but_not_under_a_floor() -> None:
    exact = Policy.open()
    plan(f"{DP} count(*) {JOIN}", catalog(replace(exact, unit=NORTH.unit)))
    with pytest.raises(FloorUnsupported, match="WITH DIFFERENTIAL_PRIVACY"):
        plan(f"{DP} count(*) {JOIN}", catalog(replace(exact, unit=NORTH.unit, floor=2)))


# --- bounds of contributions ---------------------------------------------------------------------


def test_where_contributions_are_cut() -> None:
    by_item, by_city = "GROUP BY v.item", "GROUP BY p.city"
    per_row = "sum(v.qty, contribution_bounds_per_row => (0, 9))"
    assert cuts(f"{DP} v.item, count(*) {JOIN} {by_item}") == [(1, 2)], "L0 groups of a unit"
    assert cuts(f"{DP} v.item, {per_row} {JOIN} {by_item}") == [(2, 3), (1, 2)], "C rows of a unit and group, then L0"
    assert cuts(f"{DP} p.city, count(*) {JOIN} {by_city}") == [], "a patient has one city: its owner declared it"
    assert cuts(f"{DP} p.city, {per_row} {JOIN} {by_city}") == [(1, 3)], "as many of a unit as of it in its one city"
    both = "sum(p.age + v.qty, contribution_bounds_per_row => (0, 9))"
    assert cuts(f"{DP} v.item, {both} {JOIN} {by_item}") == [(2, 3), (1, 2)]
    assert cuts(f"{DP} count(*), {per_row} {JOIN}") == [(1, 3)]
    assert cuts(f"{DP} p.sex, count(*), sum(p.age) FROM north.patients p GROUP BY p.sex") == [], "a patient has one row"
    assert cuts(f"{DP} v.kind, count(DISTINCT v.qty) {JOIN} GROUP BY v.kind") == [(1, 6)], "L0 * C values"


def in_the_clear(text: str) -> int:
    """Cuts in fragments of owners."""
    return sum(isinstance(one, Cut) for leaf in plan(text).placed.leaves for one in nodes(leaf.node))


def test_the_owner_of_all_that_counts_bounds_it_itself() -> None:
    per_row = "sum(v.qty, contribution_bounds_per_row => (0, 9))"
    assert in_the_clear(f"{DP} v.item, {per_row} {JOIN} GROUP BY v.item") == 2
    assert in_the_clear(f"{DP} v.item, p.city, {per_row} {JOIN} WHERE p.age > 9 GROUP BY v.item, p.city") == 2
    assert in_the_clear(f"{DP} v.item, count(DISTINCT p.id) {JOIN} GROUP BY v.item") == 1
    assert in_the_clear(f"{DP} v.item, count(*) {JOIN} AND p.age > v.qty GROUP BY v.item") == 0, "rows that both decide on"
    assert in_the_clear(f"{DP} v.item, sum(p.age + v.qty, contribution_bounds_per_row => (0, 9)) {JOIN} GROUP BY v.item") == 0
    assert in_the_clear(f"{DP} v.qty + p.age, count(*) {JOIN} GROUP BY v.qty + p.age") == 0


def test_a_measured_fact_proves_nothing() -> None:
    """A table of one row, known by count, is still cut."""
    known = catalog()
    one = replace(known.parties[1].tables[0], rows=1)
    known = replace(known, parties=(known.parties[0], replace(known.parties[1], tables=(one,))))
    assert cuts(f"{DP} v.item, count(*) FROM south.visits v GROUP BY v.item", known) == [(1, 2)]


def test_rows_without_a_unit_are_nobodys() -> None:
    made = rewritten(f"{DP} count(*) FROM south.visits v")
    inner = next(one for one in made if isinstance(one, Aggregate))
    assert isinstance(inner.input, Filter)


# --- noise ---------------------------------------------------------------------------------------


def scales(text: str, known: Catalog = BOTH) -> list[Fraction]:
    [noised] = [one for one in rewritten(text, known) if isinstance(one, Noised)]
    return [noise.mechanism.scale for noise in noised.noises]


@pytest.mark.parametrize(("select", "wanted"), [
    ("v.item, count(*)", [2 * 3]),                                          # L0 C / epsilon
    ("v.item, count(*, contribution_bounds_per_group => (0, 5))", [2 * 5]),
    ("v.item, sum(v.qty, contribution_bounds_per_group => (-7, 5))", [2 * 7]),
    ("v.item, sum(v.qty, contribution_bounds_per_row => (-7, 5))", [2 * 3 * 7]),
    ("v.item, sum(p.cost, contribution_bounds_per_group => (0, 2.5))", [2 * 250]),
    ("v.item, count(DISTINCT p.id)", [2]),
    ("v.item, count(DISTINCT v.pid)", [2]),
    ("v.item, count(DISTINCT v.qty)", [2 * 3]),
    ("v.item, count(*), count(v.qty)", [2 * 3 * 2, 2 * 3 * 2]),             # half of epsilon each
    ("v.item, avg(v.qty, contribution_bounds_per_row => (0, 9))", [2 * 3 * 9 * 2, 2 * 3 * 2]),
    ("v.item, var_pop(v.qty, contribution_bounds_per_row => (0, 10))", [6 * 10 * 3, 6 * 100 * 3, 6 * 3]),
    ("v.item, stddev(v.qty, contribution_bounds_per_row => (0, 10))", [6 * 10 * 3, 6 * 100 * 3, 6 * 3]),
    ("v.kind, count(*)", [2 * 3 * 2, 2 * 2]),                               # half of epsilon selects groups
])  # fmt: skip
def test_scales(select: str, wanted: list[int]) -> None:
    assert scales(f"{DP} {select} {JOIN} GROUP BY {select.partition(',')[0]}") == wanted


def test_a_unit_of_one_row_needs_less_noise() -> None:
    assert scales(f"{DP} p.city, count(*), sum(p.age) FROM north.patients p GROUP BY p.city") == [2, 220]


def sums(many: int) -> str:
    """Each bounded by a hundred more than the one before."""
    return ", ".join(f"sum(v.qty, contribution_bounds_per_group => (0, {100 * i}))" for i in range(1, many + 1))


def test_many_answers_take_gaussian_noise() -> None:
    for way in ("JOINT", "PARTIES", "DEALER"):
        asked = f"{DP.replace('1,', f'1, delta = 1e-6, noise = {way},', 1)} v.item, {sums(10)} {JOIN} GROUP BY v.item"
        [noised] = [one for one in rewritten(asked) if isinstance(one, Noised)]
        assert {(noise.mechanism.kind, noise.mechanism.way) for noise in noised.noises} == {("gaussian", way.lower())}
        first, *_, last = (noise.mechanism.scale for noise in noised.noises)
        assert 0.99 < last / first / 100 < 1.01
    told = plan(asked.replace("DEALER", "JOINT")).explain()
    assert "variance x 1.00; its law is met but for 2^-60 in total variation (delta has room for it)" in told


@pytest.mark.parametrize(("groups", "delta", "least"), [(1, "1e-6", 9), (2, "1e-6", 5), (4, "1e-6", 3),
                                                        (1, "1e-8", 13)])
def test_gaussian_noise_is_taken_where_it_is_narrower(groups: int, delta: str, least: int) -> None:
    """From so many sums on. Of k sums of n groups Laplace's interval grows with k n, the Gaussian one with sqrt(k n)."""
    head = DP.replace("1,", f"1, delta = {delta},", 1).replace("groups_contributed = 2", f"groups_contributed = {groups}")
    for many in range(max(least - 1, 1), least + 1):
        [noised] = [one for one in rewritten(f"{head} v.item, {sums(many)} {JOIN} GROUP BY v.item") if isinstance(one, Noised)]
        assert {noise.mechanism.kind for noise in noised.noises} == {"gaussian" if many >= least else "laplace"}


@pytest.mark.parametrize("key", ["item", "kind"])
def test_gaussian_noise_stays_in_its_delta(key: str) -> None:
    """All of it: zCDP's, hidden groups', and that of jointly made noise."""
    charge = plan(f"{DP.replace('1,', '1, delta = 1e-6,', 1)} v.{key}, {sums(12)} {JOIN} GROUP BY v.{key}").charges[0]
    assert charge.delta == 10**9
    assert charge.slack >= joint_slack(Fraction(1)) > Fraction(1, 1 << 60)
    own = Fraction(12, 13) if key == "kind" else Fraction(1)
    rho = sum((Fraction(event.split()[1]) for event in charge.events if event.startswith("gaussian")), Fraction(0))
    assert delta_of(rho, own) + charge.slack <= Fraction(1, 10**6)
    assert charge.slack == joint_slack(Fraction(1)) + (Fraction(1, 2 * 10**6) if key == "kind" else 0)


def test_hidden_groups_stay_by_their_units() -> None:
    [block] = plan(f"{DP} v.kind, count(DISTINCT v.pid) FROM south.visits v GROUP BY v.kind").placed.blocks
    assert block.threshold is not None
    assert block.threshold > 1
    assert block.delta == Fraction(1, 10**6)
    few = replace(SOUTH, privacy=replace(PRIVACY, least_units=5))
    [more] = plan(f"{DP} v.kind, count(DISTINCT v.pid) FROM south.visits v GROUP BY v.kind", catalog(south=few)).placed.blocks
    assert more.threshold == block.threshold + 4


def test_one_owners_noise_is_its_own() -> None:
    [noised] = [one for one in rewritten(f"{DP} count(*) FROM south.visits v") if isinstance(one, Noised)]
    assert noised.noises[0].mechanism.way == OWNER
    for way in ("JOINT", "PARTIES", "DEALER"):
        text = f"{DP.replace('epsilon = 1', f'epsilon = 1, noise = {way}')} count(*) {JOIN}"
        [noised] = [one for one in rewritten(text) if isinstance(one, Noised)]
        assert noised.noises[0].mechanism.way == way.lower()


# --- what shows, and what it costs ---------------------------------------------------------------


def test_nothing_but_the_result_shows() -> None:
    mean = "avg(v.qty, contribution_bounds_per_row => (0, 9))"
    for text in (f"{DP} v.kind, count(*) {JOIN} GROUP BY v.kind", f"{DP} v.item, {mean} {JOIN} GROUP BY v.item",
                 f"{DP} p.city, count(*) FROM north.patients p GROUP BY p.city"):  # fmt: skip
        for policy in ("exact", "padded"):
            known = catalog(replace(NORTH, rows=policy), replace(SOUTH, rows=policy))
            made = plan(text, known)
            hidden = [fragment.rows == "hidden" for fragment in made.placed.fragments if {"north", "south"} & _parties(fragment)]
            assert hidden
            assert all(hidden)
            assert {reveal.reason for reveal in made.reveals} <= {"result", "slots"}, "slots: of public values alone"


def _parties(fragment: Fragment) -> set[str]:
    """Whose tables it reads."""
    return {name.partition(".")[0] for name in fragment.tables}


def test_roots_are_taken_of_noisy_numbers_alone() -> None:
    """By the client; no operator knows how to on shares."""
    top = plan(f"{DP} v.item, stddev(v.qty, contribution_bounds_per_row => (0, 9)) {JOIN} GROUP BY v.item").placed.top
    assert isinstance(top, Top)
    assert [step.place for step in top.steps] == [1]
    known = catalog(replace(Policy.open(), facts="measured"), replace(Policy.open(), facts="measured"))
    with pytest.raises(Unsupported, match="quotient or AVG"):
        plan(f"SELECT sqrt(avg(p.age * v.qty)) {JOIN}", known)


def test_each_owner_is_charged() -> None:
    north, south = plan(f"{DP} v.kind, count(*) {JOIN} GROUP BY v.kind").charges
    assert (north.party, south.party) == ("north", "south")
    assert (north.epsilon, north.delta, north.receiver) == (10**9, 10**9, "analyst")
    assert north.events == ("laplace 1/2", "laplace 1/2", f"slack {Fraction(1, 10**6)}")
    third = plan(f"{DP.replace('epsilon = 1', 'epsilon = 0.3333333333')} v.item, count(*) {JOIN} GROUP BY v.item").charges[0]
    assert (third.epsilon, third.delta) == (333333334, 0), "rounded up; no delta where nothing may fail"
    two = plan(f"SELECT n FROM ({DP} count(*) AS n FROM south.visits) a UNION ALL ({DP} count(*) FROM south.visits)").charges
    assert [charge.epsilon for charge in two] == [2 * 10**9]


def test_the_clients_own_tables_cost_nothing() -> None:
    south = replace(SOUTH, grants=Policy.parse("GRANT DP ON visits TO north").grants)
    charges = plan(f"{DP} count(*) {JOIN}", catalog(south=south), client="north").charges
    assert [charge.party for charge in charges] == ["south"]


def test_the_charge_is_in_the_digest() -> None:
    text = f"{DP} count(*) {JOIN}"
    other = replace(PRIVACY, space="patients of the north")
    assert plan(text).digest != plan(text, catalog(replace(NORTH, privacy=other))).digest


@pytest.mark.parametrize("source", [
    "FROM north.patients p LEFT JOIN south.visits v ON p.id = v.pid",
    "FROM north.patients p WHERE NOT EXISTS (SELECT 1 FROM south.visits v WHERE v.pid = p.id)",
    "FROM (SELECT id FROM north.patients UNION ALL SELECT pid FROM south.visits) p",
])  # fmt: skip
def test_a_unit_that_leaves_one_owner_alone_may_drop_rows_and_not_change_them(source: str) -> None:
    """Where owners' units are not of one space, one that leaves South is still at North: its row would change, by up to twice."""
    asked = f"{DP} count(*) {source}"
    apart = catalog(replace(NORTH, privacy=replace(PRIVACY, space="patients of the north")))
    assert plan(asked).placed.blocks
    with pytest.raises(Unsupported, match="not of one space"):
        plan(asked, apart)
    with pytest.raises(Unsupported, match="not of one space"):
        plan(asked, catalog(replace(Policy.open(), unit=(("patients", "id"),))))
    assert plan(f"{DP} count(*) {JOIN}", apart).placed.blocks
    assert plan(f"{DP} count(*) FROM north.patients p WHERE EXISTS (SELECT 1 FROM south.visits v WHERE v.pid = p.id)", apart)


def test_the_argument_is_the_clause() -> None:
    dp = sdh.DP(1, groups=2, rows=3)
    clause, argument = plan(f"{DP} v.item, count(*) AS n {JOIN} GROUP BY v.item"), plan(
        f"SELECT v.item, count(*) AS n {JOIN} GROUP BY v.item", privacy=dp)  # fmt: skip
    assert clause.placed.blocks == argument.placed.blocks
    assert clause.root == argument.root
    inner = f"SELECT n FROM (SELECT v.item, count(*) AS n {JOIN} GROUP BY v.item) WHERE n > 3"
    assert plan(inner, privacy=dp).placed.blocks[0].answers
    assert plan(f"WITH w AS (SELECT count(*) AS n {JOIN}) SELECT n FROM w", privacy=dp).placed.blocks
    for text, rule in ((f"{DP} count(*) {JOIN}", "at once"), (f"SELECT p.age {JOIN}", "outermost aggregate")):
        with pytest.raises(Unsupported, match=rule):
            plan(text, privacy=dp)


@pytest.mark.parametrize("text", [
    f"{DP} count(*) FROM north.patients p LEFT JOIN south.visits v ON p.id = v.pid",
    f"{DP} count(*) FROM north.patients p, south.visits v WHERE p.id = v.pid AND v.qty > 3",
    f"{DP} count(*) FROM south.visits v JOIN items i ON i.code = v.item",
    f"{DP} count(*) FROM south.visits v LEFT JOIN items i ON i.code = v.item",
    f"{DP} count(*) FROM south.visits v WHERE v.item IN (SELECT code FROM items)",
    f"{DP} count(*) FROM north.patients p WHERE EXISTS (SELECT 1 FROM south.visits v WHERE v.pid = p.id)",
    f"{DP} count(*) FROM north.patients p WHERE NOT EXISTS (SELECT 1 FROM south.visits v WHERE v.pid = p.id AND v.qty > 3)",
    f"{DP} count(*) FROM (SELECT pid, max(qty) AS q FROM south.visits GROUP BY pid) v WHERE v.q > 3",
    f"{DP} count(*) FROM (SELECT id AS u, age FROM north.patients UNION ALL SELECT pid, qty FROM south.visits) t",
    f"{DP} count(*) FROM (SELECT id AS u, age FROM north.patients INTERSECT SELECT pid, qty FROM south.visits) t",
    f"{DP} count(*) FROM (SELECT pid, qty FROM south.visits EXCEPT SELECT id, age FROM north.patients) t",
    f"WITH w AS (SELECT p.id, v.item {JOIN}) {DP} count(*) FROM w a JOIN w b ON a.id = b.id",
    f"SELECT n FROM ({DP} count(*) AS n FROM south.visits) EXCEPT SELECT code FROM items",
    f"{DP} count(*) FROM north.patients p WHERE p.age > (SELECT sum(v.qty) FROM south.visits v WHERE v.pid = p.id)",
    f"{DP} count(*) FROM south.visits v WHERE TRY_CAST(v.kind AS INTEGER) > 3",
    f"{DP} i.label, count(*), sum(v.qty, contribution_bounds_per_group => (0, 9)) FROM south.visits v JOIN items i "
    "ON i.code = v.item GROUP BY i.label",
    f"SELECT d.item, d.n * 2 AS n, i.label FROM ({DP} v.item, count(*) AS n {JOIN} GROUP BY v.item) d JOIN items i "
    "ON i.code = d.item WHERE d.n > 10 ORDER BY n DESC LIMIT 3",
])  # fmt: skip
def test_accepted(text: str) -> None:
    assert plan(text).placed.blocks


def test_units_that_the_question_names() -> None:
    known = catalog(replace(Policy.open(), facts="measured"), replace(Policy.open(), facts="measured"))
    named = f"{DP.replace('epsilon = 1', 'epsilon = 1, privacy_unit_column = p.id')} count(*)"
    plan(f"{named} {JOIN}", known)
    with pytest.raises(SdhError, match="anything but the unit"):
        plan(f"{named} FROM north.patients p JOIN south.visits v ON p.age = v.qty", known)
    assert not plan(f"{named} {JOIN}", known).charges, "owners without a policy of privacy keep no ledger"


def test_where_rows_stand_does_not_show() -> None:
    """LIMIT cuts by all columns; an owner's own answer comes in the order of its groups."""
    text = f"{DP} v.item, count(*) AS n, avg(v.qty, contribution_bounds_per_row => (0, 9)) AS a {JOIN} GROUP BY v.item"
    root = plan(f"{text} ORDER BY n DESC LIMIT 2").root
    assert root is not None
    assert isinstance(root.input, TopK)
    assert [key.descending for key in root.input.keys] == [True, False, False]
    alone = plan(f"{DP} v.kind, count(*) AS n FROM south.visits v GROUP BY v.kind").placed.fragments[0].sql
    assert re.search(r"FROM noised ORDER BY c\d+, c\d+, c\d+\)", alone)
    unnamed = plan(f"SELECT n FROM ({DP} v.kind, count(*) AS n FROM south.visits v GROUP BY v.kind)").placed.fragments[0].sql
    assert re.search(r"FROM noised ORDER BY c\d+, c\d+\)", unnamed), "by the noisy numbers where no key is read"
