"""Refusals of an overload are told together; any other has a line of its own."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from gateway.party import refusal_lines
from gateway.party.refusal_lines import RefusalLines
from gateway.party.statuses import said_of, to_status
from gateway.protocol.errors import HeyanError, MalformedError, NotGrantedError, OverloadedError
from gateway.protocol.reasons import Reason


async def test_overload_has_one_line_for_its_kind_with_a_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusal_lines, "INTERVAL", 0.0)
    lines = RefusalLines()
    with capture_logs() as told:
        for _ in range(1000):
            lines.tell("/a/Verify", OverloadedError(Reason.OVERLOADED, "line", retry_after=0.1))
        lines.tell("/a/Verify", OverloadedError(Reason.OVERLOADED, "places", retry_after=0.1))
        assert told == []
        while not told:  # noqa: ASYNC110 - a timer's turn
            await asyncio.sleep(0)
        lines.tell("/a/Verify", OverloadedError(Reason.OVERLOADED, "line", retry_after=0.1))
        while len(told) < 3:  # noqa: ASYNC110 - a timer's turn
            await asyncio.sleep(0)
    assert [(line["detail"], line["count"]) for line in told] == [("line", 1000), ("places", 1), ("line", 1)]


async def test_any_other_refusal_has_a_line_of_its_own() -> None:
    lines = RefusalLines()
    with capture_logs() as told:
        for _ in range(3):
            lines.tell("/a/Verify", NotGrantedError(Reason.GRANT_REVOKED))
    assert [line["reason"] for line in told] == ["GRANT_REVOKED"] * 3


@pytest.mark.parametrize(
    "error",
    [
        OverloadedError(Reason.OVERLOADED, "line", retry_after=0.25),
        OverloadedError(Reason.OVERLOADED, "places", retry_after=0.5),
        OverloadedError(Reason.TOO_MANY_UNANSWERED, "allowance", retry_after=0.25),
        OverloadedError(Reason.OVERLOADED, "nothing said"),
        MalformedError.at("deadline", "must be longer"),
    ],
)
def test_what_is_kept_of_a_refusal_is_what_would_be_made_anew(error: HeyanError) -> None:
    for _ in range(2):
        _, text, details = said_of(error)
        assert details == to_status(error).SerializeToString()
        assert text == to_status(error).message
