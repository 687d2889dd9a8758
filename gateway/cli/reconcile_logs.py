"""The logs of a reconciliation: over gRPC those that a gateway keeps, or any of them as tiles, read leaf by leaf."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, replace
from typing import Protocol

from gateway.audit.log_view import LogView
from gateway.cli.endpoints import Auditor
from gateway.cli.log_sources import LogOptions, open_log
from gateway.cli.options import usage_error
from gateway.log_reader import LogReader
from gateway.protocol.checkpoint import Checkpoint, open_checkpoint, origin_of
from gateway.protocol.errors import BadDataError, ForgedError, NotFoundError
from gateway.protocol.log_keys import UNKNOWN_TIME, proof_verifiers
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.protocol.registry_terms import GatewayTerms
from gateway.static_log.tile_proofs import read_leaves
from gateway.static_log.tile_source import FolderSource, HttpSource


class LeafSource(Protocol):
    """A log to read. Errors are those of its transport."""

    async def checkpoint(self) -> str:
        """The newest checkpoint, a signed note, unverified."""
        ...

    def leaves(self, start: int, checkpoint: Checkpoint) -> AsyncIterator[bytes]:
        """The leaves from an index to the checkpoint's size."""
        ...

    async def leaf(self, index: int, checkpoint: Checkpoint) -> bytes:
        """One leaf."""
        ...


class GrpcLeaves:
    """A log, as its gateway answers an auditor."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader

    async def checkpoint(self) -> str:
        """See the port."""
        return await self._reader.checkpoint()

    async def leaves(self, start: int, checkpoint: Checkpoint) -> AsyncIterator[bytes]:
        """See the port; ForgedError if they end early."""
        while start < checkpoint.size:
            page = (await self._reader.leaves(start))[: checkpoint.size - start]
            if not page:
                raise ForgedError(Reason.PROOF_INVALID, "the leaves end before the checkpoint")
            start += len(page)
            for leaf in page:
                yield leaf

    async def leaf(self, index: int, checkpoint: Checkpoint) -> bytes:
        """See the port."""
        page = await self._reader.leaves(index)
        if not page or index >= checkpoint.size:
            raise ForgedError(Reason.PROOF_INVALID, "the log no longer shows a leaf that it had")
        return page[0]


class TileLeaves:
    """A log as tiles."""

    def __init__(self, source: FolderSource | HttpSource) -> None:
        self._source = source

    async def checkpoint(self) -> str:
        """See the port; ForgedError if it is no text."""
        try:
            return (await self._source.checkpoint()).decode()
        except UnicodeDecodeError:
            raise ForgedError(Reason.PROOF_INVALID, "the checkpoint is no signed note") from None

    async def leaves(self, start: int, checkpoint: Checkpoint) -> AsyncIterator[bytes]:
        """See the port."""
        async for _, leaf in read_leaves(self._source, start, checkpoint.size, checkpoint):
            yield leaf

    async def leaf(self, index: int, checkpoint: Checkpoint) -> bytes:
        """See the port."""
        (found,) = [leaf async for _, leaf in read_leaves(self._source, index, index + 1, checkpoint)]
        return found


@dataclass(frozen=True, slots=True)
class OpenLog:
    """A log that is read: `is_copy` says that it may be older than what its gateway has."""

    view: LogView
    source: LeafSource
    place: str
    is_copy: bool


@dataclass(frozen=True, slots=True)
class GatewayLogs:
    """A gateway's logs, oldest first; those without an entry in `opened` are known, and not read."""

    views: tuple[LogView, ...]
    opened: dict[str, OpenLog]

    @property
    def is_copy(self) -> bool:
        """Whether the log that is written now is read from a copy."""
        newest = self.opened.get(self.views[-1].origin)
        return newest is None or newest.is_copy

    async def read_again(self) -> GatewayLogs:
        """The same logs under their newest checkpoints; BadDataError if one is not signed any more."""
        opened = {}
        for origin, log in self.opened.items():
            note = await log.source.checkpoint()
            log.view.open(note)
            opened[origin] = replace(log, view=replace(log.view, checkpoint=note))
        views = tuple(opened[view.origin].view if view.origin in opened else view for view in self.views)
        return GatewayLogs(views, opened)


