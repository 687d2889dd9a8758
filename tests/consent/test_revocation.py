"""Attacks on the issuer's statement of a withdrawal."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from consent.revocation import TYP, Revocation, open_revocation, sign_revocation
from gateway.protocol.codec import b64url
from gateway.protocol.jws import sign_jws
from gateway.protocol.reasons import Reason
from tests.federation import ISSUER, OTHER_ISSUER, REQUESTER


@pytest.fixture
def grant(desk, federation):
    return desk.open(federation.issue().grants[0])


@pytest.fixture
def revocation(grant, now):
    return Revocation(ISSUER, grant.jti, grant.digest, int(now), grant.expires)


def test_statement_withdraws_its_grant_and_no_other(desk, federation, revocation, grant, now):
    token = sign_revocation(revocation, federation.signing_keys[ISSUER])
    opened = open_revocation(token, federation.registry, now)
    assert opened == revocation
    assert (opened.grant_digest, opened.issuer) == (grant.digest, grant.issuer)
    assert opened.grant_digest != desk.open(federation.issue().grants[0]).digest


def test_another_issuer_cannot_withdraw_a_grant(federation, revocation, grant, now, refused):
    own_name = replace(revocation, issuer=OTHER_ISSUER)
    opened = open_revocation(sign_revocation(own_name, federation.signing_keys[OTHER_ISSUER]), federation.registry, now)
    assert (opened.grant_digest, opened.issuer) != (grant.digest, grant.issuer)
    with refused(Reason.SIGNATURE_INVALID):
        open_revocation(sign_revocation(revocation, federation.signing_keys[OTHER_ISSUER]), federation.registry, now)


def test_party_that_is_no_issuer_cannot_withdraw(federation, revocation, now, refused):
    for name in (REQUESTER, "spiffe://heyan/issuer/nobody", "x"):
        forged = replace(revocation, issuer=name)
        with refused(Reason.KEY_UNKNOWN):
            open_revocation(sign_revocation(forged, federation.signing_keys[REQUESTER]), federation.registry, now)


def test_statement_of_another_time_is_refused(federation, revocation, now, refused):
    key = federation.signing_keys[ISSUER]
    with refused(Reason.GRANT_NOT_YET_VALID):
        open_revocation(sign_revocation(replace(revocation, issued=int(now) + 11), key), federation.registry, now)
    with refused(Reason.GRANT_EXPIRED):
        open_revocation(sign_revocation(replace(revocation, expires=int(now) - 6), key), federation.registry, now)


@pytest.mark.parametrize("change", [{"grant": "AAAA"}, {"grant": 1}, {"extra": 1}, {"jti": ""}, {"exp": -1}])
def test_statement_of_another_shape_is_refused(federation, revocation, change, now, refused):
    value = {
        "iss": ISSUER,
        "jti": revocation.jti,
        "iat": int(now),
        "exp": revocation.expires,
        "grant": b64url(revocation.grant_digest),
        **change,
    }
    token = sign_jws(json.dumps(value).encode(), TYP, federation.signing_keys[ISSUER])
    with refused(Reason.MESSAGE_MALFORMED):
        open_revocation(token, federation.registry, now)


def test_grant_is_no_statement(federation, now, refused):
    with refused(Reason.MESSAGE_MALFORMED):
        open_revocation(federation.issue(regions=("43",)).grants[0].token[:2000], federation.registry, now)
