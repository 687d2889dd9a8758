"""What the demonstration shows besides answers: a group left open, a department that is away, paper, a closed county.

Each case tells what it does, and returns whether it came out as it should.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from gateway.cli.correctness import is_right
from gateway.cli.department import switches
from gateway.cli.endpoints import read_endpoints
from gateway.cli.guardians import Guardians
from gateway.cli.verdicts import print_verdict
from gateway.cli.verify import ask
from gateway.client import Client, Verification
from gateway.offline_client import open_ticket, resolve_ticket
from gateway.party.keyfiles import load_signing_key
from gateway.protocol.errors import HeyanError
from gateway.protocol.identities import parse_identity
from gateway.protocol.limits import NONCE_SIZE
from gateway.protocol.matrix import GROUP_NAMES
from gateway.protocol.offline import OFFLINE_REASON_TEXTS, OfflineReason, Subject
from gateway.protocol.outcomes import Outcome
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt_rows import Answer
from gateway.rules.verdict import Standing
from sandbox_departments.faults.kinds import Kind, make_fault
from sandbox_departments.faults.switch import lift_fault, set_fault
from sandbox_departments.truth import Truth

AWAY = "land"
"""The department that is taken away and comes back."""
PATIENCE = 60.0
"""Seconds for what should take one or two."""
DEFERRED_FOR = 3_600.0
"""Seconds for which the gateway may go on asking."""


class Cases:
    """The cases, for one requester of a running sandbox."""

    def __init__(self, folder: Path, requester: str, client: Client, guardians: Guardians, console: Console) -> None:
        self._folder = folder
        self._requester = requester
        self._client = client
        self._guardians = guardians
        self._console = console

    async def open_group(self, truth: Truth) -> bool:
        """A family that does not know its group learns which ones the answers support, and what is exempt why."""
        self._head(f"{truth.application.family} leaves its group open 不填群体")
        result = await self._ask(truth, open_group=True)
        if result.verdict is None:
            return False
        own = [group for group in result.verdict.groups if group.standing is not Standing.OWED]
        print_verdict(replace(result.verdict, groups=tuple(own)), self._console)
        others = len(result.verdict.groups) - len(own)
        self._say(f"({others} other groups of the school are not supported and not shown.)")
        return is_right(result, truth)

    async def deferred(self, truth: Truth) -> bool:
        """A department is away: its checks wait at the gateway, sealed, and are answered when it is back."""
        node = await self._node(truth)
        self._head(f"{node} is away while {truth.application.family} applies 部门节点离线")
        switch = switches(self._folder)[node]
        set_fault(switch, make_fault(Kind.DOWN))
        try:
            result = await self._until_deferred(truth)
        finally:
            lift_fault(switch)
        for answer in result.deferred:
            self._say(f"{answer.check.claim}: {answer.next_step.name} ({answer.reason})")
        self._standing(result)
        began, waiting = time.monotonic(), bool(result.deferred)
        async for news in self._client.watch(result.verified.query.request_id, PATIENCE):
            result = news
        self._say(f"{node} is back; after {time.monotonic() - began:.1f} s, nobody having asked again:")
        self._standing(result)
        return waiting and is_right(result, truth)

    async def offline(self, truth: Truth, result: Verification) -> bool:
        """What can be told online is never asked for on paper; what cannot is looked at by staff, on the record."""
        answers = result.verified.answers
        told = next(answer for answer in answers if answer.outcome is Outcome.YES)
        doubtful = next(answer for answer in answers if answer.outcome is Outcome.UNDETERMINED)
        request_id = result.verified.query.request_id
        self._head(f"Paper for {truth.application.family} 线下核验")
        refused = await self._refusal(open_ticket(self._client, request_id, _subject(told)))
        self._say(f"for {told.check.claim}, answered YES: refused, {refused.value if refused else 'NOT'}")
        ticketed = await open_ticket(self._client, request_id, _subject(doubtful))
        self._say(f"for {doubtful.check.claim}, UNDETERMINED: ticket {ticketed.ticket.opened.ticket_id.hex()[:16]}…")
        files = read_endpoints(self._folder).requesters[self._requester]
        assert files.staff_key is not None  # noqa: S101 - each requester of a sandbox has one
        key = load_signing_key(self._folder / files.staff_key)
        nonce = os.urandom(NONCE_SIZE)
        resolved = await resolve_ticket(
            self._client, ticketed, OfflineReason.ORIGINAL_SEEN, key, now=time.time(), nonce=nonce
        )
        text = OFFLINE_REASON_TEXTS[OfflineReason.ORIGINAL_SEEN]
        self._say(f"staff signs {OfflineReason.ORIGINAL_SEEN.name}, {text.zh}; it stands in log and receipt")
        verdict = resolved.verification.verdict
        if verdict is not None:
            names = ", ".join(GROUP_NAMES[group].zh for group in verdict.with_paper)
            self._say(f"supported with paper 含线下核验后符合: {names or '无 none'}")
        return refused is Reason.OFFLINE_ANSWERED and resolved.ticket.resolution is not None

    async def closed(self, truth: Truth) -> bool:
        """Outside its window a county takes no application, and says when it will."""
        county = read_endpoints(self._folder).closed
        application = replace(truth.application, region=county)
        self._head(f"An application in {county}, which is closed 非报名时间段")
        consent = await self._guardians.consent(application, self._requester)
        try:
            await ask(self._client, application, consent)
        except HeyanError as error:
            if error.text is not None:
                self._say(error.text.zh)
                self._say(error.text.en)
            return error.reason is Reason.WINDOW_CLOSED
        return False

    # -- what they use --------------------------------------------------------------------------------------

    async def _ask(self, truth: Truth, **options: Any) -> Verification:
        consent = await self._guardians.consent(truth.application, self._requester)
        return await ask(self._client, truth.application, consent, **options)

    async def _until_deferred(self, truth: Truth) -> Verification:
        """Apply until the fault shows, which takes the node a moment."""
        until = time.monotonic() + PATIENCE
        while True:
            result = await self._ask(truth, defer=DEFERRED_FOR)
            if result.deferred or time.monotonic() >= until:
                return result
            await asyncio.sleep(0.5)

    async def _node(self, truth: Truth) -> str:
        """The node of AWAY that the family's plan asks."""
        application = truth.application
        plan = await self._client.plan(application.region, application.school, application.group)
        names = (parse_identity(check.department).name for check in plan.message.checks)
        return next(name for name in names if name.startswith(AWAY))

    async def _refusal(self, attempt: Awaitable[object]) -> Reason | None:
        try:
            await attempt
        except HeyanError as error:
            return error.reason
        return None

    def _standing(self, result: Verification) -> None:
        for group in result.verdict.groups if result.verdict is not None else ():
            shown = ", ".join(f"{each.material.name.zh} {each.standing.name}" for each in group.materials)
            self._say(f"verdict 结论 {group.standing.name}: {shown}")

    def _head(self, text: str) -> None:
        self._console.print(f"\n[bold]{text}[/]", soft_wrap=True)

    def _say(self, text: str) -> None:
        self._console.print(f"  {text}", soft_wrap=True, markup=False)


def _subject(answer: Answer) -> Subject:
    return Subject(check_id=answer.check.check_id)
