"""Reconciling the log with the journals of departments: what one of them says and the other does not.

A gateway must log every statement that a department signed for it, and show the department where. So whatever a
journal holds for longer than `allowed` stands in the log, is acknowledged by a leaf that really names it, and under a
checkpoint of this very tree; and whatever the log ascribes to a department stands in its journal. Each way in which
that fails is a `Disagreement`, with the leaf and digests that show it.

What crashes leave behind is none: a statement may be logged as recovered, or several times; a batch may be signed,
sent or acknowledged more than once, or still be owed within its time. The journals must be read before the log.

What it proves: a checkpoint is the gateway's signed word, so WRONG_LEAF, FORKED, CUT_OFF, MISREPORTED, REUSED and
WITHDRAWN convict whoever signed it; REINSTATED points at the grant's issuer. UNLOGGED and UNKNOWN show that gateway or
department lies: the statement itself, which the department signed and one of them must be able to show, says which.
DROPPED shows that whoever made or held the receipt left paper out of it. SUPPRESSED, NOT_BROUGHT, MISDATED and
BACKWARDS ask for an explanation: a broken stream or a clock that was set may be one.

Nothing here reads a clock, a file or a network, and nothing here tells who a subject is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from gateway.audit.findings import Disagreement, Disclosure, Finding, Reconciliation
from gateway.audit.journal_audit import JournalAudit
from gateway.audit.journals import AcknowledgementRefused, BatchAcknowledged, JournalView
from gateway.audit.log_view import LogIndex, LogView, Sighting, forks, read_log
from gateway.protocol.checkpoint import Checkpoint
from gateway.protocol.errors import BadDataError

ALLOWED = 86_400.0
"""Seconds for which a gateway may owe a batch: a node stops serving one that owes for longer."""

ORDER_TOLERANCE = 60.0
"""Seconds by which leaves may run backwards in time: entries of several replicas wait for one writer."""


def reconcile(
    log: LogView,
    journals: Iterable[JournalView],
    *,
    allowed: float = ALLOWED,
    sightings: Iterable[Sighting] = (),
    disclosures: Iterable[Disclosure] = (),
) -> Reconciliation:
    """Hold journals, checkpoints that others hold, and queries that requesters disclose against the log.

    Ages are counted to when each journal was read. Raises ForgedError if the leaves are not those of the log's
    checkpoint, MalformedError if a leaf cannot be read.
    """
    views = tuple(journals)
    seen = (*sightings, *(sighting for view in views for sighting in _shown_to(view, log)))
    checkpoints = {note: _opened(log, note) for note in {sighting.checkpoint for sighting in seen}}
    disclosed = tuple(disclosures)
    tags = {disclosure.query_tag: disclosure.query_digest for disclosure in disclosed}
    index = read_log(
        log,
        departments={view.department for view in views},
        sizes={checkpoint.size for checkpoint in checkpoints.values() if checkpoint is not None},
        query_tags=tags,
        tolerance=ORDER_TOLERANCE,
    )
    findings = [*_of_checkpoints(seen, checkpoints, log, index)]
    findings += [Finding(Disagreement.BACKWARDS, log.origin, index=leaf) for leaf in index.backwards]
    findings += [Finding(Disagreement.WITHDRAWN, log.origin, index=leaf) for leaf in index.after_withdrawal]
    findings += [Finding(Disagreement.DROPPED, log.origin, index=leaf) for leaf in _dropped(disclosed, index)]
    owed = recovered = 0
    for view in views:
        audit = JournalAudit(view, log, index, checkpoints, allowed)
        findings += [*audit.of_batches(), *audit.of_leaves(), *audit.of_withdrawals(), *audit.of_gaps(tags)]
        findings += audit.of_disputes()
        owed += audit.owed
        recovered += audit.recovered
    return Reconciliation(tuple(findings), owed, recovered)


def _dropped(disclosures: Iterable[Disclosure], index: LogIndex) -> Iterator[int]:
    """Leaves of offline tickets that stood in the tree of a receipt of their query, which does not show them."""
    for disclosure in disclosures:
        for leaf in index.paper.get(disclosure.query_tag, ()):
            if leaf < disclosure.size and leaf not in disclosure.leaves:
                yield leaf


def _shown_to(view: JournalView, log: LogView) -> Iterator[Sighting]:
    """The checkpoints that a department was shown, also in acknowledgements that it did not take."""
    for entry in view.entries:
        if isinstance(entry, (BatchAcknowledged, AcknowledgementRefused)) and entry.gateway in log.gateways:
            yield Sighting(view.department, entry.checkpoint)


def _opened(log: LogView, note: str) -> Checkpoint | None:
    try:
        return log.open(note)
    except BadDataError:
        return None  # anybody may write a note: it proves nothing about the log


def _of_checkpoints(
    seen: Iterable[Sighting], checkpoints: Mapping[str, Checkpoint | None], log: LogView, index: LogIndex
) -> Iterator[Finding]:
    """Checkpoints that are not of this tree, each holder's once, and those that contradict each other."""
    once = tuple(dict.fromkeys(seen))
    for sighting in once:
        checkpoint = checkpoints[sighting.checkpoint]
        if checkpoint is None:
            continue
        contradiction = (sighting.checkpoint, log.checkpoint)
        if checkpoint.size > index.size:
            yield Finding(Disagreement.CUT_OFF, sighting.holder, checkpoints=contradiction)
        elif checkpoint.root != index.roots[checkpoint.size]:
            yield Finding(Disagreement.FORKED, sighting.holder, checkpoints=contradiction)
    for one, other in forks(once, log):
        if any(_past(checkpoints[sighting.checkpoint], index) for sighting in (one, other)):
            yield Finding(Disagreement.FORKED, other.holder, checkpoints=(one.checkpoint, other.checkpoint))


def _past(checkpoint: Checkpoint | None, index: LogIndex) -> bool:
    """Whether only another checkpoint, and no leaf, can contradict this one."""
    return checkpoint is not None and checkpoint.size > index.size
