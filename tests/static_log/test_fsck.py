"""A log as it lies there, damaged or tampered with in every kind of place: fsck names the place and what it means."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random

import pytest

from gateway.audit.bad_places import MAX_TOLD, MEANINGS, Wrong
from gateway.protocol.checkpoint import Checkpoint, sign_checkpoint
from gateway.protocol.errors import NotFoundError, UnknownPeerError, UnreachableError
from gateway.protocol.merkle import leaf_hash
from gateway.protocol.note import SignerKey
from gateway.protocol.reasons import Reason
from gateway.protocol.tiles import Bundle, decode_entries, encode_entries
from gateway.static_log.checked_log import LogToCheck
from gateway.static_log.fsck import AHEAD, Checked, Wanted, check_log
from gateway.static_log.kept_checkpoints import KeptCheckpoints, ShownLeaf, Sighted, sighted_in_file
from gateway.static_log.tile_source import FolderSource
from tests.audit import logs
from tests.static_logs import ORIGIN, SIGNER, checkpoint_of, leaves, note_of, tree_hash, write_log

SIZE = 70_000
"""273 full bundles and one of 112 entries; one full tile of level 1, one of 17 hashes, and one of level 2."""
RETIRED = SignerKey.from_seed(ORIGIN, b"\x08" * 32)

LEVEL_0, PARTIAL_0 = "tile/0/100", "tile/0/273.p/112"
LEVEL_1, PARTIAL_1, PARTIAL_2 = "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"
ENTRIES, PARTIAL_ENTRIES = "tile/entries/100", "tile/entries/273.p/112"


@pytest.fixture(scope="module")
def data() -> list[bytes]:
    return leaves(SIZE)


@pytest.fixture(scope="module")
def pristine(data, tmp_path_factory) -> Path:
    return write_log(tmp_path_factory.mktemp("log"), data)


@pytest.fixture
def log(pristine, tmp_path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "log"))


async def checked(folder: Path, source=None, *, keys=(SIGNER.verifier,), **wanted) -> Checked:
    log = LogToCheck(source or FolderSource(folder), ORIGIN, lambda _time: tuple(keys))
    return await check_log(log, Wanted(**wanted))


def flip(file: Path, offset: int) -> None:
    content = bytearray(file.read_bytes())
    content[offset] ^= 1
    file.write_bytes(content)


def first(result: Checked):
    assert not result.is_sound
    assert MEANINGS[result.found.told[0].wrong].zh
    return result.found.told[0]


async def test_sound_log_is_sound_and_every_file_of_it_is_read(pristine):
    result = await checked(pristine)
    assert result.is_sound
    assert (result.bundles, result.tiles, result.checkpoints) == (274, 277, 1)
    assert result.checkpoint is not None
    assert result.checkpoint.size == SIZE


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 512, 1000])
async def test_sound_log_of_any_size_is_sound(size, tmp_path):
    (tmp_path / "log").mkdir()
    for entries in (True, False):
        assert (await checked(write_log(tmp_path / "log", leaves(size)), entries=entries)).is_sound


@pytest.mark.parametrize(
    ("tile", "offset"),
    [(LEVEL_0, 0), (LEVEL_0, 8191), (PARTIAL_0, 33), (LEVEL_1, 700), (PARTIAL_1, 543), (PARTIAL_2, 31)],
)
async def test_flipped_byte_of_a_tile_is_named_to_the_byte(log, tile, offset):
    flip(log / tile, offset)
    result = await checked(log)
    found = first(result)
    assert (found.wrong, found.place, found.offset) == (Wrong.TILE_CHANGED, tile, offset)
    assert result.found.count == 1


@pytest.mark.parametrize(("bundle", "position"), [(ENTRIES, 0), (ENTRIES, 200), (PARTIAL_ENTRIES, 111)])
async def test_flipped_byte_of_an_entry_is_named_by_entry_and_offset(log, bundle, position):
    start = sum(2 + len(entry) for entry in decode_entries(_bundle(bundle), (log / bundle).read_bytes())[:position])
    content = (log / bundle).read_bytes()
    assert content[start : start + 2] != b"\x00\x00", "an empty entry has no byte to flip"
    flip(log / bundle, start + 2)
    result = await checked(log)
    found = first(result)
    entry = _bundle(bundle).index * 256 + position
    assert (found.wrong, found.place, found.entry, found.offset) == (Wrong.ENTRY_CHANGED, bundle, entry, start)
    assert result.found.count == 1


def _bundle(path: str) -> Bundle:
    return Bundle(273, 112) if path == PARTIAL_ENTRIES else Bundle(100)


def rewrite(log: Path, change) -> None:
    entries = decode_entries(Bundle(100), (log / ENTRIES).read_bytes())
    (log / ENTRIES).write_bytes(encode_entries(change(entries)))


@pytest.mark.parametrize(
    ("attack", "entry", "detail"),
    [
        (lambda e: [*e[:10], e[11], e[10], *e[12:]], 25_610, "what stands there is entry 25611"),
        (lambda e: [*e[:10], e[9], *e[11:]], 25_610, "what stands there is entry 25609"),
        (lambda e: [*e[:10], *e[11:], b"made up"], 25_610, "what stands there is entry 25611"),
    ],
    ids=["swapped", "duplicated", "dropped"],
)
async def test_swapped_duplicated_or_dropped_entry_is_named(log, attack, entry, detail):
    rewrite(log, attack)
    found = first(await checked(log))
    assert (found.wrong, found.place, found.entry, found.detail) == (Wrong.ENTRY_CHANGED, ENTRIES, entry, detail)


@pytest.mark.parametrize("entries", [True, False])
async def test_entry_dropped_from_bundle_and_tiles_alike_does_not_lead_to_the_signed_root(data, entries, tmp_path):
    (tmp_path / "log").mkdir()
    log = write_log(tmp_path / "log", [*data[:299], *data[300:1001]])
    (log / "checkpoint").write_bytes(note_of(data[:1000]))
    found = first(await checked(log, entries=entries))
    assert (found.wrong, found.place) == (Wrong.OTHER_TREE, "checkpoint")


@pytest.mark.parametrize("tile", [LEVEL_0, PARTIAL_0, LEVEL_1, PARTIAL_1, PARTIAL_2, ENTRIES, PARTIAL_ENTRIES])
@pytest.mark.parametrize("change", ["cut", "longer", "absent"])
async def test_truncated_lengthened_or_absent_file_is_named(log, tile, change):
    content = (log / tile).read_bytes()
    (log / tile).unlink()
    if change != "absent":
        (log / tile).write_bytes(content[:-1] if change == "cut" else content + b"\x00")
    result = await checked(log)
    found = first(result)
    assert (found.wrong, found.place) == (Wrong.MISSING if change == "absent" else Wrong.UNREADABLE, tile)
    assert result.found.count == 1


async def test_flips_in_an_entry_and_in_another_tile_are_both_told(log):
    flip(log / ENTRIES, 2)
    flip(log / "tile/0/200", 0)
    flip(log / "tile/0/201", 0)
    flip(log / "tile/entries/201", 2)
    result = await checked(log)
    assert [(each.wrong, each.place) for each in result.found.told] == [
        (Wrong.ENTRY_CHANGED, ENTRIES),
        (Wrong.TILE_CHANGED, "tile/0/200"),
        (Wrong.ENTRY_OR_TILE, "tile/entries/201"),
    ]


async def test_flips_in_an_entry_and_in_a_tile_above_are_told_apart(log):
    flip(log / ENTRIES, 2)
    flip(log / LEVEL_1, 32 * 7)
    result = await checked(log)
    assert [(each.wrong, each.place, each.offset) for each in result.found.told] == [
        (Wrong.ENTRY_CHANGED, ENTRIES, 0),
        (Wrong.TILE_CHANGED, LEVEL_1, 32 * 7),
    ]


async def test_more_bad_places_than_are_told_are_counted(log):
    for name in ("100", "101", "102"):
        (log / f"tile/0/{name}").write_bytes(bytes(8192))
    result = await checked(log)
    assert len(result.found.told) == MAX_TOLD
    assert result.found.count == 3 * 256


@pytest.mark.parametrize("tile", [LEVEL_0, LEVEL_1, PARTIAL_1, PARTIAL_2])
async def test_flipped_tile_is_named_without_entries_too(log, tile):
    flip(log / tile, 77 if tile != PARTIAL_2 else 7)
    shutil.rmtree(log / "tile/entries")
    result = await checked(log, entries=False)
    found = first(result)
    assert (found.wrong, found.place) == (Wrong.TILE_CHANGED, tile)
    assert result.found.count == 1


async def test_tiles_of_another_log_are_another_tree(log, tmp_path):
    (tmp_path / "other").mkdir()
    other = write_log(tmp_path / "other", [b"other " + leaf for leaf in leaves(1000)])
    (other / "checkpoint").write_bytes(note_of(leaves(1000)))
    for entries in (True, False):
        assert first(await checked(other, entries=entries)).wrong is Wrong.OTHER_TREE


async def test_signed_size_that_lies_names_the_first_file_that_is_not_there(log):
    lie = Checkpoint(ORIGIN, 10**9, tree_hash(leaves(3)))
    (log / "checkpoint").write_text(sign_checkpoint(lie, [SIGNER]))
    result = await checked(log)
    assert [(each.wrong, each.place) for each in result.found.told] == [
        (Wrong.MISSING, "tile/entries/273"),
        (Wrong.MISSING, "tile/0/273"),
    ]


@pytest.mark.parametrize(
    ("note", "wrong"),
    [
        (sign_checkpoint(checkpoint_of(leaves(3)), [RETIRED]).encode(), Wrong.NOT_SIGNED),
        (note_of(leaves(3)).replace(b"\n3\n", b"\n4\n"), Wrong.NOT_SIGNED),
        (note_of(leaves(3), SignerKey.from_seed("other.test/log", b"\x07" * 32)), Wrong.NO_CHECKPOINT),
        (b"hello", Wrong.NO_CHECKPOINT),
        (b"", Wrong.NO_CHECKPOINT),
    ],
    ids=["unknown key", "forged size", "another log", "no note", "empty"],
)
async def test_checkpoint_that_does_not_count_is_all_that_is_told(log, note, wrong):
    (log / "checkpoint").write_bytes(note)
    result = await checked(log)
    assert (first(result).wrong, result.checkpoint, result.found.count) == (wrong, None, 1)


async def test_log_without_checkpoint_says_that_there_is_none(log):
    (log / "checkpoint").unlink()
    assert first(await checked(log)).wrong is Wrong.NO_CHECKPOINT


# -- checkpoints that were kept ----------------------------------------------------------------------------------


async def test_every_checkpoint_kept_beside_the_log_is_held_against_it(log, data):
    (log / "checkpoints").mkdir()
    sizes = [1, 2, 100, 255, 256, 257, 5000, SIZE]
    for size in sizes:
        (log / f"checkpoints/{size}").write_bytes(note_of(data[:size]))
    (log / "checkpoints/notes.txt").write_text("not one of them")
    result = await checked(log, kept=KeptCheckpoints(log))
    assert result.is_sound
    assert result.checkpoints == 1 + len(sizes)


async def test_fork_is_found_at_a_size_between(log, data):
    (log / "checkpoints").mkdir()
    (log / "checkpoints/300").write_bytes(note_of(data[:300]))
    (log / "checkpoints/301").write_bytes(note_of([*data[:300], b"another"]))
    found = first(await checked(log, kept=KeptCheckpoints(log)))
    assert (found.wrong, found.place) == (Wrong.FORKED, "checkpoints/301")


async def test_kept_checkpoint_of_another_size_than_its_name_is_told(log, data):
    (log / "checkpoints").mkdir()
    (log / "checkpoints/300").write_bytes(note_of(data[:301]))
    found = first(await checked(log, kept=KeptCheckpoints(log)))
    assert (found.wrong, found.place) == (Wrong.NO_CHECKPOINT, "checkpoints/300")


async def test_larger_checkpoint_than_the_log_shows_is_a_rollback(log, data, tmp_path):
    seen = tmp_path / "seen"
    seen.write_bytes(note_of([*data, b"one more"]))
    for kept in (KeptCheckpoints(None, [sighted_in_file(seen)]), KeptCheckpoints(_kept_beside(log, data))):
        found = first(await checked(log, kept=kept))
        assert found.wrong is Wrong.ROLLED_BACK


def _kept_beside(log: Path, data: list[bytes]) -> Path:
    (log / "checkpoints").mkdir()
    (log / f"checkpoints/{SIZE + 1}").write_bytes(note_of([*data, b"one more"]))
    return log


async def test_file_that_is_no_checkpoint_is_told(log):
    found = first(await checked(log, kept=KeptCheckpoints(None, [Sighted("mine", b"no note")])))
    assert (found.wrong, found.place) == (Wrong.NO_CHECKPOINT, "mine")


async def test_kept_checkpoints_hold_while_an_entry_does_not(log, data):
    """What was changed later is not blamed on those who signed earlier."""
    (log / "checkpoints").mkdir()
    for size in (25_602, 30_000):
        (log / f"checkpoints/{size}").write_bytes(note_of(data[:size]))
    flip(log / ENTRIES, 2)
    result = await checked(log, kept=KeptCheckpoints(log))
    assert [each.wrong for each in result.found.told] == [Wrong.ENTRY_CHANGED]


# -- keys by the time of leaves, and what leaves say ---------------------------------------------------------------


def _real_log(folder: Path, books: logs.Books) -> Path:
    folder.mkdir()
    write_log(folder, books.leaves_)
    (folder / "checkpoint").write_text(books.note())
    return folder


async def read_real(folder: Path, keys=None, **wanted) -> Checked:
    always = (logs.signer().verifier,)
    log = LogToCheck(
        FolderSource(folder), logs.fed.LOG_ORIGIN, keys or (lambda _time: always), frozenset({logs.fed.GATEWAY})
    )
    return await check_log(log, Wanted(**wanted))


async def test_key_retired_before_the_newest_leaf_does_not_count(tmp_path):
    books = logs.little_log()
    log = _real_log(tmp_path / "log", books)
    other = SignerKey.from_seed(logs.fed.LOG_ORIGIN, b"\x09" * 32).verifier
    (log / "checkpoints").mkdir()
    (log / "checkpoints/1").write_text(books.note(1))

    def keys(time: float):
        return (logs.signer().verifier if time < logs.MIDNIGHT else other,)

    result = await read_real(log, keys, kept=KeptCheckpoints(log))
    assert [(each.wrong, each.place) for each in result.found.told] == [(Wrong.NOT_SIGNED, "checkpoint")]


async def test_leaves_of_an_honest_log_are_sound(tmp_path):
    books = logs.Books()
    for second in (0, 5, 1, 61):
        books.record(logs.Asked(), at=logs.MIDNIGHT + second)
    assert (await read_real(_real_log(tmp_path / "log", books), leaves=True)).is_sound


async def test_unreadable_late_and_misplaced_leaves_are_named(tmp_path):
    pb = logs.log_pb2
    books = logs.Books()
    books.record(logs.Asked())
    books.leaves_.append(b"\x08\x63")
    books.record(logs.Asked(), at=logs.MIDNIGHT - 59)
    books.record(logs.Asked(), at=logs.MIDNIGHT - 61)
    start = pb.ShardStartEvent(previous_origin="before", previous_size=1, previous_root=bytes(32))
    books.append(pb.LogLeaf(shard_start=start))
    books.append(pb.LogLeaf(shard_end=pb.ShardEndEvent(next_origin="after")))
    books.record(logs.Asked())
    log = _real_log(tmp_path / "log", books)
    result = await read_real(log, leaves=True)
    assert [(each.wrong, each.entry) for each in result.found.told] == [
        (Wrong.LEAF_UNREADABLE, 1),
        (Wrong.LEAF_BACKWARDS, 3),
        (Wrong.START_WITHIN, 4),
        (Wrong.AFTER_END, 6),
    ]
    assert (await read_real(log)).is_sound


async def test_leaf_of_another_gateway_is_named(tmp_path):
    log = _real_log(tmp_path / "log", logs.little_log())
    verifier = logs.signer().verifier
    to_check = LogToCheck(FolderSource(log), logs.fed.LOG_ORIGIN, lambda _: (verifier,), frozenset({"another"}))
    assert first(await check_log(to_check, Wanted(leaves=True))).wrong is Wrong.LEAF_OF_OTHER_GATEWAY


# -- sources that change, refuse and fail --------------------------------------------------------------------------


class Served(FolderSource):
    """A folder that answers as it is told to."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.notes: list[bytes] = []
        self.refused: dict[str, Exception] = {}
        self.calls: list[str] = []
        self.under_way = self.most = 0

    async def checkpoint(self) -> bytes:
        return self.notes.pop(0) if self.notes else await super().checkpoint()

    async def fetch(self, resource) -> bytes:
        self.calls.append(resource.path)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            for prefix, error in self.refused.items():
                if resource.path.startswith(prefix):
                    raise error
            return await super().fetch(resource)
        finally:
            self.under_way -= 1


