"""What departments sign, and everything that their signature must not be made to say."""

import base64
from dataclasses import replace
from hashlib import sha256

import pytest

from gateway.protocol import merkle
from gateway.protocol.attestation import (
    Attestation,
    Refusal,
    SignedBatch,
    StatementProof,
    open_batch,
    open_statement,
    read_proof,
    read_signed_batch,
    read_statement,
    require_answer_to,
    require_whole_batch,
    sealed_digest,
    sign_batch,
    write_proof,
    write_signed_batch,
    write_statement,
)
from gateway.protocol.codec import encode, to_timestamp
from gateway.protocol.digests import Kind, digest
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.keys import SigningKey
from gateway.protocol.outcomes import ATTESTABLE, NextStep, Outcome
from gateway.protocol.query import GrantUse
from gateway.protocol.reasons import Reason
from gateway.protocol.registry_terms import KeyUse
from heyan.v1 import attestation_pb2, signing_pb2
from tests.federation import OTHER_REQUESTER, REQUESTER, edit_party, key_terms
from tests.protocol.casework import (
    FEDERATION,
    HOUSING,
    LAND,
    NOW,
    POLICE,
    SIGNED_AT,
    Case,
    flip,
    refused,
)

CASE = Case()
REGISTRY = FEDERATION.registry
KEY = FEDERATION.signing_keys[POLICE]
STATEMENTS = tuple(CASE.attest(POLICE, check_id) for check_id in ("hukou", "identity")) * 3
STATEMENTS = (*STATEMENTS, CASE.refuse(POLICE))
SIGNED, PROOFS = sign_batch(STATEMENTS, POLICE, KEY, SIGNED_AT)
BATCH = open_batch(SIGNED, REGISTRY, SIGNED_AT)


def sign_message(message, key=KEY):
    data = encode(message)
    return SignedBatch(data, key.key_id, key.sign(Kind.STATEMENT_BATCH, data))


def batch_message(**changes):
    values = {"department": POLICE, "size": 1, "root": bytes(32), "sign_time": to_timestamp(SIGNED_AT)}
    return attestation_pb2.StatementBatch(**{**values, **changes})


# -- batches ------------------------------------------------------------------------------------------------


def test_batch_opens():
    assert (BATCH.department, BATCH.size, BATCH.sign_time) == (POLICE, 7, SIGNED_AT)
    assert BATCH.root == merkle.root_of([merkle.leaf_hash(statement) for statement in STATEMENTS])
    assert SIGNED.digest == digest(Kind.STATEMENT_BATCH, SIGNED.batch)


def test_batch_and_proofs_survive_their_messages():
    again = attestation_pb2.SignedStatementBatch.FromString(write_signed_batch(SIGNED).SerializeToString())
    assert read_signed_batch(again) == SIGNED
    for proof in PROOFS:
        message = attestation_pb2.StatementProof.FromString(write_proof(proof).SerializeToString())
        assert read_proof(message) == proof


def test_forged_batch_is_refused():
    for changed in (
        replace(SIGNED, signature=flip(SIGNED.signature)),
        replace(SIGNED, signature=bytes(64)),
        replace(SIGNED, signature=b""),
        replace(SIGNED, key_id="key-2"),
        replace(SIGNED, key_id=""),
        replace(SIGNED, batch=encode(batch_message())),
    ):
        with refused(ForgedError, Reason.ATTESTATION_INVALID):
            open_batch(changed, REGISTRY, SIGNED_AT)


@pytest.mark.parametrize("signer", [LAND, REQUESTER])
def test_batch_signed_by_another_party_is_refused(signer):
    for key in (FEDERATION.signing_keys[signer], SigningKey("key-1", FEDERATION.signing_keys[signer].private)):
        with refused(ForgedError, Reason.ATTESTATION_INVALID):
            open_batch(sign_message(batch_message(), key), REGISTRY, SIGNED_AT)


@pytest.mark.parametrize("department", [REQUESTER, "spiffe://heyan/department/nobody", ""])
def test_batch_in_the_name_of_no_department_is_refused(department):
    for signer in (POLICE, REQUESTER):
        signed = sign_message(batch_message(department=department), FEDERATION.signing_keys[signer])
        with refused(ForgedError, Reason.ATTESTATION_INVALID):
            open_batch(signed, REGISTRY, SIGNED_AT)


def test_query_signature_stands_for_no_batch():
    data = encode(batch_message())
    with refused(ForgedError, Reason.ATTESTATION_INVALID):
        open_batch(SignedBatch(data, KEY.key_id, KEY.sign(Kind.QUERY, data)), REGISTRY, SIGNED_AT)


