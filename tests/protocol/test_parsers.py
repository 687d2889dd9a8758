"""Fuzzing: arbitrary bytes, and genuine bytes with edits, raise domain errors only, and no edited proof is accepted.

A parser that lets another exception through would turn a hostile message into a fault of ours; one that accepts an
edited signed message would be a forgery. The examples are derived, so every run sees the same ones.
"""

import json
from dataclasses import replace

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.protocol.attestation import (
    open_batch,
    open_statement,
    read_proof,
    read_signed_batch,
    read_statement,
    sign_batch,
    write_statement,
)
from gateway.protocol.checkpoint import open_checkpoint, parse_checkpoint
from gateway.protocol.codec import parse, parse_json_object, unb64url
from gateway.protocol.errors import HeyanError, MalformedError
from gateway.protocol.identities import parse_identity
from gateway.protocol.jws import read_jws
from gateway.protocol.keys import Algorithm, load_private, load_public
from gateway.protocol.leaf import read_leaf
from gateway.protocol.limits import MAX_MESSAGE
from gateway.protocol.note import Signature, SignerKey, VerifierKey, open_note, parse_note
from gateway.protocol.presentation import read_submission
from gateway.protocol.proof import parse_proof
from gateway.protocol.query import open_part, read_query, write_part, write_query
from gateway.protocol.query_rules import match_parts, open_query
from gateway.protocol.receipt import verify_receipt
from gateway.protocol.receipt_file import receipt_from_json, receipt_to_json
from gateway.protocol.registry import TYP, adopt, open_registry, read_document
from gateway.protocol.registry_terms import SealingKeyTerms
from gateway.protocol.sealing import open_sealed, seal
from gateway.protocol.subjects import IdType, Subject, canonical_record, normalise_name
from heyan.v1 import attestation_pb2, gateway_service_pb2, query_pb2, receipt_pb2
from tests.federation import GATEWAY, LOG_ORIGIN, REQUESTER
from tests.protocol.casework import (
    FEDERATION,
    LAND,
    NOW,
    OPERATOR,
    PARTS,
    POLICE,
    SIGNED_AT,
    SUBMISSION,
    Case,
    genuine,
    log_signer,
    make_query,
    sign_query,
)

REGISTRY = FEDERATION.registry
RECEIPT = genuine().receipt()
RECEIPT_BYTES = RECEIPT.SerializeToString(deterministic=True)
LEAF, PROOF = RECEIPT.leaves[0].leaf, RECEIPT.leaves[0].proof.encode()
NOTE = PROOF.partition(b"\n\n")[2]
CASE = Case()
STATEMENTS = (CASE.attest(POLICE, "hukou"), CASE.refuse(POLICE))
SIGNED_BATCH, STATEMENT_PROOFS = sign_batch(STATEMENTS, POLICE, FEDERATION.signing_keys[POLICE], SIGNED_AT)
VKEY = log_signer().verifier.format().encode()
SKEY = log_signer().format().encode()
DOCUMENT = msgspec.json.encode(REGISTRY.document)

