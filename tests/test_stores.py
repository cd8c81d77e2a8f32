"""Stores: what is read, what is published of it, how every bad one is refused, and that the lock holds."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sdh import errors
from sdh.catalog import Facts, Party, TableFacts, padded, party_from_message
from sdh.connectors import stores
from sdh.connectors.sources import FileKind, Source, StoreFile
from sdh.policy import Policy
from sdh.schema import INTEGER, VARCHAR, Column, Kind, Type

ROWS = """
    CREATE TABLE accounts (id INTEGER PRIMARY KEY, owner VARCHAR NOT NULL, balance DECIMAL(10,2), code INTEGER UNIQUE);
    INSERT INTO accounts VALUES (1, 'ann', -12345.67, 7), (2, 'bob', 99.5, NULL), (3, 'käthe', NULL, NULL);
    CREATE VIEW rich AS SELECT id, balance FROM accounts WHERE balance > 0;
"""


def write_parquet(sql: str, path: Path) -> None:
    with duckdb.connect() as connection:
        connection.sql(sql).write_parquet(str(path))


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    path = tmp_path / "bank.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(ROWS)
    return path


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    path = tmp_path / "orders.parquet"
    write_parquet("SELECT range AS id, range % 3 AS kind, 'name ' || range AS name FROM range(5)", path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    return private


def source(value: object, folder: Path) -> Source:
    return stores.from_python(value, folder, "bank")


def opened(value: object, folder: Path, public: dict[str, Path] | None = None,
           **options: Any) -> duckdb.DuckDBPyConnection:
    return stores.connect(source(value, folder), "bank", public or {}, temporary=folder / "spill", **options)


def published(value: object, folder: Path, policy: Policy | None = None, keys: Any = None, bounds: Any = None,
              repeats: Any = None) -> Party:
    return stores.describe(source(value, folder), "bank", policy or Policy.open(), keys, bounds, repeats=repeats)


def only(party: Party) -> TableFacts:
    (table,) = party.tables
    return table


def column(table: TableFacts, name: str) -> tuple[Column, Facts]:
    index = [one.name for one in table.columns].index(name)
    return table.columns[index], table.facts[index]


# What is read


def test_a_source_travels_as_json(bank: Path, folder: Path) -> None:
    found = source(bank, folder)
    assert stores.source_from_message(json.loads(json.dumps(found.to_message()))) == found


@pytest.mark.parametrize("convert", [
    lambda table: table, lambda table: table.to_pandas(), pl.from_arrow, lambda table: table.to_reader(),
    lambda table: pl.DataFrame(table).lazy(),
], ids=["arrow", "pandas", "polars", "reader", "lazy"])
def test_tables_in_memory(folder: Path, convert: Callable[[pa.Table], object]) -> None:
    days = [date(2020, 1, 1), date(1960, 1, 1)]
    table = pa.table({"id": pa.array([1, 2], pa.int64()), "name": ["a", "é"], "day": days})
    with opened({"people": convert(table)}, folder) as connection:
        rows = connection.sql('SELECT id, name, day::DATE FROM "bank"."people" ORDER BY id').fetchall()
    assert rows == [(1, "a", date(2020, 1, 1)), (2, "é", date(1960, 1, 1))]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.glob("*.arrow")} == {0o600}


def test_a_duckdb_connection_is_read_out_and_left_as_it_was(folder: Path) -> None:
    connection = duckdb.connect()
    connection.execute(ROWS)
    pending = connection.execute("SELECT 42")
    found = source(connection, folder)
    assert pending.fetchall() == [(42,)]
    with stores.connect(found, "bank", {}) as reader:
        assert reader.sql("SELECT count(*), sum(balance) FROM bank.accounts").fetchall() == [(3, Decimal("-12246.17"))]
        assert reader.sql("FROM bank.rich").fetchall() == [(2, Decimal("99.50"))]


def test_dictionaries_and_columns_without_type_become_plain(folder: Path) -> None:
    table = pa.table({"city": pa.array(["x", "y", None]).dictionary_encode(), "nothing": pa.nulls(3)})
    columns = only(published({"t": table}, folder)).columns
    assert [(one.name, one.type) for one in columns] == [("city", VARCHAR), ("nothing", INTEGER)]


def test_a_folder_holds_tables_of_every_kind(bank: Path, parquet: Path, folder: Path) -> None:
    (parquet.parent / "shops.csv").write_text("id;town\n1;Bonn\n2;\n")
    (parquet.parent / "notes.txt").write_text("not a table")
    party = published(parquet.parent, folder, Policy.open(rows="exact"))
    assert {table.name: table.rows for table in party.tables} == {"accounts": 3, "orders": 5, "rich": 1, "shops": 2}
    with opened(parquet.parent, folder) as connection:
        assert connection.sql('FROM "bank"."shops" ORDER BY id').fetchall() == [(1, "Bonn"), (2, None)]


def test_public_tables_have_plain_names(bank: Path, parquet: Path, folder: Path) -> None:
    path = stores.publish(pa.table({"code": [7], "name": ["Peru"]}), folder, "nation")
    with opened(bank, folder, public={"nation": path, "orders": parquet}) as connection:
        sql = 'SELECT n.name, (SELECT count(*) FROM orders) FROM "bank"."accounts" a JOIN "nation" n ON a.code = n.code'
        assert connection.sql(sql).fetchall() == [("Peru", 5)]
    facts = stores.describe_public(path, "nation", ["code"], {"code": (0, 9)})
    assert (facts.full_name, facts.rows, facts.keys) == ("nation", 1, (("code",), ("name",)))
    assert facts.facts[0] == Facts(bits=4, low=0, high=9)


def test_settings_are_pinned_for_the_clients_zone(bank: Path, folder: Path) -> None:
    with opened(bank, folder, timezone="Asia/Tokyo", threads=1, memory=300 << 20) as connection:
        def setting(name: str) -> object:
            return connection.sql(f"SELECT current_setting('{name}')").fetchall()[0][0]

        assert [setting(name) for name in ("TimeZone", "threads", "memory_limit")] == ["Asia/Tokyo", 1, "300.0 MiB"]
        for name, value in stores.SETTINGS.items():
            assert str(setting(name)).lower().startswith(str(value).lower()), name


# What is published


def test_measured_facts(bank: Path, folder: Path) -> None:
    accounts = published(bank, folder).tables[0]
    assert accounts.full_name == "bank.accounts"
    assert accounts.rows == 1024
    assert accounts.keys == (("id",), ("code",))
    assert column(accounts, "id") == (Column("id", INTEGER, False), Facts(bits=2))
    assert column(accounts, "owner") == (Column("owner", VARCHAR, False), Facts(bytes=8))
    assert column(accounts, "balance") == (Column("balance", Type(Kind.DECIMAL, 10, 2), True), Facts(bits=21))
    message = json.loads(json.dumps(published(bank, folder).to_message()))
    assert party_from_message(message).tables[0] == accounts


@pytest.mark.parametrize(("sql_type", "values", "bits", "bytes_"), [
    ("BOOLEAN", "false", 0, None), ("BOOLEAN", "true", 1, None),
    ("TINYINT", "-128", 8, None), ("UBIGINT", "18446744073709551615", 64, None),
    ("HUGEINT", "-170141183460469231731687303715884105728", 128, None), ("DECIMAL(38,10)", "1.5", 34, None),
    ("DATE", "DATE '1969-12-30'", 2, None), ("DATE", "DATE '-infinity'", 31, None),
    ("TIMESTAMP", "TIMESTAMP '1970-01-01 00:00:01'", 20, None), ("TIMESTAMP", "TIMESTAMP 'infinity'", 63, None),
    ("DOUBLE", "-2.5", 2, None), ("DOUBLE", "0.0", 0, None),
    ("DOUBLE", "'nan'", None, None), ("FLOAT", "'-inf'", None, None),
    ("VARCHAR", "'123456789'", None, 16), ("VARCHAR", "'éééé'", None, 8), ("VARCHAR", "''", None, 0),
    ("BLOB", "'a'", None, None),
    ("INTEGER", "NULL", 0, None), ("VARCHAR", "NULL", None, 0), ("DOUBLE", "NULL", 0, None),
])
def test_measured_facts_of_each_type(folder: Path, sql_type: str, values: str, bits: int | None,
                                     bytes_: int | None) -> None:
    connection = duckdb.connect()
    connection.execute(f"CREATE TABLE t AS SELECT ({values})::{sql_type} AS x")
    path = folder / "one.duckdb"
    connection.execute(f"ATTACH '{path}' AS one; CREATE TABLE one.t AS FROM t; DETACH one")
    table = only(published(path, folder))
    assert table.facts == (Facts(bits=bits, bytes=bytes_),)
    assert table.columns[0].nullable is (values == "NULL")


def test_an_empty_table(folder: Path) -> None:
    table = only(published({"t": pa.table({"x": pa.array([], pa.int64()), "s": pa.array([], pa.string())})}, folder,
                           Policy.open(rows="exact")))
    assert (table.rows, table.facts) == (0, (Facts(bits=0), Facts(bytes=0)))


def test_without_a_policy_types_alone_are_published(bank: Path, folder: Path) -> None:
    accounts = published(bank, folder, Policy.none()).tables[0]
    assert accounts.facts == (Facts(),) * 4
    assert accounts.keys == ()
    assert [one.nullable for one in accounts.columns] == [False, False, True, True]   # as the constraints say
    assert accounts.rows == 1024


@pytest.mark.parametrize(("rows", "count"), [("exact", 1500), ("padded", padded(1500)), ("hidden", padded(1500))])
def test_the_row_policy(folder: Path, rows: str, count: int) -> None:
    assert only(published({"t": pa.table({"x": range(1500)})}, folder, Policy.open(rows=rows))).rows == count


def test_declarations_replace_measurements(bank: Path, folder: Path) -> None:
    bounds = {"accounts.balance": (Decimal("-20000.005"), 10**6), "bank.Accounts.id": (0, 3)}
    declared = stores.declarations_to_message({"ACCOUNTS": [("ID",), ("owner", "id")]}, bounds)
    message = json.loads(json.dumps(declared))
    for policy in (Policy.open(), Policy.none()):
        accounts = published(bank, folder, policy, message["keys"], message["bounds"]).tables[0]
        assert accounts.keys[:2] == (("id",), ("owner", "id"))
        assert column(accounts, "balance")[1] == Facts(bits=27, low=-2000000, high=10**8)
        assert column(accounts, "id")[1] == Facts(bits=2, low=0, high=3)


def test_declared_repeats(folder: Path) -> None:
    """Of rows without NULL; published whatever the policy measures; they travel as JSON; less than there are is refused."""
    table = pa.table({"a": [1, 1, 1, 2, None, None, None, None], "b": [1, 1, 2, 2, 2, 2, 2, 2]})
    declared = json.loads(json.dumps(stores.declarations_to_message(None, None, {"T": {"A": 3, ("a", "b"): 2}})))["repeats"]
    for policy in (Policy.open(), Policy.none()):
        party = published({"t": table}, folder, policy, repeats=declared)
        assert only(party).repeats == ((("a",), 3), (("a", "b"), 2))
        assert party_from_message(json.loads(json.dumps(party.to_message()))) == party
    for fewer in ({"a": 2}, {("a", "b"): 1}, {"b": 5}):
        with pytest.raises(errors.KeyViolated, match="more than"):
            published({"t": table}, folder, repeats={"t": fewer})
    for wrong in ({"t": {"nope": 3}}, {"nope": {"a": 3}}, {"t": {"a": 0}}, {"t": {"a": "3"}}):
        with pytest.raises(errors.UnknownDeclaration):
            published({"t": table}, folder, repeats=wrong)


def test_bounds_of_dates_and_doubles(folder: Path) -> None:
    table = pa.table({"day": [date(2020, 1, 1)], "moment": [datetime(2020, 1, 1, 12)], "x": [1.25]})
    bounds = {"t.day": (date(2019, 12, 31), "2020-01-02"), "t.moment": ("2020-01-01", datetime(2020, 1, 2)),
              "t.x": (0.5, 1.5)}
    declared = stores.declarations_to_message(None, bounds)["bounds"]
    facts = only(published({"t": table}, folder, bounds=declared)).facts
    day = (date(2020, 1, 1) - date(1970, 1, 1)).days
    assert (facts[0].low, facts[0].high) == (day - 1, day + 1)
    assert (facts[1].low, facts[1].high) == (day * 86400 * 10**6, (day + 1) * 86400 * 10**6)
    assert facts[2] == Facts(bits=2, low=0, high=2)


def test_a_key_concerns_the_rows_without_null(folder: Path) -> None:
    table = pa.table({"a": [1, None, None], "b": [1, 1, 1]})
    assert only(published({"t": table}, folder, keys={"t": [("a",)]})).keys == (("a",),)


def test_grants_are_spelled_as_the_store_spells(bank: Path, folder: Path) -> None:
    policy = Policy.parse("GRANT COMPARE ON bank.ACCOUNTS (Balance) TO shop; GRANT COMPUTE ON * (ID) TO shop",
                          unit={"ACCOUNTS": "OWNER"})
    found = published(bank, folder, policy).policy
    assert [(grant.table, grant.columns) for grant in found.grants] == [("accounts", ("balance",)), ("*", ("ID",))]
    assert found.unit == (("accounts", "owner"),)


def test_the_snapshot_follows_the_file_and_does_not_tell_its_size(bank: Path, folder: Path) -> None:
    found = source(bank, folder)
    before = stores.snapshot(found)
    assert stores.snapshot(found) == before == published(bank, folder).tables[0].snapshot
    with duckdb.connect(str(bank)) as connection:
        connection.execute("UPDATE accounts SET owner = 'eve'")
    assert stores.snapshot(found) != before
    program = ("import sys, json; from sdh.connectors import sources; "
               "print(sources.snapshot(sources.source_from_message(json.loads(sys.argv[1]))))")
    elsewhere = subprocess.run([sys.executable, "-c", program, json.dumps(found.to_message())], capture_output=True,
                               text=True, check=True, cwd=Path(__file__).parent.parent).stdout.strip()
    assert elsewhere != stores.snapshot(found), "a snapshot that others can compute tells file sizes by trial"


# What is refused


@pytest.fixture
def bad(tmp_path: Path, bank: Path, parquet: Path) -> Callable[[str], object]:
    """A bad store by name."""
    def make(name: str) -> object:
        data = parquet.read_bytes()
        match name:
            case "missing":
                return tmp_path / "no.duckdb"
            case "empty folder":
                (tmp_path / "none").mkdir()
                return tmp_path / "none"
            case "empty database":
                duckdb.connect(str(tmp_path / "void.duckdb")).close()
                return tmp_path / "void.duckdb"
            case "no tables":
                return {}
            case "junk.duckdb" | "junk.parquet" | "junk.csv" | "junk.arrow":
                (tmp_path / name).write_bytes(os.urandom(9000))
            case "cut.parquet":
                (tmp_path / name).write_bytes(data[:len(data) // 2])
            case "cut.arrow":
                (tmp_path / name).write_bytes(b"ARROW1\0\0" + b"\0" * 40)
            case "torn.duckdb":
                (tmp_path / name).write_bytes(bank.read_bytes()[:12288])
            case "damaged.duckdb":
                content = bytearray(bank.read_bytes())
                content[4096:12288] = os.urandom(8192)
                (tmp_path / name).write_bytes(content)
            case "ragged.csv":
                (tmp_path / name).write_text("a,b\n1,2\n3\n4,5,6\n")
            case "late.csv":
                (tmp_path / name).write_text("a,b\n" + "1,2\n" * 30_000 + "secret,3,4\n")
            case "empty.csv":
                (tmp_path / name).write_text("")
            case "sqlite.db":
                with sqlite3.connect(tmp_path / name) as database:
                    database.execute("CREATE TABLE t (x)")
            case "store.xlsx":
                (tmp_path / name).write_text("x")
            case "a number":
                return 42
            case "a single table":
                return pa.table({"x": [1]})
            case "a table of lists":
                return {"t": [1, 2]}
            case "mixed pandas":
                return {"t": pd.DataFrame({"x": [1, "a", b"b"]})}
            case "decimal256":
                return {"t": pa.table({"x": pa.array([Decimal(1)], pa.decimal256(50, 2))})}
            case "negative scale":
                return {"t": pa.table({"x": pa.array([Decimal(100)], pa.decimal128(5, -2))})}
            case "twin columns":
                return {"t": pa.table({"x": [1], "X": [2]})}
            case "twin tables":
                return {"t": pa.table({"x": [1]}), "T": pa.table({"x": [1]})}
            case "twin files":
                (tmp_path / "twins").mkdir()
                for twin in ("t.parquet", "T.csv"):
                    (tmp_path / "twins" / twin).write_bytes(data if twin.endswith("t") else b"a\n1\n")
                return tmp_path / "twins"
            case "closed connection":
                connection = duckdb.connect()
                connection.close()
                return connection
        return tmp_path / name
    return make


@pytest.mark.parametrize(("name", "error"), [
    ("missing", errors.MissingStore), ("empty folder", errors.MissingStore), ("empty database", errors.MissingStore),
    ("no tables", errors.MissingStore),
    ("junk.duckdb", errors.CorruptStore), ("junk.parquet", errors.CorruptStore), ("junk.csv", errors.CorruptStore),
    ("junk.arrow", errors.CorruptStore), ("cut.parquet", errors.CorruptStore), ("cut.arrow", errors.CorruptStore),
    ("torn.duckdb", errors.CorruptStore), ("damaged.duckdb", errors.CorruptStore), ("ragged.csv", errors.CorruptStore),
    ("late.csv", errors.CorruptStore), ("empty.csv", errors.CorruptStore),
    ("sqlite.db", errors.UnsupportedStore), ("store.xlsx", errors.UnsupportedStore),
    ("a number", errors.UnsupportedStore),
    ("a single table", errors.UnsupportedStore), ("a table of lists", errors.UnsupportedStore),
    ("mixed pandas", errors.UnsupportedStore), ("decimal256", errors.UnsupportedStore),
    ("negative scale", errors.UnsupportedStore), ("twin columns", errors.UnsupportedStore),
    ("closed connection", errors.UnsupportedStore),
    ("twin tables", errors.NameTaken), ("twin files", errors.NameTaken),
])
def test_bad_stores(bad: Callable[[str], object], folder: Path, name: str, error: type[errors.SdhError]) -> None:
    with pytest.raises(error) as caught:
        published(bad(name), folder)
    assert type(caught.value) is error
    text = str(caught.value)
    assert "secret" not in text
    assert "Error:" not in text, "DuckDB's own text"
    assert not list(folder.glob("*.arrow")), "what was written is removed again"


def test_damaged_data_pages_are_found_while_measuring(parquet: Path, folder: Path) -> None:
    content = bytearray(parquet.read_bytes())
    pages = content.index(b"name 0")
    content[4:pages] = b"\xff" * (pages - 4)
    parquet.write_bytes(content)
    with pytest.raises(errors.CorruptStore):
        published(parquet, folder)


def test_a_nan_that_parquet_statistics_leave_out(tmp_path: Path, folder: Path) -> None:
    table = pa.table({"x": [1.0, float("nan"), 2.0]})
    pq.write_table(table, tmp_path / "t.parquet")
    with opened(tmp_path / "t.parquet", folder) as connection:
        wrong = connection.sql("SELECT max(x) FROM bank.t").fetchall()
    assert wrong == [(2.0,)], "DuckDB no longer answers this from statistics: facts.py can be simpler"
    assert only(published(tmp_path / "t.parquet", folder)).facts == (Facts(),)


def test_a_store_locked_by_its_writer(bank: Path, folder: Path) -> None:
    program = "import sys, duckdb; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    writer = subprocess.Popen([sys.executable, "-c", program, str(bank)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert writer.stdout is not None
        writer.stdout.readline()
        with pytest.raises(errors.LockedStore, match="copy"):
            published(bank, folder)
    finally:
        writer.communicate(b"")
    assert published(bank, folder).tables[0].name == "accounts"


@pytest.mark.parametrize(("keys", "bounds", "error"), [
    ({"accounts": [("owner",)], "nope": [("x",)]}, None, errors.UnknownDeclaration),
    ({"accounts": [("nope",)]}, None, errors.UnknownDeclaration),
    (None, {"accounts.nope": (0, 1)}, errors.UnknownDeclaration),
    (None, {"nope.id": (0, 1)}, errors.UnknownDeclaration),
    (None, {"id": (0, 1)}, errors.UnknownDeclaration),
    (None, {"accounts.id": (5, 1)}, errors.UnknownDeclaration),
    (None, {"accounts.id": ("a", "b")}, errors.UnknownDeclaration),
    (None, {"accounts.owner": (0, 1)}, errors.UnknownDeclaration),
    (None, {"accounts.id": (1, 2)}, errors.BoundsViolated),
    (None, {"accounts.balance": (-12345.66, 100)}, errors.BoundsViolated),
])
def test_bad_declarations(bank: Path, folder: Path, keys: Any, bounds: Any, error: type[errors.SdhError]) -> None:
    with pytest.raises(error) as caught:
        published(bank, folder, keys=keys, bounds=bounds)
    assert "12345.67" not in str(caught.value)


def test_a_declared_key_that_is_not_unique(folder: Path) -> None:
    table = pa.table({"a": [1, 1, 2], "b": [1, 2, 2]})
    assert only(published({"t": table}, folder, keys={"t": [("a", "b")]})).keys == (("a", "b"),)
    with pytest.raises(errors.KeyViolated, match=r"\(a\) of bank\.t"):
        published({"t": table}, folder, keys={"t": ["a"]})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_double_that_is_not_finite_is_outside_any_bounds(folder: Path, value: float) -> None:
    with pytest.raises(errors.BoundsViolated):
        published({"t": pa.table({"x": [1.0, value]})}, folder, bounds={"t.x": (0, 10)})


@pytest.mark.parametrize("text", ["GRANT COMPARE ON bank.nope TO shop", "GRANT COMPARE ON bank.accounts (nope) TO shop",
                                  "GRANT COMPARE ON * (nope) TO shop", "GRANT COMPARE ON shop.accounts TO shop",
                                  "GRANT COMPARE ON shop.* TO shop"])
def test_grants_on_what_is_not_there(bank: Path, folder: Path, text: str) -> None:
    with pytest.raises(errors.UnknownDeclaration):
        published(bank, folder, Policy.parse(text))


def test_declarations_of_the_wrong_shape() -> None:
    shapes: list[Any] = [(5, None), (None, {"a.b": 3}), (None, {"a.b": (1,)}), ({"t": [()]}, None), ({"t": 3}, None)]
    for keys, bounds in shapes:
        with pytest.raises(errors.UnknownDeclaration):
            stores.declarations_to_message(keys, bounds)


@pytest.mark.parametrize("name", ["memory", "main", "TEMP", "information_schema"])
def test_names_that_duckdb_keeps_for_itself(bank: Path, folder: Path, name: str) -> None:
    with pytest.raises(errors.NameTaken):
        stores.connect(source(bank, folder), name, {})


def test_a_time_zone_that_is_not_one(bank: Path, folder: Path) -> None:
    with pytest.raises(errors.ParameterError):
        opened(bank, folder, timezone="Mars/Olympus")


# The lock


@pytest.fixture
def locked(bank: Path, parquet: Path, folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    write_parquet("SELECT 42 AS secret", parquet.parent / "other.parquet")
    (parquet.parent / "sub").mkdir()
    files = (StoreFile(FileKind.DUCKDB, str(bank)), StoreFile(FileKind.PARQUET, str(parquet), "orders"))
    with stores.connect(Source(files, "store"), "bank", {}, temporary=folder) as connection:
        yield connection


def test_the_locked_connection_reads_its_own_store(locked: duckdb.DuckDBPyConnection) -> None:
    assert locked.sql("SELECT count(*) FROM bank.accounts, bank.orders").fetchall() == [(15,)]


@pytest.mark.parametrize("attempt", [
    "FROM '{here}/other.parquet'", "FROM read_parquet('{here}/*.parquet')", "FROM read_csv('/etc/passwd')",
    "FROM read_text('/etc/passwd')", "FROM glob('{here}/*')", "FROM read_blob('{here}/bank.duckdb')",
    "COPY (SELECT 1) TO '{here}/out.csv'", "COPY bank.accounts TO '{here}/out.parquet'", "EXPORT DATABASE '{here}/sub'",
    "ATTACH '{here}/new.duckdb'", "ATTACH '{here}/bank.duckdb' AS again", "INSTALL httpfs", "LOAD httpfs",
    "LOAD '{here}/x.duckdb_extension'", "FROM 'https://example.com/x.parquet'", "CREATE PERSISTENT SECRET s (TYPE s3)",
    "SET enable_external_access = true", "SET allowed_paths = ['/']", "RESET lock_configuration", "SET threads = 64",
    "SET memory_limit = '1TB'", "SET temp_directory = '/tmp/elsewhere'", "SET TimeZone = 'Asia/Tokyo'",
    "SET python_enable_replacements = true", "SET autoinstall_known_extensions = true", "SET integer_division = true",
    "PRAGMA enable_profiling = 'json'", "UPDATE bank.accounts SET balance = 0", "FROM local_variable",
    "INSERT INTO \"sdh store 0\".main.accounts VALUES (9, 'x', 1, 9)",
])
def test_the_lock_holds(locked: duckdb.DuckDBPyConnection, tmp_path: Path, attempt: str) -> None:
    local_variable = pa.table({"x": [1]})
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(duckdb.Error):
        locked.sql(attempt.format(here=tmp_path)).fetchall()
    assert local_variable.num_rows == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before
