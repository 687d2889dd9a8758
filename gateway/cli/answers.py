"""Showing answers: as a table for a person, as rows for a program. Never a subject: claims and outcomes only."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from gateway.protocol.claims import claim_named
from gateway.protocol.identities import parse_identity
from gateway.protocol.outcomes import Outcome
from gateway.protocol.receipt import Answer, VerifiedReceipt

_STYLES = {
    Outcome.YES: "green",
    Outcome.NO: "red",
    Outcome.UNDETERMINED: "yellow",
    Outcome.UNAVAILABLE: "magenta",
    Outcome.REFUSED: "magenta",
}


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


def print_answers(verified: VerifiedReceipt, console: Console | None = None) -> None:
    """The answers as a table, in both languages."""
    table = Table(box=None, pad_edge=False)
    table.add_column("outcome", no_wrap=True)
    table.add_column("next", no_wrap=True)
    table.add_column("claim", no_wrap=True)
    table.add_column("department", no_wrap=True)
    table.add_column("核验事项", overflow="fold")
    for answer in verified.answers:
        step = answer.next_step.name if answer.reason is None else f"{answer.next_step.name} ({answer.reason.value})"
        table.add_row(
            f"[{_STYLES[answer.outcome]}]{answer.outcome.name}[/]",
            step,
            answer.check.claim,
            parse_identity(answer.department).name,
            claim_named(answer.check.claim).text.zh,
        )
    (console or Console()).print(table)
