"""Every rule by which a grant is verified, used alike by the gateway and by every department node.

    open_grant          one presented grant: whose, genuine, current; which elements of it are shown
    authorize           one check: what it asks is what was granted, by those whose consent it needs
    require_evidence    one part: the passkey assertions that the registry asks for are there, and real

Invariants, in the order in which they are held:

1. The audience comes first. A grant for another requester is refused as such before anything else of it is looked
   at, so that nobody learns from a reason whether a stolen grant would be good.
2. Nothing of a grant is believed before its signature holds under a GRANT key that the registry gives its issuer
   *now*: a key that expired or was compromised takes its grants along. The signature may be remembered by the
   grant's digest; the key's standing, audience, times, status and uses never are.
3. A grant has one encoding, so that its digest, by which uses are counted, cannot be had twice (see `grant`).
4. Every disclosure shown is of the grant, once. One stray disclosure spoils the presentation (RFC 9901 §7.1).
5. A check rests on exactly the grants that its subjects need: on the guardian's, the first of the query, for child
   and guardian; on a co-resident's own for that co-resident. So nobody consents for another, no grant is spent that
   is not needed, and a child is never asked about without its guardian (个人信息保护法 art. 31).
6. A co-resident's grant counts only beside a guardian's grant on the same child and application (`txn`): the
   guardian's must be presented too, also where the check does not spend it.
7. Evidence is matched to a grant by the digest in its signed header, then to the passkey that the grant commits to,
   and only then judged as an assertion.

Not here: which grants a department is shown (`selection`), opening commitments (`gateway.protocol.subjects`, by the
node), whether a grant is withdrawn (`status_follower`, `revocation`), counting uses (the stores), the requester's own
terms (`query_rules`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from consent import grant as grants_format
from consent.disclosures import Authorization, disclosure_digest, read_disclosure
from consent.grant import GrantPayload
from consent.passkey import commit_key, read_evidence, verify_assertion
from consent.verified import Genuine, GenuineGrants, VerifiedGrant
from gateway.protocol import jws
from gateway.protocol.claims import Role
from gateway.protocol.codec import unb64url
from gateway.protocol.digests import Kind, digest
from gateway.protocol.errors import (
    BadDataError,
    ForgedError,
    MalformedError,
    NotCurrentError,
    NotGrantedError,
    UnknownPeerError,
)
from gateway.protocol.identities import PartyRole
from gateway.protocol.keys import PublicKey
from gateway.protocol.limits import EARLY_TOLERANCE, EXPIRY_TOLERANCE, MAX_DISCLOSURES, MAX_GRANT_LIFETIME
from gateway.protocol.presentation import Presentation
from gateway.protocol.query import Check, Part, Query
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.protocol.registry_terms import IssuerTerms, KeyUse

_GUARDED = frozenset({Role.CHILD, Role.GUARDIAN})
"""Whose data the guardian consents to."""


# -- one grant ----------------------------------------------------------------------------------------------


def open_grant(
    presentation: Presentation,
    *,
    requester: str,
    gateway: str,
    registry: Registry,
    now: float,
    opened: GenuineGrants | None = None,
) -> VerifiedGrant:
    """Verify a presented grant of `requester`, to be spent at `gateway`.

    Order: audience, shape and signature, issuer, legal basis, times, disclosures, place of spending. Raises
    NotGrantedError (GRANT_OTHER_REQUESTER, GRANT_OTHER_GATEWAY), ForgedError (GRANT_INVALID) or NotCurrentError
    (GRANT_EXPIRED, GRANT_NOT_YET_VALID).
    """
    known = opened.get(presentation.digest) if opened is not None else None
    _require_audience(presentation, requester, known)
    try:
        genuine = known if known is not None and _key_stands(known, registry, now) else None
        genuine = genuine or _open_genuine(presentation, registry, now, opened)
        disclosed = _open_disclosures(presentation, genuine.payload)
    except BadDataError as error:
        raise _invalid(error.detail) from None
    payload = genuine.payload
    terms = registry.party_in_role(requester, PartyRole.REQUESTER).requester
    if terms is None or payload.legal_basis not in terms.legal_bases:
        raise _invalid("a legal basis that the registry does not allow this requester")
    _require_current(payload, now)
    if disclosed and not any(gateway in element.locations for element in disclosed.values()):
        raise NotGrantedError(Reason.GRANT_OTHER_GATEWAY)
    return VerifiedGrant(
        digest=presentation.digest,
        issuer=payload.iss,
        jti=payload.jti,
        audience=payload.aud,
        actor=payload.actor,
        subjects=payload.commitments,
        authorizations=disclosed,
        acr=payload.acr,
        txn=payload.txn,
        status=payload.status.status_list,
        evidence_digest=genuine.evidence_digest,
        key_commitment=unb64url(payload.cnf.passkey, "grant.cnf"),
        payload_digest=genuine.payload_digest,
        expires=payload.exp,
        legal_basis=payload.legal_basis,
    )


def _require_audience(presentation: Presentation, requester: str, known: Genuine | None) -> None:
    try:
        audience = known.payload.aud if known is not None else _audience(presentation.grant)
    except MalformedError as error:
        raise _invalid(error.detail) from None
    if audience != requester:
        raise NotGrantedError(Reason.GRANT_OTHER_REQUESTER)


def _audience(token: str) -> object:
    try:
        return grants_format.read_grant(token).payload.aud
    except MalformedError:
        return grants_format.read_audience(token)  # whose it is comes before what is wrong with it


def _key_stands(known: Genuine, registry: Registry, now: float) -> bool:
    return registry.key(known.payload.iss, KeyUse.GRANT, known.key.key_id, now) == known.key


def _open_genuine(presentation: Presentation, registry: Registry, now: float, opened: GenuineGrants | None) -> Genuine:
    read = grants_format.read_grant(presentation.grant)
    registry.party_in_role(read.payload.iss, PartyRole.ISSUER)

    def issuer_key(kid: str) -> PublicKey:
        return registry.key(read.payload.iss, KeyUse.GRANT, kid, now)

    key = jws.verify_jws(presentation.grant, read.header, issuer_key)
    grants_format.require_one_encoding(presentation.grant, key.algorithm)
    genuine = Genuine(
        key, read.payload, grants_format.challenge_of(read.data), grants_format.evidence_digest(read.header)
    )
    if opened is not None:
        opened.put(presentation.digest, genuine)
    return genuine


def _require_current(payload: GrantPayload, now: float) -> None:
    begins = min(payload.iat, payload.nbf)
    if payload.exp <= max(payload.iat, payload.nbf) or payload.exp - begins > MAX_GRANT_LIFETIME:
        raise _invalid("a lifetime that is not positive, or over the bound")
    if max(payload.iat, payload.nbf) > now + EARLY_TOLERANCE:
        raise NotCurrentError(Reason.GRANT_NOT_YET_VALID)
    if now > payload.exp + EXPIRY_TOLERANCE:
        raise NotCurrentError(Reason.GRANT_EXPIRED)


def _open_disclosures(presentation: Presentation, payload: GrantPayload) -> dict[int, Authorization]:
    if len(presentation.disclosures) > MAX_DISCLOSURES:
        raise MalformedError.at("disclosures", f"must be at most {MAX_DISCLOSURES}")
    index_of = {value: index for index, value in enumerate(payload.disclosure_digests)}
    disclosed: dict[int, Authorization] = {}
    for text in presentation.disclosures:
        index = index_of.get(disclosure_digest(text))
        if index is None or index in disclosed:
            raise MalformedError.at("disclosures", "must be of the grant, each once")
        disclosed[index] = read_disclosure(text, index)
    return disclosed


def _invalid(detail: str) -> ForgedError:
    return ForgedError(Reason.GRANT_INVALID, detail)


# -- one check ----------------------------------------------------------------------------------------------


def authorize(check: Check, *, query: Query, grants: Mapping[bytes, VerifiedGrant], registry: Registry) -> None:
    """Hold a check against the presented `grants` (by digest): exactly what it asks was allowed.

    Order: the guardian's grant stands first; each element used is disclosed and covers claim, region, purpose and
    gateway, with enough assurance and life; the subjects stand in the grants of those who may consent for them;
    co-residents belong to the same child and application; no grant is used needlessly.
    Raises NotGrantedError or NotCurrentError (GRANT_EXPIRED), or MalformedError for a needless use.
    """
    guardians = _presented(query.grant_digests[0], grants)
    if guardians.actor is not Role.GUARDIAN:
        raise NotGrantedError(Reason.GRANT_SUBJECT_MISSING, "the first grant of the query is not a guardian's")
    used = [_presented(use.grant_digest, grants) for use in check.authorizations]
    for use, grant in zip(check.authorizations, used, strict=True):
        _require_covered(check, use.authorization, grant, query, registry)
    needed: set[bytes] = set()
    for role, commitment in check.subjects:
        needed.add(_consenting_grant(role, commitment, guardians, used).digest)
    for grant in used:
        if grant.actor is Role.CO_RESIDENT and not _belongs_to(grant, guardians):
            raise NotGrantedError(Reason.GRANT_OTHER_CHILD)
        if grant.digest not in needed:
            raise MalformedError.at("check.authorizations", "must not name a grant that no subject needs")


def _presented(grant_digest: bytes, grants: Mapping[bytes, VerifiedGrant]) -> VerifiedGrant:
    if grant_digest not in grants:
        raise NotGrantedError(Reason.AUTHORIZATION_NOT_DISCLOSED, "a grant that was not presented")
    return grants[grant_digest]


def _require_covered(check: Check, index: int, grant: VerifiedGrant, query: Query, registry: Registry) -> None:
    element = grant.authorizations.get(index)
    if element is None:
        raise NotGrantedError(Reason.AUTHORIZATION_NOT_DISCLOSED)
    if query.gateway not in element.locations:
        raise NotGrantedError(Reason.GRANT_OTHER_GATEWAY)
    if check.claim not in element.claims:
        raise NotGrantedError(Reason.CLAIM_NOT_GRANTED)
    if not element.covers_region(check.region):
        raise NotGrantedError(Reason.REGION_NOT_GRANTED)
    if element.purpose != query.purpose:
        raise NotGrantedError(Reason.PURPOSE_NOT_GRANTED)
    if grant.acr.rank < registry.claim_terms(check.claim).assurance.rank:
        raise NotGrantedError(Reason.ASSURANCE_TOO_LOW)
    if query.answer_until_time > grant.expires + EXPIRY_TOLERANCE:
        raise NotCurrentError(Reason.GRANT_EXPIRED, "the query may be answered after the grant's end")


def _consenting_grant(
    role: Role, commitment: bytes, guardians: VerifiedGrant, used: Sequence[VerifiedGrant]
) -> VerifiedGrant:
    """The used grant by which `role` is rightly asked about: the guardian's, or the co-resident's own."""
    for grant in used:
        rightly = grant.digest == guardians.digest if role in _GUARDED else grant.actor is Role.CO_RESIDENT
        if rightly and grant.subjects.get(role) == commitment:
            return grant
    raise NotGrantedError(Reason.GRANT_SUBJECT_MISSING, role.value)


def _belongs_to(grant: VerifiedGrant, guardians: VerifiedGrant) -> bool:
    return grant.txn == guardians.txn and grant.subjects[Role.CHILD] == guardians.subjects[Role.CHILD]


# -- evidence -----------------------------------------------------------------------------------------------


def verify_evidence(grant: VerifiedGrant, evidence: bytes, issuer_terms: IssuerTerms) -> None:
    """Hold passkey evidence against the grant that it should approve; ForgedError (EVIDENCE_INVALID)."""
    if digest(Kind.PASSKEY_EVIDENCE, evidence) != grant.evidence_digest:
        raise ForgedError(Reason.EVIDENCE_INVALID, "not the evidence that the grant names")
    read = read_evidence(evidence)
    if commit_key(read.key_salt, read.public_key) != grant.key_commitment:
        raise ForgedError(Reason.EVIDENCE_INVALID, "by another passkey than the grant commits to")
    verify_assertion(
        read.assertion,
        public_key=read.public_key,
        challenge=grant.payload_digest,
        rp_id=issuer_terms.rp_id,
        origins=issuer_terms.origins,
    )


def require_evidence(
    part: Part, grants: Mapping[bytes, VerifiedGrant], evidence: Sequence[bytes], registry: Registry
) -> None:
    """Demand real evidence for each grant that a check of `part` rests on, where the registry asks it of the claim.

    Raises NotGrantedError (EVIDENCE_MISSING) or ForgedError (EVIDENCE_INVALID). Evidence of no such grant is
    ignored: requester and node may hold neighbouring versions of the registry.
    """
    by_digest = {digest(Kind.PASSKEY_EVIDENCE, item): item for item in evidence}
    asked = {
        use.grant_digest
        for check in part.checks
        if registry.claim_terms(check.claim).evidence
        for use in check.authorizations
    }
    for grant_digest in sorted(asked):
        grant = _presented(grant_digest, grants)
        found = by_digest.get(grant.evidence_digest)
        if found is None:
            raise NotGrantedError(Reason.EVIDENCE_MISSING)
        verify_evidence(grant, found, _issuer_terms(grant, registry))


def _issuer_terms(grant: VerifiedGrant, registry: Registry) -> IssuerTerms:
    try:
        terms = registry.party_in_role(grant.issuer, PartyRole.ISSUER).issuer
    except UnknownPeerError as error:
        raise _invalid(error.detail) from None
    assert terms is not None  # noqa: S101 - the registry's check() ties terms to roles
    return terms