def known_logs(registry: Registry, gateway: str) -> tuple[LogView, ...]:
    """The logs of a gateway by the registry, oldest first, none of them read yet; MalformedError."""
    terms = _terms(registry, gateway)
    return tuple(_view(registry, gateway, origin) for origin in terms.origins)


def _view(registry: Registry, gateway: str, origin: str) -> LogView:
    named = proof_verifiers(registry, gateway, origin, 0.0)
    sound = proof_verifiers(registry, gateway, origin, UNKNOWN_TIME)
    return LogView(origin, frozenset({gateway}), named, lost=frozenset(named) - frozenset(sound))


async def open_logs(
    known: Sequence[LogView], places: Sequence[str], options: LogOptions, auditor: Auditor | None, stack: AsyncExitStack
) -> GatewayLogs:
    """Connect to every place, and to the gateway itself for those of its logs that no place has, if `auditor` is set.

    Raises MalformedError (CONFIGURATION_INVALID) for a place that is no log of this gateway, or two of one.
    """
    opened: dict[str, OpenLog] = {}
    by_origin = {view.origin: view for view in known}
    for place in places:
        source = _opened(place, options, known)
        await stack.enter_async_context(source)
        leaves, is_copy = TileLeaves(source), isinstance(source, FolderSource)
        log = await _open(leaves, place, by_origin, is_copy=is_copy)
        if log.view.origin in opened:
            raise usage_error("LOGS", f"{place} is {log.view.origin}, which {opened[log.view.origin].place} is too")
        opened[log.view.origin] = log
    missing = [view.origin for view in known if view.origin not in opened]
    if missing and auditor is not None:
        reader = await stack.enter_async_context(_connected(auditor))
        for origin in missing:
            kept = GrpcLeaves(reader.of(origin))
            try:
                opened[origin] = await _open(kept, auditor.gateway.uri, by_origin, is_copy=False)
            except NotFoundError:
                if origin == known[-1].origin:
                    raise
                # An ended log that the gateway does not keep beside the present one: its folder or URL must be named.
    if not opened:
        raise usage_error("LOGS", "or --dir must say which log to read")
    views = tuple(opened[view.origin].view if view.origin in opened else view for view in known)
    return GatewayLogs(views, opened)


def require_current_signature(view: LogView, registry: Registry, gateway: str, newest_leaf: float) -> None:
    """Refuse a log whose checkpoint no key signed that may prove its newest leaf: one of a retired key; ForgedError."""
    open_checkpoint(view.checkpoint.encode(), proof_verifiers(registry, gateway, view.origin, newest_leaf), view.origin)


def _connected(auditor: Auditor) -> AbstractAsyncContextManager[LogReader]:
    return auditor.reader


def _opened(place: str, options: LogOptions, known: Sequence[LogView]) -> FolderSource | HttpSource:
    if options.folder is None and not options.vkeys:
        # What is believed is the registry's word, held against each checkpoint; this only says so to whoever opens.
        options = replace(options, vkeys=tuple(key.format() for key in known[-1].verifiers))
    return open_log(place, options).source


async def _open(source: LeafSource, place: str, by_origin: dict[str, LogView], *, is_copy: bool) -> OpenLog:
    note = await source.checkpoint()
    try:
        origin = origin_of(note)
    except BadDataError:
        raise ForgedError(Reason.PROOF_INVALID, f"{place} shows no checkpoint") from None
    view = by_origin.get(origin)
    if view is None:
        raise usage_error("LOGS", f"{place} is {origin}, which is no log of this gateway in the registry")
    view.open(note)
    return OpenLog(replace(view, checkpoint=note), source, place, is_copy)


def _terms(registry: Registry, gateway: str) -> GatewayTerms:
    terms = registry.party(gateway).gateway
    if terms is None:
        raise usage_error("--gateway", "must be a gateway of the registry")
    return terms
