"""Compact JWS: only the pinned algorithm, `typ` and header parameters, and the attacks of RFC 8725."""

import hmac
import json
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa

from gateway.protocol.codec import b64url, unb64url
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.jws import open_jws, read_jws, sign_jws
from gateway.protocol.keys import Algorithm, PublicKey, SigningKey, raw_public
from gateway.protocol.reasons import Reason
from tests.protocol.casework import flip, refused

TYP = "heyan-test+jwt"
LIMIT = 4096
PAYLOAD = '{"a":"张"}'.encode()
ES256 = SigningKey("es", ec.derive_private_key(7, ec.SECP256R1()))
ED25519 = SigningKey("ed", ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
KEYS = {key.key_id: key for key in (ES256, ED25519)}
BOTH = pytest.mark.parametrize("key", KEYS.values(), ids=["ES256", "Ed25519"])


def key_of(kid):
    if kid not in KEYS:
        raise ForgedError(Reason.KEY_UNKNOWN)
    return KEYS[kid].public_key()


def open_token(token, extra=frozenset(), typ=TYP, limit=LIMIT):
    return open_jws(token, typ, key_of, limit, extra, Reason.REGISTRY_INVALID)


def forge(header):
    """A token with any header, and a genuine Ed25519 signature over it."""
    data = header if isinstance(header, bytes) else json.dumps(header).encode()
    signed = f"{b64url(data)}.{b64url(PAYLOAD)}"
    return f"{signed}.{b64url(ED25519.private.sign(signed.encode()))}"


ED_HEADER = {"alg": "Ed25519", "typ": TYP, "kid": "ed"}


@BOTH
def test_round_trip(key):
    opened = open_token(sign_jws(PAYLOAD, TYP, key))
    assert opened.payload == PAYLOAD
    assert opened.header == {"alg": key.algorithm.value, "typ": TYP, "kid": key.key_id}
    assert opened.key == key.public_key()


@BOTH
def test_listed_header_parameters_are_signed_and_required(key):
    extra = frozenset({"evidence"})
    token = sign_jws(PAYLOAD, TYP, key, {"evidence": "abc"})
    assert open_token(token, extra).header["evidence"] == "abc"
    for listed in (frozenset(), frozenset({"evidence", "more"}), frozenset({"more"})):
        with refused(MalformedError, Reason.MESSAGE_MALFORMED):
            open_token(token, listed)


def test_forging_helper_makes_tokens_that_verify_when_nothing_is_wrong():
    assert open_token(forge(ED_HEADER)).payload == PAYLOAD


HEADERS = {
    "crit": {**ED_HEADER, "crit": ["exp"]},
    "jku": {**ED_HEADER, "jku": "https://evil.test/keys"},
    "jwk": {**ED_HEADER, "jwk": {"kty": "OKP", "crv": "Ed25519", "x": b64url(bytes(32))}},
    "x5c": {**ED_HEADER, "x5c": ["AAAA"]},
    "x5u": {**ED_HEADER, "x5u": "https://evil.test/chain"},
    "b64": {**ED_HEADER, "b64": "false"},
    "zip": {**ED_HEADER, "zip": "DEF"},
    "without kid": {"alg": "Ed25519", "typ": TYP},
    "without typ": {"alg": "Ed25519", "kid": "ed"},
    "without alg": {"typ": TYP, "kid": "ed"},
    "typ of another token": {**ED_HEADER, "typ": "heyan-grant+jwt"},
    "typ in other letters": {**ED_HEADER, "typ": TYP.upper()},
    "kid that is a number": {**ED_HEADER, "kid": 1},
    "kid that is a lone surrogate": {**ED_HEADER, "kid": "\ud800"},
    "kid that is null": {**ED_HEADER, "kid": None},
    "alg that is a list": {**ED_HEADER, "alg": ["Ed25519"]},
    "an array": b"[]",
    "a name twice": b'{"alg":"Ed25519","typ":"heyan-test+jwt","kid":"ed","kid":"es"}',
    "UTF-16": json.dumps(ED_HEADER).encode("utf-16"),
    "nothing": b"",
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
def test_signed_token_with_another_header_is_refused(header):
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        open_token(forge(header))


@pytest.mark.parametrize("alg", ["none", "None", "HS256", "ES256", "EdDSA", "Ed448", "RS256", "", "ed25519"])
def test_algorithm_other_than_the_registrys_is_refused(alg):
    with refused(ForgedError, Reason.REGISTRY_INVALID):
        open_token(forge({**ED_HEADER, "alg": alg}))


def test_ml_dsa_key_of_a_log_signs_no_token():
    key = SigningKey("ed", mldsa.MLDSA44PrivateKey.from_seed_bytes(bytes(32)))
    with refused(MalformedError, Reason.CONFIGURATION_INVALID):
        sign_jws(PAYLOAD, TYP, key)
    header = b64url(json.dumps({**ED_HEADER, "alg": "ML-DSA-44"}).encode())
    signed = f"{header}.{b64url(PAYLOAD)}"
    token = f"{signed}.{b64url(key.private.sign(signed.encode()))}"
    with refused(ForgedError, Reason.REGISTRY_INVALID):
        open_jws(token, TYP, lambda _kid: key.public_key(), 10_000, reason=Reason.REGISTRY_INVALID)


def test_unsigned_token_is_refused():
    signed = sign_jws(PAYLOAD, TYP, ES256).rpartition(".")[0]
    with refused(ForgedError, Reason.REGISTRY_INVALID):
        open_token(signed + ".")


def test_public_key_taken_for_an_hmac_secret_is_refused():
    header = b64url(json.dumps({**ED_HEADER, "alg": "HS256"}).encode())
    signed = f"{header}.{b64url(PAYLOAD)}"
    mac = hmac.digest(raw_public(ES256.private), signed.encode(), sha256)
    with refused(ForgedError, Reason.REGISTRY_INVALID):
        open_token(f"{signed}.{b64url(mac)}")


def test_unknown_kid_is_the_lookups_to_refuse():
    with refused(ForgedError, Reason.KEY_UNKNOWN):
        open_token(sign_jws(PAYLOAD, TYP, SigningKey("other", ES256.private)))


@BOTH
def test_another_keys_signature_is_refused(key):
    thief = SigningKey(
        key.key_id,
        ec.derive_private_key(8, ec.SECP256R1())
        if key is ES256
        else ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)),
    )
    with refused(ForgedError, Reason.REGISTRY_INVALID):
        open_token(sign_jws(PAYLOAD, TYP, thief))