quick = settings(derandomize=True, max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
thorough = settings(quick, max_examples=250)


def lenient(data):
    return data.decode("utf-8", "surrogateescape")


def submission(data):
    return read_submission(parse(gateway_service_pb2.VerifyRequest, data, MAX_MESSAGE))


def receipt_message(data):
    return verify_receipt(parse(receipt_pb2.Receipt, data, MAX_MESSAGE), OPERATOR)


def attested(data):
    message = parse(attestation_pb2.AttestedStatement, data, MAX_MESSAGE)
    return open_statement(read_proof(message.proof), open_batch(read_signed_batch(message.batch), REGISTRY, SIGNED_AT))


ATTESTED = RECEIPT.statements[0].SerializeToString(deterministic=True)
PARSERS = {
    "read_query": (read_query, write_query(make_query())),
    "open_part": (open_part, PARTS[0]),
    "read_statement": (read_statement, STATEMENTS[0]),
    "read_statement of a refusal": (read_statement, STATEMENTS[1]),
    "open_statement": (attested, ATTESTED),
    "read_leaf": (read_leaf, LEAF),
    "read_submission": (submission, SUBMISSION),
    "parse_note": (parse_note, NOTE),
    "parse_proof": (parse_proof, PROOF),
    "parse_checkpoint": (lambda data: parse_checkpoint(lenient(data)), NOTE.partition(b"\n\n")[0] + b"\n"),
    "parse_signature": (lambda data: Signature.parse(lenient(data)), NOTE.split(b"\n")[-2]),
    "parse_vkey": (lambda data: VerifierKey.parse(lenient(data)), VKEY),
    "parse_skey": (lambda data: SignerKey.parse(lenient(data)), SKEY),
    "read_jws": (lambda data: read_jws(lenient(data), TYP, MAX_MESSAGE), REGISTRY.token.encode()),
    "open_registry": (lambda data: open_registry(lenient(data), OPERATOR, NOW), REGISTRY.token.encode()),
    "read_document": (lambda data: read_document(parse_json_object(data, "x")), DOCUMENT),
    "parse_json_object": (lambda data: parse_json_object(data, "x"), b'{"a":[1,2.5,"\\u5f20",null],"b":{"c":true}}'),
    "unb64url": (lambda data: unb64url(lenient(data), "x"), b"AQIDBAUG"),
    "parse_identity": (lambda data: parse_identity(lenient(data)), REQUESTER.encode()),
    "receipt_from_json": (lambda data: receipt_from_json(lenient(data)), receipt_to_json(RECEIPT).encode()),
    "load_private": (load_private, b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
    "load_public": (lambda data: load_public(Algorithm.ES256, data), b"\x04" + bytes(64)),
    "canonical_record": (
        lambda data: canonical_record(Subject(IdType.RESIDENT_ID, lenient(data), lenient(data))),
        b"43990020180901002X",
    ),
}
each_parser = pytest.mark.parametrize(("parser", "sample"), PARSERS.values(), ids=PARSERS.keys())


@st.composite
def edits(draw, sample):
    """`sample` after one to four edits: a byte set, bytes dropped, put in, or moved from another place."""
    data = bytearray(sample)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(len(data) - 1, 0)))
        kind = draw(st.sampled_from(("set", "flip", "drop", "insert", "repeat", "cut")))
        if kind == "set" and data:
            data[place] = draw(st.sampled_from((0, 1, 0x7F, 0x80, 0xFF, 0x22, 0x2E, 0x0A)))
        elif kind == "flip" and data:
            data[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "drop":
            del data[place : place + draw(st.integers(1, 40))]
        elif kind == "insert":
            data[place:place] = draw(st.binary(min_size=1, max_size=12))
        elif kind == "repeat":
            data[place:place] = data[place : place + draw(st.integers(1, 80))]
        else:
            del data[place:]
    return bytes(data)


def accepts(parser, data):
    """What the parser returns, or None for a domain error; any other exception fails the test."""
    try:
        return parser(data)
    except HeyanError:
        return None


@each_parser
@given(data=st.data())
@quick
def test_arbitrary_bytes_raise_domain_errors_only(parser, sample, data):
    accepts(parser, data.draw(st.binary(max_size=300)))


@each_parser
@given(data=st.data())
@quick
def test_edited_genuine_bytes_raise_domain_errors_only(parser, sample, data):
    accepts(parser, data.draw(edits(sample)))


@each_parser
@pytest.mark.parametrize("size", [1, 2, 3, 8, 32])
def test_every_truncation_raises_domain_errors_only(parser, sample, size):
    for end in range(0, min(len(sample), 600), size):
        accepts(parser, sample[:end])
        accepts(parser, sample[-end:])


# -- what is read is what was written -----------------------------------------------------------------------

CANONICAL = {
    "query": (lambda data: write_query(read_query(data)), write_query(make_query())),
    "part": (lambda data: write_part(open_part(data).part), PARTS[0]),
    "attestation": (lambda data: write_statement(read_statement(data)), STATEMENTS[0]),
    "refusal": (lambda data: write_statement(read_statement(data)), STATEMENTS[1]),
    "leaf": (lambda data: read_leaf(data).SerializeToString(deterministic=True), LEAF),
}


@pytest.mark.parametrize(("again", "sample"), CANONICAL.values(), ids=CANONICAL.keys())
@given(data=st.data())
@thorough
def test_one_content_has_one_encoding(again, sample, data):
    """Timestamps finer than a double aside, whatever is accepted is what would be written."""
    edited = data.draw(edits(sample))
    written = accepts(again, edited)
    assert written is None or len(written) == len(edited)


# -- edited signed messages ---------------------------------------------------------------------------------


@given(edits(write_query(make_query())))
@thorough
def test_edited_query_is_never_accepted(data):
    signed = sign_query(make_query())
    if data == signed.query:
        return
    edited = replace(signed, query=data)
    with pytest.raises(HeyanError):
        open_query(edited, requester=REQUESTER, gateway=GATEWAY, registry=REGISTRY, now=NOW)


@given(st.integers(0, len(PARTS) - 1), st.data())
@thorough
def test_edited_part_is_never_accepted(index, data):
    edited = data.draw(edits(PARTS[index]))
    if edited == PARTS[index]:
        return
    with pytest.raises(HeyanError):
        match_parts(make_query(), (*PARTS[:index], edited, *PARTS[index + 1 :]))


@given(edits(REGISTRY.token.encode()))
@thorough
def test_edited_registry_is_never_accepted(data):
    if data == REGISTRY.token.encode():
        return
    for held in (None, REGISTRY):
        with pytest.raises(HeyanError):
            adopt(held, lenient(data), OPERATOR, NOW)


@given(edits(SIGNED_BATCH.batch))
@thorough
def test_edited_batch_is_never_accepted(data):
    if data != SIGNED_BATCH.batch:
        with pytest.raises(HeyanError):
            open_batch(replace(SIGNED_BATCH, batch=data), REGISTRY, SIGNED_AT)


@given(st.sampled_from(STATEMENT_PROOFS), st.data())
@thorough
def test_edited_statement_is_never_accepted(proof, data):
    edited = data.draw(edits(proof.statement))
    if edited == proof.statement:
        return
    with pytest.raises(HeyanError):
        open_statement(replace(proof, statement=edited), open_batch(SIGNED_BATCH, REGISTRY, SIGNED_AT))


@given(edits(NOTE))
@thorough
def test_edited_checkpoint_says_nothing_new(data):
    """Signature lines may come and go, but the text that a known key signed is the genuine one."""
    verifiers = [log_signer().verifier]
    note = accepts(lambda edited: open_note(edited, verifiers), data)
    assert note is None or note.text == parse_note(NOTE).text
    checkpoint = accepts(lambda edited: open_checkpoint(edited, verifiers, LOG_ORIGIN), data)
    assert checkpoint is None or checkpoint.size == 3


@given(edits(LEAF))
@quick
def test_edited_leaf_is_never_proven(data):
    if data != LEAF:
        with pytest.raises(HeyanError):
            parse_proof(PROOF).verify(data, [log_signer().verifier], LOG_ORIGIN)


SEALING_KEY: SealingKeyTerms = REGISTRY.sealing_keys(LAND, NOW)[0]
SEALED = seal(query_pb2.SubjectEnvelope(evidence=[b"x"]), SEALING_KEY, LAND, bytes(32))


@given(edits(SEALED.ciphertext))
@quick
def test_edited_ciphertext_never_opens(data):
    if data != SEALED.ciphertext:
        with pytest.raises(HeyanError):
            open_sealed(replace(SEALED, ciphertext=data), FEDERATION.opening_keys[LAND], LAND, bytes(32))


# -- whole receipts -----------------------------------------------------------------------------------------


def answers_of(receipt):
    verified = verify_receipt(receipt, OPERATOR)
    return [
        (answer.check, answer.department, answer.outcome, answer.reason, answer.snapshot_date, answer.expire_time)
        for answer in verified.answers
    ]


ANSWERS = answers_of(RECEIPT)


@given(edits(RECEIPT_BYTES))
@thorough
def test_edited_receipt_is_refused_or_says_the_same(data):
    """Unknown fields, order and the gateway's own times may change; what was asked and answered may not."""
    answers = accepts(lambda edited: answers_of(parse(receipt_pb2.Receipt, edited, MAX_MESSAGE)), data)
    assert answers is None or answers == ANSWERS


def fields_of(message, path=()):
    """Every set field of a message and of those in it: (path, list index or None)."""
    for field, value in message.ListFields():
        values = list(value) if field.is_repeated else [value]
        for index, item in enumerate(values):
            here = (*path, (field.name, index if field.is_repeated else None))
            yield here
            if hasattr(item, "ListFields"):
                yield from fields_of(item, here)


PATHS = list(fields_of(RECEIPT))


@given(st.sampled_from(PATHS), st.data())
@thorough
def test_receipt_with_one_field_edited_is_refused_or_says_the_same(path, data):
    receipt = receipt_pb2.Receipt()
    receipt.CopyFrom(RECEIPT)
    owner = receipt
    for name, index in path[:-1]:
        owner = getattr(owner, name) if index is None else getattr(owner, name)[index]
    name, index = path[-1]
    value = getattr(owner, name) if index is None else getattr(owner, name)[index]
    if isinstance(value, bytes):
        edited = data.draw(edits(value))
    elif isinstance(value, str):
        edited = data.draw(edits(value.encode())).decode("utf-8", "replace")
    elif isinstance(value, int):
        edited = data.draw(st.integers(0, 2**31 - 1))
    else:
        edited = None
    if edited is None and index is None:
        owner.ClearField(name)
    elif edited is None:
        del getattr(owner, name)[index]
    elif index is None:
        setattr(owner, name, edited)
    else:
        getattr(owner, name)[index] = edited
    answers = accepts(answers_of, receipt)
    assert answers is None or answers == ANSWERS


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(("spiffe://x", "")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def replaced(value, path, new):
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


def places_of(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places_of(inner, (*path, key))


DOCUMENT_JSON = json.loads(DOCUMENT)
RECEIPT_JSON = json.loads(receipt_to_json(RECEIPT))


@given(st.sampled_from(list(places_of(DOCUMENT_JSON))[1:]), json_values)
@thorough
def test_document_with_any_value_anywhere_raises_domain_errors_only(place, value):
    accepts(read_document, replaced(DOCUMENT_JSON, place, value))


@given(st.sampled_from(list(places_of(RECEIPT_JSON))), json_values)
@thorough
def test_receipt_file_with_any_value_anywhere_is_refused_or_says_the_same(place, value):
    text = json.dumps(replaced(RECEIPT_JSON, place, value))
    answers = accepts(lambda edited: answers_of(receipt_from_json(edited)), text)
    assert answers is None or answers == ANSWERS


@given(st.text(max_size=40))
@quick
def test_names_are_normalised_or_refused(name):
    try:
        canonical_record(Subject(IdType.RESIDENT_ID, "43990020180901002X", name))
    except MalformedError:
        return
    assert 0 < len(normalise_name(name).encode()) <= 120
