"""What a receipt says of disputes is believed only as far as leaves and signatures prove it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gateway.protocol.attestation import sign_batch, write_proof, write_signed_batch
from gateway.protocol.codec import to_timestamp
from gateway.protocol.disputes import DisputeGround
from gateway.protocol.errors import ForgedError, HeyanError, NotGrantedError
from gateway.protocol.keys import SigningKey
from gateway.protocol.leaf import write_leaf
from gateway.protocol.limits import NONCE_SIZE
from gateway.protocol.note import SignerKey
from gateway.protocol.proof import parse_proof
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt import VerifiedReceipt, verify_receipt
from gateway.protocol.receipt_disputes import disputable
from gateway.protocol.receipt_file import receipt_from_json, receipt_to_json
from gateway.protocol.resolutions import Resolution, ResolutionOutcome, ResolutionReason, write_resolution
from heyan.v1 import attestation_pb2, log_pb2, receipt_pb2
from tests.federation import GATEWAY, ISSUER, OTHER_REQUESTER, REQUESTER
from tests.protocol.casework import (
    FEDERATION,
    GRANT,
    HOUSING,
    LAND,
    LOGGED_AT,
    OPERATOR,
    POLICE,
    SECOND_GRANT,
    flip,
    genuine,
    log_signer,
    refused,
    signer_of,
    statement_digest,
)

PIECES = genuine()
CASE = PIECES.case
HUKOU, IDENTITY = (item.proof.statement for item in PIECES.statements[:2])
DISPUTE_ID = statement_digest(HUKOU)
OPENED_AT, RESOLVED_AT = LOGGED_AT + 100, LOGGED_AT + 200


def dispute_leaf(at: float = OPENED_AT, gateway: str = GATEWAY, **changes: Any) -> bytes:
    event: dict[str, Any] = {
        "opener": REQUESTER,
        "department": POLICE,
        "statement_digest": DISPUTE_ID,
        "ground": DisputeGround.RECORD_MISSING.value,
        "grant_tag": CASE.tags.grant(GRANT),
        "proof_digest": bytes(32),
        **changes,
    }
    leaf = log_pb2.LogLeaf(dispute=log_pb2.DisputeEvent(**event), gateway=gateway, log_time=to_timestamp(at))
    leaf.registry_version = CASE.registry.version
    return write_leaf(leaf)


def attested(
    department: str = POLICE, key: SigningKey | None = None, dispute_id: bytes = DISPUTE_ID, by: str | None = None
) -> attestation_pb2.AttestedStatement:
    """A resolution as its department signed it."""
    resolution = Resolution(
        dispute_id, by or department, ResolutionReason.RECORD_UPDATED, RESOLVED_AT - 1, bytes(NONCE_SIZE)
    )
    key = key or FEDERATION.signing_keys[department]
    signed, (proof,) = sign_batch([write_resolution(resolution)], department, key, RESOLVED_AT - 1)
    return attestation_pb2.AttestedStatement(proof=write_proof(proof), batch=write_signed_batch(signed))


def resolution_leaf(statement: attestation_pb2.AttestedStatement, **changes: Any) -> bytes:
    event: dict[str, Any] = {
        "department": POLICE,
        "dispute_id": DISPUTE_ID,
        "statement_digest": statement_digest(statement.proof.statement),
        **changes,
    }
    leaf = log_pb2.LogLeaf(
        resolution=log_pb2.ResolutionEvent(**event), gateway=GATEWAY, log_time=to_timestamp(RESOLVED_AT)
    )
    leaf.registry_version = CASE.registry.version
    return write_leaf(leaf)


def record(
    opened: bytes | None = None,
    resolution: attestation_pb2.AttestedStatement | None = None,
    resolved: bytes | None = None,
    signer: SignerKey | None = None,
) -> receipt_pb2.DisputeRecord:
    opened = opened or dispute_leaf()
    if resolution is None:
        (leaf,) = CASE.record(opened, signer=signer)
        return receipt_pb2.DisputeRecord(dispute_id=DISPUTE_ID, leaf=leaf)
    first, second = CASE.record(opened, resolved or resolution_leaf(resolution), signer=signer)
    return receipt_pb2.DisputeRecord(dispute_id=DISPUTE_ID, leaf=first, resolution=resolution, resolution_leaf=second)


def in_one_tree(*records: receipt_pb2.DisputeRecord) -> receipt_pb2.Receipt:
    """A receipt with `records`, their leaves proven beside its own, in the order in which they were recorded."""
    shown = [item for each in records for item in (each.leaf, each.resolution_leaf) if item.leaf]
    shown.sort(key=lambda item: parse_proof(item.proof.encode()).index)
    own, *others = CASE.record(PIECES.leaf(), *(item.leaf for item in shown))
    for item, proven in zip(shown, others, strict=True):
        item.proof = proven.proof
    return PIECES.receipt(leaves=[own], disputes=records)


def verify(*records: receipt_pb2.DisputeRecord) -> VerifiedReceipt:
    return verify_receipt(in_one_tree(*records), OPERATOR)


def test_open_dispute_is_believed() -> None:
    (dispute,) = verify(record()).disputes
    assert (dispute.check_id, dispute.opened, dispute.resolution) == ("hukou", OPENED_AT, None)


def test_guardians_dispute_is_believed() -> None:
    (dispute,) = verify(record(dispute_leaf(opener=ISSUER))).disputes
    assert dispute.opener == ISSUER


def test_resolved_dispute_is_believed_and_survives_its_file() -> None:
    receipt = receipt_from_json(receipt_to_json(in_one_tree(record(resolution=attested()))))
    (dispute,) = verify_receipt(receipt, OPERATOR).disputes
    assert dispute.resolution is not None
    assert (dispute.resolution.outcome, dispute.resolved) == (ResolutionOutcome.CORRECTED, RESOLVED_AT)


def change_statement(made: receipt_pb2.DisputeRecord) -> None:
    made.resolution.proof.statement = flip(made.resolution.proof.statement, 60)


def change_leaf(made: receipt_pb2.DisputeRecord) -> None:
    made.leaf.leaf = dispute_leaf(ground=DisputeGround.RECORD_WRONG.value)


def name_another_answer(made: receipt_pb2.DisputeRecord) -> None:
    made.dispute_id = statement_digest(IDENTITY)


def name_no_answer(made: receipt_pb2.DisputeRecord) -> None:
    made.dispute_id = bytes(32)


def name_a_refusal(made: receipt_pb2.DisputeRecord) -> None:
    made.dispute_id = statement_digest(CASE.refuse(HOUSING))


def drop_the_leaf_of_the_resolution(made: receipt_pb2.DisputeRecord) -> None:
    made.ClearField("resolution_leaf")


def show_the_dispute_as_its_resolution(made: receipt_pb2.DisputeRecord) -> None:
    made.resolution_leaf.CopyFrom(made.leaf)


@pytest.mark.parametrize(
    "bend",
    [
        change_statement,
        change_leaf,
        name_another_answer,
        name_no_answer,
        name_a_refusal,
        drop_the_leaf_of_the_resolution,
        show_the_dispute_as_its_resolution,
    ],
)
def test_record_that_was_changed_is_refused(bend: Callable[[receipt_pb2.DisputeRecord], None]) -> None:
    receipt = in_one_tree(record(resolution=attested()))
    assert verify_receipt(receipt, OPERATOR).disputes
    bend(receipt.disputes[0])
    with pytest.raises(HeyanError):
        verify_receipt(receipt, OPERATOR)


@pytest.mark.parametrize(
    "leaf",
    [
        dispute_leaf(department=LAND),
        dispute_leaf(statement_digest=statement_digest(IDENTITY)),
        dispute_leaf(opener=OTHER_REQUESTER),
        dispute_leaf(opener=GATEWAY),
        dispute_leaf(grant_tag=CASE.tags.grant(SECOND_GRANT)),
        dispute_leaf(at=LOGGED_AT - 1),
        dispute_leaf(gateway="spiffe://heyan/gateway/other"),
        PIECES.leaf(),
    ],
    ids=["department", "answer", "opener", "gateway as opener", "grant", "before the answer", "gateway", "no dispute"],
)
def test_leaf_of_something_else_proves_no_dispute(leaf: bytes) -> None:
    with refused_receipt():
        verify(record(leaf))


def test_dispute_and_resolution_recorded_under_a_newer_registry_are_not_judged_by_an_older_one() -> None:
    """The newer one may say that the key which signed was stolen."""
    leaf = log_pb2.LogLeaf.FromString(dispute_leaf())
    leaf.registry_version += 1
    with refused(ForgedError, Reason.RECEIPT_INVALID):
        verify(record(write_leaf(leaf)))
    statement = attested()
    newer = log_pb2.LogLeaf.FromString(resolution_leaf(statement))
    newer.registry_version += 1
    with refused(ForgedError, Reason.RECEIPT_INVALID):
        verify(record(dispute_leaf(), statement, write_leaf(newer)))


def test_dispute_that_stands_twice_is_refused() -> None:
    with refused_receipt():
        verify(record(), record())


@pytest.mark.parametrize("signer", [log_signer(), signer_of(FEDERATION.signing_keys["spiffe://heyan/gateway/other"])])
def test_dispute_proven_in_another_tree_than_the_answers_is_refused(signer: SignerKey) -> None:
    receipt = PIECES.receipt(disputes=[record(signer=signer)])
    with pytest.raises(ForgedError, match="different trees"):
        verify_receipt(receipt, OPERATOR)


def test_resolution_forged_by_the_gateway_is_refused() -> None:
    forged = attested(key=FEDERATION.signing_keys[REQUESTER])
    with pytest.raises(HeyanError):
        verify(record(resolution=forged))


def test_resolution_of_another_department_is_refused() -> None:
    for lie in (attested(department=LAND), attested(department=LAND, by=POLICE)):
        with pytest.raises(HeyanError):
            verify(record(resolution=lie))
        with pytest.raises(HeyanError):
            verify(record(resolution=lie, resolved=resolution_leaf(lie, department=LAND)))


def test_resolution_of_another_dispute_is_refused() -> None:
    other = attested(dispute_id=statement_digest(IDENTITY))
    for resolved in (resolution_leaf(other), resolution_leaf(other, dispute_id=statement_digest(IDENTITY))):
        with pytest.raises(HeyanError):
            verify(record(resolution=other, resolved=resolved))


def test_resolution_that_the_log_does_not_name_is_refused() -> None:
    with refused_receipt():
        verify(record(resolution=attested(), resolved=resolution_leaf(attested(), statement_digest=bytes(32))))


def test_resolution_logged_before_its_dispute_is_refused() -> None:
    resolution = attested()
    first, second = CASE.record(resolution_leaf(resolution), dispute_leaf())
    swapped = receipt_pb2.DisputeRecord(
        dispute_id=DISPUTE_ID, leaf=second, resolution=resolution, resolution_leaf=first
    )
    with refused_receipt():
        verify(swapped)


def refused_receipt() -> Any:
    return pytest.raises(HeyanError, match=Reason.RECEIPT_INVALID.value)


def test_only_an_answer_can_be_disputed() -> None:
    receipt = PIECES.receipt()
    assert disputable(receipt, "hukou").digest == DISPUTE_ID
    for check_id in ("months", "lease", "nothing"):  # unavailable, refused, never asked
        with refused(NotGrantedError, Reason.ANSWER_NOT_DISPUTABLE):
            disputable(receipt, check_id)
