"""A gateway among its witnesses: what it calls witnessed, by attack, and that nobody's absence is in its way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.protocol.checkpoint import open_checkpoint
from gateway.protocol.errors import LogUnavailableError
from gateway.protocol.note import Signature, open_note, parse_note, sign_note
from gateway.protocol.policy import parse_policy
from gateway.protocol.reasons import Reason
from gateway.stores.records import Head
from gateway.witnessing.heads import RENEW_SECONDS, ROUND_SECONDS
from gateway.witnessing.link import Reply
from tests.witness.conftest import NOW
from tests.witness.signed_log import NEXT, ORIGIN, SIGNER, SignedLog
from tests.witnessing.asked import KEPT_FILE, Asked, key_of, size_reply


@asynccontextmanager
async def asking(folder: Path, count: int = 2, **settings: object) -> AsyncIterator[Asked]:
    asked = Asked(folder, count, **settings)  # type: ignore[arg-type]
    yield asked
    await asked.witnessing.stop()
    asked.close()


def names(head: Head | None) -> list[str]:
    """Who cosigned, as their keys are called."""
    assert head is not None
    return [each.name.removeprefix("witness.test/") for each in parse_note(head.checkpoint.encode()).unverified[1:]]


def replying(*keys_and_times: tuple[int, int], text: str) -> Callable[[Reply], Reply]:
    """Answers with cosignatures of these witnesses' keys at these times, over a text."""
    lines = [sign_note(text, [key_of(number).at(time)]).splitlines()[-1] + "\n" for number, time in keys_and_times]
    return lambda _: Reply(200, {}, "".join(lines).encode())


# -- honest witnesses ---------------------------------------------------------------------------------------


async def test_heads_are_witnessed_as_the_log_grows(tmp_path: Path) -> None:
    async with asking(tmp_path) as asked:
        for size in (3, 4, 9, 40):
            asked.log.grow(size - len(asked.log.leaves))
            await asked.tick()
            head = asked.witnessing.witnessed()
            assert head is not None
            assert (head.size, head.root) == (size, asked.log.root(size))
            assert names(head) == ["w1", "w2"]
            assert open_checkpoint(head.checkpoint.encode(), [SIGNER.verifier], ORIGIN).size == size
            assert asked.witnessing.served() == head
        assert asked.witnessing.complaints() == []
        posts = [body for path, body in asked.witnesses["w1"].asked if body]
        assert len(posts) == 4  # no size was guessed wrong, so no request was lost


async def test_no_more_than_one_round_in_an_interval(tmp_path: Path) -> None:
    async with asking(tmp_path) as asked:
        await asked.tick()
        for _ in range(5):
            asked.log.grow()
            await asked.tick(0.1)
        assert len(asked.witnesses["w1"].asked) == 1
        await asked.tick(0.6)
        assert asked.witnessing.witnessed().size == 8  # type: ignore[union-attr]


async def test_head_that_stays_the_newest_is_cosigned_again(tmp_path: Path) -> None:
    async with asking(tmp_path) as asked:
        await asked.tick()
        first = asked.witnessing.witnessed()
        await asked.tick(RENEW_SECONDS - 1)
        assert asked.witnessing.witnessed() == first
        await asked.tick(2)
        again = asked.witnessing.witnessed()
        assert again is not None
        assert (again.size, again.checkpoint != first.checkpoint) == (3, True)  # type: ignore[union-attr]
        assert asked.witnessing.age() == 0.0


async def test_witness_that_knows_the_log_already_is_asked_from_where_it_stands(tmp_path: Path) -> None:
    async with asking(tmp_path) as asked:
        asked.witnesses["w1"].honest.add(asked.log, 0, 2)
        await asked.tick()
        assert sorted(names(asked.witnessing.witnessed())) == ["w1", "w2"]
        assert asked.failures("w1", Reason.WITNESS_REFUSED) == 0


