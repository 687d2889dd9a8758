"""Attacks on the logs: personal data put where a reader of JSON would quote it in its complaint."""

from __future__ import annotations

import json

import msgspec
import pytest

from consent.consent_file import consent_from_json, consent_to_json, read_consent_file
from consent.disclosures import read_disclosure
from consent.grant import read_payload
from consent.issuer.requests import DraftBody, read_body
from consent.passkey import assertion_from_json
from consent.revocation import Revocation, open_revocation, sign_revocation
from consent.status_list import StatusList, open_status_list, sign_status_list
from gateway.protocol.codec import b64url, convert, unb64url
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.jws import sign_jws
from gateway.protocol.presentation import Presentation
from gateway.protocol.reasons import Reason
from tests.federation import ISSUER

PERSON = "439900201901011238 李小明"


def _with(value, place):
    """`value` with a person as the name of a member, or in place of one."""
    if place == "name":
        return {**value, PERSON: 1}
    return {**value, place: PERSON}


def _says_nothing(caught):
    error = caught.value
    texts = [str(error), error.detail, repr(error.__cause__), *(text.description for text in error.violations)]
    assert not any("4399" in text or "李" in text for text in texts), texts
    assert error.__suppress_context__ or error.__context__ is None


@pytest.mark.parametrize("place", ["name", "acr", "iat"])
def test_person_in_an_unsigned_grant_reaches_no_log(desk, federation, place):
    header, payload, signature = federation.issue().grants[0].token.split(".")
    edited = _with(json.loads(unb64url(payload, "payload")), place)
    data = json.dumps(edited, ensure_ascii=False).encode()
    with pytest.raises(ForgedError) as caught:
        desk.open(Presentation(f"{header}.{b64url(data)}.{signature}", ()))
    _says_nothing(caught)
    with pytest.raises(MalformedError) as caught:
        read_payload(data)
    _says_nothing(caught)


@pytest.mark.parametrize("place", ["name", "type", "claims", "max_uses"])
def test_person_in_a_disclosure_reaches_no_log(federation, place):
    salt, element = json.loads(unb64url(federation.issue().grants[0].disclosures[0], "disclosure"))
    text = b64url(json.dumps([salt, _with(element, place)], ensure_ascii=False).encode())
    with pytest.raises(MalformedError) as caught:
        read_disclosure(text, 0)
    _says_nothing(caught)


@pytest.mark.parametrize("place", ["name", "iat"])
def test_person_in_a_withdrawal_reaches_no_log(federation, now, place):
    key = federation.signing_keys[ISSUER]
    token = sign_revocation(Revocation(ISSUER, "jti", bytes(32), int(now), int(now) + 60), key)
    edited = _with(json.loads(unb64url(token.split(".")[1], "payload")), place)
    header = json.loads(unb64url(token.split(".")[0], "header"))
    token = sign_jws(json.dumps(edited, ensure_ascii=False).encode(), header["typ"], key)
    with pytest.raises(MalformedError) as caught:
        open_revocation(token, federation.registry, now)
    _says_nothing(caught)


def test_person_in_a_status_list_reaches_no_log(federation, now):
    key = federation.signing_keys[ISSUER]
    token = sign_status_list(StatusList.of(()), "https://list.test", int(now), key)
    edited = _with(json.loads(unb64url(token.split(".")[1], "payload")), "status_list")
    token = sign_jws(json.dumps(edited, ensure_ascii=False).encode(), "statuslist+jwt", key)
    with pytest.raises(MalformedError) as caught:
        open_status_list(token, uri="https://list.test", issuer=ISSUER, registry=federation.registry, now=now)
    _says_nothing(caught)


def test_person_in_an_assertion_or_a_body_reaches_no_log():
    with pytest.raises(MalformedError) as caught:
        assertion_from_json({"id": "a", "response": {PERSON: PERSON}})
    _says_nothing(caught)
    for place in ("name", "details", "account"):
        with pytest.raises(MalformedError) as caught:
            read_body(DraftBody, json.dumps(_with({}, place), ensure_ascii=False).encode())
        _says_nothing(caught)


def test_person_in_a_consent_file_reaches_no_log(federation, tmp_path):
    value = consent_to_json(federation.issue().grants[0])
    for edited in (_with(value, "name"), {**value, "salts": {PERSON: "a"}}, {**value, "subjects": {PERSON: {}}}):
        with pytest.raises(MalformedError) as caught:
            consent_from_json(edited)
        _says_nothing(caught)
    path = tmp_path / "family.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps({"format": PERSON, PERSON: 1}))
    with pytest.raises(MalformedError) as caught:
        read_consent_file(path)
    _says_nothing(caught)


def test_converting_names_the_field_and_the_reason_and_nothing_else():
    class Kind(msgspec.Struct, forbid_unknown_fields=True):
        number: int

    assert convert({"number": 5}, Kind, "kind") == Kind(5)
    with pytest.raises(MalformedError) as caught:
        convert({"number": 5, PERSON: 1}, Kind, "kind", Reason.GRANT_INVALID)
    assert str(caught.value) == "GRANT_INVALID: kind: must be of the documented shape"
