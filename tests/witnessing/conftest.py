"""Fixtures of witnessing: a gateway of tests/gateway."""

from __future__ import annotations

from tests.gateway.conftest import federation, gateway

__all__ = ["federation", "gateway"]
