"""Strict reading: one content has one encoding, and two readers of a JSON object see the same one."""

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.protocol.codec import (
    b64url,
    encode,
    from_timestamp,
    parse,
    parse_canonical,
    parse_json_object,
    to_timestamp,
    unb64url,
)
from gateway.protocol.errors import MalformedError
from gateway.protocol.reasons import Reason
from heyan.v1 import check_pb2, query_pb2
from tests.protocol.casework import NOW, refused

CHECK = check_pb2.Check(check_id="a", claim="b", parameters=[check_pb2.Parameter(name="n", value="v")])
BYTES = encode(CHECK)
UNKNOWN_FIELD = b"\xf2\x01\x01x"  # field 30, one byte

# -- messages -----------------------------------------------------------------------------------------------


def test_canonical_bytes_are_read():
    assert parse_canonical(check_pb2.Check, BYTES, 100) == CHECK
    assert parse(check_pb2.Check, BYTES, len(BYTES)) == CHECK


NOT_CANONICAL = {
    "unknown field": BYTES + UNKNOWN_FIELD,
    "unknown field inside": b"\x22\x0a\x0a\x01n\x12\x01v\xf2\x01\x01x",
    "fields out of order": b"\x12\x01b\x0a\x01a",
    "a field twice": b"\x0a\x01z\x0a\x01a",
    "a default written out": b"\x0a\x00",
    "a length in more bytes than it needs": b"\x0a\x81\x00a",
}


@pytest.mark.parametrize("data", NOT_CANONICAL.values(), ids=NOT_CANONICAL.keys())
def test_other_encodings_of_a_content_are_refused(data):
    parse(check_pb2.Check, data, 100)
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        parse_canonical(check_pb2.Check, data, 100)


@pytest.mark.parametrize("data", [b"\x0a\x05a", b"\x0a\x01\xff", b"\x00", b"\xff" * 20])
def test_bytes_that_are_no_message_are_refused(data):
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        parse(check_pb2.Check, data, 100)


def test_message_over_its_limit_is_refused_unread():
    with refused(MalformedError, Reason.MESSAGE_TOO_LARGE):
        parse(check_pb2.Check, BYTES, len(BYTES) - 1)


def test_message_without_a_required_field_of_another_schema_cannot_be_encoded():
    from google.protobuf import descriptor_pb2  # noqa: PLC0415 - the only message here with required fields

    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        encode(descriptor_pb2.UninterpretedOption.NamePart())


# -- timestamps ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.0, 0.000001, NOW, NOW + 0.25, 253_402_300_799.0])
def test_time_survives_to_the_microsecond(seconds):
    assert from_timestamp(query_pb2.Query(issue_time=to_timestamp(seconds)), "issue_time") == seconds


@pytest.mark.parametrize(
    "timestamp",
    [
        Timestamp(seconds=-1),
        Timestamp(seconds=253_402_300_800),
        Timestamp(seconds=1, nanos=-1),
        Timestamp(seconds=1, nanos=1_000_000_000),
    ],
)
def test_time_out_of_range_is_refused(timestamp):
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        from_timestamp(query_pb2.Query(issue_time=timestamp), "issue_time")


def test_missing_time_is_refused_and_named():
    with pytest.raises(MalformedError) as refusal:
        from_timestamp(query_pb2.Query(), "issue_time")
    assert [violation.field for violation in refusal.value.violations] == ["issue_time"]


# -- base64url ----------------------------------------------------------------------------------------------


@given(st.binary(max_size=70))
@settings(derandomize=True, max_examples=50)
def test_base64url_round_trip(data):
    assert unb64url(b64url(data), "x") == data


@pytest.mark.parametrize("text", ["AA==", "A", "AB", "A+/A", "AA\n", " AA", "ÄÄ", "A=A", "\ud800", "AAAA===="])
def test_base64url_that_is_not_canonical_is_refused(text):
    with pytest.raises(MalformedError) as refusal:
        unb64url(text, "place")
    assert refusal.value.violations[0].field == "place"


# -- JSON ---------------------------------------------------------------------------------------------------


def test_json_object_is_read():
    read = parse_json_object('{"a": [1, -2.5e3, null, {"b": "张"}], "c": "\\u5f20\\ud83d\\ude00"}'.encode(), "x")
    assert read == {"a": [1, -2500.0, None, {"b": "张"}], "c": "张😀"}


@pytest.mark.parametrize("number", [2**53 - 1, -(2**53 - 1)])
def test_largest_integers_that_every_reader_holds_are_read(number):
    assert parse_json_object(b'{"a":%d}' % number, "x") == {"a": number}


JSON_ATTACKS = {
    "a name twice": b'{"a":1,"a":2}',
    "a name twice inside": b'{"a":{"b":1,"b":2}}',
    "a name twice, once escaped": b'{"a":1,"\\u0061":2}',
    "not a number": b'{"a":NaN}',
    "infinity": b'{"a":-Infinity}',
    "infinity by overflow": b'{"a":1e999}',
    "an integer beyond a double": b'{"a":%d}' % 2**53,
    "an integer of 5,000 digits": b'{"a":%s}' % (b"9" * 5000),
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "UTF-16 without a mark": '{"a":1}'.encode("utf-16-le"),
    "UTF-32": '{"a":1}'.encode("utf-32-be"),
    "a byte order mark": b'\xef\xbb\xbf{"a":1}',
    "a surrogate in UTF-8": b'{"a":"\xed\xa0\x80"}',
    "a lone surrogate escaped": b'{"a":"\\ud800"}',
    "a lone surrogate escaped in a name": b'{"\\uDFFF":1}',
    "not UTF-8": b'{"a":"\xff"}',
    "an array": b"[]",
    "a string": b'"a"',
    "null": b"null",
    "nothing": b"",
    "something after it": b'{"a":1}{}',
    "a comma too many": b'{"a":1,}',
    "a control character": b'{"a":"\n"}',
    "too deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
}


@pytest.mark.parametrize("data", JSON_ATTACKS.values(), ids=JSON_ATTACKS.keys())
def test_json_that_two_readers_may_read_differently_is_refused(data):
    with pytest.raises(MalformedError) as refusal:
        parse_json_object(data, "place")
    assert refusal.value.violations[0].field == "place"
    assert refusal.value.__cause__ is None
