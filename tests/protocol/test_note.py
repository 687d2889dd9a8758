"""Signed notes: the published examples byte for byte, what a strict reader refuses, and round trips."""

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol import note
from gateway.protocol.errors import ForgedError, HeyanError, MalformedError
from gateway.protocol.note import Signature, SignerKey, VerifierKey, open_note, parse_note, sign_note
from gateway.protocol.reasons import Reason

# Published with Go's sumdb/note.
GO_SKEY = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_NOTE = (
    GO_TEXT
    + "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
# The example of C2SP signed-note.
C2SP_VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
C2SP_NOTE = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)

TEXT = "heyan.example/log\nsecond line\n"
LOG = SignerKey.from_seed("heyan.example/log", bytes(32))
NEXT = SignerKey.from_seed("heyan.example/log", bytes([1]) * 32)  # the same name, while the key is rotated
STRANGER = SignerKey.from_seed("stranger.example", bytes([2]) * 32)
SIGNED = sign_note(TEXT, [LOG])
LINE = SIGNED.splitlines()[-1]

names = st.text(min_size=1, max_size=20).filter(note._NAME.fullmatch)
seeds = st.binary(min_size=32, max_size=32)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=200).map(
    lambda text: "".join(char for char in text if char >= " " or char == "\n") + "\n"
)


# -- published examples -------------------------------------------------------------------------------------


def test_go_example_is_signed_byte_for_byte():
    signer = SignerKey.parse(GO_SKEY)
    assert signer.format() == GO_SKEY
    assert signer.verifier.format() == GO_VKEY
    assert sign_note(GO_TEXT, [signer]) == GO_NOTE


@pytest.mark.parametrize(("vkey", "signed"), [(GO_VKEY, GO_NOTE), (C2SP_VKEY, C2SP_NOTE)], ids=["go", "c2sp"])
def test_published_example_opens(vkey, signed):
    key = VerifierKey.parse(vkey)
    assert key.format() == vkey
    opened = open_note(signed.encode(), [key])
    assert opened.text == signed.rpartition("\n\n")[0] + "\n"
    assert [(item.name, item.key_id) for item in opened.verified] == [(key.name, key.key_id)]
    assert opened.unverified == ()


# -- who signed ---------------------------------------------------------------------------------------------


def test_unknown_signatures_are_set_apart():
    opened = open_note(sign_note(TEXT, [STRANGER, LOG, NEXT]).encode(), [LOG.verifier])
    assert [item.key_id for item in opened.verified] == [LOG.verifier.key_id]
    assert [item.key_id for item in opened.unverified] == [STRANGER.verifier.key_id, NEXT.verifier.key_id]


def test_two_keys_of_one_name_both_verify():
    opened = open_note(sign_note(TEXT, [LOG, NEXT]).encode(), [NEXT.verifier, LOG.verifier])
    assert len(opened.verified) == 2


def test_note_signed_by_strangers_only_is_refused():
    for verifiers in ([LOG.verifier], []):
        with pytest.raises(ForgedError) as refusal:
            open_note(sign_note(TEXT, [STRANGER]).encode(), verifiers)
        assert refusal.value.reason is Reason.KEY_UNKNOWN


def test_changed_text_is_refused():
    with pytest.raises(ForgedError) as refusal:
        open_note(SIGNED.replace("second", "Second").encode(), [LOG.verifier])
    assert refusal.value.reason is Reason.SIGNATURE_INVALID


def forged_line(value):
    return Signature(LOG.verifier.name, LOG.verifier.key_id, value).format() + "\n"


@pytest.mark.parametrize("value", [bytes(64), b"\x00", bytes(63), bytes(65), bytes(5000)])
def test_bad_signature_of_a_known_key_spoils_a_note_that_others_signed(value):
    signed = sign_note(TEXT, [STRANGER]) + forged_line(value)
    with pytest.raises(ForgedError) as refusal:
        open_note(signed.encode(), [LOG.verifier, STRANGER.verifier])
    assert refusal.value.reason is Reason.SIGNATURE_INVALID


def test_bad_repetition_of_a_good_signature_is_refused():
    with pytest.raises(ForgedError):
        open_note((SIGNED + forged_line(bytes(64))).encode(), [LOG.verifier])


def test_repeated_signature_counts_once():
    opened = open_note((sign_note(TEXT, [LOG, STRANGER]) + LINE + "\n" + LINE + "\n").encode(), [LOG.verifier])
    assert len(opened.verified) == len(opened.unverified) == 1


def test_signature_under_a_known_id_and_another_name_counts_for_nothing():
    with pytest.raises(ForgedError) as refusal:
        open_note(SIGNED.replace("— heyan", "— other").encode(), [LOG.verifier])
    assert refusal.value.reason is Reason.KEY_UNKNOWN


