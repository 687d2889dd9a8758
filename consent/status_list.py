"""Token Status Lists: one bit for each grant of an issuer, in a signed, compressed token that anyone may fetch.

A set bit means withdrawn, for good. A grant's index is drawn at random, so the list tells nothing of when or to whom
grants were given. Bits are counted from the least significant of each byte; the bytes are a zlib stream.
`open_status_list` judges signature, place and times of a token; how old a list may be is `status_follower`'s.

Source: draft-ietf-oauth-status-list-21, "Status List" and "Status List Token"; RFC 1950 (zlib).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import msgspec

from gateway.protocol.codec import b64url, convert, parse_json_object, unb64url
from gateway.protocol.errors import ForgedError, MalformedError, NotCurrentError
from gateway.protocol.jws import open_jws, sign_jws
from gateway.protocol.keys import PublicKey, SigningKey
from gateway.protocol.limits import EARLY_TOLERANCE, EXPIRY_TOLERANCE
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.protocol.registry_terms import KeyUse

TYP = "statuslist+jwt"
MEDIA_TYPE = "application/statuslist+jwt"
LIST_SIZE = 1 << 17
"""Grants of one list: 16 KiB of bits, a few hundred bytes compressed while few are withdrawn."""
MAX_LIST_BYTES = 1 << 20
"""Bytes of bits that a reader unpacks: eight million grants. A stream that holds more is a bomb."""
MAX_TOKEN = 2 << 20
"""Characters of a status list token: MAX_LIST_BYTES that do not compress, in base64url twice."""
LIFETIME = 60.0
"""Seconds from `iat` to `exp`: above the longest grace that a registry is likely to set."""
TTL = 2
"""Seconds after which a reader should fetch again (`ttl`)."""


@dataclass(frozen=True, slots=True)
class StatusList:
    """The bits of a list."""

    bits: bytes

    @classmethod
    def of(cls, revoked: Iterable[int], size: int = LIST_SIZE) -> StatusList:
        """A list of `size` (a multiple of 8) with the indexes of `revoked` set."""
        bits = bytearray(size // 8)
        for index in revoked:
            bits[index // 8] |= 1 << index % 8
        return cls(bytes(bits))

    def is_set(self, index: int) -> bool:
        """Whether a grant is withdrawn; MalformedError (GRANT_INVALID) if the list does not reach so far."""
        if not 0 <= index < len(self.bits) * 8:
            raise MalformedError(Reason.GRANT_INVALID, "a status index outside its list")
        return bool(self.bits[index // 8] >> index % 8 & 1)

    def joined(self, other: StatusList) -> StatusList:
        """A list with every bit that is set in either: a withdrawal once seen stays seen."""
        size = max(len(self.bits), len(other.bits))
        both = int.from_bytes(self.bits, "little") | int.from_bytes(other.bits, "little")
        return StatusList(both.to_bytes(size, "little"))


@dataclass(frozen=True, slots=True)
class OpenedStatusList:
    """A verified list, with the seconds since the epoch at which it was signed and expires."""

    statuses: StatusList
    issued: int
    expires: int


class _Bits(msgspec.Struct, frozen=True):
    bits: int
    lst: str


class _Claims(msgspec.Struct, frozen=True):
    # Not strict: the draft lets issuers add claims, such as `aggregation_uri`, and none narrows these.
    sub: str
    iat: Annotated[int, msgspec.Meta(ge=0)]
    exp: Annotated[int, msgspec.Meta(ge=0)]
    status_list: _Bits
    ttl: Annotated[int, msgspec.Meta(ge=0)] | None = None


def sign_status_list(statuses: StatusList, uri: str, issued: int, key: SigningKey) -> str:
    """The token of a list that is found at `uri`."""
    packed = _Bits(1, b64url(zlib.compress(statuses.bits, 9)))
    claims = _Claims(sub=uri, iat=issued, exp=issued + int(LIFETIME), status_list=packed, ttl=TTL)
    return sign_jws(msgspec.json.encode(claims), TYP, key)


def open_status_list(token: str, *, uri: str, issuer: str, registry: Registry, now: float) -> OpenedStatusList:
    """Verify the token found at `uri` under a GRANT key of `issuer`, and unpack it.

    Raises ForgedError (SIGNATURE_INVALID) also for a list of another place, NotCurrentError (STATUS_UNAVAILABLE)
    for one that is expired or from the future, MalformedError.
    """

    def issuer_key(kid: str) -> PublicKey:
        return registry.key(issuer, KeyUse.GRANT, kid, now)

    opened = open_jws(token, TYP, issuer_key, MAX_TOKEN)
    claims = convert(parse_json_object(opened.payload, "status_list"), _Claims, "status_list")
    if claims.sub != uri:
        raise ForgedError(Reason.SIGNATURE_INVALID, "a status list of another place")
    if claims.iat > now + EARLY_TOLERANCE or now > claims.exp + EXPIRY_TOLERANCE:
        raise NotCurrentError(Reason.STATUS_UNAVAILABLE, "a status list of another time")
    if claims.status_list.bits != 1:
        raise MalformedError.at("status_list.bits", "must be 1")
    return OpenedStatusList(StatusList(unpack(claims.status_list.lst)), claims.iat, claims.exp)


def unpack(lst: str) -> bytes:
    """The bytes of a `lst` value, at most MAX_LIST_BYTES and nothing behind them; MalformedError."""
    inflater = zlib.decompressobj()
    try:
        bits = inflater.decompress(unb64url(lst, "status_list.lst"), MAX_LIST_BYTES)
    except zlib.error:
        raise MalformedError.at("status_list.lst", "must be a zlib stream") from None
    if not inflater.eof or inflater.unused_data:
        raise MalformedError.at("status_list.lst", f"must be one whole stream of at most {MAX_LIST_BYTES} bytes")
    return bits
