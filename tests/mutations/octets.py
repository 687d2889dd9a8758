"""Mutations of bytes that know nothing of a format, and of 64-byte signatures.

Each takes `random` and the genuine bytes (and, where it splices, other genuine bytes of the same kind) and returns
other bytes, or the same ones where it finds nothing to do.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493
SIGNATURE = 64
_HALF = SIGNATURE // 2

_TELLING = (0x00, 0x01, 0x0A, 0x0D, 0x20, 0x22, 0x2B, 0x2D, 0x2E, 0x2F, 0x3D, 0x5F, 0x7F, 0x80, 0xC0, 0xFF)
"""Bytes that some format gives a meaning to: ends of lines, quotes, base64's and JSON's marks, varint's bits."""

ByteMutation = Callable[[Random, bytes, bytes], bytes]


def flip_bits(random: Random, data: bytes, _other: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 4)) if data else 0):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def replace_bytes(random: Random, data: bytes, _other: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 3)) if data else 0):
        place = random.randrange(len(changed))
        changed[place] = random.choice(_TELLING) if random.random() < 0.5 else random.randrange(256)
    return bytes(changed)


def insert_bytes(random: Random, data: bytes, _other: bytes) -> bytes:
    place = random.randint(0, len(data))
    some = random.randbytes(random.randint(1, 9)) if random.random() < 0.5 else bytes([random.choice(_TELLING)])
    return data[:place] + some + data[place:]


def delete_bytes(random: Random, data: bytes, _other: bytes) -> bytes:
    place = random.randint(0, len(data))
    return data[:place] + data[place + random.choice((1, 1, 2, 8, 33)) :]


def truncate(random: Random, data: bytes, _other: bytes) -> bytes:
    place = random.randint(0, len(data))
    return data[:place] if random.random() < 0.7 else data[place:]


def repeat(random: Random, data: bytes, _other: bytes) -> bytes:
    place = random.randint(0, len(data))
    return data[:place] + data[max(0, place - random.randint(1, 64)) :]


def splice(random: Random, data: bytes, other: bytes) -> bytes:
    """The beginning of one and the end of another, or a window of another in the same place."""
    place = random.randint(0, min(len(data), len(other)))
    if random.random() < 0.5:
        return data[:place] + other[place:]
    end = place + random.randint(1, 64)
    return data[:place] + other[place:end] + data[end:]


BYTE_MUTATIONS: tuple[ByteMutation, ...] = (
    flip_bits,
    flip_bits,
    replace_bytes,
    insert_bytes,
    delete_bytes,
    truncate,
    repeat,
    splice,
)


def mutate_signature(random: Random, signature: bytes) -> bytes:
    """Another 64-byte signature near a genuine one: mirrored, s beyond the order, zeros, halves swapped, cut."""
    r, s = signature[:_HALF], signature[_HALF:]
    choices: tuple[Callable[[], bytes], ...] = (
        lambda: r + _below(P256_ORDER - int.from_bytes(s, "big"), "big"),
        lambda: r + _below(int.from_bytes(s, "big") + P256_ORDER, "big"),
        lambda: r + _below(int.from_bytes(s, "little") + ED25519_ORDER, "little"),
        lambda: r + bytes(_HALF),
        lambda: bytes(_HALF) + s,
        lambda: bytes(SIGNATURE),
        lambda: s + r,
        lambda: signature + b"\x00",
        lambda: signature[1:],
        lambda: encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big")),
    )
    return random.choice(choices)()


def mirrored_der(signature: bytes) -> bytes:
    """The second valid form of a DER ECDSA signature over P-256."""
    r, s = decode_dss_signature(signature)
    return encode_dss_signature(r, P256_ORDER - s)


def lower_form(signature: bytes) -> bytes:
    """An ES256 signature with the lower s: the same for a signature and its mirror."""
    s = int.from_bytes(signature[_HALF:], "big")
    return signature[:_HALF] + _below(min(s, P256_ORDER - s), "big")


def _below(number: int, order: str) -> bytes:
    return (number % (1 << 8 * _HALF)).to_bytes(_HALF, "big" if order == "big" else "little")
