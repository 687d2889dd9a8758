"""Fixtures of backups."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import federation as fed
from tests.backups.desks import Desk
from tests.backups.keepers import Keeper
from tests.gateway.conftest import federation

__all__ = ["desk", "federation"]


@pytest.fixture
def desk(tmp_path: Path, federation: fed.Federation) -> Iterator[Desk]:
    keeper = Keeper(federation, tmp_path / "gateway")
    yield Desk(keeper, tmp_path)
    keeper.store.close()
