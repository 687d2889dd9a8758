"""Copies of a log: whole, verified, taken up where they ended, and never of a log that went back."""

from __future__ import annotations

import shutil

import pytest

from gateway.protocol.checkpoint import Checkpoint
from gateway.protocol.errors import ForgedError, MalformedError, NotFoundError
from gateway.protocol.reasons import Reason
from gateway.protocol.tiles import bundles_at, tiles_at
from gateway.static_log.exporting import export
from gateway.static_log.folder import PUBLIC_FILE_MODE, PUBLIC_FOLDER_MODE, Disk, PublishedFolder
from gateway.static_log.tile_source import FolderSource
from tests.static_log.publications import NOW, BadDisk, Killed, QuickDisk, published_leaves
from tests.static_logs import checkpoint_of, leaves, note_of, write_log

SIZE = 1_300
DATA = leaves(SIZE)


class Counting(FolderSource):
    """A folder that counts the bundles it is asked for."""

    def __init__(self, folder) -> None:
        super().__init__(folder)
        self.bundles = 0

    async def entries(self, index, width):
        self.bundles += 1
        return await super().entries(index, width)


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    return write_log(tmp_path_factory.mktemp("log"), DATA)


async def copy(source, target, data=DATA, *, entries=True, disk=None):
    return await export(
        source,
        checkpoint_of(data),
        note_of(data),
        PublishedFolder(target, disk or QuickDisk()),
        entries=entries,
        now=NOW,
    )


def files(folder, *, besides=("checkpoints", ".lock")):
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: data for name, data in found.items() if not name.startswith(besides)}


async def test_a_copy_is_the_log(origin, tmp_path):
    told = []
    await export(
        FolderSource(origin),
        checkpoint_of(DATA),
        note_of(DATA),
        PublishedFolder(tmp_path / "copy"),
        entries=True,
        now=NOW,
        progress=lambda done, whole: told.append((done, whole)),
    )
    assert files(tmp_path / "copy") == files(origin)
    assert told[-1] == (SIZE, SIZE)
    assert (tmp_path / f"copy/checkpoints/{SIZE}").read_bytes() == note_of(DATA)


async def test_a_copy_of_hashes_has_no_entries_until_they_are_asked_for(origin, tmp_path):
    target = tmp_path / "copy"
    await copy(FolderSource(origin), target, entries=False)
    assert {name for name in files(origin) if "entries" not in name} == set(files(target))
    await copy(FolderSource(origin), target)
    assert files(target) == files(origin)


async def test_a_copy_goes_on_with_what_is_new(tmp_path):
    target = tmp_path / "copy"
    for size, expected in ((300, 2), (600, 2), (600, 0), (SIZE, 4)):
        source = Counting(write_log(tmp_path / str(size), DATA[:size]))
        await copy(source, target, DATA[:size])
        assert source.bundles == expected
        assert await published_leaves(target) == DATA[:size]
    assert not (target / "tile/0/001.p").exists()  # outgrown


async def test_a_copy_that_was_cut_short_fetches_no_bundle_twice(origin, tmp_path):
    target = tmp_path / "copy"
    with pytest.raises(Killed):
        await copy(FolderSource(origin), target, disk=BadDisk(20))
    assert not (target / "checkpoint").exists()
    there = len([path for path in (target / "tile/entries").iterdir() if path.name != ".new"])
    assert there > 2
    source = Counting(origin)
    await copy(source, target)
    assert source.bundles == len(list(bundles_at(SIZE))) - there
    assert files(target, besides=("checkpoints", ".lock", ".new")) == files(origin)


async def test_what_a_cut_left_spoilt_is_fetched_again(origin, tmp_path):
    target = tmp_path / "copy"
    (target / "tile/entries").mkdir(parents=True)
    (target / "tile/entries/000").write_bytes(b"half")
    (target / "tile/entries/001").write_bytes((origin / "tile/entries/000").read_bytes())
    await copy(FolderSource(origin), target)
    assert files(target) == files(origin)


@pytest.mark.parametrize("path", [item.path for item in (*tiles_at(SIZE), *bundles_at(SIZE))])
async def test_a_flipped_byte_of_the_origin_is_found_and_no_checkpoint_shown(origin, tmp_path, path):
    broken = shutil.copytree(origin, tmp_path / "broken")
    data = bytearray((broken / path).read_bytes())
    data[-1] ^= 0x80
    (broken / path).write_bytes(bytes(data))
    with pytest.raises(ForgedError) as caught:
        await copy(FolderSource(broken), tmp_path / "copy")
    assert caught.value.reason is Reason.TILE_INVALID
    assert not (tmp_path / "copy/checkpoint").exists()


async def test_an_origin_without_a_file_gives_no_copy(origin, tmp_path):
    broken = shutil.copytree(origin, tmp_path / "broken")
    (broken / "tile/entries/003").unlink()
    with pytest.raises(NotFoundError):
        await copy(FolderSource(broken), tmp_path / "copy")
    assert not (tmp_path / "copy/checkpoint").exists()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (DATA[:299], Reason.LOG_ROLLED_BACK),
        ([b"another", *DATA[1:300]], Reason.LOG_FORKED),
        ([b"another", *DATA[1:500]], Reason.LOG_FORKED),
    ],
)
async def test_a_log_that_is_not_the_one_of_the_copy_is_refused_and_the_copy_stays(tmp_path, data, reason):
    target = tmp_path / "copy"
    await copy(FolderSource(write_log(tmp_path / "first", DATA[:300])), target, DATA[:300])
    before = files(target)
    with pytest.raises(ForgedError) as caught:
        await copy(FolderSource(write_log(tmp_path / "second", data)), target, data)
    assert caught.value.reason is reason
    assert files(target) == before


async def test_a_folder_of_another_log_is_refused(origin, tmp_path):
    await copy(FolderSource(origin), tmp_path / "copy")
    checkpoint = checkpoint_of(DATA)
    other = Checkpoint("other.test/log", checkpoint.size, checkpoint.root)
    with pytest.raises(MalformedError, match="name another folder"):
        await export(
            FolderSource(origin), other, note_of(DATA), PublishedFolder(tmp_path / "copy"), entries=True, now=NOW
        )


async def test_two_copies_into_one_folder_do_not_write_at_once(origin, tmp_path):
    target = PublishedFolder(tmp_path / "copy")
    with target.alone() as is_alone:
        assert is_alone
        with pytest.raises(MalformedError, match="another process"):
            await copy(FolderSource(origin), tmp_path / "copy")
    await copy(FolderSource(origin), tmp_path / "copy")


async def test_a_copy_is_readable_for_the_web_server_that_is_to_serve_it(origin, tmp_path):
    await copy(FolderSource(origin), tmp_path / "copy", disk=Disk(PUBLIC_FOLDER_MODE, PUBLIC_FILE_MODE))
    for path in (tmp_path / "copy").rglob("*"):
        if path.name != ".lock":
            assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644)
