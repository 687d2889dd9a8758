"""Log lines of refusals: one each, but for those of an overload, of which a second has one line for each kind.

What is refused because the process is full is refused in thousands. A line for each would cost more than the refusal
does, fill the disk, and bury what else is told; how many there were is what anybody wants to know of them.
"""

from __future__ import annotations

import asyncio
from collections import Counter

import structlog

from gateway.protocol.errors import HeyanError, OverloadedError

_log = structlog.get_logger(__name__)

INTERVAL = 1.0
"""Seconds for which refusals of an overload are counted before they are told."""


class RefusalLines:
    """Tells of refusals. Used on one event loop."""

    def __init__(self) -> None:
        self._counted: Counter[tuple[str, str, str]] = Counter()

    def tell(self, method: str, error: HeyanError) -> None:
        """Tell of a refusal, now or with its like."""
        if not isinstance(error, OverloadedError):
            _log.info("refused", method=method, reason=error.reason.value, detail=error.detail)
            return
        if not self._counted:
            asyncio.get_running_loop().call_later(INTERVAL, self._tell_counted)
        self._counted[method, error.reason.value, error.detail] += 1

    def _tell_counted(self) -> None:
        counted, self._counted = self._counted, Counter()
        for (method, reason, detail), count in counted.items():
            _log.info("refused", method=method, reason=reason, detail=detail, count=count)
