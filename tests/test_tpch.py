"""The 22 TPC-H queries, unmodified, over two owners at scale 0.01: all are answered, exactly as DuckDB does."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator

import pyarrow as pa
import pytest
from rich.console import Console

import sdh
from sdh.demo import data
from tests.bench import tpch
from tests.bench.tpch_answers import Answers, difference, parsed

SCALE, SPLIT = 0.01, "vertical"
LOCAL = (1, 2, 6, 11, 13, 14, 15, 16, 17, 19, 20, 22)
"""Over one owner's tables alone."""
SECURE = (3, 4, 5, 7, 8, 9, 10, 12, 18, 21)
"""On shares."""


@pytest.fixture(scope="module")
def hub() -> Iterator[sdh.Hub]:
    with tpch.opened(SPLIT, SCALE) as opened:
        yield opened


@pytest.fixture(scope="module")
def answers() -> Answers:
    return Answers(data(SCALE, Console(stderr=True)))


def test_every_query_is_in_one_of_the_tables() -> None:
    assert sorted([*LOCAL, *SECURE]) == list(tpch.QUERIES)


@pytest.mark.parametrize("query", [*LOCAL, *SECURE])
def test_answered(hub: sdh.Hub, answers: Answers, query: int) -> None:
    outcome = tpch.ask(hub, SPLIT, SCALE, query, answers)
    assert (outcome.verdict, outcome.detail, outcome.secure) == ("answered", "", query in SECURE)


@pytest.mark.parametrize("query", SECURE)
def test_parties_see_nothing_of_each_other_but_padded_sizes(hub: sdh.Hub, query: int) -> None:
    plan = hub.explain(tpch.text(query, SPLIT))
    shown = [line for line in plan.splitlines() if " -> " in line]
    allowed = re.compile(r"-> analyst \((result|error)\)|the padded "
                         r"(row count|number of groups|count of joined or filtered rows) of fragment \d+ -> everyone \(slots\)")
    assert shown and all(allowed.search(line) for line in shown)


@pytest.mark.parametrize("split", tpch.SPLITS)
def test_texts_differ_in_names_alone(split: str) -> None:
    names = tpch.names(split)
    assert len(names) == 8 and sorted(names) == sorted([*tpch.KEYS, *tpch.PUBLIC])
    for query in tpch.QUERIES:
        original = (tpch.TEXTS / f"q{query:02}.sql").read_text()
        assert set(re.findall(r"\{(\w+)\}", original)) <= names.keys()
        assert re.sub(r"\b[a-z]+\.(?=(customer|orders|lineitem|part|partsupp|supplier)\b)", "", tpch.text(query, split)) == (
            re.sub(r"[{}]", "", original))


@pytest.mark.parametrize(("verdicts", "code"), [(("answered", "refused"), 0), (("answered", "wrong", "answered"), 1),
                                                (("failed", "answered"), 1)])
def test_the_benchmark_ends_with_a_table_and_says_whether_all_is_right(
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verdicts: tuple[str, ...], code: int) -> None:
    found = [tpch.Outcome(SPLIT, SCALE, query, verdict, f"detail {query}") for query, verdict in enumerate(verdicts, 1)]
    monkeypatch.setattr(tpch, "outcomes", lambda *_, **__: iter(found))
    parser = argparse.ArgumentParser()
    tpch.add_arguments(parser)
    assert tpch.run(parser.parse_args(["--split", SPLIT])) == code
    shown = capsys.readouterr().out
    assert all(f"detail {one.query}" in shown for one in found)
    assert f"{verdicts.count('answered')} of {len(verdicts)} answered" in shown
    assert tpch.run(parser.parse_args(["--split", SPLIT, "--json"])) == code
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["verdict"] for line in lines] == list(verdicts)


def test_an_answer_that_is_not_duckdbs_is_seen() -> None:
    rows = pa.table({"a": [3, 2, 2, 1], "b": ["x", "y", "z", "w"]})
    whole = parsed("select a, b from t order by a desc", rows.column_names)
    best = parsed("select a, b from t order by a desc limit 2", rows.column_names)
    assert (whole.keys, best.keys, best.limit) == ((0,), (0,), 2)
    assert not difference(rows.take([0, 2, 1, 3]), rows, whole)   # ties in any order
    assert "ordered by" in difference(rows.take([1, 0, 2, 3]), rows, whole)
    assert "rows for" in difference(rows.slice(1), rows, whole)
    assert difference(rows.set_column(1, "b", [["x", "y", "z", "v"]]), rows, whole)
    assert not difference(rows.take([0, 2]), rows, best)   # any of the tied rows
    assert not difference(rows.take([0, 1]), rows, best)
    assert "ordered by" in difference(rows.take([0, 3]), rows, best)
    assert "none of" in difference(pa.table({"a": [3, 2], "b": ["x", "w"]}), rows, best)
    assert "rows for" in difference(rows.slice(0, 1), rows, best)
    assert "schema" in difference(rows.slice(0, 2).rename_columns(["b", "a"]), rows, best)
