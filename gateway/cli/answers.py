"""Showing answers: as a table for a person, as rows for a program. Never a subject: claims and outcomes only."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from gateway.cli.exit_codes import EXIT_REFUSED, EXIT_UNREACHABLE
from gateway.protocol.claims import claim_named
from gateway.protocol.identities import parse_identity
from gateway.protocol.offline import OFFLINE_REASON_TEXTS
from gateway.protocol.outcomes import NextStep, Outcome
from gateway.protocol.receipt import VerifiedReceipt
from gateway.protocol.receipt_rows import Answer
from gateway.protocol.receipt_tickets import Ticket

_STYLES = {
    Outcome.YES: "green",
    Outcome.NO: "red",
    Outcome.UNDETERMINED: "yellow",
    Outcome.UNAVAILABLE: "magenta",
    Outcome.REFUSED: "magenta",
}
_WHOLE: dict[str, Any] = {"soft_wrap": True, "highlight": False}


def exit_code_of_outcomes(outcomes: Iterable[Outcome]) -> int:
    """0 if every check was answered, by NO too; what was refused goes before what may be tried again."""
    found = set(outcomes)
    if Outcome.REFUSED in found:
        return EXIT_REFUSED
    return EXIT_UNREACHABLE if Outcome.UNAVAILABLE in found else 0


def answer_row(answer: Answer) -> dict[str, object]:
    """One answer as `heyan verify --json` prints it."""
    row: dict[str, object] = {
        "check_id": answer.check.check_id,
        "claim": answer.check.claim,
        "region": answer.check.region,
        "parameters": dict(answer.check.parameters),
        "outcome": answer.outcome.name,
        "next": answer.next_step.name,
        "department": parse_identity(answer.department).name,
    }
    if answer.reason is not None:
        row["reason"] = answer.reason.value
    return row


def ticket_row(ticket: Ticket, answers: Iterable[Answer]) -> dict[str, object]:
    """One offline ticket as `--json` prints it, with what is known online of its check by now."""
    subject, resolution = ticket.opened.subject, ticket.resolution
    online = {answer.check.check_id: answer.outcome.name for answer in answers}
    row: dict[str, object] = {
        "ticket_id": ticket.opened.ticket_id.hex(),
        "check_id": subject.check_id or None,
        "material": subject.material or None,
        "claim": ticket.claim or None,
        "region": ticket.region,
        "ground": ticket.ground.name,
        "opened": iso_time(ticket.opened.open_time),
        "waited_seconds": round(ticket.waited),
        "online": online.get(subject.check_id),
        "result": None,
    }
    if resolution is not None:
        row["result"] = {
            "outcome": resolution.result.outcome.name,
            "reason": resolution.result.reason.name,
            "signed_by": resolution.key_id,
            "recorded": iso_time(resolution.log_time),
        }
    return row


def print_tickets(tickets: Iterable[Ticket], console: Console | None = None) -> None:
    """Offline tickets, two lines each."""
    shown = console or Console()
    for ticket in tickets:
        subject, resolution = ticket.opened.subject, ticket.resolution
        what = ticket.claim or subject.material
        shown.print(
            f"{'ON PAPER':12} {what}  {ticket.ground.name}, since {iso_time(ticket.opened.open_time)}", **_WHOLE
        )
        if resolution is None:
            said = "open: 待线下核验"
        else:
            reason = resolution.result.reason
            text = OFFLINE_REASON_TEXTS[reason].zh
            said = f"{resolution.result.outcome.name} ({reason.name}), {text}; by {resolution.key_id}"
        shown.print(f"{'':12} {said}", markup=False, **_WHOLE)


def iso_time(seconds: float) -> str:
    """A time as these commands show it: UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def print_answers(verified: VerifiedReceipt, console: Console | None = None) -> None:
    """The answers, two lines each, with the check_id that tickets and disputes name; nothing is cut."""
    shown = console or Console()
    for answer in verified.answers:
        style = _STYLES[answer.outcome]
        department = parse_identity(answer.department).name
        shown.print(
            f"[{style}]{answer.outcome.name:12}[/] {_asked(answer)}  {department}  {answer.check.check_id}", **_WHOLE
        )
        reason = f" ({answer.reason.value})" if answer.reason is not None else ""
        step = "" if answer.next_step is NextStep.NONE and not reason else f"; next: {answer.next_step.name}{reason}"
        shown.print(f"{'':12} {claim_named(answer.check.claim).text.zh}{step}", markup=False, **_WHOLE)


def _asked(answer: Answer) -> str:
    """The claim with its parameters, as `claim(name=value)`."""
    listed = ", ".join(f"{name}={value}" for name, value in answer.check.parameters)
    return f"{answer.check.claim}({listed})" if listed else answer.check.claim
