"""What a log does behind a monitor's back: forks, rollbacks, stalls, lies; and what it may do without an alarm."""

from __future__ import annotations

import asyncio

import pytest

from gateway.monitor.alarms import Kind
from gateway.monitor.cycle import CHUNK
from gateway.monitor.rules import QueryLimit, Rules
from gateway.monitor.stillness import Limits
from gateway.protocol.cosignature import CosignerKey
from gateway.protocol.errors import NotFoundError, UnknownPeerError, UnreachableError
from gateway.protocol.note import SignerKey, parse_note, sign_note
from gateway.protocol.reasons import Reason
from tests.audit import logs
from tests.monitor.following import ORIGIN, Following, Shown, kinds, note_of, verifications

DOWN = UnreachableError(Reason.PEER_UNREACHABLE, "down")
LEAVES = verifications(900)
OTHER = SignerKey.from_seed(ORIGIN, b"\x09" * 32)


@pytest.fixture
def following(tmp_path):
    made = Following(tmp_path, Shown(LEAVES[:600]))
    yield made
    made.store.close()


async def test_honest_log_that_grows_and_rests_raises_nothing(following):
    for size in (600, 600, 601, 767, 768, 769, 900):
        following.shown.leaves = LEAVES[:size]
        look = await following.look()
        assert (look.raised, look.is_alarming, look.fault) == ((), False, None)
        assert look.state.processed == size
    following.restart()
    assert (await following.look()).state.processed == 900


async def test_empty_log_and_its_first_leaf_raise_nothing(tmp_path):
    following = Following(tmp_path, Shown([]))
    assert await following.kinds() == []
    following.shown.leaves = LEAVES[:1]
    assert await following.kinds() == []
    assert following.store.state.processed == 1


async def test_only_new_entries_are_read(following):
    await following.look()
    following.shown.calls.clear()
    following.shown.leaves = LEAVES[:900]
    await following.look()
    assert {call for call in following.shown.calls if call.startswith("entries")} == {"entries/2", "entries/3"}


async def test_fork_of_one_size_is_told_once_with_both_notes_kept(following):
    await following.look()
    before = following.store.state.seen
    following.shown.leaves = [*LEAVES[:599], LEAVES[700]]
    (alarm,) = (await following.look()).raised
    assert alarm.kind is Kind.FORKED
    folder = following.store.evidence / alarm.id
    assert (folder / "remembered.checkpoint").read_text() == before
    assert (folder / "shown.checkpoint").read_bytes() == note_of(following.shown.leaves)
    look = await following.look()
    assert (look.raised, look.is_alarming, look.state.seen) == ((), True, before)
    following.restart()
    assert ((await following.look()).raised, following.store.state.seen) == ((), before)


async def test_fork_that_grows_is_told(following):
    await following.look()
    following.shown.leaves = [*LEAVES[:300], *LEAVES[301:900]]
    assert await following.kinds() == ["FORKED"]
    assert following.store.state.processed == 600


async def test_log_that_returns_from_a_fork_ends_the_alarm(following):
    await following.look()
    following.shown.leaves = [*LEAVES[:599], LEAVES[700]]
    await following.look()
    following.shown.leaves = LEAVES[:700]
    look = await following.look()
    assert (look.is_alarming, look.state.processed) == (False, 700)


@pytest.mark.parametrize("size", [0, 1, 599])
async def test_rollback_is_told_once_and_never_followed(following, size):
    await following.look()
    following.shown.leaves = LEAVES[:size]
    assert await following.kinds() == ["ROLLED_BACK"]
    assert await following.kinds() == []
    assert following.store.state.processed == 600
    assert (following.store.evidence / following.ids()[0] / "shown.checkpoint").exists()


async def test_rollback_that_grows_again_to_another_history_is_a_fork(following):
    await following.look()
    following.shown.leaves = LEAVES[:500]
    assert await following.kinds() == ["ROLLED_BACK"]
    following.shown.leaves = [*LEAVES[:500], *LEAVES[600:900]]
    assert await following.kinds() == ["FORKED"]