async def test_log_that_grows_while_it_is_read_is_sound(log, data):
    source = Served(log)
    source.notes = [note_of(data[:SIZE]), note_of(data[:SIZE])]
    assert (await checked(log, source)).is_sound
    source.notes = [note_of(data[:300]), note_of(data)]
    assert (await checked(log, source)).is_sound


async def test_log_that_grows_past_a_checkpoint_of_the_auditor_meanwhile_is_sound(log, data):
    source = Served(log)
    source.notes = [note_of(data[:300]), note_of(data)]
    kept = KeptCheckpoints(None, [Sighted("later", note_of(data[:400]))])
    result = await checked(log, source, kept=kept)
    assert result.is_sound
    assert result.checkpoints == 2


async def test_log_that_shrinks_or_forks_while_it_is_read_is_told(log, data):
    source = Served(log)
    source.notes = [note_of(data), note_of(data[:300])]
    assert first(await checked(log, source)).wrong is Wrong.ROLLED_BACK
    source.notes = [note_of(data[:300]), note_of([*data[:299], b"another"])]
    assert first(await checked(log, source)).wrong is Wrong.FORKED
    source.notes = [note_of([*data[:299], b"another"]), note_of(data)]
    assert Wrong.FORKED in {each.wrong for each in (await checked(log, source)).found.told}


