"""`//` and `%` of columns of two owners are DuckDB's: values, types, NULLs, and which data it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import duckdb
import pyarrow as pa
import pytest

import sdh
from tests.compare import difference
from tests.data import plain

ENDS = {"t": pa.int8(), "s": pa.int16(), "i": pa.int32(), "b": pa.int64()}
DIVISORS = [3, -1, 1, -7, None, 2, 100, -128]


def _dividends(kind: pa.DataType) -> list[int | None]:
    top = (1 << (kind.bit_width - 1)) - 1
    return [top, -top, 7, None, 0, -8, top - 1, 1]


LEFT = pa.table({"id": pa.array(range(8), pa.int32()), **{name: pa.array(_dividends(kind), kind) for name, kind in ENDS.items()},
                 "u": pa.array([2**64 - 1 >> 1, 7, 0, None, 1, 2, 3, 4], pa.uint64()),
                 "least": pa.array([-128, 1, 2, 3, 4, 5, 6, 7], pa.int8()),
                 "lowest": pa.array([-(2**63), -(2**63), 2**63 - 1, 1, None, 0, -1, 5], pa.int64()),
                 "money": pa.array([None, *(Decimal(cents) / 100 for cents in (10**13, -(10**13), 155, -155, 0, 1, -1))],
                                   pa.decimal128(15, 2)),
                 "wide": pa.array([Decimal(10**30 + i) for i in range(8)], pa.decimal128(38, 0))})
RIGHT = pa.table({"id": pa.array(range(8), pa.int32()), **{f"d{name}": pa.array(DIVISORS, kind) for name, kind in ENDS.items()},
                  "zero": pa.array([0, 1, -1, None, 5, -5, 2, 0], pa.int16()),
                  "large": pa.array([2**62, 2**61, -(2**62), 1, 2, 3, -1, None], pa.int64()),
                  "r": pa.array([Decimal(v) / 10 for v in (4, -4, 15, -1, 9999, 3, 3, 3)], pa.decimal128(5, 1)),
                  "minus": pa.array([-1, -1, 1, 2, None, -3, 4, 5], pa.int8())})
JOIN = "FROM bank.l x JOIN shop.r y ON x.id = y.id"


@pytest.fixture(scope="module")
def hub() -> Iterator[sdh.Hub]:
    with sdh.connect(client="analyst") as opened:
        opened.attach("bank", {"l": LEFT}, policy=sdh.Policy.open(rows="exact"), keys={"l": [("id",)]})
        opened.attach("shop", {"r": RIGHT}, policy=sdh.Policy.open(rows="exact"), keys={"r": [("id",)]})
        yield opened


@pytest.fixture(scope="module")
def oracle() -> duckdb.DuckDBPyConnection:
    return plain({"bank": {"l": LEFT}, "shop": {"r": RIGHT}})


PAIRS = ("tt", "ss", "ii", "bb", "bt", "tb", "is")
VALUES = [f"x.{pair[0]} {operator} y.d{pair[1]}" for operator in ("//", "%") for pair in PAIRS] + [
    *(f"x.{name} {operator} (y.d{name} * 0 + {c})" for name in "tb" for operator, c in (("//", 7), ("%", 64), ("//", -1))),
    *(f"(x.{name} // 2 + y.id) {by}" for name in "ib" for by in ("// 1", "% 1", "// 3", "% 3", "// 64", "% 64", "// 2000000011")),
    "x.t // nullif(y.zero, 0)", "x.b % nullif(y.zero, 0)", "CASE WHEN y.zero <> 0 THEN x.i // y.zero END",
    "coalesce(x.s % nullif(y.zero, 0), -5)", "mod(x.i, y.di)", "divide(x.i, y.di)", "7 // y.dt + x.t % 5", "x.id % (y.id + 1)",
    "x.u // (y.id + 1)", "x.u % 1000", "x.money % y.r", "x.money % y.di", "x.money % 0.03 + y.id",
    "7 % nullif(x.money, 0) * y.id", "x.lowest // (y.id + 2)", "x.lowest % (y.id + 2)", "x.lowest // 10 + y.id",
    "x.t // CAST(NULL AS INTEGER) + y.id", "x.b // y.dt // 3", "-(x.b // 2) % y.ds", "x.t / y.zero"]


def test_values(hub: sdh.Hub, oracle: duckdb.DuckDBPyConnection) -> None:
    for start in range(0, len(VALUES), 8):
        query = f"SELECT x.id, {', '.join(VALUES[start:start + 8])} {JOIN}"
        assert not difference(hub.sql(query).arrow(), oracle.sql(query).to_arrow_table(), ordered=False), query


@pytest.mark.parametrize("query", [
    f"SELECT x.id {JOIN} WHERE x.i // y.di >= 0 AND x.b % y.di <> 1", f"SELECT sum(x.t // y.dt), max(x.i % y.di) {JOIN}",
    f"SELECT sum(x.t) // sum(y.dt), sum(x.t) % count(*), count(*) // 3 {JOIN}",
    f"SELECT x.t % 3 + y.id % 2 AS g, count(*) {JOIN} GROUP BY g",
    "SELECT count(*) FROM bank.l x, shop.r y WHERE x.s // y.ds = 0",
    f"SELECT count(*) {JOIN} WHERE y.zero <> 0 AND x.i // y.zero > 0",
    f"SELECT avg(x.t % y.dt), avg(x.money % y.r) {JOIN}"])
def test_queries(hub: sdh.Hub, oracle: duckdb.DuckDBPyConnection, query: str) -> None:
    assert not difference(hub.sql(query).arrow(), oracle.sql(query).to_arrow_table(), ordered=False)


@pytest.mark.parametrize("expression", ["x.i // y.zero", "x.b % y.zero", "(x.id + y.id) // 0", "(x.id + y.id) % 0",
                                        "x.least // y.minus", "x.least % y.minus", "x.money % (y.zero)"])
def test_data_that_have_no_quotient(hub: sdh.Hub, oracle: duckdb.DuckDBPyConnection, expression: str) -> None:
    query = f"SELECT {expression} {JOIN}"
    with pytest.raises(duckdb.Error):
        oracle.sql(query).to_arrow_table()
    with pytest.raises(sdh.DataError, match="a division by zero"):
        hub.sql(query)
    elsewhere = f"SELECT {expression} {JOIN} WHERE x.id BETWEEN 1 AND 6"
    if "0" not in expression:
        assert not difference(hub.sql(elsewhere).arrow(), oracle.sql(elsewhere).to_arrow_table(), ordered=False)


@pytest.mark.parametrize(("expression", "refusal", "words"), [
    ("x.b // y.large", sdh.WidthError, "63 bits for the dividend or 61 for the divisor"),
    ("x.b % y.r", sdh.WidthError, "63 bits for the dividend"),
    ("(x.wide + y.id) // 3", sdh.WidthError, "63 bits"),
    ("x.money // y.r", sdh.Unsupported, r"// of DECIMAL\(15,2\) and DECIMAL\(5,1\)"),
    ("x.money % CAST(y.r AS DOUBLE)", sdh.Unsupported, "% of"),
    ("fdiv(x.i, y.di)", sdh.Unsupported, "fdiv")])
def test_what_is_refused(hub: sdh.Hub, expression: str, refusal: type[sdh.SdhError], words: str) -> None:
    with pytest.raises(refusal, match=words):
        hub.sql(f"SELECT {expression} {JOIN}")
