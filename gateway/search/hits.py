"""Hits of a search, each with its leaf and the proof that the log holds it: what an auditor shows to others."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from gateway.audit.leaf_rows import LeafRow, event_of, marks_of, rows_of
from gateway.audit.spreadsheet import write_spreadsheet
from gateway.protocol.beijing import BEIJING
from gateway.protocol.checkpoint import Checkpoint
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.leaf import log_time, read_leaf
from gateway.protocol.proof import InclusionProof
from gateway.protocol.reasons import Reason
from gateway.protocol.statistics import MAX_COUNT
from gateway.search.index import UNREADABLE, Hit, LogIndex
from gateway.static_log.tile_proofs import VerifiedTiles, prove_inclusion, read_leaves
from gateway.static_log.tile_source import TileSource

_HEAD = (
    "序号 index",
    "时间 time",
    "事件 event",
    "操作方 actor",
    "部门 department",
    "事项 claim",
    "地区 region",
    "状态 status",
    "原因 reason",
    "数量 count",
    "日志条目 leaf (base64)",
    "证明 proof (base64)",
)


@dataclass(frozen=True, slots=True)
class ProvenHit:
    """A hit, its leaf, and the C2SP tlog-proof of it under the checkpoint of the search."""

    hit: Hit
    leaf: bytes
    proof: str


async def update(index: LogIndex, source: TileSource, checkpoint: Checkpoint, note: str) -> AsyncIterator[int]:
    """Read what the index lacks up to a checkpoint that the caller verified; yields how many leaves it has.

    Raises what `LogIndex.reading` and the source raise; the index is then as it was.
    """
    with index.reading(checkpoint, note) as reading:
        async for _, leaf in read_leaves(source, min(reading.size, checkpoint.size), checkpoint.size, checkpoint):
            reading.add(leaf)
            yield reading.size


async def prove(source: TileSource, checkpoint: Checkpoint, note: str, hits: Iterable[Hit]) -> list[ProvenHit]:
    """Each hit with its leaf and proof, both fetched and verified.

    ForgedError if one does not hold, or the leaf does not say what the index says of it.
    """
    tiles, proven = VerifiedTiles(source, checkpoint), []
    for hit in hits:
        (leaf,) = [data async for _, data in read_leaves(tiles, hit.index, hit.index + 1, checkpoint)]
        _require_said(hit, leaf)
        path = await prove_inclusion(tiles, hit.index, checkpoint)
        proven.append(ProvenHit(hit, leaf, InclusionProof(hit.index, path, note).format()))
    return proven


def _require_said(hit: Hit, leaf: bytes) -> None:
    """Hold what is shown of a leaf, which is the index's word, against the leaf."""
    try:
        read = read_leaf(leaf)
        said = event_of(read), log_time(read), {replace(row, count=min(row.count, MAX_COUNT)) for row in rows_of(read)}
    except MalformedError:
        said = UNREADABLE, 0.0, {LeafRow()}
    event, time, rows = said
    if (hit.event, hit.time) != (event, time) or not rows.issuperset(hit.rows):
        raise ForgedError(Reason.PROOF_INVALID, f"leaf {hit.index} says something else than the index: --rebuild it")


def hit_row(proven: ProvenHit) -> dict[str, Any]:
    """A hit as JSON: what matched, the pseudonyms in its leaf, the leaf itself, and its proof as text."""
    hit = proven.hit
    marks: dict[str, list[str]] = {}
    if hit.event != UNREADABLE:
        for mark, value in sorted(marks_of(read_leaf(proven.leaf))):
            marks.setdefault(mark.value, []).append(value.hex())
    return {
        "index": hit.index,
        "time": shown_time(hit),
        "event": hit.event,
        "rows": [_named(row) for row in hit.rows],
        "pseudonyms": marks,
        "leaf": base64.b64encode(proven.leaf).decode(),
        "proof": proven.proof,
    }


def hits_csv(hits: Iterable[ProvenHit]) -> str:
    """All rows of all hits for a spreadsheet; leaf and proof stand with each row."""
    return write_spreadsheet(
        _HEAD,
        (
            (
                item.hit.index,
                shown_time(item.hit),
                item.hit.event,
                *_named(row).values(),
                base64.b64encode(item.leaf).decode(),
                base64.b64encode(item.proof.encode()).decode(),
            )
            for item in hits
            for row in item.hit.rows
        ),
    )


def _named(row: LeafRow) -> dict[str, Any]:
    return {
        "actor": row.actor,
        "department": row.department,
        "claim": row.claim,
        "region": row.region,
        "status": row.status,
        "reason": row.reason,
        "count": row.count,
    }


def shown_time(hit: Hit) -> str | None:
    """When the leaf says that it was recorded, in Beijing; None if it cannot be read."""
    if hit.event == UNREADABLE:
        return None
    return datetime.fromtimestamp(hit.time, BEIJING).isoformat(timespec="milliseconds")
