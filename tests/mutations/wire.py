"""Mutations of protobuf messages on the wire, without their schema: field by field, at any depth.

A message is taken apart into its records; bytes that are themselves whole records may be messages, so a mutation may
descend into them. What is written again may be another message, or another encoding of the same one.
Source: protobuf's encoding (varints, tags, length-delimited records).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from tests.mutations.octets import BYTE_MUTATIONS, SIGNATURE, mutate_signature

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIDTH = {_FIXED64: 8, _FIXED32: 4}
_DEEPEST = 6


@dataclass(frozen=True, slots=True)
class Record:
    """One field as it stands on the wire; `value` is an int for varints, else its bytes."""

    number: int
    kind: int
    value: int | bytes


def take_apart(data: bytes) -> list[Record] | None:
    """The records of `data`, or None if it is not whole records."""
    records: list[Record] = []
    place = 0
    while place < len(data):
        tag, place = _read_varint(data, place)
        number, kind = tag >> 3, tag & 7
        if place < 0 or number == 0:
            return None
        if kind == _VARINT:
            value, place = _read_varint(data, place)
            if place < 0:
                return None
            records.append(Record(number, kind, value))
            continue
        length = _WIDTH.get(kind)
        if kind == _BYTES:
            length, place = _read_varint(data, place)
        if length is None or place < 0 or place + length > len(data):
            return None
        records.append(Record(number, kind, data[place : place + length]))
        place += length
    return records


def put_together(records: list[Record]) -> bytes:
    """The bytes of records, each varint in its shortest form."""
    return b"".join(_write(record) for record in records)


def mutate_message(random: Random, data: bytes, other: bytes, depth: int = 0) -> bytes:
    """`data` with one record changed, moved, dropped, doubled, added, taken from `other`, or encoded otherwise."""
    records = take_apart(data)
    if not records:
        return random.choice(BYTE_MUTATIONS)(random, data, other)
    place = random.randrange(len(records))
    record = records[place]
    theirs = take_apart(other) or []
    if isinstance(record.value, bytes) and depth < _DEEPEST and random.random() < 0.55:
        alike = next((item.value for item in theirs if item.number == record.number), b"")
        value = _mutate_value(random, record.value, alike if isinstance(alike, bytes) else b"", depth)
        return put_together([*records[:place], replace(record, value=value), *records[place + 1 :]])
    return random.choice(_CHANGES)(random, records, place, theirs)


def _mutate_value(random: Random, value: bytes, other: bytes, depth: int) -> bytes:
    if len(value) == SIGNATURE and random.random() < 0.5:
        return mutate_signature(random, value)
    if take_apart(value) and random.random() < 0.8:
        return mutate_message(random, value, other, depth + 1)
    return random.choice(BYTE_MUTATIONS)(random, value, other)


_Change = Callable[[Random, list[Record], int, list[Record]], bytes]


def _drop(_random: Random, records: list[Record], place: int, _theirs: list[Record]) -> bytes:
    return put_together(records[:place] + records[place + 1 :])


def _double(_random: Random, records: list[Record], place: int, _theirs: list[Record]) -> bytes:
    return put_together([*records[: place + 1], *records[place:]])


def _move(random: Random, records: list[Record], place: int, _theirs: list[Record]) -> bytes:
    rest = records[:place] + records[place + 1 :]
    rest.insert(random.randint(0, len(rest)), records[place])
    return put_together(rest)


def _exchange(random: Random, records: list[Record], place: int, theirs: list[Record]) -> bytes:
    """A record of another genuine message in the place of ours, of the same number where there is one."""
    alike = [item for item in theirs if item.number == records[place].number] or theirs
    if not alike:
        return _drop(random, records, place, theirs)
    return put_together([*records[:place], random.choice(alike), *records[place + 1 :]])


def _add(random: Random, records: list[Record], place: int, theirs: list[Record]) -> bytes:
    """An unknown field, a default that is left out in canonical form, or a record of another message."""
    unknown = Record(random.choice((17, 999, 19_000)), _BYTES, random.randbytes(3))
    default = Record(records[place].number, _VARINT, 0)
    empty = Record(random.randint(1, 15), _BYTES, b"")
    added = random.choice((unknown, default, empty, *theirs[:4]))
    return put_together([*records[:place], added, *records[place:]])


def _change_number(random: Random, records: list[Record], place: int, _theirs: list[Record]) -> bytes:
    return put_together(
        [*records[:place], replace(records[place], number=random.randint(1, 16)), *records[place + 1 :]]
    )


def _change_value(random: Random, records: list[Record], place: int, theirs: list[Record]) -> bytes:
    value = records[place].value
    if isinstance(value, bytes):
        changed: int | bytes = random.choice(BYTE_MUTATIONS)(random, value, value)
    else:
        changed = random.choice(
            (0, 1, value + 1, max(0, value - 1), value ^ (1 << random.randrange(32)), 2**63, 2**64 - 1)
        )
    return put_together([*records[:place], replace(records[place], value=changed), *records[place + 1 :]])


def _pad_varint(random: Random, records: list[Record], place: int, _theirs: list[Record]) -> bytes:
    """A tag, a length or a value in a longer form than it needs."""
    padded = _write(records[place], pad=random.choice(("tag", "length")))
    return put_together(records[:place]) + padded + put_together(records[place + 1 :])


_CHANGES: tuple[_Change, ...] = (
    _drop,
    _double,
    _move,
    _exchange,
    _exchange,
    _add,
    _change_number,
    _change_value,
    _change_value,
    _pad_varint,
)


def _write(record: Record, pad: str = "") -> bytes:
    tag = _varint(record.number << 3 | record.kind, padded=pad == "tag")
    if isinstance(record.value, int):
        return tag + _varint(record.value, padded=pad == "length")
    if record.kind == _BYTES:
        return tag + _varint(len(record.value), padded=pad == "length") + record.value
    return tag + record.value


def _varint(value: int, *, padded: bool = False) -> bytes:
    value &= 2**64 - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    if padded and len(out) < 9:
        out[-1] |= 0x80
        out.append(0)
    return bytes(out)


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    """The varint at `place` and the place after it, which is negative if there is none."""
    value = shift = 0
    while place < len(data) and shift < 70:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
    return 0, -1
