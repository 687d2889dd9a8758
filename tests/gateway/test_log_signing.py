"""Who signs the log's checkpoints while its keys come, follow each other, leak and end; and that one tree is signed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import mldsa

from gateway.log import Log
from gateway.log_signers import LogSigners
from gateway.protocol.checkpoint import Checkpoint, checkpoint_of, open_checkpoint
from gateway.protocol.cosignature import cosigned_at
from gateway.protocol.errors import ForgedError, HeyanError, LogUnavailableError
from gateway.protocol.keys import SigningKey
from gateway.protocol.log_keys import current_verifiers, has_post_quantum, verifiers_of
from gateway.protocol.note import Note, open_note, parse_note
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.protocol.registry_terms import KeyTerms, KeyUse
from gateway.stores.records import Entry, Head
from gateway.stores.sqlite import SqliteStore
from tests import federation as fed
from tests.fakes import FailingStore

NOW = 1_800_000_000
START, END = NOW + 100, NOW + 200
"""When the next key begins, and when the one before it ends."""
FEDERATION = fed.Federation.create(NOW)
OLD = FEDERATION.signing_keys[fed.GATEWAY]
NEW = fed.ed25519_key(b"", "the next log key", "log-2")
SECOND = SigningKey("log-pq-1", mldsa.MLDSA44PrivateKey.from_seed_bytes(bytes(32)))
NEXT_SECOND = SigningKey("log-pq-2", mldsa.MLDSA44PrivateKey.from_seed_bytes(bytes([1]) * 32))


def terms(key: SigningKey, **changes: int) -> KeyTerms:
    return msgspec.structs.replace(fed.key_terms(key, KeyUse.LOG, NOW), **changes)


def registry_with(*keys: KeyTerms) -> Registry:
    return FEDERATION.changed(lambda document: fed.edit_party(document, fed.GATEWAY, keys=keys)).registry


ROTATION = registry_with(terms(OLD, not_after=END), terms(NEW, not_before=START))


class Bench:
    """A log with the keys in `keys`, under `registry`, at the time `now`; what a reader who knows keys sees of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now: float = NOW
        self.keys: tuple[SigningKey, ...] = (OLD, NEW)
        self.registry = ROTATION
        self.store = FailingStore(path)
        self.signers = LogSigners(
            gateway=fed.GATEWAY, keys=lambda: self.keys, registry=lambda: self.registry, clock=lambda: self.now
        )
        self.log = Log(self.store, fed.LOG_ORIGIN)
        self.log.use_signers(self.signers)

    def head(self) -> Head:
        head = self.store.head()
        assert head is not None
        return head

    def signed_by(self, *known: SigningKey) -> Note:
        """The newest checkpoint as a reader opens it who knows these keys."""
        verifiers = verifiers_of((key.public_key() for key in known), fed.LOG_ORIGIN)
        return open_note(self.head().checkpoint.encode(), verifiers)

    def accepts(self, *known: SigningKey) -> bool:
        try:
            checkpoint_of(self.signed_by(*known), fed.LOG_ORIGIN)
        except ForgedError as error:
            if error.reason is not Reason.KEY_UNKNOWN:
                raise
            return False
        return True

    def node_accepts(self) -> Checkpoint:
        """As a department node does: by the keys that count now."""
        verifiers = current_verifiers(self.registry, fed.GATEWAY, fed.LOG_ORIGIN, self.now)
        return open_checkpoint(self.head().checkpoint.encode(), verifiers, fed.LOG_ORIGIN)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path / "store.db")
    made.log.start()
    yield made
    await made.log.stop()
    made.store.close()


# -- one key follows another --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "old", "new"),
    [(NOW, True, False), (START - 1, True, False), (START, True, True), (END, True, True), (END + 1, False, True)],
)
async def test_both_keys_sign_while_both_count_and_no_other(bench: Bench, at: int, old: bool, new: bool) -> None:
    bench.now = at
    await bench.log.append(Entry(b"leaf"))
    assert (bench.accepts(OLD), bench.accepts(NEW)) == (old, new)
    assert bench.accepts(OLD, NEW)
    assert bench.node_accepts().size == 1


async def test_key_whose_file_is_not_here_yet_keeps_nobody_from_signing(bench: Bench) -> None:
    bench.keys, bench.now = (OLD,), START
    await bench.log.append(Entry(b"leaf"))
    assert (bench.accepts(OLD), bench.accepts(NEW)) == (True, False)


async def test_compromised_key_signs_nothing_from_its_compromise_on(bench: Bench) -> None:
    bench.registry = registry_with(terms(OLD, compromised=START + 50), terms(NEW, not_before=START))
    bench.now = START + 49
    await bench.log.append(Entry(b"before"))
    assert bench.accepts(OLD)
    bench.now = START + 50
    await bench.log.append(Entry(b"after"))
    assert (bench.accepts(OLD), bench.accepts(NEW)) == (False, True)


