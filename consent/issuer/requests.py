"""What clients send to an issuer, as JSON, every field bounded before anything is looked up."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec

from consent.disclosures import Detail, Region, Uses
from consent.issuer.accounts import MAX_ACCOUNT_ID
from gateway.protocol.codec import convert, parse_json_object
from gateway.protocol.errors import MalformedError
from gateway.protocol.limits import MAX_DISCLOSURES
from gateway.protocol.reasons import Reason

MAX_BODY = 16_384
"""Bytes of a request body; an assertion is about 1,000, the largest plan's draft about 2,000."""

T = TypeVar("T", bound=msgspec.Struct)

_Uri = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
_Claim = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Immutable and strict."""


class DetailBody(_Body, frozen=True):
    """One thing asked for."""

    claims: Annotated[tuple[_Claim, ...], msgspec.Meta(min_length=1, max_length=32)]
    regions: Annotated[tuple[Region, ...], msgspec.Meta(min_length=1, max_length=32)]
    max_uses: Uses

    @property
    def detail(self) -> Detail:
        """As a value."""
        return Detail(self.claims, self.regions, self.max_uses)


class DraftBody(_Body, frozen=True):
    """POST /v1/consents. `child` is the number on the child's identity document; `acting_with` the guardian's jti."""

    account: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ACCOUNT_ID)]
    child: Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
    requester: _Uri
    gateway: _Uri
    purpose: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9_]{1,64}\Z")]
    details: Annotated[tuple[DetailBody, ...], msgspec.Meta(min_length=1, max_length=MAX_DISCLOSURES)]
    lang: Annotated[str, msgspec.Meta(max_length=16)] = "zh-CN"
    acting_with: Annotated[str, msgspec.Meta(max_length=64)] | None = None


class ApprovalBody(_Body, frozen=True):
    """POST /v1/consents/{draft}/approval: the browser's AuthenticationResponseJSON."""

    assertion: dict[str, Any]


class RevocationBody(_Body, frozen=True):
    """POST /v1/revocations: the grant, and an assertion whose challenge is the digest of the grant's digest."""

    jti: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    assertion: dict[str, Any]


class DisputeBody(_Body, frozen=True):
    """POST /v1/disputes: a grant and an answer that rests on it, by their digests, and what is said to be wrong.

    The assertion's challenge is `consent.dispute.challenge_of`. Bytes are base64url.
    """

    grant: Annotated[str, msgspec.Meta(max_length=64)]
    request_id: Annotated[str, msgspec.Meta(max_length=64)]
    department: _Uri
    statement: Annotated[str, msgspec.Meta(max_length=64)]
    ground: Annotated[str, msgspec.Meta(max_length=32)]
    assertion: dict[str, Any]


def read_body(kind: type[T], data: bytes) -> T:
    """The body of a request; MalformedError that quotes nothing of it."""
    if len(data) > MAX_BODY:
        raise MalformedError(Reason.MESSAGE_TOO_LARGE, "a body over its limit")
    return convert(parse_json_object(data, "body"), kind, "body")
