"""Status lists as such: the format, and tokens that must not be believed."""

from __future__ import annotations

import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent.status_list import (
    MAX_LIST_BYTES,
    TYP,
    StatusList,
    open_status_list,
    sign_status_list,
    unpack,
)
from gateway.protocol.codec import b64url
from gateway.protocol.jws import sign_jws
from gateway.protocol.reasons import Reason
from tests.federation import BASE_URI, ISSUER, OTHER_ISSUER, REQUESTER

URI = f"{BASE_URI}/status-lists/0"


@pytest.fixture
def read(federation, now):
    def run(token, **changes):
        values = {"uri": URI, "issuer": ISSUER, "registry": federation.registry, "now": now, **changes}
        return open_status_list(token, **values)

    return run


@pytest.fixture
def claims(now):
    return {
        "sub": URI,
        "iat": int(now),
        "exp": int(now) + 60,
        "status_list": {"bits": 1, "lst": b64url(zlib.compress(bytes(16)))},
    }


def sign(federation, claims, typ=TYP, issuer=ISSUER):
    return sign_jws(json.dumps(claims).encode(), typ, federation.signing_keys[issuer])


def test_example_of_the_specification():
    """draft-ietf-oauth-status-list-21, "Status List in JSON Format": sixteen one-bit statuses."""
    statuses = StatusList(unpack("eNrbuRgAAhcBXQ"))
    assert statuses.bits == b"\xb9\xa3"
    assert [int(statuses.is_set(index)) for index in range(16)] == [1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1]


@given(st.sets(st.integers(0, 127)))
def test_exactly_the_revoked_are_set(revoked):
    statuses = StatusList.of(revoked, 128)
    assert {index for index in range(128) if statuses.is_set(index)} == revoked


def test_index_outside_the_list_is_refused(refused):
    for index in (-1, 16, 1 << 23):
        with refused(Reason.GRANT_INVALID):
            StatusList(b"\x00\x00").is_set(index)


def test_joined_list_forgets_no_withdrawal():
    joined = StatusList(b"\x01").joined(StatusList(b"\x02\x80"))
    assert joined.bits == b"\x03\x80"
    assert StatusList(b"\x02\x80").joined(StatusList(b"\x01")) == joined


def test_signed_list_is_read_back(federation, read, now):
    token = sign_status_list(StatusList.of([5], 64), URI, int(now), federation.signing_keys[ISSUER])
    opened = read(token)
    assert opened.statuses.is_set(5)
    assert not opened.statuses.is_set(6)
    assert opened.issued == int(now)


def test_unknown_claims_are_tolerated_but_other_bits_are_not(federation, read, claims, refused):
    read(sign(federation, {**claims, "aggregation_uri": "https://issuer.test/all"}))
    claims["status_list"]["bits"] = 2
    with refused(Reason.MESSAGE_MALFORMED):
        read(sign(federation, claims))


def test_list_of_another_place_is_refused(federation, read, claims, refused):
    for sub in (URI + "/", f"{BASE_URI}/status-lists/1", ""):
        with refused(Reason.SIGNATURE_INVALID):
            read(sign(federation, {**claims, "sub": sub}))


def test_list_of_another_issuer_is_refused(federation, read, claims, refused):
    with refused(Reason.SIGNATURE_INVALID):
        read(sign(federation, claims, issuer=OTHER_ISSUER))
    with refused(Reason.KEY_UNKNOWN):
        read(sign(federation, claims), issuer=REQUESTER)


def test_list_from_the_future_or_the_past_is_refused(federation, read, claims, now, refused):
    read(sign(federation, {**claims, "iat": int(now) + 10}))
    for change in ({"iat": int(now) + 11}, {"exp": int(now) - 6}):
        with refused(Reason.STATUS_UNAVAILABLE):
            read(sign(federation, {**claims, **change}))


def test_token_of_another_type_is_refused(federation, read, claims, refused):
    with refused(Reason.MESSAGE_MALFORMED):
        read(sign(federation, claims, typ="heyan-grant+jwt"))


def test_bomb_is_refused(federation, read, claims, refused):
    unpack(b64url(zlib.compress(bytes(MAX_LIST_BYTES))))
    bomb = b64url(zlib.compress(bytes(MAX_LIST_BYTES * 200), 9))
    assert len(bomb) < MAX_LIST_BYTES
    claims["status_list"]["lst"] = bomb
    with refused(Reason.MESSAGE_MALFORMED):
        read(sign(federation, claims))


@pytest.mark.parametrize(
    "data", [b"", b"not zlib", zlib.compress(b"ab")[:-1], zlib.compress(b"ab") + b"x", zlib.compress(b"ab") * 2]
)
def test_stream_that_is_not_one_whole_zlib_stream_is_refused(data, refused):
    with refused(Reason.MESSAGE_MALFORMED):
        unpack(b64url(data))


@pytest.mark.parametrize("change", [{"iat": "now"}, {"iat": None}, {"status_list": {}}, {"status_list": []}])
def test_list_of_another_shape_is_refused(federation, read, claims, change, refused):
    with refused(Reason.MESSAGE_MALFORMED):
        read(sign(federation, {**claims, **change}))
