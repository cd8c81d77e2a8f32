"""The ledger of differentially private answers: never more than the budget, never forgotten, never put back unnoticed."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sdh.accounting import DELTAS, EPSILONS, Spending, charge_of, epsilon_of, in_epsilon, rho_of, spending
from sdh.budget import app
from sdh.connectors.ledger import BUDGET, CANCELLED, RESERVE, SPENT, Ledger, owner_of, receipt_from_message
from sdh.errors import BudgetSpent, CorruptLedger, LedgerBehind

ROOT = Path(__file__).parent.parent
ONE = Fraction(1, 10)
CHARGE = charge_of("bank", "units", "analyst", ONE, Fraction(0), [f"laplace {ONE}"])
RUN = b"the digest of a run"


def opened(folder: Path, name: str = "bank", epsilon: int = 1, delta: Fraction = Fraction(0)) -> Ledger:
    ledger = Ledger(folder / f"{name}.ledger", name)
    if not ledger.budgets():
        ledger.set_budget("units", "analyst", epsilon * EPSILONS, int(delta * DELTAS))
    return ledger


def test_a_budget_is_never_passed(tmp_path: Path) -> None:
    ledger = opened(tmp_path)
    for i in range(10):
        ledger.spend([ledger.reserve(CHARGE, f"q{i}")], f"q{i}", "s", b"answer")
    with pytest.raises(BudgetSpent, match=r"epsilon 0 of 1 is left"):
        ledger.reserve(CHARGE, "one more")
    assert [row.kind for row in ledger.rows()] == [BUDGET, *[RESERVE, SPENT] * 10]


def test_what_was_reserved_counts_unless_it_was_cancelled(tmp_path: Path) -> None:
    ledger = opened(tmp_path)
    entries = [ledger.reserve(CHARGE, "q") for _ in range(10)]
    with pytest.raises(BudgetSpent):
        ledger.reserve(CHARGE, "q")
    ledger.cancel(entries[3])
    assert ledger.reserve(CHARGE, "q") > entries[-1]
    assert sum(row.kind == CANCELLED for row in ledger.rows()) == 1


def test_a_receiver_without_a_budget_gets_nothing(tmp_path: Path) -> None:
    ledger = opened(tmp_path)
    with pytest.raises(BudgetSpent, match="no budget for stranger"):
        ledger.reserve(charge_of("bank", "units", "stranger", ONE, Fraction(0), []), "q")


def test_one_budget_bounds_all_receivers_together(tmp_path: Path) -> None:
    ledger = opened(tmp_path)
    ledger.set_budget("units", "*", EPSILONS // 5, 0)
    other = charge_of("bank", "units", "auditor", ONE, Fraction(0), [])
    ledger.reserve(CHARGE, "q")
    ledger.reserve(other, "q")   # of the common budget
    with pytest.raises(BudgetSpent, match="all receivers together"):
        ledger.reserve(CHARGE, "q")


def test_other_units_have_budgets_of_their_own(tmp_path: Path) -> None:
    ledger = opened(tmp_path)
    ledger.set_budget("doctors", "analyst", EPSILONS, 0)
    for _ in range(10):
        ledger.reserve(CHARGE, "q")
    ledger.reserve(charge_of("bank", "doctors", "analyst", ONE, Fraction(0), []), "q")


def test_zcdp_gives_more_answers_for_the_same_budget(tmp_path: Path) -> None:
    small = charge_of("bank", "units", "analyst", Fraction(1, 100), Fraction(0), ["laplace 1/100"])
    count, spent = 0, Spending()
    while spent.plus(small).within(EPSILONS, DELTAS // 10**6):
        spent, count = spent.plus(small), count + 1
    assert count == 486   # 100 by basic composition
    assert spent.at(DELTAS // 10**6) <= EPSILONS < spent.plus(small).at(DELTAS // 10**6)
    assert spending([small] * count) == spent


def test_the_least_budget_is_never_rounded_away() -> None:
    tiny = charge_of("bank", "units", "analyst", Fraction(1, 10**12), Fraction(1, 10**20), [])
    assert (tiny.epsilon, tiny.delta) == (1, 1)
    assert in_epsilon(tiny.epsilon) == "1e-09"


def test_conversions_are_bounds() -> None:
    epsilon = epsilon_of(Fraction(1, 2), Fraction(1, 10**6))
    assert rho_of(epsilon, Fraction(1, 10**6)) >= Fraction(1, 2) - Fraction(1, 10**6)
    assert 5.2 < float(epsilon) < 5.3   # rho + 2 sqrt(rho ln(1 / delta)) is 5.76


# --- crashes and races ---------------------------------------------------------------------------


def child(program: str, folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", f"from tests.test_ledger import *\nfolder = Path({str(folder)!r})\n{program}"],
                            cwd=ROOT, stdout=subprocess.PIPE)


@pytest.mark.parametrize(("point", "left"), [("before", 10), ("reserved", 9), ("spent", 9), ("cancelled", 10)])
def test_a_killed_process_forgets_nothing(tmp_path: Path, point: str, left: int) -> None:
    opened(tmp_path).close()
    steps = {"before": "pass", "reserved": "e = l.reserve(CHARGE, 'q')", "spent":
             "e = l.reserve(CHARGE, 'q'); l.spend([e], 'q', 's', b'x')",
             "cancelled": "e = l.reserve(CHARGE, 'q'); l.cancel(e)"}
    process = child(f"l = opened(folder); {steps[point]}; os.kill(os.getpid(), signal.SIGKILL)", tmp_path)
    assert process.wait(60) == -signal.SIGKILL
    ledger = opened(tmp_path)
    assert ledger.answer("q") == (("s", b"x") if point == "spent" else None)
    for _ in range(left):
        ledger.reserve(CHARGE, "more")
    with pytest.raises(BudgetSpent):
        ledger.reserve(CHARGE, "more")


def test_ten_processes_race_for_the_last_charges(tmp_path: Path) -> None:
    ledger = opened(tmp_path)
    for _ in range(7):
        ledger.reserve(CHARGE, "before")
    program = "l = opened(folder)\ntry:\n    print(l.reserve(CHARGE, 'race'))\nexcept BudgetSpent:\n    print('spent')"
    racing = [child(program, tmp_path) for _ in range(10)]
    told = sorted(process.communicate(timeout=120)[0].decode().strip() for process in racing)
    assert told.count("spent") == 7
    assert len(ledger.charges("units", "analyst")) == 10
    ledger._verify()


# --- old copies and changes ----------------------------------------------------------------------


def test_an_old_copy_is_noticed(tmp_path: Path) -> None:
    bank, shop = opened(tmp_path), opened(tmp_path, "shop")
    bank.reserve(CHARGE, "q")
    bank.close()
    shutil.copy(tmp_path / "bank.ledger", tmp_path / "old")
    bank = opened(tmp_path)
    bank.reserve(CHARGE, "q")
    shop.accept([bank.receipt(RUN)], RUN, shop.peers())
    bank.close()
    for path in tmp_path.glob("bank.ledger*"):
        path.unlink()
    shutil.copy(tmp_path / "old", tmp_path / "bank.ledger")
    old = opened(tmp_path)
    with pytest.raises(LedgerBehind, match="bank is not the one that shop saw last"):
        shop.accept([old.receipt(RUN)], RUN, shop.peers())
    old.reserve(CHARGE, "another")   # as far as before, on another way
    with pytest.raises(LedgerBehind):
        shop.accept([old.receipt(RUN)], RUN, shop.peers())
    for _ in range(3):
        old.reserve(CHARGE, "more")
    _, seq, head = shop.peers()["bank"]
    assert not old.holds(seq, head), "further than the one that the shop saw, but not from there"
    assert old.holds(0, b"")


def test_a_new_ledger_is_another(tmp_path: Path) -> None:
    bank, shop = opened(tmp_path), opened(tmp_path, "shop")
    shop.accept([bank.receipt(RUN)], RUN, shop.peers())
    bank.close()
    for path in tmp_path.glob("bank.ledger*"):
        path.unlink()
    with pytest.raises(LedgerBehind):
        shop.accept([opened(tmp_path).receipt(RUN)], RUN, shop.peers())


def test_runs_side_by_side_may_bring_receipts_in_any_order(tmp_path: Path) -> None:
    bank, shop = opened(tmp_path), opened(tmp_path, "shop")
    before = shop.peers()
    first = bank.receipt(RUN)
    bank.reserve(CHARGE, "q")
    shop.accept([bank.receipt(b"other")], b"other", before)
    shop.accept([first], RUN, before)
    assert shop.peers()["bank"][1] == 2   # the later one stays


def test_a_receipt_of_another_run_is_refused(tmp_path: Path) -> None:
    bank, shop = opened(tmp_path), opened(tmp_path, "shop")
    receipt = receipt_from_message(bank.receipt(RUN).to_message())
    shop.accept([receipt], RUN, {})
    with pytest.raises(LedgerBehind, match="not signed"):
        shop.accept([receipt], b"another run", {})


@pytest.mark.parametrize("change", ["UPDATE entries SET epsilon = 1 WHERE seq = 2", "DELETE FROM entries WHERE seq = 1",
                                    "UPDATE entries SET kind = 'cancelled', of = 2 WHERE seq = 3"])
def test_a_changed_ledger_is_refused(tmp_path: Path, change: str) -> None:
    ledger = opened(tmp_path)
    ledger.spend([ledger.reserve(CHARGE, "q")], "q", "s", b"")
    ledger.close()
    with sqlite3.connect(tmp_path / "bank.ledger") as connection:
        connection.execute(change)
    with pytest.raises(CorruptLedger, match="was changed at entry"):
        opened(tmp_path)


def test_what_is_no_ledger_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bank.ledger").write_text("not a database, but long enough to look like one " * 20)
    with pytest.raises(CorruptLedger):
        Ledger(tmp_path / "bank.ledger", "bank")
    with pytest.raises(CorruptLedger):
        Ledger(tmp_path / "nowhere" / "bank.ledger", "bank")
    opened(tmp_path, "shop").close()
    with pytest.raises(CorruptLedger, match="is the ledger of shop, not of bank"):
        Ledger(tmp_path / "shop.ledger", "bank")
    assert owner_of(tmp_path / "shop.ledger") == "shop"


def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    opened(tmp_path)
    assert (tmp_path / "bank.ledger").stat().st_mode & 0o777 == 0o600
    assert os.access(tmp_path / "bank.ledger", os.R_OK)


# --- the command ---------------------------------------------------------------------------------


def test_the_command_shows_and_sets_budgets(tmp_path: Path) -> None:
    run, path = CliRunner(), str(tmp_path / "bank.ledger")
    made = run.invoke(app, ["set", path, "--owner", "bank", "--receiver", "analyst", "--epsilon", "2", "--delta", "1e-6"])
    assert made.exit_code == 0, made.output
    ledger = Ledger(tmp_path / "bank.ledger", "bank")
    ledger.spend([ledger.reserve(CHARGE, "q")], "q", "s", b"")
    shown = run.invoke(app, ["show", path]).output
    assert "analyst" in shown
    assert "0.1, 0" in shown
    assert "laplace 1/10" in run.invoke(app, ["history", path]).output
    assert run.invoke(app, ["set", path, "--receiver", "analyst", "--epsilon", "0.05"]).exit_code == 0
    with pytest.raises(BudgetSpent, match=r"epsilon 0 of 0\.05"):
        ledger.reserve(CHARGE, "q")
    for wrong in (["show", str(tmp_path / "none")], ["set", path, "--receiver", "a", "--epsilon", "nan"],
                  ["set", str(tmp_path / "none"), "--receiver", "a", "--epsilon", "1"]):
        assert run.invoke(app, wrong).exit_code != 0