@pytest.mark.parametrize(
    ("note", "kind"),
    [
        (note_of(LEAVES[:700], OTHER), "NOT_SIGNED"),
        (note_of(LEAVES[:700]).replace(b"\n700\n", b"\n701\n"), "NOT_SIGNED"),
        (note_of(LEAVES[:700], SignerKey.from_seed("another.test/log", b"\x09" * 32)), "NO_CHECKPOINT"),
        (b"<html>", "NO_CHECKPOINT"),
        (b"\xff\xfe", "NO_CHECKPOINT"),
    ],
)
async def test_checkpoint_that_does_not_count_is_told_and_not_believed(following, note, kind):
    await following.look()
    following.shown.note = note
    assert await following.kinds() == [kind]
    assert await following.kinds() == []
    following.shown.note = None
    assert not (await following.look()).is_alarming


async def test_key_that_was_retired_before_the_newest_leaf_does_not_count(tmp_path):
    def keys(time):
        return (logs.signer().verifier,) if time < logs.MIDNIGHT + 5 else (OTHER.verifier,)

    following = Following(tmp_path, Shown(LEAVES[:400]), keys_at=keys)
    assert await following.kinds() == []
    following.shown.leaves = LEAVES[:600]
    assert await following.kinds() == ["NOT_SIGNED"]


@pytest.mark.parametrize("place", ["0/2", "1/0", "entries/2", "0/1"])
async def test_tile_or_entry_that_does_not_fit_is_told_and_not_passed(following, place):
    following.shown.leaves = LEAVES[:256]
    await following.look()
    following.shown.leaves = LEAVES[:900]
    following.shown.flipped = {place}
    assert await following.kinds() == ["TILES_INVALID"]
    assert following.store.state.processed in (256, 512)
    following.shown.flipped = set()
    assert not (await following.look()).is_alarming
    assert following.store.state.processed == 900


async def test_entries_kept_back_or_absent_are_told_and_read_when_they_come(following):
    for error, kind in (
        (UnknownPeerError(Reason.PEER_ROLE_NOT_ALLOWED), "KEPT_BACK"),
        (NotFoundError(Reason.NOT_FOUND), "MISSING"),
    ):
        following.shown.refused = {"entries/1": error}
        assert await following.kinds() == [kind]
        assert following.store.state.processed == 256
    following.shown.refused = {}
    assert not (await following.look()).is_alarming
    assert following.store.state.processed == 600


async def test_signed_size_that_lies_is_told(following):
    await following.look()
    following.shown.note = note_of([*LEAVES[:600], b"never shown"])
    assert await following.kinds() == ["MISSING"]
    assert following.store.state.checkpoint.size == 600


async def test_log_that_cannot_be_reached_is_a_fault_and_after_a_while_an_alarm(following):
    await following.look()
    following.shown.fault = DOWN
    look = await following.look(200)
    assert (look.fault, look.raised) == (DOWN, ())
    assert await following.kinds(200) == ["STALLED"]
    assert await following.kinds(200) == []
    following.shown.fault = None
    assert not (await following.look()).is_alarming
    following.shown.fault = DOWN
    assert await following.kinds(400) == ["STALLED"]
    assert following.stored() == ["STALLED", "STALLED"]


async def test_log_that_was_never_reached_is_only_a_fault(following):
    following.shown.fault = DOWN
    assert [await following.kinds(1_000) for _ in range(3)] == [[], [], []]


async def test_log_that_begins_and_shows_nothing_yet_is_a_fault_and_no_alarm(following):
    following.shown.refused = {"checkpoint": NotFoundError(Reason.NOT_FOUND)}
    look = await following.look()
    assert (look.raised, look.fault is not None) == ((), True)
    following.shown.refused = {}
    assert await following.kinds() == []
    following.shown.refused = {"checkpoint": NotFoundError(Reason.NOT_FOUND)}
    assert await following.kinds() == ["NO_CHECKPOINT"], "one that was there has gone"


