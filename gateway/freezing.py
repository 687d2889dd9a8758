"""Ending a gateway's log and beginning the next, in the order that leaves nobody without a log to believe.

1. the registry lists the next origin and, before it, the one that ends (`heyan registry next-log`): from then on
   every party believes checkpoints of both, and the gateway signs as whichever of them its store says grows;
2. once every party can have read that, the log ends (`freeze_log`): its last leaf names the next origin, the first leaf
   of the next names the final size and root, and both are one commit of the store;
3. the gateway goes on without a restart: its next commit finds the log that grows.

A freeze that failed may be durable; repeating it says so, and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.leaves import LeafStamp
from gateway.log import Log
from gateway.protocol.errors import ConflictError, MalformedError
from gateway.protocol.reasons import Reason
from gateway.protocol.registry_terms import GatewayTerms
from gateway.stores.port import Store
from gateway.stores.records import Freeze, Head
from heyan.v1 import log_pb2

ADOPTION_TIME = 10.0
"""Seconds after a registry's issue in which parties, which look each second, may not have read it yet."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """The final head of the log that ended, and the next log's at its beginning; `was_before`: by an earlier call."""

    ended: Head
    begun: Head
    was_before: bool


def freeze_log(store: Store, log: Log, stamp: LeafStamp, terms: GatewayTerms, next_origin: str) -> Frozen:
    """End the store's log, to go on as `next_origin`. `log` signs as both, and is not started.

    Raises MalformedError (CONFIGURATION_INVALID) if the registry does not say so, ConflictError (LOG_ENDED) if the
    store's log is another, and what `Store.freeze` raises.
    """
    require_known_log(store, terms)
    if terms.log_origin != next_origin or not terms.ended_origins:
        description = "must be what the registry says that the log goes on as: heyan registry next-log"
        raise MalformedError.at("--next-origin", description, Reason.CONFIGURATION_INVALID)
    ending = terms.ended_origins[-1]
    shards = store.shards()
    if [head.origin for head in shards[-2:]] == [ending, next_origin]:
        return Frozen(shards[-2], shards[-1], was_before=True)
    last = stamp(log_pb2.LogLeaf(shard_end=log_pb2.ShardEndEvent(next_origin=next_origin)))

    def first_leaf(final: Head) -> bytes:
        event = log_pb2.ShardStartEvent(
            previous_origin=final.origin, previous_size=final.size, previous_root=final.root
        )
        return stamp(log_pb2.LogLeaf(shard_start=event))

    ended, begun = log.freeze(Freeze(ending, last, next_origin, first_leaf))
    return Frozen(ended, begun, was_before=False)


def require_known_log(store: Store, terms: GatewayTerms) -> None:
    """Refuse a store whose logs are not those of the registry, in their order.

    MalformedError (CONFIGURATION_INVALID) if the store is empty though logs have ended, or ConflictError (LOG_ENDED) if
    it lacks one that ended, or has one that the registry does not know.
    """
    kept = tuple(head.origin for head in store.shards())
    if not kept and terms.ended_origins:
        detail = f"the registry says that {terms.ended_origins[-1]} has ended, and the store has no log: restore it"
        raise MalformedError.at("store", detail, Reason.CONFIGURATION_INVALID)
    allowed = {terms.origins, terms.origins[:-1]} if terms.ended_origins else {terms.origins, ()}
    if kept not in allowed:
        detail = f"the store has {', '.join(kept)}; the registry lists {', '.join(terms.origins)}"
        raise ConflictError(Reason.LOG_ENDED, detail)
