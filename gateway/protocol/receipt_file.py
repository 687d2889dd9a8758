"""A receipt as a file: the JSON form of the message, so that a person can open it and any protobuf library read it.

Source: the ProtoJSON format, with the contract's field names.
"""

from __future__ import annotations

from google.protobuf import json_format

from gateway.protocol.errors import MalformedError
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt import MAX_RECEIPT
from heyan.v1 import receipt_pb2


def receipt_to_json(receipt: receipt_pb2.Receipt) -> str:
    """The receipt as a file: the JSON form of the message."""
    return json_format.MessageToJson(receipt, preserving_proto_field_name=True, indent=1)


def receipt_from_json(text: str) -> receipt_pb2.Receipt:
    """The receipt of a file; MalformedError (RECEIPT_INVALID)."""
    if len(text) > 2 * MAX_RECEIPT:
        raise MalformedError.at("receipt", f"must be at most {2 * MAX_RECEIPT} characters", Reason.RECEIPT_INVALID)
    try:
        return json_format.Parse(text, receipt_pb2.Receipt())
    except (json_format.ParseError, ValueError, RecursionError):
        raise MalformedError.at("receipt", "must be the JSON of a receipt", Reason.RECEIPT_INVALID) from None
