"""A share of the campaign (`make mutations` runs all of it): no mutation of anything signed is accepted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.protocol.codec import parse
from gateway.protocol.limits import MAX_MESSAGE
from heyan.v1 import query_pb2
from tests.mutations.campaign import mutate, run, shares, table
from tests.mutations.everything import all_messages
from tests.mutations.message import Message

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
    "tlog-proof",
    "log leaf in its proof",
    "whole receipt",
    "registry",
    "grant",
    "SD-JWT disclosure",
    "passkey evidence",
    "withdrawal",
    "status list token",
    "consent file",
    "acknowledgement",
    "journal chain",
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


@pytest.mark.parametrize("name", NAMES)
def test_verifier_that_does_not_verify_is_noticed(messages, name):
    """What makes the campaign fail: a judge that takes whatever comes."""
    blind = replace(messages[name], judge=lambda _, data: data, alike="")
    assert run(blind, SEED, 50).accepted == 50


def test_signature_that_is_not_looked_at_is_noticed(messages):
    def judge(_, data):
        message = parse(query_pb2.SignedQuery, data, MAX_MESSAGE)
        return message.query

    blind = replace(messages["signed query"], judge=judge)
    assert run(blind, SEED, 200).accepted > 0


def test_mutation_can_be_made_again_by_its_number(messages):
    message = messages["log leaf in its proof"]
    first = [mutate(message, SEED, number)[1] for number in range(20)]
    assert first == [mutate(message, SEED, number)[1] for number in range(20)]
    assert first != [mutate(message, "another", number)[1] for number in range(20)]


def test_shares_make_up_the_count(messages):
    assert sum(shares(tuple(messages.values()), 100_000)) >= 100_000
