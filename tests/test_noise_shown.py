"""Which columns of a result have an interval, how wide it is, and when noise drowns an answer."""

from __future__ import annotations

import io
import warnings
import xml.etree.ElementTree as ElementTree
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console

from sdh import cli, formats, statements
from sdh.conduct import Outcome
from sdh.errors import NoiseDrowns
from sdh.noise_plot import likelihood
from sdh.planners.mechanisms import Mechanism, interval, variance
from sdh.planners.noise_shown import shown
from sdh.result import Result
from tests.test_privacy_plans import BARE, DP, JOIN, plan


def widths(text: str) -> dict[str, int | Decimal]:
    placed = plan(text).placed
    found = shown(placed.top, len(placed.schema), len(placed.parties))
    return {placed.schema[one.column].name: one.half_width for one in found}


SUM = "sum(p.cost, contribution_bounds_per_group => (0, 100)) AS s"
COUNTED = f"{DP} v.item, count(*) AS n {JOIN} GROUP BY v.item"
ROWS = {
    "a block": (f"{DP} v.item, count(*) AS n, {SUM} {JOIN} GROUP BY v.item", {"n", "s"}),
    "order": (f"{DP} v.item, count(*) AS n, {SUM} {JOIN} GROUP BY v.item ORDER BY n DESC", {"n", "s"}),
    "renamed above": (f"SELECT d.n AS visits, d.item FROM ({COUNTED}) d WHERE d.item > 2", {"visits"}),
    "joined above": (f"SELECT i.label, d.n FROM ({COUNTED}) d JOIN items i ON i.code = d.item", {"n"}),
    "cast to more decimals": (f"SELECT CAST(d.n AS DECIMAL(20,2)) AS n FROM ({COUNTED}) d", {"n"}),
    "hidden groups": (f"{DP} v.kind, count(*) AS n {JOIN} GROUP BY v.kind", {"n"}),
    "one owner": (f"{BARE} p.city, count(*) AS n FROM north.patients p GROUP BY p.city", {"n"}),
    "quotients": (f"{DP} avg(p.age) AS a, count(*) AS n {JOIN}", {"n"}),
    "computed above": (f"SELECT d.n + 1 AS m, d.n * 2 AS k, d.n > 3 AS b FROM ({COUNTED}) d", set()),
    "added up above": (f"SELECT sum(d.n) AS n, max(d.n) AS m FROM ({COUNTED}) d", set()),
    "rounded above": (f"SELECT CAST(d.n AS DOUBLE) AS s FROM ({BARE} count(*) AS n FROM north.patients) d", set()),
    "two blocks": (f"SELECT a.n AS one, b.n AS two FROM ({COUNTED}) a JOIN ({COUNTED}) b ON a.item = b.item", {"one", "two"}),
    "appended": (f"SELECT n FROM ({COUNTED}) d UNION ALL SELECT n FROM ({COUNTED}) e", set()),
    "exact": ("SELECT count(*) AS n FROM items", set()),
}


@pytest.mark.parametrize("name", ROWS)
def test_columns_that_show_a_noisy_number(name: str) -> None:
    text, columns = ROWS[name]
    assert set(widths(text)) == columns


def test_widths_are_explains() -> None:
    """In units of the column, of the draws that are made: two parties' are wider."""
    text = f"{DP} v.item, count(*) AS n, {SUM} {JOIN} GROUP BY v.item"
    found = plan(text)
    count_, total = found.placed.blocks[0].answers
    assert widths(text) == {"n": interval(count_.mechanism, 2), "s": Decimal(interval(total.mechanism, 2)) / 100}
    assert f"within {widths(text)['n']} of the bounded value" in found.explain()
    wider = widths(text.replace("epsilon = 1", "epsilon = 1, noise = PARTIES"))
    assert wider["n"] > widths(text)["n"]


# --- results ---------------------------------------------------------------------------------------

AVERAGED = f"{DP} v.kind, count(*) AS n, {SUM}, avg(p.age) AS a {JOIN} GROUP BY v.kind"


def result(counts: list[int | None], text: str = AVERAGED) -> Result:
    """An answer with these counts."""
    kinds = ["a & b", "c", None, "d" * 40][: len(counts)]
    money = pa.array([Decimal("9999.25")] * len(counts), pa.decimal128(38, 2))
    return Result(pa.table({"kind": kinds, "n": counts, "s": money, "a": [1.5] * len(counts)}), plan(text))


def test_a_result_says_how_sure_it_is() -> None:
    found = result([100, 200, 300, None])
    assert found.intervals == widths(AVERAGED)
    assert set(found.intervals) == {"n", "s"}
    assert Result(pa.table({"n": [1]})).intervals == {}
    console = Console(file=io.StringIO(), width=200)
    console.print(formats.rich_table(found))
    assert isinstance(console.file, io.StringIO)
    assert f"n: ± {found.intervals['n']:,} with 95%" in console.file.getvalue()
    assert "±" not in "".join(formats.json_lines(found)) + "".join(formats.csv_lines(found))


def test_noise_drowns_where_most_values_are_less() -> None:
    half = int(widths(AVERAGED)["n"])
    assert result([half, -half, half - 1, None]).drowned == ()
    assert result([half, half - 1]).drowned == (), "most is more than half"
    assert result([half, 1 - half, 0]).drowned == ("n",)
    assert f"n ± {half:,}." in result([0]).warning
    assert result([half]).warning == ""
    assert result([]).drowned == ()


def test_the_plot_has_each_value_and_its_noise(tmp_path: Path) -> None:
    text = result([100, 200, None, -5]).plot(tmp_path / "x.svg")
    assert (tmp_path / "x.svg").read_text(encoding="utf-8") == text
    root = ElementTree.fromstring(text)
    circles = [one for one in root if one.tag.endswith("circle")]
    assert len(circles) == 3 + 4, "a value that is NULL is not drawn"
    places = [float(one.attrib["cx"]) for one in circles[:3]]
    assert (places[1] - places[0]) / (places[0] - places[2]) == pytest.approx(100 / 105, abs=0.01)
    assert "a &amp; b" in text and ", 1.5" not in text
    assert len([one for one in root if one.tag.endswith("polyline")]) == 2
    with pytest.raises(ValueError, match="interval"):
        Result(pa.table({"n": [1]})).plot()


@pytest.mark.parametrize("mechanism", [Mechanism("laplace", Fraction(3), "joint"), Mechanism("laplace", Fraction(3), "parties")])
def test_the_density_is_the_laws(mechanism: Mechanism) -> None:
    """Chances add up to 1 and have the law's variance."""
    chances = [likelihood(mechanism, 2, size) for size in range(200)]
    assert chances[0] + 2 * sum(chances[1:]) == pytest.approx(1)
    assert 2 * sum(size * size * chance for size, chance in enumerate(chances)) == pytest.approx(variance(mechanism, 2))


def test_whoever_asks_is_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    for count_, warned in ((0, True), (10**6, False)):
        monkeypatch.setattr(statements, "assemble", lambda plan, _, count_=count_: result([count_]).table)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            statements.released(Outcome(plan(AVERAGED), [], {}, 0), 0.0)
        assert [one.category for one in said] == [NoiseDrowns] * warned


def test_the_command_warns_below_the_rows(capfd: pytest.CaptureFixture[str]) -> None:
    cli._write(result([0]), formats.Format.CSV)
    out, err = capfd.readouterr()
    assert "±" not in out
    assert err.startswith("warning: Most values are less than their noise")
