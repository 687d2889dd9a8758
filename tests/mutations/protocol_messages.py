"""Signed things of the ground floor: query, parts, statements, leaves, checkpoints, proofs, receipts, registry."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from hashlib import sha256

from gateway.protocol.attestation import (
    open_batch,
    open_statement,
    read_proof,
    read_signed_batch,
)
from gateway.protocol.checkpoint import checkpoint_of
from gateway.protocol.codec import encode, parse
from gateway.protocol.cosignature import CosignerKey, cosigned_at
from gateway.protocol.leaf import read_leaf
from gateway.protocol.limits import MAX_MESSAGE
from gateway.protocol.note import COSIGNATURE, ED25519, ML_DSA_44, open_note, parse_note, sign_note
from gateway.protocol.offline import OfflineGround, read_signed_result, write_signed_result
from gateway.protocol.offline_rules import OpenTicket, require_result
from gateway.protocol.presentation import (
    PresentedPart,
    read_presented_part,
    read_signed_query,
    write_presented_part,
    write_signed_query,
)
from gateway.protocol.proof import parse_proof
from gateway.protocol.query import write_part
from gateway.protocol.query_rules import match_parts, open_query
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt import MAX_RECEIPT, verify_receipt
from gateway.protocol.registry import open_registry
from gateway.protocol.sealing import Sealed, open_sealed, seal
from gateway.verdicts import verdict_of, write_verdict
from heyan.v1 import attestation_pb2, offline_pb2, query_pb2, receipt_pb2
from tests.federation import FAMILY, GATEWAY, LOG_ORIGIN, REQUESTER
from tests.mutations.message import Message, any_bytes, mixed, protobuf
from tests.mutations.octets import lower_form
from tests.mutations.text import mutate_jws, mutate_lines
from tests.protocol.casework import (
    CLAIMS_ASKED,
    FEDERATION,
    HOUSING,
    LAND,
    LOGGED_AT,
    NOW,
    OPERATOR,
    POLICE,
    SIGNED_AT,
    Case,
    genuine,
    log_signer,
    make_part,
    make_query,
    sign_query,
)
from tests.protocol.ticket_case import MONTHS, OPENED_AT, RESOLVED_AT, receipt_with, resolved, result_of, ticket_of

_REGISTRY = FEDERATION.registry
_WRAPPER = "the wrapper is signed by nobody and tolerates unknown fields; all that was signed is the same bytes"
_MIRROR = "an ES256 signature and its mirror are one: digests never cover a signature (ADR 0012)"


def signed_query() -> Message:
    queries = [
        make_query(),
        make_query(request_id=b"fedcba9876543210"),
        make_query(issue_time=NOW - 2, expire_time=NOW),
    ]
    signed = [sign_query(query) for query in queries]

    def judge(_number: int, data: bytes) -> Hashable:
        found = read_signed_query(parse(query_pb2.SignedQuery, data, MAX_MESSAGE))
        open_query(found, requester=None, gateway=GATEWAY, registry=_REGISTRY, now=NOW)
        return found.query, found.key_id, lower_form(found.signature)

    samples = tuple(encode(write_signed_query(item)) for item in signed)
    return Message("signed query", samples, judge, protobuf, share=12, alike=f"{_WRAPPER}; {_MIRROR}")


def presented_part() -> Message:
    """A part with its sealed subject, in its place among the parts of its query."""
    others = {name: write_part(make_part(name, claims)) for name, claims in CLAIMS_ASKED.items() if name != POLICE}
    parts = [
        write_part(make_part(POLICE, CLAIMS_ASKED[POLICE], salt=sha256(bytes([number])).digest())) for number in (1, 2)
    ]
    queries = [
        make_query([part, *others.values()], request_id=bytes([number]) * 16) for number, part in enumerate(parts)
    ]
    signed = [sign_query(query) for query in queries]
    sealed = [_sealed(POLICE, item.digest) for item in signed]

    def judge(number: int, data: bytes) -> Hashable:
        presented = read_presented_part(parse(query_pb2.PresentedPart, data, MAX_MESSAGE))
        match_parts(queries[number], [presented.part, *others.values()])
        envelope = open_sealed(presented.sealed, FEDERATION.opening_keys[POLICE], POLICE, signed[number].digest)
        return presented.part, encode(envelope)

    samples = tuple(encode(write_presented_part(PresentedPart(*pair))) for pair in zip(parts, sealed, strict=True))
    return Message("presented part", samples, judge, protobuf, share=8, bound=True, alike=_WRAPPER)


def sealed_subject() -> Message:
    """The ciphertext alone, which nothing but its encryption authenticates, under one query, department and key."""
    digests = [sha256(bytes([number])).digest() for number in (1, 2)]
    sealed = [_sealed(LAND, digest) for digest in digests]

    def judge(number: int, data: bytes) -> Hashable:
        envelope = open_sealed(
            replace(sealed[number], ciphertext=data), FEDERATION.opening_keys[LAND], LAND, digests[number]
        )
        return encode(envelope)

    return Message("sealed subject", tuple(item.ciphertext for item in sealed), judge, any_bytes, share=6, bound=True)


def _sealed(department: str, query_digest: bytes) -> Sealed:
    envelope = query_pb2.SubjectEnvelope(
        subjects=[
            query_pb2.SubjectOpening(
                role=role.value, id_type="resident_id", id_number=subject.id_number, name=subject.name, salt=bytes(32)
            )
            for role, subject in FAMILY.items()
        ]
    )
    (key,) = _REGISTRY.sealing_keys(department, NOW)
    return seal(envelope, key, department, query_digest)


def _attested_value(data: bytes) -> Hashable:
    message = parse(attestation_pb2.AttestedStatement, data, MAX_MESSAGE)
    signed, proof = read_signed_batch(message.batch), read_proof(message.proof)
    open_statement(proof, open_batch(signed, _REGISTRY, SIGNED_AT))
    return proof, signed.batch, signed.key_id, lower_form(signed.signature)


def attestation() -> Message:
    """A statement with its path and its signed batch; samples of one batch and of two departments."""
    case = Case()
    first = case.batch(POLICE, case.attest(POLICE, "hukou"), case.attest(POLICE, "identity"), case.refuse(POLICE))
    second = case.batch(LAND, case.attest(LAND, "home"))
    samples = tuple(encode(item) for item in (*first[:2], *second))
    why = f"{_WRAPPER}; {_MIRROR}"
    return Message(
        "attestation in its batch", samples, lambda _, data: _attested_value(data), protobuf, share=14, alike=why
    )


def refusal() -> Message:
    case = Case()
    refusals = [case.refuse(HOUSING), case.refuse(HOUSING, Reason.GRANT_USED_UP)]
    samples = tuple(encode(item) for item in case.batch(HOUSING, *refusals))
    why = f"{_WRAPPER}; {_MIRROR}"
    return Message("refusal in its batch", samples, lambda _, data: _attested_value(data), protobuf, share=8, alike=why)


def checkpoint() -> Message:
    case = Case()
    notes = [parse_proof(item.proof.encode()).checkpoint for item in (*case.record(b"a"), *case.record(b"b", b"c"))]
    samples = tuple(dict.fromkeys(note.encode() for note in notes))
    verifiers = (log_signer().verifier,)

    def judge(_number: int, data: bytes) -> Hashable:
        note = open_note(data, verifiers)
        checkpoint_of(note, LOG_ORIGIN)
        return note.text, note.verified

    why = "a note may bear signatures of strangers, which count for nothing (C2SP signed-note)"
    return Message("checkpoint note", samples, judge, mixed(mutate_lines), share=10, alike=why)


def cosigned_checkpoint() -> Message:
    """A note with the log's second signature and witnesses of both types: no bit of it changes under a known key."""
    case = Case()
    cosigners = [
        CosignerKey.from_seed(name, bytes([number]) * 32, algorithm)
        for number, (name, algorithm) in enumerate(
            ((LOG_ORIGIN, ML_DSA_44), ("witness.example/1", COSIGNATURE), ("witness.example/2", ML_DSA_44))
        )
    ]

    def cosigned(leaf: bytes, time: int) -> bytes:
        note = parse_proof(case.record(leaf)[0].proof.encode()).checkpoint
        text = parse_note(note.encode()).text
        lines = [sign_note(text, [key.at(time)]).splitlines(keepends=True)[-1] for key in cosigners]
        return (note + "".join(lines)).encode()

    samples = (cosigned(b"a", int(LOGGED_AT)), cosigned(b"b", int(LOGGED_AT) + 1))
    verifiers = (log_signer().verifier, *(key.verifier for key in cosigners))

    def judge(_number: int, data: bytes) -> Hashable:
        note = open_note(data, verifiers)
        checkpoint_of(note, LOG_ORIGIN)
        said = frozenset(
            (key, item.value, cosigned_at(item) if key.algorithm != ED25519 else None)
            for key, item in zip(note.keys, note.verified, strict=True)
        )
        return note.text, said

    why = "a note may bear signatures of strangers, and lack some: whose must be there is a policy's (C2SP signed-note)"
    return Message("cosigned checkpoint", samples, judge, mixed(mutate_lines), share=6, alike=why, agrees=_says_no_more)


