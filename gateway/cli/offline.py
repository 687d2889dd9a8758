"""`heyan offline`: what cannot be verified online is verified on paper, and that is recorded like an answer."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from cyclopts import App

from gateway.cli.answers import iso_time, print_tickets, ticket_row
from gateway.cli.endpoints import open_client, read_endpoints
from gateway.cli.json_output import print_json
from gateway.cli.options import JsonOption, RequiredFolder, read_request_id, require_writable, usage_error
from gateway.cli.receipts import write_receipt
from gateway.client import Client
from gateway.offline_client import Open, Ticketed, find_ticket, list_tickets, open_ticket, resolve_ticket
from gateway.party.keyfiles import load_signing_key
from gateway.protocol.limits import NONCE_SIZE
from gateway.protocol.offline import OfflineReason, Subject

app = App(name="offline")


@app.command(name="open")
def open_(
    *,
    folder: RequiredFolder,
    requester: str,
    request_id: str,
    check: str | None = None,
    material: str | None = None,
    receipt: Path | None = None,
    as_json: JsonOption = False,
) -> None:
    """Open a ticket for a check that its department could not tell, or for a material that no department can.

    Refused where the online answer was yes or no, where nothing was asked online, and while an answer may still come:
    each refusal says what to do, and is logged. Opening a ticket again shows the one that there is.

    Examples: `heyan offline open --dir run --requester edu-4301 --request-id 3f…c9 --check c3`,
    `heyan offline open --dir run --requester edu-4301 --request-id 3f…c9 --material birth_certificate --json`

    Parameters
    ----------
    requester
        The education system that asked, an id of endpoints.json.
    request_id
        The query, as `heyan verify` prints it.
    check
        A check of the query, by its check_id.
    material
        A material that the county's rules verify on paper only, by its key.
    receipt
        File to write the receipt to, for `heyan log verify-receipt`.
    """
    subject, query = _subject(check, material), read_request_id(request_id)
    done = _run(folder, requester, receipt, lambda client: open_ticket(client, query, subject))
    _show(done, receipt, as_json=as_json)


@app.command
def resolve(  # noqa: PLR0913 - options, by keyword
    reason: OfflineReason,
    *,
    folder: RequiredFolder,
    requester: str,
    request_id: str,
    check: str | None = None,
    material: str | None = None,
    staff_key: Path | None = None,
    receipt: Path | None = None,
    as_json: JsonOption = False,
) -> None:
    """Sign what was found on paper with a staff member's key, and have it recorded; it stands for good.

    REASON says what was found, and so what follows. ACCEPTED: original-seen, certified-copy-seen,
    certificate-called-up, issuer-confirmed, visited. REJECTED: not-presented, does-not-match, expired, issuer-denied,
    does-not-prove.

    Examples: `heyan offline resolve original-seen --dir run --requester edu-4301 --request-id 3f…c9 --check c3`,
    `heyan offline resolve not-presented --dir run --requester edu-4301 --request-id 3f…c9 --check c3
    --staff-key keys/staff-0042-20270101-0a1b2c3d.pem`

    Parameters
    ----------
    reason
        What was found.
    requester
        The education system that asked, an id of endpoints.json.
    request_id
        The query, as `heyan verify` prints it.
    check
        The ticket's check, by its check_id.
    material
        The ticket's material, by its key.
    staff_key
        The staff member's key file; without it the one that endpoints.json names.
    receipt
        File to write the receipt to, for `heyan log verify-receipt`.
    """
    subject, query = _subject(check, material), read_request_id(request_id)
    key = load_signing_key(staff_key or _staff_key(folder, requester))

    async def work(client: Client) -> Ticketed:
        ticketed = await find_ticket(client, query, subject)
        return await resolve_ticket(client, ticketed, reason, key, now=time.time(), nonce=os.urandom(NONCE_SIZE))

    _show(_run(folder, requester, receipt, work), receipt, as_json=as_json)


@app.command(name="list")
def list_(*, folder: RequiredFolder, requester: str, as_json: JsonOption = False) -> None:
    """List the tickets that have no result yet, oldest first, and what became known online since.

    Example: `heyan offline list --dir run --requester edu-4301`

    Parameters
    ----------
    requester
        The education system that asked, an id of endpoints.json.
    """

    async def work() -> None:
        async with open_client(folder, requester) as client:
            none = True
            async for ticket in list_tickets(client):
                row, none = _open_row(ticket), False
                sys.stdout.write((json.dumps(row, ensure_ascii=False) if as_json else _open_text(row)) + "\n")
            if none and not as_json:
                sys.stdout.write("no ticket awaits a result\n")

    asyncio.run(work())


def _open_text(row: Mapping[str, object]) -> str:
    """Two lines: what is awaited, as `resolve` names it, and since when and why."""
    claim = f"  {row['claim']}" if row["claim"] else ""
    return (
        f"{row['request_id']}  {row['subject']}{claim}\n"
        f"  in {row['region']} since {row['opened']}, for {row['ground']}; online by now: {row['online'] or 'nothing'}"
    )


def _open_row(ticket: Open) -> dict[str, object]:
    return {
        "ticket_id": ticket.ticket_id.hex(),
        "request_id": ticket.request_id.hex(),
        "check_id": ticket.subject.check_id or None,
        "material": ticket.subject.material or None,
        "subject": ticket.subject.name,
        "claim": ticket.claim or None,
        "region": ticket.region,
        "ground": ticket.ground.name,
        "opened": iso_time(ticket.open_time),
        "online": ticket.online.name if ticket.online is not None else None,
    }


def _run(folder: Path, requester: str, receipt: Path | None, work: Callable[[Client], Awaitable[Ticketed]]) -> Ticketed:
    """Do one thing as a requester; the receipt goes to its file, if one is named."""
    require_writable(receipt, "--receipt")

    async def run() -> Ticketed:
        async with open_client(folder, requester) as client:
            return await work(client)

    done = asyncio.run(run())
    write_receipt(receipt, done.verification.receipt)
    return done


def _show(done: Ticketed, receipt: Path | None, *, as_json: bool) -> None:
    verified = done.verification.verified
    if as_json:
        row = {
            "request_id": verified.query.request_id.hex(),
            **ticket_row(done.ticket, verified.answers),
            "receipt": str(receipt) if receipt is not None else None,
        }
        print_json(row)
        return
    print_tickets([done.ticket])
    where = f", written to {receipt}" if receipt is not None else ""
    sys.stdout.write(f"receipt verified{where}; ticket {done.ticket.opened.ticket_id.hex()}\n")


def _subject(check: str | None, material: str | None) -> Subject:
    if (check is None) == (material is None):
        raise usage_error("--check", "or --material must say what is meant")
    return Subject(check_id=check or "", material=material or "")


def _staff_key(folder: Path, requester: str) -> Path:
    files = read_endpoints(folder).requesters.get(requester)
    if files is None or files.staff_key is None:
        raise usage_error("--staff-key", f"{requester} has no staff key here: heyan registry staff")
    return folder / files.staff_key