@pytest.mark.parametrize("last", [terms(OLD, not_after=START), terms(OLD, compromised=START)], ids=["ended", "leaked"])
async def test_log_without_a_key_that_counts_records_nothing(bench: Bench, last: KeyTerms) -> None:
    bench.registry = registry_with(last)
    await bench.log.append(Entry(b"leaf"))
    before, bench.now = bench.head(), START + 1
    with pytest.raises(LogUnavailableError):
        await bench.log.append(Entry(b"too late"))
    with pytest.raises(LogUnavailableError):
        await bench.log.refresh()
    assert bench.head() == before
    assert bench.log.complaint


async def test_key_is_judged_when_it_signs_and_not_when_the_entry_was_queued(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "store.db")
    waiting = asyncio.create_task(bench.log.append(Entry(b"leaf")))
    await asyncio.sleep(0)
    bench.now = END + 1
    bench.log.start()
    await waiting
    assert (bench.accepts(OLD), bench.accepts(NEW)) == (False, True)
    await bench.log.stop()
    bench.store.close()


# -- an idle log --------------------------------------------------------------------------------------------


async def test_idle_log_is_signed_anew_when_a_key_begins_and_when_one_has_ended(bench: Bench) -> None:
    await bench.log.append(Entry(b"the only leaf"))
    first = bench.head()
    assert await bench.log.refresh() is None
    for at in (START, END + 1):
        bench.now = at
        await bench.log.refresh()
        assert bench.node_accepts() == Checkpoint(fed.LOG_ORIGIN, first.size, first.root)
        assert bench.accepts(NEW)
        assert await bench.log.refresh() is None
    again = SqliteStore(bench.path)
    assert again.head() == bench.head() != first  # durable
    again.close()


async def test_idle_log_that_missed_the_overlap_is_signed_by_the_new_key_alone(bench: Bench) -> None:
    await bench.log.append(Entry(b"the only leaf"))
    first, bench.now = bench.head(), END + 1
    with pytest.raises(ForgedError):  # what a node would say of it
        bench.node_accepts()
    head = await bench.log.refresh()
    assert head == bench.head()
    assert (head.size, head.root) == (first.size, first.root)
    assert (bench.accepts(OLD), bench.accepts(NEW)) == (False, True)


async def test_log_without_leaves_is_not_signed(bench: Bench) -> None:
    assert await bench.log.refresh() is None
    assert bench.store.head() is None


async def test_leaf_that_came_meanwhile_is_what_is_signed(bench: Bench) -> None:
    await bench.log.append(Entry(b"one"))
    bench.now = END + 1
    refreshed, committed = await asyncio.gather(bench.log.refresh(), bench.log.append(Entry(b"two")))
    assert bench.head() == committed.head
    assert bench.head().size == 2
    assert refreshed is None or (refreshed.size, refreshed.root) == (1, refreshed.root)
    assert (bench.accepts(OLD), bench.accepts(NEW)) == (False, True)


async def test_another_process_may_append_between_and_its_tree_is_what_is_signed(bench: Bench) -> None:
    await bench.log.append(Entry(b"one"))
    other = Bench(bench.path)
    other.log.start()
    newest = (await other.log.append(Entry(b"two"))).head
    bench.now = END + 1
    head = await bench.log.refresh()
    assert head is not None
    assert (head.size, head.root) == (newest.size, newest.root) == (2, bench.head().root)
    await other.log.stop()
    other.store.close()


async def test_replicas_that_hold_different_keys_do_not_sign_against_each_other(bench: Bench) -> None:
    bench.now = START
    late = Bench(bench.path)
    late.keys, late.now = (OLD,), START
    late.log.start()
    await late.log.append(Entry(b"leaf"))
    assert await bench.log.refresh() is not None
    assert await late.log.refresh() is None
    assert await bench.log.refresh() is None
    await late.log.stop()
    late.store.close()


@pytest.mark.parametrize("when", ["fail_before", "fail_after"])
async def test_signing_anew_that_fails_leaves_one_tree_and_is_done_the_next_time(bench: Bench, when: str) -> None:
    await bench.log.append(Entry(b"leaf"))
    first, bench.now = bench.head(), END + 1
    setattr(bench.store, when, True)
    with pytest.raises(LogUnavailableError):
        await bench.log.refresh()
    assert (bench.head().size, bench.head().root) == (first.size, first.root)
    setattr(bench.store, when, False)
    await bench.log.refresh()
    assert bench.accepts(NEW)
    assert (await bench.log.append(Entry(b"next"))).leaf_index == 1


async def test_halted_log_is_not_signed_anew(bench: Bench) -> None:
    """Its store was rolled back or forked, as somebody knows who saw more: a fresh signature would vouch for it."""
    await bench.log.append(Entry(b"leaf"))
    bench.log.halt(ForgedError(Reason.LOG_FORKED, "planted"))
    before, bench.now = bench.head(), END + 1
    with pytest.raises(LogUnavailableError):
        await bench.log.refresh()
    assert bench.head() == before


