"""Leaves as rows of the SQLite store: large ones packed, which takes less than half of their room.

A packed leaf begins with the version byte of `gateway.packing`, a leaf never does: its first byte is a field's tag.
"""

from __future__ import annotations

from gateway.packing import VERSION, Kind, pack, unpack
from gateway.protocol.errors import LogUnavailableError, MalformedError
from gateway.protocol.leaf import MAX_LEAF
from gateway.protocol.reasons import Reason

_LEAST = 256
"""Bytes from which packing pays: smaller leaves tell of one event."""


def to_row(leaf: bytes) -> bytes:
    """The data of a leaf's row."""
    return pack(Kind.LEAF, leaf) if len(leaf) >= _LEAST or leaf[:1] == bytes([VERSION]) else leaf


def from_row(data: bytes) -> bytes:
    """The leaf of a row; LogUnavailableError if the row was changed."""
    if data[:1] != bytes([VERSION]):
        return data
    try:
        return unpack(Kind.LEAF, data, MAX_LEAF)
    except MalformedError as error:
        raise LogUnavailableError(Reason.LOG_UNAVAILABLE, f"a leaf was changed: {error.detail}") from None
