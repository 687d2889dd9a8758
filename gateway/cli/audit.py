"""`heyan audit`: what an auditor reads of a gateway, and holds against its signature."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from gateway.audit.assessment import Assessment, Grouping
from gateway.audit.assessment_csv import write_csv
from gateway.audit.assessment_document import Document, Frame, document_of
from gateway.audit.assessment_page import render_assessment
from gateway.audit.figures import DEFINITIONS
from gateway.auditing import AuditedLog, LogAudit, log_that_grows, window_of
from gateway.cli.audit_evidence import evidence
from gateway.cli.audit_reconcile import reconcile
from gateway.cli.audit_search import search
from gateway.cli.endpoints import Auditor, open_auditor
from gateway.cli.exit_codes import EXIT_REFUSED
from gateway.cli.json_output import print_json
from gateway.cli.options import JsonOption, RequiredFolder, Switch, require_writable, usage_error
from gateway.cli.printing import cell, printable
from gateway.cli.progress import counting
from gateway.party.keyfiles import read_public, write_atomic
from gateway.protocol.beijing import BEIJING
from gateway.protocol.errors import BadDataError
from gateway.protocol.identities import PartyRole
from gateway.protocol.note import encode_base64
from gateway.protocol.reasons import Reason, Text
from gateway.protocol.statistics import beijing_day, read_day

_ROWS = 20
"""Lines on the terminal; the files have all."""

app = App(name="audit")
app.command(search)
app.command(reconcile)
app.command(evidence)


@app.command
def report(  # noqa: PLR0913 - each is an option of the command
    *,
    folder: RequiredFolder,
    auditor: str,
    first: Annotated[str, Parameter(name="--from")],
    end: Annotated[str, Parameter(name="--to")],
    by: Grouping = Grouping.COUNTY,
    csv: Path | None = None,
    html: Path | None = None,
    checkpoint: Path | None = None,
    publish: Switch = False,
    origin: str | None = None,
    as_json: JsonOption = False,
) -> int:
    """Assess counties by what was verified online, deferred, slow, unavailable or not logged; names no person.

    Reads every leaf of the log and the statistics beside it, recomputes the root and holds it against the gateway's
    signature, and counts for itself. Where statistics and log disagree, each row is named and the exit code is 1; a log
    that does not hold at all gives no report. Days are Beijing days; the day of --to is not included.

    Examples: `heyan audit report --dir run --auditor auditor --from 2027-06-01 --to 2027-07-01 --html june.html`,
    `heyan audit report --dir run --auditor auditor --from 2027-06-01 --to 2027-07-01 --by department --json`

    Parameters
    ----------
    folder
        A running federation's folder.
    auditor
        Who reads, an auditor's id of endpoints.json.
    first
        First day, YYYY-MM-DD.
    end
        Day after the last one, YYYY-MM-DD.
    by
        What a line stands for. Outcomes are not kept by requester.
    csv
        Write every figure with numerator and denominator, for a spreadsheet.
    html
        Write one page to read and print, which loads nothing.
    checkpoint
        Remembers how far the log was verified; a log that is no longer the same is refused the next time.
    publish
        For publication: counts below 5 are not shown, others are rounded to the nearest 5.
    origin
        Read this log of the gateway, of those that the registry lists, instead of the one that grows. Of a window
        in which one log ended and another went on, there is a report of each.
    """
    usage = Reason.CONFIGURATION_INVALID
    days = window_of(read_day(first, "--from", usage), read_day(end, "--to", usage))
    for file, option in ((csv, "--csv"), (html, "--html"), (checkpoint, "--checkpoint")):
        if file is not None:
            require_writable(file, option)
    reader = open_auditor(folder, auditor)
    audited = asyncio.run(_read(reader, days, checkpoint, origin))
    assessment = audited.assess(by)
    document = document_of(assessment, _frame(reader, audited, first, end, publish=publish))
    if csv is not None:
        csv.write_text(write_csv(document), encoding="utf-8", newline="")
    if html is not None:
        html.write_text(render_assessment(document), encoding="utf-8")
    if as_json:
        print_json(document)
    else:
        _print(document, assessment)
    return EXIT_REFUSED if assessment.differences or audited.unreadable_count else 0


async def _read(auditor: Auditor, days: tuple[str, ...], file: Path | None, origin: str | None) -> AuditedLog:
    with counting("leaves 条目") as tell:
        async with auditor.reader as reader:
            registry = auditor.registry()
            terms = registry.party_in_role(auditor.gateway.uri, PartyRole.GATEWAY).gateway
            assert terms is not None  # noqa: S101 - the registry's check() ties terms to roles
            if origin is not None and origin not in terms.origins:
                raise usage_error("--origin", f"must be one of {', '.join(terms.origins)}")
            name = origin or await log_that_grows(reader, terms)
            audit = LogAudit(reader.of(name), registry, auditor.gateway.uri, tell, name)
            is_remembered = file is not None and _remember(audit, file)
            try:
                audited = await audit.read(days)
            except BadDataError:
                if file is not None and is_remembered and audit.shown:
                    # The two notes together are what convicts a gateway: both bear its signature.
                    write_atomic(file.with_name(file.name + ".shown"), audit.shown.encode())
                raise
    if file is not None:
        write_atomic(file, audited.note.encode())
    return audited


def _remember(audit: LogAudit, file: Path) -> bool:
    """Have the log held against the checkpoint in `file`, if there is one; whether there is."""
    if not file.exists():
        return False
    try:
        audit.remember(read_public(file).decode())
    except (BadDataError, UnicodeDecodeError):
        description = f"{file} is not a checkpoint that this gateway signed of this log / 不是该网关为此日志签署"
        raise usage_error("--checkpoint", description) from None
    return True


def _frame(auditor: Auditor, audited: AuditedLog, first: str, end: str, *, publish: bool) -> Frame:
    registry, now = auditor.registry(), time.time()
    return Frame(
        first_day=first,
        end_day=end,
        gateway=auditor.gateway.uri,
        origin=audited.checkpoint.origin,
        size=audited.checkpoint.size,
        root=encode_base64(audited.checkpoint.root),
        checkpoint=audited.note,
        registry_version=registry.version,
        generated=datetime.fromtimestamp(now, BEIJING).isoformat(timespec="seconds"),
        is_over=end <= beijing_day(int(now)),
        unreadable=audited.unreadable,
        unreadable_count=audited.unreadable_count,
        names={party.id: Text(party.name.zh, party.name.en) for party in registry.document.parties},
        publish=publish,
    )


def _print(document: Document, assessment: Assessment) -> None:
    console = Console()
    table = Table(title=f"Assessment by {assessment.by} 考核", title_justify="left", box=None, pad_edge=False)
    shown = ("verified_online", "unanswered", "deferred", "availability", "statistics_agree")
    table.add_column("", min_width=14, overflow="fold")
    for column in (f"{DEFINITIONS[name].name.zh}\n{DEFINITIONS[name].name.en}" for name in shown):
        table.add_column(column, overflow="fold")
    lines = document["groups"][:_ROWS]
    for line in (*lines, {**document["total"], "code": "total", "name": "合计"}):
        table.add_row(
            cell(line["code"].rpartition("/")[2], line["name"]), *(_cell(line["figures"][name]) for name in shown)
        )
    console.print(table)
    left = len(document["groups"]) - len(lines)
    if left:
        console.print(f"… and {left} more: --json, --csv or --html", markup=False)
    log, differences = document["report"]["log"], document["differences"]
    of = f"log {printable(log['origin'])}: {log['size']} leaves, root {log['root']}, as signed"
    console.print(of, markup=False, soft_wrap=True)
    for item in differences[:_ROWS]:
        place = " ".join(filter(None, (item["day"], item["region"], item["department"], item["claim"], item["status"])))
        told = f"statistics {item['statistics']}, log {item['log']}"
        said = printable(f"disagree 不一致: {place} {item['reason']}: {told}")
        console.print(said, markup=False, soft_wrap=True)
    if document["unreadable"]["count"]:
        console.print(f"{document['unreadable']['count']} leaves cannot be read: update heyan", markup=False)
    if differences:
        console.print(f"statistics and log disagree in {len(differences)} rows", markup=False)
    elif not document["unreadable"]["count"]:
        console.print("statistics and log agree row by row 统计与日志逐行一致", markup=False)


def _cell(figure: Document) -> str:
    value = "—" if figure["value"] is None else f"{figure['value']:.1%}"
    counts = ("—" if figure[side] is None else str(figure[side]) for side in ("numerator", "denominator"))
    return f"{value}\n{'/'.join(counts)}"
