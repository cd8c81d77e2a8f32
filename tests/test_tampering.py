"""Nodes take nobody's word: a hub that lies, a network that changes frames, a dealer out of step. Each is refused by a
named error; where it can be known before, nothing is shared, and never is anything released. The hub goes on."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

import sdh
from sdh.catalog import Catalog
from sdh.connectors import stores
from sdh.connectors.wire import handshake, new_identity
from sdh.session import DEALER
from tests.data import public_table, tables
from tests.generate import queries
from tests.relay import Change, Relay
from tests.taping import Recording, Taped, lying
from tests.twins import QUERIES, shared

SQL = QUERIES["rows"].format("one")
Message = dict[str, Any]
Lie = Callable[[str, Message], None]


@pytest.fixture(scope="module")
def honest() -> object:
    """What the hub answers when all goes well."""
    return answer(shared().sql(SQL))


@pytest.fixture
def taped(honest: object) -> Iterator[Taped]:
    """A hub that must be as usable after the test as before."""
    opened = shared()
    yield opened
    assert answer(opened.sql(SQL)) == honest


def answer(recording: Recording) -> object:
    assert recording.result is not None, recording.error
    return recording.result.fetchall()


# --- a hub that lies -------------------------------------------------------------------------------


def to_all(change: Callable[[Message], None]) -> Lie:
    """The same lie to every node."""
    def lie(process: str, message: Message) -> None:
        if process != DEALER:
            change(message)
    return lie


def to_one(party: str, change: Callable[[Message], None]) -> Lie:
    """A lie to one node; the others hear the truth."""
    def lie(process: str, message: Message) -> None:
        if process == party:
            change(message)
    return lie


def party_of(message: Message, name: str) -> Message:
    found: Message = next(party for party in message["catalog"]["parties"] if party["name"] == name)
    return found


def table_of(message: Message, party: str, name: str) -> Message:
    found: Message = next(table for table in party_of(message, party)["tables"] if table["name"] == name)
    return found


EVE = new_identity("analyst")


def set_text(message: Message) -> None:
    message["question"]["text"] += " "


def set_timezone(message: Message) -> None:
    message["question"]["timezone"] = "Europe/Berlin"


def set_parameter(message: Message) -> None:
    message["question"]["params"] = [["low", 3]]


def set_client(message: Message) -> None:
    message["question"]["client"] = "eve"


def set_receiver(message: Message) -> None:
    message["receiver"][1] = EVE.public.hex()


def set_policy(message: Message) -> None:
    party_of(message, "shop")["policy"]["grants"].append([["REVEAL"], "one", ["id"], "eve", ""])


def set_bits(message: Message) -> None:
    for fact in table_of(message, "shop", "one")["facts"]:
        fact[0] = fact[0] and fact[0] - 1


def set_rows(message: Message) -> None:
    table_of(message, "shop", "one")["rows"] = 2048


def set_key(message: Message) -> None:
    table_of(message, "shop", "one")["keys"].append(["k"])


def set_public(message: Message) -> None:
    message["catalog"]["public"].append(table_of(message, "mill", "one") | {"party": "", "name": "code"})


def drop_own_entry(message: Message) -> None:
    message["catalog"]["parties"] = [party for party in message["catalog"]["parties"] if party["name"] != "bank"]


def swap_parties(message: Message) -> None:
    message["parties"].reverse()


def add_party(message: Message) -> None:
    message["parties"].append(["mill", new_identity("mill").public.hex(), message["parties"][0][2]])


def drop_party(message: Message) -> None:
    message["parties"].pop()


def other_key(message: Message) -> None:
    message["parties"][1][1] = new_identity("shop").public.hex()


def other_dealer(message: Message) -> None:
    message["dealer"][1] = new_identity(DEALER).public.hex()


def no_dealer(message: Message) -> None:
    message["dealer"] = None


LIES: dict[str, tuple[Lie, type[sdh.SdhError]]] = {
    "another text to one": (to_one("shop", set_text), sdh.PlanMismatch),
    "another time zone to one": (to_one("bank", set_timezone), sdh.PlanMismatch),
    "another client": (to_all(set_client), sdh.PlanMismatch),
    "another receiver": (to_all(set_receiver), sdh.PlanMismatch),
    "another receiver to one": (to_one("bank", set_receiver), sdh.PlanMismatch),
    "a forged policy to all": (to_all(set_policy), sdh.PlanMismatch),
    "a forged policy to another": (to_one("bank", set_policy), sdh.PlanMismatch),
    "forged bit lengths to all": (to_all(set_bits), sdh.PlanMismatch),
    "forged bit lengths to another": (to_one("bank", set_bits), sdh.PlanMismatch),
    "a forged row count to all": (to_all(set_rows), sdh.PlanMismatch),
    "a forged key to all": (to_all(set_key), sdh.PlanMismatch),
    "a forged key to another": (to_one("bank", set_key), sdh.PlanMismatch),
    "a forged public table": (to_all(set_public), sdh.PlanMismatch),
    "a catalog without a party": (to_all(drop_own_entry), sdh.PlanMismatch),
    "parties in another order": (to_all(swap_parties), sdh.PlanMismatch),
    "a party more": (to_all(add_party), sdh.PlanMismatch),
    "a party less": (to_all(drop_party), sdh.PlanMismatch),
    "another party's key": (to_one("bank", other_key), sdh.ProtocolError),
    "another dealer's key": (to_one("shop", other_dealer), sdh.ProtocolError),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_refused_before_anything_is_shared(taped: Taped, name: str) -> None:
    lie, error = LIES[name]
    with lying(lie):
        recording = taped.sql(SQL)
    assert type(recording.error) is error, recording.error
    assert not recording.shared_anything


@pytest.mark.parametrize("lie", [to_one("shop", set_parameter), to_all(no_dealer), to_one("bank", no_dealer)])
def test_a_malformed_order_shares_nothing(taped: Taped, lie: Lie) -> None:
    """Whatever the error is."""
    with lying(lie):
        recording = taped.sql(SQL)
    assert recording.error is not None
    assert not recording.shared_anything


# --- a catalog with more in it than owners published -----------------------------------------------

SECRET = 8_161_803_398_874_989
NARROW = sdh.Policy.parse("GRANT REVEAL ON own (id) TO analyst", floor=1, rows="exact")
"""Its column `secret` is granted to nobody."""


def add_stranger(table: str, party: str = "", owner: str = "eve") -> Lie:
    """Another party's entry, with a table that is said to be public (or another's), and a question about that."""
    def change(message: Message) -> None:
        columns = [["secret", "BIGINT", True]]
        facts = {"party": party, "name": table, "rows": 9, "snapshot": "", "columns": columns, "facts": [[None] * 4], "keys": [],
                 "repeats": []}
        message["catalog"]["parties"].append({"name": owner, "tables": [facts], "policy": sdh.Policy.open().to_message()})
        where = f'"{party}"."{table}"' if party else f'"{table}"'
        message["question"]["text"] = f"SELECT x.id, t.secret FROM narrow.own x, {where} t"
    return to_all(change)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A party with one column that nobody is granted, in a file."""
    path = tmp_path_factory.mktemp("narrow") / "own.parquet"
    own = pa.table({"id": pa.array([1, 2], pa.int32()), "secret": pa.array([SECRET, -SECRET], pa.int64())})
    parquet.write_table(own, path)
    shared().hub.attach("narrow", path, policy=NARROW)
    yield path
    shared().hub.detach("narrow")


