"""The sandbox's guardians: simulated people with software passkeys, who consent and withdraw as real ones would."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path

from consent.authenticator import derive_authenticator
from consent.consent_file import ConsentFile
from consent.disclosures import Detail, group_details
from consent.guardian import GuardianApp, Person
from gateway.cli.endpoints import Endpoints, read_endpoints
from gateway.cli.options import usage_error
from gateway.cli.sandbox import account_id
from gateway.cli.sandbox_rules import SandboxRules
from gateway.party.keyfiles import read_private
from gateway.protocol.claims import Role
from gateway.protocol.disputes import Dispute
from gateway.protocol.errors import NotFoundError
from gateway.protocol.identities import Identity, PartyRole
from sandbox_departments.people import Application
from sandbox_departments.truth import Truth, find_truth

MAX_USES = 5
"""Uses of each element: an application, and room for its corrections."""


class Guardians:
    """The guardians of one sandbox; an asynchronous context manager over the connection to its issuer.

    They consent to being asked through `gateway`, the sandbox's own if none is named. Raises MalformedError with every
    problem of the sandbox's rule packs.
    """

    def __init__(self, folder: Path, gateway: Identity | None = None) -> None:
        self._endpoints: Endpoints = read_endpoints(folder)
        self._gateway = gateway or Identity(PartyRole.GATEWAY, self._endpoints.gateway.id)
        self._rules = SandboxRules(folder / self._endpoints.rules)
        self._secret = read_private(folder / self._endpoints.guardians)
        self._app = GuardianApp(self._endpoints.consent.url, _trusting(folder / self._endpoints.ca))

    async def __aenter__(self) -> Guardians:
        """Connect."""
        await self._app.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> None:
        """Disconnect."""
        await self._app.__aexit__(None, None, None)

    async def consent(self, application: Application, requester: str) -> ConsentFile:
        """The family's consent to the checks of its application, for `requester` (its id)."""
        return await self.consent_to(application, requester, self.details(application))

    def details(self, application: Application, max_uses: int = MAX_USES) -> tuple[Detail, ...]:
        """What the family consents to: whatever its county may ask it for this school, whichever its group.

        So the group may be stated or left open. The fields of the student record that may be on file are among it.
        """
        asked = self._rules.asked(application.case)
        claims = (check.claim for check in asked.plan + asked.fields)
        return group_details(claims, (application.region,), max_uses)

    async def consent_to(self, application: Application, requester: str, details: Sequence[Detail]) -> ConsentFile:
        """The family's consent to `details`, for `requester`."""
        has_co_resident = Role.CO_RESIDENT in application.subjects
        return await self._app.issue(
            self._account(application.family, Role.GUARDIAN),
            application.subjects[Role.CHILD].id_number,
            requester=Identity(PartyRole.REQUESTER, requester).uri,
            gateway=self._gateway.uri,
            details=details,
            co_residents=[self._account(application.family, Role.CO_RESIDENT)] if has_co_resident else [],
        )

    async def withdraw(self, family: str, consent: ConsentFile) -> int:
        """Withdraw every grant of a consent; how many."""
        for grant in consent.grants:
            await self._app.revoke(self._account(family, grant.claims.actor), grant)
        return len(consent.grants)

    async def dispute(self, family: str, role: Role, dispute: Dispute) -> None:
        """Dispute an answer that rests on the grant of the family's guardian or co-resident."""
        await self._app.dispute(self._account(family, role), dispute)

    def _account(self, family: str, role: Role) -> Person:
        account = account_id(family, role)
        return Person(account, derive_authenticator(self._secret, account))


def _trusting(ca: Path) -> ssl.SSLContext:
    """TLS that trusts the sandbox's CA and no other, as a guardian's app has no certificate of its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca)
    return context


def find_family(folder: Path, family: str) -> Truth:
    """What the sandbox knows of a family; MalformedError if there is none of that name."""
    endpoints = read_endpoints(folder)
    try:
        return find_truth(folder / endpoints.truth, family)
    except NotFoundError:
        raise usage_error("--family", f"must be a family of {folder / endpoints.truth}, such as F000001") from None
