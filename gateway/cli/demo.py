"""`heyan demo`: the whole of it in one go, on loopback, with real processes and real mTLS."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from gateway.cli.correctness import is_right
from gateway.cli.demo_cases import Cases
from gateway.cli.endpoints import open_client, read_endpoints
from gateway.cli.guardians import Guardians
from gateway.cli.options import FolderOption, usage_error
from gateway.cli.sandbox import MADE_FILE, Asked, Sandbox
from gateway.cli.supervisor import free_port_base
from gateway.cli.up import open_sandbox, start
from gateway.cli.verify import ask
from gateway.client import Client, Verification
from gateway.party.registry_keeper import operator_key
from gateway.protocol.keys import PublicKey
from gateway.protocol.matrix import Group, School
from gateway.protocol.outcomes import Outcome
from gateway.protocol.receipt import verify_receipt
from gateway.protocol.receipt_file import receipt_from_json, receipt_to_json
from gateway.rules.verdict import MaterialVerdict, Standing
from sandbox_departments.truth import Truth, read_truth

POPULATION = 400
FAMILIES = 24
"""Applications of the demonstration: the first sixteen families are one of every kind, all in order; then come
families that are not."""
IN_ORDER = 16
MOST_FAMILIES = 40
"""Among POPULATION families there are always so many of interest."""
_HEADINGS = ("family", "school", "group", "YES", "NO", "UNDET.", "exempt", "supported", "right", "ms")
_WORDS = 3
"""Columns that hold words, not figures."""
_SCHOOLS = {
    School.PUBLIC_PRIMARY: "公办小学",
    School.PUBLIC_JUNIOR: "公办初中",
    School.PRIVATE_PRIMARY: "民办小学",
    School.PRIVATE_JUNIOR: "民办初中",
}
_GROUPS = {
    Group.HOME_AND_HUKOU: "有房有户",
    Group.HUKOU_SHARED_HOME: "有户无房一类",
    Group.HOME_WITHOUT_HUKOU: "有房无户",
    Group.HUKOU_WITH_LEASE: "有户无房二类",
    Group.NEITHER: "无房无户",
    Group.PRIVATE_URBAN: "户籍或房产",
}


def demo(*, folder: FolderOption = None, families: int = FAMILIES) -> int:
    """Start a federation, send applications of every group of annex 2, check every answer, verdict and receipt.

    Then a family that leaves its group open, a department that is away while a family applies, paper where nothing can
    be told online, and a county outside its window.

    Everything runs on loopback with fictional people, in a temporary folder unless --dir keeps it, and stops at
    the end. Exit code 0 if every answer is right and every receipt verifies offline, 1 otherwise.

    Example: `heyan demo`

    Parameters
    ----------
    folder
        Keep the federation here, for `heyan up` to go on with.
    families
        How many applications to send.
    """
    if not 1 <= families <= MOST_FAMILIES:
        raise usage_error("--families", f"must be 1 to {MOST_FAMILIES}")
    if folder is not None and (folder / MADE_FILE).exists():
        raise usage_error("--dir", f"{folder} is a sandbox already: name a new one")
    if folder is not None:
        return asyncio.run(_run(folder, families))
    with tempfile.TemporaryDirectory(prefix="heyan-demo-") as made:
        return asyncio.run(_run(Path(made) / "run", families))


async def _run(folder: Path, families: int) -> int:
    console = Console(highlight=False)
    began = time.perf_counter()
    sandbox = open_sandbox(folder, Asked(population=POPULATION, port_base=free_port_base()), console)
    supervisor = await start(sandbox, console)
    try:
        console.print(
            f"{len(tuple(sandbox.processes()))} parties are up after {time.perf_counter() - began:.1f} s: "
            f"a gateway, a consent issuer and {len(sandbox.nodes)} department nodes, each a process of its own.\n"
        )
        wrong = await _show(sandbox, folder, families, console)
    finally:
        await supervisor.stop()
    console.print(f"\nDone in {time.perf_counter() - began:.1f} s.")
    return 1 if wrong else 0


async def _show(sandbox: Sandbox, folder: Path, families: int, console: Console) -> int:
    """Send the applications, then show what else there is; how many things went wrong."""
    requester = sandbox.requesters[0].name
    async with open_client(folder, requester) as client, Guardians(folder) as guardians:
        sent, wrong = await _send_all(folder, requester, families, client, guardians, console)
        cases = Cases(folder, requester, client, guardians, console)
        first = next(iter(sent))[0]
        doubtful = [each for each in sent if _has(each[1], Outcome.YES) and _has(each[1], Outcome.UNDETERMINED)]
        done = [
            await cases.open_group(first),
            await cases.deferred(first),
            *[await cases.offline(*each) for each in doubtful[:1]],
            await cases.closed(first),
        ]
    return wrong + done.count(False)


def _has(result: Verification, outcome: Outcome) -> bool:
    return any(answer.outcome is outcome for answer in result.verified.answers)


async def _send_all(
    folder: Path, requester: str, families: int, client: Client, guardians: Guardians, console: Console
) -> tuple[list[tuple[Truth, Verification]], int]:
    """Send the applications; what came back, and how many went wrong."""
    operator = operator_key(read_endpoints(folder).operator_vkey)
    sent: list[tuple[Truth, Verification]] = []
    table = Table(title="Applications 入学申请", title_justify="left", box=None, pad_edge=False)
    for number, heading in enumerate(_HEADINGS):
        table.add_column(heading, no_wrap=True, justify="left" if number < _WORDS else "right")
    wrong = 0
    for truth in _chosen(folder, families):
        application = truth.application
        consent = await guardians.consent(application, requester)
        began = time.perf_counter()
        result = await ask(client, application, consent)
        elapsed = (time.perf_counter() - began) * 1000
        sent.append((truth, result))
        materials = _materials(result)
        right = is_right(result, truth)
        verified = _verifies_offline(result, operator)
        wrong += not (right and verified)
        outcomes = Counter(answer.outcome for answer in result.verified.answers)
        supported = result.verdict is not None and application.group in result.verdict.supported
        table.add_row(
            application.family,
            _SCHOOLS[application.school],
            _GROUPS[application.group],
            *(str(outcomes[kind] or "·") for kind in (Outcome.YES, Outcome.NO, Outcome.UNDETERMINED)),
            f"{sum(each.standing is Standing.EXEMPT for each in materials)}/{len(materials)}",
            "[green]yes[/]" if supported else "·",
            "[green]yes[/]" if right and verified else "[red]NO[/]",
            f"{elapsed:.0f}",
        )
    console.print(table)
    console.print(
        f"\n{table.row_count} applications, {wrong} wrong. Exempt: materials that need not be handed in; supported: if "
        "that are all. Right: answers and verdict are the truth, and the receipt holds offline, from its file and the "
        "operator's key alone."
    )
    return sent, wrong


def _chosen(folder: Path, families: int) -> Iterator[Truth]:
    """The first families, one of every kind; then those of whom a register cannot tell, up to `families`."""
    sent = 0
    for number, truth in enumerate(read_truth(folder / read_endpoints(folder).truth)):
        if sent == families:
            return
        if number < IN_ORDER or any(answer.outcome is Outcome.UNDETERMINED for answer in truth.answers):
            sent += 1
            yield truth


def _materials(result: Verification) -> tuple[MaterialVerdict, ...]:
    """How the materials of the family's group stand by the receipt."""
    return result.verdict.groups[0].materials if result.verdict is not None else ()


def _verifies_offline(result: Verification, operator: PublicKey) -> bool:
    """Check the receipt again as its file would be, apart from the client that fetched it."""
    verified = verify_receipt(receipt_from_json(receipt_to_json(result.receipt)), operator)
    return verified.answers == result.verified.answers
