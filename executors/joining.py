"""Joins of relations on shares: all pairs, by keys that owners know, both sides sorted together, or a private table."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from sdh.errors import InternalError
from sdh.executors import bits, sort_merge
from sdh.executors.align import Side, align
from sdh.executors.arithmetic import mux_many, to_arithmetic
from sdh.executors.bits import Bits
from sdh.executors.compare import less
from sdh.executors.equal_keys import number_of
from sdh.executors.evaluate import Scope, holds, operand_of, truth
from sdh.executors.lookup import lookup_private
from sdh.executors.predicates import equality_width
from sdh.executors.private_tables import private_table, table_values
from sdh.executors.runtime import Session
from sdh.executors.shares import Shared as Share
from sdh.executors.shares import raw
from sdh.executors.text import LENGTH_WIDTH, TEXT_WIDTH, words_for
from sdh.executors.values import (
    Clear,
    Number,
    Relation,
    Text,
    Truth,
    Value,
    columns_of,
    false_of,
    flatten,
    null_of,
    repeat_rows,
    repeated,
    unflatten,
)
from sdh.planners.expressions import Expression, Field, Ref
from sdh.planners.physical import (
    Align,
    ByKey,
    Expand,
    Lookup,
    NestedLoop,
    SortMerge,
    carried,
    inputs,
    key_limbs,
    numbered,
    table_bits,
    traits,
)
from sdh.planners.ranges import Columns, Shared, scale_of
from sdh.schema import Kind

# --- all pairs -----------------------------------------------------------------------------------


def nested_loop(session: Session, node: NestedLoop, left: Relation, right: Relation, errors: list[Bits]) -> Relation:
    """All pairs, or of other kinds the left's rows, by what the pairs of each say.

    Copying shares is local; the condition costs what it costs a pair.
    """
    if node.kind == "INNER":
        pairs = _pairs(session, left, right, left_outermost=True)
        return _met(session, node.condition, pairs, _ranges(node), errors)
    kept = {number: value for number, value in right.columns.items() if number in carried(node)}
    pairs = _pairs(session, left, Relation(right.slots, right.valid, kept), left_outermost=False)
    if node.kind == "MARK":
        return _marked(session, node, left, pairs, right.slots, errors)
    found = _met(session, node.condition, pairs, _ranges(node), errors).valid
    met = bits.constant(session, pairs.slots, True) if found is None else found
    if node.kind == "SINGLE":
        return _single(session, left, pairs, met, right, errors)
    return _kept(session, node.kind, left, _any(session, met, left.slots, right.slots))


def _pairs(session: Session, left: Relation, right: Relation, *, left_outermost: bool) -> Relation:
    a = _spread(left, right.slots, each=left_outermost)
    b = _spread(right, left.slots, each=not left_outermost)
    real = a.real if b.real is None else b.real if a.real is None else a.real & b.real
    return Relation(a.slots, _both(session, a.valid, b.valid), a.columns | b.columns, a.clear | b.clear, real)


def _met(session: Session, condition: Expression | None, rows: Relation, ranges: Columns, errors: list[Bits]) -> Relation:
    return rows if condition is None else rows.with_valid(holds(condition, Scope(session, rows, ranges, errors)))


def _ranges(node: NestedLoop | ByKey) -> dict[int, Shared]:
    """Of both sides' columns, as a condition reads them."""
    first, second = (node.left, node.right) if isinstance(node, NestedLoop) else (node.probe, node.build)
    return traits(first).ranges | traits(second).ranges


def _both(session: Session, a: Bits | None, b: Bits | None) -> Bits | None:
    if a is None or b is None:
        return a if b is None else b
    return bits.and_(session, a, b)


def _spread(relation: Relation, times: int, *, each: bool) -> Relation:
    valid = None if relation.valid is None else bits.repeat(relation.valid, times, each=each)
    columns = {n: repeated(value, times, each=each) for n, value in relation.columns.items()}
    clear = {
        n: Clear(
            tuple(repeat_rows(word, times, each=each) for word in c.words),
            None if c.null is None else repeat_rows(c.null, times, each=each),
        )
        for n, c in relation.clear.items()
    }
    real = None if relation.real is None else repeat_rows(relation.real, times, each=each)
    return Relation(relation.slots * times, valid, columns, clear, real)


