"""Values that no link may show, and every form in which one might."""

from __future__ import annotations

import datetime
import hashlib
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

import pyarrow as pa

NUMBER = 0x1B3C5D7E9F2A4C6B
"""61 bits."""
MONEY = Decimal("48151623427184.2937")
TEXT = "the heron's wings"
DATE = datetime.date(2024, 6, 2)
EPOCH = datetime.date(1970, 1, 1)
SHORT = 4
"""Bytes of a pattern that chance may show: it counts when found as often as this. The values stand in all rows of
bank, so that a leak shows it more often; in 2^25 uniform bytes chance does so once in 10^10 searches."""


def marked(party: str, rows: int) -> pa.Table:
    """bank: the sentinels in every row. Elsewhere: in one, which is the only one that matches, all others distinct."""
    others, own = range(1, rows), party == "bank"
    numbers = [NUMBER] + [NUMBER if own else NUMBER - 7919 * i for i in others]
    money = [MONEY] + [MONEY if own else MONEY - i for i in others]
    texts = [TEXT] + [TEXT if own else f"the heron no. {i:03}" for i in others]
    dates = [DATE] + [DATE if own else DATE - datetime.timedelta(days=i) for i in others]
    return pa.table({"id": pa.array(range(rows), pa.int32()), "v": pa.array(numbers, pa.int64()),
                     "m": pa.array(money, pa.decimal128(18, 4)), "s": texts, "d": pa.array(dates, pa.date32())})


def patterns() -> dict[str, bytes]:
    """Every form of every sentinel, by what it is; trivial ones (few distinct bytes) are left out."""
    days, unscaled = (DATE - EPOCH).days, int(MONEY.scaleb(4))
    found = dict(_of_number("number", NUMBER, str(NUMBER)))
    found |= dict(_of_number("money", unscaled, str(MONEY))) | dict(_of_number("whole money", int(MONEY), str(unscaled)))
    found |= dict(_of_number("date", days, str(DATE))) | dict(_of_number("microseconds", days * 86_400_000_000, "2024/06/02"))
    found |= dict(_of_text(TEXT))
    return {name: form for name, form in found.items() if len(set(form)) > 2}


def _of_number(name: str, number: int, text: str) -> Iterator[tuple[str, bytes]]:
    yield f"{name} as text", text.encode()
    for digest, form in _hashes([text.encode(), *(number.to_bytes(8, order) for order in ("little", "big"))]):
        yield f"{digest} of {name}", form
    for order, sign in (("little", "<d"), ("big", ">d")):
        yield f"{name} as double, {order}", struct.pack(sign, float(number))
    variants = {"": number, "minus ": -number, "complement of ": ~number, "tenfold ": 10 * number,
                "hundredfold ": 100 * number, "2^16 times ": number << 16}
    for variant, value in variants.items():
        for size in (16, 8, 7, SHORT):
            yield f"{variant}{name}, {size} low bytes", (value % (1 << 8 * size)).to_bytes(size, "little")
            yield f"{variant}{name}, {size} low bytes, big", (value % (1 << 8 * size)).to_bytes(size, "big")
        high = (value >> 32) % (1 << 32)
        yield f"{variant}{name}, high half", high.to_bytes(4, "little")
        yield f"{variant}{name}, high half, big", high.to_bytes(4, "big")


def _of_text(text: str) -> Iterator[tuple[str, bytes]]:
    encoded = text.encode()
    yield "text", encoded
    yield "text, UTF-16", text.encode("utf-16-le")
    for digest, form in _hashes([encoded, encoded.ljust(24, b"\0")]):
        yield f"{digest} of text", form
    for start in range(0, len(encoded), 7):
        word = encoded[start:start + 7].ljust(7, b"\0")
        yield f"text from byte {start}", word
        yield f"text from byte {start}, backwards", word[::-1]


def _hashes(plain: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    for number, form in enumerate(plain):
        for name in ("md5", "sha1", "sha256", "blake2b", "blake2s"):
            yield f"{name} ({number})", hashlib.new(name, form).digest()
        yield f"blake2b-16 ({number})", hashlib.blake2b(form, digest_size=16).digest()
        yield f"blake2b-32 ({number})", hashlib.blake2b(form, digest_size=32).digest()


@dataclass(frozen=True, slots=True)
class Search:
    """The forms that are found in some bytes."""

    forms: dict[str, bytes]

    def of(self, data: bytes) -> list[str]:
        return [name for name, form in self.forms.items()
                if (data.count(form) >= SHORT if len(form) <= SHORT else form in data)]
