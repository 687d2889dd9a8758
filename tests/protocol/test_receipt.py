"""A genuine receipt, made in memory with the protocol's own functions, and every attack on it.

Two attackers: whoever holds the receipt changes what he can reach without a key (`tampered`), and a gateway that lies
records what it likes under its own log key (`genuine()` with changed pieces, recorded anew).
"""

from dataclasses import replace

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.protocol import receipt as module
from gateway.protocol.codec import to_timestamp
from gateway.protocol.errors import BadDataError, ForgedError, HeyanError, MalformedError, UnknownPeerError
from gateway.protocol.jws import sign_jws
from gateway.protocol.keys import SigningKey
from gateway.protocol.leaf import CheckStatus, Tags
from gateway.protocol.outcomes import NextStep, Outcome
from gateway.protocol.query import open_part, write_part, write_query
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt import VerifiedReceipt, verify_receipt
from gateway.protocol.registry import TYP
from gateway.protocol.registry_terms import KeyUse
from heyan.v1 import log_pb2, receipt_pb2
from tests.federation import (
    DAY,
    GATEWAY,
    OTHER_GATEWAY,
    OTHER_REQUESTER,
    REQUESTER,
    Federation,
    ed25519_key,
    edit_party,
    key_terms,
)
from tests.protocol.casework import (
    FEDERATION,
    HOUSING,
    HRSS,
    LAND,
    LEAF_KEY,
    LOGGED_AT,
    NOW,
    OPERATOR,
    PARTS,
    POLICE,
    Case,
    flip,
    gap,
    genuine,
    log_signer,
    make_query,
    refused,
    sign_query,
    signer_of,
    statement_digest,
)

GENUINE = genuine().receipt()
INVALID = Reason.RECEIPT_INVALID


def verify(receipt, operator=OPERATOR):
    return verify_receipt(receipt, operator)


def tampered(change):
    """The genuine receipt after `change`, which must have changed it."""
    receipt = receipt_pb2.Receipt()
    receipt.CopyFrom(GENUINE)
    change(receipt)
    assert receipt != GENUINE
    return receipt


def refuse(receipt, error=ForgedError, reason=INVALID):
    with refused(error, reason):
        verify(receipt)


# -- genuine ------------------------------------------------------------------------------------------------


def test_genuine_receipt_holds():
    verified = verify(GENUINE)
    assert isinstance(verified, VerifiedReceipt)
    answers = {answer.check.check_id: answer for answer in verified.answers}
    assert {name: (answer.outcome, answer.next_step, answer.reason) for name, answer in answers.items()} == {
        "hukou": (Outcome.YES, NextStep.NONE, None),
        "identity": (Outcome.NO, NextStep.NONE, None),
        "home": (Outcome.UNDETERMINED, NextStep.OFFLINE, None),
        "months": (Outcome.UNAVAILABLE, NextStep.RETRY, Reason.DEPARTMENT_TIMED_OUT),
        "lease": (Outcome.REFUSED, NextStep.NONE, Reason.BUDGET_EXHAUSTED),
        "public": (Outcome.REFUSED, NextStep.NONE, Reason.BUDGET_EXHAUSTED),
    }
    assert answers["hukou"].snapshot_date == "2027-01-15"
    assert (answers["hukou"].department, answers["months"].department) == (POLICE, HRSS)
    assert verified.query == make_query()
    assert verified.query_digest == genuine().case.signed.digest
    assert (verified.checkpoint.size, verified.log_times, verified.registry_version) == (3, (LOGGED_AT,), 1)
    assert not verified.witnessed


def test_answers_come_in_the_order_of_the_parts():
    reordered = tampered(lambda receipt: receipt.statements.reverse())
    assert [answer.check.check_id for answer in verify(reordered).answers] == [
        check.check_id for part in PARTS for check in open_part(part).part.checks
    ]


# -- statements ---------------------------------------------------------------------------------------------


