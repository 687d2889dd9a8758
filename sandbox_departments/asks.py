"""What a gateway asks of a node: one part of a query, read into values within its bounds. Nothing is verified here."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.protocol.attestation import sealed_digest
from gateway.protocol.digests import Kind, digest
from gateway.protocol.errors import MalformedError
from gateway.protocol.presentation import (
    Presentation,
    PresentedPart,
    read_presentations,
    read_presented_part,
    read_signed_query,
)
from gateway.protocol.query import SignedQuery, read_query
from heyan.v1 import department_service_pb2


@dataclass(frozen=True, slots=True)
class Ask:
    """A part to answer, with what it came with."""

    signed: SignedQuery
    part: PresentedPart
    grants: tuple[Presentation, ...]


@dataclass(frozen=True, slots=True)
class Received:
    """Digests of the bytes that came, readable or not: by them a refusal says what it refuses.

    `requester` is whom the query names, verified or not; empty if the query cannot be read.
    """

    query: bytes
    part: bytes
    sealed: bytes
    requester: str


def read_ask(message: department_service_pb2.Ask) -> Ask:
    """The ask of a message, every field within its bound; MalformedError."""
    return Ask(
        signed=read_signed_query(message.query),
        part=read_presented_part(message.part),
        grants=read_presentations(message.grants),
    )


def received_of(message: department_service_pb2.Ask) -> Received:
    """By what a refusal names a message, whatever is in it."""
    try:
        requester = read_query(message.query.query).requester
    except MalformedError:
        requester = ""
    return Received(
        query=digest(Kind.QUERY, message.query.query),
        part=digest(Kind.PART, message.part.part),
        sealed=sealed_digest(message.part.sealed.ciphertext),
        requester=requester,
    )
