"""Signed notes (C2SP signed-note v1.0.0): a text, a blank line, and one line for each signature.

    <text, ending in a newline>

    — <key name> <base64(key id, 4 bytes ‖ signature)>

Invariants of `open_note`:

- signatures of unknown keys (other name or other id) are kept apart and count for nothing;
- a signature that names a known key and does not verify spoils the whole note, also as a repetition;
- at least one known key signed, and each known key is listed once, so that a quorum may count them;
- base64 is canonical, so that text and signature lines can be written again exactly as they came.

What a signature of each type covers is in `gateway.protocol.note_schemes`; those with a timestamp are made in
`gateway.protocol.cosignature`. Key files and policies belong to others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.protocol.codec import decode_base64, encode_base64
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.note_schemes import COSIGNATURE, ED25519, ML_DSA_44, SCHEMES
from gateway.protocol.reasons import Reason

__all__ = [
    "COSIGNATURE",
    "ED25519",
    "ED25519_SEED_BYTES",
    "KEY_ID_BYTES",
    "MAX_NOTE_BYTES",
    "MAX_SIGNATURES",
    "ML_DSA_44",
    "Note",
    "Signature",
    "Signer",
    "SignerKey",
    "VerifierKey",
    "decode_base64",
    "encode_base64",
    "open_note",
    "parse_note",
    "sign_note",
]

ED25519_SEED_BYTES = 32
KEY_ID_BYTES = 4
MAX_NOTE_BYTES = 131_072
"""Bytes: the 16 signatures that every reader must accept, at the 6.2 kB of the largest post-quantum ones, fit."""
MAX_SIGNATURES = 100
"""Lines: the bound of Go's reader; checked before any signature is verified."""