@pytest.mark.parametrize(("ahead", "accepted"), [(10.0, True), (10.1, False)])
def test_batch_signed_in_the_future_is_refused(ahead, accepted):
    signed, _ = sign_batch(STATEMENTS, POLICE, KEY, SIGNED_AT + ahead)
    if accepted:
        assert open_batch(signed, REGISTRY, SIGNED_AT).size == 7
        return
    with refused(ForgedError, Reason.ATTESTATION_INVALID):
        open_batch(signed, REGISTRY, SIGNED_AT)


@pytest.mark.parametrize(
    "changes",
    [{"size": 0}, {"root": b""}, {"root": bytes(31)}, {"root": bytes(33)}],
    ids=["empty", "no root", "short root", "long root"],
)
def test_batch_without_size_or_root_is_refused(changes):
    with refused(MalformedError, Reason.ATTESTATION_INVALID):
        open_batch(sign_message(batch_message(**changes)), REGISTRY, SIGNED_AT)


def test_batch_without_a_time_is_refused():
    message = batch_message()
    message.ClearField("sign_time")
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        open_batch(sign_message(message), REGISTRY, SIGNED_AT)


def test_batch_with_unknown_fields_is_refused_although_signed():
    data = SIGNED.batch + b"\xf2\x01\x01x"
    signed = SignedBatch(data, KEY.key_id, KEY.sign(Kind.STATEMENT_BATCH, data))
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        open_batch(signed, REGISTRY, SIGNED_AT)


def registry_with(**changes):
    terms = key_terms(KEY, KeyUse.ANSWER, NOW, **changes)
    return FEDERATION.changed(lambda document: edit_party(document, POLICE, keys=(terms,))).registry


def test_batch_received_before_the_compromise_counts():
    assert open_batch(SIGNED, registry_with(compromised=int(SIGNED_AT) + 5), SIGNED_AT + 4).size == 7


def test_batch_backdated_by_a_thief_is_refused():
    """Who stole the key writes whatever time suits him: when others first saw the batch decides."""
    registry = registry_with(compromised=int(SIGNED_AT) + 5)
    with refused(ForgedError, Reason.ATTESTATION_INVALID):
        open_batch(SIGNED, registry, SIGNED_AT + 5)


def test_batch_by_a_key_compromised_when_it_signed_is_refused():
    with refused(ForgedError, Reason.ATTESTATION_INVALID):
        open_batch(SIGNED, registry_with(compromised=int(SIGNED_AT)), SIGNED_AT)


def test_batch_that_arrives_after_its_key_was_rotated_out_counts():
    assert open_batch(SIGNED, REGISTRY, NOW + 500 * 86_400).size == 7


# -- statements in batches ----------------------------------------------------------------------------------


@pytest.mark.parametrize("proof", PROOFS, ids=range(len(PROOFS)))
def test_every_statement_opens_alone(proof):
    statement = open_statement(proof, BATCH)
    assert write_statement(statement) == proof.statement
    assert proof.digest == sha256(b"heyan.v1.Statement\x00" + proof.statement).digest()


def test_lone_statement_needs_no_path():
    signed, (proof,) = sign_batch(STATEMENTS[:1], POLICE, KEY, SIGNED_AT)
    assert proof.path == ()
    assert isinstance(open_statement(proof, open_batch(signed, REGISTRY, SIGNED_AT)), Attestation)


PATHS = {
    "truncated": replace(PROOFS[2], path=PROOFS[2].path[:-1]),
    "lengthened": replace(PROOFS[2], path=(*PROOFS[2].path, bytes(32))),
    "dropped": replace(PROOFS[2], path=()),
    "hashes swapped": replace(PROOFS[2], path=PROOFS[2].path[::-1]),
    "another statement's path": replace(PROOFS[2], path=PROOFS[1].path),
    "another index": replace(PROOFS[2], index=3),
    "index beyond the batch": replace(PROOFS[2], index=7),
    "index of 2^64 - 1": replace(PROOFS[2], index=2**64 - 1),
    "a short hash": replace(PROOFS[2], path=(b"", *PROOFS[2].path[1:])),
    "a flipped hash": replace(PROOFS[2], path=(flip(PROOFS[2].path[0]), *PROOFS[2].path[1:])),
    "statement replaced": replace(PROOFS[2], statement=PROOFS[3].statement),
    "statement and path of two leaves": StatementProof(PROOFS[0].statement, 1, PROOFS[1].path),
}


@pytest.mark.parametrize("proof", PATHS.values(), ids=PATHS.keys())
def test_statement_without_its_path_is_refused(proof):
    with refused(ForgedError, Reason.PROOF_INVALID):
        open_statement(proof, BATCH)


