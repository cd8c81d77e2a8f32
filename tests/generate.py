"""Generated queries: a grammar over joins, conditions, expressions, aggregates, grouping and order."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from tests.data import COLUMNS, SIZES, Column

COMPARISONS = ("=", "<>", "<", "<=", ">", ">=")
LITERALS = {
    "number": ("0", "1", "-1", "7", "2.5", "100"),
    "text": ("'a'", "'MAIL'", "''"),
    "day": ("DATE '1995-01-01'",),
    "time": ("TIMESTAMP '1995-01-01 00:00:00'",),
    "truth": ("TRUE", "FALSE"),
    "double": ("1.5e0", "0e0", "0.1"),
}


@dataclass(frozen=True, slots=True)
class Source:
    """A table in FROM: party.table AS alias; a federated one is no party's."""

    party: str
    name: str
    alias: str


@dataclass(slots=True)
class Generator:
    """Draws queries from a seed; every table of a query is of another party than the one before."""

    draw: random.Random
    parties: int

    def query(self) -> str:
        sources = self.sources()
        kind = self.draw.choice(["rows", "rows", "total", "total", "groups", "groups", "groups", "distinct", "derived"])
        if kind == "derived":
            return self.derived(sources)
        origin = self.origin(sources)
        where = self.where(sources)
        match kind:
            case "rows":
                if self.draw.random() < 0.15:
                    return self.named(sources, origin, where)
                items = [self.expression(sources) for _ in range(self.draw.randint(1, 3))]
                return f"SELECT {', '.join(items)} {origin}{where}{self.order(len(items))}"
            case "distinct":
                owner = self.draw.choice(sources)
                return f"SELECT DISTINCT {self.column(owner, narrow=True)} {origin}{where} ORDER BY 1"
            case "total":
                return f"SELECT {', '.join(self.calls(sources))} {origin}{where}"
            case _:
                return self.groups(sources, origin, where)

    def sources(self) -> list[Source]:
        parties = self.draw.sample(list(SIZES)[: self.parties], self.draw.choice([2, min(3, self.parties)]))
        return [Source(party, self.draw.choice(list(SIZES[party])), alias) for party, alias in zip(parties, "xyz", strict=False)]

    def origin(self, sources: list[Source]) -> str:
        text = f"FROM {table(sources[0])}"
        for i, source in enumerate(sources[1:], 1):
            text += self.draw.choice(
                [f" JOIN {table(source)} ON {self.join_condition(sources[:i], source)}"] * 5 + [f", {table(source)}"]
            )
        if self.draw.random() < 0.15:
            text += f" JOIN code ON code.code = {self.draw.choice(sources).alias}.n"
        return text

    def join_condition(self, before: list[Source], source: Source) -> str:
        other = self.draw.choice(before)
        equal = self.draw.choice(
            [f"{other.alias}.id = {source.alias}.id"] * 4
            + [
                f"{other.alias}.k = {source.alias}.id",
                f"{other.alias}.id = {source.alias}.k",
                f"{other.alias}.k = {source.alias}.k",
                f"{other.alias}.s = {source.alias}.s",
                f"{other.alias}.d = {source.alias}.d",
                f"{other.alias}.money = {source.alias}.id",
                f"{other.alias}.id = {source.alias}.id AND {other.alias}.b = {source.alias}.b",
                f"{other.alias}.f = {source.alias}.f",
                self.condition([other, source]),
            ]
        )
        return f"{equal} AND {self.condition([other, source])}" if self.draw.random() < 0.2 else equal

    def where(self, sources: list[Source]) -> str:
        count = self.draw.choice([0, 0, 1, 1, 2])
        if not count:
            return ""
        joint = self.draw.choice([" AND ", " OR "])
        return f" WHERE {joint.join(self.condition(sources) for _ in range(count))}"

    def named(self, sources: list[Source], origin: str, where: str) -> str:
        """Ordered by a name that both tables have and only one output bears, or that is an alias."""
        first, second, *_ = sources
        name = self.draw.choice(["id", "n", "s", "d"])
        a, b = first.alias, second.alias
        what = self.draw.choice([f"{a}.{name}, {b}.k AS other", f"{b}.id AS {name}, {a}.k"])
        return f"SELECT {what} {origin}{where} ORDER BY {name}, 2"

    def condition(self, sources: list[Source], depth: int = 0) -> str:
        family = self.draw.choice(["number", "number", "number", "text", "day", "time", "truth", "double"])
        a, b = (self.operand(family, sources) for _ in range(2))
        literal = self.draw.choice(LITERALS[family])
        choices = [f"{a} {self.draw.choice(COMPARISONS)} {b}"] * 4 + [
            f"{a} {self.draw.choice(COMPARISONS)} {literal}",
            f"{a} IS NULL",
            f"{a} IS NOT NULL",
            f"{a} IS DISTINCT FROM {b}",
            f"{a} BETWEEN {literal} AND {b}",
            f"{a} IN ({b}, {literal}, NULL)",
            f"{a} NOT IN ({b}, {literal})",
        ]
        if family == "number":
            small = [f"{self.draw.choice(sources).alias}.small" for _ in range(2)]
            choices.append(f"({a} = {b} OR {small[0]} * {small[1]} > 5)")
        if depth < 2:
            inner = self.condition(sources, depth + 1)
            choices += [f"NOT ({inner})", f"({inner} OR {a} = {b})", f"({inner} AND {a} <> {b})"]
        if family == "truth":
            choices += [a, f"NOT {a}", f"greatest({a}, {b})", f"least({a}, {b}, TRUE)"]
        return self.draw.choice(choices)

    def operand(self, family: str, sources: list[Source]) -> str:
        column = self.draw.choice([c for c in COLUMNS if c.family == family])
        return f"{self.draw.choice(sources).alias}.{column.name}"

    def number(self, sources: list[Source], depth: int = 0) -> str:
        """A number of few bits."""
        narrow = [c.name for c in COLUMNS if c.family == "number" and not c.wide]
        a, b = (f"{self.draw.choice(sources).alias}.{self.draw.choice(narrow)}" for _ in range(2))
        divided = self.draw.choice(["//", "%"])
        if divided == "//":   # of integers alone: of DECIMAL it is a DOUBLE
            c, d = (f"{self.draw.choice(sources).alias}.{self.draw.choice(['id', 'k', 'small', 'n'])}" for _ in range(2))
        else:
            c, d = a, b
        choices = [
            a,
            a,
            f"{a} + {b}",
            f"{a} - {b}",
            f"{a} * {b}",
            f"-{a}",
            f"{a} * 2",
            f"abs({a})",
            f"{c} {divided} nullif({d}, 0)",
            f"CASE WHEN {d} <> 0 THEN {c} {divided} {d} END",
            f"({c} + {d}) {divided} {self.draw.choice(['2', '7', '-3', '1000'])}",
            f"coalesce({a}, {b}, 0)",
            f"CASE WHEN {self.condition(sources, 1)} THEN {a} ELSE {b} END",
            f"CASE WHEN {self.condition(sources, 1)} THEN {a} END",
            f"nullif({a}, {b})",
            f"greatest({a}, {b})",
            f"least({a}, {b}, 1)",
            f"coalesce({a}, {sources[0].alias}.small * {sources[1].alias}.small)",
            f"CASE WHEN {a} THEN {b} ELSE {sources[0].alias}.n END",
        ]
        return self.draw.choice(choices) if depth < 2 else a

    def expression(self, sources: list[Source]) -> str:
        any_column = self.column(self.draw.choice(sources))
        cases = (
            f"CASE WHEN {self.condition(sources)} THEN {self.operand('text', sources)} ELSE {self.operand('text', sources)} END"
        )
        return self.draw.choice(
            [any_column] * 3
            + [self.number(sources)] * 3
            + [f"({self.condition(sources)})", cases, f"{self.operand('day', sources)} - {self.operand('day', sources)}"]
            + [self.draw.choice(["NULL", "'text'", "12345678901234567890", "2.5", "TRUE", cases])]
        )

    def column(self, source: Source, *, narrow: bool = False) -> str:
        columns: list[Column] = [c for c in COLUMNS if not (narrow and c.wide)]
        return f"{source.alias}.{self.draw.choice(columns).name}"

    def calls(self, sources: list[Source]) -> list[str]:
        found = []
        for _ in range(self.draw.randint(1, 3)):
            number, any_column = self.number(sources), self.column(self.draw.choice(sources))
            extreme = f"{self.draw.choice(sources).alias}.{self.draw.choice(['n', 'money', 'd', 't', 'big', 'long', 'f'])}"
            only = f" FILTER (WHERE {self.condition(sources)})" if self.draw.random() < 0.15 else ""
            if self.draw.random() < 0.03:
                only = f" FILTER (WHERE {sources[0].alias}.n)"
            found.append(
                self.draw.choice(
                    [
                        "count(*)",
                        f"count({any_column})",
                        f"sum({number})",
                        f"sum({number})",
                        f"avg({number})",
                        f"min({extreme})",
                        f"max({extreme})",
                        f"max({number})",
                    ]
                )
                + only
            )
        return found

    def groups(self, sources: list[Source], origin: str, where: str) -> str:
        owner = sources[0] if self.draw.random() < 0.7 else self.draw.choice(sources)
        keys = [
            f"{owner.alias}.{name}"
            for name in self.draw.sample(["s", "k", "n", "d", "b", "small", "money"], self.draw.choice([1, 1, 2]))
        ]
        if self.draw.random() < 0.2:
            small = f"{owner.alias}.small + {owner.alias}.small"
            other = self.draw.choice(sources).alias
            keys = [self.draw.choice([f"({self.condition(sources)})", f"{other}.b", f"{other}.never", small])]
        calls = self.calls(sources)
        items = [f"{key} AS g{i}" for i, key in enumerate(keys)] + [f"{call} AS c{i}" for i, call in enumerate(calls)]
        having = ""
        if self.draw.random() < 0.3:
            mean, most = f"avg({owner.alias}.n)", f"max({owner.alias}.n)"
            conditions = ["count(*) > 1", f"sum({owner.alias}.n) > 0", f"{mean} > 1.5", f"{most} IS NULL"]
            conditions += [f"{mean} IS DISTINCT FROM 1", f"{mean} <= 7", "TRUE"]
            having = f" HAVING {self.draw.choice(conditions)}"
        names = ", ".join(f"g{i}" for i in range(len(keys)))
        return f"SELECT {', '.join(items)} {origin}{where} GROUP BY {names}{having}{self.order(len(items))}"

    def derived(self, sources: list[Source]) -> str:
        first, second, *_ = sources
        if self.draw.random() < 0.5:
            return self.nested(first, second)
        a = first.alias
        inner = f"SELECT {a}.k AS k, count(*) AS rows, sum({a}.n) AS total FROM {table(first)} GROUP BY {a}.k"
        form = self.draw.choice(
            ["WITH w AS ({}) SELECT {} FROM w JOIN {} ON w.k = {}", "SELECT {1} FROM ({0}) AS w JOIN {2} ON w.k = {3}"]
        )
        what = self.draw.choice(
            ["sum(w.total)", "count(*), max(w.rows)", f"w.k, w.total, {second.alias}.n", f"sum(w.rows * {second.alias}.n)"]
        )
        return form.format(inner, what, table(second), f"{second.alias}.{self.draw.choice(['id', 'k'])}")

    def nested(self, first: Source, second: Source) -> str:
        """Names that derived tables hide, repeat or leave out; one-row relations; many rows on both sides of a key."""
        a, b, one, two = first.alias, second.alias, table(first), table(second)
        narrow = self.draw.choice(["small", "rate", "n"])
        return self.draw.choice(
            [
                f"SELECT {a}.id, w.m FROM {one}, (SELECT max(n) AS m, count(*) AS c FROM {two}) w WHERE {a}.n < w.m",
                f"SELECT v.m, w.m FROM (SELECT min({narrow}) AS m FROM {one}) v, (SELECT max(n) AS m FROM {two}) w",
                f"SELECT w.id FROM (SELECT {a}.id, {b}.id FROM {one} JOIN {two} ON {a}.id = {b}.id) w",
                f"WITH p AS (SELECT id, n FROM {one}), q AS (SELECT id FROM p) "
                f"SELECT w.id FROM (WITH p AS (SELECT 1 AS id) SELECT q.id FROM q) w JOIN {two} ON w.id = {b}.id",
                f"WITH p AS (SELECT code FROM code), code AS (SELECT 1 AS code) SELECT p.code, {b}.id, {a}.id FROM p "
                f"JOIN {two} ON p.code = {b}.n JOIN {one} ON {a}.id = {b}.id",
                f"SELECT sum({a}.{narrow} * {b}.{narrow}) FROM {one} JOIN {two} ON {a}.k = {b}.k",
                f"SELECT {a}.s, sum({a}.{narrow} * {b}.{narrow}), count(*) FROM {one} JOIN {two} ON {a}.k = {b}.k GROUP BY {a}.s",
                f"SELECT {a}.id + 1 AS up, up * 2 AS twice FROM {one} JOIN {two} ON {a}.id = {b}.id",
                f"SELECT 42 AS answer FROM {one} HAVING TRUE",
            ]
        )

    def nesting(self, outer: Source, inner: Source, third: Source) -> str:
        """A query of `outer`, perhaps joined with `third`, with subqueries of `inner`, as filters or as values."""
        a = outer.alias
        kinds = ["filter"] * 4 + ["value"] * 3 + ["group", "having", "union", "factor", "joined", "joined", "equal"]
        kind = self.draw.choice(kinds)
        origin = f"FROM {table(outer)}"
        match kind:
            case "filter":
                wanted = f" {self.draw.choice(['AND', 'AND', 'OR'])} ".join(
                    [self.asked(outer, inner), *([self.condition([outer])] if self.draw.random() < 0.4 else [])]
                )
                return f"SELECT {a}.id, {a}.n {origin} WHERE {wanted}"
            case "value":
                value = self.draw.choice([self.asked(outer, inner), self.scalar(outer, inner), self.scalar(outer, inner)])
                return f"SELECT {a}.id, {value} AS v {origin}"
            case "group":
                return f"SELECT {a}.b, count(*) FILTER (WHERE {self.asked(outer, inner)}), max({self.scalar(outer, inner)}) " \
                       f"{origin} GROUP BY {a}.b"
            case "having":
                keyed = self.scalar(Source(outer.party, outer.name, a), inner, "n")
                rows = f"{inner.alias}.n FROM {table(inner)}"
                having = f"sum({a}.small) > (SELECT min(y.n) FROM {table(inner)}) OR {a}.n IN (SELECT {rows})"
                return f"SELECT {a}.n, count(*) AS rows, {keyed} AS v {origin} GROUP BY {a}.n HAVING {having}"
            case "joined":
                on = self.draw.choice([f"{a}.id = z.id", f"{a}.k = z.id", f"{a}.id = z.k", f"{a}.k = z.k AND {a}.id < 9"])
                asked = self.asked(self.draw.choice([outer, third]), inner)
                more = self.draw.choice(["", f" AND {self.condition([outer, third])}", f" AND {self.asked(outer, inner)}"])
                return f"SELECT {a}.id, z.n {origin} JOIN {table(third)} ON {on} WHERE {asked}{more}"
            case "equal":
                b = inner.alias
                keys = f"{a}.id = {b}.id AND z.id = {b}.id AND {self.draw.choice([a, b, 'z'])}.id < {self.draw.randint(0, 20)}"
                more = self.draw.choice(["", f" AND z.k = {a}.k", f" AND {self.condition([outer, third])}"])
                return f"SELECT {a}.n, {b}.n, z.id {origin}, {table(inner)}, {table(third)} WHERE {keys}{more}"
            case "union":
                word = self.draw.choice(["UNION ALL", "UNION ALL", "UNION"])
                name, other = self.draw.choice([("id", "k"), ("n", "money"), ("s", "s"), ("d", "d"), ("small", "big")])
                whole = f"SELECT {a}.{name} AS v {origin} {word} SELECT {inner.alias}.{other} FROM {table(inner)}"
                return self.draw.choice([whole, f"SELECT count(v), min(v) FROM ({whole}) w", f"{whole} ORDER BY v"])
            case _:
                b = inner.alias
                branches = [f"{a}.id = {b}.id AND {self.condition([outer])} AND {self.condition([inner])}" for _ in range(2)]
                return f"SELECT {a}.id, {b}.n {origin}, {table(inner)} WHERE ({branches[0]}) OR ({branches[1]})"

    def asked(self, outer: Source, inner: Source) -> str:
        """EXISTS, IN, ANY or ALL."""
        family = self.draw.choice(["number", "number", "text", "day"])
        names = [c.name for c in COLUMNS if c.family == family]
        x, y = f"{outer.alias}.{self.draw.choice(names)}", f"{inner.alias}.{self.draw.choice(names)}"
        rows = f"FROM {table(inner)}{self.correlated(outer, inner)}"
        return self.draw.choice(
            [
                f"EXISTS (SELECT * {rows})",
                f"NOT EXISTS (SELECT 1 {rows})",
                f"{x} IN (SELECT {y} {rows})",
                f"{x} NOT IN (SELECT {y} {rows})",
                f"{outer.alias}.id NOT IN (SELECT {inner.alias}.id {rows})",
                f"{x} {self.draw.choice(COMPARISONS)} ANY (SELECT {y} {rows})",
                f"{x} {self.draw.choice(COMPARISONS)} ALL (SELECT {y} {rows})",
                f"{x} = {self.scalar(outer, inner, y=y)}",
                f"{outer.alias}.n {self.draw.choice(COMPARISONS)} {self.scalar(outer, inner)}",
            ]
        )

    def scalar(self, outer: Source, inner: Source, key: str = "", y: str = "") -> str:
        """One value: an aggregate, or a column of the row with a key. key: the outer column that correlates it."""
        b, own = inner.alias, key or self.draw.choice(["id", "k", "n"])
        equal = f"{b}.{self.draw.choice(['id', 'k', 'n'])} = {outer.alias}.{own}"
        call = self.draw.choice([f"max({y or b + '.n'})", f"min({y or b + '.k'})"])
        if not y:
            call = self.draw.choice([call, "count(*)", f"count({b}.n)", f"sum({b}.n)", f"count(*) + max({b}.n)"])
        return self.draw.choice(
            [
                f"(SELECT {call} FROM {table(inner)})",
                f"(SELECT {call} FROM {table(inner)} WHERE {equal})",
                f"(SELECT {call} FROM {table(inner)} WHERE {equal} AND {self.condition([inner])})",
                f"(SELECT {y or b + '.n'} FROM {table(inner)} WHERE {b}.id = {outer.alias}.{own})",
            ]
        )

    def correlated(self, outer: Source, inner: Source) -> str:
        a, b = outer.alias, inner.alias
        return self.draw.choice(
            [
                "",
                f" WHERE {self.condition([inner])}",
                f" WHERE {b}.id = {a}.id",
                f" WHERE {b}.k = {a}.id",
                f" WHERE {b}.k = {a}.k AND {self.condition([inner])}",
                f" WHERE {b}.n = {a}.n AND {b}.id <> {a}.id",
                f" WHERE {b}.s = {a}.s AND {b}.n < {a}.n",
                f" WHERE {self.condition([outer, inner])}",
            ]
        )

    def order(self, columns: int) -> str:
        if self.draw.random() < 0.6:
            return ""
        keys = [f"{i + 1}{self.draw.choice(['', ' DESC', ' NULLS FIRST', ' DESC NULLS FIRST'])}" for i in range(columns)]
        return f" ORDER BY {', '.join(keys)}"


def table(source: Source) -> str:
    return f"{source.party}.{source.name} {source.alias}" if source.party else f"{source.name} {source.alias}"


def nestings(seed: int, count: int, parties: int) -> list[str]:
    """`count` queries with subqueries from a seed, of one owner's tables (parties=1) or of two owners'."""
    return [_nesting(random.Random(f"nesting {seed}/{i}"), parties) for i in range(count)]


def _nesting(draw: random.Random, parties: int) -> str:
    names = [(party, name) for party, owned in list(SIZES.items())[:parties] for name in owned]
    party, name = draw.choice(names)
    other, inner = draw.choice([pair for pair in names if parties == 1 or pair[0] != party])
    third = Source(*draw.choice(names), "z")
    query = Generator(draw, parties).nesting(Source(party, name, "x"), Source(other, inner, "y"), third)
    # whether a product that overflows is reached is for DuckDB's optimizer to say, which may differ for SDH's text
    return re.sub(r"(\w\.small) \* (\w\.small) > 5", r"\1 > \2", query) if parties == 1 else query


def queries(seed: int, count: int, parties: int) -> list[str]:
    """`count` queries from a seed."""
    return [Generator(random.Random(f"{seed}/{i}"), parties).query() for i in range(count)]
