"""Fixtures that any test may ask for."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest


def ask_for_free_port() -> int:
    """Return a TCP port on loopback that the system held free a moment ago; bind it soon."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Give a function that asks the system for a free port, one at each call."""
    return ask_for_free_port
