"""What `heyan log monitor` looks at besides the log, and where alarms go: packs, witnesses, mirrors, a webhook."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.cli.endpoints import read_endpoints
from gateway.cli.log_sources import LogOptions, trust_authority
from gateway.monitor.delivery import Webhook, read_secret, require_nameless, require_safe
from gateway.monitor.rules import WindowsOf
from gateway.protocol.errors import MalformedError
from gateway.protocol.witness_wire import log_path
from gateway.rulebook import Rulebook
from gateway.rules.windows import Window
from gateway.static_log.tile_source import FolderSource, HttpSource


class ReopenedSource:
    """A log's source that can be opened anew: certificates are renewed while a monitor runs. One task uses it."""

    def __init__(self, opening: Callable[[], FolderSource | HttpSource]) -> None:
        self._opening = opening
        self._source = opening()

    async def __aenter__(self) -> Self:
        """Make ready."""
        await self._source.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close what is open."""
        await self._source.__aexit__(kind, error, trace)

    async def reopen(self) -> None:
        """Open the source with the files as they are now; HeyanError if that fails, and the one before goes on."""
        following = self._opening()
        await following.__aenter__()
        before, self._source = self._source, following
        await before.__aexit__(None, None, None)

    async def checkpoint(self) -> bytes:
        """See `TileSource`."""
        return await self._source.checkpoint()

    async def tile(self, level: int, index: int, width: int) -> bytes:
        """See `TileSource`."""
        return await self._source.tile(level, index, width)

    async def entries(self, index: int, width: int) -> list[bytes]:
        """See `TileSource`."""
        return await self._source.entries(index, width)


def rulebook_of(packs: Path | None, log: LogOptions) -> Rulebook | None:
    """The rule packs of a folder, or of the federation; None if neither is named."""
    if packs is None and log.folder is not None:
        packs = log.folder / read_endpoints(log.folder).rules
    return None if packs is None else Rulebook(packs)


def windows_of(book: Rulebook) -> WindowsOf:
    """The counties' windows by its rules, as they are when it is asked."""

    def of(region: str) -> tuple[Window, ...]:
        try:
            return book.rules_of(region).windows
        except MalformedError:
            return ()  # no such county: none of its windows is open

    return of


def witnesses(urls: tuple[str, ...], origin: str, log: LogOptions) -> dict[str, FolderSource | HttpSource]:
    """Where witnesses show what they cosigned of the log `origin`, by name."""
    return {
        f"witness {url}": HttpSource(require_nameless(url, "--witness").rstrip("/") + log_path(origin), _context(log))
        for url in urls
    }


def mirrors(places: tuple[str, ...], log: LogOptions) -> dict[str, FolderSource | HttpSource]:
    """Other places of the log, by name."""
    return {
        f"mirror {place}": HttpSource(require_nameless(place, "--mirror"), _context(log))
        if "://" in place
        else FolderSource(Path(place))
        for place in places
    }


def webhook_of(url: str, secret: Path | None, log: LogOptions) -> Webhook:
    """Where alarms go."""
    return Webhook(require_safe(url, "--webhook"), None if secret is None else read_secret(secret), _context(log))


def _context(log: LogOptions) -> ssl.SSLContext:
    """Whom to trust elsewhere: the system's authorities, that of --ca, and the federation's own."""
    context = ssl.create_default_context()
    files = [log.ca] if log.ca is not None else []
    if log.folder is not None:
        files.append(log.folder / read_endpoints(log.folder).ca)
    for file in files:
        trust_authority(context, file)
    return context
