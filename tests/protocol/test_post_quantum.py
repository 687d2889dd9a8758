"""The second signature on a receipt's checkpoint: told, asked for, left out, forged; and what a pinned key is worth."""

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import mldsa

from gateway.protocol.checkpoint import Checkpoint
from gateway.protocol.cosignature import CosignerKey
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.keys import SigningKey
from gateway.protocol.note import ML_DSA_44, parse_note
from gateway.protocol.post_quantum import PostQuantum, pinned_key, post_quantum_of
from gateway.protocol.proof import InclusionProof, parse_proof
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt import MAX_LEAVES, MAX_RECEIPT, verify_receipt
from gateway.protocol.receipt_leaves import leaf_proofs
from gateway.protocol.registry_terms import KeyUse
from tests.federation import DAY, GATEWAY, LOG_ORIGIN, ed25519_key, edit_party, key_terms
from tests.protocol.casework import FEDERATION, LOGGED_AT, NOW, OPERATOR, genuine, log_signer, refused, signer_of

SEED = bytes(range(32))
SECOND = SigningKey("log-pq-1", mldsa.MLDSA44PrivateKey.from_seed_bytes(SEED))
COSIGNER = CosignerKey.from_seed(LOG_ORIGIN, SEED, ML_DSA_44)
STRANGER = CosignerKey.from_seed(LOG_ORIGIN, bytes(32), ML_DSA_44)
AT = int(LOGGED_AT) + 1
FIRST_TERMS = key_terms(FEDERATION.signing_keys[GATEWAY], KeyUse.LOG, NOW)


def second_terms(**changes):
    return msgspec.structs.replace(key_terms(SECOND, KeyUse.LOG, NOW), **changes)


def listing(*terms):
    """The registry that lists these log keys."""
    return FEDERATION.changed(lambda document: edit_party(document, GATEWAY, keys=terms)).registry


NAMED = listing(FIRST_TERMS, second_terms())


def receipt_signed(*beside, registry=NAMED, signer=None):
    """A genuine receipt under a checkpoint that others sign beside the log's plain key."""
    pieces = genuine()
    leaves = pieces.case.record(pieces.leaf(), signer=signer, beside=beside)
    return pieces.receipt(leaves=leaves, registry=registry.token)


def seen(receipt, registry=NAMED, *pinned):
    verified = verify_receipt(receipt, OPERATOR)
    return post_quantum_of(receipt, registry, verified.query.gateway, max(verified.log_times), pinned)


def with_note(receipt, change):
    """The receipt with its checkpoint's note changed in every proof."""
    for item in leaf_proofs(receipt):
        proof = parse_proof(item.proof.encode())
        item.proof = InclusionProof(proof.index, proof.path, change(proof.checkpoint)).format()
    return receipt


def stripped(text):
    note = parse_note(text.encode())
    return f"{note.text}\n{note.unverified[0].format()}\n"


# -- what is there ------------------------------------------------------------------------------------------


def test_second_signature_is_seen():
    assert seen(receipt_signed(COSIGNER.at(AT))) == PostQuantum(signed=True, expected=True)


def test_receipt_of_a_log_without_a_second_key_says_so():
    found = seen(receipt_signed(registry=listing(FIRST_TERMS)), listing(FIRST_TERMS))
    assert found == PostQuantum(signed=False, expected=False)
    with refused(ForgedError, Reason.POST_QUANTUM_MISSING):
        found.require()


def test_second_signature_that_was_left_out_is_missed_and_refused_where_it_is_asked_for():
    receipt = with_note(receipt_signed(COSIGNER.at(AT)), stripped)
    found = seen(receipt)  # and yet it verifies: Ed25519 is what counts today
    assert found == PostQuantum(signed=False, expected=True)
    with refused(ForgedError, Reason.POST_QUANTUM_MISSING):
        found.require()


def test_second_signature_of_a_key_that_the_registry_does_not_name_is_none():
    assert not seen(receipt_signed(STRANGER.at(AT))).signed
    found = seen(receipt_signed(COSIGNER.at(AT), registry=listing(FIRST_TERMS)), listing(FIRST_TERMS))
    assert found == PostQuantum(signed=False, expected=False)


