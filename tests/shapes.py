"""Generated queries of every shape: joins of all kinds, grouping by anything, order with limits, UNION ALL, tables that are
computed once and used twice, federated tables, subqueries in every clause and in each other."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from tests.data import PARTS, SIZES
from tests.generate import COMPARISONS, Generator, Source, table

KINDS = ("JOIN", "JOIN", "JOIN", "LEFT JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN")
DIRECTIONS = ("", " ASC", " DESC", " NULLS FIRST", " DESC NULLS FIRST", " DESC NULLS LAST")
FEDERATED = ("pooled", "ward")
"""Tables that lie in parts with two owners; ward has a declared key."""


@dataclass(slots=True)
class Shapes(Generator):
    """No value of these may overflow, whichever way it is computed: DuckDB fails or not by what its optimizer skips."""

    def shape(self) -> str:
        kind = self.draw.choice(["rows"] * 4 + ["groups"] * 4 + ["total"] * 2 + ["union"] * 2 + ["twice"] * 2 + ["deep"] * 4)
        match kind:
            case "rows":
                return self.rows()
            case "groups":
                return self.grouped()
            case "total":
                sources, origin = self.chain()
                return f"SELECT {', '.join(self.aggregates(sources))} {origin}{self.filtered(sources)}"
            case "union":
                return self.union()
            case "twice":
                return self.twice()
            case _:
                return self.deep()

    # --- FROM ------------------------------------------------------------------------------------

    def drawn(self, count: int) -> list[Source]:
        """Tables of at least two owners, or a federated one; an owner's table may be there twice."""
        owned = [Source(party, name, "") for party, names in list(SIZES.items())[: self.parties] for name in names]
        owned += [Source(party, name, "") for party, (name, _) in PARTS.items()]
        owned = [one for one in owned if one.name != "empty" or self.draw.random() < 0.2]
        found = [self.draw.choice(owned)]
        others = [one for one in owned if one.party != found[0].party] + [Source("", name, "") for name in FEDERATED]
        found.append(self.draw.choice(others))
        found += [self.draw.choice(owned) for _ in range(count - 2)]
        self.draw.shuffle(found)
        return [Source(one.party, one.name, alias) for one, alias in zip(found, "xyz", strict=False)]

    def chain(self, count: int = 0) -> tuple[list[Source], str]:
        """Joined tables and their FROM."""
        sources = self.drawn(count or self.draw.choice([2, 2, 2, 3]))
        text = f"FROM {table(sources[0])}"
        for i, source in enumerate(sources[1:], 1):
            text += self.joined(sources[:i], source)
        if self.draw.random() < 0.1:
            text += f" {self.draw.choice(['JOIN', 'LEFT JOIN'])} code ON code.code = {self.draw.choice(sources).alias}.n"
        return sources, text

    def joined(self, before: list[Source], source: Source) -> str:
        kind, way = self.draw.choice(KINDS), self.draw.random()
        if way < 0.05 and len(before) == 1:
            return f" CROSS JOIN {table(source)}"
        if way < 0.15 and len(before) == 1:
            return f" {kind} {table(source)} USING ({self.draw.choice(['id', 'k', 's', 'id, b', 'k, s'])})"
        on = self.key(self.draw.choice(before), source)
        if len(before) > 1 and self.draw.random() < 0.15:
            on = f"{before[0].alias}.k + {before[1].alias}.k = {source.alias}.id"
        more = self.draw.random()
        if more < 0.15:
            on += f" AND {self.condition([self.draw.choice(before), source])}"
        elif more < 0.3:
            on += f" AND {self.condition([self.draw.choice([*before, source])])}"
        return f" {kind} {table(source)} ON {on}"

    def key(self, other: Source, source: Source) -> str:
        """A join condition of two tables: by one key, several, computed ones, ranges."""
        a, b = other.alias, source.alias
        return self.draw.choice(
            [f"{a}.id = {b}.id", f"{a}.k = {b}.id", f"{a}.id = {b}.k", f"{a}.k = {b}.k"] * 3
            + [f"{a}.s = {b}.s", f"{a}.d = {b}.d", f"{a}.t = {b}.t", f"{a}.money = {b}.id", f"{a}.f = {b}.f", f"{a}.b = {b}.b"]
            + [f"{a}.id = {b}.id AND {a}.s = {b}.s", f"{a}.k = {b}.k AND {a}.b = {b}.b AND {a}.n = {b}.n"]
            + [f"{a}.d = {b}.d AND {a}.s = {b}.s", f"{a}.k = {b}.id AND {a}.money = {b}.money"]
            + [f"{a}.id + 1 = {b}.id", f"{a}.k * 2 = {b}.id", f"{a}.id % 5 = {b}.k", f"abs({a}.n) = {b}.k - 1"]
            + [f"{a}.d + 1 = {b}.d", f"substring({a}.s, 1, 1) = substring({b}.s, 1, 1)", f"upper({a}.s) = {b}.s"]
            + [f"extract(year FROM {a}.d) = extract(year FROM {b}.d)", f"coalesce({a}.k, 0) = {b}.id"]
            + [f"{a}.n < {b}.n", f"{a}.id <> {b}.id", f"{a}.d BETWEEN {b}.d - 30 AND {b}.d + 30", f"{a}.k >= {b}.id"]
            + [f"({a}.id = {b}.id OR {a}.k = {b}.id)", f"{a}.k IS NOT DISTINCT FROM {b}.k", f"{a}.id = {b}.id + {a}.k"]
        )

    def filtered(self, sources: list[Source]) -> str:
        """WHERE, perhaps with a subquery."""
        wanted = [self.condition(sources) for _ in range(self.draw.choice([0, 0, 1, 1, 2]))]
        if self.draw.random() < 0.2:
            wanted.append(self.asked(self.draw.choice(sources), self.inner()))
        if self.draw.random() < 0.1:
            wanted.append(f"{self.draw.choice(sources).alias}.id IS NULL")
        return f" WHERE {self.draw.choice([' AND ', ' AND ', ' OR ']).join(wanted)}" if wanted else ""

    def inner(self) -> Source:
        """A table for a subquery."""
        owned = [(party, name) for party, names in list(SIZES.items())[: self.parties] for name in names]
        return Source(*self.draw.choice(owned), "w")

    # --- values ----------------------------------------------------------------------------------

    def numeric(self, sources: list[Source]) -> str:
        a, b = (self.draw.choice(sources).alias for _ in range(2))
        return self.draw.choice(
            [f"{a}.n", f"{a}.k", f"{a}.id", f"{a}.money", f"{a}.small", f"{a}.n + {b}.k", f"{a}.n - {b}.id", f"{a}.n * {b}.k",
             f"{a}.money * {b}.rate", f"{a}.money * (1 - {b}.rate)", f"{a}.money * (1 - {a}.rate) * (1 + {b}.rate)",
             f"{a}.n // 7", f"{a}.n % {self.draw.choice(['3', '-4'])}", f"{a}.n % nullif({b}.k, 0)", f"abs({a}.n)",
             f"CASE WHEN {self.condition(sources, 1)} THEN {a}.n ELSE {b}.k END", f"coalesce({a}.n, {b}.money, 0)",
             f"CASE WHEN {a}.b THEN {a}.money WHEN {b}.n > 0 THEN {b}.n END", f"nullif({a}.k, {b}.k)", f"-{a}.money",
             f"extract({self.draw.choice(['year', 'month', 'day', 'quarter', 'dow'])} FROM {a}.d)", f"{a}.d - {b}.d",
             f"length({a}.s)", f"CAST({a}.money AS INTEGER)", f"CAST({a}.n AS DECIMAL(12,2)) * {b}.rate", f"{a}.n * 0.5",
             f"greatest({a}.n, {b}.k, 0)", f"least({a}.money, {b}.n)", f"CASE {a}.n WHEN 0 THEN {b}.k WHEN 1 THEN 5 END"]
        )

    def value(self, sources: list[Source]) -> str:
        """A number, a text, a day or a truth."""
        a, b = (self.draw.choice(sources).alias for _ in range(2))
        return self.draw.choice(
            [self.numeric(sources)] * 6
            + [f"{a}.s", f"{a}.s", f"substring({a}.s, 1, 2)", f"{a}.s || 'x'", f"upper({a}.s)", f"coalesce({a}.s, {b}.s, '-')"]
            + [f"{a}.d", f"{a}.d + 7", f"{a}.d + INTERVAL 1 MONTH", f"{a}.t", f"CASE WHEN {a}.b THEN {a}.d ELSE {b}.d END"]
            + [f"{a}.b", f"{a}.s LIKE '%a%'", f"({self.condition(sources, 1)})", f"{a}.b IS NOT TRUE", f"{a}.f", f"{a}.big"]
        )

    def aggregates(self, sources: list[Source], *, ordered: bool = False) -> list[str]:
        """One to three; `ordered` ones are exact, so that a limit cuts alike."""
        found = []
        for _ in range(self.draw.randint(1, 3)):
            number, any_value, a = self.numeric(sources), self.value(sources), self.draw.choice(sources).alias
            calls = ["count(*)", f"count({any_value})", f"sum({number})", f"sum({number})", f"min({number})", f"max({number})"]
            calls += [f"count(DISTINCT {a}.{self.draw.choice(['s', 'k', 'n', 'd', 'money', 'b'])})", f"sum(DISTINCT {a}.n)"]
            calls += [f"min({a}.{self.draw.choice('sdtbf')})", f"max({a}.{self.draw.choice('sdtbf')})"]
            calls += [f"max({number}) - min({number})"]
            calls += [f"bool_or({a}.b)", f"sum({number}) + count(*)"]
            if not ordered:
                calls += [f"avg({number})", f"avg(DISTINCT {a}.n)", f"sum({number}) / count(*)", f"100 * sum({a}.n) / sum({a}.k)"]
            call = self.draw.choice(calls)
            plain = call.count("(") == call.count(")") and re.fullmatch(r"\w+\((?:[^()]|\([^()]*\))*\)", call)
            if plain and self.draw.random() < 0.2:
                call += f" FILTER (WHERE {self.condition(sources, 1)})"
            found.append(call)
        return found

    # --- SELECT ----------------------------------------------------------------------------------

    def rows(self) -> str:
        sources, origin = self.chain()
        if self.draw.random() < 0.1:
            return self.natural(*sources[:2])
        if self.draw.random() < 0.15:
            return self.hidden(sources, origin)
        items = [f"{source.alias}.id" for source in sources[: self.draw.randint(0, 2)]]
        items += [self.value(sources) for _ in range(self.draw.randint(1, 3))]
        word = "SELECT DISTINCT" if self.draw.random() < 0.15 else "SELECT"
        named = ", ".join(f"{item} AS v{i}" for i, item in enumerate(items))
        return f"{word} {named} {origin}{self.filtered(sources)}{self.sorted([f'v{i}' for i in range(len(items))])}"

    def natural(self, first: Source, second: Source) -> str:
        a, b = (f"(SELECT id, {self.draw.choice(['k', 's', 'n'])}, {other} FROM {table(one)})"
                for one, other in ((first, "b, money"), (second, "d")))
        return f"SELECT * FROM {a} v NATURAL {self.draw.choice(KINDS)} {b} w"

    def hidden(self, sources: list[Source], origin: str) -> str:
        """Ordered by what is not selected, then by all that is."""
        ids = ", ".join(f"{source.alias}.id AS i{i}" for i, source in enumerate(sources))
        order = ", ".join(f"i{i}" for i in range(len(sources)))
        by = self.value(sources) + self.draw.choice(DIRECTIONS)
        unique = all(source.name != "pooled" for source in sources)
        cut = f" LIMIT {self.draw.randint(1, 9)} OFFSET {self.draw.randint(0, 3)}" if unique else ""
        everything = "*" if unique and len(sources) == 2 and self.draw.random() < 0.2 else ids
        last = ", ".join(f"{source.alias}.id" for source in sources) if everything == "*" else order
        return f"SELECT {everything} {origin}{self.filtered(sources)} ORDER BY {by}, {last}{cut}"

    def grouped(self) -> str:
        sources, origin = self.chain()
        if self.draw.random() < 0.6:
            names = self.draw.sample("skndb", self.draw.choice([1, 1, 2]))
            keys = [f"{self.draw.choice(sources).alias}.{name}" for name in names]
        else:
            keys = [self.value(sources) for _ in range(self.draw.choice([1, 1, 2]))]
        names = [f"g{i}" for i in range(len(keys))]
        ordered = self.draw.random() < 0.5
        calls = self.aggregates(sources, ordered=ordered)
        items = [f"{key} AS g{i}" for i, key in enumerate(keys)] + [f"{call} AS c{i}" for i, call in enumerate(calls)]
        having = f" HAVING {self.having(sources)}" if self.draw.random() < 0.3 else ""
        order = self.sorted([f"c{i}" for i in range(len(calls))] + names) if ordered else ""
        return f"SELECT {', '.join(items)} {origin}{self.filtered(sources)} GROUP BY {', '.join(names)}{having}{order}"

    def having(self, sources: list[Source]) -> str:
        a, inner = self.draw.choice(sources).alias, self.inner()
        limit = self.draw.choice(["min", "max", "sum", "count"])
        return self.draw.choice(
            ["count(*) > 1", f"sum({a}.n) > 0", f"count(DISTINCT {a}.k) > 1", f"max({a}.s) > 'a'", f"min({a}.d) IS NOT NULL",
             f"sum({a}.n) > (SELECT {limit}(w.k) FROM {table(inner)})", f"avg({a}.n) >= 0 OR count({a}.n) = 0",
             f"max({a}.id) IN (SELECT w.id FROM {table(inner)})", f"count(*) < ANY (SELECT w.k FROM {table(inner)})"]
        )

    def sorted(self, names: list[str]) -> str:
        """By all columns, so that a limit leaves no choice but among equal rows."""
        if self.draw.random() < 0.4:
            return ""
        self.draw.shuffle(names)
        order = " ORDER BY " + ", ".join(name + self.draw.choice(DIRECTIONS) for name in names)
        if self.draw.random() < 0.6:
            order += f" LIMIT {self.draw.choice([0, 1, 3, 7, 100])}" + self.draw.choice(["", "", " OFFSET 1", " OFFSET 4"])
        return order

    def union(self) -> str:
        """Rows of two or three tables, and what can be asked of them."""
        sources = self.drawn(self.draw.choice([2, 2, 3]))
        columns = self.draw.choice([["id", "n", "s"], ["k", "money", "d"], ["n", "small", "s"]])
        parts = []
        for one in sources:
            items = ", ".join(f"{one.alias}.{name} AS {alias}" for name, alias in zip(columns, "imq", strict=True))
            where = f" WHERE {self.condition([one])}" if self.draw.random() < 0.4 else ""
            parts.append(f"SELECT {items} FROM {table(one)}{where}")
        word = self.draw.choice(["UNION ALL", "UNION ALL", "UNION ALL", "UNION"])
        whole = f" {word} ".join(parts)
        other = self.inner()
        return self.draw.choice(
            [
                whole,
                f"{whole}{self.sorted(['i', 'm', 'q'])}",
                f"SELECT q, count(*) AS c, sum(m) AS t FROM ({whole}) u GROUP BY q{self.sorted(['t', 'c', 'q'])}",
                f"SELECT count(DISTINCT i), min(m), max(q), count(*) FILTER (WHERE m > 0) FROM ({whole}) u",
                f"SELECT u.i, u.q, w.n FROM ({whole}) u {self.draw.choice(['JOIN', 'LEFT JOIN'])} {table(other)} ON u.i = w.id",
                f"SELECT w.id, w.s FROM {table(other)} WHERE w.id {self.draw.choice(['IN', 'NOT IN'])} "
                f"(SELECT i FROM ({whole}) u)",
            ]
        )

    def twice(self) -> str:
        """A common table expression that is read twice."""
        sources, origin = self.chain(2)
        a, b = (source.alias for source in sources)
        keyed = f"SELECT {a}.k AS g, count(*) AS c, sum({b}.n) AS t, min({b}.s) AS q {origin} GROUP BY {a}.k"
        plain = f"SELECT {a}.id AS g, {b}.n AS c, {b}.money AS t, {a}.s AS q {origin}{self.filtered(sources)}"
        inner, common = self.inner(), self.draw.choice([keyed, keyed, plain])
        compared = self.draw.choice(COMPARISONS)
        return f"WITH v AS ({common}) " + self.draw.choice(
            [
                f"SELECT g, c FROM v WHERE c {compared} (SELECT {self.draw.choice(['max', 'min'])}(c) FROM v)",
                f"SELECT p.g, p.c, o.t FROM v p {self.draw.choice(KINDS)} v o ON p.g = o.g AND p.c {compared} o.c",
                "SELECT g, t FROM v UNION ALL SELECT NULL, sum(t) FROM v",
                f"SELECT w.id, w.n FROM {table(inner)} WHERE w.id IN (SELECT g FROM v) OR w.n > (SELECT max(t) FROM v)",
                ", u AS (SELECT q, count(*) AS r FROM v GROUP BY q) SELECT v.g, u.r FROM v JOIN u ON v.q = u.q"
                f"{self.sorted(['g', 'r'])}",
                "SELECT (SELECT count(*) FROM v), (SELECT max(t) FROM v), (SELECT min(q) FROM v)",
            ]
        ).replace(") , u", "), u")

    def deep(self) -> str:
        """Subqueries in each clause and in each other."""
        outer, inner, third = self.drawn(3)
        a, b, c = outer.alias, inner.alias, third.alias
        one, two, three = table(outer), table(inner), table(third)
        compared, asked = self.draw.choice(COMPARISONS), self.asked(outer, inner)
        negated = self.draw.choice(["", "NOT "])
        return self.draw.choice(
            [
                f"SELECT {a}.id FROM {one} WHERE {negated}EXISTS (SELECT 1 FROM {two} WHERE {b}.k = {a}.k AND {b}.n {compared} "
                f"(SELECT {self.draw.choice(['min', 'max', 'sum'])}({c}.n) FROM {three} WHERE {c}.k = {b}.k))",
                f"SELECT {a}.id, CASE WHEN {asked} THEN {a}.n ELSE {self.scalar(outer, inner)} END AS v FROM {one}",
                f"SELECT sum(CASE WHEN {asked} THEN 1 ELSE 0 END), count(*) FROM {one}",
                f"SELECT {a}.id, {a}.n FROM {one} WHERE {a}.n {compared} {self.scalar(outer, inner)} "
                f"OR {self.asked(outer, third)}",
                f"SELECT {a}.id FROM {one} WHERE {a}.id {negated}IN (SELECT {b}.k FROM {two} WHERE {b}.id IN "
                f"(SELECT {c}.k FROM {three}))",
                f"SELECT {a}.id, {b}.s FROM {one} {self.draw.choice(KINDS)} {two} ON {self.key(outer, inner)} "
                f"AND {self.draw.choice([a, b])}.id {negated}IN (SELECT {c}.id FROM {three})",
                f"SELECT v.id, {b}.n FROM (SELECT {a}.id, {a}.k FROM {one} ORDER BY {a}.n, {a}.id LIMIT 5) v "
                f"JOIN {two} ON v.k = {b}.id",
                f"SELECT v.k, {b}.n, v.t FROM (SELECT DISTINCT {a}.k, {a}.b AS t FROM {one}) v LEFT JOIN {two} ON v.k = {b}.id",
                f"SELECT {a}.id, ({asked}) IS NULL AS v FROM {one}",
                f"SELECT {a}.s, sum({self.scalar(outer, inner)}) AS t FROM {one} GROUP BY {a}.s",
                f"SELECT {a}.k, count(*) AS c FROM {one} GROUP BY {a}.k HAVING sum({a}.n) {compared} "
                f"(SELECT min({b}.n) FROM {two} WHERE {b}.k = {a}.k)",
                f"SELECT v.g, v.c, {c}.s FROM (SELECT {a}.k AS g, count(*) AS c FROM {one} JOIN {two} ON {a}.id = {b}.id "
                f"GROUP BY {a}.k) v {self.draw.choice(KINDS)} {three} ON v.g = {c}.id AND v.c {compared} {c}.k",
                f"SELECT {a}.id, {a}.n FROM {one} WHERE {a}.n {compared} {self.draw.choice(['ANY', 'ALL'])} "
                f"(SELECT {b}.n FROM {two} WHERE {b}.b UNION ALL SELECT {c}.k FROM {three})",
                f"SELECT count(*), sum(v.n) FROM (SELECT {a}.n FROM {one} WHERE {asked}) v JOIN {three} ON v.n = {c}.n",
            ]
        )


def shapes(seed: int, count: int, parties: int) -> list[str]:
    """`count` queries from a seed."""
    return [_shape(random.Random(f"shape {seed}/{i}"), parties) for i in range(count)]


def _shape(draw: random.Random, parties: int) -> str:
    # whether a product that overflows is reached is for DuckDB's optimizer to say
    return re.sub(r"(\w\.small) \* (\w\.small) > 5", r"\1 > \2", Shapes(draw, parties).shape())
