"""Results against DuckDB: names, types and values in every form."""

from __future__ import annotations

import math
from decimal import Decimal

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from sdh.audit import Reveal
from sdh.planners.costs import Spent
from sdh.planners.plan import Placed, Plan, Question
from sdh.result import Cost, Result, cost_of
from sdh.schema import Column, Schema, parse_type

TEXT = """
    SELECT 1::TINYINT AS a, 2.50::DECIMAL(9,2) AS a, sum(3) AS "A", 'x' AS "we""ird <b>", NULL::INTEGER AS n,
           DATE '2020-02-29' AS d, TIMESTAMP '2020-01-01 12:00:00.5' AS t, 1.5::DOUBLE AS f, true AS yes, 1 + 1,
           '550e8400-e29b-41d4-a716-446655440000'::UUID AS u, [1, NULL] AS l, {'k': 'v'} AS s, 'b'::BLOB AS b,
           'small'::ENUM('small', 'big') AS e, INTERVAL '1 month 2 days' AS i, 'nan'::DOUBLE AS nan
    UNION ALL
    SELECT -128, -0.01, -170141183460469231731687303715884105727, '', 7, DATE '1960-01-01', TIMESTAMP '1960-01-01',
           'inf', false, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL
"""
"""Every type that a released row may have, repeated and unnamed columns, NULLs."""


def made(text: str) -> tuple[Result, duckdb.DuckDBPyRelation]:
    """The result that a hub would give for `text`, and DuckDB's own relation."""
    relation = duckdb.connect().sql(text)
    schema = tuple(Column(name, parse_type(str(kind)))
                   for name, kind in zip(relation.columns, relation.types, strict=True))
    return Result(relation.to_arrow_table(), planned(Question(text, "analyst"), schema)), relation


def planned(question: Question, schema: Schema) -> Plan:
    """A plan of which the result looks at two things alone."""
    plan, placed = object.__new__(Plan), object.__new__(Placed)
    for name, value in (("question", question), ("schema", schema)):
        object.__setattr__(placed, name, value)
    object.__setattr__(plan, "placed", placed)
    return plan


def test_arrow_has_duckdbs_schema_and_rows() -> None:
    result, relation = made(TEXT)
    expected = relation.to_arrow_table()
    assert result.arrow().schema == expected.schema
    assert result.arrow().column_names[:3] == ["a", "a", "A"]
    assert len(result) == expected.num_rows == 2


def test_fetchall_gives_duckdbs_python_values() -> None:
    result, relation = made(TEXT)
    assert [list(map(repr, row)) for row in result.fetchall()] == [list(map(repr, row)) for row in relation.fetchall()]
    assert type(result.fetchall()[1][2]) is int   # HUGEINT, which Arrow has as a DECIMAL


def test_frames_are_duckdbs() -> None:
    text = "SELECT 1 AS a, 2.5 AS a, sum(3) AS \"A\", 'x' AS s, DATE '2020-01-01' AS d"
    result, relation = made(text)
    pd.testing.assert_frame_equal(result.df(), relation.df())
    assert isinstance(result.pl(), pl.DataFrame)
    assert result.pl().equals(relation.pl())


def test_moments_with_a_zone_need_no_further_package() -> None:
    table = pa.table({"t": pa.array([0, None], pa.timestamp("us", "Asia/Tokyo"))})
    (first,), (second,) = Result(table).fetchall()
    assert first.isoformat() == "1970-01-01T09:00:00+09:00"
    assert second is None


def test_a_result_without_a_plan_keeps_arrows_types() -> None:
    result = Result(pa.table({"name": ["bank.accounts"]}))
    assert (result.plan, result.revealed) == (None, ())
    assert (result.fetchall(), result.types) == ([("bank.accounts",)], ["VARCHAR"])
    with pytest.raises(ValueError, match="no plan"):
        result.explain()


def test_no_rows_keep_their_schema() -> None:
    result, relation = made("SELECT 1 AS a, sum(2) AS b WHERE false")
    assert (len(result), result.fetchall()) == (1, relation.fetchall())
    result, relation = made("SELECT 1 AS a, 2::HUGEINT AS b WHERE false")
    assert (len(result), result.fetchall(), result.types) == (0, [], ["INTEGER", "HUGEINT"])
    assert result.df().dtypes.equals(relation.df().dtypes)


def test_texts_are_as_duckdb_prints_them() -> None:
    result, _ = made("SELECT 1.50::DECIMAL(9,2) AS x, NULL AS y, DATE '2020-01-01' AS z FROM range(5)")
    assert result.texts(2) == [("1.50", None, "2020-01-01")] * 2
    assert len(result.texts()) == 5


def test_repr_and_html_show_a_small_table() -> None:
    result, _ = made(TEXT)
    assert "┌" in repr(result)
    assert "hugeint" in repr(result).lower() or "int128" in repr(result)
    page = result._repr_html_()
    assert "we&quot;ird &lt;b&gt;" in page
    assert "<b>" not in page
    assert "<i>NULL</i>" in page
    many, _ = made("SELECT range AS x FROM range(1000)")
    assert many._repr_html_().count("<tr>") == 51
    assert "1,000 rows, the first 50 shown" in many._repr_html_()


def test_nan_and_digits_survive() -> None:
    result, _ = made("SELECT 'nan'::DOUBLE AS x, 99999999999999999999999999999999999999::DECIMAL(38,0) AS y")
    ((x, y),) = result.fetchall()
    assert math.isnan(x)
    assert y == Decimal(10) ** 38 - 1 or y == Decimal("9" * 38)


def test_cost() -> None:
    cost = cost_of(1.25, {"bank": [Spent(1000, 3, 60, 0.5), Spent(24, 1, 0, 0.1)],
                          "shop": [Spent(2_499_900, 3, 60, 0.25), Spent(0, 1, 0, 0.2)]}, 100)
    assert (cost.bytes, cost.rounds, cost.dealer_bytes) == ({"bank": 1124, "shop": 2_500_000}, 4, 60)
    assert cost.most == [Spent(2_499_900, 3, 60, 0.5), Spent(24, 1, 0, 0.2)]
    assert str(cost) == "1.2 s, sent by bank 1.1 kB, shop 2.5 MB, 4 rounds, 60 B from the dealer"
    assert str(Cost(0.04)) == "0.0 s"
    assert cost_of(0.0, {"bank": []}, 5).bytes == {"bank": 5}
    assert (Cost().most, cost_of(0.0, {}, 0)) == ([], Cost())


def test_what_was_revealed_is_kept() -> None:
    reveals = (Reveal("result", "the rows", "analyst"),)
    assert Result(pa.table({"x": [1]}), None, Cost(), reveals).revealed == reveals