def change_outcome(receipt):
    proof = receipt.statements[1].proof
    proof.statement = genuine().case.attest(POLICE, "identity", Outcome.YES)


def swap_statements(receipt):
    first, second = receipt.statements[0].proof, receipt.statements[1].proof
    first.statement, second.statement = second.statement, first.statement


def swap_paths(receipt):
    first, second = receipt.statements[0].proof.path[:], receipt.statements[1].proof.path[:]
    receipt.statements[0].proof.path[:], receipt.statements[1].proof.path[:] = second, first


def swap_batches(receipt):
    receipt.statements[0].batch.CopyFrom(receipt.statements[2].batch)


@pytest.mark.parametrize("change", [change_outcome, swap_statements, swap_paths, swap_batches])
def test_changed_or_swapped_statement_is_refused(change):
    refuse(tampered(change), reason=Reason.PROOF_INVALID)


def test_forged_batch_is_refused():
    def change(receipt):
        batch = receipt.statements[0].batch
        batch.signature.value = flip(batch.signature.value)

    refuse(tampered(change), reason=Reason.ATTESTATION_INVALID)


def with_statement(index, department, statement, **changes):
    """The receipt of a gateway that got `statement` signed and logs what it logged before."""
    pieces = genuine()
    (pieces.statements[index],) = pieces.case.batch(department, statement, **changes)
    return pieces


def test_wrong_outcome_signed_by_another_department_is_refused():
    statement = genuine().case.attest(POLICE, "identity", Outcome.YES)
    refuse(with_statement(1, LAND, statement).receipt(), reason=Reason.ATTESTATION_INVALID)


def test_wrong_outcome_signed_by_the_gateway_is_refused():
    case = genuine().case
    statement = case.attest(POLICE, "identity", Outcome.YES)
    for key in (FEDERATION.signing_keys[GATEWAY], SigningKey("key-1", FEDERATION.signing_keys[GATEWAY].private)):
        refuse(with_statement(1, POLICE, statement, key=key).receipt(), reason=Reason.ATTESTATION_INVALID)


def test_second_answer_of_the_department_that_was_not_logged_is_refused():
    statement = genuine().case.attest(POLICE, "identity", Outcome.YES)
    refuse(with_statement(1, POLICE, statement).receipt())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"query_digest": bytes(32)}, Reason.ATTESTATION_INVALID),
        ({"requester": OTHER_REQUESTER}, Reason.ATTESTATION_INVALID),
        ({"purpose": "statistics"}, Reason.ATTESTATION_INVALID),
        ({"part_digest": bytes(32)}, INVALID),
        ({"check": replace(Case().asked(POLICE, "identity").check, check_id="other")}, INVALID),
        ({"check": replace(Case().asked(POLICE, "identity").check, region="430103")}, Reason.ATTESTATION_INVALID),
    ],
    ids=["query", "requester", "purpose", "part", "check", "region"],
)
def test_genuine_answer_to_another_question_is_refused(change, reason):
    statement = genuine().case.attest(POLICE, "identity", Outcome.YES, **change)
    refuse(with_statement(1, POLICE, statement).receipt(), reason=reason)


def test_answer_about_another_departments_part_is_refused():
    case = genuine().case
    statement = case.attest(POLICE, "hukou", part_digest=case.opened[LAND].digest)
    refuse(with_statement(0, POLICE, statement).receipt())
    statement = case.attest(LAND, "home", department=POLICE)
    refuse(with_statement(2, POLICE, statement).receipt(), reason=Reason.ATTESTATION_INVALID)


def test_duplicated_answer_is_refused():
    refuse(tampered(lambda receipt: receipt.statements.append(receipt.statements[0])))


def test_two_different_answers_to_one_check_are_refused():
    pieces = genuine()
    pieces.statements += pieces.case.batch(POLICE, pieces.case.attest(POLICE, "identity", Outcome.YES))
    refuse(pieces.receipt())


def test_answer_beside_a_refusal_of_its_part_is_refused():
    pieces = genuine()
    pieces.statements += pieces.case.batch(HOUSING, pieces.case.attest(HOUSING, "lease"))
    refuse(pieces.receipt())


