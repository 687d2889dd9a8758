"""Cosignatures of both types: what they cover, byte for byte, and what cannot pass for one.

The messages are written here once more from the specification's text, apart from the code. The reader was also held
against what torchwood v0.10.0 publishes of an ML-DSA-44 log (cmd/litewitness/testdata/mldsa.txt): it opens.
"""

import struct
from dataclasses import replace
from hashlib import sha256

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from gateway.protocol import note
from gateway.protocol.checkpoint import Checkpoint, checkpoint_of, sign_checkpoint
from gateway.protocol.cosignature import CosignerKey, as_cosigner, cosigned_at
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.note import (
    COSIGNATURE,
    ED25519,
    ML_DSA_44,
    Signature,
    SignerKey,
    VerifierKey,
    open_note,
    sign_note,
)
from gateway.protocol.reasons import Reason
from tests.protocol.casework import refused

ORIGIN, WITNESS = "heyan.example/log", "witness.example/w1"
SEED = bytes(range(32))
TIME = 1_800_000_000
CHECKPOINT = Checkpoint(ORIGIN, 20_852_163, sha256(b"root").digest())
LOG = SignerKey.from_seed(ORIGIN, bytes(32))
TYPES = {"Ed25519": COSIGNATURE, "ML-DSA-44": ML_DSA_44}
each_type = pytest.mark.parametrize("algorithm", TYPES.values(), ids=TYPES.keys())


def cosigner(algorithm, name=WITNESS, seed=SEED):
    return CosignerKey.from_seed(name, seed, algorithm)


def cosigned(algorithm, timestamp=TIME, text=None, key=None):
    """A log's checkpoint with one cosignature."""
    key = key or cosigner(algorithm)
    return sign_note(text or CHECKPOINT.encode(), [LOG, key.at(timestamp)])


def message_of(algorithm, name=WITNESS, timestamp=TIME, checkpoint=CHECKPOINT):
    """What the specification says is signed: written apart from the code that is tested."""
    if algorithm == COSIGNATURE:
        return b"cosignature/v1\ntime %d\n" % timestamp + checkpoint.encode().encode()
    origin, cosigner_name = checkpoint.origin.encode(), name.encode()
    return struct.pack(
        f">12sB{len(cosigner_name)}sQB{len(origin)}sQQ32s",
        *(b"subtree/v1\n\0", len(cosigner_name), cosigner_name, timestamp, len(origin), origin),
        *(0, checkpoint.size, checkpoint.root),
    )


def private_key(algorithm):
    kind = Ed25519PrivateKey.from_private_bytes if algorithm == COSIGNATURE else MLDSA44PrivateKey.from_seed_bytes
    return kind(SEED)


def line(algorithm, value, name=WITNESS):
    key = cosigner(algorithm, name).verifier
    return Signature(key.name, key.key_id, value).format() + "\n"


def forged(text, *verifiers):
    with pytest.raises(ForgedError) as refusal:
        open_note(text.encode(), verifiers)
    assert refusal.value.reason is Reason.SIGNATURE_INVALID


# -- what is signed -----------------------------------------------------------------------------------------


@each_type
def test_signature_is_over_the_message_of_the_specification(algorithm):
    key = cosigner(algorithm)
    opened = open_note(cosigned(algorithm).encode(), [key.verifier])
    value = opened.verified[0].value
    assert value[:8] == TIME.to_bytes(8, "big")
    assert cosigned_at(opened.verified[0]) == TIME
    private_key(algorithm).public_key().verify(value[8:], message_of(algorithm))


@each_type
def test_signature_made_elsewhere_over_that_message_verifies(algorithm):
    value = struct.pack(">Q", TIME) + private_key(algorithm).sign(message_of(algorithm))
    note_text = sign_checkpoint(CHECKPOINT, [LOG]) + line(algorithm, value)
    assert len(open_note(note_text.encode(), [LOG.verifier, cosigner(algorithm).verifier]).verified) == 2


@each_type
def test_key_id_is_of_the_type_and_vkey_reads_back(algorithm):
    key = cosigner(algorithm).verifier
    public = private_key(algorithm).public_key().public_bytes_raw()
    assert key.key_id == sha256(WITNESS.encode() + b"\n" + bytes([algorithm]) + public).digest()[:4]
    assert VerifierKey.parse(key.format()) == key
    assert VerifierKey.of(WITNESS, algorithm, public) == key


def test_published_vkey_of_a_witness_reads():
    assert VerifierKey.parse("remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2").algorithm == 4