def _says_no_more(genuine: tuple[Hashable, ...], value: Hashable) -> bool:
    """Whether a note says of one genuine text what some of its own signers said, at their times, and nothing else."""
    text, said = value  # type: ignore[misc]
    return any(text == known and said <= known_said for known, known_said in genuine)  # type: ignore[misc]


def inclusion_proof() -> Message:
    """A tlog-proof, held against its own leaf."""
    case = Case()
    leaves = [b"first", b"second"]
    samples = tuple(item.proof.encode() for item in case.record(*leaves))
    verifiers = (log_signer().verifier,)

    def judge(number: int, data: bytes) -> Hashable:
        proof = parse_proof(data)
        proof.verify(leaves[number], verifiers, LOG_ORIGIN)
        note = open_note(proof.checkpoint.encode(), verifiers)
        return proof.index, proof.path, note.text, note.verified

    why = "extra data and signatures of strangers are signed by nobody (C2SP tlog-proof, signed-note)"
    return Message("tlog-proof", samples, judge, mixed(mutate_lines), share=10, bound=True, alike=why)


def log_leaf() -> Message:
    """A leaf, held against its own proof."""
    pieces = [genuine(), genuine()]
    samples = (pieces[0].leaf(), pieces[1].leaf(purpose="other"))
    proofs = [parse_proof(item.proof.encode()) for item in Case().record(*samples)]
    verifiers = (log_signer().verifier,)

    def judge(number: int, data: bytes) -> Hashable:
        leaf = read_leaf(data)
        proofs[number].verify(data, verifiers, LOG_ORIGIN)
        return leaf.SerializeToString(deterministic=True)

    return Message("log leaf in its proof", samples, judge, protobuf, share=10, bound=True)


