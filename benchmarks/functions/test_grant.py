"""A grant: issuing it, and verifying one that was never seen, or seen before; the passkey's approval of it."""

from __future__ import annotations

from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.functions.conftest import Fresh
from benchmarks.messages import FIVE, NOW, consent_to
from consent.verification import open_grant, verify_evidence
from consent.verified import GenuineGrants, VerifiedGrant
from gateway.protocol.presentation import Presentation
from tests.federation import GATEWAY, ISSUER, REQUESTER, Federation


def opened(made: Federation, presentation: Presentation, remembered: GenuineGrants | None = None) -> VerifiedGrant:
    return open_grant(
        presentation, requester=REQUESTER, gateway=GATEWAY, registry=made.registry, now=NOW, opened=remembered
    )


def test_grant_issue(benchmark: BenchmarkFixture, made: Federation) -> None:
    """With the approval of a software passkey, which stands for the guardian's own."""
    assert len(benchmark(consent_to, made, FIVE).grants) == 1


def test_grant_verify(fresh: Fresh, made: Federation) -> None:
    grant = fresh(opened, lambda: (made, consent_to(made, FIVE).grants[0].presentation))
    assert grant.audience == REQUESTER


def test_grant_verify_remembered(benchmark: BenchmarkFixture, made: Federation) -> None:
    presentation, remembered = consent_to(made, FIVE).grants[0].presentation, GenuineGrants()
    grant = benchmark(opened, made, presentation, remembered)
    assert remembered.get(grant.digest) is not None


def test_passkey_evidence_verify(fresh: Fresh, made: Federation) -> None:
    """What a department does where the registry asks it of a claim."""
    terms = made.registry.party(ISSUER).issuer
    assert terms is not None

    def arguments() -> tuple[object, ...]:
        consent = consent_to(made, FIVE).grants[0]
        return opened(made, consent.presentation), consent.evidence, terms

    assert fresh(verify_evidence, arguments) is None
