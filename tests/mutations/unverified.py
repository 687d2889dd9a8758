"""Readers that refuse what is malformed and verify nothing: what each message says, whoever says it.

The campaign must notice a verifier that does no more than they do.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path

import msgspec

from consent import dispute, revocation, status_list
from consent import grant as grants
from consent.consent_file import read_consent_file
from consent.passkey import read_evidence
from gateway.protocol import registry
from gateway.protocol.attestation import Statement, read_proof, read_statement
from gateway.protocol.codec import parse, parse_canonical, unb64url
from gateway.protocol.errors import MalformedError
from gateway.protocol.jws import read_jws
from gateway.protocol.leaf import read_leaf
from gateway.protocol.limits import MAX_MESSAGE
from gateway.protocol.note import parse_note
from gateway.protocol.offline import read_result, read_signed_result, read_subject
from gateway.protocol.presentation import read_presented_part, read_signed_query
from gateway.protocol.proof import parse_proof
from gateway.protocol.query import open_part, read_query
from gateway.protocol.receipt import MAX_RECEIPT
from gateway.protocol.resolutions import read_resolution
from heyan.v1 import attestation_pb2, dispute_pb2, offline_pb2, query_pb2, receipt_pb2
from heyan.v1 import department_service_pb2 as department_pb
from sandbox_departments.acknowledgements import read_acknowledgement
from tests.mutations import journal_exports

_FOLDER = tempfile.TemporaryDirectory(prefix="heyan-unverified-")  # removed when the process ends


def _signed_query(data: bytes) -> Hashable:
    signed = read_signed_query(parse(query_pb2.SignedQuery, data, MAX_MESSAGE))
    read_query(signed.query)
    return signed.query


def _presented_part(data: bytes) -> Hashable:
    presented = read_presented_part(parse(query_pb2.PresentedPart, data, MAX_MESSAGE))
    open_part(presented.part)
    return presented.part


def _statement(data: bytes) -> Statement:
    return read_statement(read_proof(parse(attestation_pb2.AttestedStatement, data, MAX_MESSAGE).proof).statement)


def _resolution(data: bytes) -> Hashable:
    return read_resolution(read_proof(parse(attestation_pb2.AttestedStatement, data, MAX_MESSAGE).proof).statement)


def _dispute(data: bytes) -> Hashable:
    message = parse(dispute_pb2.SignedDispute, data, MAX_MESSAGE)
    return parse_canonical(dispute_pb2.Dispute, message.dispute, MAX_MESSAGE).SerializeToString(deterministic=True)


def _cosigned(data: bytes) -> Hashable:
    note = parse_note(data)
    return note.text, frozenset(note.unverified)


def _tlog_proof(data: bytes) -> Hashable:
    proof = parse_proof(data)
    return proof.index, proof.path, parse_note(proof.checkpoint.encode()).text


def _receipt(data: bytes) -> Hashable:
    statements = parse(receipt_pb2.Receipt, data, MAX_RECEIPT).statements
    return tuple(read_statement(read_proof(item.proof).statement) for item in statements)


def _ticket(data: bytes) -> Hashable:
    ticket = parse(receipt_pb2.ReceiptTicket, data, MAX_MESSAGE)
    event = read_leaf(ticket.opened.leaf).offline_ticket
    return read_subject(ticket.subject), event.ticket_tag, read_result(read_signed_result(ticket.result).result)


def _offline_result(data: bytes) -> Hashable:
    signed = read_signed_result(parse(offline_pb2.SignedOfflineResult, data, MAX_MESSAGE))
    return read_result(signed.result)


def _payload(typ: str, extra: frozenset[str] = frozenset()) -> Callable[[bytes], Hashable]:
    return lambda data: read_jws(data.decode(errors="replace"), typ, MAX_MESSAGE, extra)[1]


def _consent_file(data: bytes) -> Hashable:
    path = Path(_FOLDER.name) / "consent.json"
    path.touch(mode=0o600)
    path.write_bytes(data)
    return frozenset(
        (grant.token, grant.disclosures, grant.evidence, *sorted(grant.salts.items()))
        for grant in read_consent_file(path).grants
    )


def _acknowledgement(data: bytes) -> Hashable:
    item = read_acknowledgement(parse(department_pb.Acknowledgement, data, MAX_MESSAGE))
    return parse_note(item.checkpoint.encode()).text


def _journal(data: bytes) -> Hashable:
    try:
        return tuple(msgspec.msgpack.decode(data, type=list[tuple[int, bytes, bytes]]))
    except msgspec.DecodeError:
        raise MalformedError.at("journal", "not rows") from None


READERS: Mapping[str, Callable[[bytes], Hashable]] = {
    "signed query": _signed_query,
    "presented part": _presented_part,
    "attestation in its batch": _statement,
    "refusal in its batch": _statement,
    "checkpoint note": lambda data: parse_note(data).text,
    "cosigned checkpoint": _cosigned,
    "tlog-proof": _tlog_proof,
    "log leaf in its proof": lambda data: read_leaf(data).SerializeToString(deterministic=True),
    "whole receipt": _receipt,
    "ticket in its receipt": _ticket,
    "offline result": _offline_result,
    "registry": _payload(registry.TYP),
    "grant": _payload(grants.TYP, grants.EXTRA_HEADER),
    "SD-JWT disclosure": lambda data: unb64url(data.decode(errors="replace"), "disclosure"),
    "passkey evidence": read_evidence,
    "withdrawal": _payload(revocation.TYP),
    "status list token": _payload(status_list.TYP),
    "consent file": _consent_file,
    "signed dispute": _dispute,
    "report of a dispute": _payload(dispute.TYP),
    "resolution in its batch": _resolution,
    "acknowledgement": _acknowledgement,
    "journal chain": _journal,
    "journal export": journal_exports.unverified,
}
"""By the name of the message that each reads."""