async def test_witness_that_holds_a_later_tree_of_ours_is_no_alarm(tmp_path: Path) -> None:
    """Another process of the gateway was there with a head that this round does not have."""
    async with asking(tmp_path) as asked:
        await asked.tick()
        asked.log.grow(2)
        gate = asked.witnesses["w1"].gate = asyncio.Event()
        asked.steady.now += 1
        await asked.witnessing.run_once()
        await asked.until_asked("w1", 2)
        asked.log.grow(3)
        asked.witnesses["w1"].honest.add(asked.log, 3)
        gate.set()
        await asked.witnessing.settle()
        assert asked.witnessing.complaints() == []
        await asked.tick(ROUND_SECONDS)
        assert asked.witnessing.witnessed().size == 8  # type: ignore[union-attr]


async def test_log_key_is_rotated_under_witnesses_that_were_told(tmp_path: Path) -> None:
    async with asking(tmp_path) as asked:
        await asked.tick()
        for signers, told in (((SIGNER, NEXT), (SIGNER, NEXT)), ((NEXT,), (NEXT,))):
            for witness in asked.witnesses.values():
                witness.honest.logs[ORIGIN] = [key.verifier for key in told]
            asked.log.signers = signers
            asked.log.grow()
            await asked.tick()
            assert asked.witnessing.witnessed().size == len(asked.log.leaves)  # type: ignore[union-attr]


async def test_standing_head_that_another_key_signs_is_cosigned_anew(tmp_path: Path) -> None:
    async with asking(tmp_path) as asked:
        await asked.tick()
        for witness in asked.witnesses.values():
            witness.honest.logs[ORIGIN] = [SIGNER.verifier, NEXT.verifier]
        asked.log.signers = (NEXT,)
        await asked.tick()
        head = asked.witnessing.witnessed()
        assert head is not None
        assert open_checkpoint(head.checkpoint.encode(), [NEXT.verifier], ORIGIN).size == 3
        assert names(head) == ["w1", "w2"]


# -- witnesses that lie -------------------------------------------------------------------------------------


async def test_lies_are_not_counted_and_reported(tmp_path: Path) -> None:
    log = SignedLog.of(3)
    text, other = log.checkpoint().encode(), log.fork(2, 1).checkpoint().encode()
    now = int(NOW) + 1
    lies: list[tuple[Callable[[Reply], Reply], Reason]] = [
        (replying((1, now), text=other), Reason.SIGNATURE_INVALID),  # another root
        (replying((1, now), text=log.checkpoint(2).encode()), Reason.SIGNATURE_INVALID),  # an older checkpoint: replay
        (replying((2, now), text=text), Reason.KEY_UNKNOWN),  # somebody else's
        (replying((1, now - 3600), text=text), Reason.WITNESS_REFUSED),  # of an hour ago
        (replying((1, now + 3600), text=text), Reason.WITNESS_REFUSED),
        (replying((1, 0), text=text), Reason.WITNESS_REFUSED),
        (replying((1, now), (1, now), (2, now), text=other), Reason.SIGNATURE_INVALID),
        (lambda reply: Reply(200, {}, reply.body + b"nonsense\n"), Reason.MESSAGE_MALFORMED),
        (lambda reply: Reply(200, {}, b""), Reason.MESSAGE_MALFORMED),
        (lambda reply: Reply(200, {}, log.note().encode()), Reason.MESSAGE_MALFORMED),
        (lambda reply: Reply(200, {}, (log.note().splitlines()[-1] + "\n").encode()), Reason.KEY_UNKNOWN),
        (lambda reply: Reply(404, {}, b""), Reason.WITNESS_REFUSED),
        (lambda reply: Reply(302, {"Location": "http://w2/"}, b""), Reason.WITNESS_REFUSED),
        (lambda reply: Reply(409, {}, b"many"), Reason.MESSAGE_MALFORMED),
        (lambda reply: Reply(500, {}, b""), Reason.WITNESS_UNREACHABLE),
    ]
    for number, (lie, reason) in enumerate(lies):
        folder = tmp_path / str(number)
        folder.mkdir()
        async with asking(folder, log=SignedLog.of(3)) as asked:
            asked.witnesses["w1"].change = lie
            await asked.tick()
            assert asked.failures("w1", reason) == 1, number
            assert asked.witnessing.witnessed() is None, number
            assert names(asked.witnessing.served()) == ["w2"], number
            assert not (folder / KEPT_FILE).exists()
            asked.witnesses["w1"].change = None
            await asked.tick(2)  # its pause is over
            assert names(asked.witnessing.witnessed()) == ["w2", "w1"], number


