"""What the timed functions are given: a federation in memory, and arguments that were never seen before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import messages
from tests.federation import Federation

ROUNDS = 200
"""Of functions that are given fresh arguments each time, so that no memory of theirs helps them."""

Fresh = Callable[[Callable[..., Any], Callable[[], tuple[Any, ...]]], Any]


@pytest.fixture(scope="session")
def made() -> Federation:
    """The federation."""
    return messages.federation()


@pytest.fixture
def fresh(benchmark: BenchmarkFixture) -> Fresh:
    """Times a function on arguments that are made, untimed, for each call; returns its last result."""

    def time(function: Callable[..., Any], make: Callable[[], tuple[Any, ...]]) -> Any:
        return benchmark.pedantic(function, setup=lambda: (make(), {}), rounds=ROUNDS, warmup_rounds=3)

    return time
