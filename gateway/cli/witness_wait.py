"""What `heyan verify --witnessed` does: it fetches the receipt again, once witnesses have cosigned its leaves."""

from __future__ import annotations

from pathlib import Path

from gateway.cli.endpoints import open_client_as, read_endpoints
from gateway.cli.options import usage_error
from gateway.client import Verification
from gateway.protocol.policy import Policy
from gateway.witnessed_client import WitnessedClient
from gateway.witnessing.policy_file import read_policy


async def fetch_witnessed(
    folder: Path, requester: str, request_id: bytes, policy: Policy, within: float
) -> Verification:
    """An earlier request under a checkpoint that a quorum of `policy` cosigned, if one does within so many seconds."""
    async with open_client_as(WitnessedClient, folder, requester) as client:
        return await client.witnessed(request_id, policy, within)


def policy_of(folder: Path) -> Policy:
    """The policy of a federation's folder; MalformedError (CONFIGURATION_INVALID) if it has no witnesses."""
    endpoints = read_endpoints(folder)
    if endpoints.policy is None:
        description = f"{folder} has no witnesses: make a federation with heyan up FOLDER --witnesses 2"
        raise usage_error("--witnessed", description)
    return read_policy(folder / endpoints.policy)
