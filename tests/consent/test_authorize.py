"""Attacks on a check: asking more, elsewhere, for something else, or about somebody else than was allowed."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from consent.consent_file import ConsentFile
from consent.disclosures import Detail
from consent.selection import presentations_for, select_disclosures
from consent.verification import authorize
from gateway.protocol.claims import CLAIMS, Role
from gateway.protocol.matrix import PURPOSE_ENROLMENT
from gateway.protocol.presentation import Presentation
from gateway.protocol.query import GrantUse
from gateway.protocol.reasons import Reason
from gateway.protocol.registry_terms import Assurance, ClaimTerms
from tests.federation import BIG_FAMILY, FAMILY, GATEWAY, OTHER_GATEWAY, REGION, companion_of

HUKOU, HOME, INSURANCE = "hukou.child_registered@1", "property.owns_home@1", "insurance.paid_months@1"
GUARDIAN_OF, HOUSEHOLD = "guardianship.guardian_of@1", "kinship.same_household@1"
CO_RESIDENT_HOME = "property.co_resident_owns_home@1"


@pytest.fixture
def ask(desk):
    """`ask(consent, claim, …)` opens the grants and authorizes one check of the claim."""

    def run(consent, claim, *, query=None, grants=None, shown=None, **changes):
        check = desk.check(consent, claim, **changes)
        opened = desk.open_all(shown or consent) if grants is None else grants
        authorize(check, query=query or desk.query(consent), grants=opened, registry=desk.federation.registry)

    return run


@pytest.mark.parametrize("claim", sorted(CLAIMS))
def test_what_was_granted_is_authorized(ask, federation, claim):
    ask(federation.issue(BIG_FAMILY), claim)


def test_every_check_can_stand_on_the_grants_that_its_department_is_shown(desk, federation):
    consent = federation.issue(BIG_FAMILY)
    query = desk.query(consent)
    for claim in CLAIMS:
        check = desk.check(consent, claim)
        shown = presentations_for(desk.part([check]), query, [grant.presentation for grant in consent.grants])
        grants = {presentation.digest: desk.open(presentation) for presentation in shown}
        authorize(check, query=query, grants=grants, registry=federation.registry)
        elements = sum(len(grant.authorizations) for grant in grants.values())
        assert elements == len(check.authorizations)


# -- more than was granted ----------------------------------------------------------------------------------


def test_claim_that_was_not_granted_is_refused(ask, desk, federation, refused):
    consent = federation.issue(details=[Detail((HUKOU,), (REGION,), 1)])
    uses = desk.check(consent, HUKOU).authorizations
    child = consent.grants[0].claims.commitments[Role.CHILD]
    elsewhere = replace(desk.check(consent, HUKOU), claim="hukou.child_registered_elsewhere@1")
    assert elsewhere.subjects == ((Role.CHILD, child),)
    assert elsewhere.authorizations == uses
    with refused(Reason.CLAIM_NOT_GRANTED):
        authorize(elsewhere, query=desk.query(consent), grants=desk.open_all(consent), registry=federation.registry)


@pytest.mark.parametrize("region", ["430103", "430202", "110101"])
def test_region_that_was_not_granted_is_refused(ask, federation, region, refused):
    with refused(Reason.REGION_NOT_GRANTED):
        ask(federation.issue(), HUKOU, region=region)


@pytest.mark.parametrize(("granted", "asked"), [("43", "433130"), ("4301", "430181"), ("430102", "430102")])
def test_region_is_granted_by_prefix(ask, desk, federation, granted, asked):
    consent = federation.issue(details=[Detail((HUKOU,), (granted,), 1)])
    index = consent.grants[0].authorizations[0].index
    check = desk.check(federation.issue(), HUKOU)
    check = replace(
        check,
        region=asked,
        subjects=((Role.CHILD, consent.grants[0].claims.commitments[Role.CHILD]),),
        authorizations=(GrantUse(consent.grants[0].digest, index),),
    )
    authorize(check, query=desk.query(consent), grants=desk.open_all(consent), registry=federation.registry)


@pytest.mark.parametrize("region", ["", "4", "430", "43010", "4301021", "湖南", "43010２"])
def test_element_with_a_region_that_is_none_cannot_be_made(federation, region, refused):
    with refused(Reason.MESSAGE_MALFORMED):
        federation.issue(details=[Detail((HUKOU,), (region,), 1)])


@pytest.mark.parametrize("uses", [0, -1, 1_001])
def test_element_with_uses_out_of_bounds_cannot_be_made(federation, uses, refused):
    with refused(Reason.MESSAGE_MALFORMED):
        federation.issue(details=[Detail((HUKOU,), (REGION,), uses)])


def test_purpose_that_was_not_granted_is_refused(ask, desk, federation, refused):
    consent = federation.issue()
    with refused(Reason.PURPOSE_NOT_GRANTED):
        ask(consent, HUKOU, query=desk.query(consent, purpose="marketing"))


def test_query_through_another_gateway_is_refused(ask, desk, federation, refused):
    consent = federation.issue()
    with refused(Reason.GRANT_OTHER_GATEWAY):
        ask(consent, HUKOU, query=desk.query(consent, gateway=OTHER_GATEWAY))


def test_assurance_that_is_too_low_is_refused(ask, desk, federation, refused):
    with refused(Reason.ASSURANCE_TOO_LOW):
        ask(federation.issue(acr=Assurance.LOW), HUKOU)
    ask(federation.issue(acr=Assurance.SUBSTANTIAL), HUKOU)
    claims = tuple(
        ClaimTerms(terms.claim, Assurance.HIGH) if terms.claim == HUKOU else terms
        for terms in federation.registry.document.claims
    )
    desk.federation = federation.changed(lambda document: msgspec.structs.replace(document, claims=claims))
    with refused(Reason.ASSURANCE_TOO_LOW):
        ask(federation.issue(acr=Assurance.SUBSTANTIAL), HUKOU)


def test_query_that_outlives_its_grant_is_refused(ask, desk, federation, now, refused):
    consent = federation.issue(expires=int(now) + 3_600)
    ask(consent, HUKOU, query=desk.query(consent, answer_until_time=now + 3_600))
    with refused(Reason.GRANT_EXPIRED):
        ask(consent, HUKOU, query=desk.query(consent, answer_until_time=now + 3_606))


# -- not disclosed ------------------------------------------------------------------------------------------


def test_element_that_was_not_disclosed_is_refused(ask, desk, federation, refused):
    consent = federation.issue()
    grant = desk.open(Presentation(consent.grants[0].token, ()))
    with refused(Reason.AUTHORIZATION_NOT_DISCLOSED):
        ask(consent, HUKOU, grants={grant.digest: grant})


def test_index_that_the_grant_does_not_have_is_refused(ask, federation, refused):
    consent = federation.issue()
    with refused(Reason.AUTHORIZATION_NOT_DISCLOSED):
        ask(consent, HUKOU, authorizations=(GrantUse(consent.grants[0].digest, 999),))


def test_grant_that_was_not_presented_is_refused(ask, desk, federation, refused):
    consent, other = federation.issue(), federation.issue()
    with refused(Reason.AUTHORIZATION_NOT_DISCLOSED):
        ask(consent, HUKOU, authorizations=(GrantUse(other.grants[0].digest, 0),))
    with refused(Reason.AUTHORIZATION_NOT_DISCLOSED):
        ask(consent, HUKOU, grants={})


def test_department_is_shown_no_more_than_its_part_rests_on(desk, federation):
    consent = federation.issue(BIG_FAMILY)
    presentations = [grant.presentation for grant in consent.grants]
    query = desk.query(consent)
    only_guardian = presentations_for(desk.part([desk.check(consent, HOME)]), query, presentations)
    assert [shown.digest for shown in only_guardian] == [consent.grants[0].digest]
    assert len(only_guardian[0].disclosures) == 1
    both = presentations_for(desk.part([desk.check(consent, CO_RESIDENT_HOME)]), query, presentations)
    assert [len(shown.disclosures) for shown in both] == [0, 1]


def test_disclosures_that_are_not_at_hand_cannot_be_selected(desk, federation, refused):
    consent = federation.issue()
    presentation = consent.grants[0].presentation
    assert select_disclosures(presentation, [1, 0, 1]).disclosures == presentation.disclosures[:2]
    for shown, index in ((presentation, 99), (Presentation(presentation.grant, ()), 0)):
        with refused(Reason.AUTHORIZATION_NOT_DISCLOSED):
            select_disclosures(shown, [index])
    with refused(Reason.AUTHORIZATION_NOT_DISCLOSED):
        presentations_for(desk.part([desk.check(consent, HUKOU)]), desk.query(consent), [])


# -- somebody else ------------------------------------------------------------------------------------------


def test_subject_that_stands_in_no_grant_is_refused(ask, federation, refused):
    with refused(Reason.GRANT_SUBJECT_MISSING):
        ask(federation.issue(), HUKOU, subjects=((Role.CHILD, bytes(32)),))


def test_commitment_of_another_role_is_refused(ask, federation, refused):
    consent = federation.issue()
    guardian = consent.grants[0].claims.commitments[Role.GUARDIAN]
    with refused(Reason.GRANT_SUBJECT_MISSING):
        ask(consent, HUKOU, subjects=((Role.CHILD, guardian),))


def test_child_of_another_grant_of_the_query_is_refused(ask, federation, refused):
    """A second guardian's grant, listed behind the first, lends its child to nobody."""
    first, second = federation.issue(), federation.issue()
    both = ConsentFile((*first.grants, *second.grants))
    child = second.grants[0].claims.commitments[Role.CHILD]
    index = next(element.index for element in second.grants[0].authorizations if HUKOU in element.claims)
    with refused(Reason.GRANT_SUBJECT_MISSING):
        ask(
            both,
            HUKOU,
            subjects=((Role.CHILD, child),),
            authorizations=(GrantUse(second.grants[0].digest, index),),
        )


