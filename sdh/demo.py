"""`sdh demo`: three questions over TPC-H data of two owners, each answer compared with plain DuckDB's.

A shop (`retail`) has customers and orders, a warehouse (`supply`) has order lines, parts and suppliers. Nations and
regions are public. The data is made once by the package tpchgen-cli and kept in ~/.cache/sdh (or $SDH_CACHE).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
from rich.console import Console
from rich.rule import Rule
from rich.syntax import Syntax
from rich.text import Text

import sdh
from sdh.errors import MissingStore, NotGranted
from sdh.formats import rich_table
from sdh.planners import units
from sdh.policy import Policy
from sdh.progress import Meter
from sdh.result import Result

if TYPE_CHECKING:
    from sdh.hub import Hub

CLIENT = "analyst"
TABLES: Mapping[str, tuple[str, ...]] = {
    "retail": ("customer", "orders"),
    "supply": ("lineitem", "part", "partsupp", "supplier"),
    "public": ("nation", "region"),
}
KEYS: Mapping[str, Mapping[str, Sequence[tuple[str, ...]]]] = {
    "retail": {"customer": [("c_custkey",)], "orders": [("o_orderkey",)]},
    "supply": {"lineitem": [("l_orderkey", "l_linenumber")], "part": [("p_partkey",)],
               "partsupp": [("ps_partkey", "ps_suppkey")], "supplier": [("s_suppkey",)]},
}


@dataclass(frozen=True, slots=True)
class Step:
    title: str
    why: str
    sql: str


COMPARISON = Step(
    "1. A comparison across owners, and a sum",
    "For how many pairs of a furniture customer in Germany and a supplier could the customer's balance settle the "
    "supplier's, and what do those sums come to? Balances stay with their owners and are compared on secret shares. "
    "Row counts are padded.",
    """\
SELECT count(*) AS pairs, sum(s.s_acctbal) AS settled
FROM retail.customer c JOIN supply.supplier s ON c.c_acctbal > s.s_acctbal
WHERE c.c_nationkey = 7 AND c.c_mktsegment = 'FURNITURE' AND s.s_acctbal > 0""")

HIDDEN_JOIN = Step(
    "2. A hidden join with GROUP BY (TPC-H Q12's shape)",
    "Late deliveries of 1994 by ship mode, of urgent orders and of others. Nobody learns which rows match, nor how "
    "many pass the filters: row counts are hidden, so every order line and every order take part, in padded slots.",
    """\
SELECT l.l_shipmode,
       sum(CASE WHEN o.o_orderpriority IN ('1-URGENT', '2-HIGH')
           THEN 1 ELSE 0 END) AS high_line_count,
       sum(CASE WHEN o.o_orderpriority NOT IN ('1-URGENT', '2-HIGH')
           THEN 1 ELSE 0 END) AS low_line_count
FROM retail.orders o JOIN supply.lineitem l ON o.o_orderkey = l.l_orderkey
WHERE l.l_shipmode IN ('MAIL', 'SHIP')
  AND l.l_commitdate < l.l_receiptdate AND l.l_shipdate < l.l_commitdate
  AND l.l_receiptdate >= DATE '1994-01-01'
  AND l.l_receiptdate < DATE '1995-01-01'
GROUP BY l.l_shipmode ORDER BY l.l_shipmode""")

REFUSED = Step(
    "3. A question that an owner's policy refuses",
    "A bank joins with a table in memory. Its policy lets credit scores be joined and averaged, and no more. Asked for "
    "single scores, the planner at every node refuses before anything is computed.",
    """\
SELECT c.c_name, b.score
FROM retail.customer c JOIN bank.scores b ON c.c_custkey = b.customer
WHERE c.c_acctbal < -900""")

BANK_POLICY = """
GRANT JOIN ON bank.scores (customer) TO analyst;
GRANT AGGREGATE ON bank.scores (score) TO analyst;
"""


def run(scale: float, out: Console, err: Console) -> int:
    """Run the demo; 0 if every answer is plain DuckDB's, digit for digit. Raises SdhError."""
    begun = monotonic()
    folder = data(scale, err)
    out.print(Text(f"TPC-H at scale {scale:g} in {folder}: customer and orders at retail; lineitem, part, partsupp and "
                   "supplier at supply; nation and region public."))
    with sdh.connect(client=CLIENT) as hub:
        with Meter(err, "starting the parties"):
            _attach(hub, folder, Policy.open())
            for name in TABLES["public"]:
                hub.publish(name, folder / "public" / f"{name}.parquet")
        agreed = [_ask(hub, COMPARISON, folder, out, err)]
        with Meter(err, "starting the parties anew, with hidden row counts"):
            _attach(hub, folder, Policy.open(rows="hidden"))
        agreed.append(_ask(hub, HIDDEN_JOIN, folder, out, err))
        agreed.append(_be_refused(hub, out))
    ok = all(agreed)
    out.print(Rule(style="dim"))
    out.print(Text(f"{'All as expected' if ok else 'NOT as expected'}, in {monotonic() - begun:.1f} s.",
                   style="bold green" if ok else "bold red"))
    return 0 if ok else 1


