"""Canonical records and salted commitments, pinned; and nothing shown of a person. All persons are made up."""

import hmac
import logging
import traceback
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.reasons import Reason
from gateway.protocol.subjects import (
    COMMITMENT_BYTES,
    IdType,
    Subject,
    canonical_record,
    commit,
    normalise_name,
    open_commitment,
)
from tests.protocol.casework import flip, refused

NUMBER = "43990020180901002X"
PERSON = Subject(IdType.RESIDENT_ID, NUMBER, "张三")
SALT = bytes(range(32))
RECORD = (
    b"heyan.v1.SubjectRecord\x00\x00\x0bresident_id\x00\x12" + NUMBER.encode() + b"\x00\x06\xe5\xbc\xa0\xe4\xb8\x89"
)


def test_canonical_record_is_pinned():
    assert canonical_record(PERSON) == RECORD


def test_commitment_is_pinned():
    assert commit(PERSON, SALT) == hmac.new(SALT, RECORD, sha256).digest()
    assert commit(PERSON, SALT).hex() == "d6d9d0d4aa36d14edd03e83f921b03aabaafbcc0899437fe23b4868bdd7f4983"
    assert len(commit(PERSON, SALT)) == COMMITMENT_BYTES


TYPED = {
    "lower-case check character": replace(PERSON, id_number=NUMBER.lower()),
    "spaces": replace(PERSON, id_number=f" {NUMBER[:6]} {NUMBER[6:]}\t", name=" 张 三 "),
    "ideographic space": replace(PERSON, name="张\u3000三"),
    "fullwidth digits": replace(PERSON, id_number="".join(chr(ord(c) + 0xFEE0) for c in NUMBER)),
}


@pytest.mark.parametrize("typed", TYPED.values(), ids=TYPED.keys())
def test_one_person_has_one_record_however_typed(typed):
    assert canonical_record(typed) == RECORD
    open_commitment(commit(PERSON, SALT), typed, SALT)


@given(st.text(max_size=30))
@settings(derandomize=True, max_examples=300)
def test_normalising_twice_changes_nothing(name):
    once = normalise_name(name)
    assert normalise_name(once) == once


def test_what_a_space_kept_apart_composes_at_once():
    assert normalise_name("e \u0301") == "\u00e9"


def test_middle_dot_of_a_name_is_kept():
    assert normalise_name("买买提·艾力") == "买买提·艾力"


def test_lengths_keep_fields_apart():
    one = Subject(IdType.RESIDENT_ID, "4399002018", "0张三")
    other = Subject(IdType.RESIDENT_ID, "43990020180", "张三")
    assert canonical_record(one) != canonical_record(other)


@pytest.mark.parametrize(
    "person",
    [
        replace(PERSON, id_number=""),
        replace(PERSON, id_number=" "),
        replace(PERSON, id_number="1" * 33),
        replace(PERSON, name=""),
        replace(PERSON, name="\u3000"),
        replace(PERSON, name="张" * 41),
        replace(PERSON, name="\ud800"),
        replace(PERSON, id_number="\udfff"),
    ],
)
def test_record_that_cannot_be_is_refused_without_showing_it(person):
    with pytest.raises(MalformedError) as refusal:
        canonical_record(person)
    assert refusal.value.reason is Reason.IDENTIFIER_MALFORMED
    assert refusal.value.__cause__ is None
    shown = str(refusal.value) + repr(refusal.value.violations)
    leaks = [value for value in (person.id_number.strip(), person.name.strip()) if value and value in shown]
    assert len(leaks) == 0


def test_longest_fields_are_read():
    assert len(canonical_record(Subject(IdType.RESIDENT_ID, "1" * 32, "张" * 40))) == len(RECORD) - 18 - 6 + 32 + 120


@pytest.mark.parametrize("salt", [b"", bytes(31), bytes(33)])
def test_salt_of_another_length_is_refused(salt):
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        commit(PERSON, salt)


@pytest.mark.parametrize(
    ("commitment", "person", "salt"),
    [
        (flip(commit(PERSON, SALT)), PERSON, SALT),
        (commit(PERSON, SALT)[:31], PERSON, SALT),
        (b"", PERSON, SALT),
        (commit(PERSON, SALT), PERSON, flip(SALT)),
        (commit(PERSON, SALT), replace(PERSON, name="张四"), SALT),
        (commit(PERSON, SALT), replace(PERSON, id_number="439900201809010011"), SALT),
    ],
    ids=["bit flipped", "short", "empty", "other salt", "other name", "other number"],
)
def test_commitment_to_something_else_is_refused(commitment, person, salt):
    with refused(ForgedError, Reason.COMMITMENT_MISMATCH):
        open_commitment(commitment, person, salt)


def test_no_text_form_of_a_subject_shows_the_person(caplog):
    logging.getLogger("test").warning("subject %s %r %s", PERSON, PERSON, [PERSON])
    forms = [repr(PERSON), str(PERSON), f"{PERSON}", f"{[PERSON]!r}", caplog.text]
    try:
        open_commitment(bytes(32), PERSON, SALT)
    except ForgedError:
        forms.append(traceback.format_exc())
    assert sum(NUMBER in form or NUMBER[-8:] in form or "张" in form for form in forms) == 0
