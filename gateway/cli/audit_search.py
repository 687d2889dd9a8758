"""`heyan audit search`: find leaves, each with the proof that the log holds it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from cyclopts import Parameter, validators
from rich.console import Console

from gateway.audit.leaf_rows import Mark
from gateway.cli.exit_codes import EXIT_REFUSED
from gateway.cli.json_output import print_json
from gateway.cli.leaf_files import write_leaf
from gateway.cli.log_sources import NO_OPTIONS, LogOptions, LogPlace, OpenedLog, Options, open_log
from gateway.cli.options import JsonOption, Switch, require_writable, usage_error
from gateway.cli.printing import printable
from gateway.cli.progress import counting
from gateway.party.keyfiles import read_public
from gateway.protocol.beijing import BEIJING
from gateway.protocol.checkpoint import Checkpoint, open_checkpoint
from gateway.protocol.digests import DIGEST_BYTES
from gateway.protocol.errors import BadDataError
from gateway.protocol.identities import TRUST_DOMAIN, Identity, PartyRole
from gateway.protocol.leaf import Tags
from gateway.protocol.note import encode_base64
from gateway.protocol.presentation import read_signed_query
from gateway.protocol.query import read_query
from gateway.protocol.receipt_file import receipt_from_json
from gateway.search.hits import ProvenHit, hit_row, hits_csv, prove, shown_time, update
from gateway.search.index import LogIndex, Wanted
from gateway.static_log.tile_source import TileSource

MOST = 10_000
"""Hits of one search: each is fetched and proven."""


@dataclass(frozen=True, slots=True)
class _Found:
    checkpoint: Checkpoint
    note: str
    matching: int
    unreadable: int
    hits: list[ProvenHit]


def search(  # noqa: PLR0913 - each is an option of the command
    place: LogPlace = None,
    *,
    log: Options = NO_OPTIONS,
    index: Path | None = None,
    rebuild: Switch = False,
    first: Annotated[str | None, Parameter(name="--from")] = None,
    end: Annotated[str | None, Parameter(name="--to")] = None,
    event: str = "",
    requester: str = "",
    department: str = "",
    actor: str = "",
    claim: str = "",
    region: str = "",
    status: str = "",
    reason: str = "",
    grant: str = "",
    receipt: Path | None = None,
    limit: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=MOST))] = 100,
    csv: Path | None = None,
    out: Path | None = None,
    as_json: JsonOption = False,
) -> int:
    """Find what a log says of a requester, department, claim, region, reason, time or consent, each hit proven.

    Reads the leaves that its index does not have yet, holds them against the newest checkpoint, then searches. Each hit
    comes with its leaf and inclusion proof, fetched from the log and verified. The index is a file of yours; it
    is derived from the log and can be made anew. Exit code 1 if the log is not what it was, or a leaf cannot be read.

    Examples: `heyan audit search --dir run --auditor auditor --department land-4301 --status UNAVAILABLE`,
    `heyan audit search --dir run --auditor auditor --receipt receipt.json --out proofs`,
    `heyan audit search exported --vkey heyan.sandbox/log+c0ffee00+AWFi… --index log.db --reason GRANT_REVOKED --json`

    Parameters
    ----------
    place
        URL (https://…) or folder of a static log; that of --dir if left out.
    index
        The index's file; with --dir, by default, in the auditor's folder.
    rebuild
        Forget the index and make it anew from the log.
    first
        From this day or time on: YYYY-MM-DD in Beijing, or as in 2027-06-01T08:00:00+08:00.
    end
        Until before this day or time.
    event
        Such as verification, refusal, offline_ticket, dispute, revocation, evidence_access, erasure.
    requester
        Id or SPIFFE ID of a requester.
    department
        Id or SPIFFE ID of a department node.
    actor
        SPIFFE ID of anybody else who acted: an issuer, an auditor, a gateway.
    claim
        Name of a claim, with its version or without.
    region
        GB/T 2260 code of a county, or its first digits.
    status
        How a check ended: ANSWERED, REFUSED, UNAVAILABLE, WITHHELD, CONTRADICTED, DEFERRED.
    reason
        A reason of the contract, a ground, or the reference of a case.
    grant
        Pseudonym of a consent in this log, 64 hexadecimal digits.
    receipt
        A receipt: finds everything that the log says of its query and consents.
    limit
        Show so many leaves at most.
    csv
        Write the hits with leaf and proof for a spreadsheet.
    out
        Write each leaf and its C2SP tlog-proof into this folder, for other tools.
    """
    if requester and actor:
        raise usage_error("--actor", "cannot be given with --requester: both name who acted")
    require_writable(csv, "--csv")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    wanted = Wanted(
        start=_moment(first, "--from"),
        end=_moment(end, "--to"),
        event=event,
        actor=_uri(PartyRole.REQUESTER, requester) or actor,
        department=_uri(PartyRole.DEPARTMENT, department),
        claim=claim,
        region=region,
        status=status.upper(),
        reason=reason,
        marks=(*_grant(grant), *_of_receipt(receipt)),
    )
    opened = open_log(place, log)
    file = index or index_beside(log, opened.origin)
    if rebuild:
        for name in ("", "-wal", "-shm"):
            file.with_name(file.name + name).unlink(missing_ok=True)
    found = asyncio.run(_search(opened, file, wanted, limit))
    if csv is not None:
        csv.write_text(hits_csv(found.hits), encoding="utf-8", newline="")
    if out is not None:
        for item in found.hits:
            write_leaf(out, item.hit.index, item.leaf, item.proof)
    if as_json:
        print_json(_document(found))
    else:
        _print(found)
    return EXIT_REFUSED if found.unreadable else 0


def index_beside(options: LogOptions, origin: str) -> Path:
    """Where the index of a log lies if no file is named: in the auditor's folder of a federation."""
    if options.folder is None:
        raise usage_error("--index", "must name the index's file, unless --dir names a federation")
    return options.folder / "auditors" / options.auditor / f"log-index-{quote(origin, safe='')}.db"


async def _search(opened: OpenedLog, file: Path, wanted: Wanted, limit: int) -> _Found:
    async with opened.source as source:
        note = (await source.checkpoint()).decode(errors="replace")
        checkpoint = opened.open(note.encode())
        with closing(LogIndex(file, checkpoint.origin)) as index:
            await _update(index, source, checkpoint, note)
            # A key that was retired or compromised before the newest leaf proves nothing of it.
            open_checkpoint(note.encode(), opened.verifiers(index.newest_time()), checkpoint.origin)
            hits = index.search(wanted, limit)
            matching, unreadable = index.count(wanted), index.unreadable()
        return _Found(checkpoint, note, matching, unreadable, await prove(source, checkpoint, note, hits))


async def _update(index: LogIndex, source: TileSource, checkpoint: Checkpoint, note: str) -> None:
    with counting("leaves 条目") as tell:
        tell(index.size, checkpoint.size)
        async for size in update(index, source, checkpoint, note):
            tell(size, checkpoint.size)


def _moment(text: str | None, option: str) -> float | None:
    """Seconds since the epoch of a Beijing day or of a time with its offset."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise usage_error(option, "must be YYYY-MM-DD, or as in 2027-06-01T08:00:00+08:00") from None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=BEIJING)).timestamp()


def _uri(role: PartyRole, name: str) -> str:
    return Identity(role, name).uri if name and not name.startswith("spiffe://") else name


def _grant(text: str) -> tuple[tuple[Mark, bytes], ...]:
    if not text:
        return ()
    try:
        tag = bytes.fromhex(text)
    except ValueError:
        tag = b""
    if len(tag) != DIGEST_BYTES:
        raise usage_error("--grant", f"must be {2 * DIGEST_BYTES} hexadecimal digits")
    return ((Mark.GRANT, tag),)


def _of_receipt(file: Path | None) -> tuple[tuple[Mark, bytes], ...]:
    """The pseudonyms of a receipt's query, consents and tickets in this log; it is not judged here."""
    if file is None:
        return ()
    text = read_public(file).decode(errors="replace")
    try:
        receipt = receipt_from_json(text)
        signed = read_signed_query(receipt.query)
        query, tags = read_query(signed.query), Tags(receipt.leaf_key)
    except BadDataError:
        raise usage_error("--receipt", f"{file} is no receipt") from None
    return (
        (Mark.QUERY, tags.query(signed.digest)),
        *((Mark.GRANT, tags.grant(grant)) for grant in query.grant_digests),
    )


def _document(found: _Found) -> dict[str, Any]:
    checkpoint = found.checkpoint
    return {
        "log": {
            "origin": checkpoint.origin,
            "size": checkpoint.size,
            "root": encode_base64(checkpoint.root),
            "checkpoint": found.note,
        },
        "matching": found.matching,
        "unreadable": found.unreadable,
        "hits": [hit_row(item) for item in found.hits],
    }


def _print(found: _Found) -> None:
    console = Console()
    for line in (line for item in found.hits for line in _lines(item)):
        console.print(printable(line), markup=False, highlight=False, soft_wrap=True)
    left = found.matching - len(found.hits)
    more = f"; {left} more: --limit, --json, --csv" if left else ""
    told = f"{found.matching} leaves match 条目, {len(found.hits)} shown{more} (Beijing time 北京时间)"
    console.print(told, markup=False, soft_wrap=True)
    size, root = found.checkpoint.size, encode_base64(found.checkpoint.root)
    console.print(
        f"each proven in {printable(found.checkpoint.origin)}, tree of {size}, root {root}, as signed 均已验证",
        markup=False,
        soft_wrap=True,
    )
    if found.unreadable:
        console.print(f"{found.unreadable} leaves cannot be read: update heyan", markup=False)


def _lines(item: ProvenHit) -> Iterator[str]:
    """A leaf, and below it how its checks ended; those that ended alike on one line."""
    rows = item.hit.rows
    actor = _short(rows[0].actor) if rows else ""
    yield f"leaf {item.hit.index}  {_shown_time(item)}  {item.hit.event}  {actor}".rstrip()
    counts: Counter[tuple[str, ...]] = Counter()
    for row in rows:
        department = _short(row.department).removeprefix(f"{PartyRole.DEPARTMENT.value}/")
        counts[row.status, row.reason, department, row.claim, row.region] += row.count
    for words, count in counts.items():
        told = "  ".join(filter(None, (*words, f"× {count}" if count > 1 else "")))
        if told:
            yield f"  {told}"


def _short(uri: str) -> str:
    return uri.removeprefix(f"spiffe://{TRUST_DOMAIN}/")


def _shown_time(item: ProvenHit) -> str:
    return (shown_time(item.hit) or "")[:19].replace("T", " ")  # Beijing time, without fraction and offset
