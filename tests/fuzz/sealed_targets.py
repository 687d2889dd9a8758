"""Sealed subjects and what is inside: ciphertexts, envelopes, openings, seeds, encrypted evidence."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives import hpke

from gateway.evidence.keks import FileKek, Keks
from gateway.evidence.vault import Vault
from gateway.packing import Kind as Packing
from gateway.packing import pack, unpack
from gateway.party.keyfiles import load_sealing_key, save_sealing_key
from gateway.protocol.codec import encode, parse
from gateway.protocol.digests import Kind, octets
from gateway.protocol.limits import ENVELOPE_SIZE, MAX_MESSAGE
from gateway.protocol.presentation import read_presented_part
from gateway.protocol.registry_terms import Suite
from gateway.protocol.sealing import (
    VERSION,
    Sealed,
    open_sealed,
    pad_envelope,
    private_from_seed,
    seal,
)
from heyan.v1 import query_pb2
from sandbox_departments.answering import Situation, admit, open_subjects
from sandbox_departments.asks import Ask, read_ask
from tests.fuzz.target import Target, text
from tests.sandbox.asking import GATEWAY, POLICE, World

_WORLD = World()
_ASKED: Ask = read_ask(_WORLD.ask())
_SITUATION = Situation(POLICE.uri, _WORLD.registry, _WORLD.now)
_ADMITTED = admit(_ASKED, GATEWAY.uri, _SITUATION)
_KEY = _WORLD.opening["seal-police"]
_QUERY = _ADMITTED.query_digest
_FOLDER = tempfile.TemporaryDirectory(prefix="heyan-fuzz-")  # removed when the process ends
_SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_128_GCM)
_PUBLIC = _KEY.private.public_key()  # type: ignore[union-attr]
_VAULT = Vault(Keks([FileKek(bytes(32), bytes)]), bytes)
_EVIDENCE_KEY = bytes(range(32))
_BOUND = b"what it belongs to"


def _ciphertext(data: bytes) -> object:
    return open_sealed(Sealed(VERSION, _KEY.key_id, data), _KEY, POLICE.uri, _QUERY)


def _presented(data: bytes) -> object:
    presented = read_presented_part(parse(query_pb2.PresentedPart, data, MAX_MESSAGE))
    return open_sealed(presented.sealed, _KEY, POLICE.uri, _QUERY)


def _info() -> bytes:
    fields = (str(VERSION).encode(), _KEY.suite.value.encode(), _KEY.key_id.encode(), POLICE.uri.encode(), _QUERY)
    return octets(Kind.SEALED_SUBJECT, b"".join(len(part).to_bytes(2, "big") + part for part in fields))


def _plaintext(data: bytes) -> object:
    """Whatever a requester may put into an envelope, sealed as it should be, and opened by the node's rules."""
    padded = data[:ENVELOPE_SIZE].ljust(ENVELOPE_SIZE, b"\x00")
    sealed = Sealed(VERSION, _KEY.key_id, _SUITE.encrypt(padded, _PUBLIC, info=_info()))
    return _opened(sealed)


def _envelope(data: bytes) -> object:
    """The same for what is an envelope."""
    envelope = parse(query_pb2.SubjectEnvelope, data, MAX_MESSAGE)
    return _opened(seal(envelope, _WORLD.sealing["seal-police"], POLICE.uri, _QUERY))


def _opened(sealed: Sealed) -> object:
    ask = replace(_ASKED, part=replace(_ASKED.part, sealed=sealed))
    admitted = replace(_ADMITTED, ask=ask, sealed_digest=sha256(sealed.ciphertext).digest())
    return open_subjects(admitted, {_KEY.key_id: _KEY}, _SITUATION)


def _padded(data: bytes) -> object:
    return pad_envelope(parse(query_pb2.SubjectEnvelope, data, MAX_MESSAGE))


def _has_one_size(_data: bytes, value: object) -> bool:
    assert isinstance(value, bytes)
    return len(value) == ENVELOPE_SIZE


def _seed_file(data: bytes) -> object:
    path = Path(_FOLDER.name) / "seal.key"
    path.touch(mode=0o600)
    path.write_bytes(data)
    return load_sealing_key(path)


def targets() -> tuple[Target, ...]:
    envelope = open_sealed(_ASKED.part.sealed, _KEY, POLICE.uri, _QUERY)
    plaintext = encode(envelope)
    presented = query_pb2.PresentedPart(part=_ASKED.part.part)
    presented.sealed.version, presented.sealed.key_id = VERSION, _KEY.key_id
    presented.sealed.ciphertext = _ASKED.part.sealed.ciphertext
    bare = query_pb2.SubjectEnvelope()
    bare.CopyFrom(envelope)
    bare.ClearField("padding")
    seed = save_sealing_key(Path(_FOLDER.name), "seal", Suite.X25519, bytes(32)).read_bytes()
    wrapped = _VAULT.wrap(_EVIDENCE_KEY, _QUERY)
    return (
        Target("ciphertext", _ciphertext, (_ASKED.part.sealed.ciphertext,)),
        Target("presented part", _presented, (encode(presented),)),
        Target("sealed plaintext", _plaintext, (plaintext,)),
        Target("sealed envelope", _envelope, (encode(bare),)),
        Target("padded envelope", _padded, (encode(bare),), _has_one_size),
        Target("hybrid seed", lambda data: private_from_seed(Suite.HYBRID, data), (bytes(96),)),
        Target("X25519 seed", lambda data: private_from_seed(Suite.X25519, data), (bytes(32),)),
        Target("seed file", _seed_file, (seed, text(seed).replace("\n", "").encode())),
        Target("wrapped key", lambda data: _VAULT.unwrap(data, _QUERY), (wrapped,), lambda data, _: data == wrapped),
        Target(
            "evidence at rest",
            lambda data: _VAULT.decrypt(_EVIDENCE_KEY, data, _BOUND, MAX_MESSAGE),
            (_VAULT.encrypt(_EVIDENCE_KEY, b"grant", _BOUND),),
        ),
        Target(
            "packed evidence",
            lambda data: unpack(Packing.GRANT, data, MAX_MESSAGE),
            (pack(Packing.GRANT, encode(presented)),),
        ),
    )
