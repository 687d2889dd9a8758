"""Disclosures that are not what they should be."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent.consent_file import consent_from_json, consent_to_json
from consent.disclosures import Detail, disclosure_digest, read_disclosure, share_of, write_disclosure
from gateway.protocol.claims import Role
from gateway.protocol.codec import b64url
from gateway.protocol.errors import MalformedError
from gateway.protocol.reasons import Reason
from tests.federation import GATEWAY, REGION

HUKOU, HOUSEHOLD = "hukou.child_registered@1", "kinship.same_household@1"
CO_RESIDENT_HOME = "property.co_resident_owns_home@1"
ELEMENT = {
    "type": "heyan-check",
    "claims": [HUKOU],
    "regions": [REGION],
    "purpose": "enrolment",
    "locations": [GATEWAY],
    "max_uses": 1,
}


def text_of(value) -> str:
    return b64url((value if isinstance(value, str) else json.dumps(value)).encode())


def test_element_is_read_back():
    text = write_disclosure(Detail((HUKOU,), (REGION,), 2), purpose="enrolment", gateway=GATEWAY, salt=bytes(16))
    element = read_disclosure(text, 3)
    assert (element.index, element.claims, element.regions, element.max_uses) == (3, (HUKOU,), (REGION,), 2)
    assert element.locations == (GATEWAY,)


def test_digest_is_that_of_rfc_9901():
    """RFC 9901 §4.2.3: the digest is over the ASCII of the base64url text. The array element of its example."""
    text = "WyJsa2x4RjVqTVlsR1RQVW92TU5JdkNBIiwgIkZSIl0"
    assert disclosure_digest(text) == "w0I8EKcdCtUPkGCNUrfwVp2xEgNjtoIDlOxc9-PlOhs"


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        ["salt"],
        ["salt", ELEMENT, 1],
        [1, ELEMENT],
        ["salt", "name", ELEMENT],
        ["salt", {**ELEMENT, "type": "other"}],
        ["salt", {**ELEMENT, "extra": 1}],
        ["salt", {**ELEMENT, "claims": []}],
        ["salt", {**ELEMENT, "locations": []}],
        ["salt", {**ELEMENT, "max_uses": 0}],
        ["salt", {**ELEMENT, "regions": ["4"]}],
        '["salt", {"type": "heyan-check", "type": "heyan-check"}]',
        '["salt", NaN]',
        '["salt", 1], "x": 1',
        '["salt", 1]}',
        '["salt", 1]} {"": 2',
        "",
    ],
)
def test_other_shape_is_refused(value, refused):
    with refused(Reason.MESSAGE_MALFORMED):
        read_disclosure(text_of(value), 0)


def test_oversized_disclosure_and_short_salt_are_refused(refused):
    with refused(Reason.MESSAGE_TOO_LARGE):
        read_disclosure("A" * 3_000, 0)
    with refused(Reason.MESSAGE_MALFORMED):
        write_disclosure(Detail((HUKOU,), (REGION,), 1), purpose="enrolment", gateway=GATEWAY, salt=bytes(15))


@given(st.text(max_size=100))
def test_any_text_is_refused_as_a_domain_error(text):
    for shown in (text, text_of(text)):
        with pytest.raises(MalformedError):
            read_disclosure(shown, 0)


def test_each_person_allows_what_concerns_them():
    details = [Detail((HUKOU, HOUSEHOLD), (REGION,), 2), Detail((CO_RESIDENT_HOME,), (REGION,), 1)]
    assert share_of(details, Role.GUARDIAN) == (Detail((HUKOU, HOUSEHOLD), (REGION,), 2),)
    assert share_of(details, Role.CO_RESIDENT) == (Detail((HOUSEHOLD,), (REGION,), 2), details[1])


def test_consent_travels_as_json(federation, refused):
    consent = federation.issue().grants[0]
    assert consent_from_json(consent_to_json(consent)) == consent
    with refused(Reason.MESSAGE_MALFORMED):
        consent_from_json({"grant": 1})
