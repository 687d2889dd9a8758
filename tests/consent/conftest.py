"""Fixtures of the consent tests: a federation at a fixed time, and the small steps that tests take apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from consent.consent_file import ConsentFile, GrantConsent
from consent.grant import sign_grant
from consent.verification import open_grant
from consent.verified import VerifiedGrant
from gateway.protocol.claims import claim_named
from gateway.protocol.codec import unb64url
from gateway.protocol.errors import HeyanError
from gateway.protocol.matrix import PURPOSE_ENROLMENT
from gateway.protocol.presentation import Presentation
from gateway.protocol.query import Check, Part, Query
from gateway.protocol.reasons import Reason
from tests.federation import DEPARTMENTS, GATEWAY, ISSUER, REGION, REQUESTER, Federation

NOW = 1_800_000_000.0


@pytest.fixture
def now() -> float:
    return NOW


@pytest.fixture
def federation() -> Federation:
    return Federation.create(NOW)


@dataclass
class Desk:
    """A requester's and a verifier's view of one federation; `federation` and `now` may be replaced."""

    federation: Federation
    now: float

    def open(self, shown: GrantConsent | Presentation, **changes: Any) -> VerifiedGrant:
        presentation = shown.presentation if isinstance(shown, GrantConsent) else shown
        values = {
            "requester": REQUESTER,
            "gateway": GATEWAY,
            "registry": self.federation.registry,
            "now": self.now,
            **changes,
        }
        return open_grant(presentation, **values)

    def open_all(self, consent: ConsentFile, **changes: Any) -> dict[bytes, VerifiedGrant]:
        grants = [self.open(grant, **changes) for grant in consent.grants]
        return {grant.digest: grant for grant in grants}

    def query(self, consent: ConsentFile, **changes: Any) -> Query:
        values = {
            "request_id": bytes(16),
            "requester": REQUESTER,
            "gateway": GATEWAY,
            "issue_time": self.now,
            "expire_time": self.now + 60,
            "answer_until_time": self.now + 60,
            "purpose": PURPOSE_ENROLMENT,
            "grant_digests": tuple(grant.digest for grant in consent.grants),
            "part_digests": (bytes(32),),
            **changes,
        }
        return Query(**values)

    def check(self, consent: ConsentFile, claim: str, region: str = REGION, **changes: Any) -> Check:
        footing = consent.footing(claim, REGION, purpose=PURPOSE_ENROLMENT, gateway=GATEWAY)
        values = {
            "check_id": "a",
            "claim": claim,
            "region": region,
            "parameters": (),
            "subjects": footing.subjects,
            "authorizations": footing.uses,
            **changes,
        }
        return Check(**values)

    def part(self, checks: Iterable[Check]) -> Part:
        listed = tuple(checks)
        return Part(bytes(32), DEPARTMENTS[claim_named(listed[0].claim).department], listed)

    def resign(self, grant: GrantConsent, edit: Callable[[dict[str, Any]], object]) -> GrantConsent:
        """The grant with an edited payload, signed by the issuer all the same."""
        payload = json.loads(unb64url(grant.token.split(".")[1], "payload"))
        edit(payload)
        data = json.dumps(payload).encode()
        token = sign_grant(data, grant.evidence, self.federation.signing_keys[ISSUER])
        return GrantConsent(token, grant.disclosures, grant.salts, grant.evidence, grant.subjects)


@pytest.fixture
def desk(federation: Federation) -> Desk:
    return Desk(federation, NOW)


@pytest.fixture
def refused() -> Callable[[Reason], Any]:
    """`with refused(Reason.X):` passes if that reason, and no other, is given."""

    class Expect:
        def __init__(self, reason: Reason) -> None:
            self.reason = reason

        def __enter__(self) -> None:
            return None

        def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
            assert isinstance(error, HeyanError), f"not refused, but should be: {self.reason}"
            assert error.reason is self.reason, f"{error} instead of {self.reason}"
            return True

    return Expect
