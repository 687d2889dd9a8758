"""`heyan audit reconcile`: a gateway's log held against what departments, requesters and others have of it."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from gateway.audit.reconciliation import ALLOWED, Reconciling
from gateway.cli.endpoints import Auditor, open_auditor, read_endpoints
from gateway.cli.exit_codes import EXIT_REFUSED
from gateway.cli.json_output import print_json
from gateway.cli.log_sources import NO_OPTIONS, LogOptions, Options
from gateway.cli.options import JsonOption, SeveralFiles, usage_error
from gateway.cli.progress import Tell, counting
from gateway.cli.reconcile_evidence import keeping, write_evidence
from gateway.cli.reconcile_inputs import Journals, Shown, read_checkpoints, read_journals, read_receipts
from gateway.cli.reconcile_logs import GatewayLogs, known_logs, open_logs, require_current_signature
from gateway.cli.reconcile_print import Told, document_of, print_told
from gateway.cli.sandbox_journals import export_all
from gateway.cli.trusted_registry import operator_of, trusted_registry
from gateway.protocol.identities import Identity, PartyRole
from gateway.protocol.keys import PublicKey
from gateway.protocol.merkle import leaf_hash
from gateway.protocol.registry import Registry


@dataclass(frozen=True, slots=True)
class _Trust:
    """By whom signatures are judged, and whose log it is."""

    registry: Registry
    operator: PublicKey
    gateway: str
    auditor: Auditor | None


@dataclass(frozen=True, slots=True)
class _Asked:
    """Which logs are read, and how: `copied` is when a copy was made, `out` where evidence goes."""

    places: tuple[str, ...]
    options: LogOptions
    allowed: float
    copied: float | None
    out: Path | None
    are_journals_kept: bool


def reconcile(  # noqa: PLR0913 - each is an option of the command
    *logs: str,
    log: Options = NO_OPTIONS,
    registry: Path | None = None,
    operator_vkey: str | None = None,
    gateway: str | None = None,
    journal: SeveralFiles = (),
    head: SeveralFiles = (),
    receipt: SeveralFiles = (),
    checkpoint: SeveralFiles = (),
    allowed: float = ALLOWED,
    as_of: str | None = None,
    out: Path | None = None,
    as_json: JsonOption = False,
) -> int:
    """Hold a gateway's log against departments' journals, and against checkpoints that others were shown.

    Finds what a department answered and the gateway did not log or acknowledge in time; what the log names and no
    department knows; what the two tell differently; and checkpoints that cannot be of one log. Reads every leaf, and
    the journals before it. Exit code 0 if all agree, 1 if anything does not.

    Examples: `heyan audit reconcile --dir run --auditor auditor`,
    `heyan audit reconcile --dir run --journal journals --receipt receipts --head last-month --out evidence`,
    `heyan audit reconcile exported --registry registry.jws --operator-vkey registry+c0ffee00+AWFi… --journal journals`

    Parameters
    ----------
    logs
        Logs as tiles, each a URL or a folder, the present one or ended ones, instead of asking the gateway.
    registry
        The federation's registry, if not that of --dir.
    operator_vkey
        The operator's key as a C2SP verifier key, if not that of --dir.
    gateway
        Whose log it is, an id or SPIFFE ID; needed if the registry has several and there is no --dir.
    journal
        An export of a node's journal (heyan department journal export), or a folder of them (*.journal). Repeat it for
        more. Without it, those of a sandbox in --dir are exported now.
    head
        An end of a journal that was noted earlier: a file of heyan department journal head, an earlier export, or a
        folder of them (*.head, *.journal).
    receipt
        A receipt that a requester shows, or a folder of them (*.json).
    checkpoint
        A checkpoint that somebody keeps, such as a witness, a monitor or an earlier audit; or a folder of them.
    allowed
        Seconds within which a gateway must log and acknowledge.
    as_of
        When a folder was copied from the log, as in 2027-06-01T08:00:00+08:00; if left out, the time of its last leaf.
    out
        Write each finding into this new folder, with what a third party needs to check it.
    """
    if allowed < 0:
        raise usage_error("--allowed", "must be 0 seconds or more")
    if out is not None and out.exists() and any(out.iterdir()):
        raise usage_error("--out", f"{out} is there already and not empty: name a new folder")
    copied = _time(as_of) if as_of is not None else None
    trust = _trust(log, registry, operator_vkey, gateway)
    with _journals(journal, log.folder, out) as files:
        with counting("journals 部门台账") as tell:
            journals = read_journals(files, head, trust.registry, tell)
        shown = Shown()
        known = known_logs(trust.registry, trust.gateway)
        with counting("receipts 回执") as tell:
            read_receipts(receipt, trust.registry, trust.operator, shown, tell)
        read_checkpoints(checkpoint, known, shown)
        with counting("leaves 条目") as tell:
            asked = _Asked(logs, log, allowed, copied, out, bool(journal) or out is not None)
            told = asyncio.run(_reconcile(asked, trust, journals, shown, tell))
    if as_json:
        print_json(document_of(told))
    else:
        print_told(told)
    return EXIT_REFUSED if told.found else 0


async def _reconcile(asked: _Asked, trust: _Trust, journals: Journals, shown: Shown, tell: Tell) -> Told:
    allowed, out = asked.allowed, asked.out
    async with AsyncExitStack() as stack:
        known = known_logs(trust.registry, trust.gateway)
        logs = await open_logs(known, asked.places, asked.options, trust.auditor, stack)
        hashes = keeping(logs) if out is not None else {}
        under_way = _begin(logs, journals, shown, allowed)
        for seconds in _PATIENCE:
            if logs.is_copy or not under_way.is_behind:
                break
            # Tiles are published a moment after what they hold is acknowledged: no log is said to be cut off for that.
            await _pause(seconds)
            logs = await logs.read_again()
            under_way = _begin(logs, journals, shown, allowed)
        for view, reading in under_way.readings():
            point = view.open(view.checkpoint)
            kept = hashes.get(view.origin)
            async for leaf in logs.opened[view.origin].source.leaves(0, point):
                reading.add(leaf)
                if kept is not None:
                    kept += leaf_hash(leaf)
                if reading.size % _TOLD_EVERY == 0:
                    tell(reading.size, point.size)
            reading.finish(point)
            require_current_signature(view, trust.registry, trust.gateway, under_way.newest_leaf)
        as_of = None
        if logs.is_copy:
            as_of = asked.copied if asked.copied is not None else under_way.newest_leaf
        told = Told(
            trust.gateway, logs, journals, shown, under_way.finish(as_of), allowed, as_of, asked.are_journals_kept
        )
        if out is not None:
            left = await write_evidence(out, told, hashes)
            if left:
                sys.stderr.write(f"{left} findings are in {out / 'reconciliation.json'} only\n")
    return told


def _begin(logs: GatewayLogs, journals: Journals, shown: Shown, allowed: float) -> Reconciling:
    return Reconciling(
        logs.views, journals.views, allowed=allowed, sightings=shown.sightings, disclosures=shown.disclosures
    )


_pause = asyncio.sleep
_PATIENCE = (1.0, 2.0, 4.0)
"""Seconds between looks at a log that seems to be smaller than it was."""
_TOLD_EVERY = 500
"""Leaves between two steps of the progress bar."""


@contextmanager
def _journals(named: tuple[Path, ...], folder: Path | None, out: Path | None) -> Iterator[tuple[Path, ...]]:
    """The journals that were named; or those of a sandbox, exported now: kept beside the evidence, if that is kept."""
    if named:
        yield named
        return
    if folder is None:
        raise usage_error("--journal", "must name the exports of departments")
    if out is not None:
        with counting("journals 部门台账") as tell:
            yield export_all(folder, out / "journals", tell)
        return
    with TemporaryDirectory(prefix="heyan-journals-") as made, counting("journals 部门台账") as tell:
        yield export_all(folder, Path(made), tell)


def _trust(options: LogOptions, registry: Path | None, operator_vkey: str | None, gateway: str | None) -> _Trust:
    operator = operator_of(options.folder, operator_vkey)
    if options.folder is not None:
        auditor = open_auditor(options.folder, options.auditor)
        opened = trusted_registry(options.folder, registry, operator_vkey) if registry else auditor.registry()
        own = Identity(PartyRole.GATEWAY, read_endpoints(options.folder).gateway.id).uri
        named = _gateway(opened, gateway) if gateway is not None else own
        return _Trust(opened, operator, named, auditor if named == own else None)
    opened = trusted_registry(None, registry, operator_vkey)
    return _Trust(opened, operator, _gateway(opened, gateway), None)


def _gateway(registry: Registry, named: str | None) -> str:
    """The gateway of an id or SPIFFE ID; the only one, if none is named."""
    uris = [party.id for party in registry.parties(PartyRole.GATEWAY)]
    found = uris if named is None else [uri for uri in uris if named in (uri, uri.rpartition("/")[2])]
    if len(found) != 1:
        raise usage_error("--gateway", f"must be one of {', '.join(uris)}")
    return found[0]


def _time(text: str) -> float:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None or found.timestamp() > time.time():
        raise usage_error("--as-of", "must be a time that has passed, as in 2027-06-01T08:00:00+08:00")
    return found.timestamp()
