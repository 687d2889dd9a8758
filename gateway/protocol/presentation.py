"""What is shown along with a query: grants with some of their disclosures, and parts with sealed subjects.

Reads the messages of the contract into values and bounds every field, before any signature is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from gateway.protocol.application import MAX_APPLICATION
from gateway.protocol.digests import Kind, digest
from gateway.protocol.errors import MalformedError
from gateway.protocol.keys import SIGNATURE_BYTES
from gateway.protocol.limits import ENVELOPE_SIZE, MAX_DISCLOSURE, MAX_DISCLOSURES, MAX_GRANT, MAX_GRANTS, MAX_PARTS
from gateway.protocol.query import SignedQuery
from gateway.protocol.reasons import Reason
from gateway.protocol.sealing import Sealed
from heyan.v1 import gateway_service_pb2, query_pb2, signing_pb2

_MAX_KEY_ID = 64
_MAX_CIPHERTEXT = ENVELOPE_SIZE + 2048
"""Above the encapsulated key of every suite."""


@dataclass(frozen=True)
class Presentation:
    """A grant (compact JWS) with the disclosures shown of it."""

    grant: str
    disclosures: tuple[str, ...]

    @cached_property
    def digest(self) -> bytes:
        """Digest of the grant, under which its uses are counted."""
        return digest(Kind.GRANT, self.grant.encode("ascii", "replace"))


@dataclass(frozen=True, slots=True)
class PresentedPart:
    """A part's exact bytes and its sealed subjects."""

    part: bytes
    sealed: Sealed


@dataclass(frozen=True, slots=True)
class Submission:
    """A whole `VerifyRequest`."""

    signed: SignedQuery
    grants: tuple[Presentation, ...]
    parts: tuple[PresentedPart, ...]
    application: bytes = b""
    """The exact bytes of the application that the query serves; empty if it names none."""


def read_submission(message: gateway_service_pb2.VerifyRequest) -> Submission:
    """A VerifyRequest within its bounds; MalformedError naming the field."""
    if not message.HasField("query"):
        raise MalformedError.at("query", "must be set")
    if not 1 <= len(message.parts) <= MAX_PARTS:
        raise MalformedError.at("parts", f"must be 1 to {MAX_PARTS}")
    if len(message.application) > MAX_APPLICATION:
        raise MalformedError(Reason.MESSAGE_TOO_LARGE, "an application over its limit")
    return Submission(
        signed=read_signed_query(message.query),
        grants=read_presentations(message.grants),
        parts=tuple(read_presented_part(part) for part in message.parts),
        application=message.application,
    )


def write_submission(submission: Submission) -> gateway_service_pb2.VerifyRequest:
    """The VerifyRequest of a submission."""
    return gateway_service_pb2.VerifyRequest(
        query=write_signed_query(submission.signed),
        grants=[write_presentation(grant) for grant in submission.grants],
        parts=[write_presented_part(part) for part in submission.parts],
        application=submission.application,
    )


def read_signed_query(message: query_pb2.SignedQuery) -> SignedQuery:
    """A signed query within its bounds; an unsigned one is malformed."""
    signature = message.signature
    if len(signature.value) != SIGNATURE_BYTES or not 0 < len(signature.key_id) <= _MAX_KEY_ID:
        raise MalformedError.at("query.signature", f"must be {SIGNATURE_BYTES} bytes by a named key")
    return SignedQuery(message.query, signature.key_id, signature.value)


def write_signed_query(signed: SignedQuery) -> query_pb2.SignedQuery:
    """The message of a signed query."""
    signature = signing_pb2.Signature(key_id=signed.key_id, value=signed.signature)
    return query_pb2.SignedQuery(query=signed.query, signature=signature)


def read_presentations(messages: Sequence[query_pb2.GrantPresentation]) -> tuple[Presentation, ...]:
    """Grants and disclosures within their bounds, no grant twice; MalformedError."""
    if not 1 <= len(messages) <= MAX_GRANTS:
        raise MalformedError.at("grants", f"must be 1 to {MAX_GRANTS}")
    for message in messages:
        if len(message.grant) > MAX_GRANT:
            raise MalformedError(Reason.MESSAGE_TOO_LARGE, "a grant over its limit")
        disclosures = message.disclosures
        if len(disclosures) > MAX_DISCLOSURES or any(len(text) > MAX_DISCLOSURE for text in disclosures):
            raise MalformedError(Reason.MESSAGE_TOO_LARGE, "disclosures over their limit")
    grants = tuple(Presentation(message.grant, tuple(message.disclosures)) for message in messages)
    if len({grant.digest for grant in grants}) != len(grants):
        raise MalformedError.at("grants", "must not repeat")
    return grants


def write_presentation(presentation: Presentation) -> query_pb2.GrantPresentation:
    """The message of a presentation."""
    return query_pb2.GrantPresentation(grant=presentation.grant, disclosures=presentation.disclosures)


def read_presented_part(message: query_pb2.PresentedPart) -> PresentedPart:
    """A presented part within its bounds; MalformedError."""
    sealed = message.sealed
    if not message.HasField("sealed") or not sealed.ciphertext:
        raise MalformedError.at("parts.sealed", "must be set")
    if len(sealed.ciphertext) > _MAX_CIPHERTEXT or len(sealed.key_id) > _MAX_KEY_ID:
        raise MalformedError(Reason.MESSAGE_TOO_LARGE, "a sealed subject over its limit")
    return PresentedPart(message.part, Sealed(sealed.version, sealed.key_id, sealed.ciphertext))


def write_presented_part(part: PresentedPart) -> query_pb2.PresentedPart:
    """The message of a presented part."""
    sealed = query_pb2.SealedSubject(
        version=part.sealed.version, key_id=part.sealed.key_id, ciphertext=part.sealed.ciphertext
    )
    return query_pb2.PresentedPart(part=part.part, sealed=sealed)