def test_statement_of_another_batch_is_refused():
    signed, _ = sign_batch(STATEMENTS[::-1], POLICE, KEY, SIGNED_AT)
    with refused(ForgedError, Reason.PROOF_INVALID):
        open_statement(PROOFS[0], open_batch(signed, REGISTRY, SIGNED_AT))


def test_inner_node_passes_for_no_statement():
    """Domain separation of RFC 9162: a node's two hashes are not a leaf."""
    left, right = (merkle.leaf_hash(statement) for statement in STATEMENTS[:2])
    forged = StatementProof(left + right, 0, PROOFS[0].path[1:])
    with refused(ForgedError, Reason.PROOF_INVALID):
        open_statement(forged, replace(BATCH, size=4))


@pytest.mark.parametrize("statement", [CASE.attest(LAND, "home"), CASE.refuse(LAND)], ids=["attestation", "refusal"])
def test_statement_for_another_department_than_signed_is_refused(statement):
    signed, (proof,) = sign_batch([statement], POLICE, KEY, SIGNED_AT)
    with refused(ForgedError, Reason.ATTESTATION_INVALID):
        open_statement(proof, open_batch(signed, REGISTRY, SIGNED_AT))


# -- answers to what was asked ------------------------------------------------------------------------------

ASKED = CASE.asked(POLICE, "hukou")
OTHER_CHECKS = {
    "another check": CASE.asked(POLICE, "identity").check,
    "another check_id": replace(ASKED.check, check_id="other"),
    "another claim": replace(ASKED.check, claim="hukou.child_registered_elsewhere@1"),
    "another region": replace(ASKED.check, region="430103"),
    "another parameter": replace(ASKED.check, parameters=(("months", "12"),)),
    "another subject": replace(ASKED.check, subjects=((ASKED.check.subjects[0][0], bytes(32)),)),
    "another grant": replace(ASKED.check, authorizations=(GrantUse(bytes(32), 0),)),
    "another authorization": replace(
        ASKED.check, authorizations=(replace(ASKED.check.authorizations[0], authorization=1),)
    ),
}
OTHER_QUESTIONS = {
    "another query": {"query_digest": bytes(32)},
    "another part": {"part_digest": bytes(32)},
    "other sealed bytes": {"sealed_digest": sealed_digest(b"other")},
    "another requester": {"requester": OTHER_REQUESTER},
    "another department": {"department": LAND},
    "another purpose": {"purpose": "statistics"},
    **{name: {"check": check} for name, check in OTHER_CHECKS.items()},
}


@pytest.mark.parametrize("outcome", sorted(ATTESTABLE))
def test_attestation_answers_what_was_asked(outcome):
    require_answer_to(read_statement(CASE.attest(POLICE, "hukou", outcome)), ASKED)


@pytest.mark.parametrize("change", OTHER_QUESTIONS.values(), ids=OTHER_QUESTIONS.keys())
def test_attestation_of_something_else_answers_nothing(change):
    statement = read_statement(CASE.attest(POLICE, "hukou", **change))
    with refused(ForgedError, Reason.ATTESTATION_INVALID):
        require_answer_to(statement, ASKED)


def test_refusal_is_of_the_whole_part():
    refusal = read_statement(CASE.refuse(POLICE))
    for check_id in ("hukou", "identity"):
        require_answer_to(refusal, CASE.asked(POLICE, check_id))


@pytest.mark.parametrize(
    "change",
    [{"query_digest": bytes(32)}, {"part_digest": bytes(32)}, {"sealed_digest": bytes(32)}, {"department": HOUSING}],
    ids=["query", "part", "sealed bytes", "department"],
)
def test_refusal_of_another_part_refuses_nothing(change):
    with refused(ForgedError, Reason.ATTESTATION_INVALID):
        require_answer_to(read_statement(CASE.refuse(POLICE, **change)), ASKED)


# -- shape --------------------------------------------------------------------------------------------------


def test_answers_do_not_show_in_their_size():
    sizes = {len(CASE.attest(POLICE, "hukou", outcome)) for outcome in ATTESTABLE}
    assert len(sizes) == 1


@pytest.mark.parametrize("outcome", sorted(ATTESTABLE))
def test_statement_survives_its_bytes(outcome):
    data = CASE.attest(POLICE, "hukou", outcome)
    statement = read_statement(data)
    assert (statement.outcome, write_statement(statement)) == (outcome, data)
    assert statement.next_step is (NextStep.OFFLINE if outcome is Outcome.UNDETERMINED else NextStep.NONE)


def test_refusal_survives_its_bytes_and_needs_no_requester():
    for requester in (REQUESTER, ""):
        data = CASE.refuse(POLICE, Reason.QUERY_SIGNATURE_INVALID, requester=requester)
        assert isinstance(read_statement(data), Refusal)
        assert write_statement(read_statement(data)) == data


