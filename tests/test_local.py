"""Fragments at their owner's DuckDB: types, names, what may be told of a failure, cancelling."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep

import duckdb
import pyarrow as pa
import pytest

from sdh import errors
from sdh.catalog import Catalog
from sdh.connectors import stores
from sdh.executors.local import from_stream, run_fragment, run_local
from sdh.planners.plan import Fragment, Question, place
from sdh.policy import Policy
from sdh.schema import (
    BIGINT,
    BOOLEAN,
    DATE,
    DOUBLE,
    HUGEINT,
    INTEGER,
    TIMESTAMP,
    VARCHAR,
    Column,
    Kind,
    Type,
    parse_type,
)

DECIMAL = Type(Kind.DECIMAL, 18, 2)
SECRET = 987654321


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    folder = tmp_path_factory.mktemp("local")
    table = pa.table({
        "id": pa.array([1, 2, 3], pa.int32()), "big": pa.array([SECRET, -2**63, None], pa.int64()),
        "zero": pa.array([0, 0, 0], pa.int32()), "name": pa.array(["a", str(SECRET), None]),
    })
    source = stores.from_python({"t": table}, folder, "bank")
    with stores.connect(source, "bank", {}, temporary=folder, memory=300 << 20) as opened:
        yield opened


def fragment(sql: str, *columns: tuple[str, Type], party: str = "bank") -> Fragment:
    schema = tuple(Column(name, kind) for name, kind in columns)
    return Fragment(0, party, sql, schema, 1024, "padded", ("bank.t",))


def run(connection: duckdb.DuckDBPyConnection, sql: str, *columns: tuple[str, Type]) -> pa.Table:
    return run_fragment(connection, fragment(sql, *columns))


@pytest.mark.parametrize(("expression", "kind", "arrow"), [
    ("sum(id)", HUGEINT, pa.decimal128(38, 0)), ("count(*)", BIGINT, pa.int64()), ("avg(id)", DOUBLE, pa.float64()),
    ("bool_or(id > 2)", BOOLEAN, pa.bool_()), ("max(name)", VARCHAR, pa.string()),
    ("max(DATE '2020-01-01' + id)", DATE, pa.date32()), ("max(TIMESTAMP '2020-01-01')", TIMESTAMP, pa.timestamp("us")),
    ("max(id::DECIMAL(18,2))", DECIMAL, pa.decimal128(18, 2)),
    ("list(id)", Type(Kind.OTHER, text="INTEGER[]"), pa.list_(pa.field("l", pa.int32()))),
])
def test_types_are_duckdbs_own(connection: duckdb.DuckDBPyConnection, expression: str, kind: Type,
                               arrow: pa.DataType) -> None:
    sql = f'SELECT {expression} FROM "bank"."t"'
    table = run(connection, sql, ("x", kind))
    assert table.schema.types == [arrow]
    assert table.column_names == ["x"]
    assert table.column(0).to_pylist() == connection.sql(sql).to_arrow_table().column(0).to_pylist()


def test_names_may_repeat(connection: duckdb.DuckDBPyConnection) -> None:
    table = run(connection, "SELECT 1, 2, 3", ("a", INTEGER), ("a", INTEGER), ("sum(x)", INTEGER))
    assert table.column_names == ["a", "a", "sum(x)"]


def test_a_local_plan_is_one_fragment(tmp_path: Path) -> None:
    source = stores.from_python({"t": pa.table({"id": [1, 3, 2]})}, tmp_path, "bank")
    catalog = Catalog((stores.describe(source, "bank", Policy.open()),))
    placed = place(Question("SELECT id FROM bank.t ORDER BY id DESC", "analyst"), catalog)
    with stores.connect(source, "bank", {}) as opened:
        assert from_stream(run_local(opened, placed)).column(0).to_pylist() == [3, 2, 1]
        with pytest.raises(errors.InternalError, match="2 fragments"):
            run_local(opened, replace(placed, fragments=placed.fragments * 2))


@pytest.mark.parametrize(("sql", "operator"), [
    ("SELECT 1 // zero FROM bank.t", "a division by zero"),
    ("SELECT id % zero FROM bank.t", "a division by zero"),
    ("SELECT big * big FROM bank.t", "an overflow in multiplication"),
    ("SELECT big - id FROM bank.t", "an overflow in subtraction"),
    ("SELECT abs(big) FROM bank.t", "an overflow in abs"),
    ("SELECT -big FROM bank.t", "an overflow in negation"),
    ("SELECT id << 70 FROM bank.t", "a value outside the range of its type"),
    ("SELECT name::INT FROM bank.t", "a CAST"),
    ("SELECT big::TINYINT FROM bank.t", "a CAST"),
    ("SELECT (SELECT big FROM bank.t)", "a scalar subquery of more than one row"),
    ("SELECT error(name) FROM bank.t", "a function"),
    ("SELECT strptime(name, '%Y') FROM bank.t", "a function"),
    ("SELECT chr(-id) FROM bank.t", "a function"),
])
def test_a_failure_on_data_tells_operator_and_party_alone(connection: duckdb.DuckDBPyConnection, sql: str,
                                                          operator: str) -> None:
    kind = connection.sql(sql).types[0]
    with pytest.raises(errors.DataError) as caught:
        run(connection, sql, ("x", parse_type(str(kind))))
    text = str(caught.value)
    assert operator in text
    assert "bank" in text
    assert not any(secret in text for secret in (str(SECRET), str(2**63), "Error:", "LINE 1"))
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("sql", ["SELECT nope FROM bank.t", "SELECT 1 FROM nope", "SELECT", "SELECT 1; SELECT 2",
                                 "CREATE TABLE x (i INT)", "DROP VIEW bank.t", "SET threads = 2"])
def test_only_one_select_that_binds_is_run(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    with pytest.raises(errors.InternalError):
        run(connection, sql, ("x", INTEGER))


def test_a_fragment_cannot_write_to_its_owners_files(tmp_path: Path) -> None:
    with duckdb.connect() as writer:
        writer.sql("SELECT 1 AS x").write_parquet(str(tmp_path / "t.parquet"))
    before = (tmp_path / "t.parquet").read_bytes()
    with stores.connect(stores.from_python(tmp_path / "t.parquet", tmp_path, "bank"), "bank", {}) as opened, \
            pytest.raises(errors.InternalError):
        run(opened, f"COPY (SELECT 2 AS x) TO '{tmp_path}/t.parquet' (USE_TMP_FILE false)", ("x", INTEGER))
    assert (tmp_path / "t.parquet").read_bytes() == before


@pytest.mark.parametrize("columns", [[("x", BIGINT)], [("x", INTEGER), ("y", INTEGER)], []])
def test_types_must_be_what_the_plan_says(connection: duckdb.DuckDBPyConnection,
                                          columns: list[tuple[str, Type]]) -> None:
    with pytest.raises(errors.InternalError, match="INTEGER"):
        run(connection, "SELECT 1::INTEGER", *columns)


def test_a_file_that_went_away(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    with duckdb.connect() as writer:
        writer.sql("SELECT 1 AS x").write_parquet(str(path))
    with stores.connect(stores.from_python(path, tmp_path, "bank"), "bank", {}) as opened:
        path.unlink()
        with pytest.raises(errors.StaleFact):
            run(opened, "SELECT x FROM bank.t", ("x", INTEGER))


def test_interrupt_cancels_and_leaves_the_connection_usable(connection: duckdb.DuckDBPyConnection) -> None:
    def interrupt() -> None:
        sleep(0.3)
        connection.interrupt()

    thread = threading.Thread(target=interrupt)
    thread.start()
    begun = monotonic()
    with pytest.raises(errors.Cancelled):
        run(connection, "SELECT sum((a.range * b.range) % 7) FROM range(1000000) a, range(1000000) b", ("x", HUGEINT))
    thread.join()
    assert monotonic() - begun < 5
    assert run(connection, "SELECT 1::INTEGER", ("x", INTEGER)).num_rows == 1


def test_running_out_of_memory_is_the_runs_fault(connection: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(errors.RuntimeFault, match="memory"):
        run(connection, "SELECT repeat(name, 400000000) FROM bank.t", ("x", VARCHAR))
