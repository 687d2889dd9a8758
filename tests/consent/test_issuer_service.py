"""The issuer's rules, without HTTP: who may approve and withdraw, and what an outsider learns."""

from __future__ import annotations

import json
from hashlib import sha256
from random import Random

import msgspec
import pytest

from consent.authenticator import derive_authenticator
from consent.disclosures import group_details
from consent.issuer.accounts import Child
from consent.issuer.lists import PublishedLists
from consent.issuer.requests import ApprovalBody, read_body
from consent.issuer.service import DRAFT_LIFETIME
from consent.revocation import open_revocation
from consent.verification import verify_evidence
from gateway.protocol.claims import Role
from gateway.protocol.codec import b64url
from gateway.protocol.reasons import Reason
from gateway.protocol.registry_terms import KeyUse
from tests.consent.issuers import HUKOU, OTHER_CHILD, Issuer, statuses
from tests.federation import (
    BASE_URI,
    CHILD,
    CO_RESIDENT,
    DAY,
    FAMILY,
    GATEWAY,
    GUARDIAN,
    ISSUER,
    ORIGIN,
    OTHER_GATEWAY,
    OTHER_REQUESTER,
    REGION,
    REQUESTER,
    RP_ID,
    edit_party,
    key_terms,
)


@pytest.fixture
def issuer(federation, tmp_path, now):
    issuer = Issuer(federation, tmp_path / "consent" / "consent.db", now)
    yield issuer
    issuer.store.close()


def test_approved_draft_is_a_grant_that_verifies(desk, issuer, federation):
    consent = issuer.issue()
    grant = desk.open(consent)
    verify_evidence(grant, consent.evidence, federation.registry.party(ISSUER).issuer)
    assert dict(consent.subjects) == dict(FAMILY)
    assert grant.status.uri.startswith(f"{BASE_URI}/status-lists/")
    assert grant.expires == int(issuer.now) + 90 * DAY


def test_co_resident_acts_beside_the_guardian(desk, issuer):
    guardians = issuer.issue()
    own = issuer.issue_beside(guardians)
    assert own.claims.txn == guardians.claims.txn
    assert own.claims.commitments[Role.CHILD] == guardians.claims.commitments[Role.CHILD]
    assert desk.open(own).actor is Role.CO_RESIDENT
    assert dict(own.subjects) == {Role.CO_RESIDENT: CO_RESIDENT}


# -- approvals ----------------------------------------------------------------------------------------------


def test_draft_is_approved_once(issuer, refused):
    draft = issuer.service.draft(issuer.body())
    issuer.service.approve(draft.draft, issuer.assertion(draft))
    with refused(Reason.EVIDENCE_INVALID):
        issuer.service.approve(draft.draft, issuer.assertion(draft))


def test_failed_approval_uses_the_draft_up(issuer, refused):
    draft = issuer.service.draft(issuer.body())
    with refused(Reason.EVIDENCE_INVALID):
        issuer.service.approve(draft.draft, issuer.assertion(draft, user_verified=False))
    with refused(Reason.EVIDENCE_INVALID):
        issuer.service.approve(draft.draft, issuer.assertion(draft))


def test_expired_draft_is_refused(issuer, refused):
    draft = issuer.service.draft(issuer.body())
    issuer.now += DRAFT_LIFETIME + 1
    with refused(Reason.EVIDENCE_INVALID):
        issuer.service.approve(draft.draft, issuer.assertion(draft))


@pytest.mark.parametrize(
    "changes", [{"who": "other"}, {"rp_id": "evil.test"}, {"origin": "https://evil.test"}, {"user_verified": False}]
)
def test_wrong_assertion_is_refused(issuer, changes, refused):
    draft = issuer.service.draft(issuer.body())
    with refused(Reason.EVIDENCE_INVALID):
        issuer.service.approve(draft.draft, issuer.assertion(draft, **changes))


def test_assertion_of_another_draft_is_refused(issuer, refused):
    one, other = issuer.service.draft(issuer.body()), issuer.service.draft(issuer.body())
    with refused(Reason.EVIDENCE_INVALID):
        issuer.service.approve(one.draft, issuer.assertion(other))