def _any(session: Session, found: Bits, rows: int, times: int) -> Bits:
    """The OR over `times` blocks of `rows` rows: halves, ceil(log2(times)) rounds."""
    return _halved(session, found, rows, times, partial(bits.or_, session))


def _halved(session: Session, found: Bits, rows: int, times: int, meet: Callable[[Bits, Bits], Bits]) -> Bits:
    if not times:
        return bits.constant(session, rows, False)
    while times > 1:
        half = times // 2
        first, second = (bits.slice_(found, part * half * rows, (part + 1) * half * rows) for part in range(2))
        rest = bits.slice_(found, 2 * half * rows, times * rows)
        found, times = bits.concat([meet(first, second), rest]), times - half
    return found


def _kept(session: Session, kind: str, left: Relation, met: Bits) -> Relation:
    """The left's rows that are in `met` (SEMI), or are not (ANTI). Rows that are not valid are not in it."""
    if kind == "SEMI":
        return left.with_valid(met)
    return left.with_valid(bits.not_(session, met) if left.valid is None else bits.xor(left.valid, met))


def _marked(session: Session, node: NestedLoop, left: Relation, pairs: Relation, times: int, errors: list[Bits]) -> Relation:
    """TRUE where a pair is; FALSE where none is TRUE or NULL."""
    assert node.mark is not None
    if node.condition is None or not node.mark.nullable:
        found = _met(session, node.condition, pairs, _ranges(node), errors).valid
        met = bits.constant(session, pairs.slots, True) if found is None else found
        return _with_mark(left, node.mark, Truth(_any(session, met, left.slots, times)))
    value = truth(node.condition, Scope(session, pairs, _ranges(node), errors))
    true, possible = value.true, bits.not_(session, false_of(value, session))
    if pairs.valid is not None:
        true, possible = bits.and_many(session, [(true, pairs.valid), (possible, pairs.valid)])
    none = bits.not_(session, _any(session, possible, left.slots, times))
    return _with_mark(left, node.mark, Truth(_any(session, true, left.slots, times), none))


def _with_mark(left: Relation, mark: Field, value: Truth) -> Relation:
    return Relation(left.slots, left.valid, left.columns | {mark.number: value}, left.clear, left.real)


def _single(session: Session, left: Relation, pairs: Relation, met: Bits, right: Relation, errors: list[Bits]) -> Relation:
    """The right row that meets the condition, or NULL; two are an error. At most one counts, so sums and XORs find it."""
    rows, times = left.slots, right.slots
    if times > 1:
        count = raw(to_arithmetic(session, met)).reshape(times, rows).sum(0)
        one = torch.full_like(count, 1 if session.rank == 0 else 0)
        errors.append(less(session, one, count, times.bit_length() + 1))
    values = {number: pairs.columns[number] for number in right.columns}
    found = {number: _chosen(session, value, met, rows, times) for number, value in values.items()}
    return Relation(rows, left.valid, left.columns | found, left.clear, left.real)


def _chosen(session: Session, value: Value, met: Bits, rows: int, times: int) -> Value:
    """Of a column of pairs the value of the pair that is met, else NULL."""
    if isinstance(value, Truth):
        true, false = bits.and_many(session, [(value.true, met), (false_of(value, session), met)])
        return Truth(_folded(session, true, rows, times), _folded(session, false, rows, times))
    null = null_of(value, session)
    there = met if null is None else bits.and_(session, met, bits.not_(session, null))
    shares = [value.share] if isinstance(value, Number) else list(value.words)
    words = [raw(part).reshape(times, rows).sum(0) for part in mux_many(session, [(met, shares)])[0]]
    none = bits.not_(session, _folded(session, there, rows, times))
    return Number(words[0], none) if isinstance(value, Number) else Text(tuple(words), none)


