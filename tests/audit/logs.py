"""A gateway's log and statistics made by hand, as an auditor reads them, and bent by tests that make it lie."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256

from gateway.auditing import AuditedLog, LogAudit
from gateway.protocol.checkpoint import Checkpoint, sign_checkpoint
from gateway.protocol.codec import to_timestamp
from gateway.protocol.leaf import CheckStatus, write_leaf
from gateway.protocol.merkle import inclusion_path, leaf_hash, root_of
from gateway.protocol.note import SignerKey
from gateway.protocol.offline import OfflineGround
from gateway.protocol.statistics import StatisticKey, StatisticsPage, beijing_day
from heyan.v1 import log_pb2
from tests import federation as fed

MIDNIGHT = 1_811_779_200
"""2027-06-01 00:00:00 in Beijing."""
DAY_1, DAY_2, DAY_3 = "2027-06-01", "2027-06-02", "2027-06-03"
WINDOW = (DAY_1, DAY_2)
POLICE, LAND = (f"spiffe://heyan/department/{name}" for name in ("police", "land"))
HUKOU, HOME = "hukou.child_registered@1", "property.owns_home@1"
YUELU, FURONG = "430104", "430102"
A = CheckStatus
UNREACHABLE = "DEPARTMENT_UNREACHABLE"


@cache
def federation() -> fed.Federation:
    return fed.Federation.create(MIDNIGHT)


@cache
def signer(gateway: str = fed.GATEWAY) -> SignerKey:
    key = federation().signing_keys[gateway].private
    return SignerKey.from_seed(fed.LOG_ORIGIN, key.private_bytes_raw())  # type: ignore[union-attr]


@dataclass(frozen=True)
class Asked:
    """One row of a leaf. `verified` is what only the statistics say; the tag is of `check`, or a fresh one."""

    department: str = POLICE
    claim: str = HUKOU
    region: str = FURONG
    status: CheckStatus = A.ANSWERED
    verified: bool = True
    reason: str = ""
    check: str = ""


def silent(check: str, department: str = LAND, claim: str = HOME, **more: str) -> Asked:
    """A department that did not answer."""
    return Asked(department, claim, status=A.UNAVAILABLE, verified=False, reason=UNREACHABLE, check=check, **more)


@dataclass
class Books:
    """Leaves, and statistics by day. Implements `gateway.auditing.LogPort`."""

    leaves_: list[bytes] = field(default_factory=list)
    counts: defaultdict[str, Counter[StatisticKey]] = field(default_factory=lambda: defaultdict(Counter))
    page: int = 1_000
    shown: int | None = None
    """Leaves under the checkpoint, if not all."""
    signer: SignerKey = field(default_factory=signer)
    calls: list[str] = field(default_factory=list)
    others: dict[str, Books] = field(default_factory=dict)
    """Other logs of the same gateway, by origin."""

    # -- the gateway's ----------------------------------------------------------------------------------------

    def record(self, *rows: Asked, at: float = MIDNIGHT, requester: str = fed.REQUESTER, bucket: int = 4) -> int:
        """Log one query and count it, as a gateway should; the leaf's index."""
        event = log_pb2.VerificationEvent(requester=requester, query_tag=bytes(32), purpose="enrolment")
        day = beijing_day(int(at))
        heard: dict[str, str] = {}
        for row in rows:
            number = len(self.leaves_), len(event.checks)
            event.checks.add(
                department=row.department,
                claim=row.claim,
                region=row.region,
                status=row.status.value,  # type: ignore[arg-type]
                statement_digest=bytes(32) if row.status.has_statement else b"",
                reason=row.reason,
                check_tag=sha256((row.check or str(number)).encode()).digest(),
            )
            verdict = row.status is A.ANSWERED and row.verified
            self.counts[day][StatisticKey(row.region, row.department, row.claim, row.status, verdict, row.reason)] += 1
            if row.status is not A.UNAVAILABLE:
                heard.setdefault(row.department, row.region)
        for department, region in heard.items():
            self.counts[day][StatisticKey(region, department, bucket=bucket)] += 1
        if heard:
            self.counts[day][StatisticKey(rows[0].region, "", bucket=bucket)] += 1
        return self.append(log_pb2.LogLeaf(verification=event), at)

    def open_ticket(self, ticket: str, ground: OfflineGround, at: float = MIDNIGHT, region: str = FURONG) -> int:
        """Log an offline ticket, of a check or, if the rules name no claim, of a material."""
        event = log_pb2.OfflineTicketEvent(
            requester=fed.REQUESTER,
            query_tag=bytes(32),
            region=region,
            ground=ground.value,  # type: ignore[arg-type]
            ticket_tag=sha256(ticket.encode()).digest(),
        )
        if ground is OfflineGround.OFFLINE_ONLY:
            event.material = "physical_examination"
        else:
            event.check_tag, event.department, event.claim = bytes(32), LAND, HOME
        return self.append(log_pb2.LogLeaf(offline_ticket=event), at)

    def resolve_ticket(self, ticket: str, at: float = MIDNIGHT) -> int:
        event = log_pb2.OfflineResultEvent(
            requester=fed.REQUESTER,
            ticket_tag=sha256(ticket.encode()).digest(),
            result_digest=bytes(32),
            region=FURONG,
        )
        return self.append(log_pb2.LogLeaf(offline_result=event), at)

    def refuse(self, reason: str, method: str = "GatewayService/Verify", at: float = MIDNIGHT, **more: str) -> int:
        """Log a refusal of a requester, or of `peer`."""
        event = log_pb2.RefusalEvent(
            peer=more.get("peer", fed.REQUESTER),
            method=f"/heyan.v1.{method}",
            reason=reason,
            message_digest=bytes(32),
            region=more.get("region", ""),
        )
        return self.append(log_pb2.LogLeaf(refusal=event), at)

    def append(self, leaf: log_pb2.LogLeaf, at: float = MIDNIGHT) -> int:
        leaf.gateway = fed.GATEWAY
        leaf.log_time.CopyFrom(to_timestamp(at))
        self.leaves_.append(write_leaf(leaf))
        return len(self.leaves_) - 1

    def note(self, size: int | None = None) -> str:
        some = self.leaves_[: len(self.leaves_) if size is None else size]
        root = root_of([leaf_hash(leaf) for leaf in some])
        return sign_checkpoint(Checkpoint(self.signer.verifier.name, len(some), root), [self.signer])

    # -- the port ---------------------------------------------------------------------------------------------

    async def checkpoint(self) -> str:
        self.calls.append("checkpoint")
        return self.note(self.shown)

    async def leaves(self, start: int) -> Sequence[bytes]:
        self.calls.append("leaves")
        return self.leaves_[start : start + self.page]

    async def statistics(self, day: str, after: StatisticKey | None) -> tuple[StatisticsPage, bool]:
        self.calls.append("statistics")
        rows = [row for row in sorted(self.counts[day].items()) if after is None or row[0] > after]
        size = len(self.leaves_)
        return StatisticsPage(rows[: self.page], size, size), len(rows) <= self.page

    async def inclusion(self, index: int, size: int) -> Sequence[bytes]:
        self.calls.append("inclusion")
        return inclusion_path([leaf_hash(leaf) for leaf in self.leaves_[:size]], index)

    def of(self, origin: str) -> Books:
        return self.others.get(origin, self)


