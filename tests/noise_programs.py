"""Programs of tests/test_noise.py, run at every party (tests/parties.py): noise made on shares, and biased bits."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import torch

from sdh.executors import joint_gaussian
from sdh.executors.noising import biased, noised
from sdh.executors.runtime import Session
from sdh.executors.scope import Scope
from sdh.executors.shares import bits_of, raw
from sdh.executors.sorted_rows import cut
from sdh.executors.values import Number, Relation, Value
from sdh.planners import costs
from sdh.planners.derive_traits import traits
from sdh.planners.expressions import Field, Ref
from sdh.planners.intervals import Shared
from sdh.planners.logical import Noise
from sdh.planners.mechanisms import BIAS_BITS, Mechanism
from sdh.planners.physical import Cut, Input, Noised
from sdh.schema import BIGINT
from tests.protocol_programs import opened, share, share_bits, values

Told = dict[str, Any]


def node(rows: int, mechanisms: list[tuple[str, str, str]]) -> Noised:
    """A column for each mechanism (kind, scale, way), numbered from 0; noised ones from 100."""
    fields = [Field(i, f"c{i}", BIGINT, nullable=False) for i in range(len(mechanisms))]
    input = Input(0, "one", rows, tuple(Shared(field, 0, 1 << 20) for field in fields), exact=True)
    noises = (Noise(field, Field(100 + field.number, "n", BIGINT, nullable=False), Mechanism(kind, Fraction(scale), way))
              for field, (kind, scale, way) in zip(fields, mechanisms, strict=True))
    return Noised(input, tuple(noises))


def noises(session: Session, rows: int, mechanisms: list[tuple[str, str, str]]) -> Told:
    """What is left of every column after its values are taken away, and what it cost."""
    plan, column = node(rows, mechanisms), torch.arange(rows)
    relation = Relation(rows, None, {noise.input.number: Number(raw(share(session, 0, column))) for noise in plan.noises})
    with session.operator("noise"):
        found = noised(session, plan, relation)
    left = []
    for noise in plan.noises:
        value = found.columns[noise.output.number]
        assert isinstance(value, Number)
        left.append((opened(session, value.share) - column).tolist() if not session.tracing else [])
    cost = session.meter.operators.get("noise")
    return {"left": left, "cost": None if cost is None else [cost.sent, cost.dealt, cost.rounds]}


def coins(session: Session, rows: int, halves: list[int]) -> list[int]:
    """How many of `rows` bits of each chance 1 / 2^k are 1."""
    chances = [(1 << BIAS_BITS) >> k for k in halves]
    found = opened(session, biased(session, [min(chance, (1 << BIAS_BITS) - 1) for chance in chances], [rows] * len(halves)))
    return [] if session.tracing else found.reshape(len(halves), rows).sum(1).tolist()


def cuts(session: Session, rows: int, most: int) -> Told:
    """The numbers of the rows that are left of 10 keys and NULL; every 7th row is not there."""
    key, number = Field(1, "key", BIGINT, nullable=True), Field(2, "row", BIGINT, nullable=False)
    input = Input(0, "one", rows, (Shared(key, -5, 4), Shared(number, 0, rows)), exact=False)
    plan = Cut(input, (Ref(key),), most, frozenset({2}))
    column, null = values(3, rows, -5, 4), values(4, rows, 0, 6) // 6
    column = torch.where(null == 1, 0, column)
    columns: dict[int, Value] = {1: Number(raw(share(session, 0, column)), share_bits(session, 0, null)),
                                 2: Number(raw(share(session, 1, torch.arange(rows))))}
    relation = Relation(rows, share_bits(session, 1, (torch.arange(rows) % 7 > 0).long()), columns)
    with session.operator("cut"):
        found = cut(plan, Scope(session, relation, traits(input).ranges, []))
    numbers, assumed = found.columns[2], costs.operator_costs(plan, session.count)[-1][1]
    assert isinstance(numbers, Number)
    assert found.valid is not None
    left, there = opened(session, numbers.share), opened(session, found.valid)
    cost = session.meter.whole["cut"]
    return {"rows": [] if session.tracing else sorted(left[there == 1].tolist()), "keys": column.tolist(), "nulls": null.tolist(),
            "cost": [cost.sent, cost.dealt, cost.rounds], "planned": [assumed.sent, assumed.dealt, assumed.rounds]}


def pair_sums(session: Session, size: int, rows: int) -> Told:
    """Of random bits 2^0 .. of a number, so many: z of joint_gaussian, opened, and as it should be, for so many rows."""
    known = values(5, size * rows, 0, 1).reshape(size, rows)
    shared = torch.stack([share_bits(session, 0, bit).share for bit in known])
    with session.operator("sums"):
        found = joint_gaussian._pair_sum(session, shared)
    told = [opened(session, bits_of(plane, rows)) for plane in found]
    wanted = [sum(int(known[i, row]) & int(known[j, row]) and 1 << i + j for j in range(size) for i in range(j))
              for row in range(rows)]
    made = [] if session.tracing else [sum(int(plane[row]) << w for w, plane in enumerate(told, 1)) for row in range(rows)]
    return {"made": made, "wanted": wanted}
