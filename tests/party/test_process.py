from __future__ import annotations

import asyncio
import io
import json
import sqlite3

import pytest
from structlog.testing import capture_logs

from gateway.party.process import LineLog, cancel_all, close_all, place_of, repeat
from gateway.party.service import internal_error
from gateway.protocol.errors import UnreachableError
from gateway.protocol.reasons import Reason

SECRET = "439900198802020017"


@pytest.mark.parametrize(
    "fault", [UnreachableError(Reason.LOG_UNAVAILABLE), sqlite3.OperationalError(SECRET), KeyError(SECRET)]
)
async def test_recurring_task_outlives_whatever_one_run_raises_and_quotes_nothing_of_it(fault):
    runs = 0
    went_on = asyncio.Event()

    async def action():
        nonlocal runs
        runs += 1
        if runs == 1:
            raise fault
        went_on.set()

    with capture_logs() as logs:
        task = asyncio.create_task(repeat(0.001, action, "purge"))
        await asyncio.wait_for(went_on.wait(), 5)
        await cancel_all([task])
    assert task.cancelled()
    assert [(line["event"], line["task"]) for line in logs] == [("recurring_task_failed", "purge")]
    assert SECRET not in str(logs)


def test_unexpected_exception_is_logged_by_type_and_place_only():
    def breaks():
        raise ValueError(SECRET)

    try:
        breaks()
    except ValueError as error:
        raised = error
    with capture_logs() as logs:
        told = internal_error("/heyan.v1.GatewayService/Verify", raised)
    assert (told.reason, told.detail) == (Reason.INTERNAL, "")
    assert logs[0]["kind"] == "ValueError"
    assert "breaks:" in logs[0]["place"]
    assert SECRET not in str(logs)


def test_exception_that_was_never_raised_has_no_place():
    assert place_of(ValueError(SECRET)) == "?"


async def test_step_that_fails_keeps_none_of_the_rest_from_being_taken():
    taken = []

    def fail(text):
        taken.append(text)
        raise OSError(text)

    async def step():
        taken.append("awaited")

    with pytest.raises(OSError, match="second"):
        await close_all(lambda: fail("first"), step, lambda: fail("second"), lambda: taken.append("last"))
    assert taken == ["first", "awaited", "second", "last"]


class FullDisk(io.StringIO):
    """A log file that takes nothing while the disk is full."""

    full = False

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(28, "No space left on device")
        return super().write(text)


def test_log_line_that_cannot_be_written_ends_nothing_and_is_told_of_later():
    file = FullDisk()
    log = LineLog(file)
    log.info('{"message": "before"}')
    file.full = True
    for _ in range(3):
        log.error('{"message": "lost"}')
    file.full = False
    log.info('{"message": "after"}')
    log.info('{"message": "again"}')
    lines = [json.loads(line) for line in file.getvalue().splitlines()]
    assert [line["message"] for line in lines] == ["before", "log_was_full", "after", "again"]
    assert lines[1]["lines_lost"] == 3
