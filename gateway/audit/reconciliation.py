"""Reconciling the log with the journals of departments: what one of them says and the other does not.

A gateway must log every statement that a department signed for it, and show the department where. So whatever a
journal holds for longer than `allowed` stands in the log, is acknowledged by a leaf that really names it, and under a
checkpoint of this very tree; and whatever the log ascribes to a department stands in its journal. Each way in which
that fails is a `Disagreement`, with the leaf and digests that show it.

What crashes leave behind is none: a statement may be logged as recovered, or several times; a batch may be signed,
sent or acknowledged more than once, or still be owed within its time. The journals must be read before the log.

A log that ended and the one that goes on from it are read as one: a statement counts in either. Erasures take nothing
from the leaves, and a restored store excuses nothing: what departments stated must still be logged.

What it proves: a checkpoint is the gateway's signed word, so FORKED, REUSED, WITHDRAWN, AFTER_END and MISJOINED convict
whoever signed it; REINSTATED points at the grant's issuer. UNLOGGED, UNKNOWN, MISREPORTED and WRONG_LEAF show that
gateway or department lies: the statement itself, which the department signed and one of them must be able to show, says
which. CONTESTED is a fork that a thief of a compromised key may have signed.
CUT_OFF asks the gateway for the rest of its log, and convicts it before those who saw that there is none.
DROPPED shows that whoever made or held the receipt left paper out of it. SUPPRESSED, NOT_BROUGHT, MISDATED and
BACKWARDS ask for an explanation: a broken stream or a clock that was set may be one. `weights` says this to people.

Nothing here reads a clock, a file or a network, and nothing here tells who a subject is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from gateway.audit.findings import Disagreement, Disclosure, Reconciliation
from gateway.audit.journal_audit import JournalAudit
from gateway.audit.journals import AcknowledgementRefused, BatchAcknowledged, JournalView
from gateway.audit.log_index import LeafPlace, LogReading
from gateway.audit.log_view import LogView, Sighting
from gateway.audit.logs import Logs

ALLOWED = 86_400.0
"""Seconds for which a gateway may owe a batch: a node stops serving one that owes for longer."""

ORDER_TOLERANCE = 60.0
"""Seconds by which leaves may run backwards in time: entries of several replicas wait for one writer."""


class Reconciling:
    """Journals, checkpoints that others hold, and queries that requesters disclose, held against a gateway's logs.

    Every log with a checkpoint is read, in order, through `readings`: for each, its leaves are added and it is
    finished; then `finish` tells what was found. Journals are gone through before and after that, one at a time.

    `as_of` is set for logs that are copies: whatever was stated less than `allowed` seconds before that time, or was
    acknowledged under a larger log than the copy, is not looked for in it. Without it, the logs must have been read
    after the journals.
    """

    def __init__(
        self,
        logs: Sequence[LogView],
        journals: Iterable[JournalView],
        *,
        allowed: float = ALLOWED,
        sightings: Iterable[Sighting] = (),
        disclosures: Iterable[Disclosure] = (),
    ) -> None:
        self._journals = tuple(journals)
        self._allowed = allowed
        self._logs = Logs(logs)
        shown = (item for view in self._journals for item in _shown_to(view, self._logs))
        self._seen = tuple(dict.fromkeys((*sightings, *shown)))
        self._logs.look_at(sighting.checkpoint for sighting in self._seen)
        self._disclosed = tuple(disclosures)
        self._tags = {disclosure.query_tag: disclosure.query_digest for disclosure in self._disclosed}

    @property
    def is_behind(self) -> bool:
        """Whether somebody holds a checkpoint of a larger log than is about to be read."""
        return any(max(self._logs.sizes(view.origin), default=0) > _size(view) for view in self._logs.read)

    @property
    def newest_leaf(self) -> float:
        """The latest time that a leaf bears, of those that were read."""
        return self._logs.index.latest

    def readings(self) -> Iterator[tuple[LogView, LogReading]]:
        """The logs to read, one after the other.

        Raises BadDataError if a log's own checkpoint is not signed by it.
        """
        departments = frozenset(view.department for view in self._journals)
        for view in self._logs.read:
            checkpoint = view.open(view.checkpoint)
            yield (
                view,
                LogReading(
                    self._logs.index,
                    view.origin,
                    departments=departments,
                    sizes={*self._logs.sizes(view.origin), checkpoint.size},
                    query_tags=self._tags,
                    tolerance=ORDER_TOLERANCE,
                ),
            )

    def finish(self, as_of: float | None = None) -> Reconciliation:
        """All findings. Ages are counted to when each journal was read."""
        logs, index = self._logs, self._logs.index
        findings = [*logs.of_checkpoints(self._seen), *logs.of_shards()]
        findings += [logs.finding(Disagreement.BACKWARDS, place) for place in index.backwards]
        findings += [logs.finding(Disagreement.WITHDRAWN, place) for place in index.after_withdrawal]
        findings += [logs.finding(Disagreement.DROPPED, place) for place in self._dropped()]
        owed = recovered = elsewhere = early = 0
        for view in self._journals:
            audit = JournalAudit(view, logs, self._allowed, as_of)
            findings += [*audit.of_batches(), *audit.of_leaves(), *audit.of_withdrawals(), *audit.of_gaps(self._tags)]
            findings += audit.of_disputes()
            owed += audit.owed
            recovered += audit.recovered
            elsewhere += audit.elsewhere
            early += audit.early
            del audit  # one journal at a time: each is about as large as its part of the log
        return Reconciliation(tuple(findings), owed, recovered, dict(index.others), elsewhere, early)

    def _dropped(self) -> Iterator[LeafPlace]:
        """Leaves of offline tickets that stood in the tree of a receipt of their query, which does not show them."""
        numbers = {log.origin: number for number, log in enumerate(self._logs.index.logs)}
        for disclosure in self._disclosed:
            for number, leaf in self._logs.index.paper.get(disclosure.query_tag, ()):
                of_this_log = number == numbers.get(disclosure.origin or self._logs.newest)
                if of_this_log and leaf < disclosure.size and leaf not in disclosure.leaves:
                    yield number, leaf


def reconcile(
    log: LogView,
    journals: Iterable[JournalView],
    *,
    allowed: float = ALLOWED,
    sightings: Iterable[Sighting] = (),
    disclosures: Iterable[Disclosure] = (),
) -> Reconciliation:
    """Hold journals, checkpoints that others hold, and queries that requesters disclose against one log at hand.

    Raises ForgedError if the leaves are not those of the log's checkpoint, MalformedError if a leaf cannot be read.
    """
    return reconcile_logs((log,), journals, allowed=allowed, sightings=sightings, disclosures=disclosures)


def reconcile_logs(
    logs: Sequence[LogView],
    journals: Iterable[JournalView],
    *,
    allowed: float = ALLOWED,
    sightings: Iterable[Sighting] = (),
    disclosures: Iterable[Disclosure] = (),
    as_of: float | None = None,
) -> Reconciliation:
    """The same of a gateway's logs, the oldest first. See `Reconciling` for `as_of`."""
    under_way = Reconciling(logs, journals, allowed=allowed, sightings=sightings, disclosures=disclosures)
    for view, reading in under_way.readings():
        for data in view.leaves:
            reading.add(data)
        reading.finish(view.open(view.checkpoint))
    return under_way.finish(as_of)


def _size(view: LogView) -> int:
    return view.open(view.checkpoint).size


def _shown_to(view: JournalView, logs: Logs) -> Iterator[Sighting]:
    """The checkpoints that a department was shown, also in acknowledgements that it did not take."""
    for entry in view.entries:
        if isinstance(entry, (BatchAcknowledged, AcknowledgementRefused)) and entry.gateway in logs.gateways:
            yield Sighting(view.department, entry.checkpoint)
