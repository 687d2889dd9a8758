"""What the outcomes of an application make of a command's exit code."""

from __future__ import annotations

import pytest

from gateway.cli.answers import exit_code_of_outcomes
from gateway.protocol.outcomes import Outcome


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([Outcome.YES, Outcome.NO, Outcome.UNDETERMINED], 0),
        ([Outcome.YES, Outcome.REFUSED], 1),
        ([Outcome.YES, Outcome.UNAVAILABLE], 3),
        ([Outcome.UNAVAILABLE, Outcome.REFUSED], 1),
    ],
)
def test_refusal_of_a_department_is_no_success(outcomes: list[Outcome], code: int) -> None:
    assert exit_code_of_outcomes(outcomes) == code