def test_witness_that_publishes_a_plain_key_is_known_by_its_cosignatures():
    plain = SignerKey.from_seed(WITNESS, SEED).verifier
    key = as_cosigner(plain.format())
    assert (key.algorithm, key.public_key) == (COSIGNATURE, plain.public_key)
    assert key.key_id != plain.key_id
    assert open_note(cosigned(COSIGNATURE).encode(), [key]).keys == (key,)
    with refused(ForgedError, Reason.KEY_UNKNOWN):
        open_note(cosigned(COSIGNATURE).encode(), [plain])


@each_type
def test_vkey_of_a_cosigner_is_taken_as_it_is(algorithm):
    key = cosigner(algorithm).verifier
    assert as_cosigner(key.format()) == key


def test_private_half_is_not_shown():
    assert all(SEED.hex() not in repr(cosigner(kind).at(TIME)) for kind in TYPES.values())
    assert "private" not in repr(cosigner(ML_DSA_44).at(TIME))


# -- forgeries ----------------------------------------------------------------------------------------------


@each_type
def test_cosignature_moved_to_another_checkpoint_is_refused(algorithm):
    ours = cosigned(algorithm).splitlines(keepends=True)[-1]
    for other in (
        replace(CHECKPOINT, size=CHECKPOINT.size + 1),
        replace(CHECKPOINT, root=sha256(b"fork").digest()),
        replace(CHECKPOINT, origin="other.example/log"),
    ):
        log = SignerKey.from_seed(other.origin, bytes(32))
        forged(sign_checkpoint(other, [log]) + ours, log.verifier, cosigner(algorithm).verifier)


@each_type
@pytest.mark.parametrize("change", [-1, +1, 2**62])
def test_cosignature_with_another_time_is_refused(algorithm, change):
    opened = open_note(cosigned(algorithm).encode(), [cosigner(algorithm).verifier])
    value = (TIME + change).to_bytes(8, "big") + opened.verified[0].value[8:]
    forged(sign_checkpoint(CHECKPOINT, [LOG]) + line(algorithm, value), cosigner(algorithm).verifier)


@each_type
def test_cosignature_of_another_length_is_refused(algorithm):
    value = open_note(cosigned(algorithm).encode(), [cosigner(algorithm).verifier]).verified[0].value
    for bent in (value[:-1], value + b"\0", value[8:], value[:8], value[:3], b"\0"):
        forged(sign_checkpoint(CHECKPOINT, [LOG]) + line(algorithm, bent), cosigner(algorithm).verifier)


@each_type
def test_forged_repetition_beside_a_good_cosignature_is_refused(algorithm):
    note_text = cosigned(algorithm)
    value = open_note(note_text.encode(), [cosigner(algorithm).verifier]).verified[0].value
    bent = value[:-1] + bytes([value[-1] ^ 1])
    forged(note_text + line(algorithm, bent), cosigner(algorithm).verifier)


@each_type
def test_two_times_of_one_cosigner_count_once(algorithm):
    note_text = cosigned(algorithm) + cosigned(algorithm, TIME + 1).splitlines(keepends=True)[-1]
    opened = open_note(note_text.encode(), [LOG.verifier, cosigner(algorithm).verifier])
    assert len(opened.verified) == len(opened.keys) == 2
    assert cosigned_at(opened.verified[1]) == TIME


@each_type
def test_cosignature_that_a_reader_does_not_know_leaves_the_note_good(algorithm):
    opened = open_note(cosigned(algorithm).encode(), [LOG.verifier])
    assert checkpoint_of(opened, ORIGIN) == CHECKPOINT
    assert len(opened.unverified) == 1


@pytest.mark.parametrize("context", [b"heyan", b"subtree/v1\n\0", b"\0"], ids=["ours", "the label", "one byte"])
def test_ml_dsa_under_a_context_is_refused(context):
    value = struct.pack(">Q", TIME) + private_key(ML_DSA_44).sign(message_of(ML_DSA_44), context)
    forged(sign_checkpoint(CHECKPOINT, [LOG]) + line(ML_DSA_44, value), cosigner(ML_DSA_44).verifier)


def test_ml_dsa_over_the_message_of_ed25519_is_refused():
    value = struct.pack(">Q", TIME) + private_key(ML_DSA_44).sign(message_of(COSIGNATURE))
    forged(sign_checkpoint(CHECKPOINT, [LOG]) + line(ML_DSA_44, value), cosigner(ML_DSA_44).verifier)


def test_ml_dsa_cosignature_of_another_name_is_refused():
    """The same key under two names: its signature under one is none under the other."""
    lifted = open_note(cosigned(ML_DSA_44).encode(), [cosigner(ML_DSA_44).verifier]).verified[0].value
    other = cosigner(ML_DSA_44, "witness.example/w2").verifier
    forged(sign_checkpoint(CHECKPOINT, [LOG]) + line(ML_DSA_44, lifted, other.name), other)


