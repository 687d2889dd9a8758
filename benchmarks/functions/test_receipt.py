"""Checking a receipt offline, by whoever holds it."""

from __future__ import annotations

from pytest_benchmark.fixture import BenchmarkFixture

from gateway.protocol.receipt import verify_receipt
from tests.protocol.casework import FEDERATION, OPERATOR, genuine


def test_receipt_verify_of_six_checks(benchmark: BenchmarkFixture) -> None:
    """With the registry that it brings."""
    verified = benchmark(verify_receipt, genuine().receipt(), OPERATOR)
    assert len(verified.answers) == 6


def test_receipt_verify_of_six_checks_with_known_registry(benchmark: BenchmarkFixture) -> None:
    """As a requester does, who verified that registry before."""
    verified = benchmark(verify_receipt, genuine().receipt(), OPERATOR, FEDERATION.registry)
    assert len(verified.answers) == 6