def test_draft_for_an_unknown_account_looks_like_any_other_and_is_never_approved(issuer, refused):
    known = issuer.service.draft(issuer.body())
    pseudonyms = {json.loads(known.payload)["sub"]}
    for changes in (
        {"account": "nobody"},
        {"child": "439900201809010025"},
        {"account": "grandpa"},  # lives with the child, is no guardian
    ):
        draft = issuer.service.draft(issuer.body(**changes))
        assert draft.notice.text == known.notice.text
        payload, usual = json.loads(draft.payload), json.loads(known.payload)
        assert {name: type(value) for name, value in payload.items()} == {name: type(v) for name, v in usual.items()}
        assert (payload["rel"], payload["acr"]) == (usual["rel"], usual["acr"])
        pseudonyms.add(payload["sub"])
        assert len(draft.credential_id) == len(known.credential_id)
        again = issuer.service.draft(issuer.body(**changes))
        assert again.credential_id == draft.credential_id
        who = changes.get("account", "mother")
        passkey = derive_authenticator(b"p" * 32, "decoy:nobody") if who == "nobody" else issuer.passkeys[who]
        with refused(Reason.EVIDENCE_INVALID):
            issuer.service.approve(draft.draft, passkey.approve(draft.challenge, rp_id=RP_ID, origin=ORIGIN))
    assert len(pseudonyms) == 4


def test_co_resident_cannot_act_for_another_child_place_or_time(issuer, refused):
    guardians = issuer.issue()
    elsewhere = issuer.issue(child=OTHER_CHILD.id_number)
    own = issuer.issue_beside(guardians)
    bad = [
        {"account": "other", "child": OTHER_CHILD.id_number},
        {"child": OTHER_CHILD.id_number},
        {"acting_with": elsewhere.claims.jti},
        {"acting_with": own.claims.jti},
        {"acting_with": "unknown"},
        {"requester": OTHER_REQUESTER},
        {"gateway": OTHER_GATEWAY},
        {"account": "mother"},
    ]
    for changes in bad:
        with refused(Reason.EVIDENCE_INVALID):
            issuer.issue_beside(guardians, **changes)
    issuer.service.revoke(guardians.claims.jti, issuer.withdrawal(guardians))
    with refused(Reason.EVIDENCE_INVALID):
        issuer.issue_beside(guardians)


def test_co_resident_is_asked_about_nobody_else(issuer, refused):
    guardians = issuer.issue()
    with refused(Reason.MESSAGE_MALFORMED):
        issuer.issue_beside(guardians, details=[{"claims": [HUKOU], "regions": [REGION], "max_uses": 1}])


# -- what the registry allows -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"purpose": "marketing"}, Reason.PURPOSE_NOT_ALLOWED),
        ({"requester": "spiffe://heyan/requester/nobody"}, Reason.PEER_UNKNOWN),
        ({"requester": GATEWAY}, Reason.PEER_ROLE_NOT_ALLOWED),
        ({"gateway": REQUESTER}, Reason.PEER_ROLE_NOT_ALLOWED),
        ({"lang": "fr"}, Reason.MESSAGE_MALFORMED),
        ({"details": [{"claims": ["a.b@1"], "regions": [REGION], "max_uses": 1}]}, Reason.CLAIM_UNKNOWN),
        ({"details": [{"claims": [HUKOU], "regions": ["11"], "max_uses": 1}]}, Reason.CLAIM_NOT_ALLOWED),
    ],
)
def test_draft_of_what_the_registry_refuses_is_refused(issuer, changes, reason, refused):
    with refused(reason):
        issuer.service.draft(issuer.body(**changes))


def test_draft_under_an_expired_registry_is_refused(issuer, refused):
    issuer.now += 31 * DAY
    with refused(Reason.REGISTRY_EXPIRED):
        issuer.service.draft(issuer.body())


@pytest.mark.parametrize(
    "changes",
    [
        {"details": []},
        {"details": [{"claims": [], "regions": [REGION], "max_uses": 1}]},
        {"details": [{"claims": [HUKOU], "regions": [""], "max_uses": 1}]},
        {"details": [{"claims": [HUKOU], "regions": [REGION], "max_uses": 0}]},
        {"details": [{"claims": [HUKOU], "regions": [REGION], "max_uses": 10**6}]},
        {"account": ""},
        {"account": "x" * 200},
        {"extra": 1},
    ],
)
def test_body_out_of_bounds_is_refused(issuer, changes, refused):
    with refused(Reason.MESSAGE_MALFORMED):
        issuer.body(**changes)