def test_statement_signed_after_it_was_logged_is_refused():
    statement = genuine().case.attest(POLICE, "identity", Outcome.NO)
    refuse(with_statement(1, POLICE, statement, at=LOGGED_AT + 11).receipt(), reason=Reason.ATTESTATION_INVALID)


# -- checks and parts left out ------------------------------------------------------------------------------


def skip_department(receipt):
    del receipt.parts[1]
    del receipt.statements[2]


def drop_part(receipt):
    del receipt.parts[0]


def double_part(receipt):
    receipt.parts.append(receipt.parts[0])


def resalt_part(receipt):
    receipt.parts[0] = write_part(replace(open_part(receipt.parts[0]).part, salt=bytes(32)))


def remove_check(receipt):
    part = open_part(receipt.parts[0]).part
    receipt.parts[0] = write_part(replace(part, checks=part.checks[:1]))


@pytest.mark.parametrize("change", [skip_department, drop_part, double_part, resalt_part, remove_check])
def test_skipped_department_or_changed_part_is_refused(change):
    refuse(tampered(change), reason=Reason.QUERY_PARTS_MISMATCH)


def drop_answer(receipt):
    del receipt.statements[0]


def drop_refusal(receipt):
    del receipt.statements[3]


def drop_gap(receipt):
    del receipt.unavailable[0]


@pytest.mark.parametrize("change", [drop_answer, drop_refusal, drop_gap])
def test_dropped_check_is_refused(change):
    refuse(tampered(change))


def test_department_skipped_by_the_gateway_is_refused():
    pieces = genuine()
    del pieces.statements[2]
    del pieces.rows[2]
    refuse(pieces.receipt())


def test_answer_that_the_log_does_not_record_is_refused():
    for index in range(6):
        pieces = genuine()
        del pieces.rows[index]
        refuse(pieces.receipt())


def test_log_of_a_check_that_was_not_asked_is_refused():
    pieces = genuine()
    pieces.rows.append(pieces.case.row(POLICE, "hukou", 1, statement=b"", check_tag=bytes(32)))
    refuse(pieces.receipt())


# -- unavailable --------------------------------------------------------------------------------------------


def unavailable_instead(receipt):
    del receipt.statements[0]
    receipt.unavailable.append(gap("hukou", POLICE))


def test_unavailable_instead_of_yes_is_refused():
    refuse(tampered(unavailable_instead))


def test_unavailable_instead_of_a_refusal_is_refused():
    def change(receipt):
        del receipt.statements[3]
        receipt.unavailable.extend([gap("lease", HOUSING), gap("public", HOUSING)])

    refuse(tampered(change))


def test_unavailable_beside_an_answer_is_refused():
    refuse(tampered(lambda receipt: receipt.unavailable.append(gap("hukou", POLICE))))


def test_yes_instead_of_unavailable_is_refused():
    pieces = genuine()
    pieces.unavailable.clear()
    pieces.statements += pieces.case.batch(HRSS, pieces.case.attest(HRSS, "months"))
    refuse(pieces.receipt())


@pytest.mark.parametrize(
    "change",
    [
        {"check_id": "other"},
        {"department": POLICE},
        {"reason": "OVERLOADED"},
        {"reason": "BECAUSE"},
        {"reason": ""},
        {"next_step": 0},
        {"next_step": int(NextStep.NONE)},
        {"next_step": int(NextStep.OFFLINE)},
        {"next_step": 77},
    ],
    ids=lambda change: " ".join(f"{name} {value}" for name, value in change.items()),
)
def test_changed_unavailability_is_refused(change):
    values = {"check_id": "months", "department": HRSS, **change}
    refuse(tampered(lambda receipt: receipt.unavailable[0].CopyFrom(gap(**values))))