@BOTH
def test_each_flipped_byte_is_refused(key):
    token = sign_jws(PAYLOAD, TYP, key)
    for segment in range(3):
        parts = token.split(".")
        data = unb64url(parts[segment], "x")
        for index in range(len(data)):
            parts[segment] = b64url(flip(data, index))
            with pytest.raises((ForgedError, MalformedError)):
                open_token(".".join(parts))


@BOTH
def test_swapped_payload_is_refused(key):
    header, _, signature = sign_jws(PAYLOAD, TYP, key).split(".")
    with refused(ForgedError, Reason.REGISTRY_INVALID):
        open_token(f"{header}.{b64url(b'{}')}.{signature}")


TOKEN = sign_jws(PAYLOAD, TYP, ED25519)
SHAPES = {
    "empty": "",
    "two segments": TOKEN.rpartition(".")[0],
    "four segments": TOKEN + ".AAAA",
    "five segments as in JWE": TOKEN + ".AAAA.AAAA",
    "padded": TOKEN + "==",
    "trailing newline": TOKEN + "\n",
    "leading space": " " + TOKEN,
    "standard base64 letters": TOKEN[:-4] + "+/+/",
    "not ASCII": TOKEN[:-1] + "é",
    "lone surrogate": TOKEN[:-1] + "\ud800",
    "payload with stray bits": ".".join((TOKEN.split(".")[0], "AB", TOKEN.split(".")[2])),
    "JSON form": json.dumps({"payload": "", "protected": "", "signature": ""}),
}


@pytest.mark.parametrize("token", SHAPES.values(), ids=SHAPES.keys())
def test_text_that_is_no_compact_jws_is_refused(token):
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        read_jws(token, TYP, LIMIT)
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        open_token(token)


def test_token_over_its_limit_is_refused_unread():
    with refused(MalformedError, Reason.MESSAGE_TOO_LARGE):
        open_token(TOKEN, limit=len(TOKEN) - 1)
    assert open_token(TOKEN, limit=len(TOKEN)).payload == PAYLOAD


def test_reading_verifies_nothing():
    header, payload = read_jws(forge({**ED_HEADER, "kid": "nobody"}), TYP, LIMIT)
    assert (header["kid"], payload) == ("nobody", PAYLOAD)


def test_large_payload_survives():
    payload = b"x" * 3_000_000
    token = sign_jws(payload, TYP, ED25519)
    assert open_token(token, limit=4 << 20).payload == payload


def test_raw_key_that_is_no_key_is_refused():
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        open_jws(TOKEN, TYP, lambda kid: PublicKey(kid, Algorithm.ED25519, bytes(31)), LIMIT)
