"""What an issuer does, apart from HTTP: drafts, approvals, withdrawals, status lists.

- A grant is signed only on a passkey assertion over its very payload. A draft is approved once, within five minutes;
  any attempt uses it up.
- Whatever is wrong with an approval or a withdrawal (no such draft or grant, expired, another account, a bad
  assertion) is one refusal, and a draft for an unknown account or child looks like any other: an outsider learns
  nothing of who is enrolled.
- A person is not shown what the registry would refuse the requester anyway.
- A withdrawal is durable before it is answered, and stands in the very next status list. Repeating it gives the same
  statement.
- A grant ends no later than the key that signs it, since the two are judged together.

Methods block. One thread runs drafts, approvals and purges; one, which may be another, withdrawals and status lists:
they share nothing but the store. Clock and randomness are given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from consent.consent_file import GrantConsent
from consent.disclosures import Detail
from consent.drafting import Companion, RandomBytes, Request, draft_grant, seal_grant
from consent.grant import Relation, challenge_of, grant_digest, pseudonym, read_payload
from consent.issuer.accounts import CO_RESIDENT, PARENT, Account, Child, decoy, stand_in
from consent.issuer.draft_content import read_content, write_content
from consent.issuer.lists import PublishedLists
from consent.issuer.notices import ShownNotice, render
from consent.issuer.requests import DraftBody
from consent.issuer.store import IssuerStore, StoredGrant
from consent.passkey import Assertion, verify_assertion
from consent.revocation import Revocation, sign_revocation
from gateway.protocol.claims import Role, claim_named
from gateway.protocol.codec import b64url, unb64url
from gateway.protocol.digests import Kind, digest
from gateway.protocol.errors import ForgedError, MalformedError, NotGrantedError, OverloadedError
from gateway.protocol.identities import PartyRole
from gateway.protocol.keys import SigningKey
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.protocol.registry_terms import IssuerTerms, KeyUse

DRAFT_LIFETIME = 300.0
"""Seconds in which a draft must be approved."""


@dataclass(frozen=True, slots=True)
class IssuerSettings:
    """What does not change while the issuer runs."""

    spiffe_id: str
    pseudonym_secret: bytes = field(repr=False)
    grant_lifetime: int
    max_drafts: int


@dataclass(frozen=True, slots=True)
class Draft:
    """What the person's app is given to show and to have approved."""

    draft: str
    payload: bytes = field(repr=False)
    disclosures: tuple[str, ...] = field(repr=False)
    rp_id: str
    credential_id: bytes = field(repr=False)
    notice: ShownNotice

    @property
    def challenge(self) -> bytes:
        """What the passkey signs."""
        return challenge_of(self.payload)


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A withdrawal: the signed statement, and the gateway at which the grant might be spent."""

    statement: str
    gateway: str


class ConsentIssuer:
    """One issuer. `signing_key` gives the key that signs now; `random_bytes` is `secrets.token_bytes` in earnest."""

    def __init__(
        self,
        *,
        settings: IssuerSettings,
        store: IssuerStore,
        registry: Callable[[], Registry],
        signing_key: Callable[[], SigningKey],
        clock: Callable[[], float],
        random_bytes: RandomBytes,
    ) -> None:
        self._settings = settings
        self._store = store
        self._registry = registry
        self._signing_key = signing_key
        self._clock = clock
        self._random_bytes = random_bytes
        self._lists = PublishedLists(
            store=store,
            base_uri=lambda: self._terms(self._registry()).base_uri,
            signing_key=signing_key,
            clock=clock,
            random_bytes=random_bytes,
        )

    # -- drafts and approvals -------------------------------------------------------------------------------

    def draft(self, body: DraftBody) -> Draft:
        """Draft a grant. Raises MalformedError, NotGrantedError (what the registry does not allow), OverloadedError."""
        registry, now = self._registry(), self._clock()
        registry.require_current(now)
        details = tuple(detail.detail for detail in body.details)
        self._require_allowed(body, details, registry)
        if self._store.count_drafts() >= self._settings.max_drafts:
            raise OverloadedError(Reason.OVERLOADED, "drafts", retry_after=30.0)
        account, child, approvable = self._find(body)
        companion = None
        if body.acting_with is not None:
            companion, fits = self._companion(body, child, now)
            approvable = approvable and fits
        expires = min(int(now) + self._settings.grant_lifetime, self._key_end(registry))
        requester = registry.party_in_role(body.requester, PartyRole.REQUESTER)
        notice = render(body.lang, requester=requester.name, purpose=body.purpose, details=details, expires=expires)
        name = b64url(self._random_bytes(16))
        status_list, status = self._lists.reserve(name)
        drafted = draft_grant(
            Request(
                issuer=self._settings.spiffe_id,
                requester=body.requester,
                gateway=body.gateway,
                purpose=body.purpose,
                details=details,
                child=child.subject,
                actor=account.subject,
                actor_role=Role.GUARDIAN if companion is None else Role.CO_RESIDENT,
                relation=Relation(child.relation, self._settings.spiffe_id),
                acr=account.assurance,
                notice=notice.notice,
                status=status,
                issued_at=int(now),
                expires=expires,
                companion=companion,
            ),
            public_key=account.public_key,
            secret=self._settings.pseudonym_secret,
            random_bytes=self._random_bytes,
        )
        content = write_content(
            account.account_id, child.subject, drafted, gateway=body.gateway, status_list=status_list
        )
        self._store.put_draft(name, now + DRAFT_LIFETIME, content, approvable=approvable)
        return Draft(
            name, drafted.payload, drafted.disclosures, self._terms(registry).rp_id, account.credential_id, notice
        )

    def approve(self, draft: str, assertion: Assertion) -> GrantConsent:
        """Sign the grant of a draft, approved by its account's passkey; ForgedError (EVIDENCE_INVALID) for all else."""
        now, registry = self._clock(), self._registry()
        taken = self._store.take_draft(draft, now)
        if taken is None:
            raise ForgedError(Reason.EVIDENCE_INVALID, "no such draft")
        content = read_content(taken[0])
        account = self._account(content.account_id)
        self._verify(assertion, account, challenge_of(content.payload), registry)
        if not taken[1]:
            raise ForgedError(Reason.EVIDENCE_INVALID, "a draft that nobody can approve")
        token, evidence = seal_grant(
            content.payload, content.key_salt, account.public_key, assertion, self._signing_key()
        )
        payload = read_payload(content.payload)
        self._store.put_grant(
            StoredGrant(
                jti=payload.jti,
                digest=grant_digest(token),
                account_id=account.account_id,
                requester=payload.aud,
                gateway=content.gateway,
                expires=payload.exp,
                status_list=content.status_list,
                status_index=payload.status.status_list.idx,
                child_pseudonym=payload.sub,
                child_commitment=payload.commitments[Role.CHILD],
                txn=payload.txn,
                guardian=payload.actor is Role.GUARDIAN,
            ),
            draft,
        )
        people = {payload.actor: account.subject, Role.CHILD: content.child_subject}
        return GrantConsent(
            token=token,
            disclosures=content.disclosures,
            salts=content.salts,
            evidence=evidence,
            subjects={role: people[role] for role in content.salts},
        )

    # -- withdrawals and statuses ---------------------------------------------------------------------------

    def revoke(self, jti: str, assertion: Assertion) -> Withdrawn:
        """Withdraw a grant, by the passkey of its account; ForgedError (EVIDENCE_INVALID) for all else."""
        now, registry = self._clock(), self._registry()
        grant = self._store.grant(jti)
        if grant is None:
            raise ForgedError(Reason.EVIDENCE_INVALID, "no such grant")
        self._verify(
            assertion, self._account(grant.account_id), digest(Kind.PASSKEY_REVOCATION, grant.digest), registry
        )
        if grant.statement is not None:
            return Withdrawn(grant.statement, grant.gateway)
        revocation = Revocation(self._settings.spiffe_id, jti, grant.digest, int(now), grant.expires)
        statement = sign_revocation(revocation, self._signing_key())
        self._store.revoke(jti, now, statement)
        self._lists.changed(grant.status_list)
        return Withdrawn(statement, grant.gateway)

    def require_approved(self, account_id: str, challenge: bytes, assertion: Assertion) -> None:
        """Hold an assertion over `challenge` against the passkey of an account; ForgedError (EVIDENCE_INVALID)."""
        self._verify(assertion, self._account(account_id), challenge, self._registry())

    def status_list(self, number: int) -> str:
        """The token of a status list, signed within the last second; NotFoundError."""
        return self._lists.token(number)

    def purge(self) -> None:
        """Forget expired drafts and grants; call it now and then."""
        self._store.purge(self._clock())

    # -- what these rest on ---------------------------------------------------------------------------------

    def _require_allowed(self, body: DraftBody, details: tuple[Detail, ...], registry: Registry) -> None:
        terms = registry.party_in_role(body.requester, PartyRole.REQUESTER).requester
        registry.party_in_role(body.gateway, PartyRole.GATEWAY)
        if terms is None or body.purpose not in terms.purposes:
            raise NotGrantedError(Reason.PURPOSE_NOT_ALLOWED)
        for detail in details:
            for name in detail.claims:
                registry.claim_terms(claim_named(name).name)
            allowed = set(detail.claims) <= set(terms.claims)
            if not allowed or not all(terms.allows_region(region) for region in detail.regions):
                raise NotGrantedError(Reason.CLAIM_NOT_ALLOWED)
            if body.acting_with is not None and any(
                Role.CO_RESIDENT not in claim_named(name).roles for name in detail.claims
            ):
                raise MalformedError.at("details.claims", "must concern the co-resident, who consents to nothing else")

    def _find(self, body: DraftBody) -> tuple[Account, Child, bool]:
        """Account, child, and whether they exist and belong together; stand-ins otherwise."""
        account = self._account(body.account)
        child = account.child(body.child)
        as_guardian = body.acting_with is None
        if child is None or (child.relation == CO_RESIDENT) == as_guardian:
            nobody = stand_in(self._settings.pseudonym_secret, body.account, body.child)
            return account, Child(nobody, PARENT if as_guardian else CO_RESIDENT), False
        return account, child, True

    def _account(self, account_id: str) -> Account:
        return self._store.account(account_id) or decoy(self._settings.pseudonym_secret, account_id)

    def _companion(self, body: DraftBody, child: Child, now: float) -> tuple[Companion, bool]:
        """What a co-resident's grant repeats, and whether it is a standing grant of the same child and place.

        Whoever names a grant gets what that grant says anyway, so that the draft does not tell if the child fits.
        """
        grant = self._store.grant(body.acting_with or "")
        if grant is None or not grant.guardian or (grant.requester, grant.gateway) != (body.requester, body.gateway):
            return Companion(self._random_bytes(32), self._random_bytes(32), b64url(self._random_bytes(16))), False
        own = pseudonym(self._settings.pseudonym_secret, body.requester, child.subject)
        named = unb64url(grant.child_pseudonym, "child_pseudonym")
        stands = grant.revoked is None and grant.expires >= now
        return Companion(grant.child_commitment, named, grant.txn), stands and own == named

    def _verify(self, assertion: Assertion, account: Account, challenge: bytes, registry: Registry) -> None:
        terms = self._terms(registry)
        if assertion.credential_id != account.credential_id:
            raise ForgedError(Reason.EVIDENCE_INVALID, "another passkey")
        verify_assertion(
            assertion,
            public_key=account.public_key,
            challenge=challenge,
            rp_id=terms.rp_id,
            origins=terms.origins,
        )

    def _key_end(self, registry: Registry) -> int:
        kid = self._signing_key().key_id
        party = registry.party(self._settings.spiffe_id)
        return next(key.not_after for key in party.keys if key.kid == kid and key.use is KeyUse.GRANT)

    def _terms(self, registry: Registry) -> IssuerTerms:
        terms = registry.party_in_role(self._settings.spiffe_id, PartyRole.ISSUER).issuer
        assert terms is not None  # noqa: S101 - the registry's check() ties terms to roles
        return terms
