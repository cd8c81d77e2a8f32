"""Planning takes time in proportion to the query: calls are counted, not seconds."""

from __future__ import annotations

import pickle
import sys
from collections import Counter
from dataclasses import dataclass, replace
from types import FrameType

import pytest

from sdh.catalog import Catalog
from sdh.errors import TooLarge
from sdh.planners import choose
from sdh.planners.annotate import Typer, plain
from sdh.planners.hashing import HashedOnce
from sdh.planners.oracle import Oracle
from sdh.planners.physical import Node
from sdh.planners.placed import Joined, locals_of
from tests.bench import planning
from tests.bench.planning import SHAPES, catalog, plan


def calls(text: str) -> int:
    """Python's calls while a query is planned."""
    found = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal found
        found += event == "call"

    known, before = catalog(), sys.getprofile()
    sys.setprofile(count)
    try:
        plan(text, known)
    finally:
        sys.setprofile(before)
    return found


@pytest.mark.parametrize(("name", "size"), [("parts of a union", 4), ("columns", 20), ("values in a list", 300),
                                            ("values compared on shares", 200), ("terms of an OR", 30)])
def test_twice_the_query_takes_twice_the_calls(name: str, size: int) -> None:
    shape, _ = SHAPES[name]
    plan(shape(2), catalog())   # what is remembered of sizes, whatever the query
    assert calls(shape(2 * size)) < 3 * calls(shape(size))


def test_a_level_of_common_tables_that_are_read_twice_takes_twice_the_calls() -> None:
    plan(planning.chain(1), catalog())
    assert calls(planning.chain(4)) < 2.5 * calls(planning.chain(3))


def test_a_join_is_looked_at_once_for_all_readers_and_variants(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: Counter[object] = Counter()
    join_orders = choose._join_orders

    def counted(node: Joined, here: choose._Setting) -> list[Node]:
        seen[id(here.ways), node, tuple(here.leaves[leaf] for leaf in locals_of(node))] += 1
        return join_orders(node, here)

    monkeypatch.setattr(choose, "_join_orders", counted)
    plan(planning.chain(1), catalog())
    assert len(seen) > 5 and max(seen.values()) == 1


# --- hashes --------------------------------------------------------------------------------------


class Leaf:
    """Counts how often it is hashed."""

    hashed = 0

    def __hash__(self) -> int:
        Leaf.hashed += 1
        return 7


@dataclass(frozen=True, slots=True)
class Pair(HashedOnce):
    left: object
    right: object = None


def test_a_tree_is_hashed_once() -> None:
    tree: object = Leaf()
    for _ in range(20):
        tree = Pair(tree)
    before = Leaf.hashed
    assert {tree: 1}[tree] == 1 and hash(Pair(tree, 1)) != hash(Pair(tree, 2))
    assert Leaf.hashed == before + 1


def test_equal_trees_are_equal_and_hash_alike() -> None:
    one, other = Pair(Pair("a", 1), 2), Pair(Pair("a", 1), 2)
    assert one == other and hash(one) == hash(other)
    changed = replace(one, right=3)
    assert changed != one and hash(changed) == hash(Pair(Pair("a", 1), 3)), "its own hash, not that of what it was made of"
    copied = pickle.loads(pickle.dumps(one))
    assert copied == one and not hasattr(copied, "_hash"), "a hash is of one process: texts hash otherwise in another"


# --- what DuckDB need not be asked ---------------------------------------------------------------


@pytest.mark.parametrize("sql", ["0", "7", "007", "2147483647", "2147483648", "9223372036854775807", "''", "'a'", "'it''s'",
                                 "''''", "'-- ~ \" ;'"])
def test_plain_literals_are_duckdbs(sql: str) -> None:
    found = plain(sql)
    assert found is not None and found.sql == sql
    assert (found.type, found.value) == Oracle(Catalog((), ())).value(sql)
    assert Typer(Oracle(Catalog((), ()))).constant(sql) == found


@pytest.mark.parametrize("sql", ["9223372036854775808", "1.5", "-1", "1e3", "'a' || 'b'", "'é'", "NULL", "\u0661", "'a", "1\n"])
def test_all_others_are_asked(sql: str) -> None:
    assert plain(sql) is None


def test_what_is_nested_too_deep_is_refused() -> None:
    with pytest.raises(TooLarge, match="too deep to be planned"):
        plan(planning.disjunction(300), catalog())


def test_the_other_shapes_can_be_planned() -> None:
    texts = planning.joined(3), planning.nested(3), planning.self_joins(1), planning.reads(1)
    assert all(plan(text, catalog()).root is not None for text in texts)
