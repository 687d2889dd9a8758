"""Evidence: the key of a grant, wrapped, and what is kept under it."""

from __future__ import annotations

from itertools import count

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.functions.conftest import Fresh
from benchmarks.messages import FIVE, consent_to
from gateway.evidence.keks import FileKek, Keks
from gateway.evidence.vault import Vault
from gateway.packing import Kind
from gateway.protocol.codec import encode
from gateway.protocol.presentation import write_presentation
from tests.federation import Federation

DIGEST = bytes(range(32))
LIMIT = 1 << 16


@pytest.fixture
def vault() -> Vault:
    return Vault(Keks([FileKek(bytes(32))]))


@pytest.fixture
def presented(made: Federation) -> bytes:
    return encode(write_presentation(consent_to(made, FIVE).grants[0].presentation))


def test_evidence_encrypt(benchmark: BenchmarkFixture, vault: Vault, presented: bytes) -> None:
    key = vault.new_key()
    kept = benchmark(vault.encrypt, key, presented, DIGEST, Kind.GRANT)
    assert vault.decrypt(key, kept, DIGEST, LIMIT, Kind.GRANT) == presented


def test_evidence_decrypt(benchmark: BenchmarkFixture, vault: Vault, presented: bytes) -> None:
    key = vault.new_key()
    kept = vault.encrypt(key, presented, DIGEST, Kind.GRANT)
    assert benchmark(vault.decrypt, key, kept, DIGEST, LIMIT, Kind.GRANT) == presented


def test_evidence_key_wrap(fresh: Fresh, vault: Vault) -> None:
    numbers = count()
    wrapped = fresh(vault.wrap, lambda: (vault.new_key(), next(numbers).to_bytes(32, "big")))
    assert len(wrapped) > 32
