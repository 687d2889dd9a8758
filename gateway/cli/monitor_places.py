"""What `heyan log monitor` looks at besides the log, and where alarms go: packs, witnesses, mirrors, a webhook."""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path

from gateway.cli.endpoints import read_endpoints
from gateway.cli.log_sources import LogOptions
from gateway.monitor.delivery import Webhook, read_secret, require_safe
from gateway.monitor.rules import WindowsOf
from gateway.party.keyfiles import read_public, unusable
from gateway.protocol.errors import MalformedError
from gateway.rulebook import Rulebook
from gateway.rules.windows import Window
from gateway.tile_source import FolderSource, HttpSource


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
    name = hashlib.sha256(origin.encode()).hexdigest()
    return {
        f"witness {url}": HttpSource(f"{require_safe(url, '--witness').rstrip('/')}/{name}", _context(log))
        for url in urls
    }


def mirrors(places: tuple[str, ...], log: LogOptions) -> dict[str, FolderSource | HttpSource]:
    """Other places of the log, by name."""
    return {
        f"mirror {place}": HttpSource(require_safe(place, "--mirror"), _context(log))
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
        try:
            context.load_verify_locations(cadata=read_public(file).decode("ascii", errors="replace"))
        except (ssl.SSLError, ValueError):
            raise unusable(file, "must be PEM certificates") from None
    return context