def _folded(session: Session, found: Bits, rows: int, times: int) -> Bits:
    """The XOR over `times` blocks of `rows` rows: local."""
    return _halved(session, found, rows, times, bits.xor)


# --- by key --------------------------------------------------------------------------------------


def align_rows(session: Session, node: Align, probe: Relation, build: Relation, parties: tuple[str, ...],
               errors: list[Bits]) -> Relation:
    """The probe's rows, each with the build row of equal key: valid where there is one that is valid itself.

    Where a key stands in up to k build rows, each probe row stands k times, and its j-th copy meets the j-th of them: keys
    with their number are unique. Raises KeyViolated at their owner, before a share leaves, if a key stands in more.
    """
    if node.repeats > 1:
        probe = _spread(probe, node.repeats, each=True)
    probe_rank, build_rank = parties.index(node.probe_party), parties.index(node.build_party)
    a, b = traits(node.probe).ranges, traits(node.build).ranges
    single = [width for pair in node.pairs for width in _widths(pair, a, b)]
    widths = numbered(single, node.repeats)
    at_probe = session.at(probe_rank, lambda: _numbered(node, *_keys(node, probe, 0, a, b), single, 0))
    at_build = session.at(build_rank, lambda: _numbered(node, *_keys(node, build, 1, a, b), single, 1))
    sides = [
        Side(rank, relation.slots, None if keys is None else keys[0], None if keys is None else keys[1])
        for rank, relation, keys in ((probe_rank, probe, at_probe), (build_rank, build, at_build))
    ]
    brought = _brought(node, build)
    record = flatten(brought) + ([] if build.valid is None else [build.valid])
    match, payload = align(session, sides[0], sides[1], widths, record)
    if build.valid is not None:
        last = payload[-1]
        if not isinstance(last, Bits):
            raise InternalError("The build side's validity came back as a number.")
        match = last
    valid = match if probe.valid is None else bits.and_(session, match, probe.valid)
    nulls = [(null_of(probe.columns[a.number], session), null_of(build.columns[b.number], session)) for a, b in node.pairs]
    return _outcome(session, node, probe, build, valid, unflatten(brought, payload), nulls, errors)


def sort_merge_rows(session: Session, node: SortMerge, probe: Relation, build: Relation, errors: list[Bits]) -> Relation:
    """The same of keys on shares, whoever knows them."""
    keys, widths = _keys_of(session, node, probe, build, errors)
    nulls = [(one[1], two[1]) for one, two in zip(*keys, strict=True)]
    sides = [_side(session, relation, key) for key, relation in zip(keys, (probe, build), strict=True)]
    brought = _brought(node, build)
    match, payload = sort_merge.sort_merge(session, sides[0], sides[1], widths, flatten(brought))
    return _outcome(session, node, probe, build, match, unflatten(brought, payload), nulls, errors)


def expand_rows(session: Session, node: Expand, left: Relation, right: Relation, errors: list[Bits]) -> Relation:
    """All pairs of rows of equal keys in so many places; those that are not filled are not valid and hold 0."""
    keys, widths = _keys_of(session, node, left, right, errors)
    sides = [_side(session, relation, key) for key, relation in zip(keys, (left, right), strict=True)]
    kept = [{n: value for n, value in relation.columns.items() if n in node.kept} for relation in (left, right)]
    found = sort_merge.many_to_many(session, sides[0], sides[1], widths, flatten(kept[0]), flatten(kept[1]), node.slots)
    errors.append(found.overflow)
    return Relation(node.slots, found.valid, unflatten(kept[0], found.left) | unflatten(kept[1], found.right))


