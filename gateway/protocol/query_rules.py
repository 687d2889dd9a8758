"""The rules of a query that need no consent, used alike by the gateway and by every node.

    open_query     signature, requester, gateway, times      (before any part is read)
    match_parts    the parts are those of the query, all of them
    require_sealed_until_answered   what is deferred can be opened to its end
    check_policy   claim, parameters, roles, region, purpose are allowed by the registry; nothing is asked twice

Consent is `consent.verification`'s; opening a subject is the node's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gateway.protocol.claims import check_parameters, claim_named
from gateway.protocol.digests import Kind
from gateway.protocol.errors import ForgedError, MalformedError, NotCurrentError, NotGrantedError
from gateway.protocol.identities import PartyRole
from gateway.protocol.limits import EARLY_TOLERANCE, EXPIRY_TOLERANCE, MAX_CHECKS, MAX_QUERY_LIFETIME
from gateway.protocol.query import Check, OpenedPart, Part, Query, SignedQuery, open_part, read_query
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.protocol.registry_terms import KeyUse


def open_query(signed: SignedQuery, *, requester: str | None, gateway: str, registry: Registry, now: float) -> Query:
    """Verify a query for `gateway`, and for the connection's `requester` where there is one.

    Order: shape, requester, signature, gateway, not too early, lifetime. Whether it is expired is
    `require_unexpired`'s and `require_answerable`'s, because a repeated request_id is looked up in between.
    Raises MalformedError, ForgedError, NotGrantedError or NotCurrentError.
    """
    query = read_query(signed.query)
    if requester is not None and query.requester != requester:
        raise NotGrantedError(Reason.QUERY_OTHER_REQUESTER)
    party = registry.party_in_role(query.requester, PartyRole.REQUESTER)
    key = registry.key(party.id, KeyUse.QUERY, signed.key_id, now, Reason.QUERY_SIGNATURE_INVALID)
    key.verify(signed.signature, Kind.QUERY, signed.query, Reason.QUERY_SIGNATURE_INVALID)
    if query.gateway != gateway:
        raise NotGrantedError(Reason.QUERY_OTHER_GATEWAY)
    if query.issue_time > now + EARLY_TOLERANCE:
        raise NotCurrentError(Reason.QUERY_NOT_YET_VALID)
    if not query.issue_time < query.expire_time <= query.issue_time + MAX_QUERY_LIFETIME:
        raise MalformedError.at("query.expire_time", f"must be at most {MAX_QUERY_LIFETIME:.0f} s after issue_time")
    assert party.requester is not None  # noqa: S101 - the registry's check() ties terms to roles
    latest = max(query.expire_time, query.issue_time + party.requester.deferral_seconds)
    if not query.expire_time <= query.answer_until_time <= latest:
        raise MalformedError.at("query.answer_until_time", "must be expire_time, or as late as the registry allows")
    return query


def require_unexpired(query: Query, now: float) -> None:
    """Refuse first acceptance after expire_time; NotCurrentError (QUERY_EXPIRED)."""
    if now > query.expire_time + EXPIRY_TOLERANCE:
        raise NotCurrentError(Reason.QUERY_EXPIRED)


def require_answerable(query: Query, now: float) -> None:
    """Refuse any further answer after answer_until_time; NotCurrentError (QUERY_EXPIRED)."""
    if now > query.answer_until_time + EXPIRY_TOLERANCE:
        raise NotCurrentError(Reason.QUERY_EXPIRED)


def match_parts(query: Query, parts: Sequence[bytes]) -> tuple[OpenedPart, ...]:
    """Read `parts` and hold them against the query: all of its parts, each once, in any order.

    Raises ForgedError (QUERY_PARTS_MISMATCH) or MalformedError.
    """
    opened = tuple(open_part(data) for data in parts)
    if tuple(sorted(part.digest for part in opened)) != query.part_digests:
        raise ForgedError(Reason.QUERY_PARTS_MISMATCH)
    departments = [part.part.department for part in opened]
    check_ids = [check.check_id for part in opened for check in part.part.checks]
    if len(set(departments)) != len(departments):
        raise MalformedError.at("parts", "must be one for each department")
    if len(set(check_ids)) != len(check_ids):
        raise MalformedError.at("parts.checks.check_id", "must be unique within the query")
    if len(check_ids) > MAX_CHECKS:
        raise MalformedError(Reason.TOO_MANY_CHECKS, f"{len(check_ids)} checks")
    for part in opened:
        require_grants_of_query(query, part.part)
    return opened


def require_grants_of_query(query: Query, part: Part) -> None:
    """Refuse a part that rests on a grant which the query does not name; ForgedError (QUERY_PARTS_MISMATCH)."""
    if not part.grant_digests <= set(query.grant_digests):
        raise ForgedError(Reason.QUERY_PARTS_MISMATCH, "rests on a grant that the query does not name")


def require_sealed_until_answered(query: Query, sealed_to: Mapping[str, str], registry: Registry) -> None:
    """Refuse a deferred query whose subjects nobody could open to the end; `sealed_to`: key id by department.

    Each sealing key MUST last until answer_until_time, so that no node is asked to keep one longer for a deferral.
    Raises MalformedError.
    """
    if not query.allows_deferral:
        return
    for department, key_id in sealed_to.items():
        ends = {key.kid: key.not_after for key in registry.sealing_keys_of(department)}
        if query.answer_until_time > ends.get(key_id, 0):
            raise MalformedError.at("parts.sealed.key_id", "must name a sealing key that lasts until answer_until_time")


def check_policy(query: Query, part: Part, registry: Registry) -> None:
    """Hold a part against vocabulary and registry: claim, parameters, roles, requester's terms, node's coverage.

    Raises MalformedError or NotGrantedError.
    """
    terms = registry.party_in_role(query.requester, PartyRole.REQUESTER).requester
    node = registry.party_in_role(part.department, PartyRole.DEPARTMENT).department
    assert terms is not None and node is not None  # noqa: S101, PT018 - the registry's check() ties terms to roles
    if query.purpose not in terms.purposes:
        raise NotGrantedError(Reason.PURPOSE_NOT_ALLOWED)
    for check in part.checks:
        claim = claim_named(check.claim)
        check_parameters(claim, dict(check.parameters))
        if {role for role, _ in check.subjects} != claim.roles:
            raise MalformedError.at("checks.subjects", "must be the roles of the claim, no more and no fewer")
        registry.claim_terms(check.claim)
        if check.claim not in terms.claims or not terms.allows_region(check.region):
            raise NotGrantedError(Reason.CLAIM_NOT_ALLOWED)
        if node.prefix_length(check.claim, check.region) is None:
            raise NotGrantedError(Reason.REGION_NOT_SERVED)


def require_single_questions(checks: Iterable[Check]) -> None:
    """Refuse to ask a claim of the same subjects twice: thresholds or counties side by side tell a value, not a fact.

    For one use of a consent, and one of a probing budget, it would be bisected: an itemised claim alone may be asked
    once for each of its values. Raises MalformedError (ASKED_TWICE).
    """
    asked: set[tuple[object, ...]] = set()
    for check in checks:
        values = check.parameters if claim_named(check.claim).itemised else ()
        question = (check.claim, check.subjects, values)
        if question in asked:
            raise MalformedError.at("checks", "must ask a claim of the same subjects once", Reason.ASKED_TWICE)
        asked.add(question)


def require_one_family(checks: Iterable[Check]) -> None:
    """Refuse checks that name two persons in one role: what is true of one and of another is true of no family.

    Two co-residents of a child may both consent; one that owns a home and another of the child's household would
    together replace a paper that neither does. Raises MalformedError.
    """
    named: dict[str, bytes] = {}
    for check in checks:
        for role, commitment in check.subjects:
            if named.setdefault(role, commitment) != commitment:
                raise MalformedError.at("checks.subjects", f"must name one {role} in all checks of an application")