_SIGNATURE_PREFIX = "— "
_PRIVATE_PREFIX = "PRIVATE+KEY+"
_NAME = re.compile(r"[^\s+\x00-\x1f\ud800-\udfff]+")
_NOT_TEXT = re.compile(r"[\x00-\x09\x0b-\x1f\ud800-\udfff]")
_HEX_KEY_ID = re.compile(r"[0-9a-f]{8}")
_SUPPORTED = ", ".join(f"0x{number:02x} ({scheme.title})" for number, scheme in SCHEMES.items())


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key under a name. `of` computes the key id, `parse` reads a vkey; raises MalformedError.

    `key_id` is 4 bytes, `algorithm` the signature type identifier byte, `public_key` the key as that type encodes
    it (32 bytes; ML-DSA-44: 1,312).
    """

    name: str
    key_id: bytes
    algorithm: int
    public_key: bytes

    def __post_init__(self) -> None:
        scheme = SCHEMES.get(self.algorithm)
        if scheme is None:
            raise MalformedError.at("algorithm", f"must be a supported signature type: {_SUPPORTED}")
        if len(self.public_key) != scheme.public_key_bytes:
            raise MalformedError.at("public_key", f"must be {scheme.public_key_bytes} bytes")
        if not _NAME.fullmatch(self.name):
            raise MalformedError.at("name", "must not be empty or hold spaces, plus signs or control characters")
        if scheme.max_name_bytes is not None and len(self.name.encode()) > scheme.max_name_bytes:
            raise MalformedError.at("name", f"must not exceed {scheme.max_name_bytes} bytes for {scheme.title}")
        if self.key_id != _key_id(self.name, self.algorithm, self.public_key):
            raise MalformedError.at("key_id", "must be the truncated hash of name, algorithm and public key")

    @classmethod
    def of(cls, name: str, algorithm: int, public_key: bytes) -> VerifierKey:
        """The key `public_key` of type `algorithm` under `name`."""
        if not _NAME.fullmatch(name) or algorithm not in SCHEMES:
            return cls(name, b"", algorithm, public_key)  # raises, naming the field
        return cls(name, _key_id(name, algorithm, public_key), algorithm, public_key)

    @classmethod
    def parse(cls, vkey: str) -> VerifierKey:
        """Read `<name>+<8 hex digits>+<base64(algorithm ‖ public key)>`; raises MalformedError."""
        name, key_id, algorithm, public_key = _parse_key(vkey, "vkey")
        return cls(name, key_id, algorithm, public_key)

    def format(self) -> str:
        """The vkey text, which `parse` reads."""
        return _format_key(self.name, self.key_id, self.algorithm, self.public_key)

    def verify(self, text: str, signature: bytes) -> None:
        """Hold `signature` (without its key id) against a note text; ForgedError (SIGNATURE_INVALID)."""
        if not SCHEMES[self.algorithm].holds(self.name, self.public_key, text, signature):
            raise ForgedError(Reason.SIGNATURE_INVALID, f"note signature of {self.name}+{self.key_id.hex()}")


class Signer(Protocol):
    """What `sign_note` needs of a private key. `verifier` names it; a timestamp is given when it is made."""

    @property
    def verifier(self) -> VerifierKey:
        """The public half."""

    def sign(self, text: str) -> bytes:
        """The signature over a note text, without the key id."""


@dataclass(frozen=True, slots=True)
class SignerKey:
    """An Ed25519 private key under a name; `repr` shows only the public half."""

    verifier: VerifierKey
    private_key: Ed25519PrivateKey = field(repr=False, compare=False)

    @classmethod
    def from_seed(cls, name: str, seed: bytes) -> SignerKey:
        """The key of a 32-byte seed (RFC 8032 §5.1.5), drawn at random by the caller; raises MalformedError."""
        if len(seed) != ED25519_SEED_BYTES:
            raise MalformedError.at("seed", f"must be {ED25519_SEED_BYTES} bytes")
        private_key = Ed25519PrivateKey.from_private_bytes(seed)
        return cls(VerifierKey.of(name, ED25519, private_key.public_key().public_bytes_raw()), private_key)

    @classmethod
    def parse(cls, skey: str) -> SignerKey:
        """Read `PRIVATE+KEY+<name>+<8 hex digits>+<base64(0x01 ‖ seed)>`, the encoding of Go's sumdb/note.

        Raises MalformedError, which never shows any of the text.
        """
        if not skey.startswith(_PRIVATE_PREFIX):
            raise MalformedError.at("skey", "must begin with PRIVATE+KEY+")
        name, key_id, algorithm, seed = _parse_key(skey.removeprefix(_PRIVATE_PREFIX), "skey")
        if algorithm != ED25519:
            raise MalformedError.at("skey", "must be an Ed25519 key (0x01)")
        signer = cls.from_seed(name, seed)
        if signer.verifier.key_id != key_id:
            raise MalformedError.at("skey", "must bear the id of its own public key")
        return signer

    def format(self) -> str:
        """The skey text, which `parse` reads: secret."""
        key = self.verifier
        return _PRIVATE_PREFIX + _format_key(key.name, key.key_id, ED25519, self.private_key.private_bytes_raw())

    def sign(self, text: str) -> bytes:
        """The 64-byte Ed25519 signature over a note text."""
        return self.private_key.sign(text.encode())


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line: the key it names, and the signature's bytes after the key id."""

    name: str
    key_id: bytes
    value: bytes

    @classmethod
    def parse(cls, line: str) -> Signature:
        """Read one line without its newline; raises MalformedError."""
        name, space, encoded = line.removeprefix(_SIGNATURE_PREFIX).partition(" ")
        if not line.startswith(_SIGNATURE_PREFIX) or not space or not _NAME.fullmatch(name):
            raise MalformedError.at("signature", "must be an em dash, a key name and base64, one space between")
        raw = decode_base64(encoded, "signature")
        if len(raw) <= KEY_ID_BYTES:
            raise MalformedError.at("signature", "must hold a key id and a signature")
        return cls(name, raw[:KEY_ID_BYTES], raw[KEY_ID_BYTES:])

    def format(self) -> str:
        """The line without its newline."""
        return f"{_SIGNATURE_PREFIX}{self.name} {encode_base64(self.key_id + self.value)}"


