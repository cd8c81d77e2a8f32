"""The command: what goes to stdout and stderr, how options are read, exit codes, and the demo's own check."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from pyarrow import ipc
from rich.console import Console

import sdh
from sdh import cli, demo, errors, formats
from sdh.audit import Reveal
from sdh.policy import Policy
from sdh.policy_file import policy_of
from sdh.privacy import DP
from sdh.progress import Meter, line
from sdh.result import Cost, Result

ROOT = Path(__file__).parent.parent
Run = Callable[..., tuple[int, str, str]]
"""Runs the command with these arguments; its exit code, stdout and stderr."""


class PlainHub:
    """Stands for a hub: the same questions on one plain DuckDB; keeps what it was told."""

    def __init__(self) -> None:
        self.connection = duckdb.connect()
        self.attached: dict[str, tuple[object, Policy | None, Any]] = {}
        self.repeats: dict[str, Any] = {}
        self.ledgers: dict[str, Any] = {}
        self.published: dict[str, object] = {}
        self.asked: list[tuple[str, Any, float | None]] = []
        self.failure: BaseException | None = None
        self.closed = False
        self.privacy: DP | None = None

    def __enter__(self) -> PlainHub:
        return self

    def __exit__(self, *fault: object) -> None:
        self.closed = True

    def attach(self, name: str, store: object, policy: Policy | None = None, keys: Any = None, repeats: Any = None,
               ledger: Any = None) -> None:
        if self.failure is not None and name == "broken":
            raise self.failure
        self.attached[name] = (store, policy, keys)
        self.repeats[name] = repeats
        self.ledgers[name] = ledger

    def publish(self, name: str, table: object) -> None:
        self.published[name] = table

    def sql(self, text: str, params: Any = None, timeout: float | None = None, progress: Any = None,
            privacy: DP | None = None) -> Result:
        self.asked.append((text, params, timeout))
        self.privacy = privacy
        if self.failure is not None:
            raise self.failure
        progress(50, 100, "align")
        table = self.connection.sql(text, params=params or None).to_arrow_table()
        return Result(table, None, Cost(1.5, {"bank": 2000}), (Reveal("result", "the rows", "analyst"),))

    def explain(self, text: str, params: Any = None, privacy: DP | None = None) -> str:
        return f"plan of {text}"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[PlainHub]:
    made = PlainHub()
    monkeypatch.setattr(sdh, "connect", lambda **options: made, raising=False)
    with made.connection:
        yield made


@pytest.fixture
def run(hub: PlainHub, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def command(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sdh", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out, err
    return command


# Formats

TRICKY = """SELECT 1 AS a, 'x,"y"' || chr(10) AS a, NULL AS n, '' AS e, 12345678901234567890.12::DECIMAL(38,2) AS d,
            DATE '2020-01-01' AS day, 'nan'::DOUBLE AS f, [1.5, NULL] AS l, true AS b, 0.1::DOUBLE AS g"""


def test_csv_is_clean(run: Run) -> None:
    code, out, err = run("query", TRICKY, "-f", "csv")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "a,a,n,e,d,day,f,l,b,g"
    assert ',"",' in out, "an empty string is not NULL"
    assert list(csv.reader(io.StringIO(out)))[1] == [
        "1", 'x,"y"\n', "", "", "12345678901234567890.12", "2020-01-01", "nan", "[1.5, NULL]", "true", "0.1"]


def test_json_is_clean_and_keeps_every_digit(run: Run) -> None:
    code, out, err = run("query", TRICKY + " FROM range(2)", "-f", "json")
    assert (code, err) == (0, "")
    rows = json.loads(out, parse_float=Decimal)
    assert len(rows) == 2
    assert rows[0] == {"a": 1, "a_1": 'x,"y"\n', "n": None, "e": "", "d": Decimal("12345678901234567890.12"),
                       "day": "2020-01-01", "f": "nan", "l": [Decimal("1.5"), None], "b": True, "g": Decimal("0.1")}
    assert json.loads(run("query", "SELECT 1 WHERE false", "-f", "json")[1]) == []


def test_arrow_is_a_stream(hub: PlainHub, tmp_path: Path) -> None:
    result = hub.sql(TRICKY, progress=lambda *_: None)
    with (tmp_path / "x.arrow").open("wb") as sink:
        formats.write_arrow(result, sink)
    with (tmp_path / "x.arrow").open("rb") as file:
        got = ipc.open_stream(file).read_all()
    assert got.schema == result.arrow().schema
    assert repr(got.to_pylist()) == repr(result.arrow().to_pylist())


def test_a_table_in_a_pipe_is_not_cut_and_the_rest_goes_to_stderr(run: Run) -> None:
    columns = ", ".join(f"'{'v' * 30}' AS column_{number}" for number in range(20))
    code, out, err = run("query", f"SELECT {columns}")
    assert code == 0
    assert out.count("v" * 30) == 20
    assert "1 row in 1.5 s, sent by bank 2.0 kB" in err
    assert "revealed: the rows -> analyst (result)" in err


def test_a_table_in_a_terminal_fits_it() -> None:
    table = pa.table({"name": ["word " * 30], "n": [1]})
    console = Console(file=io.StringIO(), width=40, force_terminal=True)
    console.print(formats.rich_table(Result(table)))
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().count("word") == 30
    plain = Console(file=io.StringIO(), width=40)
    plain.print(formats.rich_table(Result(table)))
    assert isinstance(plain.file, io.StringIO)
    assert max(map(len, plain.file.getvalue().splitlines())) <= 40


def test_names_are_made_distinct() -> None:
    assert formats.distinct(["a", "A", "a", "b"]) == ["a", "A_1", "a_2", "b"]


# Options


def test_options_reach_the_hub(run: Run, hub: PlainHub, tmp_path: Path) -> None:
    grant = "GRANT COMPARE ON shop.orders TO bank"
    (tmp_path / "shop.policy").write_text(f"-- ours\nSET floor = 3; SET rows = exact;\n{grant};")
    code, out, _ = run(
        "query", "-", "--party", "bank=b.duckdb", "--party", "shop=s.parquet", "--policy", "bank=open",
        "--policy", f"shop={tmp_path}/shop.policy", "--public", "nation=n.csv", "--key", "bank.accounts=id",
        "--key", "bank.accounts=a,b", "--repeats", "shop.orders=customer:20", "--repeats", "shop.orders=a, b:3",
        "--ledger", "shop=own.ledger", "--param", "low=3", "--timeout", "7.5", "-f", "csv", stdin="SELECT $low AS x")
    assert (code, out) == (0, "x\n3\n")
    assert hub.attached["bank"] == ("b.duckdb", Policy.open(), {"accounts": [("id",), ("a", "b")]})
    _, policy, keys = hub.attached["shop"]
    assert policy == Policy.parse(grant, floor=3, rows="exact")
    assert keys is None
    assert hub.repeats == {"bank": None, "shop": {"orders": {("customer",): 20, ("a", "b"): 3}}}
    assert hub.ledgers == {"bank": None, "shop": "own.ledger"}
    assert hub.published == {"nation": "n.csv"}
    assert hub.asked == [("SELECT $low AS x", {"low": 3}, 7.5)]
    assert hub.closed


@pytest.mark.parametrize(("text", "value"), [
    ("3", 3), ("-3", -3), ("1.50", Decimal("1.50")), ("2020-01-31", date(2020, 1, 31)),
    ("2020-01-31 10:00:00", datetime(2020, 1, 31, 10)), ("true", True), ("NULL", None),
    ("'3'", "3"), ("'it''s'", "it's"),
    ("abc", "abc"), ("nan", "nan"), ("inf", "inf"), ("a=b", "a=b"),
])
def test_parameters(text: str, value: object) -> None:
    assert cli.parameter(text) == value
    assert type(cli.parameter(text)) is type(value)


def test_explain_runs_nothing(run: Run, hub: PlainHub) -> None:
    assert run("explain", "SELECT 1")[:2] == (0, "plan of SELECT 1\n")
    assert hub.asked == []


# Errors and exit codes


@pytest.mark.parametrize("arguments", [
    ["query"], ["query", "SELECT 1", "--nope"], ["query", "SELECT 1", "--party", "bank"],
    ["query", "SELECT 1", "--party", "a=x", "--party", "a=y"], ["query", "SELECT 1", "--policy", "bank=open"],
    ["query", "SELECT 1", "--party", "a=x", "--policy", "a=/no/such/file"], ["query", "SELECT 1", "--key", "x=y"],
    ["query", "SELECT 1", "--key", "a.t=x"], ["query", "SELECT 1", "--repeats", "a.t=x:3"], ["nonsense"],
    ["query", "SELECT 1", "--party", "a=x", "--repeats", "a.t=x"],
    ["query", "SELECT 1", "--party", "a=x", "--repeats", "a.t=x:y"],
])
def test_usage(run: Run, arguments: list[str]) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert "Traceback" not in err


def test_an_unknown_format_is_a_usage_error() -> None:
    done = subprocess.run([sys.executable, "-m", "sdh", "query", "SELECT 1", "-f", "xml"], capture_output=True,
                          text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "arrow" in done.stderr, "the formats there are"


@pytest.mark.parametrize(("failure", "code"), [
    (errors.UnknownColumn("There is no column.", line=1, column=8, sql="SELECT nope"), 1),
    (errors.NotGranted("Not granted."), 1), (errors.MissingStore("No file."), 1), (errors.DataError("A cast."), 1),
    (errors.PartyLost("Gone."), 3), (errors.DeadlinePassed("Late."), 3), (errors.Cancelled("Stopped."), 130),
    (KeyboardInterrupt(), 130),
])
def test_exit_codes(run: Run, hub: PlainHub, failure: BaseException, code: int) -> None:
    hub.failure = failure
    got, out, err = run("query", "SELECT nope", "--party", "bank=x")
    assert (got, out) == (code, "")
    assert hub.closed, "every process is ended"
    assert "Traceback" not in err
    if isinstance(failure, errors.SdhError):
        assert f"error: {failure.message}" in err


def test_the_caret_stands_under_the_column(run: Run, hub: PlainHub) -> None:
    hub.failure = errors.UnknownColumn("There is no column nope.", advice="Did you mean name?", line=2, column=3,
                                       sql="SELECT\n  nope")
    _, _, err = run("query", "SELECT\n  nope")
    sentence, text, caret = err.splitlines()
    assert sentence == "error: There is no column nope. Did you mean name?"
    assert text.index("nope") == caret.index("^")


def test_a_bad_policy_file_is_the_owners_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "p").write_text("GRANT EVERYTHING ON bank.t TO you")
    code, _, err = run("query", "SELECT 1", "--party", "bank=x", "--policy", f"bank={tmp_path}/p")
    assert code == 1
    assert "EVERYTHING" in err


PRIVATE = """
SET unit.visits = patient; SET budget.analyst = 1, 1e-6; SET BUDGET.* = 3, 1e-5;   -- in all; ever
SET epsilon = 0.5; SET delta = 1e-8; SET bounds.visits.cost = 0, 200.50; SET max_groups = 2; SET max_rows = 5; SET floor = 3;
SET public.visits.city = 'Bern', 'St. Gallen; and -- ''all''', NULL, 7; SET least_units = 10;
SET space = patients; SET rows = hidden;
GRANT DP ON visits TO analyst;
"""


def test_a_policy_file_sets_differential_privacy() -> None:
    cities = ("Bern", "St. Gallen; and -- 'all'", None, 7)
    privacy = sdh.PrivacyPolicy.of(
        budgets={"analyst": (1, "1e-6"), "*": (3, "1e-5")}, epsilon="0.5", delta="1e-8", groups=2, rows=5, least_units=10,
        bounds={"visits.cost": (0, "200.5")}, public={"visits.city": cities}, space="patients")  # fmt: skip
    assert policy_of(PRIVATE) == Policy.parse("GRANT DP ON visits TO analyst", floor=3, unit={"visits": "patient"}, rows="hidden",
                                              privacy=privacy)  # fmt: skip
    assert policy_of("").privacy is None


@pytest.mark.parametrize("wrong", [
    "SET rows = 5", "SET max_groups = many", "SET bounds.visits.cost = 0", "SET bounds.cost = 0, 1", "SET epsilon = lots",
    "SET budget = 1, 2", "SET nope = 1", "SET floor", "SET public.visits.city = 'Bern", "SET unit.visits = a, b",
    "SET epsilon = 0",
])
def test_a_setting_that_makes_no_sense_is_refused(wrong: str) -> None:
    with pytest.raises(errors.UnknownDeclaration):
        policy_of(wrong)


# Progress


def test_progress_tells_bytes_and_the_time_that_remains() -> None:
    assert line(25_000_000, 100_000_000, "align", 2.0) == "  align: 25.0 MB of 100 MB, 6 s left"
    assert line(0, 100, "align", 2.0) == "  align: 0 B of 100 B"


def test_a_bar_shows_after_a_second_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdh.progress.PATIENCE", 0.2)
    for pause, shown in ((0.0, False), (0.5, True)):
        console = Console(file=io.StringIO(), force_terminal=True, width=100)
        with Meter(console) as meter:
            meter(30, 100, "align")
            sleep(pause)
        assert isinstance(console.file, io.StringIO)
        assert ("align" in console.file.getvalue()) is shown


def test_lines_in_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdh.progress.PATIENCE", 0.0)
    monkeypatch.setattr("sdh.progress.LINE_EVERY", 0.0)
    console = Console(file=io.StringIO(), width=100)
    with Meter(console) as meter:
        meter(30, 100, "align")
    assert isinstance(console.file, io.StringIO)
    assert "align: 30 B of 100 B" in console.file.getvalue()


# The demo


@pytest.fixture(scope="module")
def tpch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("cache")
    os.environ["SDH_CACHE"] = str(cache)
    try:
        return demo.data(0.001, Console(stderr=True))
    finally:
        del os.environ["SDH_CACHE"]


def test_the_demos_data_is_split_by_owner_and_made_once(tpch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {path.relative_to(tpch).as_posix() for path in tpch.rglob("*.parquet")}
    assert found == {f"{owner}/{table}.parquet" for owner, tables in demo.TABLES.items() for table in tables}
    assert [path.name for path in tpch.parent.iterdir()] == [tpch.name]
    monkeypatch.setenv("SDH_CACHE", str(tpch.parent))
    monkeypatch.setattr(demo, "generate", None)
    assert demo.data(0.001, Console(stderr=True)) == tpch


def test_the_demos_check_can_fail(tpch: Path) -> None:
    expected = demo.plain(tpch, demo.HIDDEN_JOIN.sql)
    assert expected.num_rows > 0
    assert demo.agree(Result(expected), expected)
    column = pa.array([value + 1 for value in expected.column(1).to_pylist()], expected.schema.types[1])
    assert not demo.agree(Result(expected.set_column(1, expected.schema.names[1], column)), expected)
    assert not demo.agree(Result(expected.rename_columns(["a", "b", "c"])), expected)
    assert not demo.agree(Result(expected.slice(1)), expected)
    assert not demo.agree(Result(expected.set_column(1, "high_line_count", column.cast(pa.int64()))), expected)


# The real thing


MADE = """
import duckdb, pyarrow
from sdh.policy_file import policy_of
with duckdb.connect("bank.duckdb") as bank:
    bank.sql("SELECT range::INT AS id, (range - 50)::DECIMAL(12,2) AS balance FROM range(100)").create("accounts")
