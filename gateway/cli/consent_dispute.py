"""`heyan consent dispute`: a guardian disputes an answer that stands in the receipt which the school gave them."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from gateway.cli.endpoints import read_endpoints
from gateway.cli.guardians import Guardians
from gateway.cli.options import RequiredFolder, usage_error
from gateway.party.keyfiles import read_public
from gateway.party.registry_keeper import operator_key
from gateway.protocol.claims import Role
from gateway.protocol.disputes import Dispute, DisputeGround
from gateway.protocol.receipt import verify_receipt
from gateway.protocol.receipt_disputes import disputable
from gateway.protocol.receipt_file import receipt_from_json


def dispute(*, folder: RequiredFolder, family: str, receipt: Path, check: str, ground: DisputeGround) -> None:
    """Dispute an answer about a sandbox family, with the passkey of the consent that the answer rests on.

    The receipt is verified first. The issuer keeps the dispute until the gateway has it; whether the department
    corrected it, the school sees with `heyan dispute show`.

    Example: `heyan consent dispute --dir run --family F000001 --receipt receipt.json --check c3
    --ground record-outdated`

    Parameters
    ----------
    family
        The family whose consent it is: its passkey approves the dispute.
    receipt
        The receipt file that the school gave to the family.
    check
        A check of the receipt, by its check_id.
    ground
        What is said to be wrong.
    """
    found = receipt_from_json(read_public(receipt).decode(errors="replace"))
    verified = verify_receipt(found, operator_key(read_endpoints(folder).operator_vkey))
    answer = disputable(found, check)
    grants = [use.grant_digest for use in answer.asked.check.authorizations]
    guardians = verified.query.grant_digests[0]
    role, grant_digest = (Role.GUARDIAN, guardians) if guardians in grants else (Role.CO_RESIDENT, grants[0])
    said = Dispute(
        opener="",
        requester=verified.query.requester,
        request_id=verified.query.request_id,
        gateway=verified.query.gateway,
        department=answer.asked.department,
        statement_digest=answer.digest,
        ground=ground,
        issue_time=0.0,
        grant_digest=grant_digest,
    )
    if answer.digest in {known.dispute_id for known in verified.disputes}:
        raise usage_error("--check", "is disputed already")

    async def run() -> None:
        async with Guardians(folder) as people:
            await people.dispute(family, role, said)

    asyncio.run(run())
    sys.stdout.write(f"dispute {answer.digest.hex()} taken by the issuer; it goes to the gateway\n")
