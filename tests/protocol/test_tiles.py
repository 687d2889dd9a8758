"""Tiles: the specification's examples, strict paths, and bundles that lie about what is in them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.protocol import merkle, tiles
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.reasons import Reason
from gateway.protocol.tiles import Bundle, Tile
from tests.static_logs import leaves

RESOURCES = st.one_of(
    st.builds(Tile, st.integers(0, 63), st.integers(0, 2**54), st.integers(1, 256)),
    st.builds(Bundle, st.integers(0, 2**54), st.integers(1, 256)),
)


def test_the_specifications_example_of_a_path():
    assert Tile(0, 1234067).path == "tile/0/x001/x234/067"
    assert tiles.parse_path("tile/0/x001/x234/067") == Tile(0, 1234067)
    assert tiles.parse_path("tile/entries/000.p/3") == Bundle(0, 3)


def test_the_specifications_example_of_a_tree_of_70000():
    found = list(tiles.tiles_at(70_000))
    assert sum(tile.level == 0 and tile.is_full for tile in found) == 273
    assert [tile for tile in found if not tile.is_full] == [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]
    assert [tile for tile in found if tile.level == 1 and tile.is_full] == [Tile(1, 0)]
    assert len(found) == 273 + 1 + 1 + 1 + 1
    assert list(tiles.bundles_at(70_000)) == [Bundle(tile.index, tile.width) for tile in found if tile.level == 0]


def test_the_specifications_example_of_a_tree_of_256():
    assert list(tiles.tiles_at(256)) == [Tile(0, 0), Tile(1, 0, 1)]
    assert tiles.edge_tiles(256) == (Tile(1, 0, 1),)


def test_an_empty_tree_has_no_tile():
    assert not list(tiles.tiles_at(0))
    assert not list(tiles.bundles_at(0))
    assert tiles.edge_tiles(0) == ()


@given(RESOURCES)
def test_every_path_is_read_as_what_it_was_written_for(resource):
    assert tiles.parse_path(resource.path) == resource
    assert len(resource.path) <= tiles.MAX_PATH_BYTES


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/x000/001",
        "tile/0/x000/x001/002",
        "tile/0/001/002",
        "tile/0/x001",
        "tile/0/x001/",
        "tile/0//000",
        "tile//0/000",
        "/tile/0/000",
        "tile/00/000",
        "tile/01/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/+1/000",
        "tile/100/000",
        "tile/data/000",
        "tile/entries/entries",
        "tile/Entries/000",
        "tile/0/000.p",
        "tile/0/000.p/",
        "tile/0/000.p/0",
        "tile/0/000.p/00",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/0/000.p/999",
        "tile/0/000.p/1000",
        "tile/0/000.p/1/",
        "tile/0/000.p/-1",
        "tile/0/000/.p/1",
        "tile/0/../0/000",
        "tile/0/%2e%2e/000",
        "tile/0/x%30%30%31/000",
        "tile/0/000\n",
        "tile/0/000?",
        "tile/0/٠٠٠",
        "tile/٠/000",
        "tile/0/x999/x999/x999/x999/x999/x999/999",
        "tile/0/x001/x000/x000/x000/x000/x000/x000/000",
        "checkpoint",
    ],
)
def test_any_other_form_of_a_path_is_refused(path):
    with pytest.raises(MalformedError):
        tiles.parse_path(path)


@given(st.text(alphabet="tile/entrsx.p0123456789", max_size=40))
def test_what_is_read_is_what_would_be_written(text):
    try:
        resource = tiles.parse_path(text)
    except MalformedError:
        return
    assert resource.path == text


@settings(deadline=None)
@given(st.integers(0, 70_000), st.integers(0, 70_000))
def test_tiles_between_two_sizes_are_those_that_the_first_had_not(first, second):
    old, new = sorted((first, second))
    before, after = set(tiles.tiles_at(old)), set(tiles.tiles_at(new))
    assert set(tiles.tiles_between(old, new)) == after - before
    assert set(tiles.bundles_between(old, new)) == set(tiles.bundles_at(new)) - set(tiles.bundles_at(old))


@given(st.integers(1, 2**40), st.integers(0, 4), st.integers(0, 2**24), st.integers(1, 256))
def test_a_tile_exists_up_to_the_width_that_the_tree_has(size, level, index, width):
    exists = tiles.exists_at(Tile(level, index, width), size)
    last = (index * 256 + width) * 256**level  # the leaves that the tile's last hash covers end here
    assert exists == (last <= size)


@given(st.integers(0, 60), st.integers(0, 2**20))
def test_the_place_of_a_node_covers_its_leaves(level, index):
    place = tiles.place_of(level, index)
    span = 256**place.level
    first = (place.index * 256 + place.start) * span
    assert (first, first + place.count * span) == (index << level, (index + 1) << level)
    assert place.start + place.count <= 256


@pytest.mark.parametrize("size", [1, 5, 255, 256, 257, 600])
def test_the_hashes_of_partial_tiles_are_frontier_nodes_or_below_them(size):
    data = leaves(size)
    frontier, _ = merkle.Frontier().append([merkle.leaf_hash(each) for each in data])
    covered = sum(tile.width * 256**tile.level for tile in tiles.edge_tiles(size))
    assert covered == size
    assert frontier.size == size


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=256))
def test_entries_come_back(entries):
    data = tiles.encode_entries(entries)
    bundle = Bundle(3, len(entries))
    assert tiles.decode_entries(bundle, data) == entries
    assert bundle.check(data) == data


@given(st.lists(st.binary(max_size=10), min_size=2, max_size=20), st.data())
def test_a_narrower_bundle_is_the_beginning_of_a_wider_one(entries, data):
    width = data.draw(st.integers(1, len(entries)))
    assert Bundle(0, width).cut(tiles.encode_entries(entries)) == tiles.encode_entries(entries[:width])


def test_a_truncated_bundle_is_refused_with_the_place():
    data = tiles.encode_entries([b"first", b"second"])
    with pytest.raises(ForgedError, match=r"tile/entries/001.p/2 ends in or before entry 257, which begins at byte 7"):
        tiles.decode_entries(Bundle(1, 2), data[:-1])
    with pytest.raises(ForgedError, match="entry 256"):
        tiles.decode_entries(Bundle(1, 2), b"\x00")


def test_a_bundle_with_something_behind_it_is_refused():
    with pytest.raises(ForgedError, match="has 7 bytes after its 1 entries"):
        tiles.decode_entries(Bundle(0, 1), tiles.encode_entries([b"first", b"other"]))


@given(st.integers(1, 256), st.binary(max_size=600))
def test_any_bytes_are_entries_or_refused(width, data):
    try:
        entries = tiles.decode_entries(Bundle(0, width), data)
    except ForgedError:
        return
    assert tiles.encode_entries(entries) == data


@pytest.mark.parametrize("entries", [[], [b""] * 257, [b"\x00" * 65_536]])
def test_bundles_that_cannot_be_are_not_written(entries):
    with pytest.raises(MalformedError):
        tiles.encode_entries(entries)


def test_an_entry_at_the_limit_fits():
    entry = b"\xff" * 65_535
    assert tiles.decode_entries(Bundle(0, 1), tiles.encode_entries([entry])) == [entry]


@pytest.mark.parametrize("width", [0, -1, 257])
def test_tiles_of_impossible_widths_do_not_exist(width):
    with pytest.raises(MalformedError):
        Tile(0, 0, width)
    with pytest.raises(MalformedError):
        Bundle(0, width)


def test_tiles_beyond_the_largest_tree_do_not_exist():
    last = merkle.MAX_TREE_SIZE // 256
    assert tiles.parse_path(Tile(0, last, 255).path) == Tile(0, last, 255)
    for index in (last, last + 1, -1):
        with pytest.raises(MalformedError):
            Tile(0, index)
    with pytest.raises(MalformedError):
        Tile(64, 0)


def test_a_tile_of_another_length_is_refused():
    tile = Tile(0, 0, 3)
    assert tile.check(b"a" * 96) == b"a" * 96
    assert tile.cut(b"a" * 8192) == b"a" * 96
    for data in (b"", b"a" * 95, b"a" * 97, b"a" * 64):
        with pytest.raises(ForgedError) as caught:
            tile.check(data)
        assert caught.value.reason is Reason.TILE_INVALID
    with pytest.raises(ForgedError):
        tile.cut(b"a" * 64)


def test_a_place_outside_the_tree_has_no_tile():
    assert tiles.width_at(0, 2, 512) == 0
    with pytest.raises(MalformedError):
        tiles.tile_at(0, 2, 512)