def lookup_rows(session: Session, node: Lookup, probe: Relation, build: Relation, parties: tuple[str, ...],
                errors: list[Bits]) -> Relation:
    """The probe's rows, each with what the table of the build's owner holds at its key."""
    scope = Scope(session, probe, traits(node.probe).ranges, errors)
    [pair], owner = node.pairs, parties.index(node.build.party)
    [(low, width)] = key_limbs(pair, traits(node.probe), traits(node.build))
    [index], null = _limbs(node, pair, 0, scope)
    columns = [column for column in traits(node.build).columns if column.field.number in carried(node)]
    table = session.at(owner, lambda: private_table(node, build, low, 1 << (width - 1), columns))
    widths = [abs(size) for column in columns for size in table_bits(column)]
    [[found], *parts] = lookup_private(session, index, 1 << (width - 1), owner, table, [1, *widths])
    met = found
    for usable in (probe.valid, None if null is None else bits.not_(session, null)):
        met = met if usable is None else bits.and_(session, met, usable)
    brought = table_values(session, columns, parts)
    own = build.columns[pair[1].field.number] if isinstance(pair[1], Ref) else None
    nulls = [(null, None if own is None else null_of(own, session))]
    return _outcome(session, node, probe, build, met, brought, nulls, errors)


def _keys_of(session: Session, node: SortMerge | Expand, first: Relation, second: Relation,
             errors: list[Bits]) -> tuple[list[list[tuple[list[Share], Bits | None]]], list[int]]:
    """Of both sides every key's limbs and where it is NULL; bits of a difference of two, limb by limb."""
    scopes = [Scope(session, relation, traits(part).ranges, errors)
              for relation, part in zip((first, second), inputs(node), strict=True)]
    widths = [width for pair in node.pairs for _, width in key_limbs(pair, *map(traits, inputs(node)))]
    return [[_limbs(node, pair, side, scope) for pair in node.pairs] for side, scope in enumerate(scopes)], widths


def _side(session: Session, relation: Relation, key: list[tuple[list[Share], Bits | None]]) -> sort_merge.Side:
    """The limbs, 0 where a row cannot match: what stands under NULL and in rows that are not there might not fit them."""
    limbs, usable = [limb for part, _ in key for limb in part], _usable(session, relation, [null for _, null in key])
    return sort_merge.Side(limbs if usable is None else mux_many(session, [(usable, limbs)])[0], usable)


def _limbs(node: SortMerge | Expand | Lookup, pair: tuple[Expression, Expression], side: int,
           scope: Scope) -> tuple[list[Share], Bits | None]:
    """One side's limbs of a key, none below 0, and where it is NULL."""
    limbs = key_limbs(pair, *map(traits, inputs(node)))
    value = operand_of(pair[side], pair[1 - side], scope).value
    if isinstance(value, Text):
        missing = len(limbs) - len(value.words)
        zero = torch.zeros_like(value.words[0])
        return [*value.words[:-1], *[zero] * missing, value.words[-1]], value.null
    assert isinstance(value, Number)
    [(low, _)] = limbs
    return [value.share - scope.constant(low)], value.null


def _usable(session: Session, relation: Relation, nulls: list[Bits | None]) -> Bits | None:
    """Rows that are there and whose key has no NULL."""
    found = relation.valid
    for null in nulls:
        found = found if null is None else _both(session, found, bits.not_(session, null))
    return found


def _brought(node: ByKey, build: Relation) -> dict[int, Value]:
    return {number: value for number, value in build.columns.items() if number in carried(node)}


def _outcome(session: Session, node: ByKey, probe: Relation, build: Relation, met: Bits, brought: dict[int, Value],
             nulls: list[tuple[Bits | None, Bits | None]], errors: list[Bits]) -> Relation:
    """What a kind of join makes of the rows that met one, with what it brought. A further condition decides the match."""
    both = Relation(probe.slots, met, probe.columns | brought, probe.clear, probe.real)
    both = _met(session, node.condition, both, _ranges(node), errors)
    assert both.valid is not None
    match node.kind:
        case "INNER":
            return both
        case "SEMI" | "ANTI":
            return _kept(session, node.kind, probe, both.valid)
        case "MARK":
            assert node.mark is not None
            unknown = _unknown(session, probe, build, nulls[0]) if node.mark.nullable else None
            return _with_mark(probe, node.mark, _mark(session, both.valid, unknown))
        case _:
            columns = probe.columns | _padded(session, brought, both.valid)
            return Relation(probe.slots, probe.valid, columns, probe.clear, probe.real)


