"""What an entry names of what is kept beside the log: grants and requests, for adapters that look them up at once."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.stores.records import Entry, RequestKey, Withdrawal


def kept_of(entry: Entry) -> Iterable[bytes]:
    """Digests of the grants whose evidence the entry rests on."""
    yield from (item.grant_digest for item in entry.evidence)
    if entry.request is not None:
        yield entry.request.grant_digest
    if entry.ticket is not None:
        yield entry.ticket.ticket.grant_digest
    if entry.dispute is not None:
        yield entry.dispute.grant_digest


def grants_of(entry: Entry) -> Iterable[bytes]:
    """Those, and digests of the grants whose uses it spends."""
    yield from kept_of(entry)
    yield from (use.grant_digest for use in entry.uses)


def withdrawals_of(entry: Entry) -> Iterable[Withdrawal]:
    """The withdrawals that would keep the entry back, and the one that it records."""
    yield from entry.standing
    if entry.withdrawal is not None:
        yield entry.withdrawal


def requests_of(entry: Entry) -> Iterable[RequestKey]:
    """The requests that the entry is of."""
    if entry.request is not None:
        yield entry.request.key
    if entry.ticket is not None:
        yield RequestKey(entry.ticket.ticket.key.requester, entry.ticket.ticket.request_id)
    if entry.dispute is not None:
        yield entry.dispute.key