def test_oversized_body_is_refused(refused):
    with refused(Reason.MESSAGE_TOO_LARGE):
        read_body(ApprovalBody, b"x" * 20_000)


def test_flood_of_drafts_is_bounded_and_passes(issuer, refused):
    for _ in range(20):
        issuer.service.draft(issuer.body(account="nobody"))
    with refused(Reason.OVERLOADED):
        issuer.service.draft(issuer.body())
    issuer.now += DRAFT_LIFETIME + 1
    issuer.service.purge()
    issuer.issue()


def test_grant_ends_with_the_key_that_signs_it(issuer, federation, now):
    key = federation.signing_keys[ISSUER]
    short = msgspec.structs.replace(key_terms(key, KeyUse.GRANT, now), not_after=int(now) + DAY)
    issuer.federation = federation.changed(lambda document: edit_party(document, ISSUER, keys=(short,)))
    assert issuer.issue().claims.exp == int(now) + DAY


# -- withdrawals --------------------------------------------------------------------------------------------


def test_withdrawal_is_signed_and_stands_in_the_next_list(desk, issuer, federation):
    consent, other = issuer.issue(), issuer.issue()
    assert not statuses(issuer, consent)
    withdrawn = issuer.service.revoke(consent.claims.jti, issuer.withdrawal(consent))
    assert statuses(issuer, consent)
    assert not statuses(issuer, other)
    assert withdrawn.gateway == GATEWAY
    opened, grant = open_revocation(withdrawn.statement, federation.registry, issuer.now), desk.open(consent)
    assert (opened.grant_digest, opened.issuer) == (grant.digest, grant.issuer)


def test_withdrawal_is_durable_and_repeats_alike(issuer, federation, tmp_path, now):
    consent = issuer.issue()
    first = issuer.service.revoke(consent.claims.jti, issuer.withdrawal(consent))
    issuer.now += 60
    assert issuer.service.revoke(consent.claims.jti, issuer.withdrawal(consent)) == first
    again = Issuer(federation, tmp_path / "consent" / "consent.db", now + 120)
    assert statuses(again, consent)
    assert again.service.revoke(consent.claims.jti, issuer.withdrawal(consent)) == first
    again.store.close()


def test_withdrawal_by_anybody_else_is_refused_alike(issuer, refused):
    consent, other = issuer.issue(), issuer.issue()
    draft = issuer.service.draft(issuer.body())
    for jti, assertion in (
        (consent.claims.jti, issuer.withdrawal(consent, "other")),
        (consent.claims.jti, issuer.withdrawal(other)),
        (consent.claims.jti, issuer.assertion(draft)),
        ("unknown", issuer.withdrawal(consent)),
    ):
        with refused(Reason.EVIDENCE_INVALID):
            issuer.service.revoke(jti, assertion)
    assert not statuses(issuer, consent)


def test_approval_of_a_grant_is_no_withdrawal(issuer, refused):
    draft = issuer.service.draft(issuer.body())
    assertion = issuer.assertion(draft)
    consent = issuer.service.approve(draft.draft, assertion)
    with refused(Reason.EVIDENCE_INVALID):
        issuer.service.revoke(consent.claims.jti, assertion)


def test_status_list_is_signed_again_after_a_second_only(issuer):
    issuer.issue()
    first = issuer.service.status_list(0)
    issuer.now += 0.9
    assert issuer.service.status_list(0) == first
    issuer.now += 0.2
    assert issuer.service.status_list(0) != first


def test_list_that_does_not_exist_is_not_found(issuer, refused):
    with refused(Reason.NOT_FOUND):
        issuer.service.status_list(1)


def test_index_of_a_grant_is_never_given_again(issuer):
    class Low:
        """Random bytes that choose among 16 places."""

        def __init__(self):
            self.random = Random(3)

        def __call__(self, size):
            return self.random.randrange(16).to_bytes(size, "big")

    lists = PublishedLists(
        store=issuer.store,
        base_uri=lambda: BASE_URI,
        signing_key=lambda: issuer.federation.signing_keys[ISSUER],
        clock=lambda: issuer.now,
        random_bytes=Low(),
    )
    places = [lists.reserve(f"draft-{number}") for number in range(60)]
    assert len(set(places)) == 60
    assert {number for number, _ in places} > {0, 1}
    issuer.service.purge()  # no draft of that name: given back
    assert issuer.store.newest_status_list() == 0


