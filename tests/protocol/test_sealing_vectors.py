"""Sealed subjects made once, which every department must open: `tests/vectors/sealing.json`.

Whoever writes a department in another language can hold it against the same file. Each vector is opened twice: by
`gateway.protocol.sealing`, and by the specification written out with the primitives alone (RFC 9180 §4.1, §5.1 and
§5.2; for the hybrid KEM draft-ietf-hpke-pq with the combiner of X-Wing). All persons in it are made up.
"""

import base64
import hmac
import json
from dataclasses import dataclass
from hashlib import sha3_256, sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.protocol.codec import encode
from gateway.protocol.errors import ForgedError
from gateway.protocol.limits import ENVELOPE_SIZE
from gateway.protocol.reasons import Reason
from gateway.protocol.registry_terms import Suite
from gateway.protocol.sealing import OpeningKey, Sealed, _info, open_sealed, private_from_seed, public_bytes
from heyan.v1 import query_pb2
from tests.protocol.casework import flip, refused

FILE = Path(__file__).parents[1] / "vectors" / "sealing.json"


@dataclass(frozen=True)
class Vector:
    """One entry of the file."""

    name: str
    suite: Suite
    seed: bytes
    public: bytes
    key_id: str
    department: str
    query_digest: bytes
    info: bytes
    ciphertext: bytes
    plaintext_sha256: str

    @classmethod
    def read(cls, value):
        hexadecimal = {name: bytes.fromhex(value[name]) for name in ("seed", "query_digest", "info")}
        base64_encoded = {name: base64.b64decode(value[name]) for name in ("public", "ciphertext")}
        kept = {name: value[name] for name in ("name", "key_id", "department", "plaintext_sha256")}
        return cls(suite=Suite(value["suite"]), **kept, **hexadecimal, **base64_encoded)


VECTORS = {value["name"]: Vector.read(value) for value in json.loads(FILE.read_text(encoding="utf-8"))}
each_vector = pytest.mark.parametrize("vector", VECTORS.values(), ids=VECTORS.keys())


def open_vector(vector, ciphertext=None):
    key = OpeningKey(vector.key_id, vector.suite, private_from_seed(vector.suite, vector.seed))
    sealed = Sealed(1, vector.key_id, vector.ciphertext if ciphertext is None else ciphertext)
    return open_sealed(sealed, key, vector.department, vector.query_digest)


def test_both_suites_are_pinned():
    assert {vector.suite for vector in VECTORS.values()} == set(Suite)


@each_vector
def test_pinned_ciphertext_opens(vector):
    opened = open_vector(vector)
    assert sha256(encode(opened)).hexdigest() == vector.plaintext_sha256
    assert opened.evidence == [b"assertion"]
    child = query_pb2.SubjectOpening(
        role="child", id_type="resident_id", id_number="43990020180901002X", name="张三", salt=bytes(range(32))
    )
    assert [opening == child for opening in opened.subjects] == [True]


@each_vector
def test_pinned_public_key_and_info_are_made_again(vector):
    assert public_bytes(vector.suite, vector.seed) == vector.public
    assert _info(vector.suite, vector.key_id, vector.department, vector.query_digest) == vector.info


@each_vector
@pytest.mark.parametrize("place", [0, 40, -17, -1])
def test_pinned_ciphertext_with_a_flipped_bit_does_not_open(vector, place):
    with refused(ForgedError, Reason.SUBJECT_UNDECIPHERABLE):
        open_vector(vector, flip(vector.ciphertext, place))


# -- the specifications written out -------------------------------------------------------------------------


def extract(salt, label, ikm, suite):
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + ikm, sha256)


def expand(key, label, info, length, suite):
    return hmac.digest(key, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info + b"\x01", sha256)[:length]


def exchange(private, encapsulated):
    return private.exchange(x25519.X25519PublicKey.from_public_bytes(encapsulated))


def decapsulate_x25519(seed, enc):
    private = x25519.X25519PrivateKey.from_private_bytes(seed)
    kem = b"KEM\x00\x20"
    context = enc + private.public_key().public_bytes_raw()
    return expand(extract(b"", b"eae_prk", exchange(private, enc), kem), b"shared_secret", context, 32, kem)


def decapsulate_hybrid(seed, enc):
    lattice = mlkem.MLKEM768PrivateKey.from_seed_bytes(seed[:64])
    curve = x25519.X25519PrivateKey.from_private_bytes(seed[64:])
    lattice_part, curve_part = enc[:1088], enc[1088:]
    secrets = lattice.decapsulate(lattice_part) + exchange(curve, curve_part)
    return sha3_256(secrets + curve_part + curve.public_key().public_bytes_raw() + b"\\.//^\\").digest()


KEMS = {Suite.X25519: (b"\x00\x20", 32, decapsulate_x25519), Suite.HYBRID: (b"\x64\x7a", 1120, decapsulate_hybrid)}


@each_vector
def test_pinned_ciphertext_opens_by_the_specification_alone(vector):
    kem_id, size, decapsulate = KEMS[vector.suite]
    enc, body = vector.ciphertext[:size], vector.ciphertext[size:]
    hkdf_sha256_aes_128_gcm = b"HPKE" + kem_id + b"\x00\x01\x00\x01"
    context = b"\x00" + b"".join(
        extract(b"", label, value, hkdf_sha256_aes_128_gcm)
        for label, value in ((b"psk_id_hash", b""), (b"info_hash", vector.info))
    )
    secret = extract(decapsulate(vector.seed, enc), b"secret", b"", hkdf_sha256_aes_128_gcm)
    key = expand(secret, b"key", context, 16, hkdf_sha256_aes_128_gcm)
    nonce = expand(secret, b"base_nonce", context, 12, hkdf_sha256_aes_128_gcm)
    plaintext = AESGCM(key).decrypt(nonce, body, b"")
    assert len(plaintext) == ENVELOPE_SIZE
    assert sha256(plaintext).hexdigest() == vector.plaintext_sha256
