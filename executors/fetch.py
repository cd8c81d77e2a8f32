"""Columns that stayed with their owner, fetched for a few rows by the place that each has in its fragment, on shares.

Of k rows and a table of n rows of b bits, D = 2^d >= n, two parties: 1. The dealer draws r and deals the unit vector of
r mod D; c = r - x is opened: entry j of x's unit vector e is entry j + c mod D of r's, which is local. 2. U = T ^ t, the
table under a dealt mask. 3. Every party but the owner sends it e ^ o, o dealt; with E = e ^ o of all it knows <E, T>:
<e, T> = <E, T> ^ <o, U> ^ <o, t>, the last of them dealt, and all entries enter every product. 4. Bits to the ring.

Who owns the table learns k, the others n and b: which rows were asked for nobody. kd/8 + nb/8 + kn/8 + kb/8 bytes sent,
of those kn/8 by all but the owner; k D / 8 + kb/8 + 8 kb dealt; 1 round, 2 a slice of 2^16 rows of the table, 1.
Sources: protocols.md section 2, 'Small public tables' (the private one), with tables of any length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sdh.errors import InternalError
from sdh.executors import bits
from sdh.executors.bits import Bits
from sdh.executors.dealing import Correlation
from sdh.executors.lookup import as_numbers
from sdh.executors.messages import Masked
from sdh.executors.parities import add_parities, parity
from sdh.executors.runtime import Session
from sdh.executors.shares import bits_of, pack, planes, raw, words_of
from sdh.executors.values import Clear, Number, Relation, Text, Value
from sdh.planners.fetch_costs import DRAWN, SLICE, index_bits, limbs_of, row_bits
from sdh.planners.physical import Fetch
from sdh.schema import Kind


def fetch(session: Session, node: Fetch, rows: Relation, own: dict[int, Clear] | None, parties: Sequence[str]) -> Relation:
    """The rows with the columns of `node` in the stead of their places. `own`: the fragment's columns, at its owner."""
    source = node.source
    assert source.place is not None
    place = rows.columns[source.place.number]
    if not isinstance(place, Number):
        raise InternalError("A row's place is a number.")
    owner = parties.index(source.party)
    table = session.at(owner, lambda: _table(node, own))
    found = fetched(session, place.share, source.slots, owner, table, row_bits(node))
    kept = {number: value for number, value in rows.columns.items() if number != source.place.number}
    return Relation(rows.slots, rows.valid, kept | _values(session, node, found, place.null))


