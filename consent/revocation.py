"""The issuer's signed word that a grant is withdrawn, which travels ahead of the status list.

A compact JWS, typ heyan-revocation+jwt: iss, jti, iat, exp, grant (base64url of the grant's digest). `exp` is the
grant's own: until then it must be remembered. A statement counts against grants of its own issuer only, which
`Revocation.covers` holds; nobody can withdraw another issuer's grant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec

from consent.grant import Time, Token
from gateway.protocol.codec import b64url, convert, parse_json_object, unb64url
from gateway.protocol.digests import DIGEST_BYTES
from gateway.protocol.errors import ForgedError, MalformedError, NotCurrentError, UnknownPeerError
from gateway.protocol.identities import PartyRole
from gateway.protocol.jws import open_jws, read_jws, sign_jws
from gateway.protocol.keys import PublicKey, SigningKey
from gateway.protocol.limits import EARLY_TOLERANCE, EXPIRY_TOLERANCE
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.protocol.registry_terms import KeyUse

TYP = "heyan-revocation+jwt"
MAX_STATEMENT = 2_048
"""Characters; real ones are about 500."""


@dataclass(frozen=True, slots=True)
class Revocation:
    """A withdrawal. Times are seconds since the epoch."""

    issuer: str
    jti: str
    grant_digest: bytes
    issued: int
    expires: int


class _Statement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    iss: Annotated[str, msgspec.Meta(max_length=256)]
    jti: Token
    iat: Time
    exp: Time
    grant: str


def sign_revocation(revocation: Revocation, key: SigningKey) -> str:
    """The statement of a withdrawal."""
    statement = _Statement(
        iss=revocation.issuer,
        jti=revocation.jti,
        iat=revocation.issued,
        exp=revocation.expires,
        grant=b64url(revocation.grant_digest),
    )
    return sign_jws(msgspec.json.encode(statement), TYP, key)


def open_revocation(token: str, registry: Registry, now: float) -> Revocation:
    """Verify a statement under a GRANT key of the issuer that it names.

    Raises MalformedError, ForgedError (SIGNATURE_INVALID, KEY_UNKNOWN) or NotCurrentError
    (GRANT_EXPIRED: nothing is left to withdraw). That the peer who brings it is that issuer is the caller's check.
    """
    statement = _read(read_jws(token, TYP, MAX_STATEMENT)[1])

    def issuer_key(kid: str) -> PublicKey:
        return registry.key(statement.iss, KeyUse.GRANT, kid, now)

    try:
        registry.party_in_role(statement.iss, PartyRole.ISSUER)
    except UnknownPeerError:
        raise ForgedError(Reason.KEY_UNKNOWN, "the statement names no issuer of the registry") from None
    open_jws(token, TYP, issuer_key, MAX_STATEMENT)
    grant_digest = unb64url(statement.grant, "revocation.grant")
    if len(grant_digest) != DIGEST_BYTES:
        raise MalformedError.at("revocation.grant", f"must be {DIGEST_BYTES} bytes")
    if statement.iat > now + EARLY_TOLERANCE:
        raise NotCurrentError(Reason.GRANT_NOT_YET_VALID, "a withdrawal from the future")
    if now > statement.exp + EXPIRY_TOLERANCE:
        raise NotCurrentError(Reason.GRANT_EXPIRED)
    return Revocation(statement.iss, statement.jti, grant_digest, statement.iat, statement.exp)


def _read(payload: bytes) -> _Statement:
    return convert(parse_json_object(payload, "revocation"), _Statement, "revocation")
