"""Rule packs as they travel: the files of one county, whole, from which whoever holds them makes the same rules again.

A receipt carries them, so that its verdict is computed by the rules of its day; the digest that the requester signed
says which rules those are. Nothing that a bundle says is believed before it is read like any other pack.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from gateway.protocol.codec import encode, parse
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.reasons import Reason
from gateway.rules.layering import rules_of
from gateway.rules.pack import Pack, regions_above
from gateway.rules.pack_file import read_pack
from gateway.rules.reading import MAX_PACK
from gateway.rules.region_rules import RegionRules
from heyan.v1 import verdict_pb2

MAX_BUNDLE = 3 * MAX_PACK + 1_024
"""Bytes: province, city and county."""


def write_bundle(region: str, packs: Mapping[str, Pack]) -> bytes:
    """The packs that count in `region`, province first, as bytes of `heyan.v1.RulePacks`."""
    counting = [packs[code].source.data for code in regions_above(region) if code in packs]
    return encode(verdict_pb2.RulePacks(region=region, packs=counting))


@lru_cache(maxsize=64)
def read_bundle(data: bytes, rules_digest: bytes) -> RegionRules:
    """The rules that a bundle makes, held against their digest.

    Raises MalformedError if it cannot be read or does not fit together, ForgedError (RECEIPT_INVALID) if these are
    other rules. What was read is kept, because the receipts of a county carry the same packs.
    """
    message = parse(verdict_pb2.RulePacks, data, MAX_BUNDLE)
    packs: dict[str, Pack] = {}
    for number, text in enumerate(message.packs):
        pack = read_pack(f"packs[{number}]", text)
        if pack.region in packs or pack.region not in regions_above(message.region):
            raise MalformedError.at(f"packs[{number}]", "must be of the region or above it, each once")
        packs[pack.region] = pack
    rules = rules_of(message.region, packs)
    if rules.digest() != rules_digest:
        raise ForgedError(Reason.RECEIPT_INVALID, "not the rules that the application names")
    return rules
