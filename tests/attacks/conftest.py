"""Fixtures of the attacks: the gateway's real pipeline, with real nodes behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dishonest_gateway import DishonestGateway, dishonest
from tests.gateway.conftest import Gateway, federation, gateway

__all__ = ["federation", "gateway", "liar"]


@pytest.fixture
def liar(gateway: Gateway, tmp_path: Path) -> Iterator[DishonestGateway]:
    with dishonest(gateway, tmp_path) as made:
        yield made
