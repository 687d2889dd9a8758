"""The results of a batch: a row for each application, as CSV that a spreadsheet opens and a program reads.

Nothing names a person: the family's key, the request_id, how it ended, what the verdict makes of its materials, and one
column for each claim with the outcome. The text is plain ASCII by construction, so that no program need be told of its
encoding; keys begin with a letter or digit (`batch_file`), and everything else is of closed lists, so that no cell can
begin a formula. Whose key it is, only the bureau knows: the file still has mode 0600.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from io import TextIOWrapper
from pathlib import Path

from gateway.cli.batch_state import BatchOutcome, Row
from gateway.client import Verification
from gateway.party.keyfiles import writing
from gateway.protocol.claims import CLAIMS, claim_named
from gateway.protocol.errors import ForgedError, HeyanError, NotCurrentError, UnreachableError
from gateway.protocol.limits import EXPIRY_TOLERANCE
from gateway.protocol.outcomes import NextStep, Outcome
from gateway.protocol.receipt_rows import Answer
from gateway.rules.verdict import GroupVerdict, Standing
from gateway.verdicts import Verdict

OK = "OK"
UNAVAILABLE = "UNAVAILABLE"
DEFERRED = "DEFERRED"
NOT_ASKED = "NOT_ASKED"
_STANDINGS = {standing.name.lower(): standing for standing in (Standing.EXEMPT, Standing.OFFLINE, Standing.OWED)}
_OPEN = "not_known"
COLUMNS = (
    "family",
    "request_id",
    "status",
    "run_again",
    "supported_groups",
    *_STANDINGS,
    _OPEN,
    "fields_to_collect",
    *CLAIMS,
)


def outcome_of(line: int, result: Verification | HeyanError, now: float) -> BatchOutcome:
    """How an application stands after `result`."""
    if isinstance(result, HeyanError):
        # A receipt that does not hold proves nothing, not even a refusal: the same bytes may yet bring a true one.
        is_open = isinstance(result, UnreachableError | NotCurrentError | ForgedError)
        return BatchOutcome(line, result.reason.value, is_open)
    query, answers = result.verified.query, result.verified.answers
    missing = [answer for answer in answers if answer.outcome is Outcome.UNAVAILABLE]
    still_asked = bool(missing) and now <= query.answer_until_time + EXPIRY_TOLERANCE
    return BatchOutcome(line, _status(answers, missing), still_asked, json.dumps(_cells(result), separators=(",", ":")))


def _status(answers: Iterable[Answer], missing: list[Answer]) -> str:
    refused = next((answer for answer in answers if answer.outcome is Outcome.REFUSED), None)
    if refused is not None and refused.reason is not None:
        return refused.reason.value
    if not missing:
        return OK
    return DEFERRED if all(answer.next_step is NextStep.DEFERRED for answer in missing) else UNAVAILABLE


def _cells(result: Verification) -> dict[str, str]:
    cells: dict[str, list[str]] = {}
    for answer in result.verified.answers:
        check = answer.check
        value = " ".join(value for _, value in check.parameters) if claim_named(check.claim).itemised else ""
        cells.setdefault(check.claim, []).append(f"{value}={answer.outcome.name}" if value else answer.outcome.name)
    found = {name: " ".join(values) for name, values in cells.items()}
    return found | (_verdict_cells(result.verdict) if result.verdict is not None else {})


def _verdict_cells(verdict: Verdict) -> dict[str, str]:
    """Of the group that is judged; of an open one, of the first that the answers support."""
    supported = [group for group in verdict.groups if group.group in verdict.supported]
    group = (supported or list(verdict.groups))[0] if supported or len(verdict.groups) == 1 else None
    return {
        "supported_groups": " ".join(verdict.supported),
        "fields_to_collect": " ".join(verdict.to_collect),
        **(_materials(group) if group is not None else {}),
    }


def _materials(group: GroupVerdict) -> dict[str, str]:
    standings = [material.standing for material in group.materials]
    counts = {name: str(standings.count(standing)) for name, standing in _STANDINGS.items()}
    return {**counts, _OPEN: str(standings.count(Standing.OPEN))}


def write_results(file: Path, rows: Iterable[Row]) -> None:
    """Write every row, whole or not at all and durably, with mode 0600. Raises OSError; the old file then stands."""
    with writing(file) as opened:
        text = TextIOWrapper(opened, encoding="ascii", newline="")
        writer = csv.writer(text)
        writer.writerow(COLUMNS)
        writer.writerows(_row(row) for row in rows)
        text.detach()


def _row(row: Row) -> list[str]:
    cells: Mapping[str, str] = {
        "family": row.family,
        "request_id": row.request_id.hex() if row.request_id is not None else "",
        "status": row.status or NOT_ASKED,
        "run_again": "yes" if row.is_open else "",
        **(json.loads(row.result) if row.result else {}),
    }
    return [cells.get(name, "") for name in COLUMNS]