@pytest.mark.parametrize("field", ["ask_time", "end_time"])
def test_unavailability_without_its_times_is_refused(field):
    receipt = tampered(lambda receipt: receipt.unavailable[0].ClearField(field))
    refuse(receipt, MalformedError, Reason.MESSAGE_MALFORMED)


def test_withheld_answer_shows_as_unavailable_and_never_as_an_answer():
    pieces = genuine()
    case = pieces.case
    statement = case.attest(HRSS, "months")
    withheld = case.row(HRSS, "months", CheckStatus.WITHHELD, statement=statement, reason="GRANT_REVOKED")
    pieces.rows[3] = withheld
    pieces.unavailable = [gap("months", HRSS, reason="GRANT_REVOKED")]
    assert verify(pieces.receipt()).answers[3].reason is Reason.GRANT_REVOKED
    pieces.unavailable = []
    pieces.statements += case.batch(HRSS, statement)
    refuse(pieces.receipt())


# -- leaves and proofs --------------------------------------------------------------------------------------


def changed_row(**changes):
    def change(pieces):
        for name, value in changes.items():
            setattr(pieces.rows[0], name, value)

    return change


LYING_ROWS = {
    "another statement": changed_row(statement_digest=bytes(32)),
    "another department": changed_row(department=LAND),
    "another claim": changed_row(claim="hukou.guardian_registered@1"),
    "another region": changed_row(region="430103"),
    "a reason for an answer": changed_row(reason="OVERLOADED"),
    "refused": changed_row(status=int(CheckStatus.REFUSED)),
    "withheld": changed_row(status=int(CheckStatus.WITHHELD)),
    "another check's tag": lambda pieces: setattr(pieces.rows[0], "check_tag", pieces.rows[1].check_tag),
    "a later row that takes it back": lambda pieces: pieces.rows.append(
        pieces.case.row(POLICE, "hukou", CheckStatus.UNAVAILABLE, reason="DEPARTMENT_TIMED_OUT")
    ),
}


@pytest.mark.parametrize("change", LYING_ROWS.values(), ids=LYING_ROWS.keys())
def test_log_that_records_another_answer_is_refused(change):
    pieces = genuine()
    change(pieces)
    refuse(pieces.receipt())


@pytest.mark.parametrize("status", [0, 7, 99])
def test_log_row_of_unknown_status_is_refused(status):
    pieces = genuine()
    pieces.rows[0].status = status
    refuse(pieces.receipt(), MalformedError, Reason.MESSAGE_MALFORMED)


@pytest.mark.parametrize(
    "change",
    [
        {"gateway": OTHER_GATEWAY},
        {"requester": OTHER_REQUESTER},
        {"purpose": "statistics"},
        {"query_tag": bytes(32)},
        {"grant_tags": []},
        {"grant_tags": [bytes(32), bytes(32)]},
        {"verification": None, "refusal": log_pb2.RefusalEvent(peer=REQUESTER)},
    ],
    ids=["gateway", "requester", "purpose", "query", "no grants", "other grants", "a refusal"],
)
def test_leaf_of_another_query_is_refused(change):
    pieces = genuine()
    refuse(pieces.receipt(leaves=pieces.case.record(pieces.leaf(**change))))


def change_leaf_time(receipt):
    leaf = log_pb2.LogLeaf.FromString(receipt.leaves[0].leaf)
    leaf.log_time.seconds -= 1
    receipt.leaves[0].leaf = leaf.SerializeToString(deterministic=True)


def change_leaf_row(receipt):
    leaf = log_pb2.LogLeaf.FromString(receipt.leaves[0].leaf)
    leaf.verification.checks[0].statement_digest = bytes(32)
    receipt.leaves[0].leaf = leaf.SerializeToString(deterministic=True)


def change_proof_index(receipt):
    receipt.leaves[0].proof = receipt.leaves[0].proof.replace("index 1", "index 0")


def change_proof_hash(receipt):
    lines = receipt.leaves[0].proof.split("\n")
    lines[2], lines[3] = lines[3], lines[2]
    receipt.leaves[0].proof = "\n".join(lines)


