"""`heyan department journal`: a node's journal as auditors get it, its signed end, and the check of such files."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from gateway.audit.journal_file import Chain, Export, join, lost, read_export
from gateway.cli.answers import iso_time
from gateway.cli.exit_codes import EXIT_REFUSED
from gateway.cli.journal_files import HEAD_SUFFIX, SUFFIX, last_head, lines_of, named_files
from gateway.cli.json_output import print_json
from gateway.cli.options import FolderOption, JsonOption, Switch, require_writable, usage_error
from gateway.cli.progress import counting
from gateway.cli.trusted_registry import trusted_registry
from gateway.party.keyfiles import write_private, writing
from gateway.party.registry_keeper import RegistryKeeper
from gateway.protocol.errors import BadDataError, ForgedError
from gateway.protocol.journal import JournalHead, SignedHead, open_head, write_line
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from sandbox_departments.config import NodeConfig
from sandbox_departments.journal_export import Seal, export_lines, signed_head
from sandbox_departments.node_keys import NodeKeys

app = App(name="journal", help="Hand a node's journal to auditors, note its end, check such files.")


@app.command
def export(
    *,
    config: Path,
    out: Path,
    after: int = 0,
    whole: Switch = False,
    as_json: JsonOption = False,
) -> None:
    """Write the journal for auditors: every entry as it is chained, and the chain's end, signed by the answer key.

    The node may be serving, and notices nothing. Pseudonyms of persons, finer reasons and decisions of staff are not in
    it: entries have salted digests of them.

    Examples: `heyan department journal export --config settings.toml --out police-4301.journal`,
    `heyan department journal export --config settings.toml --out police-4301-july.journal --after 48211`

    Parameters
    ----------
    config
        TOML file with the node's settings.
    out
        The file, for auditors' eyes: mode 0600.
    after
        Leave out the entries up to this number, which an earlier export has.
    whole
        Also write entries of earlier versions, which have pseudonyms and finer reasons inside the chain.
    """
    require_writable(out, "--out")
    if after < 0:
        raise usage_error("--after", "must be the number of an entry, or 0")
    settings = _settings(config)
    with counting("entries 条目") as tell, writing(out) as file:
        for line in export_lines(settings.journal, seal_of(settings), after=after, whole=whole, progress=tell):
            file.write(line + b"\n")
    _say(last_head(out), as_json, str(out))


@app.command
def head(*, config: Path, out: Path | None = None, as_json: JsonOption = False) -> None:
    """Sign where the journal ends now, for auditors to keep: a journal that is changed or cut later no longer has it.

    Examples: `heyan department journal head --config settings.toml --out police-4301.head`

    Parameters
    ----------
    config
        TOML file with the node's settings.
    out
        Write the signed head to this file.
    """
    require_writable(out, "--out")
    settings = _settings(config)
    signed = signed_head(settings.journal, seal_of(settings))
    if out is not None:
        write_private(out, write_line(signed) + b"\n")
    _say(signed, as_json, str(out) if out is not None else None)


@app.command
def verify(
    *files: Path,
    noted: Annotated[tuple[Path, ...], Parameter(name="--head", negative="")] = (),
    folder: FolderOption = None,
    registry: Path | None = None,
    operator_vkey: str | None = None,
    as_json: JsonOption = False,
) -> int:
    """Check exports of one node: entries are chained, exports follow each other, the end is signed by the department.

    Anybody can, with the federation's registry. With --head, ends that were noted earlier must be in the chain: a
    journal that was changed or cut since is found. Exit code 0 if everything holds, 1 if anything does not.

    Examples: `heyan department journal verify police-4301.journal --dir run`,
    `heyan department journal verify june.journal july.journal --head june.head --dir run`

    Parameters
    ----------
    files
        Exports of one node, in any order; or a folder of them (*.journal).
    noted
        A head, or an earlier export, that must be in it; or a folder of them. Repeat it for more.
    folder
        A federation's folder, for its registry and operator's key.
    registry
        The registry as published.
    operator_vkey
        The federation operator's key as a C2SP verifier key, which you pin.
    """
    if not files:
        raise usage_error("FILES", "must name an export at least")
    trusted = trusted_registry(folder, registry, operator_vkey)
    now = time.time()
    heads = {path: last_head(path) for path in named_files(noted, (HEAD_SUFFIX, SUFFIX), "--head")}
    paths = named_files(files, (SUFFIX,), "FILES")
    wanted = {signed.unverified().sequence for signed in (*heads.values(), *map(last_head, paths))}
    exports = [_read(path, trusted, wanted, now) for path in paths]
    if len({each.head.department for each in exports}) > 1:
        raise usage_error("FILES", "must be exports of one node")
    chain = join(exports)
    if chain is None:
        raise ForgedError(Reason.PROOF_INVALID, "no export begins with the first entry: name that one too")
    known = [(each.name, each.head) for each in exports if each not in chain.exports]
    known += [(str(path), _open(path, signed, trusted, now)) for path, signed in heads.items()]
    failed = [line for name, each in known for line in _contradiction(chain, name, each)]
    if as_json:
        row = {**_row(chain.head), "valid": not failed, "exports": len(chain.exports), "contradictions": failed}
        print_json(row)
    elif failed:
        sys.stdout.write("".join(f"{line}\n" for line in failed))
    else:
        sys.stdout.write(f"journal holds: {_told(chain.head)}\n")
    return EXIT_REFUSED if failed else 0


def seal_of(settings: NodeConfig) -> Seal:
    """With what a node's own files sign its journal; a domain error if no answer key counts now."""
    now = time.time()
    registry = RegistryKeeper(settings.registry, time.time).current()
    keys = NodeKeys(settings.spiffe_id, answer_keys=settings.answer_keys, sealing_keys=settings.sealing_keys)
    return Seal(settings.spiffe_id, keys.signing(registry, now), registry.version, int(now))