def _attach(hub: Hub, folder: Path, policy: Policy) -> None:
    for party in KEYS:
        if any(table.startswith(f"{party}.") for table in hub.tables()):
            hub.detach(party)
        hub.attach(party, folder / party, policy=policy, keys=KEYS[party])


# One question


def _ask(hub: Hub, step: Step, folder: Path, out: Console, err: Console) -> bool:
    _introduce(step, out)
    out.print(hub.explain(step.sql), markup=False, soft_wrap=True)
    with Meter(err, "planning") as meter:
        result = hub.sql(step.sql, progress=meter)
    out.print(rich_table(result))
    out.print(Text(f"cost: {result.cost}"))
    out.print(Text("what each side learned:"))
    for name, seen in learned(result).items():
        out.print(Text(f"  {name:<8} {seen}"), soft_wrap=True)
    expected = plain(folder, step.sql)
    same = agree(result, expected)
    out.print(Text("Plain DuckDB with all tables gives the same rows and types, digit for digit." if same
                   else f"Plain DuckDB gives something else:\n{expected}", style="green" if same else "red"))
    return same


def _be_refused(hub: Hub, out: Console) -> bool:
    _introduce(REFUSED, out)
    scores = pa.table({"customer": pa.array(range(1, 1001), pa.int64()),
                       "score": pa.array([300 + 37 * n % 550 for n in range(1, 1001)], pa.int32())})
    hub.attach("bank", {"scores": scores}, policy=Policy.parse(BANK_POLICY, facts="measured"))
    try:
        hub.sql(REFUSED.sql)
    except NotGranted as error:
        out.print(Text.assemble(("refused: ", "bold"), f"{error.message} {error.advice}"))
        if caret := error.caret():
            out.print(Text(caret))
        return True
    out.print(Text("It was answered, against the policy.", style="red"))
    return False


def _introduce(step: Step, out: Console) -> None:
    out.print()
    out.print(Rule(Text(step.title, style="bold"), align="left"))
    out.print(Text(step.why))
    out.print()
    out.print(Syntax(step.sql, "sql", background_color="default", word_wrap=True))
    out.print()


def learned(result: Result) -> dict[str, str]:
    """What each side came to see, beside the public facts that EXPLAIN lists as known beforehand."""
    parties = result.plan.placed.parties if result.plan is not None else ()
    seen = {}
    for name in (CLIENT, *parties, "dealer"):
        shown = [reveal for reveal in result.revealed if reveal.to in (name, "everyone")]
        data = [reveal.what for reveal in shown if reveal.reason != "slots"]
        sizes = [reveal.what for reveal in shown if reveal.reason == "slots"]
        seen[name] = "; ".join(data or ["nothing of the data"]) + "".join(f"; {what}" for what in sizes)
    return seen


# The check


def plain(folder: Path, sql: str) -> Any:
    """The Arrow table that one DuckDB with every table gives."""
    with duckdb.connect() as connection:
        for owner, tables in TABLES.items():
            schema = "main" if owner == "public" else owner
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
            for table in tables:
                connection.read_parquet(str(folder / owner / f"{table}.parquet")).create_view(f"tpch_{table}")
                connection.execute(f"CREATE VIEW {schema}.{table} AS FROM tpch_{table}")
        return connection.sql(sql).to_arrow_table()


def agree(result: Result, expected: pa.Table) -> bool:
    """Equal names, types and rows, in order (the questions order what has more than one row)."""
    got = result.arrow()
    return bool(got.schema.equals(expected.schema)) and got.to_pylist() == expected.to_pylist()


# The data


def data(scale: float, err: Console) -> Path:
    """The folder of TPC-H at `scale`, a subfolder for each owner. Made in about 2 s at scale 0.1, then kept."""
    cache = Path(os.environ.get("SDH_CACHE") or Path.home() / ".cache" / "sdh")
    folder = cache / f"tpch-{scale:g}"
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    err.print(f"Making TPC-H data at scale {scale:g} ...", style="dim")
    with tempfile.TemporaryDirectory(dir=cache, prefix="making-") as making:
        for owner, tables in TABLES.items():
            generate(Path(making) / owner, tables, scale)
        try:
            Path(making).rename(folder)   # at once: nobody sees half of it
        except OSError:
            if not folder.is_dir():
                raise
        Path(making).mkdir(exist_ok=True)   # for the end of the block to remove
    size = sum(file.stat().st_size for file in folder.rglob("*.parquet"))
    err.print(f"Made {units.size(size)} of Parquet in {folder}.", style="dim")
    return folder


def generate(folder: Path, tables: Sequence[str], scale: float) -> None:
    """Write `tables` as Parquet files. Raises MissingStore when tpchgen-cli is not installed or fails."""
    program = shutil.which("tpchgen-cli", path=os.pathsep.join(
        [sysconfig.get_path("scripts"), str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if program is None:
        raise MissingStore("The demo's data is made by tpchgen-cli, which is not installed.",
                           advice="Run pip install 'sdh[demo]'.")
    folder.mkdir(parents=True)
    arguments = ["parquet", "-s", f"{scale:g}", "-T", ",".join(tables), "--output-dir", str(folder)]
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise MissingStore(f"tpchgen-cli could not make {', '.join(tables)}: {done.stderr.strip()[:200]}")