@pytest.mark.parametrize("change", [change_leaf_time, change_leaf_row, change_proof_index, change_proof_hash])
def test_changed_leaf_or_proof_is_refused(change):
    refuse(tampered(change), reason=Reason.PROOF_INVALID)


def test_changed_checkpoint_is_refused():
    def change(receipt):
        receipt.leaves[0].proof = receipt.leaves[0].proof.replace("\n3\n", "\n4\n")

    refuse(tampered(change), reason=Reason.SIGNATURE_INVALID)


def test_foreign_checkpoint_is_refused():
    """Signed by another gateway's log key, and by a key that nobody knows, under the same origin."""
    pieces = genuine()
    strangers = (log_signer(gateway=OTHER_GATEWAY), signer_of(ed25519_key(b"", "stranger", "log-1")))
    for signer in strangers:
        receipt = pieces.receipt(leaves=pieces.case.record(pieces.leaf(), signer=signer))
        refuse(receipt, reason=Reason.KEY_UNKNOWN)


def test_checkpoint_of_another_log_is_refused():
    other = FEDERATION.changed(
        lambda document: edit_party(
            document, GATEWAY, gateway=msgspec.structs.replace(gateway_terms(document), log_origin="other.test/log")
        )
    )
    refuse(tampered(lambda receipt: setattr(receipt, "registry", other.registry.token)), reason=Reason.KEY_UNKNOWN)


def gateway_terms(document):
    return next(party.gateway for party in document.parties if party.id == GATEWAY)


@pytest.mark.parametrize("proof", ["", "c2sp.org/tlog-proof@v1\n", "é" * 10])
def test_proof_that_cannot_be_read_is_refused(proof):
    receipt = tampered(lambda receipt: setattr(receipt.leaves[0], "proof", proof))
    refuse(receipt, MalformedError, Reason.MESSAGE_MALFORMED)


def test_other_leaf_key_is_refused():
    refuse(tampered(lambda receipt: setattr(receipt, "leaf_key", bytes(32))))


def test_leaves_of_another_leaf_key_are_refused():
    case = Case(tags=Tags(bytes(32)))
    refuse(genuine(case).receipt(leaf_key=LEAF_KEY))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_leaf_key_of_another_length_is_refused(size):
    refuse(tampered(lambda receipt: setattr(receipt, "leaf_key", bytes(size))), MalformedError)


@pytest.mark.parametrize("version", [0, 2])
def test_unknown_version_is_refused(version):
    refuse(tampered(lambda receipt: setattr(receipt, "version", version)), MalformedError)


def test_receipt_without_leaves_is_refused():
    refuse(tampered(lambda receipt: receipt.ClearField("leaves")), MalformedError)


def test_receipt_of_too_many_leaves_is_refused_unread():
    one = GENUINE.leaves[0]
    receipt = tampered(lambda receipt: receipt.leaves.extend([one] * module.MAX_LEAVES))
    refuse(receipt, MalformedError)


def test_empty_receipt_is_refused():
    refuse(receipt_pb2.Receipt(), MalformedError)


# -- retries ------------------------------------------------------------------------------------------------


def retried(later=CheckStatus.ANSWERED):
    """First everything but social security, then its answer in a leaf of its own."""
    pieces = genuine()
    case = pieces.case
    answer = case.attest(HRSS, "months")
    pieces.unavailable = []
    pieces.statements += case.batch(HRSS, answer)
    second = case.leaf([case.row(HRSS, "months", later, statement=answer)], LOGGED_AT + 100)
    return pieces, case.record(pieces.leaf(), second)


def test_newest_row_of_a_check_counts():
    pieces, leaves = retried()
    verified = verify(pieces.receipt(leaves=leaves))
    assert verified.answers[3].outcome is Outcome.YES
    assert verified.log_times == (LOGGED_AT, LOGGED_AT + 100)


def test_leaves_out_of_order_or_twice_are_refused():
    pieces, leaves = retried()
    refuse(pieces.receipt(leaves=leaves[::-1]))
    refuse(pieces.receipt(leaves=[leaves[0], leaves[0], leaves[1]]))