async def audited(books: Books, days: Sequence[str] = WINDOW, remembered: str | None = None) -> AuditedLog:
    audit = LogAudit(books, federation().registry, fed.GATEWAY)
    if remembered is not None:
        audit.remember(remembered)
    return await audit.read(days)


def little_log() -> Books:
    """Two counties, two departments, two days, and leaves outside the window: counted by hand in the tests.

    Furong: 4 checks, 2 verified, 1 undetermined, 1 silent and answered on the next day. Yuelu: 3 checks, 1 verified,
    1 refused, 1 silent for good.
    """
    books = Books()
    books.append(log_pb2.LogLeaf(registry=log_pb2.RegistryEvent(version=1, digest=bytes(32))), MIDNIGHT - 9)
    books.record(Asked(), silent("before"), at=MIDNIGHT - 1)
    books.record(Asked(), Asked(LAND, HOME, verified=False), at=MIDNIGHT)
    books.record(Asked(), silent("late"), at=MIDNIGHT + 100, bucket=9)
    refused = Asked(LAND, HOME, YUELU, A.REFUSED, verified=False, reason="BUDGET_EXHAUSTED")
    books.record(
        Asked(region=YUELU), refused, silent("never", region=YUELU), at=MIDNIGHT + 86_399, requester=fed.OTHER_REQUESTER
    )
    for reason in ("GRANT_REVOKED", "GRANT_REVOKED", "QUERY_EXPIRED"):
        books.refuse(reason, at=MIDNIGHT + 50)
    summary = log_pb2.RefusalSummaryEvent(
        peer=fed.REQUESTER, counts=[log_pb2.ReasonCount(reason="OVERLOADED", count=40)], digests_root=bytes(32)
    )
    books.append(log_pb2.LogLeaf(refusal_summary=summary), MIDNIGHT + 60)
    recovery = log_pb2.RecoveryEvent(department=LAND, statement_digests=[bytes(32)])
    books.append(log_pb2.LogLeaf(recovery=recovery), MIDNIGHT + 70)
    books.record(Asked(LAND, HOME, check="late"), at=MIDNIGHT + 86_400)
    books.record(Asked(LAND, HOME, YUELU, check="never"), at=MIDNIGHT + 2 * 86_400)
    return books
