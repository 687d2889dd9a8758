"""The witnesses that a gateway asks: those of its policy, each with its own pause after a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field

from gateway.departments.breaker import Breaker
from gateway.protocol.policy import Policy, PolicyWitness
from gateway.stores.records import Head
from gateway.witnessing.link import LogIdentity, Transport, Tree, WitnessLink


@dataclass(slots=True, eq=False)
class Member:
    """A witness that is asked; `task` is the request under way, of which there is one at most."""

    link: WitnessLink
    breaker: Breaker = field(default_factory=Breaker)
    task: asyncio.Task[None] | None = None
    rests_until: float = 0.0
    """Steady seconds: it asked to be left alone until then."""

    def admits(self, now: float) -> bool:
        """Whether it may be asked now; after a failure a True is the one try of its pause."""
        return self.task is None and now >= self.rests_until and self.breaker.admits(now)

    def would_admit(self, now: float) -> bool:
        """Whether it may be asked now, or is being asked; only looks."""
        return self.task is not None or (now >= self.rests_until and self.breaker.would_admit(now))

    def failed(self, now: float, retry_after: float | None) -> None:
        """Leave it alone for a while, and for as long as it asked for."""
        self.breaker.trip(now)
        self.rests_until = now + (retry_after or 0.0)

    @property
    def name(self) -> str:
        """What the policy calls it."""
        return self.link.witness.name


class Circle:
    """All members, by the policy's names. A witness without a URL is none: it is not asked."""

    def __init__(self, *, tree: Tree, log: LogIdentity, transport: Transport, clock: Callable[[], float]) -> None:
        self._tree = tree
        self._log = log
        self._transport = transport
        self._clock = clock
        self.members: Mapping[str, Member] = {}

    def follow(self, policy: Policy, known: Head | None) -> None:
        """Ask those whom a policy names from now on; one that it names as before keeps its pause and its request.

        A witness that cosigned `known` is asked from there.
        """
        cosigned = policy.judge(known.checkpoint.encode()).cosigned if known is not None else ()
        held = {each.witness: known.size for each in cosigned} if known is not None else {}
        before, members = self.members, dict[str, Member]()
        for witness in policy.witnesses:
            member = before.get(witness.name)
            if member is not None and member.link.witness == witness:
                members[witness.name] = member
            elif witness.url:
                members[witness.name] = Member(self._link(witness, held.get(witness, 0)))
        self.members = members
        for member in before.values():
            if not self.has(member) and member.task is not None:
                member.task.cancel()

    def has(self, member: Member) -> bool:
        """Whether a member is still one."""
        return self.members.get(member.name) is member

    def start(self, member: Member, work: Coroutine[None, None, None]) -> None:
        """Let a member's request run."""
        member.task = asyncio.get_running_loop().create_task(work)

    async def settle(self) -> None:
        """Wait until nobody is being asked."""
        while tasks := self._tasks():
            await asyncio.gather(*tasks, return_exceptions=True)

    async def stop(self) -> None:
        """End what is under way."""
        tasks = self._tasks()
        self.members = {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [member.task for member in self.members.values() if member.task is not None]

    def _link(self, witness: PolicyWitness, held: int) -> WitnessLink:
        return WitnessLink(
            witness, tree=self._tree, log=self._log, transport=self._transport, clock=self._clock, held=held
        )
