"""What a monitor makes of each leaf: the rules, without I/O or clock. The same leaves give the same alarms, always.

    order        what must hold of leaves one after another (`gateway.audit.leaf_order`), and none is of the future
    rates        verifications by requester, refusals by reason (`rates`)
    windows      verifications for enrolment while no window of the county is open
    notices      looks at evidence, erasures, restores, the end of the log

Outside a window is a verification for enrolment (by its purpose, or by the rules that it names) that is not

- within CLOSING_GRACE of one: what was asked at the last minute is logged after it;
- of a query that was deferred before: it was asked in time, and is answered when its department is back;
- what a corrected dispute lets be asked once more: each resolution lets one answer of its department pass.

What happens again and again is told once an hour of log time, with how often it happened meanwhile. An alarm is known
by the leaf that raised it, so that reading that leaf again raises the same alarm.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.audit.leaf_order import LeafOrder, Unsound
from gateway.monitor.alarms import Alarm, Kind
from gateway.monitor.rates import SlidingCounts
from gateway.monitor.rules import PERIODS, Rules, WindowsOf
from gateway.protocol.leaf import CheckStatus, log_time
from gateway.protocol.limits import EARLY_TOLERANCE, MAX_QUERY_LIFETIME, SEALING_KEY_LIFETIME
from gateway.protocol.matrix import PURPOSE_ENROLMENT
from heyan.v1 import log_pb2

CLOSING_GRACE = MAX_QUERY_LIFETIME + 60.0
"""Seconds after a window in which what was asked within it may be logged: a query's life, and as long to settle it."""
DEFERRED_FOR = SEALING_KEY_LIFETIME + 86_400.0
"""Seconds for which a deferred query is remembered: none outlives the keys that its subjects are sealed to."""
QUIET = 3_600.0
"""Seconds of log time for which the same is not told again."""
AHEAD_TOLERANCE = EARLY_TOLERANCE + 60.0
"""Seconds by which a leaf's time may lie ahead of the monitor's clock."""
MAX_DEFERRED = 200_000
"""Deferred queries that are remembered, about 150 bytes each, the earliest forgotten first."""
MAX_QUIET = 10_000
"""Things that are told apart for quiet; beyond it, kinds of alarms are."""
TAG_BYTES = 16
"""Of a query's tag: enough to know it again."""


@dataclass(slots=True)
class _Quiet:
    until: float
    more: int = 0


