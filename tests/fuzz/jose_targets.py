"""JOSE and JSON: JWS, grant, disclosures, registry, status list, withdrawal, consent file, receipt file."""

from __future__ import annotations

import tempfile
import zlib
from pathlib import Path

import msgspec

from consent.consent_file import consent_from_json, consent_to_json, read_consent_file, write_consent_file
from consent.disclosures import read_disclosure
from consent.grant import EXTRA_HEADER, TYP, peek, read_audience, read_payload
from consent.revocation import open_revocation
from consent.status_list import open_status_list, unpack
from consent.verification import open_grant
from gateway.operator.document import decode_draft, decode_party, encode_draft
from gateway.protocol.codec import b64url, parse_json_object, unb64url
from gateway.protocol.jws import read_jws
from gateway.protocol.limits import MAX_GRANT
from gateway.protocol.presentation import Presentation
from gateway.protocol.receipt import verify_receipt
from gateway.protocol.receipt_file import receipt_from_json, receipt_to_json
from gateway.protocol.registry import adopt, open_registry, read_document
from gateway.protocol.registry_terms import Document
from heyan.v1 import receipt_pb2
from tests.federation import BASE_URI, FAMILY, GATEWAY, ISSUER, REQUESTER
from tests.fuzz.target import DEEP, Target, text
from tests.mutations.consent_messages import status_list, withdrawal
from tests.protocol.casework import FEDERATION, NOW, OPERATOR, genuine

_REGISTRY = FEDERATION.registry
_FOLDER = tempfile.TemporaryDirectory(prefix="heyan-fuzz-")  # removed when the process ends
_CONSENT = Path(_FOLDER.name) / "consent.json"


def _grant(data: bytes) -> object:
    token, _, shown = text(data).partition("\n")
    presentation = Presentation(token, tuple(shown.split("\n")) if shown else ())
    return open_grant(presentation, requester=REQUESTER, gateway=GATEWAY, registry=_REGISTRY, now=NOW)


def _status(data: bytes) -> object:
    uri = f"{BASE_URI}/status-lists/0"
    return open_status_list(text(data), uri=uri, issuer=ISSUER, registry=_REGISTRY, now=NOW)


def _receipt(data: bytes) -> object:
    receipt = receipt_from_json(text(data))
    verify_receipt(receipt, OPERATOR)
    return receipt


def _receipt_is_written_again(_data: bytes, value: object) -> bool:
    assert isinstance(value, receipt_pb2.Receipt)
    return receipt_from_json(receipt_to_json(value)) == value


def _consent_file(data: bytes) -> object:
    _CONSENT.write_bytes(data)
    read = read_consent_file(_CONSENT)
    return [(grant.digest, grant.authorizations) for grant in read.grants]


def _consent(data: bytes) -> object:
    return consent_from_json(parse_json_object(data, "consent"))


def _document_is_written_again(_data: bytes, value: object) -> bool:
    assert isinstance(value, Document)
    return decode_draft(encode_draft(value)) == value


def _json_is_json(data: bytes, value: object) -> bool:
    assert isinstance(value, dict)
    return data.strip(b" \t\r\n").startswith(b"{")


def targets() -> tuple[Target, ...]:
    consent = FEDERATION.issue(FAMILY)
    (grant,) = consent.grants
    write_consent_file(_CONSENT, consent)
    token = grant.token.encode()
    payload = unb64url(grant.token.split(".")[1], "payload")
    document = encode_draft(_REGISTRY.document)
    registry = _REGISTRY.token.encode()
    shown = tuple(item.encode() for item in grant.disclosures)
    lists = status_list().samples
    packed = b64url(zlib.compress(bytes(64))).encode()
    receipt = receipt_to_json(genuine().receipt()).encode()
    one = _party()
    return (
        Target("JSON object", lambda data: parse_json_object(data, "x"), (payload, *DEEP), _json_is_json),
        Target("base64url", lambda data: unb64url(text(data), "x"), (packed,), lambda data, value: _b64(value) == data),
        Target("JWS", lambda data: read_jws(text(data), TYP, MAX_GRANT, EXTRA_HEADER), (token,)),
        Target("grant", _grant, (token, b"\n".join((token, *shown)))),
        Target("grant payload", read_payload, (payload, *DEEP)),
        Target("audience", lambda data: read_audience(text(data)), (token,)),
        Target("peeked grant", lambda data: peek(text(data)), (token,)),
        Target("disclosure", lambda data: read_disclosure(text(data), 0), shown),
        Target("registry", lambda data: open_registry(text(data), OPERATOR, NOW), (registry,)),
        Target("adopted registry", lambda data: adopt(_REGISTRY, text(data), OPERATOR, NOW), (registry,)),
        Target("document", lambda data: read_document(parse_json_object(data, "x")), (document, *DEEP)),
        Target("draft", decode_draft, (document, *DEEP), _document_is_written_again),
        Target("party", decode_party, (one, *DEEP)),
        Target("status list", _status, lists),
        Target("packed list", lambda data: unpack(text(data)), (packed,)),
        Target("withdrawal", lambda data: open_revocation(text(data), _REGISTRY, NOW), withdrawal().samples),
        Target("consent file", _consent_file, (_CONSENT.read_bytes(), *DEEP)),
        Target("consent", _consent, (_json(consent_to_json(grant)), *DEEP)),
        Target("receipt file", _receipt, (receipt, *DEEP), _receipt_is_written_again),
    )


def _party() -> bytes:
    return _json(_REGISTRY.document.parties[0])


def _json(value: object) -> bytes:
    return msgspec.json.encode(value)


def _b64(value: object) -> bytes:
    assert isinstance(value, bytes)
    return b64url(value).encode()
