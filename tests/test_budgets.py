"""What answers cost, through real processes: owners that die at every point, clients that race, questions asked again."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pyarrow as pa
import pytest

import sdh
from sdh import errors
from sdh.config import Limits, Programs
from sdh.connectors.ledger import CANCELLED, RESERVE, SPENT, Ledger
from sdh.hub import Hub
from sdh.privacy import PrivacyPolicy
from tests.programs.dying_node import POINTS

OWNERS = ("north", "south")
TABLES = {"north": {"patients": pa.table({"id": list(range(60)), "ward": [i % 3 for i in range(60)]})},
          "south": {"bills": pa.table({"id": list(range(20, 80)), "cost": [i % 50 for i in range(60)]})}}
UNITS = {"north": "patients", "south": "bills"}
KEYS = {"north": {"patients": [("id",)]}, "south": {"bills": [("id",)]}}
CLAUSE = "SELECT WITH DIFFERENTIAL_PRIVACY OPTIONS(epsilon = 0.1, noise = PARTIES)"
SQL = f"{CLAUSE} count(*) AS n FROM north.patients p JOIN south.bills b ON p.id = b.id"


def opened(folder: Path, programs: Programs | None = None, budget: str = "1") -> Hub:
    hub = sdh.connect(programs=programs or Programs(), limits=Limits(start=40, stop=1.0))
    for owner, tables in TABLES.items():
        policy = sdh.Policy.parse(f"GRANT DP ON {owner}.{UNITS[owner]} TO analyst", unit={UNITS[owner]: "id"},
                                  privacy=PrivacyPolicy.of(budgets={"analyst": (budget, 0)}))
        hub.attach(owner, stored(folder, owner, tables), policy=policy, keys=KEYS[owner], ledger=folder / f"{owner}.ledger")
    return hub


def stored(folder: Path, owner: str, tables: dict[str, pa.Table]) -> str:
    """Files that stay, so that the same data is the same to another hub."""
    from pyarrow import parquet

    home = folder / owner
    if not home.exists():
        home.mkdir()
        for name, table in tables.items():
            parquet.write_table(table, home / f"{name}.parquet")
    return str(home)


def charged(folder: Path, owner: str) -> int:
    """How many answers an owner's ledger counts."""
    rows = entries(folder, owner)
    return rows.count(RESERVE) - rows.count(CANCELLED)


def entries(folder: Path, owner: str) -> list[str]:
    ledger = Ledger(folder / f"{owner}.ledger", owner)
    kinds = [row.kind for row in ledger.rows()]
    ledger.close()
    return kinds


@pytest.fixture(scope="module")
def dying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hub, Path]]:
    folder = tmp_path_factory.mktemp("dying")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SDH_TEST_DIE", str(folder / "die"))
        with opened(folder, Programs(node="tests.programs.dying_node"), "100") as hub:
            yield hub, folder


@pytest.mark.parametrize("owner", OWNERS)
@pytest.mark.parametrize("point", POINTS)
def test_no_answer_without_its_charge(dying: tuple[Hub, Path], point: str, owner: str) -> None:
    hub, folder = dying
    question = f"{SQL} WHERE p.id <> {1000 + POINTS.index(point) + 10 * OWNERS.index(owner)}"
    before = {one: charged(folder, one) for one in OWNERS}
    (folder / "die").write_text(f"{point} {owner}")
    with pytest.raises((errors.PartyLost, errors.Aborted)):
        hub.sql(question)
    (folder / "die").unlink()
    lost = {one: charged(folder, one) - before[one] for one in OWNERS}
    assert lost[owner] == (point != "before")   # reserved counts as spent
    if point in ("computed", "spent", "sending"):
        assert all(lost.values())
    answer = hub.sql(question).fetchall()
    assert all(charged(folder, one) - before[one] >= 1 for one in OWNERS)
    assert hub.sql(question).fetchall() == answer   # from what was stored


@pytest.mark.parametrize("owner", OWNERS)
def test_an_owner_that_dies_after_sending_has_charged_and_kept_it(dying: tuple[Hub, Path], owner: str) -> None:
    hub, folder = dying
    question, told = f"{SQL} WHERE p.id <> {2000 + OWNERS.index(owner)}", []
    before = {one: charged(folder, one) for one in OWNERS}
    (folder / "die").write_text(f"sent {owner}")
    for _ in range(2):   # the hub hears of its end before the other owner's part came, or only when it asks again
        with suppress(errors.PartyLost):
            told.append(hub.sql(question).fetchall())
        (folder / "die").unlink(missing_ok=True)
    told.append(hub.sql(question).fetchall())
    assert all(one == told[0] for one in told)
    assert all(charged(folder, one) - before[one] == 1 for one in OWNERS)


def test_an_answer_costs_once_and_stays_the_same(tmp_path: Path) -> None:
    with opened(tmp_path) as hub:
        first = hub.sql(SQL)
        assert entries(tmp_path, "north")[1:] == entries(tmp_path, "south")[1:] == [RESERVE, SPENT]
        assert hub.sql(SQL).fetchall() == first.fetchall()
    with opened(tmp_path) as hub:   # another hub, the same data
        assert hub.sql(SQL).fetchall() == first.fetchall()
    assert charged(tmp_path, "north") == charged(tmp_path, "south") == 1