def test_two_keys_under_one_name_and_id_are_refused():
    seen = {}
    for number in range(1 << 20):  # 4-byte ids collide after some 2^16 keys
        public_key = number.to_bytes(32, "big")
        key_id = note._key_id("collision", note.ED25519, public_key)
        if key_id in seen:
            break
        seen[key_id] = public_key
    pair = [VerifierKey.of("collision", note.ED25519, key) for key in (seen[key_id], public_key)]
    with pytest.raises(MalformedError) as refusal:
        open_note(SIGNED.encode(), [LOG.verifier, *pair])
    assert refusal.value.reason is Reason.CONFIGURATION_INVALID
    open_note(SIGNED.encode(), [LOG.verifier, pair[0], pair[0]])  # the same key twice is one key


# -- the form -----------------------------------------------------------------------------------------------


def test_last_blank_line_separates_text_and_signatures():
    text = "a\n\n— not a signature\n\nb\n"
    assert open_note(sign_note(text, [LOG]).encode(), [LOG.verifier]).text == text
    blank_at_end = "a\n\n\n"
    assert open_note(sign_note(blank_at_end, [LOG]).encode(), [LOG.verifier]).text == blank_at_end


@pytest.mark.parametrize("count", [16, note.MAX_SIGNATURES])
def test_many_signatures_are_accepted(count):
    signers = [SignerKey.from_seed(f"witness.example/{number}", bytes([number]) * 32) for number in range(count)]
    assert len(open_note(sign_note(TEXT, signers).encode(), [key.verifier for key in signers]).verified) == count


def test_sixteen_of_the_largest_signatures_are_accepted():
    lines = [Signature(f"witness.example/{number}", b"abcd", bytes(8 + 4627)).format() for number in range(16)]
    assert len(parse_note((SIGNED + "\n".join(lines) + "\n").encode()).unverified) == 17


