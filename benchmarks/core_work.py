"""What is asked of a gateway when its own core is measured: the kinds of requests, their making, and their judging.

Requests are made before they are measured, in processes of their own, because sealing and signing cost more than the
gateway's part, and a query is good for a minute only. Replies are judged afterwards.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import cycle, islice
from pathlib import Path

from benchmarks.applicants import FIVE_CLAIMS, GROUP_OF_FIVE, Applicant, applicants
from benchmarks.canned import known
from benchmarks.fresh_consents import FreshConsents
from benchmarks.load import OK, PARTIAL
from benchmarks.ways import judge as judge_statements
from gateway.cli.endpoints import open_client
from gateway.client import Client
from gateway.protocol.codec import parse
from gateway.protocol.errors import HeyanError
from gateway.protocol.limits import MAX_MESSAGE
from gateway.protocol.presentation import read_submission, write_submission
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt import MAX_RECEIPT
from heyan.v1 import gateway_service_pb2 as pb
from heyan.v1 import receipt_pb2

VERIFY_EVERY = 100
"""Of so many receipts, one is verified whole."""
MAKERS = 2
"""Processes that make requests."""

_PERMIT = "residence.permit_valid@1"


@dataclass(frozen=True)
class Kind:
    """One kind of request: the claims that each asks, and whether each rests on a consent of its own."""

    name: str
    claims: tuple[str, ...]
    fresh: bool = True


SINGLE = Kind("single", (_PERMIT,))
APPLICATION = Kind("application", FIVE_CLAIMS)
SINGLE_REPEATED = Kind("single_repeated", (_PERMIT,), fresh=False)
APPLICATION_REPEATED = Kind("application_repeated", FIVE_CLAIMS, fresh=False)
KINDS = {kind.name: kind for kind in (SINGLE, APPLICATION, SINGLE_REPEATED, APPLICATION_REPEATED)}


@dataclass(frozen=True)
class Asked:
    """A VerifyRequest, and on whose part it is made."""

    applicant: Applicant
    message: bytes


async def asking(folder: Path, requester: str, kind: Kind, most: int) -> list[Applicant]:
    """At most `most` families about which canned departments can answer, asked what the kind says."""
    families = [truth for truth in known(folder)[0] if truth.application.group is GROUP_OF_FIVE][:most]
    found = await applicants(
        folder, requester, families, lambda truth: [answer for answer in truth.plan if answer.claim in kind.claims]
    )
    assert found, "no family to ask about: the population is too small"
    assert all(len(each.questions) == len(kind.claims) for each in found), "a plan without a claim of the kind"
    return found


# -- making -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Share:
    """What one process makes: so many requests, of all families in turn, each with a consent of its own if `fresh`."""

    folder: Path
    requester: str
    applicants: tuple[Applicant, ...]
    fresh: bool
    count: int


async def make(makers: Executor, whole: Share) -> list[Asked]:
    """The requests of a share, made in MAKERS processes."""
    loop = asyncio.get_running_loop()
    counts = [len(range(number, whole.count, MAKERS)) for number in range(MAKERS)]
    made = await asyncio.gather(
        *(
            loop.run_in_executor(
                makers, make_share, Share(whole.folder, whole.requester, whole.applicants, whole.fresh, count)
            )
            for count in counts
        )
    )
    return [Asked(*pair) for messages in made for pair in zip(cycle(whole.applicants), messages)]


def make_share(share: Share) -> list[bytes]:
    """The requests, one process's part: the families come in turn, the first one first."""
    client, consents = _maker(share.folder, share.requester)
    once = () if share.fresh else tuple(consents.again(each.family, each.consent) for each in share.applicants)
    messages = []
    for place, who in enumerate(islice(cycle(share.applicants), share.count)):
        consent = consents.again(who.family, who.consent) if share.fresh else once[place % len(once)]
        messages.append(write_submission(client.prepare(who.questions, consent, who.plan)).SerializeToString())
    return messages


@lru_cache(maxsize=1)
def _maker(folder: Path, requester: str) -> tuple[Client, FreshConsents]:
    return open_client(folder, requester), FreshConsents(folder)


# -- judging ----------------------------------------------------------------------------------------------------


class UnrightError(Exception):
    """Something was not answered, or not answered right: there is nothing to report."""


@dataclass
class Judgement:
    """How often each status, and how many receipts were verified whole."""

    statuses: Counter[str] = field(default_factory=Counter)
    verified: int = 0


def judge(client: Client, asked: Sequence[Asked], replies: Sequence[bytes | Reason]) -> Judgement:
    """Hold every reply against the truth, and verify every VERIFY_EVERYth receipt whole, the first among them."""
    judgement = Judgement()
    for place, (each, reply) in enumerate(zip(asked, replies, strict=True)):
        status = reply.value if isinstance(reply, Reason) else None
        if status is None and place % VERIFY_EVERY == 0:
            submission = read_submission(parse(pb.VerifyRequest, each.message, MAX_MESSAGE))
            try:
                client.check(submission, _receipt(reply))
            except HeyanError as error:
                status = error.reason.value
            else:
                judgement.verified += 1
        judgement.statuses[status or status_of(_receipt(reply), each.applicant.truth)] += 1
    return judgement


def require_right(judgement: Judgement, kind: str) -> None:
    """UnrightError unless every request was answered, and right."""
    if judgement.statuses.keys() != {OK}:
        raise UnrightError(f"{kind}: {dict(judgement.statuses)}")


def status_of(receipt: receipt_pb2.Receipt, truth: dict[str, str]) -> str:
    """OK; PARTIAL if a check was unavailable, REFUSED if a department refused one, WRONG if any is not the truth."""
    if receipt.unavailable:
        return PARTIAL
    return judge_statements((attested.proof.statement for attested in receipt.statements), truth)


def _receipt(reply: bytes | Reason) -> receipt_pb2.Receipt:
    assert isinstance(reply, bytes)
    return parse(pb.VerifyResponse, reply, MAX_RECEIPT).receipt
