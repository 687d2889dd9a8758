"""Compact JWS under a strict profile: pinned algorithm, pinned `typ`, only listed header parameters.

What its callers rely on: the key (and so the algorithm) comes from the registry by `kid`, never from the message;
`crit`, `jku`, `jwk`, `x5*` and `b64` are refused because they are not listed; no JSON name stands twice. What is left
of verification under this profile is one call for the signature over the two segments as they stand, so that it is
made here (a general library reads both segments again, for more than the signature costs). Signing is joserfc's.
Source: RFC 7515, RFC 8725 §3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey, OKPKey
from joserfc.registry import HeaderParameter

from gateway.protocol.codec import parse_json_object, unb64url
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.keys import Algorithm, PublicKey, SigningKey
from gateway.protocol.reasons import Reason

_BASE_HEADER = frozenset({"alg", "typ", "kid"})
_SEGMENTS = 3
_ALGORITHMS = [Algorithm.ES256.value, Algorithm.ED25519.value]

KeyOf = Callable[[str], PublicKey]
"""Looks a key up by its `kid`; raises a domain error if there is none."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A verified JWS: its protected header, its payload bytes, and the key that signed it."""

    header: Mapping[str, Any]
    payload: bytes
    key: PublicKey


def sign_jws(payload: bytes, typ: str, key: SigningKey, extra: Mapping[str, str] | None = None) -> str:
    """The compact JWS of `payload`; `extra` are further protected header parameters."""
    header = {"alg": key.algorithm.value, "typ": typ, "kid": key.key_id, **(extra or {})}
    if key.algorithm is Algorithm.ML_DSA_44:
        raise MalformedError.at("key", "is ML-DSA-44, which signs checkpoints only", Reason.CONFIGURATION_INVALID)
    private = (
        OKPKey.import_key(key.private) if key.algorithm is Algorithm.ED25519 else ECKey.import_key(key.private)  # type: ignore[arg-type]
    )
    return jws.serialize_compact(header, payload, private, registry=_registry(frozenset(header) - _BASE_HEADER))


def read_jws(token: str, typ: str, limit: int, extra: frozenset[str] = frozenset()) -> tuple[dict[str, Any], bytes]:
    """Header and payload of `token`, NOT verified: for choosing a key or for what must be refused first.

    Raises MalformedError if it is over `limit` bytes, not a compact JWS of this `typ`, or its header has other
    parameters than alg, typ, kid and exactly `extra`.
    """
    if len(token) > limit:
        raise MalformedError(Reason.MESSAGE_TOO_LARGE, f"JWS of {len(token)} bytes")
    segments = token.split(".")
    if len(segments) != _SEGMENTS:
        raise MalformedError.at("jws", "must be a compact JWS of three segments")
    header = parse_json_object(unb64url(segments[0], "jws.header"), "jws.header")
    if header.keys() != _BASE_HEADER | extra or not all(isinstance(value, str) for value in header.values()):
        raise MalformedError.at("jws.header", "must hold just the listed parameters, as strings")
    if header["typ"] != typ:
        raise MalformedError.at("jws.header.typ", f"must be {typ}")
    unb64url(segments[2], "jws.signature")
    return header, unb64url(segments[1], "jws.payload")


def open_jws(
    token: str,
    typ: str,
    key_of: KeyOf,
    limit: int,
    extra: frozenset[str] = frozenset(),
    reason: Reason = Reason.SIGNATURE_INVALID,
) -> Opened:
    """Verify `token` with the key that `key_of` knows for its kid; MalformedError or ForgedError(reason)."""
    header, payload = read_jws(token, typ, limit, extra)
    return Opened(header, payload, verify_jws(token, header, key_of, reason))


def verify_jws(
    token: str, header: Mapping[str, Any], key_of: KeyOf, reason: Reason = Reason.SIGNATURE_INVALID
) -> PublicKey:
    """Verify the signature of a token that `read_jws` read, of this `header`; the key. ForgedError(reason)."""
    key = key_of(header["kid"])
    if header["alg"] != key.algorithm.value or key.algorithm is Algorithm.ML_DSA_44:
        raise ForgedError(reason, "the registry pins another algorithm to this key")
    signed, _, signature = token.rpartition(".")
    key.verify_octets(unb64url(signature, "jws.signature"), signed.encode("ascii"), reason)
    return key


@lru_cache(maxsize=16)
def _registry(extra: frozenset[str]) -> jws.JWSRegistry:
    parameters = {name: HeaderParameter(name, "str", required=True) for name in extra}
    return jws.JWSRegistry(parameters, algorithms=_ALGORITHMS)
