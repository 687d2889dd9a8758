"""Resolutions: a department's word on a dispute, which can never stand for an answer, nor an answer for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.protocol.attestation import open_batch, open_statement, read_proof, read_signed_batch, read_statement
from gateway.protocol.codec import encode
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.limits import NONCE_SIZE
from gateway.protocol.reasons import Reason
from gateway.protocol.resolutions import (
    Resolution,
    ResolutionOutcome,
    ResolutionReason,
    is_resolution,
    open_resolution,
    read_resolution,
    write_resolution,
)
from heyan.v1 import attestation_pb2
from tests.protocol.casework import FEDERATION, LAND, POLICE, SIGNED_AT, Case, refused

RESOLUTION = Resolution(b"d" * 32, POLICE, ResolutionReason.RECORD_UPDATED, SIGNED_AT, bytes(NONCE_SIZE))
CASE = Case()


def opened(statement: bytes, department: str = POLICE) -> Resolution:
    (attested,) = CASE.batch(department, statement)
    batch = open_batch(read_signed_batch(attested.batch), FEDERATION.registry, SIGNED_AT)
    return open_resolution(read_proof(attested.proof), batch)


def bent(**changes: Any) -> bytes:
    statement = attestation_pb2.Statement.FromString(write_resolution(RESOLUTION))
    for name, value in changes.items():
        setattr(statement.resolution, name, value)
    return encode(statement)


def test_a_resolution_is_read_as_it_was_signed() -> None:
    for reason in ResolutionReason:
        resolution = replace(RESOLUTION, reason=reason)
        assert opened(write_resolution(resolution)) == resolution
        assert resolution.outcome in ResolutionOutcome


def test_resolution_is_no_answer_to_a_query() -> None:
    with refused(MalformedError, Reason.ATTESTATION_INVALID):
        read_statement(write_resolution(RESOLUTION))
    (attested,) = CASE.batch(POLICE, write_resolution(RESOLUTION))
    batch = open_batch(read_signed_batch(attested.batch), FEDERATION.registry, SIGNED_AT)
    with refused(MalformedError, Reason.ATTESTATION_INVALID):
        open_statement(read_proof(attested.proof), batch)


@pytest.mark.parametrize("statement", [CASE.attest(POLICE, "hukou"), CASE.refuse(POLICE), b"rubbish", b""])
def test_what_is_no_resolution_is_read_as_none(statement: bytes) -> None:
    assert not is_resolution(statement)
    with pytest.raises(MalformedError):
        read_resolution(statement)


def test_resolution_by_another_department_is_refused() -> None:
    with refused(ForgedError, Reason.ATTESTATION_INVALID):
        opened(write_resolution(RESOLUTION), department=LAND)


def test_resolution_outside_its_batch_is_refused() -> None:
    (attested,) = CASE.batch(POLICE, write_resolution(RESOLUTION))
    batch = open_batch(read_signed_batch(attested.batch), FEDERATION.registry, SIGNED_AT)
    proof = replace(
        read_proof(attested.proof), statement=write_resolution(replace(RESOLUTION, nonce=b"n" * NONCE_SIZE))
    )
    with refused(ForgedError, Reason.PROOF_INVALID):
        open_resolution(proof, batch)


@pytest.mark.parametrize(
    "change",
    [
        {"outcome": 2},  # upheld, for a reason that corrects
        {"outcome": 0},
        {"reason": 0},
        {"reason": 6},
        {"reason": 4},  # a reason that upholds, for a correction
        {"nonce": b"short"},
        {"statement_digest": b"d" * 31},
    ],
)
def test_resolution_that_contradicts_itself_is_refused(change: dict[str, Any]) -> None:
    with refused(MalformedError, Reason.ATTESTATION_INVALID):
        opened(bent(**change))


def test_every_outcome_encodes_to_one_size() -> None:
    sizes = {len(write_resolution(replace(RESOLUTION, reason=reason))) for reason in ResolutionReason}
    assert len(sizes) == 1
