"""Fixtures of the department node's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox.asking import Desk, World


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def desk(world: World, tmp_path: Path) -> Iterator[Desk]:
    made = Desk(world, tmp_path / "journal.db")
    yield made
    made.close()
