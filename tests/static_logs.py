"""Static logs for tests, made from leaves by the definitions of RFC 9162 and C2SP tlog-tiles, not by our own code."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from gateway.protocol.checkpoint import Checkpoint, sign_checkpoint
from gateway.protocol.note import SignerKey

ORIGIN = "log.test/gateway"
SIGNER = SignerKey.from_seed(ORIGIN, b"\x07" * 32)


def leaves(count: int, start: int = 0) -> list[bytes]:
    """Leaves of different lengths, one of them empty."""
    return [f"leaf {index} ".encode() * (index % 7) for index in range(start, start + count)]


def tree_hash(data: list[bytes]) -> bytes:
    """MTH of RFC 9162 §2.1.1, as it is written there."""
    if not data:
        return sha256(b"").digest()
    if len(data) == 1:
        return sha256(b"\x00" + data[0]).digest()
    split = 1
    while split * 2 < len(data):
        split *= 2
    return sha256(b"\x01" + tree_hash(data[:split]) + tree_hash(data[split:])).digest()


def checkpoint_of(data: list[bytes], origin: str = ORIGIN) -> Checkpoint:
    return Checkpoint(origin, len(data), tree_hash(data))


def note_of(data: list[bytes], signer: SignerKey = SIGNER) -> bytes:
    return sign_checkpoint(checkpoint_of(data, signer.verifier.name), [signer]).encode()


def signing(size: int, root: bytes, origin: str | None = None) -> str:
    """How a store has the checkpoints of this log signed, and those of any that goes on from it."""
    signer = SIGNER if origin in (None, ORIGIN) else SignerKey.from_seed(origin, b"\x08" * 32)
    return sign_checkpoint(Checkpoint(signer.verifier.name, size, root), [signer])


def group_path(index: int) -> str:
    digits = str(index)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    return "/".join([f"x{group}" for group in groups[:-1]] + groups[-1:])


def write_log(folder: Path, data: list[bytes]) -> Path:
    """Write the static log of `data` into `folder`, with the checkpoint; returns the folder."""
    level = 0
    while len(data) >> 8 * level:
        count, span = len(data) >> 8 * level, 256**level
        hashes = [tree_hash(data[at * span : (at + 1) * span]) for at in range(count)]
        for index in range(-(-count // 256)):
            row = hashes[index * 256 : (index + 1) * 256]
            _write(folder, f"tile/{level}/{group_path(index)}", len(row), b"".join(row))
            if level == 0:
                bundle = data[index * 256 : (index + 1) * 256]
                packed = b"".join(len(each).to_bytes(2, "big") + each for each in bundle)
                _write(folder, f"tile/entries/{group_path(index)}", len(row), packed)
        level += 1
    (folder / "checkpoint").write_bytes(note_of(data))
    return folder


def _write(folder: Path, name: str, width: int, data: bytes) -> None:
    path = folder / (name if width == 256 else f"{name}.p/{width}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
