"""What is told of witnessing when it goes wrong: in the log, in metrics, and as complaints where the log is at fault.

Proof against the log is kept as a file beside the store, `log_forked.checkpoint` or `log_rolled_back.checkpoint`, for
whoever looks into it. It stays a complaint until the process is started anew, and comes back then if it is still so.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import structlog

from gateway.party.keyfiles import write_atomic
from gateway.protocol.errors import ForgedError, HeyanError, UnreachableError
from gateway.protocol.reasons import Reason
from gateway.witnessing.link import ContradictedError
from gateway.witnessing.traffic import WitnessTraffic

_log = structlog.get_logger(__name__)


class Alarms:
    """Those of one gateway; `folder` takes the proofs, and `on_contradiction` is told of each at once."""

    def __init__(
        self, folder: Path, traffic: WitnessTraffic, on_contradiction: Callable[[HeyanError], None] = lambda _: None
    ) -> None:
        self._folder = folder
        self._on_contradiction = on_contradiction
        self._traffic = traffic
        self._contradictions: dict[Reason, str] = {}
        self._is_old = False

    def complaints(self) -> list[str]:
        """Proof against the log."""
        return list(self._contradictions.values())

    def failed(self, name: str, error: HeyanError) -> None:
        """A witness did not cosign."""
        self._traffic.failed(name, error.reason)
        if isinstance(error, ContradictedError):
            self.contradicted(error)
        elif isinstance(error, ForgedError):
            _log.error("witness_refused_or_lied", witness=name, reason=error.reason.value, detail=error.detail)
        elif isinstance(error, UnreachableError):
            _log.info("witness_unreachable", witness=name, detail=error.detail)
        else:
            _log.warning("witness_not_understood", witness=name, detail=error.detail)

    def contradicted(self, error: ContradictedError) -> None:
        """Keep the proof, and complain from now on."""
        if error.reason in self._contradictions:
            return
        self._contradictions[error.reason] = str(error)
        self._traffic.contradictions.inc()
        file = self._folder / f"{error.reason.value.lower()}.checkpoint"
        self._on_contradiction(error)
        _log.error("log_contradicted", reason=error.reason.value, detail=error.detail, kept=str(file))
        try:
            write_atomic(file, error.note.encode())
        except OSError as fault:
            _log.error("proof_not_kept", kind=type(fault).__name__, checkpoint=error.note)

    def look_at_age(self, seconds: float, *, is_old: bool) -> None:
        """Say once that the newest witnessed head is old, and once that it no longer is."""
        if is_old is not self._is_old:
            self._is_old = is_old
            tell = _log.error if is_old else _log.info
            tell("witnessed_head_is_old" if is_old else "witnessed_head_is_fresh", seconds=round(seconds))