async def test_one_witness_that_answers_for_two_is_no_quorum(tmp_path: Path) -> None:
    """It repeats its own cosignature, at two times, and under the other's name: still one witness."""
    async with asking(tmp_path) as asked:
        text, now = asked.log.checkpoint().encode(), int(NOW) + 1
        asked.witnesses["w2"].is_down = True
        honest = sign_note(text, [key_of(1).at(now)]).splitlines()[-1]
        signature = Signature.parse(honest)
        renamed = Signature("witness.test/w2", key_of(2).verifier.key_id, signature.value).format()
        later = sign_note(text, [key_of(1).at(now + 1)]).splitlines()[-1]
        body = "".join(line + "\n" for line in (honest, honest, later, renamed)).encode()
        asked.witnesses["w1"].change = lambda _: Reply(200, {}, body)
        await asked.tick()
        assert asked.witnessing.witnessed() is None
        assert names(asked.witnessing.served()) == ["w1"]


async def test_witness_that_says_another_size_each_time_is_not_followed_for_ever(tmp_path: Path) -> None:
    async with asking(tmp_path) as asked:
        asked.log.grow(20)
        sizes = iter(range(1, 100))
        asked.witnesses["w1"].change = lambda _: size_reply(next(sizes))
        await asked.tick()
        assert len(asked.witnesses["w1"].asked) == 3
        assert asked.failures("w1", Reason.WITNESS_REFUSED) == 1


async def test_claim_of_a_larger_tree_without_proof_is_the_witness_fault(tmp_path: Path) -> None:
    """Otherwise one witness could make any gateway look as if it had been rolled back."""
    async with asking(tmp_path) as asked:
        forged = SignedLog.of(50)
        forged.signers = (type(SIGNER).from_seed(ORIGIN, bytes([77]) * 32),)
        for shown in (None, Reply(404, {}, b""), Reply(200, {}, b"?"), Reply(200, {}, forged.note().encode())):
            asked.witnesses["w1"].change, asked.witnesses["w1"].shown = (lambda _: size_reply(50)), shown
            await asked.tick(20)
            assert asked.witnessing.complaints() == []
        assert asked.failures("w1", Reason.WITNESS_REFUSED) == 4
        assert asked.contradictions == []
        asked.witnesses["w1"].change = None
        await asked.tick(20)
        assert asked.witnessing.witnessed() is not None


# -- a log that was rolled back or forked -------------------------------------------------------------------


async def test_rolled_back_log_is_told_by_what_a_witness_shows(tmp_path: Path) -> None:
    async with asking(tmp_path, log=SignedLog.of(9)) as asked:
        await asked.tick()
        rolled_back = SignedLog.of(5)
        (tmp_path / KEPT_FILE).unlink()  # whoever put back the store put back what lay beside it
        asked.witnessing = asked.opened(rolled_back)
        await asked.tick()
        (complaint,) = asked.witnessing.complaints()
        assert [error.reason for error in asked.contradictions] == [Reason.LOG_ROLLED_BACK]
        assert "LOG_ROLLED_BACK" in complaint
        assert asked.witnessing.witnessed() is None
        proof = (tmp_path / "log_rolled_back.checkpoint").read_bytes()
        assert open_checkpoint(proof, [SIGNER.verifier], ORIGIN) == asked.log.checkpoint()
        rolled_back.leaves = rolled_back.fork(5, 20).leaves  # it grows past that: nothing is mended by it
        await asked.tick(20)
        assert [text.split(":")[0] for text in asked.witnessing.complaints()] == ["LOG_ROLLED_BACK", "LOG_FORKED"]
        assert asked.witnessing.witnessed() is None
        assert asked.metrics.get_sample_value("heyan_log_contradictions_total") == 2


async def test_rolled_back_log_is_told_at_the_start_by_what_was_kept(tmp_path: Path) -> None:
    async with asking(tmp_path, log=SignedLog.of(9)) as asked:
        await asked.tick()
        for other, reason in ((SignedLog.of(5), "LOG_ROLLED_BACK"), (asked.log.fork(4, 9), "LOG_FORKED")):
            opened = asked.opened(other)
            opened.load(other.head)
            assert [text.split(":")[0] for text in opened.complaints()] == [reason]
            assert opened.witnessed() is None
            assert opened.served().size == other.head().size
        opened = asked.opened(SignedLog())
        opened.load(lambda: None)  # the store has gone
        assert [text.split(":")[0] for text in opened.complaints()] == ["LOG_ROLLED_BACK"]