@dataclass(slots=True)
class Watcher:
    """Watches the leaves of `origin` in their order. `windows_of` is None if nobody knows the counties' windows."""

    origin: str
    rules: Rules
    windows_of: WindowsOf | None = None
    order: LeafOrder = field(default_factory=LeafOrder)
    _rates: dict[str, SlidingCounts] = field(default_factory=dict)
    _quiet: dict[str, _Quiet] = field(default_factory=dict)
    _deferred: dict[bytes, float] = field(default_factory=dict)
    _new_deferred: dict[bytes, float] = field(default_factory=dict)
    _reasked: Counter[str] = field(default_factory=Counter)

    def read(self, index: int, data: bytes, now: float) -> list[Alarm]:
        """What leaf `index` gives rise to. `now` is the monitor's clock, in seconds since the epoch."""
        leaf, unsound = self.order.read(index, data)
        alarms = [alarm for each in unsound for alarm in self._unsound(each, now)]
        if leaf is None:
            return alarms
        time = log_time(leaf)
        if time > now + AHEAD_TOLERANCE:
            facts = {"entry": index, "seconds": int(time - now)}
            alarms += self._tell(Kind.LEAF_AHEAD, "", str(index), time, now, facts)
            # A leaf of the future must not make all that follow look late, nor empty every window of counting.
            self.order.latest = min(self.order.latest, now)
            time = now
        event = leaf.WhichOneof("event")
        if event == "verification":
            alarms += self._verification(index, leaf.verification, time, now)
        elif event == "refusal":
            refusal = leaf.refusal
            alarms += self._refused(index, refusal.peer, Counter({refusal.reason: 1}), time, now)
        elif event == "refusal_summary":
            counts: Counter[str] = Counter()
            for row in leaf.refusal_summary.counts:
                counts[row.reason] += row.count
            alarms += self._refused(index, leaf.refusal_summary.peer, counts, time, now)
        elif event == "resolution":
            self._reasked[leaf.resolution.department] += 1
        else:
            alarms += self._notice(index, leaf, now)
        return alarms

    # -- what is wrong with a leaf -------------------------------------------------------------------------------

    def _unsound(self, unsound: Unsound, now: float) -> list[Alarm]:
        facts = {"entry": unsound.index, "detail": unsound.detail}
        return self._tell(Kind[unsound.wrong.name], "", str(unsound.index), self.order.latest, now, facts)

    def _tell(self, kind: Kind, about: str, key: str, time: float, now: float, facts: Mapping[str, Any]) -> list[Alarm]:
        """An alarm, unless the same kind about the same was raised less than QUIET ago."""
        time = min(time, now)  # a leaf of the future must not keep everything quiet until then
        name = f"{kind.value} {about}" if len(self._quiet) < MAX_QUIET else kind.value
        quiet = self._quiet.get(name)
        if quiet is not None and time < quiet.until:
            quiet.more += 1
            return []
        self._quiet = {each: held for each, held in self._quiet.items() if held.until > time or held.more}
        self._quiet[name] = _Quiet(time + QUIET)
        more = {"untold_before": quiet.more} if quiet is not None and quiet.more else {}
        return [Alarm(self.origin, kind, key, now, {**facts, **more})]

    # -- rates -----------------------------------------------------------------------------------------------------

    def _counts(self, name: str, per: str) -> SlidingCounts:
        return self._rates.setdefault(name, SlidingCounts(PERIODS[per]))

    def _verification(self, index: int, event: log_pb2.VerificationEvent, time: float, now: float) -> list[Alarm]:
        alarms = []
        for limit in self.rules.limits_of(event.requester):
            count = self._counts(limit.name, limit.per).add(event.requester, time, 1, limit.at_most)
            if count is not None:
                facts = {"requester": event.requester, "count": count, "at_most": limit.at_most, "per": limit.per}
                key = f"{limit.name} {index}"
                alarms.append(Alarm(self.origin, Kind.QUERY_RATE, key, now, {"entry": index, **facts}))
        if self.windows_of is not None and self.rules.outside_windows:
            alarms += self._window(index, event, time, now)
        return alarms

    def _refused(self, index: int, peer: str, reasons: Mapping[str, int], time: float, now: float) -> list[Alarm]:
        alarms = []
        for limit in self.rules.refusals:
            amount = sum(n for reason, n in reasons.items() if not limit.reasons or reason in limit.reasons)
            if not amount:
                continue
            about = peer if limit.each_peer else ""
            count = self._counts(limit.name, limit.per).add(about, time, amount, limit.at_most)
            if count is not None:
                facts = {"peer": peer, "count": count, "at_most": limit.at_most, "per": limit.per}
                if limit.reasons:
                    facts["reasons"] = ",".join(limit.reasons)
                key = f"{limit.name} {index}"
                alarms.append(Alarm(self.origin, Kind.REFUSALS, key, now, {"entry": index, **facts}))
        return alarms

    # -- windows ---------------------------------------------------------------------------------------------------

    def _window(self, index: int, event: log_pb2.VerificationEvent, time: float, now: float) -> list[Alarm]:
        tag = bytes(event.query_tag[:TAG_BYTES])
        is_known = self._deferred.get(tag, 0.0) > time
        if not is_known and any(row.status == CheckStatus.DEFERRED.value for row in event.checks):
            self._remember(tag, time + DEFERRED_FOR)
        if event.purpose != PURPOSE_ENROLMENT and not event.rules_digest:
            return []
        regions = sorted({row.region for row in event.checks})
        if is_known or any(self._is_open(region, time) for region in regions) or self._is_asked_again(event):
            return []
        about = ",".join(regions)
        facts = {"entry": index, "region": about, "requester": event.requester, "log_time": int(time)}
        return self._tell(Kind.OUTSIDE_WINDOW, about, str(index), time, now, facts)

    def _remember(self, tag: bytes, until: float) -> None:
        if len(self._deferred) >= MAX_DEFERRED:
            del self._deferred[next(iter(self._deferred))]
        self._deferred[tag] = self._new_deferred[tag] = until

    def _is_open(self, region: str, time: float) -> bool:
        windows = self.windows_of(region) if self.windows_of is not None else ()
        return any(
            window.opens.timestamp() - EARLY_TOLERANCE <= time < window.closes.timestamp() + CLOSING_GRACE
            for window in windows
        )

    def _is_asked_again(self, event: log_pb2.VerificationEvent) -> bool:
        """Whether every check may be one that a corrected dispute lets be asked once more; an answer uses that up."""
        departments = Counter(row.department for row in event.checks)
        if any(self._reasked[department] < count for department, count in departments.items()):
            return False
        for row in event.checks:
            if CheckStatus(int(row.status)).spends:
                self._reasked[row.department] -= 1
        return True

    # -- notices ---------------------------------------------------------------------------------------------------

    def _notice(self, index: int, leaf: log_pb2.LogLeaf, now: float) -> list[Alarm]:
        kind: Kind | None = None
        facts: dict[str, Any] = {"entry": index}
        if leaf.HasField("evidence_access") and self.rules.evidence_accesses:
            kind = Kind.EVIDENCE_ACCESSED
            facts |= {"auditor": leaf.evidence_access.auditor, "case": leaf.evidence_access.case_reference}
        elif leaf.HasField("erasure") and self.rules.erasures:
            kind = Kind.EVIDENCE_ERASED
            ground = log_pb2.ErasureGround.Name(leaf.erasure.ground).removeprefix("ERASURE_GROUND_")
            facts |= {"ground": ground, "grants": len(leaf.erasure.grant_tags)}
        elif leaf.HasField("restore") and self.rules.restores:
            kind = Kind.RESTORED
            facts |= {"backup_size": leaf.restore.backup_size, "restored_size": leaf.restore.restored_size}
        elif leaf.HasField("shard_end"):
            kind = Kind.LOG_ENDED
            facts |= {"next_origin": leaf.shard_end.next_origin}
        return [] if kind is None else [Alarm(self.origin, kind, str(index), now, facts)]

    # -- what is kept ----------------------------------------------------------------------------------------------

    def document(self) -> dict[str, Any]:
        """All that must be kept to go on with the next leaf but deferred queries, as values of JSON."""
        return {
            "latest": self.order.latest,
            "ended": self.order.ended,
            "rates": {name: counts.document() for name, counts in self._rates.items()},
            "quiet": {name: [quiet.until, quiet.more] for name, quiet in self._quiet.items()},
            "reasked": {name: count for name, count in self._reasked.items() if count},
        }

    def take_deferred(self) -> dict[bytes, float]:
        """The deferred queries that were read since this was last asked: tag, and until when it is remembered."""
        taken, self._new_deferred = self._new_deferred, {}
        return taken

    def restore(self, document: Mapping[str, Any], deferred: Mapping[bytes, float]) -> None:
        """Take up what `document` and `take_deferred` gave. Counts of limits that the rules have no more are dropped.

        Raises ValueError, TypeError, KeyError or AttributeError for anything else.
        """
        self.order.latest, ended = float(document["latest"]), document["ended"]
        self.order.ended = None if ended is None else int(ended)
        self._rates = {
            name: SlidingCounts.read(period, counts)
            for name, counts in document["rates"].items()
            if (period := self.rules.period_of(name)) is not None
        }
        self._quiet = {str(name): _Quiet(float(until), int(more)) for name, (until, more) in document["quiet"].items()}
        self._deferred = dict(deferred)
        self._reasked = Counter({str(name): int(count) for name, count in document["reasked"].items()})
