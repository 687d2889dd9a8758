"""What rules make of leaves: rates by log time, refusals, enrolment windows, notices; and what must raise nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from gateway.audit.leaf_order import LeafOrder
from gateway.monitor.alarms import NOTICES, TEXTS, Alarm, Kind
from gateway.monitor.rates import MAX_KEYS, OTHERS, SlidingCounts
from gateway.monitor.rules import NO_RULES, QueryLimit, RefusalLimit, Rules
from gateway.monitor.watching import CLOSING_GRACE, Watcher
from gateway.protocol.leaf import read_leaf
from gateway.protocol.reasons import Text
from gateway.rules.windows import Window
from tests import federation as fed
from tests.audit import logs
from tests.audit.logs import A, Asked, Books, silent

NOW = logs.MIDNIGHT + 30 * 86_400
pb = logs.log_pb2


def watched(books: Books, rules: Rules = NO_RULES, windows_of=None, watcher: Watcher | None = None) -> list[Alarm]:
    watcher = watcher or Watcher(fed.LOG_ORIGIN, rules, windows_of)
    return [alarm for index, leaf in enumerate(books.leaves_) for alarm in watcher.read(index, leaf, NOW)]


def facts(alarms: list[Alarm], *names: str) -> list[tuple]:
    return [(alarm.kind.value, *(alarm.facts.get(name) for name in names)) for alarm in alarms]


def asked_at(*times: float, requester: str = fed.REQUESTER) -> Books:
    books = Books()
    for at in times:
        books.record(Asked(), at=logs.MIDNIGHT + at, requester=requester)
    return books


# -- rates ------------------------------------------------------------------------------------------------------


def test_as_many_as_are_allowed_raise_nothing_and_one_more_does():
    rules = Rules(queries=(QueryLimit(3, "minute"),))
    assert watched(asked_at(0, 20, 40, 61, 81), rules) == []
    told = watched(asked_at(0, 20, 40, 58), rules)
    assert facts(told, "entry", "requester", "count", "at_most", "per") == [
        ("QUERY_RATE", 3, fed.REQUESTER, 4, 3, "minute")
    ]


def test_rate_across_the_turn_of_a_minute_is_seen():
    rules = Rules(queries=(QueryLimit(3, "minute"),))
    assert [alarm.facts["entry"] for alarm in watched(asked_at(50, 55, 61, 65), rules)] == [3]


def test_rate_that_goes_on_is_told_once_a_window():
    rules = Rules(queries=(QueryLimit(1, "minute"),))
    assert [alarm.facts["entry"] for alarm in watched(asked_at(*range(0, 130, 10)), rules)] == [1, 7]


def test_requesters_are_counted_apart_and_a_limit_of_ones_own_takes_the_place_of_the_general_one():
    rules = Rules(queries=(QueryLimit(1, "hour"), QueryLimit(3, "hour", fed.OTHER_REQUESTER), QueryLimit(99, "day")))
    books = asked_at(0)
    for at in (1, 2, 3):
        books.record(Asked(), at=logs.MIDNIGHT + at, requester=fed.OTHER_REQUESTER)
    assert watched(books, rules) == []
    books.record(Asked(), at=logs.MIDNIGHT + 4, requester=fed.OTHER_REQUESTER)
    books.record(Asked(), at=logs.MIDNIGHT + 5)
    assert facts(watched(books, rules), "requester") == [
        ("QUERY_RATE", fed.OTHER_REQUESTER),
        ("QUERY_RATE", fed.REQUESTER),
    ]


def test_refusals_are_counted_by_reason_in_leaves_and_summaries_alike():
    rules = Rules(refusals=(RefusalLimit(3, "hour", ("GRANT_REVOKED",)),))
    books = Books()
    books.refuse("GRANT_REVOKED")
    for _ in range(9):
        books.refuse("QUERY_EXPIRED")
    counts = [pb.ReasonCount(reason="GRANT_REVOKED", count=2), pb.ReasonCount(reason="OVERLOADED", count=900)]
    summary = pb.RefusalSummaryEvent(peer=fed.REQUESTER, counts=counts, digests_root=bytes(32))
    books.append(pb.LogLeaf(refusal_summary=summary))
    assert watched(books, rules) == []
    books.refuse("GRANT_REVOKED", peer=fed.OTHER_REQUESTER)
    assert watched(books, rules) == []
    books.refuse("GRANT_REVOKED")
    assert facts(watched(books, rules), "peer", "count", "reasons") == [("REFUSALS", fed.REQUESTER, 4, "GRANT_REVOKED")]


def test_refusals_of_all_peers_together():
    rules = Rules(refusals=(RefusalLimit(1, "hour", each_peer=False),))
    books = Books()
    books.refuse("GRANT_REVOKED")
    books.refuse("QUERY_EXPIRED", peer=fed.OTHER_REQUESTER)
    assert facts(watched(books, rules), "count") == [("REFUSALS", 2)]


def test_counts_survive_a_restart_and_old_rules_are_forgotten():
    rules = Rules(queries=(QueryLimit(2, "hour"),))
    first = Watcher(fed.LOG_ORIGIN, rules)
    assert watched(asked_at(0, 1), watcher=first) == []
    second = Watcher(fed.LOG_ORIGIN, rules)
    second.restore(first.document(), {})
    assert facts(second.read(2, asked_at(2).leaves_[0], NOW), "count") == [("QUERY_RATE", 3)]
    third = Watcher(fed.LOG_ORIGIN, Rules(queries=(QueryLimit(1, "hour"),)))
    third.restore(first.document(), {})
    assert third.read(2, asked_at(2).leaves_[0], NOW) == []


def test_counts_of_made_up_names_are_bounded():
    counts = SlidingCounts(60.0)
    for number in range(MAX_KEYS + 50):
        counts.add(str(number), 1_000.0, 1, 10)
    assert len(counts.counts) == MAX_KEYS + 1
    assert sum(counts.counts[OTHERS].parts.values()) == 50
    counts.add("later", 2_000.0, 1, 10)
    assert set(counts.counts) == {"later"}


# -- windows ------------------------------------------------------------------------------------------------------

OPENS, CLOSES = logs.MIDNIGHT, logs.MIDNIGHT + 86_400


def _windows(region: str) -> tuple[Window, ...]:
    at: Callable[[float], datetime] = lambda seconds: datetime.fromtimestamp(seconds, UTC)  # noqa: E731
    return (Window(Text("报名", "enrolment"), at(OPENS), at(CLOSES)),) if region == logs.FURONG else ()


def outside(books: Books, watcher: Watcher | None = None) -> list[Alarm]:
    return watched(books, windows_of=_windows, watcher=watcher)


def test_verifications_within_a_window_and_its_grace_raise_nothing():
    books = Books()
    for at in (OPENS - 10, OPENS, CLOSES - 1, CLOSES + CLOSING_GRACE - 1):
        books.record(Asked(), at=at)
    assert outside(books) == []


@pytest.mark.parametrize("at", [OPENS - 11, CLOSES + CLOSING_GRACE])
def test_verification_outside_every_window_is_told(at):
    books = Books()
    books.record(Asked(), at=at)
    assert facts(outside(books), "entry", "region", "requester") == [("OUTSIDE_WINDOW", 0, logs.FURONG, fed.REQUESTER)]


def test_county_without_windows_is_closed_and_told_once_an_hour_with_what_was_not_told():
    books = Books()
    for minute in range(0, 130, 10):
        books.record(Asked(region=logs.YUELU), at=OPENS + 60 * minute)
    assert facts(outside(books), "entry", "untold_before") == [
        ("OUTSIDE_WINDOW", 0, None),
        ("OUTSIDE_WINDOW", 6, 5),
        ("OUTSIDE_WINDOW", 12, 5),
    ]


def test_nobody_is_told_of_windows_that_nobody_knows_or_wants():
    books = Books()
    books.record(Asked(), at=CLOSES + 86_400)
    assert watched(books) == []
    assert watched(books, Rules(outside_windows=False), _windows) == []


def _event(books: Books, tag: bytes, **changes) -> None:
    """Name the query of the last leaf."""
    leaf = read_leaf(books.leaves_.pop())
    leaf.verification.query_tag = tag * 32
    for name, value in changes.items():
        setattr(leaf.verification, name, value)
    from gateway.protocol.leaf import write_leaf  # noqa: PLC0415

    books.leaves_.append(write_leaf(leaf))


def test_deferred_query_that_is_answered_after_the_window_was_asked_in_time():
    books = Books()
    books.record(Asked(status=A.DEFERRED, reason="DEPARTMENT_UNREACHABLE"), at=CLOSES - 60)
    _event(books, b"d")
    books.record(Asked(), at=CLOSES + 3 * 86_400)
    _event(books, b"d")
    assert outside(books) == []
    books.record(Asked(), at=CLOSES + 3 * 86_400)
    _event(books, b"e")
    assert facts(outside(books), "entry") == [("OUTSIDE_WINDOW", 2)]


def test_deferral_outside_the_window_excuses_nothing_but_its_own_end():
    books = Books()
    books.record(Asked(status=A.DEFERRED, reason="DEPARTMENT_UNREACHABLE"), at=CLOSES + 600)
    _event(books, b"d")
    assert facts(outside(books), "entry") == [("OUTSIDE_WINDOW", 0)]


def test_deferred_queries_survive_a_restart():
    books = Books()
    books.record(Asked(status=A.DEFERRED, reason="DEPARTMENT_UNREACHABLE"), at=CLOSES - 60)
    _event(books, b"d")
    first = Watcher(fed.LOG_ORIGIN, NO_RULES, _windows)
    assert outside(books, first) == []
    second = Watcher(fed.LOG_ORIGIN, NO_RULES, _windows)
    second.restore(first.document(), first.take_deferred())
    assert first.take_deferred() == {}
    books.record(Asked(), at=CLOSES + 86_400)
    _event(books, b"d")
    assert second.read(1, books.leaves_[1], NOW) == []


def test_corrected_dispute_lets_one_answer_of_its_department_pass_and_no_more():
    books = Books()
    resolution = pb.ResolutionEvent(department=logs.POLICE, dispute_id=bytes(32), statement_digest=bytes(32))
    books.append(pb.LogLeaf(resolution=resolution), CLOSES + 86_400)
    books.record(silent("again", logs.POLICE, logs.HUKOU), at=CLOSES + 90_000)
    books.record(Asked(check="again"), at=CLOSES + 90_060)
    assert outside(books) == []
    books.record(Asked(), at=CLOSES + 90_120)
    assert facts(outside(books), "entry") == [("OUTSIDE_WINDOW", 3)]


def test_resolution_of_one_department_excuses_no_other():
    books = Books()
    resolution = pb.ResolutionEvent(department=logs.LAND, dispute_id=bytes(32), statement_digest=bytes(32))
    books.append(pb.LogLeaf(resolution=resolution), CLOSES + 86_400)
    books.record(Asked(), at=CLOSES + 90_000)
    assert facts(outside(books), "entry") == [("OUTSIDE_WINDOW", 1)]


def test_what_is_no_enrolment_needs_no_window_unless_it_names_the_rules_of_one():
    books = Books()
    books.record(Asked(), at=CLOSES + 86_400)
    _event(books, b"o", purpose="other")
    assert outside(books) == []
    _event(books, b"o", rules_digest=bytes([1]) * 32)
    assert facts(outside(books)) == [("OUTSIDE_WINDOW",)]


def test_tickets_and_disputes_outside_a_window_are_no_verifications():
    books = Books()
    books.open_ticket("t", logs.OfflineGround.OFFLINE_ONLY, at=CLOSES + 86_400)
    books.resolve_ticket("t", at=CLOSES + 86_500)
    dispute = pb.DisputeEvent(
        opener=fed.REQUESTER,
        department=logs.LAND,
        statement_digest=bytes(32),
        grant_tag=bytes(32),
        proof_digest=bytes(32),
    )
    books.append(pb.LogLeaf(dispute=dispute), CLOSES + 86_600)
    assert outside(books) == []


# -- notices, order -------------------------------------------------------------------------------------------------


def _kept() -> Books:
    books = Books()
    books.append(pb.LogLeaf(evidence_access=pb.EvidenceAccessEvent(auditor=fed.AUDITOR, case_reference="2027-17")))
    erasure = pb.ErasureEvent(ground=pb.ERASURE_GROUND_LAWFUL_REQUEST, grant_tags=[bytes(32)])
    books.append(pb.LogLeaf(erasure=erasure))
    books.append(pb.LogLeaf(restore=pb.RestoreEvent(backup_size=1, restored_size=2)))
    return books


def test_looks_at_evidence_erasures_and_restores_are_notices():
    told = watched(_kept())
    assert facts(told, "case", "ground", "restored_size") == [
        ("EVIDENCE_ACCESSED", "2027-17", None, None),
        ("EVIDENCE_ERASED", None, "LAWFUL_REQUEST", None),
        ("RESTORED", None, None, 2),
    ]
    assert all(alarm.is_notice and alarm.document()["level"] == "notice" for alarm in told)
    assert watched(_kept(), Rules(evidence_accesses=False, erasures=False, restores=False)) == []


def test_leaves_that_cannot_be_read_run_backwards_or_are_anothers_are_told():
    books = asked_at(0, 100)
    books.leaves_.insert(1, b"\x08\x63")
    books.record(Asked(), at=logs.MIDNIGHT + 39)
    told = watched(books, watcher=Watcher(fed.LOG_ORIGIN, NO_RULES, None, LeafOrder(frozenset({fed.GATEWAY}))))
    assert facts(told, "entry") == [("LEAF_UNREADABLE", 1), ("LEAF_BACKWARDS", 3)]
    told = watched(asked_at(0), watcher=Watcher(fed.LOG_ORIGIN, NO_RULES, None, LeafOrder(frozenset({"another"}))))
    assert facts(told, "entry") == [("LEAF_OF_OTHER_GATEWAY", 0)]


def test_the_same_leaves_raise_the_same_alarms_under_the_same_ids_at_any_time():
    books = _kept()
    rules = Rules(queries=(QueryLimit(0, "hour"),))
    books.record(Asked())
    once = watched(books, rules)
    later = [
        alarm
        for watcher in [Watcher(fed.LOG_ORIGIN, rules)]
        for index, leaf in enumerate(books.leaves_)
        for alarm in watcher.read(index, leaf, NOW + 999)
    ]
    assert [alarm.id for alarm in once] == [alarm.id for alarm in later]
    assert len({alarm.id for alarm in once}) == len(once) == 4
    other = watched(books, rules, watcher=Watcher("another.test/log", rules))
    assert {alarm.id for alarm in once}.isdisjoint(alarm.id for alarm in other)


def test_every_kind_says_in_both_languages_what_it_means():
    assert set(TEXTS) == set(Kind)
    assert all(text.zh and text.en for text in TEXTS.values())
    assert set(TEXTS) > NOTICES


def test_line_of_an_alarm_is_one_line_whatever_the_log_says():
    alarm = Alarm("o", Kind.QUERY_RATE, "k", 1.0, {"requester": "a\nb\x1b[2J\u202e"})
    assert alarm.line().isprintable()


def test_leaf_of_the_far_future_buys_no_silence_for_those_after_it():
    books = Books()
    for at in (NOW + 10 * 365 * 86_400, NOW + 7_200):
        books.append(pb.LogLeaf(registry=pb.RegistryEvent(version=1, digest=bytes(32))), at)
    watcher = Watcher(fed.LOG_ORIGIN, NO_RULES, None, LeafOrder(frozenset({"spiffe://heyan/gateway/another"})))
    told = [
        {alarm.kind for alarm in watcher.read(index, leaf, now)}
        for index, (leaf, now) in enumerate(zip(books.leaves_, (NOW, NOW + 7_200), strict=True))
    ]
    assert [Kind.LEAF_OF_OTHER_GATEWAY in kinds for kinds in told] == [True, True]