async def test_log_that_is_halted_while_it_waits_to_sign_anew_is_not_signed(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "store.db")
    waiting = asyncio.create_task(bench.log.append(Entry(b"leaf")))
    bench.log.start()
    await waiting
    before, bench.now = bench.head(), END + 1
    asked = asyncio.create_task(bench.log.refresh())
    bench.log.halt(ForgedError(Reason.LOG_FORKED, "planted"))
    with pytest.raises(LogUnavailableError):
        await asked
    assert bench.head() == before
    await bench.log.stop()
    bench.store.close()


async def test_tree_that_does_not_fit_its_nodes_is_not_signed_anew(bench: Bench) -> None:
    """Somebody changed the root in the file: with the new key the log would vouch for it."""
    await bench.log.append(Entry(b"leaf"))
    bench.store._writer.execute("UPDATE shards SET root = ?", (bytes(32),))
    bench.now, before = END + 1, bench.head()
    with pytest.raises(LogUnavailableError):
        await bench.log.refresh()
    assert bench.head() == before


# -- a second, post-quantum key -----------------------------------------------------------------------------


def with_second(*more: KeyTerms) -> Registry:
    return registry_with(terms(OLD), terms(SECOND, not_after=END), *more)


async def test_second_key_signs_each_checkpoint_with_the_time(bench: Bench) -> None:
    bench.registry, bench.keys = with_second(), (SECOND, OLD)
    for at in (NOW, NOW + 7):
        bench.now = at + 0.9
        await bench.log.append(Entry(b"leaf"))
        opened = bench.signed_by(OLD, SECOND)
        assert has_post_quantum(opened.keys, fed.LOG_ORIGIN)
        assert [cosigned_at(item) for item in opened.verified[1:]] == [at]
        assert bench.accepts(OLD)
        assert not bench.accepts(SECOND)  # the plain signature is needed
    assert bench.node_accepts().size == 2


async def test_second_key_alone_signs_nothing(bench: Bench) -> None:
    bench.registry, bench.keys = with_second(), (SECOND,)
    with pytest.raises(LogUnavailableError):
        await bench.log.append(Entry(b"leaf"))
    assert bench.store.head() is None


async def test_second_key_that_is_added_later_signs_the_idle_log(bench: Bench) -> None:
    bench.registry, bench.keys = registry_with(terms(OLD)), (OLD, SECOND)
    await bench.log.append(Entry(b"leaf"))
    assert not has_post_quantum(bench.signed_by(OLD, SECOND).keys, fed.LOG_ORIGIN)
    bench.registry = with_second()
    await bench.log.refresh()
    assert has_post_quantum(bench.signed_by(OLD, SECOND).keys, fed.LOG_ORIGIN)
    assert await bench.log.refresh() is None


async def test_second_keys_follow_each_other_as_the_first_do(bench: Bench) -> None:
    bench.registry = with_second(terms(NEXT_SECOND, not_before=START))
    bench.keys = (OLD, SECOND, NEXT_SECOND)
    for at, expected in ((START, {SECOND.key_id, NEXT_SECOND.key_id}), (END + 1, {NEXT_SECOND.key_id})):
        bench.now = at
        await bench.log.append(Entry(b"leaf"))
        ids = {key.key_id for key in bench.signed_by(OLD, SECOND, NEXT_SECOND).keys}
        known = (SECOND, NEXT_SECOND)
        of = {verifiers_of([key.public_key()], fed.LOG_ORIGIN)[0].key_id: key.key_id for key in known}
        assert {of[item] for item in ids if item in of} == expected


@pytest.mark.parametrize("part", [slice(0, 0), slice(0, 8)], ids=["signature", "time"])
async def test_wrong_second_signature_spoils_the_checkpoint_for_who_knows_the_key(bench: Bench, part: slice) -> None:
    bench.registry, bench.keys = with_second(), (OLD, SECOND)
    await bench.log.append(Entry(b"leaf"))
    note = parse_note(bench.head().checkpoint.encode())
    plain, second = note.unverified
    value = bytearray(second.value)
    value[part.stop - 1 if part.stop else -1] ^= 1
    lines: Sequence[str] = (plain.format(), type(second)(second.name, second.key_id, bytes(value)).format())
    forged = f"{note.text}\n" + "".join(f"{line}\n" for line in lines)
    verifiers = current_verifiers(bench.registry, fed.GATEWAY, fed.LOG_ORIGIN, NOW)
    with pytest.raises(HeyanError) as refusal:
        open_checkpoint(forged.encode(), verifiers, fed.LOG_ORIGIN)
    assert refusal.value.reason is Reason.SIGNATURE_INVALID
    knows_one = [key for key in verifiers if not has_post_quantum([key], fed.LOG_ORIGIN)]
    assert open_checkpoint(forged.encode(), knows_one, fed.LOG_ORIGIN).size == 1
