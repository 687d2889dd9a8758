"""A journal as its department hands it to auditors: its signed end, and the first and last line of the file.

The form of the file is told in `journal.proto`. Nodes write it, auditors read it; what stands in entries is theirs.
A `JournalHead` is the department's word that its journal ends so at a time: two of them that cannot be of one chain
convict it. Invariants of `open_head`:

- the signature is by an answer key of the very department that the head names, which counted at the head's time, and
  was not known to be compromised when the head was received;
- a head does not come from the future;
- sequence 0 goes with the hash before the first entry, and no other.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from gateway.protocol.codec import decode_json, encode, from_timestamp, parse_canonical, to_timestamp
from gateway.protocol.digests import DIGEST_BYTES, Kind, digest
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.keys import SigningKey
from gateway.protocol.limits import EARLY_TOLERANCE
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.protocol.registry_terms import KeyUse
from heyan.v1 import journal_pb2

GENESIS = bytes(DIGEST_BYTES)
"""What the first entry of a chain names as the hash before it."""

FORMAT = 1
MAX_HEAD = 1_024
"""Bytes of a JournalHead: a SPIFFE ID, a hash and three numbers."""
MAX_LINE = 1 << 20
"""Bytes of a line: an entry of 256 statements has about 30,000, one with a checkpoint 16 kB more."""


@dataclass(frozen=True, slots=True)
class JournalHead:
    """A journal's end: number (0 if empty) and hash of its last entry. `time` is seconds since the epoch."""

    department: str
    sequence: int
    hash: bytes
    time: float
    registry_version: int


class SignedHead(msgspec.Struct, frozen=True, tag="head", forbid_unknown_fields=True):
    """A JournalHead's exact bytes with its department's signature: the last line of a file."""

    head: bytes
    key_id: str
    signature: bytes

    def unverified(self) -> JournalHead:
        """What it says, whoever signed it; MalformedError."""
        return _read_head(self.head)


class Header(msgspec.Struct, frozen=True, tag="journal", forbid_unknown_fields=True):
    """The first line of a file: entries `first` to `last` follow, `previous` is the hash before them."""

    format: int
    department: str
    first: int
    last: int
    previous: bytes
    time: float

    def __post_init__(self) -> None:
        """Raise ValueError, which a reader turns into MalformedError, for what cannot be."""
        if self.format != FORMAT:
            raise ValueError("an unknown format")
        if self.first < 1 or self.last < self.first - 1 or len(self.previous) != DIGEST_BYTES:
            raise ValueError("numbers or hash that cannot be")
        if (self.first == 1) != (self.previous == GENESIS):
            raise ValueError("a beginning that is none")


_headers: msgspec.json.Decoder[Header] = msgspec.json.Decoder(Header)
_heads: msgspec.json.Decoder[SignedHead] = msgspec.json.Decoder(SignedHead)


def link(previous: bytes, entry: bytes) -> bytes:
    """The hash of an entry after the one that has hash `previous`."""
    return digest(Kind.JOURNAL_ENTRY, previous + entry)


def sign_head(head: JournalHead, key: SigningKey) -> SignedHead:
    """The head under an answer key of its department."""
    data = encode(
        journal_pb2.JournalHead(
            department=head.department,
            sequence=head.sequence,
            hash=head.hash,
            time=to_timestamp(head.time),
            registry_version=head.registry_version,
        )
    )
    return SignedHead(data, key.key_id, key.sign(Kind.JOURNAL_HEAD, data))


def open_head(signed: SignedHead, registry: Registry, received: float) -> JournalHead:
    """Verify a head that came, or was noted, at `received`. ForgedError, MalformedError, UnknownPeerError."""
    head = signed.unverified()
    if head.time > received + EARLY_TOLERANCE:
        raise ForgedError(Reason.SIGNATURE_INVALID, "signed in the future")
    key = registry.key(head.department, KeyUse.ANSWER, signed.key_id, head.time, recorded=received)
    key.verify(signed.signature, Kind.JOURNAL_HEAD, signed.head)
    return head


def _read_head(data: bytes) -> JournalHead:
    message = parse_canonical(journal_pb2.JournalHead, data, MAX_HEAD)
    if len(message.hash) != DIGEST_BYTES or (message.sequence == 0) != (message.hash == GENESIS):
        raise MalformedError.at("head", "must have a number, and the hash that goes with it")
    time = from_timestamp(message, "time")
    return JournalHead(message.department, message.sequence, message.hash, time, message.registry_version)


# -- lines --------------------------------------------------------------------------------------------------


def write_line(line: Header | SignedHead) -> bytes:
    """The first or the last line of a file, without its newline."""
    return msgspec.json.encode(line)


def read_header(line: bytes) -> Header:
    """The first line of a file; MalformedError."""
    return decode_json(_headers, _limited(line), "header")


def read_signed_head(line: bytes) -> SignedHead:
    """The last line of a file; MalformedError. Verifies nothing."""
    return decode_json(_heads, _limited(line), "head")


def _limited(line: bytes) -> bytes:
    if len(line) > MAX_LINE:
        raise MalformedError.at("line", f"must not exceed {MAX_LINE} bytes", Reason.MESSAGE_TOO_LARGE)
    return line
