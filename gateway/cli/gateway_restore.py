"""`heyan gateway restore`: a gateway's store from a backup, its log brought to where it was last seen."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gateway.audit.journal_file import read_export
from gateway.audit.journals import AcknowledgementRefused, BatchAcknowledged
from gateway.backups.opening import Backup
from gateway.backups.places import LogWitness, Place
from gateway.backups.restoring import Restored, Restorer
from gateway.cli.journal_files import SUFFIX, lines_of, named_files
from gateway.cli.json_output import print_json
from gateway.cli.log_sources import LogOptions, open_source
from gateway.cli.options import JsonOption, Switch, usage_error
from gateway.cli.progress import stepping
from gateway.config import GatewayConfig
from gateway.evidence.key_settings import open_keks
from gateway.evidence.vault import Vault
from gateway.leaves import LeafStamp
from gateway.log_marks import PROOF_FILES, SEEN_FILE, WITNESSED_FILES, Mark
from gateway.log_signers import LogSigners
from gateway.party.keyfiles import read_public
from gateway.party.registry_keeper import RegistryKeeper
from gateway.protocol.checkpoint import Checkpoint, sign_checkpoint
from gateway.protocol.errors import ForgedError, NotFoundError, UnreachableError
from gateway.protocol.journal import open_head
from gateway.protocol.witness_wire import log_path
from gateway.static_log.tile_source import HttpSource
from gateway.witnessing.policy_file import read_policy


@dataclass(frozen=True, kw_only=True)
class Sayings:
    """What says how far the log was seen: flattened into the command's options."""

    log: Annotated[
        tuple[str, ...],
        Parameter(negative="", help="A copy of the log, URL (https://…) or folder, beside the published one; repeat."),
    ] = ()
    witness: Annotated[
        tuple[str, ...], Parameter(negative="", help="Where a witness shows what it cosigned, its URL; repeat it.")
    ] = ()
    policy_witnesses: Annotated[
        bool,
        Parameter(
            negative="--no-policy-witnesses",
            help="Ask the witnesses of the settings' policy too; one that does not answer stops the restore.",
        ),
    ] = True
    checkpoint: Annotated[
        tuple[Path, ...],
        Parameter(negative="", help="A checkpoint of the log, from whoever was shown it; repeat it."),
    ] = ()
    journal: Annotated[
        tuple[Path, ...],
        Parameter(negative="", help="A department's journal (heyan department journal export), or a folder of them."),
    ] = ()
    ca: Annotated[Path | None, Parameter(help="Certificate authority (PEM) of the URLs; the system's if left out.")] = (
        None
    )
    cert: Annotated[Path | None, Parameter(help="An auditor's certificate (PEM), for the entries of a URL.")] = None
    key: Annotated[Path | None, Parameter(help="The certificate's key (PEM, mode 0600).")] = None

    @property
    def options(self) -> LogOptions:
        """As commands that read a log have them."""
        return LogOptions(ca=self.ca, certificate=self.cert, key=self.key)


_NOTHING = Sayings()


def restore(
    folder: Path,
    /,
    *,
    config: Path,
    sayings: Annotated[Sayings, Parameter(name="*")] = _NOTHING,
    replace: Switch = False,
    as_json: JsonOption = False,
) -> None:
    """Restore a stopped gateway's store from a backup, and bring its log to where it was last seen.

    How far that is say: the published log and the witnesses of the settings, the gateway's own mark, stores that were
    moved aside, and what --log, --witness, --journal and --checkpoint name. What was answered in the last second before
    a loss may not be published: the departments' journals know of it. Leaves beyond the backup are brought back from
    the published log or a copy of it, verified. If they cannot be had, nothing is restored: the log must not go on
    under its origin.

    Lost beside the log since the backup: requests and their receipts (requesters send them again, departments repeat
    their answers), evidence of new consents, offline tickets, disputes, statistics. Uses counted since then are refused
    by the departments, who count them too. A leaf of the log says that it was restored.

    Examples: `heyan gateway restore /backup/2027-06-01 --config run/gateway/settings.toml`,
    `heyan gateway restore /backup/2027-06-01 --config run/gateway/settings.toml --log /mirror/log --replace`

    Parameters
    ----------
    folder
        The backup, as `heyan gateway backup` made it.
    config
        TOML file with the gateway's settings.
    replace
        Move a store that is there aside (to STORE.replaced-TIME), and keep it.
    """
    settings = GatewayConfig.from_file(config)
    keeper = RegistryKeeper(settings.registry, time.time)
    restored = asyncio.run(_restore(folder, settings, keeper, sayings, replace=replace))
    if as_json:
        print_json(_summary(restored))
    else:
        sys.stdout.write(_text(restored))


