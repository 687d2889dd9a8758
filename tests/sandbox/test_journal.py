"""The journal keeps what was stated, cannot be changed unnoticed, and settles only what a gateway really logged."""

from __future__ import annotations

import sqlite3
import stat

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from gateway.protocol.attestation import read_signed_batch
from gateway.protocol.errors import ForgedError, LogUnavailableError, MalformedError, NotFoundError
from gateway.protocol.journal import GENESIS
from gateway.protocol.keys import SigningKey
from gateway.protocol.note import encode_base64
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from heyan.v1 import department_service_pb2 as pb
from sandbox_departments.acknowledgements import MAX_CHECKPOINT, OVERTAKING_TIME, Acknowledged, read_acknowledgement
from sandbox_departments.cases import CaseFile
from sandbox_departments.journal import SCHEMA_VERSION, Head, Journal
from sandbox_departments.journal_entries import AcknowledgementRefused, BatchAcknowledged, BatchSigned, read_entry
from sandbox_departments.ledger import CLOCK_MARGIN, SCHEMAS, OwedBatch
from sandbox_departments.past import Answers, Spent
from sandbox_departments.replies import Incoming
from tests.sandbox.asking import DAY, GATEWAY, NOW, OTHER_GATEWAY, Desk


async def answered(desk, **bent) -> tuple[bytes, int]:
    """Digest and size of a fresh reply batch."""
    (message,) = await desk.answer(desk.world.ask(**bent))
    return read_signed_batch(message.batch).digest, sum(len(reply.statements) for reply in message.replies)


async def acknowledge(desk, batch, size, *, gateway=GATEWAY, **bent):
    item = read_acknowledgement(desk.world.acknowledgement(batch, size, **bent))
    return await desk.answerer.acknowledge(gateway.uri, [item])


def refusals(settlement) -> list[Reason]:
    assert settlement.settled == ()
    return [error.reason for error in settlement.refused]


# -- the chain ----------------------------------------------------------------------------------------------


async def test_every_reply_batch_is_one_entry_of_the_chain(desk):
    assert desk.journal.verify_chain() == Head(0, GENESIS)
    first, _ = await answered(desk)
    second, _ = await answered(desk, purpose="audit")
    assert [entry.batch for entry in desk.journal.entries()] == [first, second]
    assert desk.journal.verify_chain().sequence == 2
    assert [entry.batch for entry in desk.journal.entries(after=1)] == [second]


async def test_a_chain_goes_on_after_a_restart(world, tmp_path):
    for _ in range(2):
        desk = Desk(world, tmp_path / "kept.db")
        await answered(desk)
        desk.close()
    desk = Desk(world, tmp_path / "kept.db")
    assert desk.journal.verify_chain().sequence == 2
    desk.close()


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE entries SET entry = CAST(replace(entry, 'answered', 'repeated') AS BLOB) WHERE sequence = 2",
        "UPDATE withheld SET records = CAST(replace(records, '\"known\"', '\"stale\"') AS BLOB) WHERE sequence = 2",
        "UPDATE withheld SET records = (SELECT records FROM withheld WHERE sequence = 3) WHERE sequence = 2",
        "UPDATE withheld SET records = zeroblob(9) WHERE sequence = 2",
        "UPDATE entries SET entry = (SELECT entry FROM entries WHERE sequence = 3) WHERE sequence = 2",
        "UPDATE entries SET hash = zeroblob(32) WHERE sequence = 2",
        "DELETE FROM entries WHERE sequence = 2",
        "DELETE FROM entries WHERE sequence = 1",
        "UPDATE entries SET sequence = 9 WHERE sequence = 2",
        "INSERT INTO entries SELECT 4, hash, entry FROM entries WHERE sequence = 3",
    ],
)
async def test_tampering_with_the_chain_is_detected(desk, tampering):
    for _ in range(3):
        await answered(desk)
    assert desk.journal._connection.execute(tampering).rowcount == 1
    with pytest.raises(ForgedError, match="broken at entry"):
        desk.journal.verify_chain()