def test_dropped_leaf_is_refused():
    pieces, leaves = retried()
    refuse(pieces.receipt(leaves=leaves[:1]))
    refuse(pieces.receipt(leaves=leaves[1:]))


def test_unavailability_that_a_later_leaf_mended_is_refused():
    _, leaves = retried()
    refuse(genuine().receipt(leaves=leaves))


def test_settled_answer_that_a_later_leaf_takes_back_is_refused():
    """A gateway alone would turn a logged answer into "unavailable"; with a department, a NO into a YES."""
    for later in (CheckStatus.UNAVAILABLE, CheckStatus.ANSWERED):
        pieces = genuine()
        case = pieces.case
        again = case.attest(POLICE, "hukou")
        row = case.row(POLICE, "hukou", later, statement=None if later is CheckStatus.UNAVAILABLE else again)
        second = case.leaf([row], LOGGED_AT + 100)
        refuse(pieces.receipt(leaves=case.record(pieces.leaf(), second)))


def test_leaves_that_run_backwards_or_lie_outside_the_querys_times_are_refused():
    for second in (LOGGED_AT - 1, LOGGED_AT + 10 * 86_400):
        pieces = genuine()
        case = pieces.case
        answer = case.attest(HRSS, "months")
        pieces.unavailable = []
        pieces.statements += case.batch(HRSS, answer)
        later = case.leaf([case.row(HRSS, "months", CheckStatus.ANSWERED, statement=answer)], second)
        refuse(pieces.receipt(leaves=case.record(pieces.leaf(), later)))


def test_leaves_of_different_trees_are_refused():
    pieces, leaves = retried()
    earlier = pieces.case.record(pieces.leaf())
    refuse(pieces.receipt(leaves=[earlier[0], leaves[1]]))


# -- the query ----------------------------------------------------------------------------------------------


def test_other_query_is_refused():
    other = sign_query(make_query(request_id=bytes(16)))

    def change(receipt):
        receipt.query.query = other.query
        receipt.query.signature.value = other.signature

    refuse(tampered(change))


@pytest.mark.parametrize("place", [0, 31, 32, 63])
def test_flipped_signature_of_the_query_is_refused(place):
    def change(receipt):
        receipt.query.signature.value = flip(receipt.query.signature.value, place)

    refuse(tampered(change), reason=Reason.QUERY_SIGNATURE_INVALID)


def test_query_that_the_requester_never_signed_is_refused():
    """Made up by a gateway together with a department: leaf and answers are genuine, the question is not."""
    for key in (FEDERATION.signing_keys[OTHER_REQUESTER], SigningKey("key-9", FEDERATION.signing_keys[POLICE].private)):
        pieces = genuine(Case(signed=sign_query(make_query(), key)))
        refuse(pieces.receipt(), reason=Reason.QUERY_SIGNATURE_INVALID)


def test_unsigned_query_is_refused():
    receipt = tampered(lambda receipt: receipt.query.ClearField("signature"))
    refuse(receipt, MalformedError, Reason.MESSAGE_MALFORMED)


def test_query_to_a_party_that_is_no_known_gateway_is_refused():
    query = make_query(gateway="spiffe://heyan/gateway/nobody")
    pieces = genuine(Case(signed=sign_query(query), query=query))
    refuse(pieces.receipt(), UnknownPeerError, Reason.PEER_UNKNOWN)


def test_non_canonical_query_is_refused_although_signed():
    signed = sign_query(write_query(make_query()) + b"\xf2\x01\x01x")
    refuse(genuine(Case(signed=signed)).receipt(), MalformedError, Reason.MESSAGE_MALFORMED)


# -- the registry -------------------------------------------------------------------------------------------

NEXT = FEDERATION.changed(lambda document: document)


def test_newer_registry_verifies_an_older_receipt():
    newer = tampered(lambda receipt: setattr(receipt, "registry", NEXT.registry.token))
    assert verify(newer).registry_version == 2


