"""Domain separation: what is signed or digested is always `"heyan.v1." + name + NUL + bytes`.

One name per type, so that a signature or digest of one type never stands for another. A signature is made
over `octets(...)`; a digest is SHA-256 of the same octets.
"""

from __future__ import annotations

from enum import StrEnum, unique
from hashlib import sha256

DIGEST_BYTES = 32


@unique
class Kind(StrEnum):
    """Names of everything that is signed or digested, as they stand in the contract."""

    QUERY = "Query"
    PART = "Part"
    APPLICATION = "Application"
    STATEMENT = "Statement"
    STATEMENT_BATCH = "StatementBatch"
    SEALED_SUBJECT = "SealedSubject"
    GRANT = "Grant"
    GRANT_PAYLOAD = "GrantPayload"
    PASSKEY_EVIDENCE = "PasskeyEvidence"
    PASSKEY_REVOCATION = "PasskeyRevocation"
    PASSKEY_DISPUTE = "PasskeyDispute"
    DISPUTE = "Dispute"
    DISPUTE_PROOF = "DisputeProof"
    QUESTION = "Question"
    RULES = "Rules"
    JOURNAL_ENTRY = "JournalEntry"
    JOURNAL_WITHHELD = "JournalWithheld"
    JOURNAL_HEAD = "JournalHead"
    OFFLINE_TICKET = "OfflineTicket"
    OFFLINE_RESULT = "OfflineResult"

    prefix: bytes

    def __init__(self, value: str) -> None:
        self.prefix = b"heyan.v1." + value.encode() + b"\x00"


def octets(kind: Kind, data: bytes) -> bytes:
    """What a signature of this kind covers."""
    return kind.prefix + data


def digest(kind: Kind, data: bytes) -> bytes:
    """SHA-256 of `octets(kind, data)`: 32 bytes."""
    return sha256(kind.prefix + data).digest()
