"""The inbox of a thread: in order, bounded, and waking whoever waits only once it is enough."""

from __future__ import annotations

import threading

from gateway.inbox import Inbox


def test_items_come_in_their_order_and_no_more_than_the_limit() -> None:
    inbox: Inbox[int] = Inbox(2)
    assert [inbox.put(number) for number in range(3)] == [True, True, False]
    assert inbox.put(7, urgent=True)
    assert [inbox.take() for _ in range(3)] == [0, 1, 7]
    assert len(inbox) == 0


def test_urgent_item_ends_a_wait_for_more() -> None:
    inbox: Inbox[int] = Inbox(8)
    inbox.put(1, urgent=True)
    inbox.wait(5)  # returns, or this test hangs
    inbox.take()
    woken = threading.Thread(target=inbox.wait, args=(5,))
    woken.start()
    inbox.put(2)
    assert woken.is_alive()
    inbox.put(3, urgent=True)
    woken.join(10)
    assert not woken.is_alive()


def test_wait_ends_with_enough_items_or_with_its_time() -> None:
    inbox: Inbox[int] = Inbox(8)
    inbox.wait(1, 0.001)
    woken = threading.Thread(target=inbox.wait, args=(2,))
    woken.start()
    inbox.put(1)
    inbox.put(2)
    woken.join(10)
    assert not woken.is_alive()
    inbox.wait(2)  # they are there
