"""`heyan log fsck`: check a whole log as it lies in a folder or behind a URL, and name the first bad place."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from gateway.audit.bad_places import BadPlace
from gateway.cli.exit_codes import EXIT_REFUSED
from gateway.cli.json_output import print_json
from gateway.cli.log_sources import NO_OPTIONS, LogPlace, OpenedLog, Options, open_log
from gateway.cli.options import JsonOption, SeveralFiles, Switch
from gateway.cli.printing import printable
from gateway.cli.progress import counting
from gateway.monitor.store import read_seen
from gateway.protocol.codec import encode_base64
from gateway.static_log.checked_log import LogToCheck
from gateway.static_log.fsck import Checked, Wanted, check_log
from gateway.static_log.kept_checkpoints import KeptCheckpoints, ShownLeaf, Sighted, shown_in_receipt, sighted_in_file
from gateway.static_log.tile_source import FolderSource

_SHOWN = 10
"""Further bad places on the terminal; --json has those that are kept."""


def fsck(
    place: LogPlace = None,
    *,
    log: Options = NO_OPTIONS,
    checkpoint: SeveralFiles = (),
    receipt: SeveralFiles = (),
    state: Path | None = None,
    entries: Annotated[bool, Parameter(negative="--no-entries")] = True,
    leaves: Switch = False,
    as_json: JsonOption = False,
) -> int:
    """Rebuild root and every tile of a log from its entries, and name the first place that does not fit.

    Reads every bundle and every tile once, holds them against each other and against the signed checkpoint, and every
    checkpoint that was kept against the root at its size: those in the folder's own `checkpoints`, and what
    --checkpoint, --receipt and --state name. Says what a bad place means and which side of it was changed. The log may
    grow meanwhile. Exit code 0 if the log is sound, 1 if anything is wrong, 3 if it could not be read now.

    Examples: `heyan log fsck run/gateway/published/0 --dir run`,
    `heyan log fsck https://log.example.cn/0 --vkey log.example.cn+c0ffee00+AWFi… --cert me.pem --key me.key --leaves`,
    `heyan log fsck copy --vkey log.example.cn+c0ffee00+AWFi… --checkpoint seen-in-june --receipt receipt.json`

    Parameters
    ----------
    place
        URL (https://…) or folder of a static log; that of --dir if left out.
    checkpoint
        A file with a checkpoint that you kept; may be repeated.
    receipt
        A receipt whose checkpoints and leaves the log must hold; may be repeated.
    state
        A monitor's file, whose newest checkpoint the log must extend.
    entries
        Without entries only the hashes are checked: what anybody may do who is no auditor.
    leaves
        Read each entry too: a canonical leaf of a known version, of this gateway, times not running backwards.
    """
    opened = open_log(place, log)
    kept = _kept(opened, checkpoint, receipt, state)
    checked = asyncio.run(_check(opened, Wanted(entries=entries, leaves=leaves and entries, kept=kept)))
    if as_json:
        print_json(_document(opened, checked))
    else:
        _print(opened, checked)
    return 0 if checked.is_sound else EXIT_REFUSED


def _kept(
    opened: OpenedLog, files: tuple[Path, ...], receipts: tuple[Path, ...], state: Path | None
) -> KeptCheckpoints:
    notes: list[Sighted] = [sighted_in_file(file) for file in files]
    if state is not None and (seen := read_seen(state, opened.origin)):
        notes.append(Sighted(str(state), seen.encode()))
    shown: list[ShownLeaf] = []
    for file in receipts:
        in_receipt, leaves = shown_in_receipt(file, opened.origin)
        notes += in_receipt
        shown += leaves
    folder = Path(opened.place) if isinstance(opened.source, FolderSource) else None
    return KeptCheckpoints(folder, notes, shown)


async def _check(opened: OpenedLog, wanted: Wanted) -> Checked:
    with counting("entries 条目") as tell:
        async with opened.source as source:
            log = LogToCheck(source, opened.origin, opened.verifiers, opened.gateways)
            return await check_log(log, wanted, tell)


def _print(opened: OpenedLog, checked: Checked) -> None:
    console = Console()

    def say(line: str) -> None:
        console.print("\n".join(map(printable, line.split("\n"))), markup=False, soft_wrap=True, highlight=False)

    if checked.checkpoint is not None:
        size, root = checked.checkpoint.size, encode_base64(checked.checkpoint.root)
        say(f"{opened.origin}: {size} entries, root {root}")
        say(f"read {checked.bundles} bundles, {checked.tiles} tiles, {checked.checkpoints} checkpoints")
    if checked.is_sound:
        say("sound: everything fits the signed checkpoint 完好：全部内容与签名检查点一致")
        return
    first, *others = checked.found.told
    say(f"first bad place 首个错误: {_place(first)} [{first.wrong.value}]")
    if first.detail:
        say(f"  {first.detail}")
    say(f"  {first.meaning.en}\n  {first.meaning.zh}")
    for each in others[:_SHOWN]:
        say(f"also 另有: {_place(each)} [{each.wrong.value}] {each.detail}".rstrip())
    left = checked.found.count - 1 - len(others[:_SHOWN])
    if left:
        say(f"… and {left} more: --json tells the first {len(checked.found.told)}")


def _place(bad: BadPlace) -> str:
    entry = f" entry {bad.entry}" if bad.entry is not None else ""
    offset = f" byte {bad.offset}" if bad.offset is not None else ""
    return f"{bad.place}{entry}{offset}"


def _document(opened: OpenedLog, checked: Checked) -> dict[str, object]:
    checkpoint = checked.checkpoint
    return {
        "sound": checked.is_sound,
        "origin": opened.origin,
        "size": checkpoint.size if checkpoint is not None else None,
        "root": encode_base64(checkpoint.root) if checkpoint is not None else None,
        "bundles": checked.bundles,
        "tiles": checked.tiles,
        "checkpoints": checked.checkpoints,
        "bad": checked.found.count,
        "found": [
            {
                "wrong": each.wrong.value,
                "place": each.place,
                "entry": each.entry,
                "offset": each.offset,
                "detail": each.detail,
                "meaning": {"zh": each.meaning.zh, "en": each.meaning.en},
            }
            for each in checked.found.told
        ],
    }