# -- what is kept -------------------------------------------------------------------------------------------


def test_no_salt_and_no_consent_outlives_its_making(issuer, tmp_path):
    consent = issuer.issue()
    draft = issuer.service.draft(issuer.body())
    issuer.now += DRAFT_LIFETIME + 1
    issuer.service.purge()
    rows = [tuple(row.values()) for table in ("drafts", "grants") for row in issuer.store._db.table(table).rows]
    assert len(rows) == 1
    text = repr(rows).encode()
    for secret in (*consent.salts.values(), consent.evidence):
        assert repr(secret)[2:-1].encode() not in text
        assert b64url(secret).encode() not in text
    assert CHILD.id_number.encode() not in text
    assert draft.draft.encode() not in text


def test_no_salt_outlives_the_next_purge_in_the_issuers_files(issuer, tmp_path):
    """Not in a free page, and not in the side file, of a process that goes on."""
    draft = issuer.service.draft(issuer.body())
    issuer.service.purge()  # a draft that waits is in the file itself by now
    salts = issuer.service.approve(draft.draft, issuer.assertion(draft)).salts.values()
    issuer.service.purge()
    data = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert draft.draft.encode() not in data
    assert not any(salt in data for salt in salts)


def test_expired_grants_are_deleted(issuer):
    consent = issuer.issue()
    issuer.now += 99 * DAY
    issuer.service.purge()
    assert issuer.store.grant(consent.claims.jti) is None


def test_store_is_for_its_owner_only(issuer, tmp_path):
    assert (tmp_path / "consent" / "consent.db").stat().st_mode & 0o077 == 0


def test_account_enrolled_again_replaces_passkey_and_children(issuer, refused):
    issuer.passkeys["mother"] = derive_authenticator(b"n" * 32, "new")
    draft = issuer.service.draft(issuer.body())
    with refused(Reason.EVIDENCE_INVALID):
        issuer.service.approve(draft.draft, issuer.assertion(draft))
    issuer.store.put_accounts([issuer.account("mother", GUARDIAN, (Child(CHILD, "parent"),))])
    issuer.issue()
    assert issuer.store.account("mother").children == (Child(CHILD, "parent"),)
    assert CHILD.id_number not in repr(issuer.store.account("mother"))


def test_notice_says_what_is_asked_and_names_nobody(issuer):
    texts = {}
    for lang in ("zh-CN", "en"):
        draft = issuer.service.draft(issuer.body(lang=lang))
        texts[lang] = draft.notice.text
        assert draft.notice.notice.digest == b64url(sha256(draft.notice.text.encode()).digest())
        for subject in FAMILY.values():
            assert subject.name not in draft.notice.text
            assert subject.id_number not in draft.notice.text
    assert "儿童户籍在该行政区" in texts["zh-CN"]
    assert "芙蓉区（430102）" in texts["zh-CN"]
    assert "撤回" in texts["zh-CN"]
    assert "the child's hukou is in the region" in texts["en"]


def test_details_are_grouped_so_that_no_department_sees_anothers(federation):
    details = group_details([HUKOU, "insurance.paid_months@1", "hukou.guardian_registered@1"], (REGION,), 2)
    assert {frozenset(detail.claims) for detail in details} == {
        frozenset({"insurance.paid_months@1"}),
        frozenset({HUKOU, "hukou.guardian_registered@1"}),
    }


def test_withdrawal_outlives_a_purge_under_a_clock_that_was_days_ahead(issuer):
    """Seven days, as departments keep their counts: the grant is still listed as withdrawn once the clock is right."""
    consent = issuer.issue()
    issuer.service.revoke(consent.claims.jti, issuer.withdrawal(consent))
    right = issuer.now
    issuer.now = consent.claims.exp + 7 * DAY
    issuer.service.purge()
    issuer.now = right
    reference = consent.claims.status.status_list
    number = int(reference.uri.rpartition("/")[2])
    assert reference.idx in issuer.store.revoked_indexes(number)