def test_older_registry_than_the_leaf_names_is_refused():
    pieces = genuine(Case(federation=NEXT))
    assert verify(pieces.receipt()).registry_version == 2
    refuse(pieces.receipt(registry=FEDERATION.registry.token))


def test_other_registry_of_the_same_version_is_refused():
    forked = FEDERATION.changed(lambda document: msgspec.structs.replace(document, version=0, federation="fork"))
    document = msgspec.structs.replace(forked.registry.document, version=1)
    token = sign_jws(msgspec.json.encode(document), TYP, FEDERATION.operator)
    refuse(tampered(lambda receipt: setattr(receipt, "registry", token)))
    refuse(tampered(lambda receipt: setattr(receipt, "registry_digest", bytes(32))))


def test_registry_of_another_operator_is_refused():
    other = Federation.create(NOW, seed="other")
    refuse(tampered(lambda receipt: setattr(receipt, "registry", other.registry.token)), reason=Reason.REGISTRY_INVALID)
    with refused(ForgedError, Reason.REGISTRY_INVALID):
        verify(GENUINE, other.operator.public_key())
    impostor = replace(other.operator.public_key(), key_id=OPERATOR.key_id)
    with refused(ForgedError, Reason.REGISTRY_INVALID):
        verify(GENUINE, impostor)


@pytest.mark.parametrize("token", ["", "a.b.c"])
def test_receipt_without_a_registry_is_refused(token):
    receipt = tampered(lambda receipt: setattr(receipt, "registry", token))
    refuse(receipt, MalformedError, Reason.REGISTRY_INVALID)


def test_expired_registry_still_verifies():
    """Nothing of the check knows today's date: a receipt is as good after thirty years."""
    old = Federation.create(NOW, edit=lambda document: msgspec.structs.replace(document, expires=int(NOW) - 10))
    assert old.registry.document.expires < NOW
    case = Case(federation=old)
    assert verify(genuine(case).receipt(), old.operator.public_key()).answers[0].outcome is Outcome.YES


# -- keys at the logged time --------------------------------------------------------------------------------

PARTIES = pytest.mark.parametrize(
    ("party", "use", "reason"),
    [
        (REQUESTER, KeyUse.QUERY, Reason.QUERY_SIGNATURE_INVALID),
        (POLICE, KeyUse.ANSWER, Reason.ATTESTATION_INVALID),
        (GATEWAY, KeyUse.LOG, Reason.KEY_UNKNOWN),
    ],
    ids=["query key", "answer key", "log key"],
)


def judged_by(party, *terms):
    """The genuine receipt with a newer registry, which says this of the party's keys."""
    newer = FEDERATION.changed(lambda document: edit_party(document, party, keys=terms))
    return tampered(lambda receipt: setattr(receipt, "registry", newer.registry.token))


@PARTIES
def test_key_compromised_after_the_logged_time_voids_nothing(party, use, reason):
    terms = key_terms(FEDERATION.signing_keys[party], use, NOW, compromised=int(LOGGED_AT) + 1)
    assert verify(judged_by(party, terms)).answers[0].outcome is Outcome.YES


@PARTIES
@pytest.mark.parametrize("compromised", [NOW - 1000, NOW, LOGGED_AT])
def test_key_compromised_before_the_logged_time_is_refused(party, use, reason, compromised):
    terms = key_terms(FEDERATION.signing_keys[party], use, NOW, compromised=int(compromised))
    refuse(judged_by(party, terms), reason=reason)


def test_answer_backdated_under_a_stolen_key_is_refused():
    """The thief dates his batch before the compromise; the log recorded it afterwards."""
    compromised = int(NOW) + 50
    pieces = genuine()
    backdated = pieces.case.record(pieces.leaf(at=NOW + 51))
    terms = key_terms(FEDERATION.signing_keys[POLICE], KeyUse.ANSWER, NOW, compromised=compromised)
    newer = FEDERATION.changed(lambda document: edit_party(document, POLICE, keys=(terms,)))
    refuse(pieces.receipt(leaves=backdated, registry=newer.registry.token), reason=Reason.ATTESTATION_INVALID)


