"""What is kept is packed before it is encrypted: compressed by a dictionary, and padded, in a format with a version.

    version (1) ‖ kind (1) ‖ length of the data (4) ‖ length of the frame (4) ‖ Zstandard frame without magic ‖ zeros

- A ciphertext shows how long it is, and compression makes lengths depend on contents. What holds answers is therefore
  padded to a length that was made without them (`length_like`), or not compressed at all.
- What is read back is bounded by its reader before anything is decompressed, and is of exactly the length it says.
- The dictionaries hold what all such messages have in common. They are files of this package with a version in their
  names; one that anything was ever packed by must stay. `benchmarks/dictionaries.py` trains them on simulated families.

Source: RFC 8878 (Zstandard); the frame has neither checksum (AES-GCM is one) nor content size.
"""

from __future__ import annotations

import struct
import threading
from enum import IntEnum, unique
from functools import cache
from importlib.resources import files

import zstandard

from gateway.protocol.errors import MalformedError

_HEADER = struct.Struct(">BBII")
VERSION = 1
_LEVEL = 3
"""Within 4 % of level 12, and several times as fast."""
_MAX_WINDOW = 8 << 20
_FORMAT = zstandard.FORMAT_ZSTD1_MAGICLESS


@unique
class Kind(IntEnum):
    """What is packed; numbers are in what is kept, and never reused."""

    GRANT = 1
    STATE = 2
    LEAF = 3
    PLAIN = 4
    """What is not compressed, because answers stand in it, or nothing would be gained."""


_DICTIONARIES = {Kind.GRANT: "grants-1.zdict", Kind.STATE: "states-1.zdict", Kind.LEAF: "leaves-1.zdict"}
_BLOCK = {Kind.GRANT: 16, Kind.STATE: 16, Kind.LEAF: 1, Kind.PLAIN: 1}
"""Bytes: lengths are multiples of it."""


class _Codec(threading.local):
    """Contexts of one thread: Zstandard's are not to be shared."""

    def __init__(self) -> None:
        self.compressors: dict[Kind, zstandard.ZstdCompressor] = {}
        self.decompressors: dict[Kind, zstandard.ZstdDecompressor] = {}


_codec = _Codec()


def pack(kind: Kind, data: bytes, least: int = 0) -> bytes:
    """`data` as it is encrypted, of at least so many bytes."""
    frame = data if kind is Kind.PLAIN else _compressor(kind).compress(data)
    size = max(_HEADER.size + len(frame), least)
    size += -size % _BLOCK[kind]
    return (_HEADER.pack(VERSION, kind, len(data), len(frame)) + frame).ljust(size, b"\x00")


def length_like(kind: Kind, shape: bytes, slack: int) -> int:
    """How long data must be packed at least, so that its length is that of `shape` and no more is told by it.

    `slack` are bytes by which data of that shape may take more room than the shape itself.
    """
    return _HEADER.size + len(_compressor(kind).compress(shape)) + slack


def unpack(kind: Kind, packed: bytes, limit: int) -> bytes:
    """What `pack` made of at most `limit` bytes; MalformedError for anything else, before it takes more memory."""
    try:
        version, said, length, frame_length = _HEADER.unpack_from(packed)
    except struct.error:
        raise _not_packed("is too short") from None
    frame, padding = packed[_HEADER.size : _HEADER.size + frame_length], packed[_HEADER.size + frame_length :]
    if (version, said) != (VERSION, kind) or len(frame) != frame_length:
        raise _not_packed("is of another version or kind, or cut short")
    if padding.strip(b"\x00"):
        raise _not_packed("goes on after its end")
    if length > limit:
        raise _not_packed(f"is over {limit} bytes")
    data = frame if kind is Kind.PLAIN else _decompress(kind, frame, length)
    if len(data) != length:
        raise _not_packed("is not of the length that it says")
    return data


def _decompress(kind: Kind, frame: bytes, length: int) -> bytes:
    try:
        # A frame that states a size of its own would be believed over the bound given: none of ours does.
        if zstandard.frame_content_size(_MAGIC + frame) != -1:
            raise _not_packed("states a size of its own")
        return _decompressor(kind).decompress(frame, max_output_size=length, allow_extra_data=False) if length else b""
    except zstandard.ZstdError:
        raise _not_packed("cannot be decompressed") from None


_MAGIC = b"\x28\xb5\x2f\xfd"


def _compressor(kind: Kind) -> zstandard.ZstdCompressor:
    made = _codec.compressors.get(kind)
    if made is None:
        parameters = zstandard.ZstdCompressionParameters.from_level(
            _LEVEL, format=_FORMAT, write_checksum=0, write_content_size=0, write_dict_id=0
        )
        made = zstandard.ZstdCompressor(dict_data=_dictionary(kind), compression_params=parameters)
        _codec.compressors[kind] = made
    return made


def _decompressor(kind: Kind) -> zstandard.ZstdDecompressor:
    made = _codec.decompressors.get(kind)
    if made is None:
        made = zstandard.ZstdDecompressor(dict_data=_dictionary(kind), max_window_size=_MAX_WINDOW, format=_FORMAT)
        _codec.decompressors[kind] = made
    return made


@cache
def _dictionary(kind: Kind) -> zstandard.ZstdCompressionDict:
    data = files("gateway").joinpath("dictionaries", _DICTIONARIES[kind]).read_bytes()
    made = zstandard.ZstdCompressionDict(data)
    made.precompute_compress(level=_LEVEL)
    return made


def _not_packed(what: str) -> MalformedError:
    return MalformedError.at("evidence", what)