@dataclass(frozen=True, slots=True)
class Note:
    """A text, and its signatures without repetitions: those verified, one for each known key, and all others.

    `keys` are those of `verified`, in its order: whoever counts signatures of a name or a type counts these.
    """

    text: str
    verified: tuple[Signature, ...]
    unverified: tuple[Signature, ...]
    keys: tuple[VerifierKey, ...] = ()


def sign_note(text: str, signers: Iterable[Signer]) -> str:
    """`text` with one signature line for each signer, in their order.

    Raises MalformedError if the text does not end in a newline or holds what a note may not, or without signer.
    """
    _check_text(text)
    signatures = [Signature(key.verifier.name, key.verifier.key_id, key.sign(text)) for key in signers]
    if not 0 < len({(item.name, item.key_id) for item in signatures}) == len(signatures) <= MAX_SIGNATURES:
        raise MalformedError.at("signers", f"must be 1 to {MAX_SIGNATURES} different keys")
    return text + "\n" + "".join(item.format() + "\n" for item in signatures)


def parse_note(data: bytes) -> Note:
    """Take a note apart, verifying nothing: every signature is `unverified`. Raises MalformedError."""
    if len(data) > MAX_NOTE_BYTES:
        raise MalformedError.at("note", f"must not exceed {MAX_NOTE_BYTES} bytes", Reason.MESSAGE_TOO_LARGE)
    try:
        whole = data.decode()
    except UnicodeDecodeError as error:
        raise MalformedError.at("note", "must be UTF-8") from error
    body, blank, block = whole.rpartition("\n\n")
    _check_text(whole)
    if not blank or not block:
        raise MalformedError.at("note", "must be a text, a blank line and signature lines")
    lines = block[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise MalformedError.at("note", f"must not bear over {MAX_SIGNATURES} signatures")
    return Note(body + "\n", (), tuple(dict.fromkeys(map(Signature.parse, lines))))


def open_note(data: bytes, verifiers: Iterable[VerifierKey]) -> Note:
    """Read a note and verify every signature of a known key.

    Raises MalformedError if it cannot be read, ForgedError with SIGNATURE_INVALID if a known key's signature does
    not verify, and with KEY_UNKNOWN if no known key signed.
    """
    known = _by_id(verifiers)
    note = parse_note(data)
    verified: dict[VerifierKey, Signature] = {}
    unverified: list[Signature] = []
    for signature in note.unverified:
        key = known.get((signature.name, signature.key_id))
        if key is None:
            unverified.append(signature)
        else:
            key.verify(note.text, signature.value)
            verified.setdefault(key, signature)
    if not verified:
        raise ForgedError(Reason.KEY_UNKNOWN, "no known key signed the note")
    return Note(note.text, tuple(verified.values()), tuple(unverified), tuple(verified))


def _by_id(verifiers: Iterable[VerifierKey]) -> dict[tuple[str, bytes], VerifierKey]:
    known: dict[tuple[str, bytes], VerifierKey] = {}
    for key in verifiers:
        if known.setdefault((key.name, key.key_id), key) != key:
            raise MalformedError.at("verifiers", "two keys share a name and an id", Reason.CONFIGURATION_INVALID)
    return known


def _check_text(text: str) -> None:
    if not text.endswith("\n") or _NOT_TEXT.search(text):
        raise MalformedError.at("note", "must end in a newline and hold no other control character")


def _key_id(name: str, algorithm: int, public_key: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + bytes((algorithm,)) + public_key).digest()[:KEY_ID_BYTES]


def _parse_key(text: str, field: str) -> tuple[str, bytes, int, bytes]:
    """Name, key id, algorithm and key bytes of a vkey, or of an skey without its prefix."""
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    key = decode_base64(encoded, field)
    if not _NAME.fullmatch(name) or not _HEX_KEY_ID.fullmatch(key_id) or not key:
        raise MalformedError.at(field, "must be a name, 8 hex digits and base64, with plus signs between")
    return name, bytes.fromhex(key_id), key[0], key[1:]


def _format_key(name: str, key_id: bytes, algorithm: int, key: bytes) -> str:
    return f"{name}+{key_id.hex()}+{encode_base64(bytes((algorithm,)) + key)}"
