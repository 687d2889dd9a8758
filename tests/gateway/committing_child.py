"""A process that commits without end, and says of each commit what became durable, until it is killed."""

from __future__ import annotations

import sys
from pathlib import Path

from gateway.protocol.reasons import Reason
from gateway.stores.records import Entry, Evidence, RequestKey, StoredRequest, Use
from gateway.stores.sqlite import SqliteStore

REQUESTER = "spiffe://heyan/requester/edu"
USES = 25
"""Of each grant; every commit of one query wants one."""
GROUP = 3


def grant_of(number: int) -> bytes:
    return (number // (2 * USES)).to_bytes(32, "big")


def request_id_of(number: int) -> bytes:
    return number.to_bytes(16, "big")


def statement_of(number: int) -> bytes:
    return b"s" * 16 + number.to_bytes(16, "big")


def entry_of(number: int) -> Entry:
    """The entry of a query: twice as many want a grant as may use it."""
    grant = grant_of(number)
    return Entry(
        leaf=b"leaf %d" % number,
        statement_digests=(statement_of(number),),
        withheld={Reason.GRANT_USED_UP: b"kept back %d" % number},
        request=StoredRequest(RequestKey(REQUESTER, request_id_of(number)), b"q" * 32, 2e9, grant, b"state"),
        uses=(Use(grant, 0, USES, 2e9),),
        evidence=(Evidence(grant, b"key", b"text"),),
    )


def sign(size: int, root: bytes, _origin: str | None = None) -> str:
    return f"log.test/1\n{size}\n{root.hex()}\n"


def commit_without_end(path: Path, first: int) -> None:
    store = SqliteStore(path)
    number = first
    while True:
        numbers = range(number, number + GROUP)
        committed = store.commit([entry_of(item) for item in numbers], sign)
        for item, done in zip(numbers, committed, strict=True):
            kept_back = done.withheld.value if done.withheld else "-"
            sys.stdout.write(f"{item} {done.leaf_index} {kept_back} {done.head.size} {done.head.root.hex()}\n")
        sys.stdout.flush()
        number += GROUP


if __name__ == "__main__":
    commit_without_end(Path(sys.argv[1]), int(sys.argv[2]))