async def test_a_chain_that_was_cut_off_or_written_anew_misses_the_end_noted_elsewhere(desk):
    for _ in range(2):
        await answered(desk)
    noted = desk.journal.verify_chain()
    await answered(desk)
    assert desk.journal.verify_chain(noted).sequence == 3
    desk.journal._connection.execute("DELETE FROM entries WHERE sequence >= 2")
    desk.journal.verify_chain()
    with pytest.raises(ForgedError, match="noted earlier"):
        desk.journal.verify_chain(noted)


def test_an_unreadable_entry_is_malformed():
    with pytest.raises(MalformedError):
        read_entry(b'{"type":"batch_signed","surprise":1}')


# -- all or nothing -----------------------------------------------------------------------------------------


def spent(request_id=b"r" * 16, **bent) -> Spent:
    right = Spent("requester", request_id, frozenset(), (b"s" * 32,), NOW, NOW + 30, NOW + DAY)
    return Spent(**({name: getattr(right, name) for name in Spent.__slots__} | bent))


def test_what_is_raised_inside_a_transaction_undoes_all_of_it(desk):
    def change():
        with desk.journal.transaction() as ledger:
            ledger.spend(spent())
            ledger.keep_answers(spent(), Answers(b"q" * 32, b"p" * 32, b"c" * 32, (b"statement",)), CaseFile({}, {}))
            ledger.keep_batch(OwedBatch(b"b" * 32, GATEWAY.uri, NOW, 1, b""))
            ledger.append([BatchSigned(NOW, GATEWAY.uri, b"b" * 32, ())])
            raise KeyError

    with pytest.raises(KeyError):
        change()
    with desk.journal.transaction() as ledger:
        assert ledger.answers_to("requester", b"r" * 16) is None
        assert ledger.probes_of(b"s" * 32, "requester", 0) == 0
    assert desk.journal.debt(GATEWAY.uri).statements == 0
    assert desk.journal.verify_chain() == Head(0, GENESIS)


def test_a_reservation_taken_back_leaves_the_rest_of_the_transaction(desk):
    def reserve(ledger):
        with ledger.reservation():
            ledger.spend(spent(b"2" * 16))
            raise KeyError

    with desk.journal.transaction() as ledger:
        ledger.spend(spent(b"1" * 16))
        with pytest.raises(KeyError):
            reserve(ledger)
        assert ledger.probes_of(b"s" * 32, "requester", 0) == 1


def test_a_full_disk_is_log_unavailable_and_nothing_is_kept(desk):
    (pages,) = desk.journal._connection.execute("PRAGMA page_count").fetchone()
    desk.journal._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(LogUnavailableError), desk.journal.transaction() as ledger:
        ledger.append([BatchSigned(NOW, GATEWAY.uri, bytes(100_000), ())])
    desk.journal._connection.execute("PRAGMA max_page_count = 100000")
    assert desk.journal.verify_chain() == Head(0, GENESIS)


def test_a_failing_commit_is_log_unavailable_and_leaves_no_open_transaction(desk, tmp_path):
    other = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    desk.journal._connection.execute("PRAGMA busy_timeout = 10")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LogUnavailableError), desk.journal.transaction() as ledger:
        ledger.append([])
    other.execute("ROLLBACK")
    other.close()
    with desk.journal.transaction() as ledger:
        ledger.append([])


def test_a_file_of_another_kind_or_version_is_refused(tmp_path):
    (tmp_path / "text.db").write_text("not a database, but long enough to be read as one" * 20)
    with pytest.raises(LogUnavailableError):
        Journal(tmp_path / "text.db")
    connection = sqlite3.connect(tmp_path / "newer.db")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(LogUnavailableError, match=f"schema {SCHEMA_VERSION + 1}"):
        Journal(tmp_path / "newer.db")


