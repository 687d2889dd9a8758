"""Strict reading of bytes: protobuf messages, JSON objects, base64, base64url and timestamps.

Signed protobuf messages are read only in canonical form (ascending fields, no unknown ones, no defaults), so
that one content has one encoding and nothing rides along unread. JSON objects are read as two readers would
agree on them (I-JSON, RFC 7493): UTF-8 without a byte order mark, no name twice, no number beyond a double's.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, NoReturn, TypeVar

import msgspec
from google.protobuf.message import DecodeError, EncodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.protocol.errors import MalformedError
from gateway.protocol.reasons import Reason

_REMEMBERED = 1024
_SHORT = 8 << 10
"""Bytes: so no reader's memory grows beyond a few MiB, whatever is sent."""

_LONG_NUMBER = re.compile(rb"[0-9]{16}")
"""Whatever holds an integer over 2^53 - 1 holds this."""

_TO_STANDARD = bytes.maketrans(b"-_+/=", b"+/...")
"""From base64url to the alphabet of base64; what is only of the latter, and padding, becomes what is of neither."""
_PADDING = (b"", b"=", b"==", b"=")
"""For each length modulo 4; a rest of 1 is the length of nothing."""
_LAST = ("", "", "AQgw", "AEIMQUYcgkosw048")
"""The last characters that leave no bit unread, for each length modulo 4."""

M = TypeVar("M", bound=Message)
T = TypeVar("T")

_NANOS = 1_000_000_000
_MAX_SECONDS = 253_402_300_799
"""9999-12-31T23:59:59Z, the end of protobuf's Timestamp."""
_MAX_JSON_INTEGER = 2**53 - 1
"""RFC 7493 §2.2: beyond it readers that know only doubles see another number."""


def parse(kind: type[M], data: bytes, limit: int) -> M:
    """A message of `kind`, at most `limit` bytes; MalformedError. Unknown fields are tolerated."""
    if len(data) > limit:
        raise MalformedError(Reason.MESSAGE_TOO_LARGE, f"{kind.DESCRIPTOR.name} of {len(data)} bytes")
    message = kind()
    try:
        message.ParseFromString(data)
    except (DecodeError, ValueError, RecursionError):
        raise MalformedError(Reason.MESSAGE_MALFORMED, f"not a {kind.DESCRIPTOR.name}") from None
    return message


def parse_canonical(kind: type[M], data: bytes, limit: int) -> M:
    """Like `parse`, and the bytes are the only encoding of their content: no unknown field, no other order."""
    message = parse(kind, data, limit)
    message.DiscardUnknownFields()
    if encode(message) != data:
        raise MalformedError(Reason.MESSAGE_MALFORMED, f"{kind.DESCRIPTOR.name} is not in canonical form")
    return message


def remembered(read: Callable[[bytes], T]) -> Callable[[bytes], T]:
    """`read`, a function of bytes alone that makes immutable values, remembering what it made of short ones of late.

    The steps of one request read the same query, parts and statements; what cannot be read is not remembered.
    """
    cached = lru_cache(maxsize=_REMEMBERED)(read)

    @wraps(read)
    def reading(data: bytes) -> T:
        return cached(data) if len(data) <= _SHORT else read(data)

    return reading


def encode(message: Message) -> bytes:
    """The canonical bytes of `message`."""
    try:
        return message.SerializeToString(deterministic=True)
    except (EncodeError, ValueError):
        raise MalformedError(Reason.MESSAGE_MALFORMED, f"{message.DESCRIPTOR.name} cannot be encoded") from None


