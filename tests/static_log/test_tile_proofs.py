"""Proofs from tiles agree with the tree's definition, and nothing tampered with gets through."""

import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.protocol import merkle
from gateway.protocol.checkpoint import Checkpoint
from gateway.protocol.errors import ForgedError, MalformedError, NotFoundError
from gateway.protocol.reasons import Reason
from gateway.protocol.tiles import bundles_at, edge_tiles, tiles_at
from gateway.static_log.tile_proofs import VerifiedTiles, prove_consistency, prove_inclusion, read_leaves
from gateway.static_log.tile_source import FolderSource
from tests.static_logs import ORIGIN, checkpoint_of, leaves, write_log

SIZE = 1_300
DATA = leaves(SIZE)
HASHES = [merkle.leaf_hash(each) for each in DATA]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_log(tmp_path_factory.mktemp("log"), DATA)


class Memory:
    """Tiles of any size of DATA, from the tree's complete nodes."""

    def __init__(self) -> None:
        _, nodes = merkle.Frontier().append(HASHES)
        self.nodes = {(level, index): value for level, index, value in nodes}
        self.reads = 0

    async def checkpoint(self) -> bytes:
        raise AssertionError("proofs are made from tiles alone")

    async def tile(self, level, index, width):
        self.reads += 1
        return b"".join(self.nodes[8 * level, index * 256 + at] for at in range(width))

    async def entries(self, index, width):
        return DATA[index * 256 : index * 256 + width]


MEMORY = Memory()


def root_at(size):
    return Checkpoint(ORIGIN, size, merkle.root_of(HASHES[:size]))


async def test_inclusion_agrees_with_the_definition_in_a_folder(folder):
    checkpoint = checkpoint_of(DATA)
    async with FolderSource(folder) as source:
        for index in (0, 1, 255, 256, 1_023, 1_024, 1_279, 1_280, SIZE - 1):
            path = await prove_inclusion(source, index, checkpoint)
            assert path == merkle.inclusion_path(HASHES, index)


@settings(deadline=None)
@given(st.integers(1, SIZE), st.data())
async def test_inclusion_agrees_at_every_size(size, data):
    index = data.draw(st.integers(0, size - 1))
    assert await prove_inclusion(MEMORY, index, root_at(size)) == merkle.inclusion_path(HASHES[:size], index)


@settings(deadline=None)
@given(st.integers(1, SIZE), st.integers(1, SIZE))
async def test_consistency_agrees_between_any_two_sizes(first, second):
    old, new = sorted((first, second))
    path = await prove_consistency(MEMORY, root_at(old), root_at(new))
    assert path == merkle.consistency_proof(old, new, lambda level, index: MEMORY.nodes[level, index])


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, SIZE), st.integers(0, SIZE))
async def test_leaves_of_any_range_are_read_in_order(folder, first, second):
    start, end = sorted((first, second))
    async with FolderSource(folder) as source:
        found = [item async for item in read_leaves(source, start, end, checkpoint_of(DATA))]
    assert found == list(enumerate(DATA[start:end], start=start))


async def test_reading_on_needs_few_tiles():
    source = Memory()
    tiles = VerifiedTiles(source, root_at(SIZE))
    found = [item async for item in read_leaves(tiles, 0, SIZE, root_at(SIZE))]
    assert len(found) == SIZE
    assert source.reads == len(list(tiles_at(SIZE)))


async def test_the_empty_log_is_the_beginning_of_any():
    assert await prove_consistency(MEMORY, Checkpoint(ORIGIN, 0, merkle.EMPTY_ROOT), root_at(7)) == ()
    assert [item async for item in read_leaves(MEMORY, 0, 0, Checkpoint(ORIGIN, 0, merkle.EMPTY_ROOT))] == []


async def test_equal_checkpoints_need_no_proof():
    assert await prove_consistency(MEMORY, root_at(9), root_at(9)) == ()


async def test_a_smaller_log_is_called_rolled_back():
    with pytest.raises(ForgedError) as caught:
        await prove_consistency(MEMORY, root_at(10), root_at(9))
    assert caught.value.reason is Reason.LOG_ROLLED_BACK


@pytest.mark.parametrize("new", [500, 501, SIZE])
async def test_a_fork_is_called_a_fork(new):
    forged = Checkpoint(ORIGIN, 500, merkle.root_of([*HASHES[:499], b"\x00" * 32]))
    with pytest.raises(ForgedError) as caught:
        await prove_consistency(MEMORY, forged, root_at(new))
    assert caught.value.reason is Reason.LOG_FORKED