def test_ml_dsa_over_a_part_of_the_tree_is_no_cosignature_of_the_checkpoint():
    whole = message_of(ML_DSA_44, timestamp=0)
    part = whole[:-48] + struct.pack(">Q", 8) + whole[-40:]  # start 8, which only a subtree has
    value = bytes(8) + private_key(ML_DSA_44).sign(part)
    forged(sign_checkpoint(CHECKPOINT, [LOG]) + line(ML_DSA_44, value), cosigner(ML_DSA_44).verifier)


def test_one_ed25519_key_under_two_types_lends_neither_its_signature():
    plain, timed = SignerKey.from_seed(ORIGIN, SEED), cosigner(COSIGNATURE, ORIGIN)
    assert plain.verifier.key_id != timed.verifier.key_id
    plain_value, timed_value = plain.sign(CHECKPOINT.encode()), timed.at(TIME).sign(CHECKPOINT.encode())
    for key, value in (
        (plain.verifier, timed_value),
        (plain.verifier, timed_value[8:]),
        (timed.verifier, plain_value),
        (timed.verifier, bytes(8) + plain_value),
    ):
        body = Signature(key.name, key.key_id, value).format()
        forged(f"{CHECKPOINT.encode()}\n{body}\n", plain.verifier, timed.verifier)


def test_plain_signature_over_a_cosignatures_message_is_no_cosignature_of_a_checkpoint():
    """A log could be led to sign a text that begins like the message of type 0x04: no checkpoint does."""
    text = message_of(COSIGNATURE).decode()
    value = struct.pack(">Q", TIME) + SignerKey.from_seed(ORIGIN, SEED).sign(text)
    key = cosigner(COSIGNATURE, ORIGIN).verifier
    open_note((sign_checkpoint(CHECKPOINT, [LOG]) + line(COSIGNATURE, value, ORIGIN)).encode(), [key])
    plain = SignerKey.from_seed(ORIGIN, SEED).verifier
    signed = f"{text}\n{Signature(ORIGIN, plain.key_id, value[8:]).format()}\n"
    opened = open_note(signed.encode(), [plain])
    with pytest.raises(MalformedError):  # which is why a log signs nothing that is no checkpoint
        checkpoint_of(opened, ORIGIN)


@each_type
def test_key_ids_that_collide_under_one_name_are_refused(algorithm):
    key = cosigner(algorithm).verifier
    other = object.__new__(VerifierKey)  # as if found by search: VerifierKey.of refuses an id that is not the key's
    for name, value in (("name", key.name), ("key_id", key.key_id), ("algorithm", ED25519), ("public_key", bytes(32))):
        object.__setattr__(other, name, value)
    with refused(MalformedError, Reason.CONFIGURATION_INVALID):
        open_note(cosigned(algorithm).encode(), [key, other])


# -- times and texts at the limits --------------------------------------------------------------------------


@each_type
@pytest.mark.parametrize("timestamp", [0, 1, 2**63 - 1])
def test_times_at_the_limits_are_signed_and_read(algorithm, timestamp):
    opened = open_note(cosigned(algorithm, timestamp).encode(), [cosigner(algorithm).verifier])
    assert cosigned_at(opened.verified[0]) == timestamp


@each_type
@pytest.mark.parametrize("timestamp", [2**63, 2**64 - 1])
def test_time_beyond_the_limit_is_refused_although_it_is_signed(algorithm, timestamp):
    value = struct.pack(">Q", timestamp) + private_key(algorithm).sign(message_of(algorithm, timestamp=timestamp))
    forged(sign_checkpoint(CHECKPOINT, [LOG]) + line(algorithm, value), cosigner(algorithm).verifier)
    with pytest.raises(MalformedError):
        cosigned_at(Signature(WITNESS, b"abcd", value))


@each_type
@pytest.mark.parametrize("timestamp", [-1, 2**63, 2**64])
def test_time_beyond_the_limits_is_not_signed(algorithm, timestamp):
    with pytest.raises(MalformedError):
        cosigner(algorithm).at(timestamp)


NO_CHECKPOINTS = {
    "other text": "an invoice\n",
    "two lines": f"{ORIGIN}\n5\n",
    "a size that is none": f"{ORIGIN}\n05\n{note.encode_base64(bytes(32))}\n",
    "a short root": f"{ORIGIN}\n5\n{note.encode_base64(bytes(31))}\n",
    "an empty line": f"{ORIGIN}\n5\n{note.encode_base64(bytes(32))}\n\n",
}