def test_receipt_from_before_the_second_key_began_misses_nothing():
    later = listing(FIRST_TERMS, second_terms(not_before=int(LOGGED_AT) + DAY))
    assert seen(receipt_signed(registry=later), later) == PostQuantum(signed=False, expected=False)


def test_leaf_from_before_the_second_key_began_may_be_proven_with_it():
    later = listing(FIRST_TERMS, second_terms(not_before=int(LOGGED_AT) + DAY))
    assert seen(receipt_signed(COSIGNER.at(AT + DAY), registry=later), later).signed


@pytest.mark.parametrize(
    "changes", [{"not_after": int(LOGGED_AT) - 1}, {"compromised": int(LOGGED_AT)}], ids=["retired", "leaked"]
)
def test_second_key_that_ended_before_the_leaf_was_logged_does_not_count(changes):
    ended = listing(FIRST_TERMS, second_terms(**changes))
    assert not seen(receipt_signed(COSIGNER.at(AT), registry=ended), ended).signed


def test_cosignature_of_a_witness_is_not_the_logs_own():
    witness = CosignerKey.from_seed("witness.example/w1", SEED, ML_DSA_44)
    line = witness.at(AT)

    def cosigned(text):
        body = parse_note(text.encode()).text
        value = line.sign(body)
        item = parse_note(text.encode()).unverified[0]
        return text + type(item)(witness.verifier.name, witness.verifier.key_id, value).format() + "\n"

    receipt = with_note(receipt_signed(), cosigned)
    assert not seen(receipt).signed
    with refused(ForgedError, Reason.POST_QUANTUM_MISSING):
        seen(receipt, NAMED, witness.verifier).require()


# -- forged -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [4, 11, 12, 1000, -1], ids=["time", "end of time", "first", "middle", "last"])
def test_second_signature_that_is_wrong_spoils_the_receipt(place):
    def bent(text):
        note = parse_note(text.encode())
        plain, second = note.unverified
        value = bytearray(second.value)
        value[place - 4 if place > 0 else place] ^= 1
        return f"{note.text}\n{plain.format()}\n{type(second)(second.name, second.key_id, bytes(value)).format()}\n"

    with refused(ForgedError, Reason.SIGNATURE_INVALID):
        verify_receipt(with_note(receipt_signed(COSIGNER.at(AT)), bent), OPERATOR)


def test_second_signature_of_another_tree_spoils_the_receipt():
    other = COSIGNER.at(AT).sign(Checkpoint(LOG_ORIGIN, 9, bytes(32)).encode())

    def lifted(text):
        note = parse_note(text.encode())
        plain, second = note.unverified
        return f"{note.text}\n{plain.format()}\n{type(second)(second.name, second.key_id, other).format()}\n"

    with refused(ForgedError, Reason.SIGNATURE_INVALID):
        verify_receipt(with_note(receipt_signed(COSIGNER.at(AT)), lifted), OPERATOR)


def test_checkpoint_that_only_the_second_key_signed_proves_nothing():
    def only(text):
        note = parse_note(text.encode())
        return f"{note.text}\n{note.unverified[1].format()}\n"

    with refused(ForgedError, Reason.KEY_UNKNOWN):
        verify_receipt(with_note(receipt_signed(COSIGNER.at(AT)), only), OPERATOR)


# -- after the fall of Ed25519 ------------------------------------------------------------------------------


def forged_world():
    """Somebody who can forge every Ed25519 signature: a registry, a log, a second key, all of their own."""
    own = SigningKey("log-pq-9", mldsa.MLDSA44PrivateKey.from_seed_bytes(bytes(32)))
    registry = listing(FIRST_TERMS, key_terms(own, KeyUse.LOG, NOW))
    return receipt_signed(STRANGER.at(AT), registry=registry), registry


def test_forged_registry_brings_a_second_key_of_its_own_and_only_a_pinned_key_tells():
    receipt, registry = forged_world()
    seen(receipt, registry).require()  # by the registry's word alone it passes
    with refused(ForgedError, Reason.POST_QUANTUM_MISSING):
        seen(receipt, registry, COSIGNER.verifier).require()