def test_a_strange_public_table_is_refused(taped: Taped, narrow: Path) -> None:
    with lying(add_stranger(str(narrow))):
        recording = taped.sql("SELECT id FROM narrow.own")
    assert SECRET.to_bytes(8, "little") not in b"".join(recording.payloads.values())
    assert isinstance(recording.error, sdh.PlanMismatch)
    assert not recording.shared_anything


@pytest.mark.parametrize(("table", "party", "owner"), [
    ("own", "narrow", "eve"), ("OWN", "narrow", "eve"), ("own", "Narrow", "Narrow"), ("own", "narrow", "narrow")])
def test_a_second_entry_does_not_stand_for_the_first(taped: Taped, narrow: Path, table: str, party: str, owner: str) -> None:
    with lying(add_stranger(table, party, owner)):
        recording = taped.sql("SELECT id FROM narrow.own")
    assert recording.error is not None
    assert not recording.shared_anything


def dealer_is_shop(message: Message) -> None:
    message["dealer"][1:] = message["parties"][1][1:]


def test_a_dealer_that_is_a_party_is_refused(taped: Taped) -> None:
    with lying(to_all(dealer_is_shop)):
        recording = taped.sql(SQL, timeout=2)
    assert isinstance(recording.error, sdh.PlanMismatch)


# --- a network that changes frames -----------------------------------------------------------------

SESSION, FIRST, LATER = 2, 3, 7
"""Frames of a link between parties: proof, hello, session digest, then what is opened."""


def flip(place: int) -> Change:
    def change(frame: bytearray) -> None:
        frame[place] ^= 1
    return change


