"""Sealing: one size for all, and one key, one query and one department for each. All persons are made up."""

from dataclasses import replace
from functools import lru_cache
from hashlib import sha256

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.protocol.codec import b64url, encode
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.limits import ENVELOPE_SIZE
from gateway.protocol.reasons import Reason
from gateway.protocol.registry_terms import SealingKeyTerms, Suite
from gateway.protocol.sealing import (
    OpeningKey,
    Sealed,
    _hpke,
    _info,
    ciphertext_size,
    fresh_seed,
    open_sealed,
    pad_envelope,
    private_from_seed,
    public_bytes,
    seal,
)
from heyan.v1 import query_pb2
from tests.protocol.casework import LAND, NOW, POLICE, flip, refused

SUITES = pytest.mark.parametrize("suite", Suite, ids=["hybrid", "X25519"])
QUERY = sha256(b"a query").digest()
RANDOMNESS = b"".join(sha256(bytes([index])).digest() for index in range(3))


def envelope(**subject):
    values = {
        "role": "child",
        "id_type": "resident_id",
        "id_number": "43990020180901002X",
        "name": "张三",
        "salt": bytes(range(32)),
    }
    return query_pb2.SubjectEnvelope(
        subjects=[query_pb2.SubjectOpening(**{**values, **subject})], evidence=[b"assertion"]
    )


@lru_cache
def keys(suite, kid="seal-1", randomness=RANDOMNESS):
    seed = fresh_seed(suite, randomness)
    public = SealingKeyTerms(kid, suite, b64url(public_bytes(suite, seed)), int(NOW), int(NOW) + 100)
    return public, OpeningKey(kid, suite, private_from_seed(suite, seed))


@lru_cache
def sealed_for(suite):
    return seal(envelope(), keys(suite)[0], POLICE, QUERY)


def content(opened):
    opened.ClearField("padding")
    return opened


# -- genuine ------------------------------------------------------------------------------------------------


@SUITES
def test_sealed_subject_opens(suite):
    assert content(open_sealed(sealed_for(suite), keys(suite)[1], POLICE, QUERY)) == envelope()


@SUITES
def test_sealing_twice_gives_other_bytes(suite):
    again = seal(envelope(), keys(suite)[0], POLICE, QUERY)
    assert again.ciphertext != sealed_for(suite).ciphertext
    assert content(open_sealed(again, keys(suite)[1], POLICE, QUERY)) == envelope()


@SUITES
def test_ciphertext_does_not_tell_how_many_subjects_or_how_long_a_name(suite):
    three = query_pb2.SubjectEnvelope(
        subjects=[envelope(role=role, name="张" * 40).subjects[0] for role in ("child", "guardian", "co_resident")],
        evidence=[bytes(700), bytes(700)],
    )
    envelopes = [query_pb2.SubjectEnvelope(), envelope(), envelope(name="张" * 40), three]
    sizes = {len(seal(item, keys(suite)[0], POLICE, QUERY).ciphertext) for item in envelopes}
    assert sizes == {ciphertext_size(suite)}


def test_sizes_are_pinned():
    assert ciphertext_size(Suite.X25519) == 32 + 3072 + 16
    assert ciphertext_size(Suite.HYBRID) == 1088 + 32 + 3072 + 16
    assert len(public_bytes(Suite.X25519, RANDOMNESS[:32])) == 32
    assert len(public_bytes(Suite.HYBRID, RANDOMNESS)) == 1184 + 32


@given(st.integers(0, ENVELOPE_SIZE - 134))
@settings(derandomize=True, max_examples=60)
def test_whatever_fits_is_padded_to_one_size(size):
    assert len(pad_envelope(query_pb2.SubjectEnvelope(evidence=[bytes(size)]))) == ENVELOPE_SIZE


@pytest.mark.parametrize("size", [ENVELOPE_SIZE - 133, ENVELOPE_SIZE, 100_000])
def test_envelope_without_room_for_padding_is_refused(size):
    with refused(MalformedError, Reason.MESSAGE_TOO_LARGE):
        pad_envelope(query_pb2.SubjectEnvelope(evidence=[bytes(size)]))


def test_padding_that_is_there_already_is_replaced():
    item = envelope()
    item.padding = b"something hidden" * 300
    assert pad_envelope(item) == pad_envelope(envelope())


# -- attacks ------------------------------------------------------------------------------------------------


@SUITES
@pytest.mark.parametrize(
    ("department", "query"),
    [(LAND, QUERY), (POLICE, flip(QUERY)), (POLICE, b""), ("", QUERY), (POLICE + "\x00", QUERY[1:])],
    ids=["another department", "another query", "no query", "no department", "shifted border"],
)
def test_sealed_subject_opens_for_nothing_else(suite, department, query):
    with refused(ForgedError, Reason.SUBJECT_UNDECIPHERABLE):
        open_sealed(sealed_for(suite), keys(suite)[1], department, query)


@SUITES
def test_key_of_another_seed_opens_nothing(suite):
    other = keys(suite, randomness=RANDOMNESS[::-1])[1]
    with refused(ForgedError, Reason.SUBJECT_UNDECIPHERABLE):
        open_sealed(sealed_for(suite), other, POLICE, QUERY)


