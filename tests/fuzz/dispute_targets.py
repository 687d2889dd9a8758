"""Disputes: the requester's word, the issuer's report, the proof that travels, resolutions."""

from __future__ import annotations

from consent.dispute import open_proof, open_report, sign_report
from gateway.protocol.codec import encode, parse
from gateway.protocol.digests import Kind
from gateway.protocol.disputes import Dispute, DisputeGround, open_dispute, require_disputable, sign_dispute
from gateway.protocol.limits import MAX_MESSAGE, NONCE_SIZE
from gateway.protocol.resolutions import Resolution, ResolutionReason, read_resolution, write_resolution
from heyan.v1 import attestation_pb2, dispute_pb2, signing_pb2
from tests.federation import GATEWAY, ISSUER, REQUESTER
from tests.fuzz.target import Target, text
from tests.protocol.casework import FEDERATION, NOW, POLICE, Case, statement_digest

_REGISTRY = FEDERATION.registry
_STATEMENT = Case().attest(POLICE, "hukou")
_DISPUTE = Dispute(
    REQUESTER, REQUESTER, bytes(16), GATEWAY, POLICE, statement_digest(_STATEMENT), DisputeGround.RECORD_WRONG, NOW
)


def _signed(data: bytes) -> object:
    return open_dispute(parse(dispute_pb2.SignedDispute, data, MAX_MESSAGE), _REGISTRY, NOW)


def _unsigned(data: bytes) -> object:
    """The dispute's own bytes, signed anew, so that fuzzing comes past the signature."""
    key = FEDERATION.signing_keys[REQUESTER]
    signature = signing_pb2.Signature(key_id=key.key_id, value=key.sign(Kind.DISPUTE, data))
    return open_dispute(dispute_pb2.SignedDispute(dispute=data, signature=signature), _REGISTRY, NOW)


def _proof(data: bytes) -> object:
    return open_proof(parse(dispute_pb2.OpenDisputeRequest, data, MAX_MESSAGE).proof, _REGISTRY, NOW)


def _is_canonical(data: bytes, value: object) -> bool:
    time = attestation_pb2.Statement.FromString(data).resolution.issue_time
    return bool(time.nanos % 1_000 or time.seconds > 1 << 33) or write_resolution(value) == data  # type: ignore[arg-type]


def targets() -> tuple[Target, ...]:
    proof = sign_dispute(_DISPUTE, FEDERATION.signing_keys[REQUESTER])
    report = sign_report(
        Dispute(ISSUER, REQUESTER, bytes(16), GATEWAY, POLICE, bytes(32), DisputeGround.RECORD_WRONG, NOW, bytes(32)),
        "jti-of-the-dispute",
        FEDERATION.signing_keys[ISSUER],
    )
    request = dispute_pb2.OpenDisputeRequest(proof=proof, statement=_STATEMENT)
    resolutions = tuple(
        write_resolution(Resolution(bytes(32), POLICE, reason, NOW, bytes(NONCE_SIZE))) for reason in ResolutionReason
    )
    return (
        Target("signed dispute", _signed, (encode(proof.signed),)),
        Target("dispute", _unsigned, (proof.signed.dispute,)),
        Target("proof of a dispute", _proof, (encode(request),)),
        Target("report of a dispute", lambda data: open_report(text(data), _REGISTRY, NOW), (report.encode(),)),
        Target("disputed statement", lambda data: require_disputable(_DISPUTE, data), (_STATEMENT,)),
        Target("resolution", read_resolution, resolutions, _is_canonical),
    )