async def test_what_another_process_kept_is_taken_up_once_the_store_can_be_read(tmp_path: Path) -> None:
    def failing() -> Head | None:
        raise LogUnavailableError(Reason.LOG_UNAVAILABLE)

    async with asking(tmp_path, log=SignedLog.of(9)) as asked:
        follower = asked.opened(asked.log)
        await asked.tick()
        with pytest.raises(LogUnavailableError):
            follower.follow(failing)
        assert follower.witnessed() is None
        follower.follow(asked.log.head)
        assert names(follower.witnessed()) == names(asked.witnessing.witnessed())


async def test_forked_log_is_told_by_the_witness_that_saw_the_other_side(tmp_path: Path) -> None:
    async with asking(tmp_path) as asked:
        fork = asked.log.fork(2, 4)
        asked.witnesses["w2"].honest.add(fork, 0)
        asked.log.grow(3)
        await asked.tick()
        assert [text.split(":")[0] for text in asked.witnessing.complaints()] == ["LOG_FORKED"]
        assert asked.witnessing.witnessed() is None
        assert (tmp_path / "log_forked.checkpoint").exists()
        assert len(asked.witnesses["w2"].honest.store.forks(ORIGIN)) == 1


async def test_head_signed_anew_while_no_witness_answers_is_shown_under_the_key_that_counts(tmp_path: Path) -> None:
    """The key before may have been taken: what is published must not rest on it until a witness is back."""
    async with asking(tmp_path) as asked:
        await asked.tick()
        asked.witnesses["w1"].is_down = asked.witnesses["w2"].is_down = True
        asked.log.signers = (NEXT,)
        await asked.tick(40)
        for head in (asked.witnessing.served(), asked.witnessing.dressed(asked.log.head())):
            assert open_checkpoint(head.checkpoint.encode(), [NEXT.verifier], ORIGIN) == asked.log.checkpoint()
            keys = [witness.key.verifier for witness in asked.witnesses.values()]
            assert len(open_note(head.checkpoint.encode(), keys).verified) == 2


# -- witnesses that are away --------------------------------------------------------------------------------


async def test_without_witnesses_nothing_is_claimed_and_the_newest_head_is_published_after_the_patience(
    tmp_path: Path,
) -> None:
    async with asking(tmp_path) as asked:
        await asked.tick()
        witnessed = asked.witnessing.witnessed()
        for witness in asked.witnesses.values():
            witness.is_down = True
        for _ in range(20):
            asked.log.grow()
            await asked.tick()
            assert asked.witnessing.served() == witnessed
        await asked.tick(10)
        assert asked.witnessing.served() == asked.log.head()
        assert asked.witnessing.witnessed() == witnessed  # older, and true
        for witness in asked.witnesses.values():
            witness.is_down = False
        published = asked.witnessing.served().size
        for _ in range(40):
            asked.log.grow()
            await asked.tick()
            assert asked.witnessing.served().size >= published  # never back
            published = asked.witnessing.served().size
        assert asked.witnessing.served() == asked.witnessing.witnessed()
        assert names(asked.witnessing.served()) == ["w1", "w2"]


async def test_published_head_waits_for_a_witnessed_one_that_is_no_smaller(tmp_path: Path) -> None:
    async with asking(tmp_path) as asked:
        for witness in asked.witnesses.values():
            witness.is_down = True
        await asked.tick()
        asked.log.grow(4)
        assert asked.witnessing.served().size == 7
        for witness in asked.witnesses.values():
            witness.is_down, witness.gate = False, None
        await asked.tick(2)  # the round of the smaller head, begun before
        assert asked.witnessing.served().size == 7
        await asked.tick(ROUND_SECONDS)
        assert asked.witnessing.served() == asked.witnessing.witnessed()
        assert asked.witnessing.served().size == 7