def fetched(session: Session, places: Tensor, slots: int, owner: int, table: Tensor | None, width: int) -> list[Bits]:
    """Bit by bit the rows at shared places (int64 [rows], in [0, slots); others give anything) of the owner's table.

    table: packed bits, int64 [ceil(slots / 64), width], None but at the owner: bit i % 64 of word [i // 64, b] is bit b of
    row i.
    """
    vectors = _units(session, places, words_of(slots), index_bits(slots))
    total: Tensor | None = None
    for start in range(0, words_of(slots), SLICE // 64):
        part = None if table is None else table[start:start + SLICE // 64].to(session.device)
        met = _met(session, vectors[:, start:start + SLICE // 64], owner, part, width)
        total = met if total is None else total ^ met
    if total is None:
        raise InternalError("Nothing is fetched of no rows.")
    return [bits_of(plane, len(places)) for plane in total.unbind()]


# --- which row ---

def _units(session: Session, places: Tensor, words: int, count: int) -> Tensor:
    """[rows, words]: of every place the unit vector, packed, without the entries behind the table."""
    step = max(1, DRAWN >> count)
    found = []
    for start in range(0, len(places), step):
        x = places[start:start + step]
        [[r, unit]] = session.draw(Correlation("unit", len(x), count=count))
        [c] = session.open_masked([Masked(r - x, count)], "masked place")
        found.append(_rotated(unit, c, words))
    return torch.cat(found)


def _rotated(vectors: Tensor, by: Tensor, words: int) -> Tensor:
    """The first `words` words of packed vectors [rows, 2^count / 64] after entry by[i] has come to the front."""
    places = torch.arange(words + 1, device=by.device) + (by >> 6).unsqueeze(1)
    found = vectors.gather(1, places % vectors.shape[1])
    shift = (by & 63).unsqueeze(1)
    kept = ~(torch.full_like(shift, -2) << (63 - shift))   # >> repeats the sign
    return ((found[:, :-1] >> shift) & kept) | ((found[:, 1:] << 1) << (63 - shift))


# --- what it holds ---

def _met(session: Session, vectors: Tensor, owner: int, table: Tensor | None, width: int) -> Tensor:
    """Planes [width, words of rows] of the products of shared vectors [rows, words] and the owner's table [words, width]."""
    rows, words = vectors.shape
    [[o, t, met]] = session.draw(Correlation("matrix", rows, width, words))
    mine = t if table is None else t ^ table   # the table as shared by its owner alone, under the masks of all
    [public] = session.open_masked([Masked(mine, xor=True)], "masked table")
    hidden = (vectors ^ o).contiguous()
    octets = hidden.reshape(-1).view(torch.uint8).reshape(rows, 8 * words)
    _, theirs, _ = session.hand_over(owner, hidden.new_empty((rows, 0)), octets, None, ((rows, 0), (rows, 8 * words), 0),
                                     "masked unit vectors")
    if session.tracing:
        return torch.empty_like(met)
    sums = o.new_zeros((rows, width))
    add_parities(_on_host(sums), _on_host(o), _on_host(public))
    if table is not None:
        opened = hidden ^ theirs.reshape(-1).view(torch.int64).reshape(hidden.shape)
        add_parities(_on_host(sums), _on_host(opened), _on_host(table))
    return met ^ _packed(parity(sums))


def _on_host(words: Tensor) -> Any:
    """A CPU tensor's memory as NumPy's, which is twice as fast at this."""
    return words if words.is_cuda else words.numpy()


def _packed(found: Tensor) -> Tensor:
    """0 and 1 [rows, width] as planes [width, words of rows]."""
    rows, width = found.shape
    whole = torch.zeros((width, 64 * words_of(rows)), dtype=torch.uint8, device=found.device)
    whole[:, :rows] = found.T
    return pack(whole.reshape(-1)).reshape(width, -1)


# --- columns ---

def _table(node: Fetch, own: dict[int, Clear] | None) -> Tensor:
    """The owner's columns, bit by bit, then what is NULL in each that may be: int64 [words of its slots, bits]."""
    if own is None:
        raise InternalError("The owner of a fragment has its columns.")
    found: list[Tensor] = []
    for _, column in node.columns:
        words = own[column.field.number].words
        found += [planes(word - low, width) for word, (low, width) in zip(words, limbs_of(column), strict=True)]
    nulls = [own[column.field.number].null for _, column in node.columns]
    found += [pack(null.to(torch.uint8)).unsqueeze(0) for null in nulls if null is not None]
    return torch.cat(found).T.contiguous()


def _values(session: Session, node: Fetch, found: list[Bits], missing: Bits | None) -> dict[int, Value]:
    """The columns, NULL also where there is no place (`missing`)."""
    limbs = [limb for _, column in node.columns for limb in limbs_of(column)]
    places = iter(found)
    words = [[next(places) for _ in range(width)] for _, width in limbs]
    numbers = iter(as_numbers(session, words, [low for low, _ in limbs]))
    nulls = list(places)
    if missing is not None:
        nulls = bits.or_many(session, [(null, missing) for null in nulls])
    columns: dict[int, Value] = {}
    for output, column in node.columns:
        shares = tuple(raw(next(numbers)) for _ in limbs_of(column))
        null = nulls.pop(0) if column.field.nullable else missing
        columns[output.field.number] = Text(shares, null) if column.field.type.kind is Kind.VARCHAR else Number(shares[0], null)
    return columns
