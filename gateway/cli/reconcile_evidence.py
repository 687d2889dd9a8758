"""Findings as folders that a third party can check without us: notes, leaves with their proofs, entries, signed heads.

Below the folder that --out names:

    reconciliation.json               everything, as --json prints it
    0001-FORKED/                      one finding; the gravest come first
        finding.json                  what it says
        log.checkpoint                the signed checkpoint under which the log was read
        shown-1.checkpoint …          the signed checkpoints that contradict it, or each other
        consistency.json              the log's root at the size of one that was shown, and the RFC 9162 proof of it
        leaf-<index>.bin, .tlog-proof the leaf, and its C2SP proof under log.checkpoint
        entries.jsonl                 the entries of the journal that name the digest, byte for byte
        journal-1.head …              signed ends of the journal
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from gateway.audit.findings import Disagreement, Finding
from gateway.cli.journal_files import lines_of
from gateway.cli.leaf_files import write_leaf
from gateway.cli.reconcile_inputs import JournalFinding
from gateway.cli.reconcile_logs import GatewayLogs, OpenLog
from gateway.cli.reconcile_print import Told, document_of, row_of
from gateway.party.keyfiles import write_private
from gateway.protocol.checkpoint import Checkpoint, unverified_checkpoint
from gateway.protocol.errors import BadDataError, ForgedError
from gateway.protocol.journal import write_line
from gateway.protocol.merkle import HASH_BYTES, consistency_proof, inclusion_proof, leaf_hash, root_of
from gateway.protocol.note import encode_base64
from gateway.protocol.proof import InclusionProof
from gateway.protocol.reasons import Reason

MOST = 100
"""Findings of one kind that get a folder; the JSON has all."""
_KEPT_NODES = 8_192

Hashes = Mapping[str, bytearray]
"""The leaf hashes of each log by its origin, one after the other: 32 bytes for each leaf."""


class Tree:
    """Nodes over the leaf hashes of a log."""

    def __init__(self, hashes: bytearray) -> None:
        self._hashes = hashes
        self.node = lru_cache(maxsize=_KEPT_NODES)(self._node)

    def _node(self, level: int, index: int) -> bytes:
        """The hash of a complete node."""
        first, width = (index << level) * HASH_BYTES, HASH_BYTES << level
        below = self._hashes[first : first + width]
        return root_of([bytes(below[at : at + HASH_BYTES]) for at in range(0, len(below), HASH_BYTES)])

    def root(self, size: int) -> bytes:
        """The root of the first leaves."""
        return root_of([bytes(self._hashes[at : at + HASH_BYTES]) for at in range(0, size * HASH_BYTES, HASH_BYTES)])


async def write_evidence(out: Path, told: Told, hashes: Hashes) -> int:
    """Write everything under `out`, which is made; how many findings got no folder, being too many of their kind.

    The sources of the logs must be open still. Raises ForgedError if a log no longer shows a leaf that it had.
    """
    trees = {origin: Tree(each) for origin, each in hashes.items()}
    kinds: Counter[Disagreement] = Counter()
    for number, found in enumerate(told.found, 1):
        kinds[found.finding.kind] += 1
        if kinds[found.finding.kind] <= MOST:
            await _write(out / f"{number:04}-{found.finding.kind.value}", found, told, trees)
    _write_json(out / "reconciliation.json", document_of(told))
    return sum(max(0, count - MOST) for count in kinds.values())


async def _write(folder: Path, found: JournalFinding, told: Told, trees: Mapping[str, Tree]) -> None:
    finding = found.finding
    _write_json(folder / "finding.json", row_of(found))
    origin = finding.origin or told.logs.views[-1].origin
    log = told.logs.opened.get(origin)
    if log is not None and (finding.index is not None or finding.checkpoints):
        write_private(folder / "log.checkpoint", log.view.checkpoint.encode())
    for number, note in enumerate(finding.checkpoints, 1):
        write_private(folder / f"shown-{number}.checkpoint", note.encode())
    if log is not None and finding.index is not None:
        await _write_leaf(folder, finding.index, log, trees[origin])
    if log is not None and finding.kind is Disagreement.FORKED:
        _write_consistency(folder, finding, log, trees[origin])
    heads = found.heads or tuple(
        chain.exports[-1].signed for chain in told.journals.chains if chain.department == finding.holder
    )
    for number, head in enumerate(heads, 1):
        write_private(folder / f"journal-{number}.head", write_line(head) + b"\n")
    if finding.digest and not found.heads:
        entries = list(_entries(told, finding))
        if entries:
            write_private(folder / "entries.jsonl", b"".join(entry + b"\n" for entry in entries))


async def _write_leaf(folder: Path, index: int, log: OpenLog, tree: Tree) -> None:
    """The leaf and its proof; none of a leaf that the log does not have, which may be the very finding."""
    checkpoint = log.view.open(log.view.checkpoint)
    if index >= checkpoint.size:
        return
    data = await log.source.leaf(index, checkpoint)
    if leaf_hash(data) != tree.node(0, index):
        raise ForgedError(Reason.PROOF_INVALID, f"the log shows another leaf {index} than it did")
    path = inclusion_proof(index, checkpoint.size, tree.node)
    write_leaf(folder, index, data, InclusionProof(index, path, log.view.checkpoint).format())


def _write_consistency(folder: Path, finding: Finding, log: OpenLog, tree: Tree) -> None:
    newest = log.view.open(log.view.checkpoint)
    rows = []
    for note in finding.checkpoints:
        shown = _read(note)
        if shown is not None and 0 < shown.size < newest.size:
            path = consistency_proof(shown.size, newest.size, tree.node)
            rows.append(
                {
                    "size": shown.size,
                    "root_shown": encode_base64(shown.root),
                    "root_in_log": encode_base64(tree.root(shown.size)),
                    "new_size": newest.size,
                    "new_root": encode_base64(newest.root),
                    "consistency": [encode_base64(item) for item in path],
                }
            )
    if rows:
        _write_json(folder / "consistency.json", rows)


def _entries(told: Told, finding: Finding) -> Iterator[bytes]:
    """The entries of a department's journal that name a digest."""
    wanted = b64encode(finding.digest)
    for name in told.journals.files.get(finding.holder, ()):
        yield from (line for line in lines_of(Path(name)) if wanted in line)


def _read(note: str) -> Checkpoint | None:
    try:
        return unverified_checkpoint(note)
    except BadDataError:
        return None


def _write_json(path: Path, value: object) -> None:
    write_private(path, json.dumps(value, ensure_ascii=False, indent=2).encode() + b"\n")


def keeping(logs: GatewayLogs) -> dict[str, bytearray]:
    """Room for the leaf hashes of the logs that are read."""
    return {origin: bytearray() for origin in logs.opened}