async def test_slow_witness_holds_up_no_quorum_that_does_not_need_it(tmp_path: Path) -> None:
    async with asking(tmp_path, 3, quorum="group q 2 w1 w2 w3") as asked:
        gate = asked.witnesses["w3"].gate = asyncio.Event()
        for _ in range(5):
            asked.log.grow()
            asked.clock.now += 1
            asked.steady.now += 1
            await asked.witnessing.run_once()
            async with asyncio.timeout(5):
                head = await asked.witnessing.covering(len(asked.log.leaves), 3600.0)
            assert sorted(names(head)) == ["w1", "w2"]
        assert len(asked.witnesses["w3"].asked) == 1  # one request at a time
        gate.set()
        await asked.witnessing.settle()
        await asked.tick()
        assert sorted(names(asked.witnessing.witnessed())) == ["w1", "w2", "w3"]


async def test_slow_witness_that_a_quorum_needs_is_waited_for_in_one_round(tmp_path: Path) -> None:
    async with asking(tmp_path) as asked:
        gate = asked.witnesses["w2"].gate = asyncio.Event()
        await asked.witnessing.run_once()
        await asked.until_asked("w2", 1)
        for _ in range(4):
            asked.log.grow()
            asked.steady.now += 1
            await asked.witnessing.run_once()
        assert len(asked.witnesses["w1"].asked) == 1  # no head that the slow one could not cosign too
        gate.set()
        await asked.witnessing.settle()
        assert asked.witnessing.witnessed().size == 7  # type: ignore[union-attr] # and then the newest at once


async def test_flapping_witness_is_left_alone_for_growing_pauses(tmp_path: Path) -> None:
    async with asking(tmp_path, quorum="group q any w1 w2") as asked:
        asked.witnesses["w2"].is_down = True
        for _ in range(60):
            asked.log.grow()
            await asked.tick()
        assert asked.witnessing.witnessed().size == 63  # type: ignore[union-attr]
        assert 4 <= len(asked.witnesses["w2"].asked) <= 10
        asked.witnesses["w2"].is_down = False
        for _ in range(17):
            asked.log.grow()
            await asked.tick()
        assert names(asked.witnessing.witnessed()) == ["w1", "w2"]


async def test_witness_that_asks_for_a_rest_gets_it(tmp_path: Path) -> None:
    async with asking(tmp_path, quorum="group q any w1 w2") as asked:
        asked.witnesses["w2"].change = lambda _: Reply(429, {"Retry-After": "40"}, b"")
        for _ in range(39):
            asked.log.grow()
            await asked.tick()
        assert len(asked.witnesses["w2"].asked) == 1
        asked.witnesses["w2"].change = None
        for _ in range(5):
            asked.log.grow()
            await asked.tick()
        assert names(asked.witnessing.witnessed()) == ["w1", "w2"]


async def test_age_is_told_and_an_alarm_and_no_complaint(tmp_path: Path) -> None:
    async with asking(tmp_path) as asked:
        await asked.tick()
        for witness in asked.witnesses.values():
            witness.is_down = True
        for _ in range(40):
            await asked.tick(10)
        assert asked.metrics.get_sample_value("heyan_witnessed_age_seconds") == 400.0
        assert asked.witnessing._alarms._is_old
        assert asked.witnessing.complaints() == []
        for witness in asked.witnesses.values():
            witness.is_down = False
        await asked.tick(20)
        await asked.tick(1)
        assert not asked.witnessing._alarms._is_old


# -- policy, memory, waiting --------------------------------------------------------------------------------


async def test_policy_that_changes_while_it_runs_is_followed(tmp_path: Path) -> None:
    async with asking(tmp_path, 3, quorum="group q any w1") as asked:
        await asked.tick()
        first = asked.witnessing.witnessed()
        assert names(first)[0] == "w1"
        asked.write_policy("group q all w2 w3", ["w2", "w3"])
        asked.witnesses["w3"].is_down = True
        await asked.tick()
        assert asked.witnessing.witnessed() is None or "w3" in names(asked.witnessing.witnessed())
        asked.witnesses["w3"].is_down = False
        asked.log.grow()
        await asked.tick(ROUND_SECONDS)
        assert names(asked.witnessing.witnessed()) == ["w2", "w3"]
        before = len(asked.witnesses["w1"].asked)
        asked.policy_file.write_text("quorum of nobody knows what\n")
        asked.log.grow()
        await asked.tick()
        assert names(asked.witnessing.witnessed()) == ["w2", "w3"]  # a bad file is not taken
        assert len(asked.witnesses["w1"].asked) == before