MALFORMED = {
    "empty": "",
    "no signature": TEXT,
    "no signature after the blank line": TEXT + "\n",
    "no blank line": TEXT + LINE + "\n",
    "no text": "\n" + LINE + "\n",
    "no final newline": SIGNED[:-1],
    "blank line at the end": SIGNED + "\n",
    "carriage returns": SIGNED.replace("\n", "\r\n"),
    "tab": SIGNED.replace("second", "sec\tond"),
    "NUL": SIGNED.replace("second", "sec\x00ond"),
    "hyphen for the dash": SIGNED.replace("—", "-"),
    "en dash": SIGNED.replace("—", "\u2013"),
    "two spaces before the name": SIGNED.replace("— ", "—  "),
    "two spaces after the name": SIGNED.replace("log ", "log  "),
    "trailing space": SIGNED[:-1] + " \n",
    "no name": SIGNED.replace("heyan.example/log ", " "),
    "plus in the name": SIGNED.replace("heyan.example/log ", "heyan+log "),
    "no-break space in the name": SIGNED.replace("heyan.example/log ", "heyan\u00a0log "),
    "no base64": f"{TEXT}\n— heyan.example/log \n",
    "line without base64": f"{TEXT}\n— heyan.example/log\n",
    "base64 without padding": SIGNED.replace("=", ""),
    "URL-safe base64": f"{TEXT}\n— heyan.example/log -_-_-_-_\n",
    "key id only": f"{TEXT}\n— heyan.example/log AAAAAA==\n",
    "non-canonical base64": f"{TEXT}\n— heyan.example/log AAAAAAB=\n",
    "too many signatures": SIGNED + "".join(f"— w/{number} AAAAAAAA\n" for number in range(note.MAX_SIGNATURES)),
    "too large": "x" * note.MAX_NOTE_BYTES + SIGNED,
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_note_is_refused(data):
    with pytest.raises(MalformedError):
        open_note(data.encode(), [LOG.verifier])


def test_note_that_is_not_utf8_is_refused():
    for bad in (b"\xff", b"\xed\xa0\x80", b"\xc0\x8a"):
        with pytest.raises(MalformedError):
            open_note(bad + SIGNED.encode(), [LOG.verifier])


@pytest.mark.parametrize("text", ["", "no newline", "tab\t\n", "\x1f\n", "surrogate \ud800\n"])
def test_text_that_no_note_may_hold_is_not_signed(text):
    with pytest.raises(MalformedError):
        sign_note(text, [LOG])


@pytest.mark.parametrize("signers", [[], [LOG, LOG]], ids=["none", "twice the same"])
def test_note_is_not_signed_without_distinct_signers(signers):
    with pytest.raises(MalformedError):
        sign_note(TEXT, signers)


# -- keys ---------------------------------------------------------------------------------------------------

MALFORMED_VKEYS = {
    "empty": "",
    "one part": "name",
    "two parts": "name+00000000",
    "no key": "name+00000000+",
    "wrong id": GO_VKEY.replace("c74f20a3", "c74f20a4"),
    "upper-case id": GO_VKEY.replace("c74f20a3", "C74F20A3"),
    "short id": GO_VKEY.replace("c74f20a3", "c74f20a"),
    "other name": GO_VKEY.replace("Peter", "Pater"),
    "space in the name": GO_VKEY.replace("Peter", "Peter "),
    "trailing newline": GO_VKEY + "\n",
    "superfluous padding": GO_VKEY + "=",
    "last digit missing": GO_VKEY[:-1],
    "last 3 bytes missing": GO_VKEY[:-4],
    "surrogate": "\ud800" + GO_VKEY,
    "surrogate in base64": GO_VKEY + "\udfff",
    "private key": GO_SKEY,
}


@pytest.mark.parametrize("vkey", MALFORMED_VKEYS.values(), ids=MALFORMED_VKEYS.keys())
def test_malformed_vkey_is_refused(vkey):
    with pytest.raises(MalformedError):
        VerifierKey.parse(vkey)


def test_key_of_an_unknown_algorithm_is_refused():
    for algorithm in (0, 0x02, 0xFF, 256, -1):
        with pytest.raises(MalformedError):
            VerifierKey.of("name", algorithm, bytes(32))


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u2028b", "\ud800"])
def test_key_of_a_malformed_name_is_refused(name):
    with pytest.raises(MalformedError):
        VerifierKey.of(name, note.ED25519, bytes(32))
    with pytest.raises(MalformedError):
        SignerKey.from_seed(name, bytes(32))


@pytest.mark.parametrize("length", [0, 31, 33])
def test_key_of_another_length_is_refused(length):
    with pytest.raises(MalformedError):
        VerifierKey.of("name", note.ED25519, bytes(length))
    with pytest.raises(MalformedError):
        SignerKey.from_seed("name", bytes(length))


def test_malformed_skey_is_refused_and_not_shown():
    secret = GO_SKEY.split("+", 4)[4]
    other_algorithm = base64.b64encode(b"\x04" + base64.b64decode(secret)[1:]).decode()
    for skey in (
        "",
        GO_VKEY,
        GO_SKEY.removeprefix("PRIVATE+KEY+"),
        GO_SKEY.replace("c74f20a3", "c74f20a4"),
        GO_SKEY.replace("Peter", "Pater"),
        GO_SKEY.replace(secret, other_algorithm),
        GO_SKEY + "=",
        GO_SKEY + "\ud800",
        GO_SKEY[:-4],
    ):
        with pytest.raises(MalformedError) as refusal:
            SignerKey.parse(skey)
        assert secret[:20] not in str(refusal.value)


def test_repr_of_a_signer_shows_no_secret():
    assert "private" not in repr(LOG)
    assert GO_SKEY.split("+", 4)[4] not in repr(SignerKey.parse(GO_SKEY))


# -- properties ---------------------------------------------------------------------------------------------


@given(names, seeds, texts)
def test_sign_and_open_round_trip(name, seed, text):
    signer = SignerKey.parse(SignerKey.from_seed(name, seed).format())
    signed = sign_note(text, [signer])
    opened = open_note(signed.encode(), [VerifierKey.parse(signer.verifier.format())])
    assert opened.text == text
    assert text + "\n" + "".join(item.format() + "\n" for item in opened.verified) == signed


@given(st.one_of(st.binary(max_size=300), st.binary(max_size=40).map(lambda tail: SIGNED.encode() + tail)))
def test_open_raises_only_our_errors(data):
    with suppress(HeyanError):
        open_note(data, [LOG.verifier])


@given(st.integers(0, len(SIGNED.encode()) - 1), st.integers(1, 255))
def test_no_byte_of_a_note_can_change(position, flip):
    data = bytearray(SIGNED.encode())
    data[position] ^= flip
    with pytest.raises(HeyanError):
        open_note(bytes(data), [LOG.verifier])


anything = st.one_of(
    st.text(st.characters(), max_size=80),
    st.lists(st.sampled_from(["+", "PRIVATE+KEY+", "name", "c74f20a3", "AQ==", "—", " ", "\n"])).map("".join),
)


@given(anything)
def test_key_parsers_raise_only_our_errors(text):
    for parse in (VerifierKey.parse, SignerKey.parse, Signature.parse, lambda text: note.decode_base64(text, "x")):
        with suppress(HeyanError):
            parse(text)


@given(st.binary(max_size=100))
def test_base64_round_trip(data):
    assert note.decode_base64(note.encode_base64(data), "x") == data
