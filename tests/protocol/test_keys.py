"""Signature keys: one size, one kind, the registry's algorithm, and no signature that covers something else."""

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from gateway.protocol.digests import Kind, octets
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.keys import (
    SIGNATURE_BYTES,
    Algorithm,
    PublicKey,
    SigningKey,
    load_private,
    load_public,
    private_pem,
    raw_public,
)
from gateway.protocol.note import ML_DSA_44, VerifierKey
from gateway.protocol.reasons import Reason
from tests.protocol.casework import flip, refused

ES256 = SigningKey("es", ec.derive_private_key(7, ec.SECP256R1()))
ED25519 = SigningKey("ed", ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
ML_DSA = SigningKey("pq", mldsa.MLDSA44PrivateKey.from_seed_bytes(bytes(range(32))))
BOTH = pytest.mark.parametrize("key", [ES256, ED25519], ids=["ES256", "Ed25519"])
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
DATA = b"data"


@BOTH
def test_signature_verifies(key):
    signature = key.sign(Kind.QUERY, DATA)
    assert len(signature) == SIGNATURE_BYTES
    key.public_key().verify(signature, Kind.QUERY, DATA)


def test_algorithm_follows_the_key():
    assert (ES256.algorithm, ED25519.algorithm) == (Algorithm.ES256, Algorithm.ED25519)
    assert (len(raw_public(ES256.private)), len(raw_public(ED25519.private))) == (65, 32)
    assert ES256.public_key().key_id == "es"


def test_small_halves_of_a_signature_keep_their_length():
    """An r or s below 2^248 comes once in 256 signatures and must not shorten the value."""
    signatures = [ES256.sign(Kind.QUERY, bytes([n])) for n in range(256)]
    assert {len(signature) for signature in signatures} == {SIGNATURE_BYTES}


@BOTH
def test_signature_of_one_kind_stands_for_no_other(key):
    signature = key.sign(Kind.QUERY, DATA)
    for kind in set(Kind) - {Kind.QUERY}:
        with refused(ForgedError, Reason.SIGNATURE_INVALID):
            key.public_key().verify(signature, kind, DATA)


@BOTH
def test_altered_data_or_signature_is_refused(key):
    signature = key.sign(Kind.QUERY, DATA)
    forgeries = [(signature, flip(DATA)), (signature, DATA + b"x"), (signature, b""), (bytes(64), DATA)]
    forgeries += [(flip(signature, index), DATA) for index in range(SIGNATURE_BYTES)]
    for forged, data in forgeries:
        with refused(ForgedError, Reason.QUERY_SIGNATURE_INVALID):
            key.public_key().verify(forged, Kind.QUERY, data, Reason.QUERY_SIGNATURE_INVALID)


@BOTH
@pytest.mark.parametrize("size", [0, 32, 63, 65, 72, 128])
def test_signature_of_another_length_is_refused(key, size):
    signature = (key.sign(Kind.QUERY, DATA) * 2)[:size]
    with refused(ForgedError, Reason.SIGNATURE_INVALID):
        key.public_key().verify(signature, Kind.QUERY, DATA)


@pytest.mark.parametrize(
    "signature",
    [
        b"\xff" * 64,
        bytes(32) + b"\x01" * 32,
        b"\x01" * 32 + bytes(32),
        P256_ORDER.to_bytes(32, "big") * 2,
    ],
    ids=["beyond the order", "r of zero", "s of zero", "the order itself"],
)
def test_halves_out_of_range_are_refused(signature):
    with refused(ForgedError, Reason.SIGNATURE_INVALID):
        ES256.public_key().verify(signature, Kind.QUERY, DATA)


def test_leading_zero_left_out_is_no_second_form_of_a_signature():
    def sign(data):
        der = ES256.private.sign(octets(Kind.QUERY, data), ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        return b"".join(half.to_bytes(32, "big") for half in decode_dss_signature(der))

    data = next(data for number in range(5000) if sign(data := bytes([number >> 8, number & 255]))[32] == 0)
    ES256.public_key().verify(sign(data), Kind.QUERY, data)
    with refused(ForgedError, Reason.SIGNATURE_INVALID):
        ES256.public_key().verify(sign(data)[:32] + sign(data)[33:], Kind.QUERY, data)


def test_signature_by_another_key_is_refused():
    other = SigningKey("es", ec.derive_private_key(8, ec.SECP256R1()))
    with refused(ForgedError, Reason.SIGNATURE_INVALID):
        ES256.public_key().verify(other.sign(Kind.QUERY, DATA), Kind.QUERY, DATA)


def test_signature_of_the_other_algorithm_is_refused():
    for signer, verifier in ((ES256, ED25519), (ED25519, ES256)):
        with refused(ForgedError, Reason.SIGNATURE_INVALID):
            verifier.public_key().verify(signer.sign(Kind.QUERY, DATA), Kind.QUERY, DATA)


@pytest.mark.parametrize(
    ("algorithm", "public"),
    [
        (Algorithm.ES256, b""),
        (Algorithm.ES256, bytes(65)),
        (Algorithm.ES256, b"\x04" + b"\x01" * 64),
        (Algorithm.ES256, raw_public(ED25519.private)),
        (Algorithm.ES256, b"\x00"),
        (Algorithm.ED25519, bytes(31)),
        (Algorithm.ED25519, raw_public(ES256.private)),
        (Algorithm.ML_DSA_44, bytes(1311)),
        (Algorithm.ML_DSA_44, bytes(1313)),
        (Algorithm.ML_DSA_44, raw_public(ED25519.private)),
    ],
)
def test_bytes_that_are_no_key_are_refused(algorithm, public):
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        load_public(algorithm, public)
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        PublicKey("k", algorithm, public).verify(bytes(64), Kind.QUERY, DATA)


def test_ml_dsa_key_signs_and_verifies_nothing_but_checkpoints():
    assert (ML_DSA.algorithm, len(raw_public(ML_DSA.private))) == (Algorithm.ML_DSA_44, 1312)
    with refused(MalformedError, Reason.CONFIGURATION_INVALID):
        ML_DSA.sign(Kind.QUERY, DATA)
    for signature in (ED25519.sign(Kind.QUERY, DATA), ML_DSA.private.sign(octets(Kind.QUERY, DATA)), bytes(64)):
        with refused(ForgedError, Reason.SIGNATURE_INVALID):
            ML_DSA.public_key().verify(signature, Kind.QUERY, DATA)


def test_machine_without_ml_dsa_says_so(monkeypatch):
    def none(_data):
        raise UnsupportedAlgorithm("ML-DSA-44 is not supported by this backend.")

    public = raw_public(ML_DSA.private)[:-1] + b"\0"  # of no key that was parsed before
    monkeypatch.setattr(mldsa.MLDSA44PublicKey, "from_public_bytes", none)
    with refused(MalformedError, Reason.CONFIGURATION_INVALID):
        load_public(Algorithm.ML_DSA_44, public)
    verifier = VerifierKey.of("witness.example", ML_DSA_44, public)
    with refused(MalformedError, Reason.CONFIGURATION_INVALID):
        verifier.verify("log.example\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n", bytes(8 + 2420))


@pytest.mark.parametrize("key", [ES256, ED25519, ML_DSA], ids=["ES256", "Ed25519", "ML-DSA-44"])
def test_private_key_survives_its_file(key):
    again = load_private(private_pem(key.private))
    assert raw_public(again) == raw_public(key.private)


def pem_of(key, password=None):
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"no key",
        private_pem(ES256.private)[:-30],
        pem_of(ES256.private, b"password"),
        pem_of(ec.derive_private_key(7, ec.SECP384R1())),
        pem_of(ed448.Ed448PrivateKey.generate()),
        pem_of(mldsa.MLDSA65PrivateKey.from_seed_bytes(bytes(32))),
        ES256.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
    ],
    ids=["empty", "text", "truncated", "encrypted", "P-384", "Ed448", "ML-DSA-65", "public"],
)
def test_file_without_a_key_of_ours_is_refused(pem):
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        load_private(pem)


@BOTH
def test_no_text_form_of_a_key_shows_its_secret(key):
    secret = key.private.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    assert secret[-16:].hex() not in repr(key)
    assert repr(secret[-8:])[2:-1] not in repr(key)
