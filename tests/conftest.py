"""Fixtures that any test may ask for."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest
import structlog

from gateway.asking import Question
from gateway.protocol.claims import CLAIMS, Role
from sandbox_departments.people import Family
from tests.nodes import families, questions_about


def ask_for_free_port() -> int:
    """Return a TCP port on loopback that the system held free a moment ago; bind it soon."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """A command that is run in the test's own process sets logging up for a stream that ends with the test."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Give a function that asks the system for a free port, one at each call."""
    return ask_for_free_port


@pytest.fixture(scope="session")
def people() -> tuple[Family, ...]:
    """The families of one prefecture, of whom its departments know everybody."""
    return families(60)


@pytest.fixture(scope="session")
def asked_about(people: tuple[Family, ...]) -> Family:
    """A family with somebody in every role, amid the others."""
    return next(family for family in people[20:] if family.application.subjects.keys() == set(Role))


@pytest.fixture(scope="session")
def every_question(asked_about: Family) -> list[Question]:
    """Every claim of the vocabulary about that family."""
    questions = [
        Question(f"c{number:02}", question.claim, question.region, question.parameters)
        for number, question in enumerate(questions_about(asked_about))
    ]
    assert len(questions) == len(CLAIMS)
    return questions
