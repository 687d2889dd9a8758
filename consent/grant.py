"""The grant: a compact JWS in which an issuer states what a person allowed, and in which nobody is named.

    header   {"alg", "typ": "heyan-grant+jwt", "kid", "evidence"}     no other parameter (RFC 7515 §4)
    payload  iss jti iat nbf exp aud sub act rel subjects authorization_details _sd_alg legal_basis acr amr notice
             status txn cnf                                            no other claim

- `evidence` is the digest of the passkey assertion (Kind.PASSKEY_EVIDENCE); the assertion's challenge is the digest
  of the payload (Kind.GRANT_PAYLOAD), so approval, text and grant stand or fall together.
- `sub` and `act.sub` are HMACs under a secret of the issuer, different for each requester; `subjects` holds salted
  commitments; `cnf.passkey` commits to the passkey, so that grants of one person cannot be linked.
- A grant has one encoding. Its digest counts its uses, so two valid texts of one grant would double them: an ES256
  signature (r, s) must have the lower s, because (r, n - s) verifies as well. Ed25519 has no second form (RFC 8032
  §5.1.7), and header and payload are signed as they stand.

Whether a grant may be used is in `verification`; this module only writes and reads.
Source: RFC 7519 (claims), RFC 8693 §4.1 (act), RFC 9396 §2 (authorization_details), RFC 9901 (disclosures),
RFC 7800 (cnf), RFC 8176 (amr), draft-ietf-oauth-status-list (status).
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import Annotated, Any

import msgspec

from consent.disclosures import disclosure_digest
from gateway.protocol.claims import Role
from gateway.protocol.codec import b64url, convert, parse_json_object, unb64url
from gateway.protocol.digests import DIGEST_BYTES, Kind, digest
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.jws import read_jws, sign_jws
from gateway.protocol.keys import SIGNATURE_BYTES, Algorithm, SigningKey
from gateway.protocol.limits import MAX_DISCLOSURES, MAX_GRANT
from gateway.protocol.reasons import Reason
from gateway.protocol.registry_terms import Assurance
from gateway.protocol.subjects import Subject, canonical_record

TYP = "heyan-grant+jwt"
EXTRA_HEADER = frozenset({"evidence"})
CONSENT = "consent"
AMR = ("pop", "user")
"""How the person signed in: proof of possession of a key, and a test of presence (RFC 8176 §2)."""

_SD_ALG = "sha-256"
_LATEST = 253_402_300_799
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_HALF = SIGNATURE_BYTES // 2
_ACTORS = (frozenset({Role.CHILD, Role.GUARDIAN}), frozenset({Role.CHILD, Role.CO_RESIDENT}))

Time = Annotated[int, msgspec.Meta(ge=0, le=_LATEST)]
Token = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{16,64}\Z")]
_Digest = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]\Z")]
"""Canonical base64url of 32 bytes: its last character holds four bits."""
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Immutable, and strict: a restriction that a reader does not understand must not be skipped."""


class Relation(_Strict, frozen=True):
    """Which relation the acting person has to the child, and who verified it."""

    kind: _Text
    verified_by: _Text


class Notice(_Strict, frozen=True):
    """Which text was shown before the approval, by the SHA-256 of its UTF-8 bytes."""

    id: _Text
    version: _Text
    lang: _Text
    digest: _Digest


class StatusReference(_Strict, frozen=True):
    """Where it stands whether the grant was withdrawn (draft-ietf-oauth-status-list, Referenced Token)."""

    idx: Annotated[int, msgspec.Meta(ge=0, lt=1 << 24)]
    uri: _Text


class _Actor(_Strict, frozen=True):
    sub: _Digest


class _Status(_Strict, frozen=True):
    status_list: StatusReference


class _Confirmation(_Strict, frozen=True):
    passkey: _Digest


class _Element(_Strict, frozen=True):
    digest: _Digest = msgspec.field(name="...")


class GrantPayload(_Strict, frozen=True):
    """A grant's claims as they travel."""

    iss: _Text
    jti: Token
    iat: Time
    nbf: Time
    exp: Time
    aud: _Text
    sub: _Digest
    act: _Actor
    rel: Relation
    subjects: dict[Role, _Digest]
    authorization_details: Annotated[tuple[_Element, ...], msgspec.Meta(min_length=1, max_length=MAX_DISCLOSURES)]
    sd_alg: str = msgspec.field(name="_sd_alg")
    legal_basis: _Text
    acr: Assurance
    amr: tuple[_Text, ...]
    notice: Notice
    status: _Status
    txn: Token
    cnf: _Confirmation

    @property
    def disclosure_digests(self) -> tuple[str, ...]:
        """The digests of the elements, in the order of their indexes."""
        return tuple(element.digest for element in self.authorization_details)

    @property
    def commitments(self) -> dict[Role, bytes]:
        """The commitment of each role."""
        return {role: unb64url(value, "grant.subjects") for role, value in self.subjects.items()}

    @property
    def actor(self) -> Role:
        """Who allowed it: the guardian, or a co-resident for themselves."""
        return Role.CO_RESIDENT if Role.CO_RESIDENT in self.subjects else Role.GUARDIAN


@dataclass(frozen=True, slots=True)
class GrantTerms:
    """Everything that a grant's payload states; times are whole seconds since the epoch, `exp` included."""

    issuer: str
    jti: str
    issued_at: int
    expires: int
    audience: str
    child_pseudonym: bytes = field(repr=False)
    actor_pseudonym: bytes = field(repr=False)
    relation: Relation
    commitments: Mapping[Role, bytes]
    disclosures: tuple[str, ...] = field(repr=False)
    acr: Assurance
    notice: Notice
    status: StatusReference
    txn: str
    key_commitment: bytes
    legal_basis: str = CONSENT
    amr: tuple[str, ...] = AMR
    not_before: int | None = None


