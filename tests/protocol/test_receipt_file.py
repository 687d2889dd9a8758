"""Receipts as files: the ProtoJSON of the message, read strictly enough to raise nothing but domain errors."""

import json

import pytest
from google.protobuf import json_format

from gateway.protocol.errors import MalformedError
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt import MAX_RECEIPT, verify_receipt
from gateway.protocol.receipt_file import receipt_from_json, receipt_to_json
from heyan.v1 import receipt_pb2
from tests.protocol.casework import OPERATOR, refused
from tests.protocol.ticket_case import receipt_with, resolved, ticket_of

RECEIPT = receipt_with(resolved(ticket_of()))
TEXT = receipt_to_json(RECEIPT)


def test_receipt_survives_its_file():
    assert receipt_from_json(TEXT) == RECEIPT
    assert verify_receipt(receipt_from_json(TEXT), OPERATOR) == verify_receipt(RECEIPT, OPERATOR)


def test_file_is_the_json_of_the_contract_with_its_field_names():
    value = json.loads(TEXT)
    empty = {"disputes"}  # of this receipt
    assert set(value) == {field.name for field in receipt_pb2.Receipt.DESCRIPTOR.fields} - empty
    assert value["unavailable"][0]["check_id"] == "months"
    assert json_format.ParseDict(value, receipt_pb2.Receipt()) == RECEIPT


def test_file_written_by_another_protobuf_library_is_read():
    """ProtoJSON readers must take lowerCamelCase names and either alphabet of base64."""
    camel = json.loads(json_format.MessageToJson(RECEIPT))
    assert "registryDigest" in camel
    camel["registryDigest"] = camel["registryDigest"].replace("+", "-").replace("/", "_")
    assert receipt_from_json(json.dumps(camel)) == RECEIPT


def with_field(name, value):
    return json.dumps({**json.loads(TEXT), name: value})


MALFORMED = {
    "nothing": "",
    "text": "receipt",
    "null": "null",
    "number": "1",
    "cut short": TEXT[:-10],
    "two receipts": TEXT + TEXT,
    "unknown field": with_field("more", 1),
    "a field twice": TEXT.replace('"version": 1', '"version": 1, "version": 1'),
    "version that is text": with_field("version", "one"),
    "version that is negative": with_field("version", -1),
    "version that is infinite": TEXT.replace('"version": 1', '"version": 1e999'),
    "version that is no number": TEXT.replace('"version": 1', '"version": NaN'),
    "version of 5,000 digits": TEXT.replace('"version": 1', '"version": ' + "9" * 5000),
    "leaf key that is a number": with_field("leaf_key", 5),
    "leaf key that is no base64": with_field("leaf_key", "A"),
    "query that is a number": with_field("query", 5),
    "parts that are an object": with_field("parts", {}),
    "parts that are numbers": with_field("parts", [1]),
    "statements with a null": with_field("statements", [None]),
    "unavailable without a date": with_field("unavailable", [{"ask_time": "yesterday"}]),
    "unavailable on no date": with_field("unavailable", [{"ask_time": "2027-02-30T00:00:00Z"}]),
    "unavailable with an object as time": with_field("unavailable", [{"ask_time": {}}]),
    "proof with a lone surrogate": TEXT.replace("c2sp.org", "\\ud800"),
    "registry that is a list": with_field("registry", ["a"]),
    "too deep": '{"query":' * 5000 + "1" + "}" * 5000,
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED.keys())
def test_file_that_is_no_receipt_is_refused(text):
    assert text != TEXT
    with refused(MalformedError, Reason.RECEIPT_INVALID):
        receipt_from_json(text)


def test_file_over_its_limit_is_refused_unread():
    with refused(MalformedError, Reason.RECEIPT_INVALID):
        receipt_from_json("{}" + " " * (2 * MAX_RECEIPT - 1))