def test_variants_of_a_question_cost_again_and_end(tmp_path: Path) -> None:
    """Averaging, renaming, re-ordering, differencing: all meet the budget."""
    variants = [SQL, SQL.replace("AS n", "AS m"), SQL.replace("p.id = b.id", "b.id = p.id"), SQL + " WHERE TRUE",
                SQL + " WHERE p.id <> 5", SQL + " WHERE p.id > 5", SQL.replace("SELECT", "SELECT ", 1), SQL + " AND 1 = 1",
                SQL.replace("patients p JOIN south.bills b", "patients AS p JOIN south.bills AS b"), SQL + " -- again",
                SQL + " WHERE b.cost >= 0"]
    with opened(tmp_path) as hub:
        for place, text in enumerate(variants[:10]):
            assert len(hub.sql(text).fetchall()) == 1, place
        with pytest.raises(errors.BudgetSpent, match="epsilon 0 of 1 is left"):
            hub.sql(variants[10])
        assert len(hub.sql(variants[0]).fetchall()) == 1   # what was answered stays answered
    assert charged(tmp_path, "north") == charged(tmp_path, "south") == 10


def test_a_refusal_costs_nobody(tmp_path: Path) -> None:
    with opened(tmp_path) as hub:
        south = Ledger(tmp_path / "south.ledger", "south")
        south.set_budget("units", "analyst", 1, 0)
        with pytest.raises(errors.BudgetSpent):
            hub.sql(SQL)
        assert charged(tmp_path, "north") == charged(tmp_path, "south") == 0
        south.set_budget("units", "analyst", 10**9, 0)
        assert len(hub.sql(SQL).fetchall()) == 1


def test_clients_race_for_the_last_charge(tmp_path: Path) -> None:
    told: list[object] = []
    with ExitStack() as stack:
        hubs = [stack.enter_context(opened(tmp_path, budget="0.3")) for _ in range(3)]

        def ask(hub: Hub, number: int) -> None:
            for i in range(3):
                with suppress(errors.BudgetSpent, errors.Aborted, errors.PartyLost):
                    told.append(hub.sql(f"{SQL} WHERE p.id <> {1000 + 10 * number + i}").fetchall())

        threads = [threading.Thread(target=ask, args=pair) for pair in zip(hubs, range(3), strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert not any(thread.is_alive() for thread in threads)
    assert all(len(told) <= charged(tmp_path, owner) <= 3 for owner in OWNERS)
    assert told


FAILING = "CASE WHEN n > 60 THEN 1 // (n - n) ELSE CAST('x' || n AS INTEGER) END AS x"


def test_that_a_noisy_answer_failed_is_told_at_its_price(tmp_path: Path) -> None:
    """How it failed says what the answer was: each time it is asked noise is drawn anew."""
    of_one = "SELECT WITH DIFFERENTIAL_PRIVACY OPTIONS(epsilon = 0.3) count(*) AS n FROM "
    with opened(tmp_path) as hub:
        for _ in range(3):
            with pytest.raises(errors.DataError):
                hub.sql(f"SELECT {FAILING} FROM ({of_one} south.bills)")
        with pytest.raises(errors.BudgetSpent):
            hub.sql(f"SELECT {FAILING} FROM ({of_one} south.bills)")
        assert charged(tmp_path, "south") == 3
        with pytest.raises(errors.Unsupported, match="shows no errors of its answer"):
            hub.explain(f"SELECT a.x, b.n FROM (SELECT {FAILING} FROM ({of_one} south.bills)) a, ({of_one} north.patients) b")
        both = f"SELECT a.n AS x, b.n FROM ({of_one} south.bills WHERE id > 0) a, ({of_one} north.patients) b"
        with pytest.raises(errors.BudgetSpent):
            hub.sql(both)
    assert (charged(tmp_path, "south"), charged(tmp_path, "north")) == (3, 0)


@pytest.mark.parametrize("further", [0, 2])
def test_an_old_ledger_that_is_put_back_is_refused(tmp_path: Path, further: int) -> None:
    """As it was, and after it went further than the one that it stands for, by questions that no other owner hears of."""
    with opened(tmp_path) as hub:
        hub.sql(SQL)
        for path in list(tmp_path.glob("north.ledger*")):
            shutil.copy(path, tmp_path / f"old-{path.name}")
        hub.sql(SQL + " WHERE TRUE")
    for path in list(tmp_path.glob("north.ledger*")):
        path.unlink()
    for path in list(tmp_path.glob("old-*")):
        path.rename(tmp_path / path.name.removeprefix("old-"))
    with opened(tmp_path) as hub:
        for i in range(further):
            hub.sql(f"{CLAUSE} count(*) FROM north.patients WHERE id <> {i}")
        with pytest.raises(errors.LedgerBehind, match=r"north is not the one that (south|another owner) saw last"):
            hub.sql(SQL + " WHERE p.id <> 7")


def test_a_policy_of_privacy_needs_a_ledger(tmp_path: Path) -> None:
    policy = sdh.Policy.parse("GRANT DP ON bills TO analyst", unit={"bills": "id"},
                              privacy=PrivacyPolicy.of(budgets={"analyst": (1, 0)}))
    with sdh.connect() as hub, pytest.raises(errors.UnknownDeclaration, match="no ledger"):
        hub.attach("south", TABLES["south"], policy=policy)