def _mark(session: Session, met: Bits, unknown: Bits | None) -> Truth:
    if unknown is None:
        return Truth(met)
    [none] = bits.and_many(session, [(bits.not_(session, met), bits.not_(session, unknown))])
    return Truth(met, none)


def _unknown(session: Session, probe: Relation, build: Relation, nulls: tuple[Bits | None, Bits | None]) -> Bits:
    """Where the key is NULL for some build row: it is NULL itself and there is a row, or a row's key is NULL."""
    own, theirs = nulls
    found = bits.constant(session, probe.slots, False)
    if own is not None:
        there = bits.constant(session, build.slots, True) if build.valid is None else build.valid
        found = bits.and_(session, own, bits.repeat(bits.all_or(session, there), probe.slots))
    if theirs is not None:
        some = theirs if build.valid is None else bits.and_(session, theirs, build.valid)
        found = bits.or_(session, found, bits.repeat(bits.all_or(session, some), probe.slots))
    return found


def _padded(session: Session, brought: dict[int, Value], met: Bits) -> dict[int, Value]:
    """The columns, NULL where there is no match: one AND for each bit of theirs, all in one round."""
    none, flags = bits.not_(session, met), list[Bits]()
    for value in brought.values():
        flags += [part for part in columns_of(value) if isinstance(part, Bits)]
    kept = iter(bits.and_many(session, [(flag, met) for flag in flags]))
    found: dict[int, Value] = {}
    for number, value in brought.items():
        if isinstance(value, Truth):
            true = next(kept)
            found[number] = Truth(true, bits.xor(true, met) if value.false is None else next(kept))
            continue
        null = none if value.null is None else bits.xor(next(kept), none)
        found[number] = Number(value.share, null) if isinstance(value, Number) else Text(value.words, null)
    return found


def _widths(pair: tuple[Field, Field], a: dict[int, Shared], b: dict[int, Shared]) -> list[int]:
    first, second = pair
    if first.type.kind is Kind.VARCHAR:
        return [TEXT_WIDTH] * max(words_for(a[first.number].bytes), words_for(b[second.number].bytes)) + [LENGTH_WIDTH]
    up, down = _factors(pair)
    return [equality_width(a[first.number].range.times(up), b[second.number].range.times(down))]


def _factors(pair: tuple[Field, Field]) -> tuple[int, int]:
    """What brings both keys to one scale."""
    scales = [scale_of(field.type) if field.type.is_exact else 0 for field in pair]
    return int(10 ** (max(scales) - scales[0])), int(10 ** (max(scales) - scales[1]))


def _keys(node: Align, relation: Relation, side: int, a: dict[int, Shared], b: dict[int, Shared]) -> tuple[list[Tensor], Tensor]:
    """The key words of one side in the clear, and which rows can match: real ones without NULL in the key."""
    if relation.real is None:
        raise InternalError("The owner of a key does not know its rows.")
    usable, words = relation.real, list[Tensor]()
    for pair in node.pairs:
        clear = relation.clear[pair[side].number]
        if clear.null is not None:
            usable = usable & ~clear.null
        if pair[0].type.kind is Kind.VARCHAR:
            missing = len(_widths(pair, a, b)) - len(clear.words)
            words += [*clear.words[:-1], *[torch.zeros_like(clear.words[0])] * missing, clear.words[-1]]
        else:
            factor = _factors(pair)[side]
            words.append(clear.words[0] if factor == 1 else clear.words[0] * factor)
    return words, usable


def _numbered(node: Align, words: list[Tensor], usable: Tensor, widths: list[int], side: int) -> tuple[list[Tensor], Tensor]:
    """The key words with which of a key's places a copy of a probe row, or which of its rows a build row is."""
    if node.repeats == 1:
        return words, usable
    numbers = torch.arange(len(usable)) % node.repeats if side == 0 else number_of(words, usable, node.repeats)
    if len(numbered(widths, node.repeats)) > len(widths):
        return [*words, numbers], usable
    return [*words[:-1], words[-1] * (1 << (node.repeats - 1).bit_length()) + numbers], usable
