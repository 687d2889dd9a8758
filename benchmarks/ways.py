"""The gateway's way to have an application answered: one `Verify` call, over the SDK's own channels.

Receipts are parsed, and their outcomes compared, in each application; the SDK checks the whole of a sample.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from benchmarks.applicants import Applicant
from benchmarks.load import OK, PARTIAL, REFUSED, WRONG, Generator
from gateway.cli.endpoints import open_client
from gateway.client import Client
from gateway.protocol.codec import parse
from gateway.protocol.presentation import Submission, write_submission
from gateway.protocol.receipt import MAX_RECEIPT
from heyan.v1 import attestation_pb2, check_pb2, gateway_service_pb2

_PREFIX = "OUTCOME_"
_OUTCOMES = {number: name.removeprefix(_PREFIX) for name, number in check_pb2.Outcome.items()}


@dataclass(frozen=True, slots=True)
class Ready:
    """A submission, its bytes, and what must come of it."""

    submission: Submission
    message: bytes
    truth: dict[str, str]


class ThroughGateway:
    """Asks the gateway, through each of the clients in turn."""

    def __init__(self, *clients: Client) -> None:
        self._client = clients[0]
        self._turns = cycle(clients)

    def prepare(self, who: Applicant) -> Ready:
        """Plan, sign, seal."""
        submission = self._client.prepare(who.questions, who.consent, who.plan)
        return Ready(submission, write_submission(submission).SerializeToString(), who.truth)

    async def ask(self, prepared: Ready, *, verify: bool) -> str:
        """One call, one receipt."""
        data = await next(self._turns).call("Verify", prepared.message)
        receipt = parse(gateway_service_pb2.VerifyResponse, data, MAX_RECEIPT).receipt
        if verify:
            self._client.check(prepared.submission, receipt)
        if receipt.unavailable:
            return PARTIAL
        return judge((attested.proof.statement for attested in receipt.statements), prepared.truth)


def judge(statements: Iterator[bytes], truth: dict[str, str]) -> str:
    """Whether statements of departments say what is true, of every check and of nothing else."""
    said = {}
    for data in statements:
        statement = attestation_pb2.Statement.FromString(data)
        if not statement.HasField("attestation"):
            return REFUSED
        attestation = statement.attestation
        said[attestation.check.check_id] = _OUTCOMES[attestation.outcome]
    return OK if said == truth else WRONG


@asynccontextmanager
async def through_gateway(folder: Path, requester: str, channels: int = 1) -> AsyncIterator[Generator[Ready]]:
    """A generator that is connected to the gateway of the federation in `folder`, as `requester`."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(open_client(folder, requester)) for _ in range(channels)]
        yield Generator(ThroughGateway(*clients))
