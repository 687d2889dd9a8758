"""What `heyan verify` does about deferred checks: it says how to come back for them, and comes back."""

from __future__ import annotations

import sys
from pathlib import Path
from shlex import quote

from gateway.cli.endpoints import open_client
from gateway.cli.options import usage_error
from gateway.client import Verification
from gateway.protocol.identities import parse_identity


def require_one_of(family: str | None, request_id: str | None) -> None:
    """Refuse to ask and to fetch at once, or neither; MalformedError."""
    if (family is None) == (request_id is None):
        expected = "must name a family, or else one of --request-id and --batch"
        raise usage_error("--family", expected)


async def fetch(folder: Path, requester: str, request_id: bytes, wait: float) -> Verification:
    """What became of an earlier request; while anything of it is deferred, waits for more for `wait` seconds."""
    async with open_client(folder, requester) as client:
        return [result async for result in client.watch(request_id, wait)][-1]


def deferred_until(result: Verification) -> float | None:
    """Until when the gateway goes on asking, in seconds since the epoch; None if nothing is deferred."""
    return result.verified.query.answer_until_time if result.deferred else None


def print_deferred(result: Verification, folder: Path, requester: str) -> None:
    """Say what is deferred, and the command that fetches it later."""
    if result.deferred:
        departments = sorted({parse_identity(answer.department).name for answer in result.deferred})
        request_id = result.verified.query.request_id.hex()
        sys.stdout.write(
            f"{len(result.deferred)} deferred until {', '.join(departments)} can be asked; fetch them with:\n"
            f"  heyan verify --dir {quote(str(folder))} --requester {requester} --request-id {request_id} --wait 600\n"
        )
