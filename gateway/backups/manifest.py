"""What a backup says of itself: a signed note, so that neither the copy nor what is said of it can be changed.

    backup/manifest      this, signed with the gateway's log key, under a name of its own
    backup/checkpoint    of the log that grows, for whoever wants to show how far a log was seen
    backup/store.db      the store

Its text is `heyan-backup/1`, a newline, one line of JSON and a newline: never a checkpoint, whose second line is a
number, so that the log key may sign both. What is not in a backup: any key.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gateway.protocol.checkpoint import Checkpoint, open_checkpoint
from gateway.protocol.codec import decode_json
from gateway.protocol.errors import BadDataError, ForgedError, MalformedError
from gateway.protocol.keys import Algorithm, PublicKey
from gateway.protocol.log_keys import proof_verifiers
from gateway.protocol.note import ED25519, SignerKey, VerifierKey, open_note, sign_note
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.stores.records import Head

STORE_FILE = "store.db"
CHECKPOINT_FILE = "checkpoint"
MANIFEST_FILE = "manifest"
LAST_BACKUP_FILE = "last-backup"
"""Beside the newest registry seen: written when a backup was made, for `heyan doctor`."""

_FORMAT = "heyan-backup/1\n"


class ShardRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One log of the store: its number, and its head. `root` is hexadecimal."""

    number: int
    origin: str
    first: int
    size: int
    root: str
    checkpoint: str

    @classmethod
    def of(cls, head: Head) -> ShardRow:
        """The row of a head."""
        return cls(head.number, head.origin, head.first, head.size, head.root.hex(), head.checkpoint)


class FileRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file: its name, its size, and its SHA-256 in hexadecimal."""

    name: str
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`time` is in seconds since the epoch, `gateway` a SPIFFE ID, `heyan` the version that made the backup."""

    heyan: str
    gateway: str
    time: float
    registry_version: int
    shards: tuple[ShardRow, ...]
    files: tuple[FileRow, ...]

    @property
    def growing(self) -> ShardRow:
        """The log that grew when the backup was made."""
        return self.shards[-1]


_decoder: msgspec.json.Decoder[Manifest] = msgspec.json.Decoder(Manifest)


def signer_name(gateway: str) -> str:
    """The key name under which a gateway (SPIFFE ID) signs manifests: no log's origin, so no checkpoint's."""
    return f"{gateway}/backup"


def write_manifest(manifest: Manifest, seed: bytes) -> bytes:
    """The signed manifest; `seed` is that of an Ed25519 log key."""
    signer = SignerKey.from_seed(signer_name(manifest.gateway), seed)
    text = f"{_FORMAT}{msgspec.json.encode(manifest).decode()}\n"
    return sign_note(text, [signer]).encode()


def read_manifest(data: bytes, gateway: str, keys: Iterable[PublicKey]) -> Manifest:
    """The manifest that one of a gateway's log keys signed; ForgedError or MalformedError (BACKUP_INVALID)."""
    name = signer_name(gateway)
    try:
        plain = (key.public for key in keys if key.algorithm is Algorithm.ED25519)
        text = open_note(data, [VerifierKey.of(name, ED25519, public) for public in plain]).text
    except BadDataError as error:
        raise ForgedError(Reason.BACKUP_INVALID, f"no manifest of {gateway}: {error.detail}") from None
    if not text.startswith(_FORMAT):
        raise MalformedError.at(MANIFEST_FILE, f"must be of the format {_FORMAT.strip()}", Reason.BACKUP_INVALID)
    found = decode_json(_decoder, text.removeprefix(_FORMAT).encode(), MANIFEST_FILE, Reason.BACKUP_INVALID)
    if found.gateway != gateway or not found.shards:
        raise MalformedError.at(MANIFEST_FILE, f"must be of {gateway}, and name its log", Reason.BACKUP_INVALID)
    return found


def require_signed(heads: Iterable[Head], registry: Registry, gateway: str) -> None:
    """Hold each head's checkpoint against the registry's log keys; ForgedError or MalformedError (BACKUP_INVALID)."""
    for head in heads:
        verifiers = proof_verifiers(registry, gateway, head.origin, 0.0)
        try:
            checkpoint = open_checkpoint(head.checkpoint.encode(), verifiers, head.origin)
        except BadDataError as error:
            detail = f"the checkpoint of {head.origin}: {error.detail}"
            raise ForgedError(Reason.BACKUP_INVALID, detail) from None
        if checkpoint != Checkpoint(head.origin, head.size, head.root):
            raise ForgedError(Reason.BACKUP_INVALID, f"the checkpoint of {head.origin} is not of its tree")