async def test_checkpoints_of_two_logs_are_not_one():
    other = Checkpoint("other.test/log", 5, root_at(5).root)
    with pytest.raises(ForgedError) as caught:
        await prove_consistency(MEMORY, other, root_at(5))
    assert caught.value.reason is Reason.LOG_FORKED


@pytest.mark.parametrize("index", [-1, SIZE, SIZE + 1])
async def test_a_leaf_that_is_not_there_has_no_proof(index):
    with pytest.raises(MalformedError):
        await prove_inclusion(MEMORY, index, root_at(SIZE))


async def test_a_range_beyond_the_checkpoint_is_refused():
    with pytest.raises(MalformedError):
        _ = [item async for item in read_leaves(MEMORY, 0, 11, root_at(10))]


async def test_a_node_that_is_not_complete_is_refused():
    with pytest.raises(MalformedError):
        await VerifiedTiles(MEMORY, root_at(5)).node(2, 1)


@pytest.mark.parametrize("path", [tile.path for tile in tiles_at(SIZE)])
@pytest.mark.parametrize("place", ["first", "last"])
async def test_a_flipped_byte_in_any_tile_is_found_and_named(folder, tmp_path, path, place):
    broken = shutil.copytree(folder, tmp_path / "log")
    flip(broken / path, place)
    with pytest.raises(ForgedError) as caught:
        async with FolderSource(broken) as source:
            _ = [item async for item in read_leaves(source, 0, SIZE, checkpoint_of(DATA))]
    assert caught.value.reason is Reason.TILE_INVALID
    assert path in caught.value.detail


@pytest.mark.parametrize("path", [bundle.path for bundle in bundles_at(SIZE)])
async def test_a_flipped_byte_in_any_bundle_is_found_and_named(folder, tmp_path, path):
    broken = shutil.copytree(folder, tmp_path / "log")
    flip(broken / path, "last")
    with pytest.raises(ForgedError) as caught:
        async with FolderSource(broken) as source:
            _ = [item async for item in read_leaves(source, 0, SIZE, checkpoint_of(DATA))]
    assert caught.value.reason is Reason.TILE_INVALID
    assert "entry" in caught.value.detail


@pytest.mark.parametrize("path", [tile.path for tile in tiles_at(SIZE)] + [item.path for item in bundles_at(SIZE)])
async def test_a_missing_file_is_missing_and_not_a_proof(folder, tmp_path, path):
    broken = shutil.copytree(folder, tmp_path / "log")
    (broken / path).unlink()
    with pytest.raises(NotFoundError):
        async with FolderSource(broken) as source:
            _ = [item async for item in read_leaves(source, 0, SIZE, checkpoint_of(DATA))]


async def test_two_leaves_that_changed_places_are_found(folder, tmp_path):
    swapped = [DATA[1], DATA[2], *DATA[2:]] if DATA[1] == DATA[2] else [DATA[0], DATA[2], DATA[1], *DATA[3:]]
    broken = write_log(tmp_path / "log", swapped)
    shutil.rmtree(broken / "tile/0")
    shutil.copytree(folder / "tile/0", broken / "tile/0")
    shutil.copytree(folder / "tile/1", broken / "tile/1", dirs_exist_ok=True)
    with pytest.raises(ForgedError, match="entry 1 "):
        async with FolderSource(broken) as source:
            _ = [item async for item in read_leaves(source, 0, SIZE, checkpoint_of(DATA))]


async def test_a_checkpoint_of_another_root_is_found(folder):
    forged = Checkpoint(ORIGIN, SIZE, b"\x01" * 32)
    async with FolderSource(folder) as source:
        for attempt in (prove_inclusion(source, 0, forged), prove_consistency(source, root_at(3), forged)):
            with pytest.raises(ForgedError) as caught:
                await attempt
            assert caught.value.reason is Reason.TILE_INVALID


async def test_an_early_end_leaves_nothing_under_way(folder):
    async with FolderSource(folder) as source:
        async for index, _ in read_leaves(source, 0, SIZE, checkpoint_of(DATA)):
            if index == 300:
                break


def test_the_root_of_partial_tiles_is_the_root():
    for size in (1, 2, 255, 256, 257, 511, 513, SIZE):
        assert sum(tile.width << 8 * tile.level for tile in edge_tiles(size)) == size


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[0 if place == "first" else -1] ^= 1
    path.write_bytes(bytes(data))