def test_a_journal_of_before_disputes_is_brought_up_to_date(tmp_path):
    path = tmp_path / "older.db"
    connection = sqlite3.connect(path)
    connection.executescript(f"{SCHEMAS[0]} PRAGMA user_version = 1;")
    connection.execute(
        "INSERT INTO answers VALUES ('requester', ?, ?, ?, ?, NULL, ?, ?)",
        (b"r" * 16, b"q" * 32, b"p" * 32, b"c" * 32, NOW, NOW + DAY),
    )
    connection.commit()
    connection.close()
    for _ in range(2):
        journal = Journal(path)
        with journal.transaction() as ledger:
            assert ledger.answers_to("requester", b"r" * 16) is not None
            assert ledger.case_file("requester", b"r" * 16) is None
            assert not ledger.disputes.all()
        journal.close()


def test_nobody_else_can_read_the_journal(desk, tmp_path):
    for path in tmp_path.glob("journal.db*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


async def test_purging_forgets_what_no_rule_asks_for_and_keeps_the_chain(world, desk):
    ask = world.ask(world.consent(expires=NOW + DAY))
    await desk.outcomes(ask)

    def rows():
        counts = "SELECT (SELECT count(*) FROM answers), (SELECT count(*) FROM uses), (SELECT count(*) FROM probes)"
        return desk.journal._connection.execute(counts).fetchone()

    assert rows() == (1, 1, 2)
    world.now = NOW + 41
    await desk.answerer.purge()
    assert rows() == (1, 1, 2)
    assert desk.journal._connection.execute("SELECT statements FROM answers").fetchone() == (None,)
    world.now = NOW + DAY + 11 + CLOCK_MARGIN
    await desk.answerer.purge()
    assert rows() == (0, 0, 0)
    assert desk.journal.verify_chain().sequence == 1


# -- acknowledgements ---------------------------------------------------------------------------------------


async def test_an_acknowledged_batch_is_owed_no_more_and_its_proof_is_journalled(desk):
    batch, size = await answered(desk)
    assert desk.journal.unacknowledged(GATEWAY.uri) == (batch,)
    assert desk.journal.debt(GATEWAY.uri).statements == size
    settlement = await acknowledge(desk, batch, size)
    assert settlement.settled == (batch,)
    assert desk.journal.unacknowledged(GATEWAY.uri) == ()
    assert desk.journal.owed_batch(batch) is None
    *_, entry = desk.journal.entries()
    assert isinstance(entry, BatchAcknowledged)
    assert entry.leaf_indexes == tuple(range(size))
    assert entry.checkpoint.startswith("log.hunan.example\n100\n")


async def settle_and_answer(desk, batch, size):
    item = read_acknowledgement(desk.world.acknowledgement(batch, size))
    asked = Incoming(1, GATEWAY.uri, desk.world.ask())
    settlements, (replies,) = await desk.answerer.settle_and_answer([Acknowledged(GATEWAY.uri, (item,))], [asked])
    return settlements, replies.message


async def test_what_comes_along_with_asks_is_settled_with_them(desk):
    batch, size = await answered(desk)
    settlements, message = await settle_and_answer(desk, batch, size)
    assert [settlement.settled for settlement in settlements] == [(batch,)]
    second = read_signed_batch(message.batch).digest
    assert desk.journal.unacknowledged(GATEWAY.uri) == (second,)
    _, acknowledged, signed = desk.journal.entries()
    assert (type(acknowledged), signed.batch) == (BatchAcknowledged, second)


async def test_what_comes_along_with_asks_does_not_wait_for_their_status_lists(desk):
    batch, size = await answered(desk)
    desk.standings.at_hand = False
    owed = []

    async def require_standing(_grant):
        owed.append(desk.journal.unacknowledged(GATEWAY.uri))

    desk.standings.require_standing = require_standing
    settlements, message = await settle_and_answer(desk, batch, size)
    assert [settlement.settled for settlement in settlements] == [(batch,)]
    assert owed == [()]
    assert read_signed_batch(message.batch).batch


async def test_what_comes_along_with_asks_that_cannot_be_answered_is_left_to_be_settled_alone(desk):
    batch, size = await answered(desk)
    desk.world.now = NOW + 31 * DAY  # the registry has expired
    settlements, message = await settle_and_answer(desk, batch, size)
    assert (settlements, [reply.fault for reply in message.replies]) == ([], ["REGISTRY_EXPIRED"])
    assert (await acknowledge(desk, batch, size)).settled == (batch,)


async def test_an_acknowledgement_that_comes_twice_changes_nothing(desk):
    batch, size = await answered(desk)
    await acknowledge(desk, batch, size)
    settlement = await acknowledge(desk, batch, size, tree=200)
    assert (settlement.settled, settlement.refused) == ((), ())
    assert desk.journal.verify_chain().sequence == 2


async def test_a_checkpoint_by_another_key_or_of_another_log_is_refused_and_journalled(desk):
    batch, size = await answered(desk)
    stranger = SigningKey("log-1", ed25519.Ed25519PrivateKey.generate())
    assert refusals(await acknowledge(desk, batch, size, signer=stranger)) == [Reason.KEY_UNKNOWN]
    assert refusals(await acknowledge(desk, batch, size, origin="log.hubei.example")) == [Reason.KEY_UNKNOWN]
    *_, one, two = desk.journal.entries()
    assert isinstance(one, AcknowledgementRefused)
    assert isinstance(two, AcknowledgementRefused)
    assert desk.journal.unacknowledged(GATEWAY.uri) == (batch,)


async def test_a_checkpoint_by_a_log_key_that_no_longer_counts_is_refused(world, desk):
    batch, size = await answered(desk)
    gateway = world.registry.party(GATEWAY.uri)
    ended = msgspec.structs.replace(gateway.keys[0], not_after=int(NOW) - 1)
    parties = tuple(
        msgspec.structs.replace(party, keys=(ended,)) if party is gateway else party
        for party in world.registry.document.parties
    )
    world.registry = Registry(msgspec.structs.replace(world.registry.document, parties=parties), "ended")
    assert refusals(await acknowledge(desk, batch, size)) == [Reason.KEY_UNKNOWN]


async def test_another_gateway_cannot_acknowledge_a_batch(desk):
    batch, size = await answered(desk)
    settlement = await acknowledge(desk, batch, size, gateway=OTHER_GATEWAY)
    assert [type(error) for error in settlement.refused] == [NotFoundError]
    assert desk.journal.unacknowledged(GATEWAY.uri) == (batch,)


@pytest.mark.parametrize(
    ("statements", "bent", "reason"),
    [
        (1, {}, Reason.MESSAGE_MALFORMED),
        (3, {}, Reason.MESSAGE_MALFORMED),
        (2, {"first": 99}, Reason.PROOF_INVALID),
        (2, {"tree": 1}, Reason.PROOF_INVALID),
    ],
    ids=["too few leaves", "too many leaves", "a leaf at the checkpoint's size", "a leaf past it"],
)
async def test_leaves_that_do_not_fit_batch_or_checkpoint_are_refused(desk, statements, bent, reason):
    batch, _ = await answered(desk)
    assert refusals(await acknowledge(desk, batch, statements, **bent)) == [reason]


async def test_a_forked_log_is_refused(desk):
    first, size = await answered(desk)
    second, _ = await answered(desk)
    await acknowledge(desk, first, size)
    assert refusals(await acknowledge(desk, second, size, root=b"f" * 32)) == [Reason.PROOF_INVALID]
    assert (await acknowledge(desk, second, size)).settled == (second,)


async def test_a_rolled_back_log_is_refused_but_replicas_may_overtake_each_other(world, desk):
    batches = [await answered(desk) for _ in range(3)]
    await acknowledge(desk, *batches[0], tree=500)
    overtaken = await acknowledge(desk, *batches[1], tree=400)
    assert overtaken.settled == (batches[1][0],)
    world.now += OVERTAKING_TIME
    assert refusals(await acknowledge(desk, *batches[2], tree=450)) == [Reason.PROOF_INVALID]
    assert (await acknowledge(desk, *batches[2], tree=500)).settled == (batches[2][0],)
    assert desk.journal._connection.execute("SELECT size FROM checkpoints").fetchall() == [(500,)]


NEXT_LOG = "log.hunan.example/2"


def goes_on(world):
    """The registry says that the gateway's log goes on as another."""
    gateway = world.registry.party(GATEWAY.uri)
    terms = msgspec.structs.replace(gateway.gateway, log_origin=NEXT_LOG, ended_origins=gateway.gateway.origins)
    parties = tuple(
        msgspec.structs.replace(party, gateway=terms) if party is gateway else party
        for party in world.registry.document.parties
    )
    world.registry = Registry(msgspec.structs.replace(world.registry.document, parties=parties), "went on")


async def test_a_log_that_goes_on_is_believed_beside_the_one_before_it(world, desk):
    batches = [await answered(desk) for _ in range(3)]
    goes_on(world)
    assert (await acknowledge(desk, *batches[0], tree=500)).settled == (batches[0][0],)
    assert (await acknowledge(desk, *batches[1], tree=50, origin=NEXT_LOG)).settled == (batches[1][0],)
    assert (await acknowledge(desk, *batches[2], tree=500)).settled == (batches[2][0],)


async def test_a_log_is_not_believed_before_the_registry_names_it(world, desk):
    batch, size = await answered(desk)
    assert refusals(await acknowledge(desk, batch, size, origin=NEXT_LOG)) == [Reason.KEY_UNKNOWN]
    goes_on(world)
    assert (await acknowledge(desk, batch, size, origin=NEXT_LOG)).settled == (batch,)


async def test_each_log_is_held_against_its_own_past_and_not_the_others(world, desk):
    batches = [await answered(desk) for _ in range(3)]
    goes_on(world)
    await acknowledge(desk, *batches[0], tree=500)
    await acknowledge(desk, *batches[1], tree=50, origin=NEXT_LOG)
    world.now += OVERTAKING_TIME
    assert refusals(await acknowledge(desk, *batches[2], tree=499)) == [Reason.PROOF_INVALID]
    assert refusals(await acknowledge(desk, *batches[2], tree=49, origin=NEXT_LOG)) == [Reason.PROOF_INVALID]
    forked = {"tree": 50, "root": b"f" * 32, "origin": NEXT_LOG}
    assert refusals(await acknowledge(desk, *batches[2], **forked)) == [Reason.PROOF_INVALID]
    assert (await acknowledge(desk, *batches[2], tree=51, origin=NEXT_LOG)).settled == (batches[2][0],)


async def test_an_overlong_checkpoint_is_refused_and_not_kept_whole(desk):
    batch, size = await answered(desk)
    item = desk.world.acknowledgement(batch, size)
    item.checkpoint += "".join(f"— witness-{number} {encode_base64(bytes(300))}\n" for number in range(200))
    settlement = await desk.answerer.acknowledge(GATEWAY.uri, [read_acknowledgement(item)])
    assert refusals(settlement) == [Reason.MESSAGE_MALFORMED]
    *_, entry = desk.journal.entries()
    assert len(entry.checkpoint) == MAX_CHECKPOINT


async def test_an_owed_batch_is_kept_as_it_is_sent_again(desk):
    batch, size = await answered(desk)
    owed = desk.journal.owed_batch(batch)
    message = pb.AnswerResponse.FromString(owed.message)
    assert message.recovered
    assert read_signed_batch(message.batch).digest == batch
    assert [len(reply.statements) for reply in message.replies] == [size]
    assert message.replies[0].ask_id == 0
