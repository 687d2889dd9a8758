"""What a reconciliation found, as lines grouped by what they prove, or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from gateway.audit.findings import Finding, Reconciliation
from gateway.audit.weights import MEANINGS, TEXTS, WEIGHTS, Weight
from gateway.cli.answers import iso_time
from gateway.cli.printing import printable
from gateway.cli.reconcile_inputs import JournalFinding, Journals, Shown
from gateway.cli.reconcile_logs import GatewayLogs
from gateway.protocol.checkpoint import Checkpoint, unverified_checkpoint
from gateway.protocol.errors import BadDataError
from gateway.protocol.note import encode_base64

_LINES = 10
"""Lines of one kind on the terminal; JSON and --out have all."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """Everything that a reconciliation came to. `as_of` is of a copy of the log, None if the log itself was read."""

    gateway: str
    logs: GatewayLogs
    journals: Journals
    shown: Shown
    result: Reconciliation
    allowed: float
    as_of: float | None
    are_journals_kept: bool
    """Whether the journals' files are still there for whoever reads this."""

    @property
    def found(self) -> tuple[JournalFinding, ...]:
        """All findings with their files, the gravest weight first, kinds together."""
        with_files = [JournalFinding(each, self._files(each)) for each in self.result.findings]
        order = {kind: place for place, kind in enumerate(WEIGHTS)}
        return tuple(sorted((*self.journals.findings, *with_files), key=lambda each: order[each.finding.kind]))

    def _files(self, finding: Finding) -> tuple[str, ...]:
        """The auditor's own files that a finding rests on."""
        notes = [name for note in finding.checkpoints for name in self.shown.files.get(note, ())]
        journals = self.journals.files.get(finding.holder, ()) if self.are_journals_kept else ()
        return tuple(dict.fromkeys((*journals, *notes)))


def row_of(found: JournalFinding) -> Row:
    """One finding for a program to read; digests in hexadecimal, checkpoints as the signed notes."""
    finding = found.finding
    text = TEXTS[finding.kind]
    return {
        "kind": finding.kind.value,
        "weight": WEIGHTS[finding.kind].value,
        "text": {"zh": text.zh, "en": text.en},
        "holder": finding.holder,
        "digest": finding.digest.hex() or None,
        "leaf": finding.index,
        "origin": finding.origin or None,
        "checkpoints": list(finding.checkpoints),
        "files": list(found.files),
        "detail": found.detail or None,
    }


def document_of(told: Told) -> Row:
    """Everything as JSON."""
    rows = [row_of(each) for each in told.found]
    return {
        "agree": not rows,
        "gateway": told.gateway,
        "logs": [_log_row(told.logs, view.origin, view.checkpoint) for view in told.logs.views],
        "as_of": iso_time(told.as_of) if told.as_of is not None else None,
        "allowed_seconds": told.allowed,
        "journals": [
            {
                "department": chain.department,
                "sequence": chain.head.sequence,
                "hash": chain.head.hash.hex(),
                "time": iso_time(chain.head.time),
                "files": [each.name for each in chain.exports],
            }
            for chain in told.journals.chains
        ],
        "receipts": len(told.shown.disclosures),
        "findings": rows,
        "owed": told.result.owed,
        "recovered": told.result.recovered,
        "without_journal": dict(told.result.missing),
        "in_logs_not_read": told.result.elsewhere,
        "younger_than_copy": told.result.early,
    }


def print_told(told: Told) -> None:
    """The same for a person."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    for view in told.logs.views:
        point = _checkpoint(view.checkpoint) if view.checkpoint else None
        size = f"{point.size} leaves, root {encode_base64(point.root)}, as signed" if point else "not read"
        console.print(f"log {view.origin}: {size}")
    entries = sum(chain.head.sequence for chain in told.journals.chains)
    console.print(f"{_count(len(told.journals.chains), 'journal')} of {_count(entries, 'entry', 'entries')}")
    found = told.found
    for weight in Weight:
        of_weight = [each for each in found if WEIGHTS[each.finding.kind] is weight]
        if of_weight:
            console.print(f"{MEANINGS[weight].en} {MEANINGS[weight].zh}:")
            _print_kinds(of_weight, console)
    _print_counts(told, console)
    if found:
        console.print(f"log and journals disagree in {_count(len(found), 'place')} 日志与部门台账不一致")
    else:
        console.print("log and journals agree 日志与部门台账一致")


def _print_kinds(found: Sequence[JournalFinding], console: Console) -> None:
    for kind in dict.fromkeys(each.finding.kind for each in found):
        of_kind = [each for each in found if each.finding.kind is kind]
        console.print(f"  {kind.value} ({len(of_kind)}) {TEXTS[kind].en} {TEXTS[kind].zh}")
        for each in of_kind[:_LINES]:
            console.print(f"    {_line(each)}")
        if len(of_kind) > _LINES:
            console.print(f"    … and {len(of_kind) - _LINES} more: --json or --out")


def _line(found: JournalFinding) -> str:
    finding = found.finding
    parts = [finding.holder]
    if finding.index is not None:
        parts.append(f"leaf {finding.index}" + (f" of {finding.origin}" if finding.origin else ""))
    if finding.digest:
        parts.append(f"digest {finding.digest.hex()}")
    parts += [
        f"checkpoint of {point.size}, root {encode_base64(point.root)}" if point else "unreadable note"
        for point in map(_checkpoint, finding.checkpoints)
    ]
    if found.detail:
        parts.append(found.detail)
    if found.files:
        parts.append(f"in {', '.join(found.files)}")
    return printable("; ".join(parts))


def _print_counts(told: Told, console: Console) -> None:
    result = told.result
    console.print(f"{_count(result.owed, 'statement')} owed still, {result.recovered} logged as recovered")
    if result.missing:
        count = sum(result.missing.values())
        names = ", ".join(sorted(name.rpartition("/")[2] for name in result.missing))
        console.print(f"not compared: {_count(count, 'statement')} of departments without a journal here: {names}")
    if result.elsewhere:
        console.print(f"not compared: {_count(result.elsewhere, 'statement')} in logs that were not read")
    if result.early:
        console.print(f"not compared: {_count(result.early, 'statement')} younger than this copy of the log")


def _log_row(logs: GatewayLogs, origin: str, note: str) -> Row:
    point = _checkpoint(note) if note else None
    opened = logs.opened.get(origin)
    return {
        "origin": origin,
        "read": point is not None,
        "place": opened.place if opened else None,
        "size": point.size if point else None,
        "root": encode_base64(point.root) if point else None,
        "checkpoint": note or None,
    }


def _checkpoint(note: str) -> Checkpoint | None:
    """What a note says, whoever signed it; None for what is no checkpoint, as a department may have been shown."""
    try:
        return unverified_checkpoint(note)
    except BadDataError:
        return None


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