def test_answer_logged_before_the_compromise_survives_a_retry_after_it():
    pieces, leaves = retried()
    terms = key_terms(FEDERATION.signing_keys[POLICE], KeyUse.ANSWER, NOW, compromised=int(LOGGED_AT) + 50)
    newer = FEDERATION.changed(lambda document: edit_party(document, POLICE, keys=(terms,)))
    receipt = pieces.receipt(leaves=leaves, registry=newer.registry.token)
    assert [answer.outcome for answer in verify(receipt).answers[:2]] == [Outcome.YES, Outcome.NO]


@PARTIES
def test_rotated_key_still_verifies_what_was_logged_under_it(party, use, reason):
    gone = msgspec.structs.replace(key_terms(FEDERATION.signing_keys[party], use, NOW), not_after=int(LOGGED_AT) + 1)
    fresh = (
        ed25519_key(b"", party, "next")
        if use is KeyUse.LOG
        else SigningKey("next", ec.derive_private_key(9, ec.SECP256R1()))
    )
    new = msgspec.structs.replace(key_terms(fresh, use, NOW + DAY), not_before=int(LOGGED_AT) + 1)
    assert verify(judged_by(party, gone, new)).answers[0].outcome is Outcome.YES


@PARTIES
def test_key_that_was_not_yet_or_no_longer_valid_is_refused(party, use, reason):
    terms = key_terms(FEDERATION.signing_keys[party], use, NOW)
    refuse(judged_by(party, msgspec.structs.replace(terms, not_after=int(NOW) - 10)), reason=reason)
    if use is not KeyUse.LOG:
        refuse(judged_by(party, msgspec.structs.replace(terms, not_before=int(NOW) + 10)), reason=reason)


def test_receipt_fetched_after_the_log_key_rotated_holds():
    """Its leaf is older than the key that signs the newest checkpoint, under which it is proven."""
    fresh = ed25519_key(b"", "log", "log-2")
    old = msgspec.structs.replace(
        key_terms(FEDERATION.signing_keys[GATEWAY], KeyUse.LOG, NOW), not_after=int(LOGGED_AT) + 10
    )
    new = msgspec.structs.replace(key_terms(fresh, KeyUse.LOG, NOW), not_before=int(LOGGED_AT) + 10)
    newer = FEDERATION.changed(lambda document: edit_party(document, GATEWAY, keys=(old, new)))
    pieces = genuine()
    leaves = pieces.case.record(pieces.leaf(), signer=signer_of(fresh))
    receipt = pieces.receipt(leaves=leaves, registry=newer.registry.token)
    assert verify(receipt).answers[0].outcome is Outcome.YES


def test_key_that_the_registry_removed_is_refused():
    refuse(judged_by(POLICE), reason=Reason.ATTESTATION_INVALID)


# -- errors -------------------------------------------------------------------------------------------------


def test_every_failure_is_bad_data_and_never_a_fault():
    for change in (change_outcome, drop_part, drop_gap, change_leaf_row, change_proof_index):
        with pytest.raises(BadDataError):
            verify(tampered(change))


@pytest.mark.parametrize("seconds", [-1, 253_402_300_800])
def test_times_out_of_range_are_refused(seconds):
    def change(receipt):
        receipt.unavailable[0].ask_time.seconds = seconds

    with pytest.raises(HeyanError):
        verify(tampered(change))


def test_leaf_names_each_statement_by_its_digest():
    leaf = log_pb2.LogLeaf.FromString(GENUINE.leaves[0].leaf)
    named = {row.statement_digest for row in leaf.verification.checks if row.statement_digest}
    assert named == {statement_digest(item.proof.statement) for item in GENUINE.statements}
    assert leaf.log_time == to_timestamp(LOGGED_AT)
