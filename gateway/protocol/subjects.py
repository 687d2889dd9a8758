"""A subject of a query, its canonical record, and the salted commitment that stands for it in public.

A commitment is HMAC-SHA-256 keyed with 32 random bytes over the canonical record. The salt is fresh for each
grant and role and travels only inside sealed subjects, so that neither the gateway nor a reader of the log
can guess an ID number by trying: region and birth date leave only about a thousand candidates.
"""

from __future__ import annotations

import hmac
import unicodedata
from dataclasses import dataclass, field
from enum import StrEnum, unique
from functools import cached_property
from hashlib import sha256

from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.reasons import Reason

SALT_BYTES = 32
COMMITMENT_BYTES = 32
MAX_ID_NUMBER_BYTES = 32
MAX_NAME_BYTES = 120
"""UTF-8 bytes: 40 Chinese characters, above the 35 or so of the longest registered names."""

_RECORD_PREFIX = b"heyan.v1.SubjectRecord\x00"


@unique
class IdType(StrEnum):
    """Kinds of identity document. Later kinds are added, never renamed."""

    RESIDENT_ID = "resident_id"
    HMT_RESIDENCE_PERMIT = "hmt_residence_permit"
    """港澳台居民居住证: residence permit of Hong Kong, Macao and Taiwan residents."""
    FOREIGN_PERMANENT_RESIDENT = "foreign_permanent_resident"
    """外国人永久居留身份证, of the 2023 form or the older one."""


@dataclass(frozen=True)
class Subject:
    """A person as an application names them. `repr` shows neither number nor name, so that no log line can."""

    id_type: IdType
    id_number: str = field(repr=False)
    name: str = field(repr=False)

    @cached_property
    def record(self) -> bytes:
        """See `canonical_record`; several steps of one question need it, and it is gone with the subject."""
        return _record_of(self)


def canonical_record(subject: Subject) -> bytes:
    """The one byte string of a subject: prefix, then each field with its 2-byte big-endian length.

    Number and name are NFKC-normalised, white space goes, the number is upper-cased: so both sides of a
    commitment agree however a clerk typed it. Raises MalformedError if a field is empty, too long, or no text.
    """
    return subject.record


def _record_of(subject: Subject) -> bytes:
    try:
        number = normalise_name(subject.id_number).upper().encode()
        name = normalise_name(subject.name).encode()
    except UnicodeEncodeError:
        raise MalformedError.at("subject", "must be Unicode text", Reason.IDENTIFIER_MALFORMED) from None
    if not 0 < len(number) <= MAX_ID_NUMBER_BYTES:
        raise MalformedError.at("id_number", "must not be empty or over 32 bytes", Reason.IDENTIFIER_MALFORMED)
    if not 0 < len(name) <= MAX_NAME_BYTES:
        raise MalformedError.at("name", "must not be empty or over 120 bytes", Reason.IDENTIFIER_MALFORMED)
    fields = (subject.id_type.value.encode(), number, name)
    return _RECORD_PREFIX + b"".join([len(part).to_bytes(2, "big") + part for part in fields])


def normalise_name(name: str) -> str:
    """NFKC, without white space: 「张 三」 and 「张三」 are one name; middle dots of minority names are kept."""
    joined = "".join(unicodedata.normalize("NFKC", name).split())
    # Again: what white space kept apart may compose, and a name normalised twice must be the same name.
    return unicodedata.normalize("NFKC", joined)


def commit(subject: Subject, salt: bytes) -> bytes:
    """The commitment to `subject` under `salt` (32 random bytes, fresh per grant and role)."""
    if len(salt) != SALT_BYTES:
        raise MalformedError.at("salt", f"must be {SALT_BYTES} bytes")
    return hmac.digest(salt, canonical_record(subject), sha256)


def open_commitment(commitment: bytes, subject: Subject, salt: bytes) -> None:
    """Hold `commitment` against `subject` and `salt` in constant time; ForgedError (COMMITMENT_MISMATCH)."""
    if not hmac.compare_digest(commitment, commit(subject, salt)):
        raise ForgedError(Reason.COMMITMENT_MISMATCH)