async def _restore(
    folder: Path, settings: GatewayConfig, keeper: RegistryKeeper, sayings: Sayings, *, replace: bool
) -> Restored:
    signers = LogSigners.loaded(settings, keeper.current, time.time)
    logs = LogWitness(keeper.current(), settings.spiffe_id)

    def sign(size: int, root: bytes, origin: str | None) -> str:
        name = origin or logs.origins[-1]
        return sign_checkpoint(Checkpoint(name, size, root), signers(name))

    restorer = Restorer(
        store=settings.store,
        logs=logs,
        stamp=LeafStamp(settings.identity, keeper.current, time.time),
        sign=sign,
        unwrap=Vault(open_keks(settings)).unwrap,
        clock=time.time,
    )
    Backup.open(folder, logs.gateway, logs.registry)  # one that will not do is told before anybody is asked
    async with AsyncExitStack() as stack:
        places = await _places(settings, logs, sayings, stack)
        marks = await _marks(settings, logs, sayings, stack)
        with stepping() as report:
            return await restorer.restore(folder, places, marks, report, replace=replace)


async def _places(settings: GatewayConfig, logs: LogWitness, sayings: Sayings, stack: AsyncExitStack) -> list[Place]:
    """The published log, then the copies that the command line names."""
    places = await logs.published(settings.published) if settings.published is not None else []
    for place in sayings.log:
        source = await stack.enter_async_context(open_source(place, sayings.options))
        found = await logs.place(source, place)
        below = await logs.published(Path(place)) if found is None and not isinstance(source, HttpSource) else []
        if found is None and not below:
            raise usage_error("--log", f"{place} has no checkpoint of a log")
        places += [found] if found is not None else below
    return places


async def _marks(settings: GatewayConfig, logs: LogWitness, sayings: Sayings, stack: AsyncExitStack) -> list[Mark]:
    """The gateway's own marks, checkpoints that the command line names, and what witnesses hold."""
    seen = settings.registry.seen.with_name(SEEN_FILE)
    beside = [*settings.store.parent.glob(WITNESSED_FILES), *(settings.store.with_name(name) for name in PROOF_FILES)]
    files = [*(file for file in (seen, *sorted(beside)) if file.exists()), *sayings.checkpoint]
    marks = [logs.mark(read_public(file), str(file)) for file in files]
    for file in named_files(sayings.journal, (SUFFIX,), "--journal"):
        marks += _journal_marks(file, logs)
    for url in _witnesses(settings, sayings):
        for origin in logs.origins:
            place = f"{url.rstrip('/')}{log_path(origin)}"
            is_open = place.startswith("http://")  # what it shows is signed by the log; it could be kept back anyhow
            source = HttpSource(place) if is_open else open_source(place, sayings.options)
            await stack.enter_async_context(source)
            try:
                marks.append(logs.mark(await source.checkpoint(), url))
            except NotFoundError:
                continue  # it never cosigned that log
            except UnreachableError as error:
                if url in sayings.witness:
                    raise
                detail = f"{error.detail}: a witness of the policy; --no-policy-witnesses restores without them"
                raise UnreachableError(error.reason, detail) from error
    return marks


def _witnesses(settings: GatewayConfig, sayings: Sayings) -> list[str]:
    """The URLs of the witnesses to ask."""
    policy = read_policy(settings.witness_policy) if settings.witness_policy and sayings.policy_witnesses else None
    known = [each.url for each in policy.witnesses if each.url] if policy is not None else []
    return list(dict.fromkeys([*sayings.witness, *known]))


def _journal_marks(file: Path, logs: LogWitness) -> list[Mark]:
    """What a department's journal shows of the log, signed by the log's own key: the department is not believed."""
    now = time.time()
    export = read_export(str(file), lambda: lines_of(file), lambda signed: open_head(signed, logs.registry, now))
    shown = (each for each in export.entries() if isinstance(each, BatchAcknowledged | AcknowledgementRefused))
    notes = dict.fromkeys(each.checkpoint for each in shown if each.gateway == logs.gateway)
    marks = []
    for note in notes:
        with suppress(ForgedError):  # not the log's word
            marks.append(logs.mark(note.encode(errors="replace"), f"{export.head.department} ({file})"))
    return marks


def _summary(restored: Restored) -> dict[str, object]:
    return {
        "origin": restored.origin,
        "backup_size": restored.backup_size,
        "restored_size": restored.restored_size,
        "seen_by": restored.mark.place,
        "withdrawals": restored.withdrawals,
        "erasures": restored.erasures,
        "unreadable": restored.unreadable,
        "moved_aside": str(restored.aside) if restored.aside is not None else None,
    }


def _text(restored: Restored) -> str:
    brought = restored.restored_size - restored.backup_size
    aside = f"the store that was there is kept as {restored.aside}\n" if restored.aside is not None else ""
    return (
        f"{restored.origin} goes on at {restored.restored_size} leaves, seen by {restored.mark.place}:\n"
        f"  {restored.backup_size} from the backup, {brought} brought back from the log\n"
        f"  {restored.erasures} erasures done again, {restored.withdrawals} withdrawals kept again\n"
        f"{aside}"
        "Requests, uses and evidence since the backup are lost here; departments refuse what is used up.\n"
        "Start the gateway, then destroy backups that are older than evidence is kept.\n"
        "备份之后的请求、用量和证据已不在此处；已用尽的授权由部门拒绝。\n"
    )