@each_type
@pytest.mark.parametrize("text", NO_CHECKPOINTS.values(), ids=NO_CHECKPOINTS.keys())
def test_text_that_is_no_checkpoint_is_neither_cosigned_nor_taken_as_cosigned(algorithm, text):
    with pytest.raises(MalformedError):
        cosigner(algorithm).at(TIME).sign(text)
    value = struct.pack(">Q", TIME) + private_key(algorithm).sign(
        b"cosignature/v1\ntime %d\n%b" % (TIME, text.encode())
    )
    forged(sign_note(text, [LOG]) + line(algorithm, value), cosigner(algorithm).verifier)


def test_extension_lines_are_covered_by_ed25519_and_not_by_ml_dsa():
    extended = CHECKPOINT.encode() + "extension\n"
    changed = CHECKPOINT.encode() + "Extension\n"
    for algorithm in TYPES.values():
        text = cosigned(algorithm, text=extended)
        open_note(text.encode(), [cosigner(algorithm).verifier])
        other = text.replace(extended, changed)
        if algorithm == COSIGNATURE:
            forged(other, cosigner(algorithm).verifier)
        else:  # as the specification says; the log's own plain signature covers them
            open_note(other.encode(), [cosigner(algorithm).verifier])
            forged(other, cosigner(algorithm).verifier, LOG.verifier)


def test_names_and_origins_that_no_message_of_ml_dsa_holds_are_refused():
    CosignerKey.from_seed("x" * 255, SEED, ML_DSA_44)
    with pytest.raises(MalformedError):
        CosignerKey.from_seed("x" * 256, SEED, ML_DSA_44)
    with pytest.raises(MalformedError):
        CosignerKey.from_seed("深" * 86, SEED, ML_DSA_44)  # 258 bytes
    longest = replace(CHECKPOINT, origin="o" * 255)
    key = cosigner(ML_DSA_44).at(TIME)
    assert len(key.sign(longest.encode())) == 2428
    with pytest.raises(MalformedError):
        key.sign(replace(CHECKPOINT, origin="o" * 256).encode())


@each_type
def test_empty_tree_is_cosigned(algorithm):
    empty = Checkpoint(ORIGIN, 0, sha256(b"").digest())
    key = cosigner(algorithm)
    assert open_note(sign_note(empty.encode(), [key.at(TIME)]).encode(), [key.verifier]).keys == (key.verifier,)


def test_sixteen_ml_dsa_cosignatures_fit_a_note():
    keys = [cosigner(ML_DSA_44, f"witness.example/{number}", bytes([number]) * 32) for number in range(16)]
    note_text = sign_note(CHECKPOINT.encode(), [LOG, *(key.at(TIME) for key in keys)])
    assert len(note_text.encode()) < note.MAX_NOTE_BYTES // 2
    opened = open_note(note_text.encode(), [LOG.verifier, *(key.verifier for key in keys)])
    assert len(opened.keys) == 17


@pytest.mark.parametrize("length", [0, 31, 33])
@each_type
def test_seeds_and_keys_of_another_length_are_refused(algorithm, length):
    with pytest.raises(MalformedError):
        CosignerKey.from_seed(WITNESS, bytes(length), algorithm)
    with pytest.raises(MalformedError):
        VerifierKey.of(WITNESS, algorithm, bytes(length))


def test_seed_of_a_type_that_is_no_cosigners_is_refused():
    for algorithm in (ED25519, 0x02, 0xFF):
        with pytest.raises(MalformedError):
            CosignerKey.from_seed(WITNESS, SEED, algorithm)


def test_plain_signature_has_no_time():
    with pytest.raises(MalformedError):
        cosigned_at(open_note(cosigned(COSIGNATURE).encode(), [LOG.verifier]).verified[0])


# -- whose word counts for the log --------------------------------------------------------------------------


@each_type
def test_cosignature_under_the_logs_name_alone_makes_no_checkpoint_of_the_log(algorithm):
    own = cosigner(algorithm, ORIGIN)
    note_text = sign_checkpoint(CHECKPOINT, [own.at(TIME)])
    opened = open_note(note_text.encode(), [own.verifier])
    with refused(ForgedError, Reason.KEY_UNKNOWN):
        checkpoint_of(opened, ORIGIN)
    beside = open_note(sign_checkpoint(CHECKPOINT, [LOG, own.at(TIME)]).encode(), [LOG.verifier, own.verifier])
    assert checkpoint_of(beside, ORIGIN) == CHECKPOINT


def test_the_independent_message_differs_where_it_should():
    """The helper above would notice a signer that signed something else."""
    value = cosigner(ML_DSA_44).at(TIME).sign(CHECKPOINT.encode())
    public = private_key(ML_DSA_44).public_key()
    with pytest.raises(InvalidSignature):
        public.verify(value[8:], message_of(ML_DSA_44, timestamp=TIME + 1))
