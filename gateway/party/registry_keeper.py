"""Keeping the federation registry: the newest version seen, never an older one, never two of one version.

Invariants (the rules themselves are gateway.protocol.registry.adopt):

- a newer version is durable in the party's own folder before anyone in the process sees it, so that a restart
  never falls back behind it, also if the published file is rolled back meanwhile;
- so with several processes of one party, which share that copy: what one has kept holds for the others as well;
- a bad document leaves the old one in force, and is logged once, not once a second;
- an own copy that does not verify stops the start: going on with the published file alone would let whoever
  damaged the copy roll the party back.

The operator's key is pinned as a C2SP verifier key `<name>+<8 hex digits>+<base64>`; the JWS names it in `kid` as
`<name>+<8 hex digits>`, so that another key of the same name has another kid.

What it does not do: fetch the published file from elsewhere (a mount, rsync or curl does), or judge expiry:
`current().require_current(now)` is for whoever takes on new work.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import structlog

from gateway.party.config import RegistryFiles
from gateway.party.keyfiles import FOLDER_MODE, Stamp, stamp, unusable, write_atomic
from gateway.party.process import repeat
from gateway.protocol.errors import HeyanError, NotCurrentError
from gateway.protocol.keys import Algorithm, PublicKey
from gateway.protocol.note import VerifierKey
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import MAX_REGISTRY, Registry, adopt, open_registry

LOOK_INTERVAL = 1.0
"""Seconds between looks at the published file."""
PATIENCE = 2.0
"""Seconds for which another process of the party may keep this one from its copy."""
_STEP = 0.01
_REMEMBERED_REFUSALS = 256

_log = structlog.get_logger(__name__)


def operator_key(vkey: str) -> PublicKey:
    """The operator's key of its C2SP vkey, its kid `<name>+<8 hex digits>`; MalformedError."""
    key = VerifierKey.parse(vkey.strip())
    return PublicKey(operator_kid(key), Algorithm.ED25519, key.public_key)


def operator_kid(key: VerifierKey) -> str:
    """The `kid` under which the operator's key signs registries."""
    return f"{key.name}+{key.key_id.hex()}"


class RegistryKeeper:
    """The registry that a party holds. `current` is cheap; `refresh` reads files, from any thread.

    The constructor loads the own copy and looks at the published file once; it raises what `open_registry` raises
    for an own copy that does not verify. `clock` gives seconds since the epoch.
    """

    def __init__(self, config: RegistryFiles, clock: Callable[[], float]) -> None:
        self._config = config
        self._clock = clock
        self._operator = operator_key(config.operator_vkey)
        self._lock = threading.Lock()
        self._refused: set[bytes] = set()
        self._looked_at: Stamp | None = None
        self._held = self._load_seen()
        self.refresh()

    def current(self) -> Registry:
        """The newest registry seen; NotCurrentError (REGISTRY_INVALID) if there has never been one."""
        if self._held is None:
            detail = f"no registry yet: {self._config.source} has none that the pinned key signed"
            raise NotCurrentError(Reason.REGISTRY_INVALID, detail)
        return self._held

    def refresh(self) -> bool:
        """Look at the published file; whether a newer registry was adopted. Refusals are logged, not raised."""
        return self._look() is not None

    async def run(self, interval: float = LOOK_INTERVAL) -> None:
        """Look every `interval` seconds until cancelled, reading and verifying off the event loop."""
        await asyncio.sleep(interval)
        await repeat(interval, lambda: asyncio.to_thread(self.refresh), "look at the registry")

    def _look(self) -> Registry | None:
        with self._lock:
            seen = stamp((self._config.source,))
            if seen == self._looked_at:
                return None
            token = ""
            try:
                token = _read(self._config.source)
                with _alone_in(self._config.seen.parent):
                    self._take_up_kept()
                    registry = adopt(self._held, token, self._operator, self._clock())
                    changed = registry is not self._held
                    if changed:
                        write_atomic(self._config.seen, token.encode("ascii"))
            except (HeyanError, OSError) as error:
                # Not marked as looked at: a document "from the future" or a full disk may be well a second later.
                self._log_once(token, error)
                return None
            self._looked_at = seen
            if not changed:
                return None
            self._held = registry
            _log.info("registry_adopted", version=registry.version, digest=registry.digest.hex())
            return registry

    def _take_up_kept(self) -> None:
        """Hold what another process of the party has kept meanwhile, if that is newer."""
        kept = self._load_seen()
        if kept is not None and (self._held is None or kept.version > self._held.version):
            self._held = kept

    def _load_seen(self) -> Registry | None:
        if not self._config.seen.exists():
            return None
        return open_registry(_read(self._config.seen), self._operator)

    def _log_once(self, token: str, error: HeyanError | OSError) -> None:
        cause = str(error.strerror) if isinstance(error, OSError) else str(error)  # the former names random files
        mark = sha256(f"{token}\x00{cause}".encode()).digest()
        if mark in self._refused:
            return
        if len(self._refused) >= _REMEMBERED_REFUSALS:
            self._refused.clear()
        self._refused.add(mark)
        held = self._held.version if self._held is not None else None
        _log.error("registry_refused", source=str(self._config.source), held_version=held, error=cause)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep the party's other processes from writing to its copy meanwhile. Raises OSError.

    One that stands still, or whoever else may read the folder and holds it, must not stop the others for ever: they
    would go on with keys that were revoked, and say nothing of it.
    """
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise
            time.sleep(_STEP)
        else:
            return


def _read(path: Path) -> str:
    """The token of a registry file, without the newline that an editor may have added; MalformedError."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_REGISTRY + 2).decode("ascii").strip()
    except OSError as error:
        raise unusable(path, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise unusable(path, "must be a compact JWS") from None