def test_consent_without_a_guardian_is_refused(ask, desk, federation, refused):
    consent = federation.issue(BIG_FAMILY)
    alone = desk.query(consent, grant_digests=(consent.grants[1].digest,))
    for claim in (CO_RESIDENT_HOME, HOUSEHOLD, HUKOU):
        with refused(Reason.GRANT_SUBJECT_MISSING):
            ask(consent, claim, query=alone)


def test_co_resident_does_not_consent_for_the_child(ask, federation, refused):
    """The co-resident's grant repeats the child's commitment, but a check on the child needs the guardian's."""
    details = [Detail((HUKOU, HOUSEHOLD), (REGION,), 1)]
    guardians = federation.issue_one(FAMILY, tuple(details))
    own = federation.issue_one(BIG_FAMILY, tuple(details), actor=Role.CO_RESIDENT, companion=companion_of(guardians))
    consent = ConsentFile((guardians, own))
    ask(consent, HOUSEHOLD)
    with refused(Reason.GRANT_SUBJECT_MISSING):
        ask(consent, HUKOU, authorizations=(GrantUse(own.digest, 0),))
    with refused(Reason.GRANT_SUBJECT_MISSING):
        ask(consent, HOUSEHOLD, authorizations=(GrantUse(own.digest, 0),))