def to_timestamp(seconds: float) -> Timestamp:
    """A Timestamp of seconds since the epoch, to the microsecond."""
    micros = round(seconds * 1_000_000)
    return Timestamp(seconds=micros // 1_000_000, nanos=(micros % 1_000_000) * 1000)


def from_timestamp(message: Message, field: str) -> float:
    """Seconds since the epoch of a Timestamp field that must be set; MalformedError."""
    if not message.HasField(field):
        raise MalformedError.at(field, "must be set")
    timestamp: Timestamp = getattr(message, field)
    if not (0 <= timestamp.seconds <= _MAX_SECONDS and 0 <= timestamp.nanos < _NANOS):
        raise MalformedError.at(field, "must be a time from 1970 to 9999")
    return timestamp.seconds + timestamp.nanos / _NANOS


def b64url(data: bytes) -> str:
    """Base64url without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def unb64url(text: str, field: str) -> bytes:
    """The bytes of base64url without padding, canonical only; MalformedError naming `field`."""
    rest = len(text) % 4
    try:
        data = binascii.a2b_base64(text.encode("ascii").translate(_TO_STANDARD) + _PADDING[rest], strict_mode=True)
    except (ValueError, binascii.Error):
        raise MalformedError.at(field, "must be base64url without padding") from None
    if rest and text[-1] not in _LAST[rest]:
        raise MalformedError.at(field, "must be canonical base64url without padding")
    return data


def encode_base64(data: bytes) -> str:
    """Standard base64 with padding (RFC 4648 §4)."""
    return base64.b64encode(data).decode()


def decode_base64(text: str, field: str) -> bytes:
    """Read standard base64 in its one canonical form (RFC 4648 §3.5); MalformedError names `field`."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedError.at(field, "must be standard base64") from error
    if encode_base64(data) != text:
        raise MalformedError.at(field, "must be canonical base64")
    return data


def parse_json_object(data: bytes, field: str) -> dict[str, Any]:
    """A JSON object in UTF-8: no repeated name, NaN, infinity or integer over 2^53 - 1, no lone surrogate.

    Raises MalformedError naming `field`.
    """
    value = _as_written(data)
    if value is None:
        value = _read_strictly(data, field)
    if not isinstance(value, dict):
        raise MalformedError.at(field, "must be a JSON object")
    return value


def _as_written(data: bytes) -> object:
    """What `data` says if it is how our own writers write it, and None if it is not, or if that cannot be told.

    What is written again as the very same bytes has no name twice and nothing that two readers take differently, but
    for long integers and escapes, which are left to `_read_strictly`; that costs eight times as much.
    """
    if b"\\u" in data or _LONG_NUMBER.search(data) is not None:
        return None
    try:
        value: object = msgspec.json.decode(data)
        return value if msgspec.json.encode(value) == data else None
    except (ValueError, RecursionError):
        return None


def _read_strictly(data: bytes, field: str) -> object:
    try:
        text = data.decode()
        value: object = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_int=_integer,
            parse_float=_finite,
            parse_constant=_no_constant,
        )
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # an escaped lone surrogate is no text
    except (ValueError, RecursionError):
        raise MalformedError.at(field, "must be a JSON object without repeated names") from None
    return value


def decode_json(
    decoder: msgspec.json.Decoder[T],
    data: bytes,
    field: str,
    reason: Reason = Reason.MESSAGE_MALFORMED,
    *,
    quoting: bool = False,
) -> T:
    """What `decoder` reads in `data`; MalformedError naming `field` and quoting nothing of the data.

    Laxer than `parse_json_object`: it takes what two readers may read differently, so nothing that is signed is read
    so. With `quoting` it says what is wrong, in words that may quote: for files that hold nothing of a person.
    """
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if quoting:
            raise MalformedError.at(field, f"cannot be read: {error}", reason) from error
        raise MalformedError.at(field, "must be JSON of the documented shape", reason) from None


def convert(value: object, kind: type[T], field: str, reason: Reason = Reason.MESSAGE_MALFORMED) -> T:
    """`value`, as parsed from JSON, as a `kind`; MalformedError naming `field` and quoting nothing of the value.

    What msgspec says of a bad value quotes names and values that its sender chose, and so perhaps a person's.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        raise MalformedError.at(field, "must be of the documented shape", reason) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name stands twice")
    return value


def _integer(digits: str) -> int:
    number = int(digits)
    if abs(number) > _MAX_JSON_INTEGER:
        raise ValueError("an integer that not every reader can hold")
    return number


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("beyond the range of a double")
    return number


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)
