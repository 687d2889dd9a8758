"""Sealing the subjects of a part to its department, and opening them there."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.messages import NOW, submission
from gateway.protocol.claims import DepartmentKind
from gateway.protocol.sealing import Sealed, open_sealed, seal
from heyan.v1 import query_pb2
from tests.federation import DEPARTMENTS, Federation

POLICE = DEPARTMENTS[DepartmentKind.POLICE]


@pytest.fixture
def sealed(made: Federation) -> tuple[Sealed, bytes]:
    sent = submission(made)
    return sent.parts[0].sealed, sent.signed.digest


@pytest.fixture
def envelope(made: Federation, sealed: tuple[Sealed, bytes]) -> query_pb2.SubjectEnvelope:
    return open_sealed(sealed[0], made.opening_keys[POLICE], POLICE, sealed[1])


def test_subject_seal(
    benchmark: BenchmarkFixture, made: Federation, envelope: query_pb2.SubjectEnvelope, sealed: tuple[Sealed, bytes]
) -> None:
    (key,) = made.registry.sealing_keys(POLICE, NOW)
    made_now = benchmark(seal, envelope, key, POLICE, sealed[1])
    assert open_sealed(made_now, made.opening_keys[POLICE], POLICE, sealed[1]) == envelope


def test_subject_open(benchmark: BenchmarkFixture, made: Federation, sealed: tuple[Sealed, bytes]) -> None:
    found = benchmark(open_sealed, sealed[0], made.opening_keys[POLICE], POLICE, sealed[1])
    assert [subject.role for subject in found.subjects] == ["child"]