def test_guardian_does_not_consent_for_the_co_resident(ask, desk, federation, refused):
    consent = federation.issue(BIG_FAMILY)
    index = next(element.index for element in consent.grants[0].authorizations if HOUSEHOLD in element.claims)
    with refused(Reason.GRANT_SUBJECT_MISSING):
        ask(consent, HOUSEHOLD, authorizations=(GrantUse(consent.grants[0].digest, index),))


def test_co_residents_grant_of_another_child_is_refused(ask, federation, refused):
    guardians, elsewhere = federation.issue().grants[0], federation.issue().grants[0]
    details = (Detail((CO_RESIDENT_HOME,), (REGION,), 1),)
    stolen = replace(companion_of(elsewhere), txn=guardians.claims.txn)
    own = federation.issue_one(BIG_FAMILY, details, actor=Role.CO_RESIDENT, companion=stolen)
    with refused(Reason.GRANT_OTHER_CHILD):
        ask(ConsentFile((guardians, own)), CO_RESIDENT_HOME)


def test_co_residents_grant_of_another_application_is_refused(ask, federation, refused):
    guardians, elsewhere = federation.issue().grants[0], federation.issue().grants[0]
    details = (Detail((CO_RESIDENT_HOME,), (REGION,), 1),)
    stolen = replace(companion_of(guardians), txn=elsewhere.claims.txn)
    own = federation.issue_one(BIG_FAMILY, details, actor=Role.CO_RESIDENT, companion=stolen)
    with refused(Reason.GRANT_OTHER_CHILD):
        ask(ConsentFile((guardians, own)), CO_RESIDENT_HOME)


def test_two_co_residents_are_told_apart(ask, desk, federation):
    consent = federation.issue(BIG_FAMILY)
    guardians = consent.grants[0]
    second = federation.issue_one(
        BIG_FAMILY,
        (Detail((CO_RESIDENT_HOME,), (REGION,), 1),),
        actor=Role.CO_RESIDENT,
        companion=companion_of(guardians),
    )
    three = ConsentFile((*consent.grants, second))
    footing = three.footing(CO_RESIDENT_HOME, REGION, purpose=PURPOSE_ENROLMENT, gateway=GATEWAY, co_resident=1)
    assert footing.uses == (GrantUse(second.digest, 0),)
    ask(three, CO_RESIDENT_HOME, subjects=footing.subjects, authorizations=footing.uses)


def test_needless_grant_is_refused_so_that_no_use_of_it_is_spent(ask, desk, federation, refused):
    details = (Detail(tuple(sorted(CLAIMS)), (REGION,), 1),)
    wide = federation.issue_one(FAMILY, details)
    wide_own = federation.issue_one(BIG_FAMILY, details, actor=Role.CO_RESIDENT, companion=companion_of(wide))
    both = ConsentFile((wide, wide_own))
    uses = (GrantUse(wide.digest, 0), GrantUse(wide_own.digest, 0))
    ask(both, HOUSEHOLD, authorizations=uses)
    for claim in (HUKOU, CO_RESIDENT_HOME, INSURANCE, GUARDIAN_OF):
        with refused(Reason.MESSAGE_MALFORMED):
            ask(both, claim, authorizations=uses)


def test_consent_file_says_what_is_missing(federation, refused):
    consent = federation.issue()
    where = {"purpose": PURPOSE_ENROLMENT, "gateway": GATEWAY}
    with refused(Reason.GRANT_SUBJECT_MISSING):
        consent.footing(CO_RESIDENT_HOME, REGION, **where)
    with refused(Reason.CLAIM_NOT_GRANTED):
        consent.footing(HUKOU, "430103", **where)
    with refused(Reason.GRANT_SUBJECT_MISSING):
        ConsentFile(()).footing(HUKOU, REGION, **where)