totals = "SELECT range::INT AS customer, (range * 1.5)::DECIMAL(12,2) AS total FROM range(60)"
orders = duckdb.sql(totals).to_arrow_table()
"""
HOSPITALS = """
    limits = "SET budget.analyst = 2, 1e-6; SET epsilon = 1; SET delta = 1e-6;"
    patients = pyarrow.table({"id": range(2000), "city": ["Basel", "Bern"] * 1000})
    visits = pyarrow.table({"patient": range(2000), "cost": pyarrow.array([700] * 2000, pyarrow.int32())})
    hub.attach("north", {"patients": patients}, policy_of("GRANT DP ON patients TO analyst; SET unit.patients = id;"
               + limits + "SET public.patients.city = 'Basel', 'Bern';"), keys={"patients": [("id",)]}, ledger="north.ledger")
    hub.attach("south", {"visits": visits}, policy_of("GRANT DP ON visits TO analyst; SET unit.visits = patient;"
               + limits + "SET bounds.visits.cost = 0, 900; SET max_rows = 1;"), ledger="south.ledger")
"""


def test_the_readmes_examples_run(tmp_path: Path) -> None:
    """As printed, after making the stores that they speak of; the second goes on where the first ends."""
    first, second = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", MADE + first + HOSPITALS + second], capture_output=True, text=True, cwd=tmp_path,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in ("1837.5", "Basel", "Bern")), done.stdout


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stores")
    with duckdb.connect() as connection:
        for name, column in (("accounts", "range * 10 AS balance"), ("orders", "range % 3 AS kind")):
            connection.sql(f"SELECT range AS id, {column} FROM range(20)").write_parquet(f"{folder}/{name}.parquet")
    return folder


def command(stores: Path, sql: str, *more: str) -> list[str]:
    parties = ["--party", f"bank={stores}/accounts.parquet", "--policy", "bank=open",
               "--party", f"shop={stores}/orders.parquet", "--policy", "shop=open"]
    return [sys.executable, "-m", "sdh", "query", sql, *parties, *more]


def test_a_question_across_owners(stores: Path) -> None:
    sql = "SELECT sum(a.balance) AS s FROM bank.accounts a JOIN shop.orders o ON a.id = o.id WHERE o.kind = 1"
    done = subprocess.run(command(stores, sql, "-f", "csv", "--key", "bank.accounts=id", "--key", "shop.orders=id"),
                          capture_output=True, text=True, cwd=ROOT, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "s\n700\n"), done.stderr


def test_a_question_with_a_fault(stores: Path) -> None:
    done = subprocess.run(command(stores, "SELECT a.balanse FROM bank.accounts a"), capture_output=True, text=True,
                          cwd=ROOT, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert "balance" in done.stderr, "the nearest name"
    assert done.stderr.splitlines()[-1].strip() == "^"


def test_ctrl_c_ends_every_process(stores: Path) -> None:
    eightfold = ", ".join(f"bank.accounts {name}" for name in "abcdefgh")
    sql = f"SELECT sum(a.id + b.id * c.id) FROM {eightfold}"
    running = subprocess.Popen(command(stores, sql), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT,
                               start_new_session=True)
    started = wait_for(lambda: below(running.pid), 4)   # the command, two nodes and a dealer
    assert len(started) >= 4
    sleep(2)
    assert running.poll() is None, running.communicate()
    os.killpg(running.pid, signal.SIGINT)
    begun = monotonic()
    running.communicate(timeout=20)
    assert running.returncode == 130
    assert monotonic() - begun < 10
    assert wait_for(lambda: [1] if not alive(started) else [], 1), alive(started)


def wait_for(look: Callable[[], list[int]], count: int) -> list[int]:
    """What `look` gives once it has `count` members, within 20 seconds."""
    end = monotonic() + 20
    while len(found := look()) < count and monotonic() < end:
        sleep(0.1)
    return found


def processes() -> dict[int, tuple[str, int]]:
    """State and parent of every process."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        found[int(path.parent.name)] = (state, int(parent))
    return found


def below(root: int) -> list[int]:
    """The process and those it started, directly or not."""
    table, found = processes(), [root]
    for pid in found:
        found += [child for child, (_, parent) in table.items() if parent == pid]
    return found


def alive(pids: list[int]) -> list[int]:
    table = processes()
    return [pid for pid in pids if table.get(pid, ("Z", 0))[0] != "Z"]