async def test_entries_kept_back_from_the_auditor_are_told_once_and_hashes_still_checked(log):
    source = Served(log)
    source.refused["tile/entries"] = UnknownPeerError(Reason.PEER_ROLE_NOT_ALLOWED)
    flip(log / LEVEL_1, 5)
    result = await checked(log, source)
    assert [each.wrong for each in result.found.told] == [Wrong.TILE_CHANGED, Wrong.KEPT_BACK]
    assert sum(path.startswith("tile/entries") for path in source.calls) <= AHEAD + 1


async def test_withheld_bundle_is_told_and_the_rest_still_checked(log):
    source = Served(log)
    source.refused[ENTRIES] = NotFoundError(Reason.NOT_FOUND)
    flip(log / "tile/entries/200", 2)
    result = await checked(log, source)
    assert [(each.wrong, each.place) for each in result.found.told] == [
        (Wrong.ENTRY_CHANGED, "tile/entries/200"),
        (Wrong.MISSING, ENTRIES),
    ]


async def test_fault_of_the_source_is_unreachable_and_no_finding(log):
    source = Served(log)
    source.refused[LEVEL_0] = UnreachableError(Reason.PEER_UNREACHABLE)
    with pytest.raises(UnreachableError):
        await checked(log, source)


async def test_no_more_is_under_way_than_is_looked_ahead(log):
    source = Served(log)
    assert (await checked(log, source)).is_sound
    assert source.most <= AHEAD


