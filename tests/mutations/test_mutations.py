"""A share of the campaign (`make mutations` runs all of it): no mutation of anything signed is accepted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.mutations.campaign import mutate, run, shares, table
from tests.mutations.everything import all_messages
from tests.mutations.message import Message
from tests.mutations.unverified import READERS

SEED = "test"
COUNT = 5_000


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Message]:
    return {message.name: message for message in all_messages(tmp_path_factory.mktemp("mutations"))}


NAMES = (
    "signed query",
    "presented part",
    "sealed subject",
    "attestation in its batch",
    "refusal in its batch",
    "checkpoint note",
    "cosigned checkpoint",
    "tlog-proof",
    "log leaf in its proof",
    "whole receipt",
    "ticket in its receipt",
    "offline result",
    "registry",
    "grant",
    "SD-JWT disclosure",
    "passkey evidence",
    "withdrawal",
    "status list token",
    "consent file",
    "signed dispute",
    "report of a dispute",
    "resolution in its batch",
    "acknowledgement",
    "journal chain",
    "journal export",
)


def test_every_signed_thing_is_mutated(messages):
    assert tuple(messages) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_mutated_message_is_not_accepted(messages, name):
    count = dict(zip(messages, shares(tuple(messages.values()), COUNT), strict=True))[name]
    tally = run(messages[name], SEED, count)
    assert tally.mutated == count
    assert not tally.found, table([tally])
    assert tally.counts["refused"] >= count // 2


def test_verifier_that_takes_whatever_comes_is_noticed(messages):
    blind = replace(messages["sealed subject"], judge=lambda _, data: data)
    assert run(blind, SEED, 50).accepted == 50


def test_every_message_that_can_be_read_unverified_has_a_reader():
    """All but one: whoever can open a sealed subject has verified it."""
    assert {*NAMES} - READERS.keys() == {"sealed subject"}


@pytest.mark.parametrize("name", READERS)
def test_verifier_that_reads_and_does_not_verify_is_noticed(messages, name):
    """What makes the campaign fail: a judge that refuses what is malformed, and looks at no signature or digest."""
    blind = replace(messages[name], judge=lambda _, data: READERS[name](data))
    tally = run(blind, SEED, 1_000)
    assert tally.counts["refused"] > 0
    assert tally.accepted > 0


def test_mutation_can_be_made_again_by_its_number(messages):
    message = messages["log leaf in its proof"]
    first = [mutate(message, SEED, number)[1] for number in range(20)]
    assert first == [mutate(message, SEED, number)[1] for number in range(20)]
    assert first != [mutate(message, "another", number)[1] for number in range(20)]


def test_shares_make_up_the_count(messages):
    assert sum(shares(tuple(messages.values()), 100_000)) >= 100_000
