"""When a batch to a node goes, what it carries, and that nothing grows without bound."""

from __future__ import annotations

import pytest

from gateway.batching import Batching
from gateway.departments.outbox import (
    ACKNOWLEDGEMENT_LIMIT,
    ACKNOWLEDGEMENT_PATIENCE,
    ASK_LIMIT,
    BYTE_LIMIT,
    MESSAGE_BUDGET,
    Outbox,
)
from heyan.v1 import department_service_pb2 as pb
from heyan.v1 import query_pb2

BATCHING = Batching(full=4, longest=0.010, share=0.25)


def ask(number: int, size: int = 0) -> pb.Ask:
    return pb.Ask(ask_id=number, query=query_pb2.SignedQuery(query=bytes(size)))


def acknowledgement(number: int) -> pb.Acknowledgement:
    return pb.Acknowledgement(batch_digest=number.to_bytes(32, "big"))


def box(*asks: pb.Ask, now: float = 100.0) -> Outbox:
    outbox = Outbox(BATCHING)
    for message in asks:
        assert outbox.add_ask(message, now)
    return outbox


def test_nothing_waits_when_nothing_is_in_flight() -> None:
    assert box(ask(1)).due(100.0, in_flight=0, exchange=0.5) == 0


def test_nothing_is_due_when_nothing_waits() -> None:
    assert Outbox().due(100.0, in_flight=3, exchange=0.5) is None


def test_under_load_a_batch_waits_a_share_of_an_exchange() -> None:
    assert box(ask(1)).due(100.0, in_flight=1, exchange=0.020) == pytest.approx(0.005)
    assert box(ask(1)).due(100.003, in_flight=1, exchange=0.020) == pytest.approx(0.002)


def test_under_load_a_batch_waits_no_longer_than_a_few_milliseconds() -> None:
    assert box(ask(1)).due(100.0, in_flight=9, exchange=60.0) == pytest.approx(0.010)
    assert box(ask(1)).due(101.0, in_flight=9, exchange=60.0) == 0


def test_full_batch_waits_for_nothing() -> None:
    assert box(*map(ask, range(4))).due(100.0, in_flight=1, exchange=60.0) == 0
    assert box(ask(1, MESSAGE_BUDGET)).due(100.0, in_flight=1, exchange=60.0) == 0


def test_oldest_ask_sets_the_time() -> None:
    outbox = box(ask(1))
    outbox.add_ask(ask(2), 100.004)
    assert outbox.due(100.004, in_flight=1, exchange=60.0) == pytest.approx(0.006)


def test_acknowledgements_ride_with_asks() -> None:
    outbox = box(ask(1))
    outbox.add_acknowledgement(acknowledgement(1), 100.0)
    message = outbox.take(100.0)
    assert (len(message.asks), len(message.acknowledgements)) == (1, 1)
    assert not outbox


def test_acknowledgements_with_large_checkpoints_go_in_messages_that_a_node_takes() -> None:
    """With post-quantum witnesses a checkpoint has 60 kB, and each acknowledgement brings its own."""
    outbox = Outbox(BATCHING)
    for number in range(100):
        message = acknowledgement(number)
        message.checkpoint = "x" * 60_000
        assert outbox.add_acknowledgement(message, 100.0)
    digests, sizes = [], []
    while outbox:
        taken = outbox.take(100.0)
        sizes.append(taken.ByteSize())
        digests += [item.batch_digest for item in taken.acknowledgements]
    assert digests == [acknowledgement(number).batch_digest for number in range(100)]
    assert max(sizes) <= MESSAGE_BUDGET


def test_one_acknowledgement_over_the_budget_goes_alone() -> None:
    outbox = Outbox(BATCHING)
    message = acknowledgement(1)
    message.checkpoint = "x" * MESSAGE_BUDGET
    outbox.add_acknowledgement(message, 100.0)
    outbox.add_acknowledgement(acknowledgement(2), 100.0)
    assert [len(outbox.take(100.0).acknowledgements) for _ in range(2)] == [1, 1]
    assert not outbox


def test_acknowledgements_alone_go_after_a_while() -> None:
    outbox = Outbox(BATCHING)
    outbox.add_acknowledgement(acknowledgement(1), 100.0)
    assert outbox.due(100.0, in_flight=0, exchange=0.0) == pytest.approx(ACKNOWLEDGEMENT_PATIENCE)
    assert outbox.due(101.0, in_flight=0, exchange=0.0) == 0


def test_batch_is_cut_at_its_count_and_its_bytes() -> None:
    outbox = box(*map(ask, range(6)))
    assert [item.ask_id for item in outbox.take(100.0).asks] == [0, 1, 2, 3]
    assert [item.ask_id for item in outbox.take(100.0).asks] == [4, 5]
    heavy = box(ask(1, MESSAGE_BUDGET // 2), ask(2, MESSAGE_BUDGET // 2), ask(3))
    assert [item.ask_id for item in heavy.take(100.0).asks] == [1]
    assert [item.ask_id for item in heavy.take(100.0).asks] == [2, 3]


def test_ask_that_was_given_up_is_not_sent() -> None:
    outbox = box(ask(1), ask(2))
    outbox.drop_ask(1)
    outbox.drop_ask(7)
    assert [item.ask_id for item in outbox.take(100.0).asks] == [2]


def test_asks_are_bounded_in_number_and_in_bytes() -> None:
    outbox = box(*map(ask, range(ASK_LIMIT)))
    assert not outbox.add_ask(ask(ASK_LIMIT), 100.0)
    outbox.drop_ask(0)
    assert outbox.add_ask(ask(ASK_LIMIT), 100.0)
    heavy = box(ask(1, BYTE_LIMIT - 100))
    assert not heavy.add_ask(ask(2, 200), 100.0)
    heavy.take(100.0)
    assert heavy.add_ask(ask(2, 200), 100.0)


def test_acknowledgements_are_bounded() -> None:
    outbox = Outbox()
    assert all(outbox.add_acknowledgement(acknowledgement(number), 100.0) for number in range(ACKNOWLEDGEMENT_LIMIT))
    assert not outbox.add_acknowledgement(acknowledgement(0), 100.0)


def test_first_ask_behind_an_acknowledgement_is_news_to_the_writer() -> None:
    """It sleeps for the acknowledgement, which may wait longer than an ask."""
    outbox = Outbox(BATCHING)
    outbox.add_acknowledgement(acknowledgement(1), 100.0)
    assert outbox.is_news
    outbox.add_ask(ask(1), 100.0)
    assert outbox.is_news
    outbox.add_ask(ask(2), 100.0)
    assert not outbox.is_news
