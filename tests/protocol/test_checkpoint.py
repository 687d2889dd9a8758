"""Checkpoints: the published example, the strictness of the form, and who may speak for a log."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol import checkpoint as cp
from gateway.protocol.checkpoint import Checkpoint, checkpoint_of, open_checkpoint, parse_checkpoint, sign_checkpoint
from gateway.protocol.errors import ForgedError, HeyanError, MalformedError
from gateway.protocol.merkle import EMPTY_ROOT, MAX_TREE_SIZE
from gateway.protocol.note import SignerKey, open_note, parse_note, sign_note
from gateway.protocol.reasons import Reason

ORIGIN = "heyan.example/log"
ROOT = bytes(range(32))
LOG = SignerKey.from_seed(ORIGIN, bytes(32))
NEXT = SignerKey.from_seed(ORIGIN, bytes([1]) * 32)
WITNESS = SignerKey.from_seed("witness.example", bytes([2]) * 32)
CHECKPOINT = Checkpoint(ORIGIN, 20852163, ROOT)
TEXT = CHECKPOINT.encode()
B64 = TEXT.splitlines()[2]

# The example of C2SP tlog-checkpoint.
C2SP_TEXT = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
C2SP_NOTE = (
    C2SP_TEXT + "\n— example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
)

origins = st.text(st.characters(codec="utf-8", min_codepoint=0x20), min_size=1, max_size=30)
roots = st.binary(min_size=32, max_size=32)


def test_published_example_is_read_and_written_alike():
    read = parse_checkpoint(parse_note(C2SP_NOTE.encode()).text)
    assert (read.origin, read.size) == ("example.com/behind-the-sofa", 20852163)
    assert read.encode() == C2SP_TEXT


def test_signed_checkpoint_opens():
    signed = sign_checkpoint(CHECKPOINT, [LOG])
    assert signed.startswith(TEXT + "\n— heyan.example/log ")
    assert open_checkpoint(signed.encode(), [LOG.verifier], ORIGIN) == CHECKPOINT


def test_rotation_checkpoint_opens_with_either_key():
    signed = sign_checkpoint(CHECKPOINT, [LOG, NEXT]).encode()
    for key in (LOG, NEXT):
        assert open_checkpoint(signed, [key.verifier], ORIGIN) == CHECKPOINT


def test_empty_tree_has_a_checkpoint():
    assert parse_checkpoint(Checkpoint(ORIGIN, 0, EMPTY_ROOT).encode()).size == 0


def test_extension_lines_are_read_past():
    extended = TEXT + "opaque extension\nanother\n"
    assert parse_checkpoint(extended) == CHECKPOINT
    opened = open_note(sign_note(extended, [LOG]).encode(), [LOG.verifier])
    assert checkpoint_of(opened, ORIGIN) == CHECKPOINT
    assert opened.text == extended  # what a cosigner must sign


MALFORMED = {
    "empty": "",
    "newline only": "\n",
    "two lines": f"{ORIGIN}\n1\n",
    "no final newline": TEXT[:-1],
    "empty extension line": TEXT + "\n",
    "empty line between": f"{ORIGIN}\n\n1\n{B64}\n",
    "no origin": f"\n1\n{B64}\n",
    "carriage returns": TEXT.replace("\n", "\r\n"),
    "leading zero": f"{ORIGIN}\n01\n{B64}\n",
    "double zero": f"{ORIGIN}\n00\n{B64}\n",
    "plus sign": f"{ORIGIN}\n+1\n{B64}\n",
    "minus sign": f"{ORIGIN}\n-1\n{B64}\n",
    "underscore": f"{ORIGIN}\n1_0\n{B64}\n",
    "hex": f"{ORIGIN}\n0x1\n{B64}\n",
    "space before the size": f"{ORIGIN}\n 1\n{B64}\n",
    "full-width digit": f"{ORIGIN}\n\uff11\n{B64}\n",
    "Arabic digit": f"{ORIGIN}\n\u0661\n{B64}\n",
    "size of 2^63": f"{ORIGIN}\n{2**63}\n{B64}\n",
    "size of 5,000 digits": f"{ORIGIN}\n{'9' * 5000}\n{B64}\n",
    "short root": f"{ORIGIN}\n1\nAAAA\n",
    "long root": f"{ORIGIN}\n1\n{'A' * 44}\n",
    "no padding": f"{ORIGIN}\n1\n{B64.rstrip('=')}\n",
    "non-canonical padding bits": f"{ORIGIN}\n1\n{B64[:-2]}9=\n",
    "URL-safe base64": f"{ORIGIN}\n1\n{'_' * 43}=\n",
    "space after the root": f"{ORIGIN}\n1\n{B64} \n",
    "size 0 with the root of something": f"{ORIGIN}\n0\n{B64}\n",
    "surrogate in the origin": f"\ud800\n1\n{B64}\n",
    "surrogate in the root": f"{ORIGIN}\n1\n\ud800\n",
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_checkpoint_is_refused(text):
    with pytest.raises(MalformedError):
        parse_checkpoint(text)


@pytest.mark.parametrize(
    ("origin", "size", "root"),
    [("", 1, ROOT), ("a\nb", 1, ROOT), (ORIGIN, -1, ROOT), (ORIGIN, MAX_TREE_SIZE + 1, ROOT), (ORIGIN, 1, ROOT[1:])],
)
def test_malformed_checkpoint_is_not_made(origin, size, root):
    with pytest.raises(MalformedError):
        Checkpoint(origin, size, root)


def test_checkpoint_of_another_origin_is_refused():
    other = SignerKey.from_seed("other.example/log", bytes([3]) * 32)
    signed = sign_checkpoint(Checkpoint("other.example/log", 1, ROOT), [other]).encode()
    with pytest.raises(ForgedError) as refusal:
        open_checkpoint(signed, [LOG.verifier, other.verifier], ORIGIN)
    assert refusal.value.reason is Reason.PROOF_INVALID


def test_checkpoint_signed_by_witnesses_alone_is_refused():
    with pytest.raises(ForgedError) as refusal:
        open_checkpoint(sign_note(TEXT, [WITNESS]).encode(), [LOG.verifier, WITNESS.verifier], ORIGIN)
    assert refusal.value.reason is Reason.KEY_UNKNOWN


def test_checkpoint_with_another_size_under_the_same_signature_is_refused():
    forged = sign_checkpoint(CHECKPOINT, [LOG]).replace("20852163", "20852164")
    with pytest.raises(ForgedError) as refusal:
        open_checkpoint(forged.encode(), [LOG.verifier], ORIGIN)
    assert refusal.value.reason is Reason.SIGNATURE_INVALID


def test_signed_text_that_is_no_checkpoint_is_refused():
    with pytest.raises(MalformedError):
        open_checkpoint(sign_note("hello\n", [LOG]).encode(), [LOG.verifier], ORIGIN)


@pytest.mark.parametrize("signers", [[], [WITNESS], [LOG, WITNESS]], ids=["none", "another name", "one of two"])
def test_checkpoint_is_signed_only_under_its_origin(signers):
    with pytest.raises(MalformedError):
        sign_checkpoint(CHECKPOINT, signers)


@given(origins, st.integers(1, MAX_TREE_SIZE), roots)
def test_encode_and_parse_round_trip(origin, size, root):
    checkpoint = Checkpoint(origin, size, root)
    assert parse_checkpoint(checkpoint.encode()) == checkpoint


lines = st.one_of(st.text(st.characters(), max_size=20), st.sampled_from([ORIGIN, "0", "1", B64, ""]))


@given(st.one_of(st.text(st.characters(), max_size=100), st.lists(lines, max_size=6).map("\n".join)))
def test_parse_raises_only_our_errors_and_reads_one_form(text):
    try:
        checkpoint = parse_checkpoint(text)
    except HeyanError:
        return
    assert text.startswith(checkpoint.encode())


@given(st.text(st.characters(), max_size=30))
def test_decimal_is_read_in_one_form_only(text):
    try:
        number = cp.parse_decimal(text, "x")
    except HeyanError:
        return
    assert str(number) == text


@given(st.integers(0, MAX_TREE_SIZE))
def test_decimal_round_trip(number):
    assert cp.parse_decimal(str(number), "x") == number
