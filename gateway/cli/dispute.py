"""`heyan dispute`: a school disputes an answer, sees what became of it, and asks again once it is corrected."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from cyclopts import App

from consent.consent_file import read_consent_file
from gateway.cli.answers import answer_row, exit_code_of_outcomes, iso_time, print_answers
from gateway.cli.endpoints import open_client_as
from gateway.cli.json_output import print_json
from gateway.cli.options import JsonOption, RequiredFolder, read_request_id, require_writable
from gateway.cli.receipts import write_receipt
from gateway.client import Verification
from gateway.dispute_client import DisputingClient, OpenedDispute
from gateway.protocol.disputes import DisputeGround
from gateway.protocol.identities import parse_identity
from gateway.protocol.receipt_disputes import VerifiedDispute

app = App(name="dispute")


@app.command(name="open")
def open_dispute(
    *,
    folder: RequiredFolder,
    requester: str,
    request_id: str,
    check: str,
    ground: DisputeGround,
    as_json: JsonOption = False,
) -> None:
    """Dispute an answer that this requester was given. Its department has ten working days to correct it.

    Example: `heyan dispute open --dir run --requester edu-4301 --request-id 5f…c2 --check c3 --ground record-outdated`

    Parameters
    ----------
    requester
        The education system that asked, an id of endpoints.json.
    request_id
        The query, as `heyan verify` prints it.
    check
        A check of the query, by its check_id.
    ground
        What is said to be wrong.
    """
    name = read_request_id(request_id)

    async def run() -> OpenedDispute:
        async with open_client_as(DisputingClient, folder, requester) as client:
            return await client.dispute(name, check, ground)

    opened = asyncio.run(run())
    if as_json:
        row = {"dispute": opened.dispute_id.hex(), "recorded": iso_time(opened.log_time)}
        print_json(row)
        return
    sys.stdout.write(
        f"dispute {opened.dispute_id.hex()} recorded {iso_time(opened.log_time)}; it goes to the department\n"
    )


@app.command
def show(
    *, folder: RequiredFolder, requester: str, request_id: str, receipt: Path | None = None, as_json: JsonOption = False
) -> None:
    """Show the disputes of a query and what became of them; every signature and log proof is verified first.

    Example: `heyan dispute show --dir run --requester edu-4301 --request-id 5f…c2`

    Parameters
    ----------
    requester
        The education system that asked, an id of endpoints.json.
    request_id
        The query, as `heyan verify` prints it.
    receipt
        File to write the receipt to, with its disputes, for `heyan log verify-receipt`.
    """
    require_writable(receipt, "--receipt")
    name = read_request_id(request_id)

    async def run() -> Verification:
        async with open_client_as(DisputingClient, folder, requester) as client:
            return await client.get(name)

    result = asyncio.run(run())
    write_receipt(receipt, result.receipt)
    rows = [_row(dispute) for dispute in result.verified.disputes]
    if as_json:
        print_json(rows)
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
) -> int:
    """Ask a disputed question once more after its correction. No use of the consent is spent.

    Exit code 0 if it was answered, 1 if its department refused, 3 if that is unavailable for now.

    Example: `heyan dispute reverify --dir run --requester edu-4301 --request-id 5f…c2 --check c3
    --consent consent.json`

    Parameters
    ----------
    requester
        The education system that asked, an id of endpoints.json.
    request_id
        The query whose answer was disputed, as `heyan verify` prints it.
    check
        The disputed check, by its check_id.
    consent
        The consent file that the disputed answer rests on.
    receipt
        File to write the new receipt to, for `heyan log verify-receipt`.
    """
    require_writable(receipt, "--receipt")
    name, held = read_request_id(request_id), read_consent_file(consent)

    async def run() -> Verification:
        async with open_client_as(DisputingClient, folder, requester) as client:
            return await client.reverify(name, check, held)

    result = asyncio.run(run())
    write_receipt(receipt, result.receipt)
    if as_json:
        row = {
            "request_id": result.verified.query.request_id.hex(),
            "answers": [answer_row(answer) for answer in result.verified.answers],
        }
        print_json(row)
    else:
        print_answers(result.verified)
        sys.stdout.write(f"receipt verified; request_id {result.verified.query.request_id.hex()}\n")
    return exit_code_of_outcomes(answer.outcome for answer in result.verified.answers)


def _row(dispute: VerifiedDispute) -> dict[str, str | None]:
    """A dispute as `heyan dispute show --json` prints it."""
    resolution = dispute.resolution
    return {
        "dispute": dispute.dispute_id.hex(),
        "check_id": dispute.check_id,
        "department": parse_identity(dispute.department).name,
        "opener": dispute.opener,
        "ground": dispute.ground.name,
        "opened": iso_time(dispute.opened),
        "outcome": resolution.outcome.name if resolution is not None else None,
        "reason": resolution.reason.name if resolution is not None else None,
        "resolved": iso_time(dispute.resolved) if dispute.resolved is not None else None,
    }