def test_flipped_outcome_byte_is_refused():
    """Each other outcome, also with its own next step: the path no longer leads to the signed root."""
    yes = CASE.attest(POLICE, "hukou", Outcome.YES)
    signed, (proof,) = sign_batch([yes], POLICE, KEY, SIGNED_AT)
    batch = open_batch(signed, REGISTRY, SIGNED_AT)
    for outcome in (Outcome.NO, Outcome.UNDETERMINED):
        forged = CASE.attest(POLICE, "hukou", outcome)
        assert 1 <= sum(one != other for one, other in zip(yes, forged, strict=True)) <= 2
        with refused(ForgedError, Reason.PROOF_INVALID):
            open_statement(replace(proof, statement=forged), batch)


def attestation(**changes):
    message = attestation_pb2.Statement.FromString(CASE.attest(POLICE, "hukou"))
    for name, value in changes.items():
        if value is None:
            message.attestation.ClearField(name)
        elif name == "grant_digests":
            message.attestation.grant_digests[:] = value
        else:
            setattr(message.attestation, name, value)
    return encode(message)


MALFORMED = {
    "no outcome": attestation(outcome=0),
    "outcome of the gateway": attestation(outcome=4),
    "outcome that is a refusal": attestation(outcome=5),
    "unknown outcome": attestation(outcome=77),
    "NO with a step offline": attestation(outcome=2, next_step=2),
    "UNDETERMINED without a step": attestation(outcome=3, next_step=1),
    "YES to be retried": attestation(next_step=3),
    "unknown step": attestation(next_step=99),
    "no snapshot date": attestation(snapshot_date=""),
    "snapshot with a time": attestation(snapshot_date="2027-01-15T10:00:00"),
    "snapshot in other digits": attestation(snapshot_date="２０２７-01-15"),
    "no nonce": attestation(nonce=b""),
    "short nonce": attestation(nonce=bytes(15)),
    "no grant digests": attestation(grant_digests=[]),
    "other grant digests": attestation(grant_digests=[bytes(32)]),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_attestation_is_refused(data):
    with refused(MalformedError, Reason.ATTESTATION_INVALID):
        read_statement(data)


@pytest.mark.parametrize("field", ["issue_time", "expire_time", "check"])
def test_attestation_without_times_or_check_is_refused(field):
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        read_statement(attestation(**{field: None}))


@pytest.mark.parametrize("change", [{"reason": ""}, {"reason": "BECAUSE"}, {"nonce": bytes(17)}])
def test_malformed_refusal_is_refused(change):
    message = attestation_pb2.Statement.FromString(CASE.refuse(POLICE))
    for name, value in change.items():
        setattr(message.refusal, name, value)
    with refused(MalformedError, Reason.ATTESTATION_INVALID):
        read_statement(encode(message))


def test_statement_of_no_kind_is_refused():
    with refused(MalformedError, Reason.ATTESTATION_INVALID):
        read_statement(b"")


def test_statement_with_unknown_fields_is_refused():
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        read_statement(STATEMENTS[0] + b"\xf2\x01\x01x")


def test_sealed_digest_is_plain_sha256_as_the_contract_says():
    assert base64.b16encode(sealed_digest(b"")).startswith(b"E3B0C442")


def test_signature_travels_with_its_key_id():
    message = write_signed_batch(SIGNED)
    assert message.signature == signing_pb2.Signature(key_id="key-1", value=SIGNED.signature)


def test_a_whole_batch_holds_in_any_order():
    require_whole_batch(PROOFS, BATCH)
    require_whole_batch(tuple(reversed(PROOFS)), BATCH)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda proofs: proofs[:-1],
        lambda proofs: (*proofs, proofs[0]),
        lambda proofs: (replace(proofs[0], statement=proofs[1].statement), *proofs[1:]),
        lambda proofs: (replace(proofs[0], statement=proofs[0].statement + b"\x00"), *proofs[1:]),
        lambda proofs: (
            replace(proofs[0], index=proofs[1].index),
            replace(proofs[1], index=proofs[0].index),
            *proofs[2:],
        ),
        lambda proofs: (replace(proofs[0], path=proofs[0].path[:-1]), *proofs[1:]),
        lambda proofs: (replace(proofs[0], path=(*proofs[0].path, bytes(32))), *proofs[1:]),
        lambda proofs: (replace(proofs[0], path=(bytes(32), *proofs[0].path[1:])), *proofs[1:]),
        lambda proofs: (replace(proofs[-1], index=len(proofs)), *proofs[:-1]),
        lambda _proofs: (),
    ],
)
def test_a_whole_batch_with_one_statement_path_or_place_that_is_not_its_own_is_refused(spoil):
    with pytest.raises(ForgedError):
        require_whole_batch(spoil(PROOFS), BATCH)
