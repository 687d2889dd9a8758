"""Signed things of a dispute: the requester's word, the issuer's report for a guardian, the department's resolution."""

from __future__ import annotations

from collections.abc import Hashable

from consent.dispute import open_report, sign_report
from gateway.protocol.attestation import open_batch, read_proof, read_signed_batch
from gateway.protocol.codec import encode, parse
from gateway.protocol.disputes import Dispute, DisputeGround, open_dispute, sign_dispute
from gateway.protocol.limits import MAX_MESSAGE, NONCE_SIZE
from gateway.protocol.resolutions import Resolution, ResolutionReason, open_resolution, write_resolution
from heyan.v1 import attestation_pb2, dispute_pb2
from tests.federation import GATEWAY, ISSUER, REQUESTER
from tests.mutations.consent_messages import _MIRROR as _ONE_USE
from tests.mutations.consent_messages import _signed_once
from tests.mutations.message import Message, mixed, protobuf
from tests.mutations.octets import lower_form
from tests.mutations.protocol_messages import _MIRROR, _WRAPPER
from tests.mutations.text import mutate_jws
from tests.protocol.casework import FEDERATION, LAND, NOW, POLICE, SIGNED_AT, Case

_REGISTRY = FEDERATION.registry
_ALIKE = f"{_WRAPPER}; {_MIRROR}"


def _dispute(number: int, opener: str, grant_digest: bytes | None = None) -> Dispute:
    department = (POLICE, LAND)[number % 2]
    return Dispute(
        opener=opener,
        requester=REQUESTER,
        request_id=bytes([number]) * 16,
        gateway=GATEWAY,
        department=department,
        statement_digest=bytes([number]) * 32,
        ground=tuple(DisputeGround)[number],
        issue_time=NOW,
        grant_digest=grant_digest,
    )


def dispute() -> Message:
    key = FEDERATION.signing_keys[REQUESTER]
    samples = tuple(encode(sign_dispute(_dispute(number, REQUESTER), key).signed) for number in range(3))

    def judge(_number: int, data: bytes) -> Hashable:
        signed = parse(dispute_pb2.SignedDispute, data, MAX_MESSAGE)
        opened = open_dispute(signed, _REGISTRY, NOW)
        return opened, signed.dispute, signed.signature.key_id, lower_form(signed.signature.value)

    return Message("signed dispute", samples, judge, protobuf, share=10, alike=_ALIKE)


def report() -> Message:
    key = FEDERATION.signing_keys[ISSUER]
    samples = tuple(
        sign_report(_dispute(number, ISSUER, bytes([9 - number]) * 32), f"jti-of-dispute-{number}", key).encode()
        for number in range(3)
    )

    def judge(_number: int, data: bytes) -> Hashable:
        token = data.decode(errors="surrogateescape")
        return open_report(token, _REGISTRY, NOW), _signed_once(token)

    return Message("report of a dispute", samples, judge, mixed(mutate_jws, 0.8), share=10, alike=_ONE_USE)


def resolution() -> Message:
    """Two resolutions of one batch, and one of another department's."""
    case, reasons = Case(), tuple(ResolutionReason)
    made = [
        write_resolution(Resolution(bytes([number]) * 32, department, reasons[number], SIGNED_AT, bytes(NONCE_SIZE)))
        for number, department in enumerate((POLICE, POLICE, LAND))
    ]
    samples = tuple(encode(item) for item in (*case.batch(POLICE, *made[:2]), *case.batch(LAND, made[2])))

    def judge(_number: int, data: bytes) -> Hashable:
        message = parse(attestation_pb2.AttestedStatement, data, MAX_MESSAGE)
        signed, proof = read_signed_batch(message.batch), read_proof(message.proof)
        opened = open_resolution(proof, open_batch(signed, _REGISTRY, SIGNED_AT))
        return opened, proof, signed.batch, signed.key_id, lower_form(signed.signature)

    return Message("resolution in its batch", samples, judge, protobuf, share=10, alike=_ALIKE)


def messages() -> tuple[Message, ...]:
    return dispute(), report(), resolution()
