"""A guardian's dispute of an answer, as the issuer reports it: who disputes is known by the passkey of the grant.

A compact JWS, typ heyan-dispute+jwt: iss, jti, iat, grant, requester, request_id, gateway, department, statement,
ground (digests and request_id in base64url, the ground by its name). It entitles to nothing but the dispute of
answers that rest on that grant, and counts for grants of its own issuer only: whoever knows whose grant it is must hold
it against the issuer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import msgspec

from consent.grant import Time, Token
from gateway.protocol.codec import b64url, convert, encode, parse_json_object, unb64url
from gateway.protocol.digests import DIGEST_BYTES, Kind, digest
from gateway.protocol.disputes import Dispute, DisputeGround, open_dispute, require_not_early
from gateway.protocol.errors import ForgedError, MalformedError, UnknownPeerError
from gateway.protocol.identities import PartyRole
from gateway.protocol.jws import open_jws, read_jws, sign_jws
from gateway.protocol.keys import PublicKey, SigningKey
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.protocol.registry_terms import KeyUse
from heyan.v1 import dispute_pb2

TYP = "heyan-dispute+jwt"
MAX_REPORT = 2_048
"""Characters; real ones are about 800."""

_Uri = Annotated[str, msgspec.Meta(max_length=256)]
_Bytes = Annotated[str, msgspec.Meta(max_length=64)]


class _Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    iss: _Uri
    jti: Token
    iat: Time
    grant: _Bytes
    requester: _Uri
    request_id: _Bytes
    gateway: _Uri
    department: _Uri
    statement: _Bytes
    ground: Annotated[str, msgspec.Meta(max_length=32)]


def challenge_of(dispute: Dispute) -> bytes:
    """What a guardian's passkey signs: the digest of all that they say; who reports it, and when, left out."""
    said = replace(dispute, opener="", issue_time=0.0)
    return digest(Kind.PASSKEY_DISPUTE, msgspec.json.encode(_report_of(said, "")))


def sign_report(dispute: Dispute, jti: str, key: SigningKey) -> str:
    """The issuer's report of a dispute by the holder of the grant that it names."""
    return sign_jws(msgspec.json.encode(_report_of(dispute, jti)), TYP, key)


def open_report(token: str, registry: Registry, now: float) -> Dispute:
    """Verify a report under a GRANT key of the issuer that it names, of the time at which it was signed.

    Raises MalformedError, ForgedError (DISPUTE_INVALID), or NotCurrentError for one from the future. That the grant is
    of that issuer is the caller's check.
    """
    report = convert(parse_json_object(read_jws(token, TYP, MAX_REPORT)[1], "dispute"), _Report, "dispute")

    def issuer_key(kid: str) -> PublicKey:
        return registry.key(report.iss, KeyUse.GRANT, kid, report.iat, Reason.DISPUTE_INVALID, recorded=now)

    try:
        registry.party_in_role(report.iss, PartyRole.ISSUER)
    except UnknownPeerError:
        raise ForgedError(Reason.DISPUTE_INVALID, "the report names no issuer of the registry") from None
    open_jws(token, TYP, issuer_key, MAX_REPORT, reason=Reason.DISPUTE_INVALID)
    if report.ground not in DisputeGround.__members__:
        raise MalformedError.at("dispute.ground", "must be one of the contract")
    grant_digest = unb64url(report.grant, "dispute.grant")
    if len(grant_digest) != DIGEST_BYTES:
        raise MalformedError.at("dispute.grant", f"must be {DIGEST_BYTES} bytes")
    dispute = Dispute(
        opener=report.iss,
        requester=report.requester,
        request_id=unb64url(report.request_id, "dispute.request_id"),
        gateway=report.gateway,
        department=report.department,
        statement_digest=unb64url(report.statement, "dispute.statement"),
        ground=DisputeGround[report.ground],
        issue_time=float(report.iat),
        grant_digest=grant_digest,
    )
    dispute.check()
    require_not_early(dispute, now)
    return dispute


def open_proof(proof: dispute_pb2.DisputeProof, registry: Registry, now: float) -> Dispute:
    """Who disputes which answer, verified; raises what `open_dispute` and `open_report` raise."""
    kind = proof.WhichOneof("proof")
    if kind == "signed":
        return open_dispute(proof.signed, registry, now)
    if kind == "report":
        return open_report(proof.report, registry, now)
    raise MalformedError.at("proof", "must be set")


def proof_digest(proof: dispute_pb2.DisputeProof) -> bytes:
    """By which log and journal name a proof."""
    return digest(Kind.DISPUTE_PROOF, encode(proof))


def _report_of(dispute: Dispute, jti: str) -> _Report:
    return _Report(
        iss=dispute.opener,
        jti=jti,
        iat=int(dispute.issue_time),
        grant=b64url(dispute.grant_digest or b""),
        requester=dispute.requester,
        request_id=b64url(dispute.request_id),
        gateway=dispute.gateway,
        department=dispute.department,
        statement=b64url(dispute.statement_digest),
        ground=dispute.ground.name,
    )