@SUITES
def test_same_key_under_another_id_opens_nothing(suite):
    renamed = replace(keys(suite)[1], key_id="seal-2")
    for sealed in (sealed_for(suite), replace(sealed_for(suite), key_id="seal-2")):
        with refused(ForgedError, Reason.SUBJECT_UNDECIPHERABLE):
            open_sealed(sealed, renamed, POLICE, QUERY)


@SUITES
def test_sealed_subject_that_names_another_key_is_refused(suite):
    with refused(ForgedError, Reason.SUBJECT_UNDECIPHERABLE):
        open_sealed(replace(sealed_for(suite), key_id="seal-2"), keys(suite)[1], POLICE, QUERY)


@SUITES
def test_subject_sealed_without_padding_is_refused(suite):
    _, private = keys(suite)
    info = _info(suite, "seal-1", POLICE, QUERY)
    for plaintext in (b"", encode(envelope()), pad_envelope(envelope())[:-1] + b"\x00\x00"):
        ciphertext = _hpke(suite).encrypt(plaintext, private.private.public_key(), info=info)
        with refused(ForgedError, Reason.SUBJECT_UNDECIPHERABLE):
            open_sealed(Sealed(1, "seal-1", ciphertext), private, POLICE, QUERY)


@SUITES
@pytest.mark.parametrize("version", [0, 2])
def test_another_version_is_refused(suite, version):
    with refused(ForgedError, Reason.SUBJECT_UNDECIPHERABLE):
        open_sealed(replace(sealed_for(suite), version=version), keys(suite)[1], POLICE, QUERY)


@SUITES
def test_truncated_or_lengthened_ciphertext_is_refused(suite):
    ciphertext = sealed_for(suite).ciphertext
    for changed in (b"", ciphertext[:-1], ciphertext[1:], ciphertext + b"\x00", ciphertext[:31]):
        with refused(ForgedError, Reason.SUBJECT_UNDECIPHERABLE):
            open_sealed(replace(sealed_for(suite), ciphertext=changed), keys(suite)[1], POLICE, QUERY)


@SUITES
def test_flipped_byte_is_refused_wherever_it_is(suite):
    ciphertext = sealed_for(suite).ciphertext
    places = [0, 15, 31, 500, 1087, 1088, 1119, 1120, 2000, len(ciphertext) - 17, len(ciphertext) - 16, -1]
    for place in places:
        with refused(ForgedError, Reason.SUBJECT_UNDECIPHERABLE):
            changed = replace(sealed_for(suite), ciphertext=flip(ciphertext, place))
            open_sealed(changed, keys(suite)[1], POLICE, QUERY)


@SUITES
def test_encapsulated_key_of_zeros_is_refused(suite):
    """The all-zero point of X25519 gives a shared secret that everybody knows."""
    zeros = bytes(ciphertext_size(suite))
    with refused(ForgedError, Reason.SUBJECT_UNDECIPHERABLE):
        open_sealed(replace(sealed_for(suite), ciphertext=zeros), keys(suite)[1], POLICE, QUERY)


def test_ciphertext_of_the_weaker_suite_is_refused_by_the_stronger_key():
    with refused(ForgedError, Reason.SUBJECT_UNDECIPHERABLE):
        open_sealed(sealed_for(Suite.X25519), keys(Suite.HYBRID)[1], POLICE, QUERY)


@SUITES
def test_plaintext_that_is_no_envelope_is_refused(suite):
    public, private = keys(suite)
    info = _info(suite, "seal-1", POLICE, QUERY)
    ciphertext = _hpke(suite).encrypt(b"\xff" * ENVELOPE_SIZE, private.private.public_key(), info=info)
    with refused(ForgedError, Reason.SUBJECT_UNDECIPHERABLE):
        open_sealed(Sealed(1, public.kid, ciphertext), private, POLICE, QUERY)


@SUITES
@pytest.mark.parametrize("size", [0, 31, 33, 95, 97])
def test_public_key_of_another_length_seals_nothing(suite, size):
    terms = msgspec.structs.replace(keys(suite)[0], public=b64url(bytes(size)))
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        seal(envelope(), terms, POLICE, QUERY)


@SUITES
@pytest.mark.parametrize("size", [0, 31, 33, 95, 97])
def test_seed_of_another_length_makes_no_key(suite, size):
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        private_from_seed(suite, bytes(size))


@SUITES
def test_too_little_randomness_makes_no_seed(suite):
    size = 32 if suite is Suite.X25519 else 96
    assert fresh_seed(suite, RANDOMNESS) == RANDOMNESS[:size]
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        fresh_seed(suite, bytes(size - 1))


def test_info_keeps_its_fields_apart():
    infos = {
        _info(Suite.HYBRID, "a", "bc", QUERY),
        _info(Suite.HYBRID, "ab", "c", QUERY),
        _info(Suite.X25519, "a", "bc", QUERY),
        _info(Suite.HYBRID, "a", "bc", QUERY[:-1]),
    }
    assert len(infos) == 4
