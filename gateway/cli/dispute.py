"""`heyan dispute`: a school disputes an answer, sees what became of it, and asks again once it is corrected."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from cyclopts import App

from consent.consent_file import read_consent_file
from gateway.cli.answers import answer_row, print_answers
from gateway.cli.deferred import read_request_id
from gateway.cli.endpoints import open_client_as
from gateway.cli.options import JsonOption, RequiredFolder, require_writable
from gateway.client import Verification
from gateway.dispute_client import DisputingClient, OpenedDispute
from gateway.party.keyfiles import write_private
from gateway.protocol.disputes import Ground
from gateway.protocol.identities import parse_identity
from gateway.protocol.receipt_disputes import VerifiedDispute
from gateway.protocol.receipt_file import receipt_to_json

app = App(name="dispute", help="Dispute an answer, see what became of it, and ask again once it is corrected.")


@app.command(name="open")
def open_dispute(
    *,
    folder: RequiredFolder,
    requester: str,
    request_id: str,
    check: str,
    ground: Ground,
    as_json: JsonOption = False,
) -> None:
    """Dispute an answer that this requester was given. Its department has ten working days to correct it.

    Example: `heyan dispute open --dir run --requester edu-4301 --request-id 5f…c2 --check c3 --ground record-outdated`

    Parameters
    ----------
    folder
        A running federation's folder.
    requester
        The education system that asked, an id of endpoints.json.
    request_id
        Which query, as `heyan verify` printed it.
    check
        Which of its checks: a check_id of `heyan verify --json`.
    ground
        What is said to be wrong.
    """
    name = read_request_id(request_id)

    async def run() -> OpenedDispute:
        async with open_client_as(DisputingClient, folder, requester) as client:
            return await client.dispute(name, check, ground)

    opened = asyncio.run(run())
    if as_json:
        row = {"dispute": opened.dispute_id.hex(), "recorded": _text(opened.log_time)}
        sys.stdout.write(json.dumps(row, indent=2) + "\n")
        return
    sys.stdout.write(
        f"dispute {opened.dispute_id.hex()} recorded {_text(opened.log_time)}; it goes to the department\n"
    )


@app.command
def show(
    *, folder: RequiredFolder, requester: str, request_id: str, receipt: Path | None = None, as_json: JsonOption = False
) -> None:
    """Show the disputes of a query and what became of them; every signature and log proof is verified first.

    Example: `heyan dispute show --dir run --requester edu-4301 --request-id 5f…c2`

    Parameters
    ----------
    folder
        A running federation's folder.
    requester
        The education system that asked.
    request_id
        Which query.
    receipt
        File to write the receipt to, with its disputes, for `heyan log verify-receipt`.
    """
    if receipt is not None:
        require_writable(receipt, "--receipt")
    name = read_request_id(request_id)

    async def run() -> Verification:
        async with open_client_as(DisputingClient, folder, requester) as client:
            return await client.get(name)

    result = asyncio.run(run())
    if receipt is not None:
        write_private(receipt, receipt_to_json(result.receipt).encode())
    rows = [dispute_row(dispute) for dispute in result.verified.disputes]
    if as_json:
        sys.stdout.write(json.dumps(rows, ensure_ascii=False, indent=2) + "\n")
        return
    for row in rows:
        became = f"{row['outcome']} ({row['reason']}) {row['resolved']}" if row["outcome"] else "open"
        sys.stdout.write(
            f"dispute {row['dispute']}\n"
            f"  check {row['check_id']} by {row['department']}, {row['ground']}\n"
            f"  opened {row['opened']} by {row['opener']}; {became}\n"
        )
    if not rows:
        sys.stdout.write("no answer of this query is disputed\n")


@app.command
def reverify(
    *,
    folder: RequiredFolder,
    requester: str,
    request_id: str,
    check: str,
    consent: Path,
    receipt: Path | None = None,
    as_json: JsonOption = False,
) -> None:
    """Ask a disputed question once more after its correction. No use of the consent is spent.

    Example: `heyan dispute reverify --dir run --requester edu-4301 --request-id 5f…c2 --check c3
    --consent consent.json`

    Parameters
    ----------
    folder
        A running federation's folder.
    requester
        The education system that asked.
    request_id
        The query whose answer was disputed.
    check
        The disputed check.
    consent
        The consent file that the disputed answer rests on.
    receipt
        File to write the new receipt to.
    """
    if receipt is not None:
        require_writable(receipt, "--receipt")
    name, held = read_request_id(request_id), read_consent_file(consent)

    async def run() -> Verification:
        async with open_client_as(DisputingClient, folder, requester) as client:
            return await client.reverify(name, check, held)

    result = asyncio.run(run())
    if receipt is not None:
        write_private(receipt, receipt_to_json(result.receipt).encode())
    if as_json:
        row = {
            "request_id": result.verified.query.request_id.hex(),
            "answers": [answer_row(answer) for answer in result.verified.answers],
        }
        sys.stdout.write(json.dumps(row, ensure_ascii=False, indent=2) + "\n")
        return
    print_answers(result.verified)


def dispute_row(dispute: VerifiedDispute) -> dict[str, str | None]:
    """A dispute as `heyan dispute show --json` prints it."""
    resolution = dispute.resolution
    return {
        "dispute": dispute.dispute_id.hex(),
        "check_id": dispute.check_id,
        "department": parse_identity(dispute.department).name,
        "opener": dispute.opener,
        "ground": dispute.ground.name,
        "opened": _text(dispute.opened),
        "outcome": resolution.outcome.name if resolution is not None else None,
        "reason": resolution.reason.name if resolution is not None else None,
        "resolved": _text(dispute.resolved) if dispute.resolved is not None else None,
    }


def _text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