def test_pinned_key_counts_whatever_the_registry_names():
    without = listing(FIRST_TERMS)
    receipt = receipt_signed(COSIGNER.at(AT), registry=without)
    assert not seen(receipt, without).signed
    seen(receipt, without, COSIGNER.verifier).require()


def test_pinned_key_spoils_a_wrong_signature_also_where_the_registry_names_no_key():
    def bent(text):
        note = parse_note(text.encode())
        plain, second = note.unverified
        return f"{note.text}\n{plain.format()}\n{type(second)(second.name, second.key_id, bytes(2428)).format()}\n"

    without = listing(FIRST_TERMS)
    receipt = with_note(receipt_signed(COSIGNER.at(AT), registry=without), bent)
    with refused(ForgedError, Reason.SIGNATURE_INVALID):
        seen(receipt, without, COSIGNER.verifier)


def test_only_an_ml_dsa_key_can_be_pinned():
    assert pinned_key(COSIGNER.verifier.format()) == COSIGNER.verifier
    for key in (log_signer().verifier, CosignerKey.from_seed(LOG_ORIGIN, SEED).verifier):
        with refused(MalformedError, Reason.CONFIGURATION_INVALID):
            pinned_key(key.format())


# -- the plain key, retired ---------------------------------------------------------------------------------

FRESH = ed25519_key(b"", "log", "log-2")


def test_checkpoint_of_a_key_retired_before_the_leaf_is_refused_though_the_second_key_signed_too():
    ended = listing(
        msgspec.structs.replace(FIRST_TERMS, not_after=int(LOGGED_AT) - 1),
        key_terms(FRESH, KeyUse.LOG, NOW),
        second_terms(),
    )
    with refused(ForgedError, Reason.KEY_UNKNOWN):
        verify_receipt(receipt_signed(COSIGNER.at(AT), registry=ended), OPERATOR)


def test_checkpoint_of_the_overlap_holds_for_who_knows_either_key():
    both = [log_signer(), signer_of(FRESH)]
    for known in (FIRST_TERMS, key_terms(FRESH, KeyUse.LOG, NOW)):
        registry = listing(known)
        receipt = receipt_signed(both[1], registry=registry, signer=both[0])
        assert verify_receipt(receipt, OPERATOR).registry_version == registry.version


# -- sizes --------------------------------------------------------------------------------------------------


def cosigned_by(count):
    """A note with this many ML-DSA-44 witnesses more."""
    witnesses = [CosignerKey.from_seed(f"witness.example/{number}", SEED, ML_DSA_44) for number in range(count)]

    def change(text):
        note = parse_note(text.encode())
        kind = type(note.unverified[0])
        lines = [kind(key.verifier.name, key.verifier.key_id, key.at(AT).sign(note.text)).format() for key in witnesses]
        return text + "".join(f"{line}\n" for line in lines)

    return change


def test_longest_receipt_fits_while_one_second_key_follows_another():
    receipt = receipt_signed(COSIGNER.at(AT), STRANGER.at(AT))
    assert seen(receipt).signed
    grown = len(receipt.SerializeToString()) + (MAX_LEAVES - 1) * len(receipt.leaves[0].SerializeToString())
    assert grown < MAX_RECEIPT // 2


def test_receipt_with_sixteen_post_quantum_witnesses_is_read():
    receipt = with_note(receipt_signed(COSIGNER.at(AT), STRANGER.at(AT)), cosigned_by(16))
    assert seen(receipt).signed
    assert len(receipt.SerializeToString()) < MAX_RECEIPT // 64


def test_registry_names_ml_dsa_keys_for_logs_only_and_never_alone():
    def refuse(edit):
        with refused(MalformedError, Reason.REGISTRY_INVALID):
            FEDERATION.changed(edit)

    refuse(lambda document: edit_party(document, GATEWAY, keys=(second_terms(),)))
    for use in set(KeyUse) - {KeyUse.LOG}:
        refuse(lambda document, use=use: edit_party(document, GATEWAY, keys=(FIRST_TERMS, second_terms(use=use))))
    short = second_terms(public=FIRST_TERMS.public)
    refuse(lambda document: edit_party(document, GATEWAY, keys=(FIRST_TERMS, short)))