async def test_fault_in_the_middle_of_reading_counts_nothing_twice(tmp_path):
    following = Following(tmp_path, Shown(LEAVES[:600]), rules=Rules(queries=(QueryLimit(900, "hour"),)))
    following.shown.refused = {"entries/1": DOWN}
    for _ in range(5):
        assert (await following.look()).fault is DOWN
    following.shown.refused = {}
    following.shown.leaves = LEAVES
    assert await following.kinds() == []
    assert following.store.state.processed == 900


# -- stillness --------------------------------------------------------------------------------------------------


async def test_idle_log_is_no_alarm_unless_it_is_said_to_grow(following):
    await following.look()
    assert await following.kinds(10 * 86_400) == []
    following.limits = Limits(max_idle=3_600)
    following.shown.leaves = LEAVES[:601]
    following.restart()
    assert await following.kinds() == []
    assert await following.kinds(3_600) == []
    assert await following.kinds(1) == ["STALLED"]
    assert await following.kinds(1) == []
    following.shown.leaves = LEAVES[:602]
    assert not (await following.look()).is_alarming


async def test_clock_that_jumps_makes_nothing_late(following):
    following.limits = Limits(max_lag=300, max_idle=3_600)
    following.restart()
    await following.look()
    following.clocks.day += 10 * 86_400
    assert await following.kinds() == []
    following.clocks.day -= 20 * 86_400
    look = await following.look()
    # Leaves that lie ahead of a clock that is set back were read before it was.
    assert look.raised == ()
    following.shown.fault = DOWN
    following.clocks.day += 30 * 86_400
    assert await following.kinds() == []


async def test_leaf_of_the_future_is_told_once_and_does_not_make_the_others_late(tmp_path):
    now = logs.MIDNIGHT + 3_600
    books = logs.Books()
    for at in (now, now + 86_400, now + 1, now + 2, now + 86_400):
        books.record(logs.Asked(), at=at)
    following = Following(tmp_path, Shown(books.leaves_))
    (alarm,) = (await following.look()).raised
    assert (alarm.kind, alarm.facts["entry"]) == (Kind.LEAF_AHEAD, 1)


async def test_log_that_ended_may_be_still_for_good_but_not_go_on(tmp_path):
    pb = logs.log_pb2
    books = logs.Books()
    books.record(logs.Asked())
    books.append(pb.LogLeaf(shard_end=pb.ShardEndEvent(next_origin="next.test/log")))
    following = Following(tmp_path, Shown(list(books.leaves_)), limits=Limits(max_idle=60))
    look = await following.look()
    assert (kinds(look.raised), look.is_alarming) == (["LOG_ENDED"], False)
    assert look.raised[0].facts["next_origin"] == "next.test/log"
    assert await following.kinds(86_400) == []
    books.record(logs.Asked())
    following.shown.leaves = books.leaves_
    following.restart()
    assert await following.kinds() == ["AFTER_END"]


WITNESS = CosignerKey.from_seed("witness.test", b"\x05" * 32)


def cosigned(leaves: list[bytes], at: float) -> bytes:
    note = parse_note(note_of(leaves))
    return sign_note(note.text, [logs.signer(), WITNESS.at(int(at))]).encode()


async def test_age_of_cosignatures_is_told_and_also_that_there_are_none(tmp_path):
    keys = (logs.signer().verifier, WITNESS.verifier)
    following = Following(tmp_path, Shown(LEAVES[:600]), limits=Limits(max_age=600), keys=keys)
    following.shown.note = cosigned(LEAVES[:600], following.clocks.day)
    assert await following.kinds() == []
    assert await following.kinds(600) == ["STALLED"]
    following.shown.note = cosigned(LEAVES[:600], following.clocks.day)
    assert not (await following.look()).is_alarming
    following.shown.note = None
    assert await following.kinds() == ["STALLED"]
    assert following.store.unposted(9)[-1][1]["facts"]["cosigned_seconds_ago"] == "never"


# -- what others saw ----------------------------------------------------------------------------------------------


@pytest.fixture
def beside(tmp_path):
    made = Following(tmp_path, Shown(LEAVES[:600]), places={"witness w": Shown(LEAVES[:600])})
    yield made
    made.store.close()


