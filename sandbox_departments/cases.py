"""By what a department finds the case behind an answer again, when somebody disputes it: pseudonyms and digests only.

A case is a question about persons: claim, region, parameters, and who stands in which role. Its name is an HMAC under
the node's own secret, so that whoever reads the journal learns no person from it, and the same question about the same
persons has the same name in every request.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

import msgspec

from gateway.protocol.subjects import canonical_record
from sandbox_departments.register import Question

_PREFIX = b"heyan.v1.Case\x00"


@dataclass(frozen=True, slots=True)
class CaseFile:
    """What is kept of an answered request: the case behind each statement, by its digest; who issued each grant."""

    cases: Mapping[bytes, bytes]
    issuers: Mapping[bytes, str]


def case_of(question: Question, secret: bytes) -> bytes:
    """The name of a question about persons, 32 bytes. `secret` is the node's own."""
    subjects = sorted((role.value, canonical_record(subject)) for role, subject in question.subjects.items())
    said = (question.claim, question.region, sorted(question.parameters.items()), subjects)
    return hmac.digest(secret, _PREFIX + msgspec.msgpack.encode(said), sha256)


def write_case_file(file: CaseFile) -> bytes:
    """The bytes of a row."""
    return msgspec.msgpack.encode((file.cases, file.issuers))


def read_case_file(data: bytes) -> CaseFile:
    """What `write_case_file` wrote."""
    cases, issuers = msgspec.msgpack.decode(data, type=tuple[dict[bytes, bytes], dict[bytes, str]])
    return CaseFile(cases, issuers)
