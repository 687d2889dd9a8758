"""The issuer's status lists: an index for each new grant, and the signed tokens that readers fetch.

An index is drawn at random and never given twice, once a grant has it. A token is signed again when it is asked for
after a second, and at once when a grant of it was withdrawn.
"""

from __future__ import annotations

from collections.abc import Callable

from consent.drafting import RandomBytes
from consent.grant import StatusReference
from consent.issuer.store import IssuerStore
from consent.status_list import LIST_SIZE, StatusList, sign_status_list
from gateway.protocol.errors import NotFoundError
from gateway.protocol.keys import SigningKey
from gateway.protocol.reasons import Reason

RESIGN_SECONDS = 1.0
"""How old a token may be that is handed out again."""
_DRAWS = 8
"""Draws of a free index before a new list is begun: a list gets about two thirds full."""


class PublishedLists:
    """The lists of one issuer under `base_uri`. One thread calls `token` and `changed`; another may call `reserve`."""

    def __init__(
        self,
        *,
        store: IssuerStore,
        base_uri: Callable[[], str],
        signing_key: Callable[[], SigningKey],
        clock: Callable[[], float],
        random_bytes: RandomBytes,
    ) -> None:
        self._store = store
        self._base_uri = base_uri
        self._signing_key = signing_key
        self._clock = clock
        self._random_bytes = random_bytes
        self._signed: dict[int, tuple[float, str]] = {}

    def reserve(self, draft: str) -> tuple[int, StatusReference]:
        """The number of a list, and a free place in it, taken for a draft."""
        number = self._store.newest_status_list()
        while True:
            for _ in range(_DRAWS):
                index = int.from_bytes(self._random_bytes(4), "big") % LIST_SIZE
                if self._store.reserve_status_index(draft, number, index):
                    return number, StatusReference(index, self._uri(number))
            number += 1

    def token(self, number: int) -> str:
        """The token of a list, signed within the last second; NotFoundError."""
        now = self._clock()
        held = self._signed.get(number)
        if held is not None and 0 <= now - held[0] < RESIGN_SECONDS:
            return held[1]
        if not 0 <= number <= self._store.newest_status_list():
            raise NotFoundError(Reason.NOT_FOUND, "no such status list")
        statuses = StatusList.of(self._store.revoked_indexes(number))
        token = sign_status_list(statuses, self._uri(number), int(now), self._signing_key())
        self._signed[number] = (now, token)
        return token

    def changed(self, number: int) -> None:
        """A grant of this list was withdrawn."""
        self._signed.pop(number, None)

    def _uri(self, number: int) -> str:
        return f"{self._base_uri().rstrip('/')}/status-lists/{number}"
