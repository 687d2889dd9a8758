"""Fixtures of the audit's tests."""

from __future__ import annotations

import pytest

from tests.audit.parties import Books


@pytest.fixture
def books() -> Books:
    """A log and a journal in which nothing stands yet."""
    return Books()
