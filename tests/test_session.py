"""What processes agree on before a run: digests, nonces, envelopes, counts; and what each may import."""

from __future__ import annotations

import secrets
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pytest

from sdh.catalog import Catalog, padded
from sdh.connectors.wire import new_identity
from sdh.errors import ParameterError, ProtocolError, StaleFact
from sdh.order import announced, legal_slots, question_digest, question_from_message, question_to_message
from sdh.planners.plan import Fragment, Question
from sdh.session import DIGEST, Member, Nonces, commitment, hash_parts, seal, session_digest, unseal
from sdh.values import params_of

PLAN = "ab" * 32


def member(name: str) -> Member:
    return Member(name, secrets.token_bytes(32), f"/somewhere/{name}")


def test_the_session_digest_covers_everything() -> None:
    parties, dealer, client = [member("bank"), member("shop")], member("$dealer"), member("analyst")
    nonces, listed = [secrets.token_bytes(32) for _ in range(3)], secrets.token_bytes(DIGEST)
    digests = {
        session_digest(PLAN, parties, dealer, client, nonces, listed),
        session_digest("cd" * 32, parties, dealer, client, nonces, listed),
        session_digest(PLAN, parties[::-1], dealer, client, nonces, listed),
        session_digest(PLAN, [parties[0], replace(parties[1], public=bytes(32))], dealer, client, nonces, listed),
        session_digest(PLAN, [parties[0], replace(parties[1], name="stop")], dealer, client, nonces, listed),
        session_digest(PLAN, parties, member("$dealer"), client, nonces, listed),
        session_digest(PLAN, parties, dealer, member("analyst"), nonces, listed),
        session_digest(PLAN, parties, dealer, client, nonces[::-1], listed),
        session_digest(PLAN, parties, dealer, client, nonces, bytes(DIGEST)),
    }
    assert len(digests) == 9
    elsewhere = [replace(party, address="/elsewhere") for party in parties]
    assert session_digest(PLAN, elsewhere, dealer, client, nonces, listed) in digests


def test_parts_do_not_run_into_each_other() -> None:
    assert hash_parts(b"ab", b"c") != hash_parts(b"a", b"bc")


def test_a_nonce_serves_once() -> None:
    nonces = Nonces()
    first, second, third = nonces.draw(), nonces.draw(), nonces.draw()
    nonces.use([first, second])
    for again in ([third, second], [first], [nonces.draw()[:31]]):
        with pytest.raises(ProtocolError):
            nonces.use(again)
    same = nonces.draw()
    with pytest.raises(ProtocolError):
        nonces.use([same, same])
    assert commitment(first) not in (first, commitment(second))


@pytest.mark.parametrize("size", [0, 1, (1 << 26) - 1, 1 << 26, (1 << 26) + 1])
def test_an_envelope_opens_for_its_receiver_alone(size: int) -> None:
    client, context = new_identity("analyst"), secrets.token_bytes(32)
    payload = bytes(size)
    pieces = seal(payload, "bank", client.public, context)
    assert unseal(pieces, "bank", client.key, context) == payload
    altered = [*pieces[:-1], pieces[-1][:-1] + bytes([pieces[-1][-1] ^ 1])]
    wrong = [(pieces, "shop", client.key, context), (pieces, "bank", new_identity("analyst").key, context),
             (pieces, "bank", client.key, bytes(32)), (pieces[:-1], "bank", client.key, context),
             (altered, "bank", client.key, context), ([], "bank", client.key, context)]
    for got, sender, key, bound in wrong:
        with pytest.raises(ProtocolError):
            unseal(got, sender, key, bound)


def test_no_two_envelopes_are_alike() -> None:
    client = new_identity("analyst")
    one, two = (seal(b"5", "bank", client.public, bytes(32)) for _ in range(2))
    assert all(a != b for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize(("rows", "slots", "count", "expected"), [
    ("exact", 5000, 7, 7), ("padded", 5000, 7, 1024), ("padded", 5000, 1025, padded(1025)), ("padded", 10, 7, 10),
    ("hidden", 5000, 7, 5000), ("padded", 5000, 0, 1024), ("exact", 0, 0, 0),
])
def test_announced_counts(rows: str, slots: int, count: int, expected: int) -> None:
    fragment = Fragment(0, "bank", "SELECT 1", (), slots, rows, ())
    assert announced(fragment, count) == expected
    assert legal_slots(fragment, expected, padded(expected))
    assert not legal_slots(fragment, slots + 1, padded(slots + 1))
    with pytest.raises(StaleFact):
        announced(fragment, slots + 1)


def test_counts_that_would_tell_more_are_refused() -> None:
    padding, hiding = (Fragment(0, "bank", "SELECT 1", (), 5000, rows, ()) for rows in ("padded", "hidden"))
    assert not legal_slots(padding, 1500, padded(1500))
    assert not legal_slots(hiding, 1024, 1024)


def test_a_question_arrives_as_it_was_sent() -> None:
    params = params_of({"d": Decimal("1.50"), "b": True, "day": date(2024, 2, 29), "n": None, "big": 1 << 100,
                        "t": datetime(2024, 2, 29, 1, 2, 3, 4), "i": np.int64(3), "f": np.float32(0.5), "s": "it's"})
    question = Question("SELECT 1", "analyst", params, "Europe/Berlin")
    assert question_from_message(question_to_message(question)) == question
    assert dict(params)["d"] == ("DECIMAL(3,2)", "1.50")
    assert dict(params)["day"] == ("DATE", "2024-02-29")
    assert dict(params)["i"] == 3
    other = replace(question, timezone="UTC")
    assert question_digest(question, Catalog()) != question_digest(other, Catalog())


@pytest.mark.parametrize("value", [object(), [1], 1 << 127, Decimal("NaN"), Decimal("1e40"), datetime.now(UTC), b"x"])
def test_values_that_are_no_parameters(value: object) -> None:
    with pytest.raises(ParameterError):
        params_of({"x": value})


def loaded(statement: str, *modules: str) -> list[str]:
    """Which of the modules a fresh interpreter has loaded after the statement."""
    program = f"import sys; {statement}; print(*[name for name in {modules!r} if name in sys.modules])"
    return output(program)


def output(program: str) -> list[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()


def test_the_dealer_loads_no_torch_and_no_data_library() -> None:
    assert loaded("import sdh.dealer", "torch", "crypten", "duckdb", "pyarrow", "sqlglot", "pandas") == []


def test_a_node_answers_before_it_loads_torch() -> None:
    assert loaded("import sdh.node", "torch", "crypten") == []


def test_importing_sdh_loads_the_standard_library_only() -> None:
    program = ("import sys; before = set(sys.modules); import sdh; new = set(sys.modules) - before; "
               "print(*{name.split('.')[0] for name in new} - {'sdh'} - set(sys.stdlib_module_names))")
    assert output(program) == []


def test_importing_sdh_takes_under_30_ms() -> None:
    program = "import time; began = time.perf_counter(); import sdh; print(time.perf_counter() - began)"
    assert min(float(output(program)[0]) for _ in range(5)) < 0.03