async def test_witness_that_lags_or_is_briefly_ahead_is_no_alarm(beside):
    witness = beside.places["witness w"]
    for size in (600, 10, 0, 900):
        witness.leaves = LEAVES[:size]
        assert await beside.kinds() == []
    beside.shown.leaves = LEAVES[:900]
    assert await beside.kinds() == []
    assert beside.store.state.sightings["witness w"].behind == 0.0


@pytest.mark.parametrize("size", [600, 300])
async def test_split_view_is_told_once_with_both_notes(beside, size):
    beside.places["witness w"].leaves = [*LEAVES[: size - 1], LEAVES[800]]
    (alarm,) = (await beside.look()).raised
    assert (alarm.kind, alarm.facts["place"]) == (Kind.SPLIT_VIEW, "witness w")
    assert alarm.evidence == {
        "other": note_of(beside.places["witness w"].leaves).decode(),
        "log": beside.store.state.seen,
    }
    look = await beside.look()
    assert (look.raised, look.is_alarming) == ((), True)


@pytest.mark.parametrize("how", ["kept back", "never ending"])
async def test_log_that_hands_out_no_entries_does_not_keep_a_split_view_from_being_told(beside, how):
    """How long a look takes is for the log to say: what convicts it is stored before its entries are asked for."""
    await beside.look()
    beside.places["witness w"].leaves = [*LEAVES[:599], LEAVES[800]]
    beside.shown.leaves = LEAVES[:900]
    if how == "kept back":
        beside.shown.refused["entries/2"] = UnknownPeerError(Reason.PEER_ROLE_NOT_ALLOWED, "not for you")
        await beside.look()
    else:

        async def never(_index: int, _width: int) -> list[bytes]:
            return await asyncio.sleep(3_600, [])

        beside.shown.entries = never
        looking = asyncio.create_task(beside.look())
        for _ in range(300):
            await asyncio.sleep(0.01)
            if beside.stored():
                break
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
    assert "SPLIT_VIEW" in beside.stored()


async def test_fork_that_the_witness_saw_first_is_found_when_the_log_gets_there(beside):
    beside.places["witness w"].leaves = [*LEAVES[:650], LEAVES[800]]
    assert await beside.kinds() == []
    beside.places["witness w"].fault = DOWN
    beside.restart()
    beside.shown.leaves = LEAVES[:700]
    look = await beside.look()
    assert kinds(look.raised) == ["SPLIT_VIEW"]
    assert look.warnings == ("witness w: down",)


async def test_log_that_stays_behind_what_a_witness_saw_is_stalled(beside):
    beside.places["witness w"].leaves = LEAVES[:700]
    assert await beside.kinds() == []
    assert await beside.kinds(300) == []
    look = await beside.look(1)
    assert [(alarm.kind.value, alarm.facts["how"]) for alarm in look.raised] == [("STALLED", "behind")]
    beside.shown.leaves = LEAVES[:700]
    assert not (await beside.look()).is_alarming


@pytest.mark.parametrize(
    "note", [b"<html>", note_of(LEAVES[:600], OTHER), note_of([], SignerKey.from_seed("o", bytes(32)))]
)
async def test_what_a_witness_makes_up_proves_nothing_against_the_log(beside, note):
    beside.places["witness w"].note = note
    look = await beside.look()
    assert (look.raised, look.is_alarming, len(look.warnings)) == ((), False, 1)


async def test_backlog_of_several_chunks_is_stored_chunk_by_chunk(tmp_path):
    leaves = verifications(CHUNK + 300)
    following = Following(tmp_path, Shown(leaves))
    following.shown.refused = {f"entries/{CHUNK // 256 + 1}": DOWN}
    await following.look()
    assert following.store.state.processed == CHUNK + 256
    following.shown.calls.clear()
    following.shown.refused = {}
    following.restart()
    await following.look()
    assert "entries/0" not in following.shown.calls
    assert following.store.state.processed == CHUNK + 300
