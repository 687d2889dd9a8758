"""What a peer may do so often and no more, on a clock of numbers."""

from __future__ import annotations

import pytest

from gateway.allowance import Allowance
from gateway.protocol.errors import OverloadedError
from gateway.protocol.reasons import Reason


def spent(burst: int, at: float = 100.0) -> Allowance:
    allowance = Allowance(burst, 2.0, Reason.TOO_MANY_UNANSWERED)
    for _ in range(burst):
        allowance.require("one", at)
        allowance.spend("one", at)
    return allowance


def test_peer_that_has_spent_its_allowance_is_told_when_to_come_back() -> None:
    allowance = spent(10)
    with pytest.raises(OverloadedError) as caught:
        allowance.require("one", 100.0)
    assert caught.value.reason is Reason.TOO_MANY_UNANSWERED
    assert caught.value.retry_after == pytest.approx(0.5)
    allowance.require("one", 100.5)


def test_one_peers_spending_costs_no_other() -> None:
    spent(10).require("other", 100.0)


def test_allowance_comes_back_in_time_and_no_higher_than_it_was() -> None:
    allowance = spent(10)
    for _ in range(10):
        allowance.require("one", 1_000_000.0)
        allowance.spend("one", 1_000_000.0)
    with pytest.raises(OverloadedError):
        allowance.require("one", 1_000_000.0)


def test_clock_set_back_gives_nothing_away() -> None:
    allowance = spent(10)
    with pytest.raises(OverloadedError):
        allowance.require("one", 0.0)


def test_what_turned_out_late_is_counted_beyond_the_allowance() -> None:
    allowance = spent(10)
    for _ in range(10):
        allowance.spend("one", 100.0)
    with pytest.raises(OverloadedError) as caught:
        allowance.require("one", 100.0)
    assert caught.value.retry_after == pytest.approx(5.5)


def test_allowance_comes_back_from_now_on_after_a_clock_that_was_ahead() -> None:
    allowance = spent(10, at=1_000_000.0)
    with pytest.raises(OverloadedError) as caught:
        allowance.require("one", 100.0)
    allowance.require("one", 100.0 + (caught.value.retry_after or 0.0))
