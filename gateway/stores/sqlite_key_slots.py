"""Wrapped evidence keys in slots of one size, in a table of their own, so that a destroyed key is on no page.

`secure_delete` overwrites what is deleted, but SQLite moves rows between pages when a row changes its size or is
deleted, and leaves what it moved in the gaps of the page that it came from. A row of `grant_keys` is therefore never
moved: rows are appended, always take SLOT bytes, are overwritten where they are (by another wrapped key, or by zeros),
and never deleted. Zeros stay where a grant was.

Source: SQLite's btree.c (`btreeOverwriteCell`, `balance_quick`); tests/gateway/test_key_slots.py looks at the file.
"""

from __future__ import annotations

import sqlite3

from gateway.protocol.errors import LogUnavailableError
from gateway.protocol.reasons import Reason

SLOT = 128
"""Bytes: the length, the wrapped key, zeros. The longest that `gateway.evidence.keks` makes has 110."""
HELD = b"\x01"
"""What stands in the row of a grant whose key is in a slot."""


def to_slot(wrapped: bytes) -> bytes:
    """A wrapped key as its row keeps it; zeros for none."""
    if len(wrapped) >= SLOT:
        raise LogUnavailableError(Reason.LOG_UNAVAILABLE, f"a wrapped key of more than {SLOT - 1} bytes")
    return (bytes([len(wrapped)]) + wrapped).ljust(SLOT, b"\x00")


def from_slot(slot: bytes | None) -> bytes:
    """The wrapped key of a row, empty if it was destroyed."""
    return slot[1 : 1 + slot[0]] if slot else b""


def put(writer: sqlite3.Connection, grant: int, wrapped: bytes) -> None:
    """Keep the wrapped key of a grant by its number, in the place of what it was; none: destroy it."""
    writer.execute(
        "INSERT INTO grant_keys VALUES (?, ?) ON CONFLICT DO UPDATE SET wrapped = excluded.wrapped",
        (grant, to_slot(wrapped)),
    )
