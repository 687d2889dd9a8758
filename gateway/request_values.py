"""Requests as values: what one settlement commits, and what is known of a request afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from gateway.protocol.leaf import Tags
from gateway.protocol.presentation import Presentation
from gateway.protocol.query import Query, open_part
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.protocol.statistics import Tallies
from gateway.stores.records import KEPT_BACK, Committed, Deferral, RequestKey, Use, Withdrawal
from heyan.v1 import receipt_pb2


@dataclass(frozen=True)
class Resumed:
    """A stored request: its receipt without leaves, and where its leaves stand."""

    query_digest: bytes
    receipt: receipt_pb2.Receipt
    leaf_indexes: tuple[int, ...]
    leaf_key: bytes
    committed: Committed | None = None
    """The only leaf, if it was committed just now: nothing can rest on the request yet."""

    @cached_property
    def answered(self) -> frozenset[str]:
        """Ids of the checks that are settled."""
        asked = {check.check_id for part in self.receipt.parts for check in open_part(part).part.checks}
        return frozenset(asked.difference(self._gaps()))

    @property
    def is_complete(self) -> bool:
        """Whether every check is settled."""
        return next(self._gaps(), None) is None

    def _gaps(self) -> Iterator[str]:
        return (gap.check_id for gap in self.receipt.unavailable if gap.reason != Reason.ANSWERS_CONTRADICT)


@dataclass(frozen=True, slots=True)
class Record:
    """What one settlement commits.

    `leaf` makes the leaf's bytes once tags and registry are known, also those of a settlement that is kept back for
    a reason. With `withheld` set nothing is released, and only leaf and evidence are committed; otherwise the commit
    itself may keep it back: a use is spent, the request_id taken, or a grant of `standing` withdrawn meanwhile.
    """

    key: RequestKey
    query: Query
    query_digest: bytes
    grants: tuple[Presentation, ...]
    receipt: receipt_pb2.Receipt
    earlier: Resumed | None
    uses: tuple[Use, ...]
    statement_digests: tuple[bytes, ...]
    leaf: Callable[[Tags, Registry, Reason | None], bytes]
    withheld: Reason | None
    standing: tuple[Withdrawal, ...]
    tallies: Tallies
    kept_from: float
    """From when retention counts: the leaf's time or the end of the grants, whichever is later."""
    deferral: Deferral | None = None
    """What the request waits for from now on, its message still in the clear."""
    ended: Reason | None = None
    """Why it waits no longer, if that is not because it was answered."""
    reverifies: tuple[bytes, ...] = ()
    """Corrected disputes that the settlement answers after."""


class KeptBack(Mapping[Reason, bytes]):
    """The leaf for each reason for which a commit may keep a settlement back, made when it does: most never are."""

    def __init__(self, leaf: Callable[[Reason], bytes]) -> None:
        self._leaf = leaf

    def __getitem__(self, reason: Reason) -> bytes:
        if reason not in KEPT_BACK:
            raise KeyError(reason)
        return self._leaf(reason)

    def __iter__(self) -> Iterator[Reason]:
        return iter(KEPT_BACK)

    def __len__(self) -> int:
        return len(KEPT_BACK)
