"""A department's batch of attestations by its size: one signature over all, so that each costs less in a larger one."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from gateway.protocol.attestation import SignedBatch, StatementProof, open_batch, open_statement, sign_batch
from tests.federation import Federation
from tests.protocol.casework import NOW, POLICE, SIGNED_AT, Case

SIZES = (1, 8, 64, 512)


def statements(amount: int) -> list[bytes]:
    case = Case()
    return [case.attest(POLICE, "hukou" if number % 2 else "identity") for number in range(amount)]


@pytest.mark.parametrize("size", SIZES)
def test_batch_sign(benchmark: BenchmarkFixture, made: Federation, size: int) -> None:
    benchmark.extra_info["items"] = size
    _, proofs = benchmark(sign_batch, statements(size), POLICE, made.signing_keys[POLICE], SIGNED_AT)
    assert len(proofs) == size


@pytest.mark.parametrize("size", SIZES)
def test_batch_verify(benchmark: BenchmarkFixture, made: Federation, size: int) -> None:
    """Signature, each path, and each statement read, as the gateway does."""
    benchmark.extra_info["items"] = size
    signed, proofs = sign_batch(statements(size), POLICE, made.signing_keys[POLICE], SIGNED_AT)

    def verify(signed: SignedBatch, proofs: tuple[StatementProof, ...]) -> int:
        batch = open_batch(signed, made.registry, NOW + 2)
        return len([open_statement(proof, batch) for proof in proofs])

    assert benchmark(verify, signed, proofs) == size
