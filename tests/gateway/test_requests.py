"""Requests as they are committed: what stands in the leaf and what in the receipt are of one moment."""

from __future__ import annotations

from typing import Any

from gateway.protocol.leaf import read_leaf
from gateway.protocol.outcomes import Outcome
from gateway.protocol.receipt import VerifiedReceipt, verify_receipt
from gateway.protocol.registry import Registry
from heyan.v1 import receipt_pb2
from tests import federation as fed
from tests.fakes import FakeDepartment
from tests.gateway.conftest import Gateway


class Restless:
    """A federation that publishes so fast that each look at the registry finds a newer one adopted.

    The registry is read and verified beside the event loop: between any two looks it may be another.
    """

    def __init__(self, federation: fed.Federation) -> None:
        self._federation = federation
        self.published = {federation.registry.version: federation.registry}

    @property
    def registry(self) -> Registry:
        self._federation = self._federation.changed(lambda document: document)
        newest = self._federation.registry
        self.published[newest.version] = newest
        return newest

    def __getattr__(self, name: str) -> Any:
        return getattr(self._federation, name)

    def check(self, receipt: receipt_pb2.Receipt) -> VerifiedReceipt:
        """Check a receipt as a client would that has adopted what its last leaf names, and nothing newer."""
        named = read_leaf(receipt.leaves[-1].leaf).registry_version
        receipt.registry = self.published[named].token
        return verify_receipt(receipt, self._federation.operator.public_key())


async def test_registry_adopted_while_a_query_is_recorded_leaves_its_receipt_good(
    gateway: Gateway, land: FakeDepartment
) -> None:
    submission, restless = gateway.submission(), Restless(gateway.federation)
    gateway.federation = restless  # type: ignore[assignment]
    first = restless.check(await gateway.send(submission))
    land.failure = None
    second = restless.check(await gateway.send(submission))
    assert [answer.outcome for answer in first.answers] == [Outcome.YES, Outcome.YES, Outcome.UNAVAILABLE]
    assert [answer.outcome for answer in second.answers] == [Outcome.YES] * 3
    assert second.registry_version > first.registry_version > 1
