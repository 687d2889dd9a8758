"""The files of a witness: its private key, and the keys of the logs that it was told of.

The key file (mode 0600) has one line for each key under which the witness cosigns, `PRIVATE+KEY+<name>+<8 hex
digits>+<base64(type ‖ seed)>`, the encoding of Go's sumdb/note with type 0x04 (Ed25519) or 0x06 (ML-DSA-44). The logs'
file has one verifier key a line; empty lines and lines that begin with # are read past. A key's name is its log's
origin, and several keys of one name are one log whose key is being rotated.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.party.keyfiles import read_private, read_public, unusable, write_private
from gateway.protocol.codec import decode_base64, encode_base64
from gateway.protocol.cosignature import SEED_BYTES, CosignerKey
from gateway.protocol.errors import MalformedError
from gateway.protocol.note import COSIGNATURE, VerifierKey
from gateway.protocol.policy import LOG_ALGORITHMS

_PRIVATE = "PRIVATE+KEY+"
_PARTS = 3


def make_key(path: Path, name: str, algorithm: int = COSIGNATURE) -> VerifierKey:
    """Make a key under `name`, write it to `path`, and return its public half; never over a file that is there."""
    if path.exists():
        raise unusable(path, "is there already: a witness that loses its key is another witness / 文件已存在")
    seed = secrets.token_bytes(SEED_BYTES)
    verifier = CosignerKey.from_seed(name, seed, algorithm).verifier
    encoded = encode_base64(bytes((algorithm,)) + seed)
    write_private(path, f"{_PRIVATE}{name}+{verifier.key_id.hex()}+{encoded}\n".encode())
    return verifier


def read_keys(path: Path) -> tuple[CosignerKey, ...]:
    """The keys of a key file; MalformedError (CONFIGURATION_INVALID), which shows none of it."""
    lines = read_private(path).decode("utf-8", errors="replace").splitlines()
    try:
        keys = tuple(map(_read_key, filter(None, lines)))
    except MalformedError:
        raise unusable(path, "must hold lines as heyan log witness-key writes them / 私钥文件格式无效") from None
    if not keys or len({key.verifier for key in keys}) != len(keys):
        raise unusable(path, "must hold at least one key, and none twice / 至少一个密钥，且不得重复")
    return keys


def read_logs(path: Path) -> Mapping[str, Sequence[VerifierKey]]:
    """The keys of each log by its origin; MalformedError (CONFIGURATION_INVALID) naming the line."""
    logs: dict[str, list[VerifierKey]] = {}
    for number, line in enumerate(read_public(path).decode("utf-8", errors="replace").splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            key = VerifierKey.parse(text)
        except MalformedError as error:
            raise unusable(path, f"line {number}: {error.detail} / 第 {number} 行不是有效的验证公钥") from None
        if key.algorithm not in LOG_ALGORITHMS or key in logs.setdefault(key.name, []):
            raise unusable(path, f"line {number}: not a log's key, or one again / 第 {number} 行不是日志公钥或重复")
        logs[key.name].append(key)
    return logs


def _read_key(line: str) -> CosignerKey:
    """One line of a key file; MalformedError."""
    parts = line.removeprefix(_PRIVATE).split("+", _PARTS - 1)
    if not line.startswith(_PRIVATE) or len(parts) != _PARTS:
        raise MalformedError.at("key", "must be a private key")
    name, key_id, encoded = parts
    data = decode_base64(encoded, "key")
    key = CosignerKey.from_seed(name, data[1:], data[0] if data else 0)
    if key.verifier.key_id.hex() != key_id:
        raise MalformedError.at("key", "must bear the id of its own public key")
    return key
