"""A query: making, reading, and verifying it."""

from __future__ import annotations

from itertools import cycle

from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.functions.conftest import Fresh
from benchmarks.messages import FIVE, NOW, consent_to, submission, submission_of
from gateway.protocol.codec import parse
from gateway.protocol.digests import Kind
from gateway.protocol.limits import MAX_MESSAGE
from gateway.protocol.presentation import read_submission, write_submission
from gateway.protocol.query_rules import match_parts, open_query
from heyan.v1 import gateway_service_pb2
from tests.federation import GATEWAY, REQUESTER, Federation


def test_query_sign(benchmark: BenchmarkFixture, made: Federation) -> None:
    key, signed = made.signing_keys[REQUESTER], submission(made, FIVE).signed
    assert len(benchmark(key.sign, Kind.QUERY, signed.query)) == 64


def test_query_verify(benchmark: BenchmarkFixture, made: Federation) -> None:
    queries = cycle([submission(made, FIVE).signed for _ in range(32)])

    def verify() -> object:
        return open_query(next(queries), requester=REQUESTER, gateway=GATEWAY, registry=made.registry, now=NOW)

    assert benchmark(verify).requester == REQUESTER


def test_submission_make_of_five_checks(fresh: Fresh, made: Federation) -> None:
    sent = fresh(submission_of, lambda: (made, FIVE, consent_to(made, FIVE)))
    assert len(sent.parts) == 4


def test_submission_read_of_five_checks(benchmark: BenchmarkFixture, made: Federation) -> None:
    data = write_submission(submission(made, FIVE)).SerializeToString()

    def read() -> object:
        return read_submission(parse(gateway_service_pb2.VerifyRequest, data, MAX_MESSAGE))

    assert len(benchmark(read).parts) == 4


def test_parts_match_of_five_checks(benchmark: BenchmarkFixture, made: Federation) -> None:
    sent = submission(made, FIVE)
    query = open_query(sent.signed, requester=REQUESTER, gateway=GATEWAY, registry=made.registry, now=NOW)
    parts = [part.part for part in sent.parts]
    assert sum(len(part.part.checks) for part in benchmark(match_parts, query, parts)) == 5
