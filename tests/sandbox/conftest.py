"""Fixtures of the department node's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox_departments.answering import Budget
from tests.sandbox.asking import DAY, Desk, World
from tests.sandbox.faulting import Bench


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def desk(world: World, tmp_path: Path) -> Iterator[Desk]:
    made = Desk(world, tmp_path / "journal.db")
    yield made
    made.close()


@pytest.fixture
def bench(world: World, tmp_path: Path) -> Iterator[Bench]:
    made = Desk(world, tmp_path / "journal.db", budget=Budget(100, float(DAY)))
    yield Bench(made, tmp_path)
    made.close()
