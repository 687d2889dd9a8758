"""The shape of what is seen: which fields are there, in which order, and how large each is, but no value."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

Shape = tuple[object, ...]


def shape_of_message(message: Message) -> Shape:
    """Fields that are present, in order, with the size of each value as it is encoded."""
    return (message.ByteSize(), *((field.name, _shape_of_field(field, value)) for field, value in message.ListFields()))


def _shape_of_field(field: FieldDescriptor, value: object) -> Shape:
    values = list(value) if field.is_repeated else [value]  # type: ignore[call-overload]
    return tuple(_shape_of_value(item) for item in values)


def _shape_of_value(value: object) -> object:
    if isinstance(value, Message):
        return shape_of_message(value)
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, bytes):
        return len(value)
    assert isinstance(value, int)
    return max(1, (value.bit_length() + 6) // 7)  # as a varint


def shape_of_json(text: str) -> object:
    """Names, order and nesting of a JSON text, with the length of each value, but for words of a fixed list."""
    return (_shape_of_json(json.loads(text)),)


def _shape_of_json(value: object) -> object:
    if isinstance(value, dict):
        return tuple((name, _shape_of_json(item)) for name, item in value.items())
    if isinstance(value, list):
        return tuple(map(_shape_of_json, value))
    return len(str(value))


def shape_of_database(path: Path) -> Shape:
    """Every table of a SQLite file: how many rows, and how large each column of each is.

    But for leaves: they are packed, so that their rows' lengths follow from bytes that everybody may read.
    """
    with closing(sqlite3.connect(path)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return tuple(
            (name, tuple(sorted(map(_shape_of_row, connection.execute(f"SELECT * FROM {name}")))))  # noqa: S608
            for name in sorted(names)
            if name != "leaves"
        )


def _shape_of_row(row: tuple[object, ...]) -> tuple[tuple[str, int], ...]:
    return tuple(
        (type(value).__name__, len(value if isinstance(value, bytes) else str(value).encode())) for value in row
    )
