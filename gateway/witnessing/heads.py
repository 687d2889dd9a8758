"""Having the log's heads cosigned: beside all answering, never in the way of it.

A round is one head, submitted to every witness of the policy at once. It lasts until a quorum has cosigned it, or
nobody else can be asked now, or ROUND_SECONDS; the next round takes the newest head, not sooner than `interval` after
the last began. A slow witness joins the round that runs when it is free; one that fails is left alone for a growing
pause (`gateway.departments.breaker`). So every set of witnesses that answer in time agrees on a head.

Invariants:

- a head is called witnessed only where the policy in force says so of the very note that is handed out, with its
  signatures verified again; what the policy no longer accepts after a change is no longer called so;
- the newest witnessed head is durable before it is handed out, and is found again at the next start;
- what is handed out as the published head (`served`) never goes back in size while the process runs;
- proof against the log (`ContradictedError`) stays a complaint until somebody has looked into it.

Whether witnesses are there is no complaint: answers rest on the log's own signature, and go on (docs/adr/0024).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import structlog

from gateway.party.keyfiles import Stamp, Watched, read_public, stamp, write_atomic
from gateway.party.process import place_of
from gateway.protocol.checkpoint import open_checkpoint
from gateway.protocol.errors import BadDataError, HeyanError, LogUnavailableError
from gateway.protocol.policy import Policy
from gateway.protocol.reasons import Reason
from gateway.stores.records import Head
from gateway.witnessing.alarms import Alarms
from gateway.witnessing.circle import Circle, Member
from gateway.witnessing.link import ContradictedError, LogIdentity, Transport, Tree
from gateway.witnessing.rounds import Round, Times, WitnessedHead, dressed_as
from gateway.witnessing.traffic import WitnessTraffic

ROUND_SECONDS = 10.0
"""The longest round: one request of a slow witness may begin when another has just timed out."""
RENEW_SECONDS = 30.0
"""After which a head that is still the newest is cosigned again, so that readers see that the witnesses are there."""

_log = structlog.get_logger(__name__)


class Witnessing:
    """Follows one log's head, keeping the newest witnessed one in `file`, and proof against the log beside it.

    Everything is called on one event loop.
    """

    def __init__(
        self,
        *,
        tree: Tree,
        log: LogIdentity,
        policy: Watched[Policy],
        transport: Transport,
        file: Path,
        times: Times,
        traffic: WitnessTraffic,
        on_contradiction: Callable[[HeyanError], None] = lambda _: None,
    ) -> None:
        self._tree = tree
        self._identity = log
        self._policy = policy
        self._file = file
        self._times = times
        self._traffic = traffic
        self._alarms = Alarms(file.parent, traffic, on_contradiction)
        self._circle = Circle(tree=tree, log=log, transport=transport, clock=times.clock)
        self._generation = -1
        self._round: Round | None = None
        self._witnessed: WitnessedHead | None = None
        self._served: Head | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        self._since = times.clock()
        self._keeping = asyncio.Lock()
        self._is_stopped = False
        self._seen = self._look()
        traffic.age.set_function(self.age)

    @property
    def origin(self) -> str:
        """The log that it follows."""
        return self._identity.origin

    # -- what it knows --------------------------------------------------------------------------------------

    def witnessed(self) -> Head | None:
        """The newest head that a quorum cosigned, with its cosignatures; None if there is none."""
        return self._witnessed.head if self._witnessed is not None else None

    def served(self) -> Head:
        """The head to publish: the newest witnessed one while it is younger than the patience, else the newest.

        Once an unwitnessed one was handed out, it stays until a witnessed one has come that is no smaller.
        """
        known = self._witnessed
        newest = self._tree.head()
        if newest.ended:
            self._served = self.dressed(newest)  # the end of a log is shown at once: the next one waits for it
        elif known is not None and self._times.clock() - known.time < self._times.patience:
            if self._served is None or known.head.size >= self._served.size:
                self._served = known.head
        else:
            self._served = self.dressed(newest)
        return self._served

    def dressed(self, head: Head) -> Head:
        """A head with what cosignatures of it there are, and the log's signatures that it bears itself.

        One that was signed anew since it was cosigned is shown so: the key before may have been compromised.
        """
        known = [self._witnessed.head] if self._witnessed is not None else []
        known += [self._round.dressed()] if self._round is not None else []
        cosigned = next((each for each in known if (each.size, each.root) == (head.size, head.root)), None)
        return dressed_as(head, cosigned, self.origin) if cosigned is not None else head

    async def covering(self, size: int, seconds: float) -> Head | None:
        """The newest witnessed head, once it has so many leaves; None if that takes longer, or nobody is asked."""
        until = self._times.steady() + seconds
        while self._policy.value.quorum is not None and not self._is_stopped:
            head = self.witnessed()
            if head is not None and head.size >= size:
                return head
            left = until - self._times.steady()
            if left <= 0:
                return None
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(future)
            try:
                await asyncio.wait_for(future, left)
            except TimeoutError:
                return None
            finally:
                self._waiting.discard(future)
        return None

    def age(self) -> float:
        """Seconds since the newest witnessed head became so; without one, since this began."""
        return self._times.clock() - (self._witnessed.time if self._witnessed is not None else self._since)

    @property
    def is_done(self) -> bool:
        """Whether the log has ended and a quorum cosigned its final head, which never changes again."""
        return (
            self._witnessed is not None and self._witnessed.head.ended and self._generation == self._policy.generation
        )

    def complaints(self) -> list[str]:
        """Proof against the log."""
        return self._alarms.complaints()

    # -- running --------------------------------------------------------------------------------------------

    def load(self, read_newest: Callable[[], Head | None]) -> None:
        """Take up what was kept, if the policy still accepts it, before anything is signed.

        The log's head is read after it: another process may be having later ones cosigned. If the log is smaller than
        what was kept, or another, that is proof against it. If the store fails, `follow` tries it again.
        """
        seen = self._look()
        self._take_up(read_newest)
        self._seen = seen

    def _take_up(self, read_newest: Callable[[], Head | None]) -> None:
        if not self._file.exists():
            return
        try:
            note = read_public(self._file)
            checkpoint = open_checkpoint(note, self._identity.verifiers(), self._identity.origin)
            judgement = self._policy.value.judge(note)
        except BadDataError as error:
            _log.warning("kept_witnessed_head_refused", detail=error.detail)
            return
        newest = read_newest()
        size, grown = checkpoint.size, newest.size if newest is not None else 0
        if size > grown:
            detail = f"a checkpoint of {size} leaves was witnessed, the log has {grown}"
            self._alarms.contradicted(ContradictedError(Reason.LOG_ROLLED_BACK, note.decode(), detail))
        elif self._tree.root(size) != checkpoint.root:
            detail = f"another root of {size} leaves was witnessed"
            self._alarms.contradicted(ContradictedError(Reason.LOG_FORKED, note.decode(), detail))
        elif judgement.is_witnessed and newest is not None:
            time = min(self._times.clock(), float(max(each.time for each in judgement.cosigned)))
            is_final = newest.ended and size == newest.size
            head = replace(newest, size=size, root=checkpoint.root, checkpoint=note.decode(), ended=is_final)
            self._tell(WitnessedHead(head, time))

    def follow(self, read_newest: Callable[[], Head | None]) -> None:
        """Take up what another process of ours has had cosigned, where that is the one that asks; see `load`."""
        self._policy.refresh()
        if self._look() != self._seen:
            self._witnessed = None
            self.load(read_newest)

    def _look(self) -> tuple[int, Stamp]:
        return self._policy.generation, stamp([self._file])

    async def run_once(self) -> None:
        """What an instant brings: another policy, another round, witnesses that are to be asked."""
        self._policy.refresh()
        is_old = self._policy.value.quorum is not None and self.age() > self._times.alarm
        self._alarms.look_at_age(self.age(), is_old=is_old)
        self._step()

    async def settle(self) -> None:
        """Wait until nobody is being asked."""
        await self._circle.settle()

    async def stop(self) -> None:
        """Ask nobody any more, and let go whoever waits."""
        self._is_stopped = True
        self._wake()
        await self._circle.stop()

    def _step(self) -> None:
        try:
            self._follow_policy()
            now = self._times.steady()
            current = self._current(now)
        except LogUnavailableError as error:  # not a leaf yet, or the store fails: others tell that
            _log.debug("nothing_to_witness", detail=error.detail)
            return
        for name, member in self._circle.members.items():
            if current.wants(name) and member.admits(now):
                self._circle.start(member, self._ask(member, current))

    def _current(self, now: float) -> Round:
        """The round that runs: the one so far, or a new one where that is over."""
        current = self._round
        if current is None or self._is_over(current, now):
            current = self._round = Round(self._tree.head(), now)
        return current

    def _is_over(self, current: Round, now: float) -> bool:
        lasted = now - current.began
        if lasted < self._times.interval:
            return False
        if self._tree.head().checkpoint == current.head.checkpoint:  # also a standing head may be signed anew
            return lasted >= RENEW_SECONDS
        others = [member for name, member in self._circle.members.items() if current.wants(name)]
        is_hopeless = not any(member.would_admit(now) for member in others)
        return current.is_witnessed or is_hopeless or lasted >= ROUND_SECONDS

    def _follow_policy(self) -> None:
        """Ask those whom the policy names now, and call witnessed only what it accepts."""
        if self._generation == self._policy.generation:
            return
        self._generation, policy = self._policy.generation, self._policy.value
        self._circle.follow(policy, self.witnessed())
        self._traffic.follow(self._circle.members)
        self._round = None
        if self._witnessed is not None and not policy.judge(self._witnessed.head.checkpoint.encode()).is_witnessed:
            self._witnessed = None
        _log.info("witnesses", asked=len(self._circle.members), quorum=policy.quorum is not None)

    async def _ask(self, member: Member, current: Round) -> None:
        """Have one witness cosign a round's head, and see what that makes of it."""
        try:
            signature = await member.link.cosign(current.head)
            member.breaker.succeed()
            if signature is None:
                current.beyond.add(member.name)
            elif self._circle.has(member):
                current.signatures[member.name] = signature
                self._traffic.cosigned(member.name)
                await self._count(current)
        except HeyanError as error:
            self._alarms.failed(member.name, error)
            member.failed(self._times.steady(), error.retry_after)
        except Exception as error:  # noqa: BLE001 - a fault of ours with one witness must not end the others
            _log.error("witness_failed", witness=member.name, kind=type(error).__name__, place=place_of(error))
            member.failed(self._times.steady(), None)
        finally:
            member.task = None
        self._step()  # it may join the round that runs by now

    async def _count(self, current: Round) -> None:
        """See whether a round's head is witnessed by now; durable before it is told."""
        head = current.dressed()
        judgement = self._policy.value.judge(head.checkpoint.encode())
        if not judgement.is_witnessed:
            if judgement.is_met and not judgement.is_logged:
                _log.error("policy_names_no_key_of_the_log", origin=self._identity.origin)
            return
        async with self._keeping:
            current.is_witnessed = True
            known = self._witnessed.head if self._witnessed is not None else None
            is_late = current is not self._round
            if known is not None and (known.size > head.size or (known.size == head.size and is_late)):
                return
            try:
                await asyncio.to_thread(write_atomic, self._file, head.checkpoint.encode())
            except OSError as error:
                _log.error("witnessed_head_not_kept", kind=type(error).__name__)
                return
            self._tell(WitnessedHead(head, self._times.clock()))

    def _tell(self, witnessed: WitnessedHead) -> None:
        self._witnessed = witnessed
        if not witnessed.head.ended:
            self._traffic.size.set(witnessed.head.size)
        self._wake()

    def _wake(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
