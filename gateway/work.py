"""What the steps of the pipeline hand on to each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from consent.verified import VerifiedGrant
from gateway.protocol.application import Application
from gateway.protocol.disputes import spending
from gateway.protocol.presentation import Submission
from gateway.protocol.query import Check, OpenedPart, Query
from gateway.request_values import Resumed
from gateway.stores.records import RequestKey, Use


@dataclass(frozen=True, slots=True)
class Work:
    """A decoded request, its bytes as received; once it was looked up, what it serves, and what is known of its id."""

    message: bytes
    submission: Submission
    query: Query
    key: RequestKey
    application: Application | None = None
    resumed: Resumed | None = None

    @property
    def region(self) -> str:
        """The county of the application; empty if none is named."""
        return self.application.region if self.application is not None else ""

    @property
    def answered(self) -> frozenset[str]:
        """Ids of the checks that a department's statement answers already."""
        return self.resumed.answered if self.resumed is not None else frozenset()


@dataclass(frozen=True, slots=True)
class Granted:
    """A query whose consent holds: its parts, and its grants by digest in the query's order."""

    work: Work
    parts: tuple[OpenedPart, ...]
    grants: Mapping[bytes, VerifiedGrant]

    @property
    def checks(self) -> list[Check]:
        """The checks of all parts."""
        return [check for part in self.parts for check in part.part.checks]

    def uses(self, checks: Iterable[Check]) -> tuple[Use, ...]:
        """The authorizations that `checks` spend, each once; what is asked after a correction spends none."""
        spent = (use for check in spending(checks) for use in check.authorizations)
        uses = dict.fromkeys((use.grant_digest, use.authorization) for use in spent)
        return tuple(
            Use(
                digest,
                index,
                self.grants[digest].authorizations[index].max_uses,
                self.grants[digest].expires,
            )
            for digest, index in uses
        )
