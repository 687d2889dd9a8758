"""`heyan audit evidence`: what a gateway keeps of one query, verified; that it was looked at is logged first."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from google.protobuf import json_format
from rich.console import Console

from gateway.audit.evidence_view import Evidence, Wanted, verify_evidence
from gateway.cli.answers import answer_row, iso_time, print_answers, print_tickets, ticket_row
from gateway.cli.endpoints import Auditor, open_auditor, read_endpoints
from gateway.cli.json_output import print_json
from gateway.cli.options import JsonOption, RequiredFolder, read_party, read_request_id, require_writable, usage_error
from gateway.cli.receipts import write_receipt
from gateway.party.keyfiles import write_private
from gateway.party.registry_keeper import operator_key
from gateway.protocol.case_references import check_case_reference
from gateway.protocol.errors import MalformedError
from gateway.protocol.identities import Identity, PartyRole
from heyan.v1 import log_service_pb2


def evidence(
    requester: str,
    request_id: str,
    *,
    folder: RequiredFolder,
    auditor: str,
    case: Annotated[str, Parameter(name="--case")],
    out: Path | None = None,
    receipt: Path | None = None,
    as_json: JsonOption = False,
) -> None:
    """Read what a gateway keeps of one query, verify all of it, and show it. The log records who looked, and why.

    The access is logged before anything is shown, with your identity and the case's reference, also where there is
    nothing to show or it was destroyed. Shown are answers, consents and tickets by pseudonym: no name and no number of
    a person is in evidence.

    Example: `heyan audit evidence edu-4301 00112233445566778899aabbccddeeff --dir run --auditor auditor --case C-42`

    Parameters
    ----------
    requester
        Whose query: an id of endpoints.json, or a SPIFFE ID.
    request_id
        Its request_id, in hexadecimal.
    auditor
        Who reads, an auditor's id of endpoints.json.
    case
        Your reference of the case: 1 to 40 letters, digits and ._-, and no number of a person.
    out
        Write everything as JSON, for its reader's eyes alone (mode 0600).
    receipt
        Write the receipt, for heyan log verify-receipt.
    """
    wanted_id = read_request_id(request_id)
    try:
        check_case_reference(case)
    except MalformedError as error:
        raise usage_error("--case", error.violations[0].description) from None
    for file, option in ((out, "--out"), (receipt, "--receipt")):
        require_writable(file, option)
    identity = read_party(requester, PartyRole.REQUESTER)
    wanted = Wanted(Identity(PartyRole.AUDITOR, auditor).uri, identity.uri, wanted_id, case, time.time())
    reader = open_auditor(folder, auditor)
    response = asyncio.run(_read(reader, wanted))
    operator = operator_key(read_endpoints(folder).operator_vkey)
    found = verify_evidence(response, wanted, reader.registry(), operator)
    if out is not None:
        text = json_format.MessageToJson(response, preserving_proto_field_name=True, indent=1)
        write_private(out, text.encode())
    write_receipt(receipt, response.receipt)
    if as_json:
        print_json(_row(found, case))
    else:
        _print(found, case)


async def _read(auditor: Auditor, wanted: Wanted) -> log_service_pb2.GetEvidenceResponse:
    async with auditor.reader as reader:
        return await reader.evidence(wanted.requester, wanted.request_id, wanted.case_reference)


def _row(found: Evidence, case: str) -> dict[str, object]:
    receipt = found.receipt
    return {
        "valid": True,
        "case": case,
        "access_leaf": found.access_index,
        "request_id": receipt.query.request_id.hex(),
        "requester": receipt.query.requester,
        "purpose": receipt.query.purpose,
        "answers": [answer_row(answer) for answer in receipt.answers],
        "tickets": [ticket_row(ticket, receipt.answers) for ticket in receipt.tickets],
        "grants": [
            {
                "digest": grant.digest.hex(),
                "issuer": grant.issuer,
                "actor": grant.actor.value,
                "legal_basis": grant.legal_basis,
                "expires": iso_time(grant.expires),
                "claims": sorted({claim for element in grant.authorizations.values() for claim in element.claims}),
            }
            for grant in found.grants
        ],
        "log": {"origin": receipt.checkpoint.origin, "size": receipt.checkpoint.size},
    }


def _print(found: Evidence, case: str) -> None:
    receipt = found.receipt
    print_answers(receipt)
    print_tickets(receipt.tickets)
    console = Console()
    for grant in found.grants:
        console.print(
            f"consent 同意 {grant.digest.hex()[:16]}… by the {grant.actor.value}, issued by {grant.issuer},"
            f" until {iso_time(grant.expires)}",
            markup=False,
            soft_wrap=True,
        )
    logged = ", ".join(iso_time(at) for at in receipt.log_times)
    sys.stdout.write(
        f"evidence holds 证据有效: {len(receipt.answers)} checks, asked by {receipt.query.requester}, logged {logged}\n"
        f"this access is leaf {found.access_index} of {receipt.checkpoint.origin}, case {case} 查阅已记录\n"
    )
