"""What an auditor brings to a reconciliation besides the log: journals, noted heads, receipts, checkpoints."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.audit.findings import Disagreement, Disclosure, Finding
from gateway.audit.journal_file import Chain, Export, Loss, join, lost, read_export
from gateway.audit.journals import JournalView
from gateway.audit.log_view import LogView, Sighting
from gateway.cli.journal_files import HEAD_SUFFIX, SUFFIX, last_head, lines_of, named_files
from gateway.cli.options import usage_error
from gateway.cli.progress import Tell
from gateway.party.keyfiles import read_public
from gateway.protocol.errors import BadDataError, HeyanError, MalformedError
from gateway.protocol.identities import PartyRole
from gateway.protocol.journal import JournalHead, SignedHead, open_head
from gateway.protocol.keys import PublicKey
from gateway.protocol.proof import parse_proof
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt import verify_receipt
from gateway.protocol.receipt_file import receipt_from_json
from gateway.protocol.registry import Registry

RECEIPT_SUFFIX = ".json"
CHECKPOINT_SUFFIXES = (".checkpoint", ".note", ".shown", ".txt", "")


@dataclass(frozen=True, slots=True)
class JournalFinding:
    """A finding about a journal, with the files and the signed heads that show it."""

    finding: Finding
    files: tuple[str, ...]
    heads: tuple[SignedHead, ...] = ()
    detail: str = ""


@dataclass(slots=True)
class Journals:
    """The journals that hold, and what is wrong with the others or with what was noted of them."""

    chains: list[Chain] = field(default_factory=list)
    findings: list[JournalFinding] = field(default_factory=list)

    @property
    def views(self) -> tuple[JournalView, ...]:
        """What is held against the log."""
        return tuple(chain.view for chain in self.chains)

    @property
    def files(self) -> Mapping[str, tuple[str, ...]]:
        """The files of each department's journal."""
        return {chain.department: tuple(each.name for each in chain.exports) for chain in self.chains}


def read_journals(paths: Iterable[Path], noted: Iterable[Path], registry: Registry, tell: Tell) -> Journals:
    """Read exports, join those of each department, and hold the heads that were noted against them.

    A file that does not verify is a finding, and is not held against the log: it may have been bent on its way. Raises
    MalformedError (CONFIGURATION_INVALID) for a file that is no export or head at all.
    """
    now = time.time()
    files = named_files(paths, (SUFFIX,), "--journal")
    heads = [(str(path), last_head(path)) for path in named_files(noted, (HEAD_SUFFIX, SUFFIX), "--head")]
    wanted = {
        signed.unverified().sequence for signed in (*(each for _, each in heads), *map(_head_of, files)) if signed
    }
    found = Journals()
    exports: dict[str, list[Export]] = {}
    for number, path in enumerate(files):
        try:
            export = _export(path, registry, now, wanted)
            registry.party_in_role(export.head.department, PartyRole.DEPARTMENT)
            exports.setdefault(export.head.department, []).append(export)
        except BadDataError as error:
            if error.reason is Reason.CONFIGURATION_INVALID:
                raise  # it cannot be read at all
            found.findings.append(_unverified(path, error))
        tell(number + 1, len(files))
    known: dict[str, list[tuple[str, SignedHead, JournalHead]]] = {}
    for name, signed in heads:
        try:
            head = open_head(signed, registry, now)
        except BadDataError as error:
            raise usage_error("--head", f"{name} does not verify: {error.detail or error.reason.value}") from None
        known.setdefault(head.department, []).append((name, signed, head))
    for department, each in exports.items():
        _join(department, each, known.get(department, ()), found)
    return found


def _export(path: Path, registry: Registry, now: float, wanted: Collection[int]) -> Export:
    return read_export(str(path), lambda: lines_of(path), lambda each: open_head(each, registry, now), wanted)