async def test_any_flipped_bit_of_any_file_is_found_at_its_file(tmp_path):
    (tmp_path / "log").mkdir()
    log = write_log(tmp_path / "log", leaves(700))
    files = sorted(file for file in log.rglob("*") if file.is_file())
    random = Random(20270601)
    for file in files * 8:
        content = file.read_bytes()
        changed = bytearray(content)
        changed[random.randrange(len(content))] ^= 1 << random.randrange(8)
        file.write_bytes(changed)
        found = first(await checked(log))
        assert found.place == str(file.relative_to(log)), found
        file.write_bytes(content)
    assert (await checked(log)).is_sound


@pytest.mark.parametrize("entries", [True, False], ids=["entries", "hashes"])
async def test_leaf_of_a_receipt_that_the_log_does_not_have_is_told_also_by_its_hash(tmp_path, entries):
    write_log(tmp_path / "log", leaves(300))
    shown = [ShownLeaf("receipt.json", 299, leaf_hash(leaves(300)[299])), ShownLeaf("other.json", 7, bytes(32))]
    result = await checked(tmp_path / "log", entries=entries, kept=KeptCheckpoints(leaves=shown))
    assert [(each.wrong, each.place, each.entry) for each in result.found.told] == [
        (Wrong.LEAF_NOT_LOGGED, "other.json", 7)
    ]
