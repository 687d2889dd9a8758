"""Protobuf messages: queries, parts, presentations, statements, proofs, batches, leaves, receipts, the codec."""

from __future__ import annotations

from gateway.protocol.attestation import (
    Statement,
    open_batch,
    open_statement,
    read_proof,
    read_signed_batch,
    read_statement,
    write_statement,
)
from gateway.protocol.codec import encode, from_timestamp, parse, parse_canonical, to_timestamp
from gateway.protocol.leaf import log_time, read_leaf
from gateway.protocol.limits import MAX_MESSAGE
from gateway.protocol.offline import Result, read_result, read_subject, write_result, write_subject
from gateway.protocol.presentation import read_signed_query, read_submission
from gateway.protocol.query import OpenedPart, open_part, read_query, write_part, write_query
from gateway.protocol.query_rules import match_parts, open_query
from gateway.protocol.receipt import MAX_RECEIPT, verify_receipt
from heyan.v1 import attestation_pb2, gateway_service_pb2, offline_pb2, query_pb2, receipt_pb2
from tests.federation import GATEWAY
from tests.fuzz.target import Target
from tests.protocol.casework import (
    FEDERATION,
    NOW,
    OPERATOR,
    PARTS,
    POLICE,
    SIGNED_AT,
    SUBMISSION,
    Case,
    genuine,
    make_query,
    sign_query,
)
from tests.protocol.ticket_case import HOME, receipt_with, resolved, result_of, ticket_of

_REGISTRY = FEDERATION.registry
_QUERY = make_query()


def _times_are_exact(data: bytes, value: object) -> bool:
    """Timestamps are read as doubles, to the microsecond: finer ones are read, never written."""
    message = query_pb2.Query.FromString(data)
    exact = all(
        getattr(message, name).nanos % 1_000 == 0 for name in ("issue_time", "expire_time", "answer_until_time")
    )
    return not exact or write_query(value) == data or message.issue_time.seconds > 1 << 33  # type: ignore[arg-type]


def _statement_is_canonical(data: bytes, value: object) -> bool:
    message = attestation_pb2.Statement.FromString(data)
    times = (message.attestation.issue_time, message.attestation.expire_time, message.refusal.issue_time)
    if any(time.nanos % 1_000 or time.seconds > 1 << 33 for time in times):
        return True
    statement: Statement = value  # type: ignore[assignment]
    return write_statement(statement) == data


def _attested(data: bytes) -> object:
    message = parse(attestation_pb2.AttestedStatement, data, MAX_MESSAGE)
    return open_statement(read_proof(message.proof), open_batch(read_signed_batch(message.batch), _REGISTRY, SIGNED_AT))


def _signed_query(data: bytes) -> object:
    signed = read_signed_query(parse(query_pb2.SignedQuery, data, MAX_MESSAGE))
    return open_query(signed, requester=None, gateway=GATEWAY, registry=_REGISTRY, now=NOW)


def _canonical_query(data: bytes) -> object:
    return parse_canonical(query_pb2.Query, data, MAX_MESSAGE)


def _parts(data: bytes) -> object:
    """One part among the genuine ones of its query."""
    return match_parts(_QUERY, (data, *PARTS[1:]))


def _receipt(data: bytes) -> object:
    return verify_receipt(parse(receipt_pb2.Receipt, data, MAX_RECEIPT), OPERATOR)


def _submission(data: bytes) -> object:
    return read_submission(parse(gateway_service_pb2.VerifyRequest, data, MAX_MESSAGE))


def _time(data: bytes) -> object:
    message = parse(query_pb2.Query, data, MAX_MESSAGE)
    return to_timestamp(from_timestamp(message, "issue_time"))


def _leaf(data: bytes) -> object:
    leaf = read_leaf(data)
    log_time(leaf)
    return leaf


def _part_is_canonical(data: bytes, value: object) -> bool:
    assert isinstance(value, OpenedPart)
    return write_part(value.part) == data


def _subject(data: bytes) -> object:
    return read_subject(parse(offline_pb2.OfflineSubject, data, MAX_MESSAGE))


def _result_is_canonical(data: bytes, value: object) -> bool:
    time = offline_pb2.OfflineResult.FromString(data).issue_time
    assert isinstance(value, Result)
    return bool(time.nanos % 1_000 or time.seconds > 1 << 33) or write_result(value) == data


def targets() -> tuple[Target, ...]:
    case, receipt = Case(), genuine().receipt()
    statements = (case.attest(POLICE, "hukou"), case.refuse(POLICE))
    query, signed = write_query(_QUERY), query_pb2.SignedQuery
    message = signed(query=query)
    genuine_query = sign_query(_QUERY)
    message.signature.key_id, message.signature.value = genuine_query.key_id, genuine_query.signature
    ticket, result = resolved(ticket_of()), result_of(ticket_of()).result
    leaves = (*(item.leaf for item in receipt.leaves), *ticket.leaves)
    return (
        Target("query", read_query, (query,), _times_are_exact),
        Target("canonical form", _canonical_query, (query,), lambda data, value: encode(value) == data),  # type: ignore[arg-type]
        Target("timestamp", _time, (query,)),
        Target("signed query", _signed_query, (encode(message),)),
        Target("part", open_part, PARTS, _part_is_canonical),
        Target("part of a query", _parts, PARTS),
        Target("submission", _submission, (SUBMISSION,)),
        Target("statement", read_statement, statements, _statement_is_canonical),
        Target("attested statement", _attested, tuple(map(encode, receipt.statements))),
        Target("leaf", _leaf, leaves, lambda data, value: encode(value) == data),  # type: ignore[arg-type]
        Target("receipt", _receipt, (encode(receipt),)),
        Target("receipt with tickets", _receipt, (encode(receipt_with(ticket)),)),
        Target("offline subject", _subject, (encode(write_subject(HOME)),)),
        Target("offline result", read_result, (result,), _result_is_canonical),
    )