def _settings(config: Path) -> NodeConfig:
    settings = NodeConfig.from_file(config)
    if not settings.journal.exists():
        raise usage_error("--config", f"{settings.journal} is not there: the node was never started")
    return settings


def _read(path: Path, registry: Registry, wanted: set[int], now: float) -> Export:
    try:
        return read_export(str(path), lambda: lines_of(path), lambda signed: open_head(signed, registry, now), wanted)
    except BadDataError as error:
        raise ForgedError(error.reason, f"{path}: {error.detail or error.reason.value}") from None


def _open(path: Path, signed: SignedHead, registry: Registry, now: float) -> JournalHead:
    try:
        return open_head(signed, registry, now)
    except BadDataError as error:
        raise ForgedError(error.reason, f"{path}: {error.detail or error.reason.value}") from None


def _contradiction(chain: Chain, name: str, noted: JournalHead) -> list[str]:
    if noted.department != chain.department:
        raise usage_error("--head", f"{name} is of {noted.department}, not of {chain.department}")
    how = lost(chain, noted)
    return [] if how is None else [f"{how.name}: {name} notes {noted.sequence} entries; {how.value}"]


def _say(signed: SignedHead, as_json: bool, out: str | None) -> None:
    head = signed.unverified()
    if as_json:
        row = {**_row(head), "file": out, "signed_head": json.loads(write_line(signed))}
        print_json(row)
    else:
        sys.stdout.write(f"{_told(head)}\n" + (f"written to {out}\n" if out else write_line(signed).decode() + "\n"))


def _row(head: JournalHead) -> dict[str, object]:
    return {
        "department": head.department,
        "sequence": head.sequence,
        "hash": head.hash.hex(),
        "time": iso_time(head.time),
        "registry_version": head.registry_version,
    }


def _told(head: JournalHead) -> str:
    entries = "entry" if head.sequence == 1 else "entries"
    return f"{head.sequence} {entries} of {head.department}, as of {iso_time(head.time)}, hash {head.hash.hex()}"