def _join(
    department: str, exports: list[Export], noted: Iterable[tuple[str, SignedHead, JournalHead]], found: Journals
) -> None:
    chain = join(exports)
    if chain is None:
        names = ", ".join(export.name for export in exports)
        raise usage_error("--journal", f"{names}: the first entry is in no export of {department}; name that one too")
    found.chains.append(chain)
    others = [(each.name, each.signed, each.head) for each in exports if each not in chain.exports]
    for name, signed, head in (*noted, *others):
        how = lost(chain, head)
        if how is not None:
            kind = Disagreement.SHORTENED if how is Loss.SHORTENED else Disagreement.REWRITTEN
            found.findings.append(
                JournalFinding(
                    Finding(kind, department, head.hash),
                    (name, *(each.name for each in chain.exports)),
                    (signed, chain.exports[-1].signed),
                    f"{head.sequence} entries were noted; {how.value}",
                )
            )


def _head_of(path: Path) -> SignedHead | None:
    """The head of an export; None if there is none, which reading it will say."""
    try:
        signed = last_head(path)
        signed.unverified()
    except MalformedError:
        return None
    return signed


def _unverified(path: Path, error: BadDataError) -> JournalFinding:
    signed = _head_of(path)
    holder = signed.unverified().department if signed is not None else path.stem
    return JournalFinding(
        Finding(Disagreement.UNVERIFIED, holder), (str(path),), detail=error.detail or error.reason.value
    )


# -- receipts and checkpoints -------------------------------------------------------------------------------


@dataclass(slots=True)
class Shown:
    """Checkpoints that others hold, and queries that requesters disclose; `files` tells where a note came from."""

    sightings: list[Sighting] = field(default_factory=list)
    disclosures: list[Disclosure] = field(default_factory=list)
    files: dict[str, list[str]] = field(default_factory=dict)

    def see(self, holder: str, note: str, path: Path) -> None:
        """Take down what a holder was shown."""
        self.sightings.append(Sighting(holder, note))
        self.files.setdefault(note, []).append(str(path))


def read_receipts(paths: Iterable[Path], registry: Registry, operator: PublicKey, shown: Shown, tell: Tell) -> None:
    """Take what receipts show: which log their requesters saw, and which leaves are theirs.

    MalformedError (CONFIGURATION_INVALID) naming a receipt that does not hold: it proves nothing about anybody.
    """
    files = named_files(paths, (RECEIPT_SUFFIX,), "--receipt")
    for number, path in enumerate(files):
        try:
            receipt = receipt_from_json(read_public(path).decode())
            verified = verify_receipt(receipt, operator, registry)
        except (HeyanError, UnicodeDecodeError) as error:
            told = error.detail or error.reason.value if isinstance(error, HeyanError) else "is no text"
            raise usage_error("--receipt", f"{path} does not hold, and shows nothing: {told}") from None
        for note in {parse_proof(item.proof.encode()).checkpoint for item in receipt.leaves}:
            shown.see(verified.query.requester, note, path)
        shown.disclosures.append(Disclosure.of(receipt, verified))
        tell(number + 1, len(files))


def read_checkpoints(paths: Iterable[Path], logs: Sequence[LogView], shown: Shown) -> None:
    """Take checkpoints that somebody keeps: each file is a signed note, and its holder is called by the file's name.

    MalformedError (CONFIGURATION_INVALID) naming a file that none of the logs signed.
    """
    for path in named_files(paths, CHECKPOINT_SUFFIXES, "--checkpoint"):
        try:
            note = read_public(path).decode()
        except UnicodeDecodeError:
            raise usage_error("--checkpoint", f"{path} is no signed note") from None
        if not any(_signed(log, note) for log in logs):
            raise usage_error(
                "--checkpoint", f"{path} is not a checkpoint that this gateway signed / 不是该网关签署的检查点"
            )
        shown.see(path.stem, note, path)


def _signed(log: LogView, note: str) -> bool:
    try:
        log.open(note)
    except BadDataError:
        return False
    return True
