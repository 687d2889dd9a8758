"""Reasons and errors: both languages for each reason, and a tree that tells lying from unreachable."""

import re

import pytest

from gateway.protocol import errors
from gateway.protocol.errors import BadDataError, FieldViolation, HeyanError, MalformedError, UnreachableError
from gateway.protocol.reason_texts import _TEXTS, text_of
from gateway.protocol.reasons import Reason

HAN = re.compile(r"[\u4e00-\u9fff]")
CLASSES = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, HeyanError)]
LYING = {"MalformedError", "ForgedError", "NotGrantedError", "NotCurrentError", "ConflictError", "NotFoundError"}
LYING |= {"UnknownPeerError"}
UNREACHABLE = {"OverloadedError", "LogUnavailableError", "OvertakenError"}


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_both_texts(reason):
    text = text_of(reason)
    assert HAN.search(text.zh)
    assert text.zh.endswith("。")
    assert text.en.isascii()
    assert text.en.endswith(".")


@pytest.mark.parametrize("reason", Reason)
def test_texts_hold_no_place_for_a_value(reason):
    text = text_of(reason)
    assert not set("{}%$<>") & set(text.zh + text.en)


@pytest.mark.parametrize("reason", Reason)
def test_name_of_a_reason_is_what_error_info_allows(reason):
    assert reason.value == reason.name
    assert re.fullmatch(r"[A-Z][A-Z0-9_]{1,61}[A-Z0-9]", reason.value)  # google.rpc.ErrorInfo.reason


def test_no_text_without_a_reason_and_no_text_twice():
    assert set(_TEXTS) == set(Reason)
    assert len({text.en for text in _TEXTS.values()}) == len({text.zh for text in _TEXTS.values()}) == len(Reason)


def test_tree_has_two_roots_that_share_no_class():
    leaves = {kind.__name__: kind for kind in CLASSES if kind not in (HeyanError, BadDataError, UnreachableError)}
    assert set(leaves) == LYING | UNREACHABLE
    assert all(issubclass(leaves[name], BadDataError) for name in LYING)
    assert all(issubclass(leaves[name], UnreachableError) for name in UNREACHABLE)
    assert not any(issubclass(kind, BadDataError) and issubclass(kind, UnreachableError) for kind in CLASSES)


@pytest.mark.parametrize("kind", CLASSES)
def test_error_carries_reason_detail_and_retry(kind):
    error = kind(Reason.OVERLOADED, "queue", violations=(FieldViolation("a", "b"),), retry_after=1.5)
    assert (error.reason, error.detail, error.retry_after) == (Reason.OVERLOADED, "queue", 1.5)
    assert error.violations == (FieldViolation("a", "b"),)
    assert str(error) == "OVERLOADED: queue"
    assert str(kind(Reason.OVERLOADED)) == "OVERLOADED"


def test_malformed_at_names_one_field():
    error = MalformedError.at("query.purpose", "must be set")
    assert error.reason is Reason.MESSAGE_MALFORMED
    assert error.violations == (FieldViolation("query.purpose", "must be set"),)
    assert MalformedError.at("a", "b", Reason.CLAIM_UNKNOWN).reason is Reason.CLAIM_UNKNOWN
