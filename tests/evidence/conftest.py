"""Fixtures of evidence: a gateway of tests/gateway."""

from __future__ import annotations

from tests.gateway.conftest import federation, gateway, land

__all__ = ["federation", "gateway", "land"]