def write_payload(terms: GrantTerms) -> bytes:
    """The payload bytes of `terms`: what the person's passkey approves. MalformedError if a bound is broken."""
    payload = GrantPayload(
        iss=terms.issuer,
        jti=terms.jti,
        iat=terms.issued_at,
        nbf=terms.issued_at if terms.not_before is None else terms.not_before,
        exp=terms.expires,
        aud=terms.audience,
        sub=b64url(terms.child_pseudonym),
        act=_Actor(b64url(terms.actor_pseudonym)),
        rel=terms.relation,
        subjects={role: b64url(value) for role, value in sorted(terms.commitments.items())},
        authorization_details=tuple(_Element(disclosure_digest(text)) for text in terms.disclosures),
        sd_alg=_SD_ALG,
        legal_basis=terms.legal_basis,
        acr=terms.acr,
        amr=terms.amr,
        notice=terms.notice,
        status=_Status(terms.status),
        txn=terms.txn,
        cnf=_Confirmation(b64url(terms.key_commitment)),
    )
    data = msgspec.json.encode(payload)
    read_payload(data)
    return data


def read_payload(data: bytes) -> GrantPayload:
    """The claims of payload bytes, strictly; MalformedError."""
    payload = convert(parse_json_object(data, "grant"), GrantPayload, "grant")
    if payload.sd_alg != _SD_ALG:
        raise MalformedError.at("grant._sd_alg", f"must be {_SD_ALG}")
    if frozenset(payload.subjects) not in _ACTORS:
        raise MalformedError.at("grant.subjects", "must be the child and one acting person")
    if len(set(payload.disclosure_digests)) != len(payload.disclosure_digests):
        raise MalformedError.at("grant.authorization_details", "must not repeat a digest (RFC 9901 §7.1)")
    return payload


def read_audience(token: str) -> object:
    """What stands as `aud` in the payload of a grant of which nothing else can be read; MalformedError."""
    if len(token) > MAX_GRANT:
        raise MalformedError(Reason.MESSAGE_TOO_LARGE, "a grant over its limit")
    _, _, rest = token.partition(".")
    payload, _, _ = rest.partition(".")
    return parse_json_object(unb64url(payload, "grant"), "grant").get("aud")


@dataclass(frozen=True, slots=True)
class ReadGrant:
    """A grant as it was read, NOT verified: its header, its payload's bytes, and what these claim."""

    header: Mapping[str, Any]
    data: bytes
    payload: GrantPayload


@lru_cache(maxsize=256)  # of MAX_GRANT bytes at most; one grant is read by several steps of its request
def read_grant(token: str) -> ReadGrant:
    """Read a grant without verifying it; MalformedError."""
    header, data = read_jws(token, TYP, MAX_GRANT, EXTRA_HEADER)
    return ReadGrant(header, data, read_payload(data))


def peek(token: str) -> GrantPayload:
    """The claims of a grant that is NOT verified here: for its holder, and for whoever verified it before."""
    return read_grant(token).payload


def challenge_of(payload: bytes) -> bytes:
    """What the passkey is asked to sign: the digest of the payload, 32 bytes."""
    return digest(Kind.GRANT_PAYLOAD, payload)


def grant_digest(token: str) -> bytes:
    """The digest of a grant, under which its uses are counted and it is revoked."""
    return digest(Kind.GRANT, token.encode("ascii", "replace"))


def sign_grant(payload: bytes, evidence: bytes, key: SigningKey) -> str:
    """The grant of `payload` and the passkey evidence that approves it, in its one encoding."""
    extra = {"evidence": b64url(digest(Kind.PASSKEY_EVIDENCE, evidence))}
    token = sign_jws(payload, TYP, key, extra)
    if key.algorithm is not Algorithm.ES256:
        return token
    signed, _, signature = token.rpartition(".")
    r, s = _halves(unb64url(signature, "jws.signature"))
    return f"{signed}.{b64url(r.to_bytes(_HALF, 'big') + min(s, _P256_ORDER - s).to_bytes(_HALF, 'big'))}"


def require_one_encoding(token: str, algorithm: Algorithm) -> None:
    """Refuse the second valid form of an ES256 signature; ForgedError (GRANT_INVALID)."""
    signature = unb64url(token.rpartition(".")[2], "jws.signature")
    if len(signature) != SIGNATURE_BYTES:
        raise ForgedError(Reason.GRANT_INVALID, "signature of the wrong length")
    if algorithm is Algorithm.ES256 and _halves(signature)[1] > _P256_ORDER // 2:
        raise ForgedError(Reason.GRANT_INVALID, "the mirrored form of an ES256 signature")


def evidence_digest(header: Mapping[str, Any]) -> bytes:
    """The digest of the evidence that a verified header names; MalformedError."""
    value = unb64url(header["evidence"], "jws.header.evidence")
    if len(value) != DIGEST_BYTES:
        raise MalformedError.at("jws.header.evidence", f"must be {DIGEST_BYTES} bytes")
    return value


def pseudonym(secret: bytes, requester: str, subject: Subject) -> bytes:
    """The HMAC-SHA-256 that stands for a person towards one requester, under the issuer's secret."""
    return hmac.digest(secret, requester.encode() + b"\x00" + canonical_record(subject), sha256)


def _halves(signature: bytes) -> tuple[int, int]:
    return int.from_bytes(signature[:_HALF], "big"), int.from_bytes(signature[_HALF:], "big")