async def test_quorum_that_a_new_policy_no_longer_sees_is_no_longer_claimed(tmp_path: Path) -> None:
    async with asking(tmp_path, 2, quorum="group q any w1 w2") as asked:
        asked.witnesses["w2"].is_down = True
        await asked.tick()
        assert names(asked.witnessing.witnessed()) == ["w1"]
        asked.write_policy("group q all w1 w2")
        await asked.tick()
        assert asked.witnessing.witnessed() is None
        assert names(asked.witnessing.served()) == ["w1"]


async def test_without_a_quorum_line_that_asks_for_some_nothing_is_called_witnessed(tmp_path: Path) -> None:
    async with asking(tmp_path, 2, quorum="none") as asked:
        await asked.tick()
        assert asked.witnessing.witnessed() is None
        assert names(asked.witnessing.served()) == ["w1", "w2"]  # what there is, is shown
        async with asyncio.timeout(5):
            assert await asked.witnessing.covering(1, 3600.0) is None  # nobody would ever come


async def test_policy_of_another_log_makes_nothing_witnessed(tmp_path: Path) -> None:
    async with asking(tmp_path) as asked:
        text = asked.policy_file.read_text()
        asked.policy_file.write_text("\n".join(line for line in text.splitlines() if not line.startswith("log")) + "\n")
        other = type(SIGNER).from_seed("other.test/log", bytes(32)).verifier.format()
        asked.policy_file.write_text(f"log {other}\n" + asked.policy_file.read_text())
        asked.witnessing = asked.opened()
        await asked.tick()
        assert asked.witnessing.witnessed() is None


async def test_witnessed_head_is_found_again_after_a_restart(tmp_path: Path) -> None:
    async with asking(tmp_path) as asked:
        await asked.tick()
        before = asked.witnessing.witnessed()
        asked.log.grow(5)
        opened = asked.opened()
        opened.load(asked.log.head)
        assert opened.witnessed() == opened.served() == before
        asked.clock.now += 10
        assert opened.age() == 10.0
        asked.witnessing = opened
        await asked.tick()
        assert opened.witnessed().size == 8  # type: ignore[union-attr]
        assert [body for _, body in asked.witnesses["w1"].asked if body][-1].startswith(b"old 3\n")


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"",
        lambda data: data[:-9],
        lambda data: data.replace(b"\n3\n", b"\n2\n"),
        lambda data: b"\n".join(data.split(b"\n")[:-2]) + b"\n",  # a cosignature less
    ],
)
async def test_kept_head_that_was_changed_is_not_claimed(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    async with asking(tmp_path) as asked:
        await asked.tick()
        file = tmp_path / KEPT_FILE
        file.write_bytes(change(file.read_bytes()))
        opened = asked.opened()
        opened.load(asked.log.head)
        assert opened.witnessed() is None
        assert opened.complaints() == []


async def test_witnessed_head_that_cannot_be_kept_is_not_claimed(tmp_path: Path) -> None:
    async with asking(tmp_path) as asked:
        (tmp_path / KEPT_FILE).mkdir()
        await asked.tick()
        assert asked.witnessing.witnessed() is None


async def test_what_is_kept_satisfies_the_policy_for_any_reader(tmp_path: Path) -> None:
    async with asking(tmp_path) as asked:
        await asked.tick()
        policy = parse_policy(asked.policy_file.read_bytes())
        assert policy.judge((tmp_path / KEPT_FILE).read_bytes()).is_witnessed


async def test_who_waits_is_woken_by_a_witnessed_head_that_covers_enough(tmp_path: Path) -> None:
    async with asking(tmp_path) as asked:
        waiting = asyncio.create_task(asked.witnessing.covering(4, 3600.0))
        await asked.tick()
        await asyncio.sleep(0)
        assert not waiting.done()
        asked.log.grow()
        await asked.tick()
        head = await waiting
        assert head == asked.witnessing.witnessed()
        async with asyncio.timeout(5):
            assert await asked.witnessing.covering(5, 0.01) is None
            ending = asyncio.create_task(asked.witnessing.covering(5, 3600.0))
            await asyncio.sleep(0)
            await asked.witnessing.stop()
            assert await ending is None