def receipt() -> Message:
    """A whole receipt: its answers, and each byte that somebody signed or logged."""
    receipts = [genuine().receipt(), _second_receipt()]

    def judge(_number: int, data: bytes) -> Hashable:
        message = parse(receipt_pb2.Receipt, data, MAX_RECEIPT)
        verified = verify_receipt(message, OPERATOR)
        signed = read_signed_query(message.query)
        answers = frozenset(
            (answer.check, answer.department, answer.outcome, answer.reason, answer.snapshot_date, answer.expire_time)
            for answer in verified.answers
        )
        verdict = verdict_of(verified, message.rules)
        assert verdict is not None
        return (
            (signed.query, signed.key_id, lower_form(signed.signature)),
            message.application,
            write_verdict(verdict).SerializeToString(deterministic=True),
            frozenset(message.parts),
            frozenset(item.proof.statement for item in message.statements),
            tuple(leaf.leaf for leaf in message.leaves),
            verified.checkpoint,
            (message.leaf_key, message.registry, message.registry_digest),
            answers,
        )

    why = (
        f"{_WRAPPER}; {_MIRROR}; when a department was asked in vain and when to try again is the gateway's own word; "
        "packs of the same rules may have other comments, windows or guides"
    )
    samples = tuple(encode(item) for item in receipts)
    return Message("whole receipt", samples, judge, protobuf, share=8, alike=why)


def receipt_with_tickets() -> Message:
    """A receipt whose query was verified on paper in part: its tickets, as the receipt shows them."""
    first = receipt_with(resolved(ticket_of()), ticket_of(MONTHS, OfflineGround.UNAVAILABLE))
    other = Case(signed=sign_query(_OTHER), query=_OTHER)
    second = receipt_with(resolved(ticket_of(case=other)), pieces=genuine(other))
    receipts = [first, second]

    def judge(number: int, data: bytes) -> Hashable:
        message = receipt_pb2.Receipt()
        message.CopyFrom(receipts[number])
        message.tickets[0].CopyFrom(parse(receipt_pb2.ReceiptTicket, data, MAX_MESSAGE))
        return verify_receipt(message, OPERATOR).tickets

    samples = tuple(encode(item.tickets[0]) for item in receipts)
    why = f"{_WRAPPER}; {_MIRROR}; proofs may bear signatures of strangers (C2SP signed-note)"
    return Message("ticket in its receipt", samples, judge, protobuf, share=8, bound=True, alike=why)


def offline_result() -> Message:
    """A staff member's result, held against its ticket."""
    tickets = [ticket_of(), ticket_of(MONTHS, OfflineGround.UNAVAILABLE)]
    opened = [OpenTicket(REQUESTER, item.case.signed.digest, item.subject, OPENED_AT) for item in tickets]

    def judge(number: int, data: bytes) -> Hashable:
        signed = read_signed_result(parse(offline_pb2.SignedOfflineResult, data, MAX_MESSAGE))
        result = require_result(signed, opened[number], _REGISTRY, RESOLVED_AT)
        return result, signed.key_id, lower_form(signed.signature)

    samples = tuple(encode(write_signed_result(result_of(item))) for item in tickets)
    why = f"{_WRAPPER}; {_MIRROR}"
    return Message("offline result", samples, judge, protobuf, share=8, bound=True, alike=why)


def _second_receipt() -> receipt_pb2.Receipt:
    """Of another query, so that splices join what does not belong together."""
    return genuine(Case(signed=sign_query(_OTHER), query=_OTHER)).receipt()


_OTHER = make_query(request_id=b"another-query-id")


def registry() -> Message:
    newer = FEDERATION.changed(lambda document: document)
    samples = (_REGISTRY.token.encode(), newer.registry.token.encode())

    def judge(_number: int, data: bytes) -> Hashable:
        return open_registry(data.decode("ascii", errors="replace"), OPERATOR, NOW).token

    return Message("registry", samples, judge, mixed(mutate_jws), share=6)


def messages() -> tuple[Message, ...]:
    return (
        signed_query(),
        presented_part(),
        sealed_subject(),
        attestation(),
        refusal(),
        checkpoint(),
        cosigned_checkpoint(),
        inclusion_proof(),
        log_leaf(),
        receipt(),
        receipt_with_tickets(),
        offline_result(),
        registry(),
    )