def cut(frame: bytearray) -> None:
    del frame[len(frame) // 2:]


def drop(frame: bytearray) -> None:
    frame.clear()


def twice(frame: bytearray) -> None:
    frame += bytes(frame)


@pytest.mark.parametrize("outward", [True, False], ids=["to shop", "from shop"])
@pytest.mark.parametrize(("number", "change", "error"), [
    (SESSION, flip(30), sdh.ProtocolError), (FIRST, flip(24), sdh.ProtocolError), (LATER, flip(-1), sdh.ProtocolError),
    (LATER, flip(0), sdh.ProtocolError), (LATER, flip(10), sdh.ProtocolError), (FIRST, twice, sdh.ProtocolError),
    (LATER, drop, sdh.ProtocolError), (SESSION, cut, sdh.RuntimeFault), (LATER, cut, sdh.RuntimeFault),
], ids=["digest", "first", "tag", "length", "address", "twice", "dropped", "cut digest", "cut"])
def test_a_changed_frame_releases_nothing(taped: Taped, number: int, change: Change, error: type[sdh.SdhError],
                                          outward: bool) -> None:
    """bank dials shop through someone who changes one frame."""
    member = taped.process("shop").member
    assert member is not None
    relay = Relay(taped.folder, member.address, "bank", number, change, outward=outward)

    def detour(message: Message) -> None:
        message["parties"][1][2] = relay.address

    with lying(to_one("bank", detour)):
        recording = taped.sql(SQL)
    relay.close()
    assert relay.changed.is_set()
    named = (sdh.PartyLost, sdh.DealerLost) if error is sdh.RuntimeFault else (error,)
    assert type(recording.error) in named, recording.error   # an ended link may end the dealer's turn first
    assert recording.payloads == {}
    if number == SESSION:   # the one who was told nothing may not begin; the other's masked openings tell nothing
        silent = "shop" if outward else "bank"
        assert not any(record.is_masked for record in recording.of(silent))


@pytest.mark.parametrize("party", ["bank", "shop"])
@pytest.mark.parametrize(("change", "errors"), [
    (flip(24), (sdh.ProtocolError,)), (twice, (sdh.ProtocolError,)), (drop, (sdh.ProtocolError,)),
    (cut, (sdh.DealerLost, sdh.PartyLost))], ids=["flipped", "twice", "dropped", "cut"])
def test_a_changed_correction_releases_nothing(taped: Taped, party: str, change: Change,
                                               errors: tuple[type[sdh.SdhError], ...]) -> None:
    """The third correction of the dealer to one party."""
    member = taped.process(DEALER).member
    assert member is not None
    relay = Relay(taped.folder, member.address, party, 4, change, outward=False)

    def detour(message: Message) -> None:
        message["dealer"][2] = relay.address

    with lying(to_one(party, detour)):
        recording = taped.sql(SQL)
    relay.close()
    assert relay.changed.is_set()
    assert type(recording.error) in errors, recording.error
    assert recording.payloads == {}


@pytest.mark.parametrize("what", ["address", "length", "skip"])
def test_a_dealer_out_of_step_is_noticed(taped: Taped, what: str) -> None:
    with taped.fault(DEALER, what):
        recording = taped.sql(SQL)
    assert isinstance(recording.error, sdh.ProtocolError)
    assert "not planned" in str(recording.error)
    assert "$dealer" in str(recording.error)
    assert recording.payloads == {}


@pytest.mark.parametrize("ephemeral", [bytes(32), b"\1" + bytes(31)], ids=["zero", "one"])
def test_a_key_of_low_order_is_refused(ephemeral: bytes) -> None:
    """With it the agreed secret would not depend on this end's ephemeral key."""
    near, far = socket.socketpair()
    far.sendall(ephemeral)
    with pytest.raises(sdh.ProtocolError):
        handshake(near, new_identity("bank"), "shop", new_identity("shop").public, initiator=True, context=b"")
    near.close()
    far.close()


# --- one plan --------------------------------------------------------------------------------------

PLANS = """
import json, sys
from sdh.catalog import catalog_from_message
from sdh.errors import SdhError
from sdh.planners.plan import Question, finish, place
told = json.load(sys.stdin)
catalog = catalog_from_message(told["catalog"])
for text in told["texts"]:
    try:
        placed = place(Question(text, "analyst"), catalog)
        print(finish(placed, tuple(fragment.slots for fragment in placed.fragments)).digest)
    except SdhError as error:
        print(type(error).__name__, str(error).splitlines()[0])
"""


def test_hash_seeds_do_not_change_a_plan(tmp_path: Path) -> None:
    """Thirty generated questions to three parties, planned by processes with different hash seeds."""
    told = json.dumps({"catalog": published(tmp_path).to_message(), "texts": queries(29, 30, 3)})
    planners = [subprocess.Popen([sys.executable, "-c", PLANS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                 env=dict(os.environ, PYTHONHASHSEED=seed)) for seed in ("1", "2")]
    first, second = (planner.communicate(told)[0].splitlines() for planner in planners)
    assert first == second
    assert len(set(first)) > 25
    assert sum(len(line) == 64 for line in first) > 20, "most are planned, not refused"


def published(folder: Path) -> Catalog:
    """What the owners of the generated tables would publish."""
    parties = []
    for name, owned in tables(3, 29).items():
        source = stores.from_python(owned, folder, name)
        parties.append(stores.describe(source, name, sdh.Policy.open(), {table: [("id",)] for table in owned}))
    path = stores.publish(public_table(), folder, "code")
    return Catalog(tuple(parties), (stores.describe_public(path, "code"),))
