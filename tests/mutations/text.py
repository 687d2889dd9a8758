"""Mutations of texts: JSON, compact JWS, and the lines of signed notes and proofs.

Base64 is written in its other forms (padding, the other alphabet, spare bits), JSON with names twice, members moved or
taken from another document, spaces, escapes; lines are moved, doubled, dropped, exchanged, or end otherwise.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from random import Random
from typing import Any

from tests.mutations.octets import BYTE_MUTATIONS, SIGNATURE, mutate_signature

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def mutate_json(random: Random, data: bytes, other: bytes) -> bytes:
    """`data` as another JSON text: another value, or the same value written otherwise."""
    value, theirs = _loads(data), _loads(other)
    if not isinstance(value, (dict, list)):
        return random.choice(BYTE_MUTATIONS)(random, data, other)
    kind = random.choice(("change", "change", "exchange", "twice", "spaces", "escape", "order", "add", "drop"))
    if kind in ("change", "exchange", "drop", "add"):
        _edit(random, value, theirs, kind)
        return _dumps(value)
    if kind == "order" and isinstance(value, dict):
        names = list(value)
        random.shuffle(names)
        return _dumps({name: value[name] for name in names})
    if kind == "twice" and isinstance(value, dict) and value:
        name = random.choice(list(value))
        again = json.dumps({name: theirs.get(name) if isinstance(theirs, dict) else None}).encode()
        return b"{" + again[1:-1] + b"," + _dumps(value)[1:]
    if kind == "escape":
        text = _dumps(value)
        place = text.find(b"e", random.randrange(len(text)))
        return text[:place] + b"\\u0065" + text[place + 1 :] if place >= 0 else text + b"\n"
    text = _dumps(value)
    place = max(text.find(b",", random.randrange(len(text))), 0) + 1
    return text[:place] + random.choice((b" ", b"\n", b"\t", b"\xef\xbb\xbf", b"\x00")) + text[place:]


def _edit(random: Random, value: Any, theirs: Any, kind: str) -> None:
    """Change one member of `value`, at any depth, in place."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    if not keys:
        return
    key = random.choice(keys)
    inner = value[key]
    other = theirs[key] if isinstance(theirs, dict) and key in theirs else None
    if isinstance(theirs, list) and isinstance(key, int) and theirs:
        other = theirs[key % len(theirs)]
    if isinstance(inner, (dict, list)) and inner and random.random() < 0.6:
        _edit(random, inner, other, kind)
    elif kind == "drop":
        del value[key]
    elif kind == "add" and isinstance(value, dict):
        value[random.choice(("crit", "jwk", "b64", "x", "", "exp "))] = inner
    elif kind == "exchange" and other is not None:
        value[key] = other
    elif isinstance(inner, str):
        value[key] = random.choice(BYTE_MUTATIONS)(random, inner.encode(), inner.encode()).decode(errors="replace")
    elif isinstance(inner, bool) or inner is None:
        value[key] = random.choice((True, False, None, 0, 1))
    elif isinstance(inner, (int, float)):
        value[key] = random.choice((inner + 1, inner - 1, 0, -1, inner * 2, float(inner), str(inner), 2**53, True))
    else:
        value[key] = random.choice((None, [], {}, "", [inner]))


def mutate_jws(random: Random, data: bytes, other: bytes) -> bytes:
    """`data`, a compact JWS, with one segment changed, exchanged, or encoded otherwise."""
    segments, theirs = data.split(b"."), other.split(b".")
    if len(segments) != 3 or random.random() < 0.3:
        return random.choice(BYTE_MUTATIONS)(random, data, other)
    place = random.randrange(3)
    alike = theirs[place] if len(theirs) == 3 else b""
    raw = unpadded(segments[place])
    kind = random.choice(("inside", "inside", "inside", "encoding", "exchange", "algorithm"))
    if kind == "exchange":
        segments[place] = alike
    elif kind == "encoding":
        segments[place] = other_base64(random, segments[place], b"-_")
    elif kind == "algorithm":
        header = _loads(unpadded(segments[0])) or {}
        header["alg"] = random.choice(("none", "HS256", "ES256", "Ed25519", "EdDSA", "ES256K", "RS256", "es256"))
        segments[0] = padless(_dumps(header))
        if random.random() < 0.5:
            segments[2] = b""
    elif place == 2:
        changed = mutate_signature(random, raw) if len(raw) == SIGNATURE else raw
        segments[2] = padless(changed if random.random() < 0.7 else random.choice(BYTE_MUTATIONS)(random, raw, raw))
    else:
        segments[place] = padless(mutate_json(random, raw, unpadded(alike)))
    return b".".join(segments)


def mutate_lines(random: Random, data: bytes, other: bytes) -> bytes:
    """`data`, lines of text, with one of them moved, doubled, dropped, exchanged, or written otherwise."""
    lines, theirs = data.split(b"\n"), other.split(b"\n")
    place = random.randrange(len(lines))
    line = lines[place]
    kind = random.choice(
        ("inside", "inside", "base64", "move", "double", "drop", "exchange", "end", "stranger", "zero")
    )
    if kind == "inside":
        lines[place] = random.choice(BYTE_MUTATIONS)(random, line, theirs[place % len(theirs)])
    elif kind == "base64":
        head, space, encoded = line.rpartition(b" ")
        raw = unpadded(encoded)
        if len(raw) == 4 + SIGNATURE and random.random() < 0.5:
            changed = base64.b64encode(raw[:4] + mutate_signature(random, raw[4:]))
        else:
            changed = other_base64(random, encoded, b"+/")
        lines[place] = head + space + changed
    elif kind == "move":
        lines.insert(random.randrange(len(lines)), lines.pop(place))
    elif kind == "double":
        lines.insert(place, line)
    elif kind == "drop":
        del lines[place]
    elif kind == "exchange":
        lines[place] = random.choice(theirs)
    elif kind == "end":
        lines[place] = line + random.choice((b"\r", b" ", b"\t", b"\x00", "\u2028".encode(), b"\n", b"\x0b"))
    elif kind == "stranger":
        signature = base64.b64encode(random.randbytes(4 + SIGNATURE))
        lines.insert(len(lines) - 1, "— stranger.example ".encode() + signature)
    else:
        lines[place] = random.choice((b"0", b"+", b" ", b"00")) + line
    return b"\n".join(lines)


def other_base64(random: Random, encoded: bytes, specials: bytes) -> bytes:
    """Base64 in a form other than its canonical one: spare bits set, padded, in the other alphabet, with spaces."""
    other = b"+/" if specials == b"-_" else b"-_"
    choices: tuple[Callable[[], bytes], ...] = (
        lambda: encoded + b"=",
        lambda: encoded.rstrip(b"=") if encoded.endswith(b"=") else encoded + b"==",
        lambda: encoded.translate(bytes.maketrans(specials, other)),
        lambda: encoded[:-1] + _next_letter(encoded[-1:]),
        lambda: encoded[:5] + b" " + encoded[5:],
        lambda: encoded + b"\n",
        lambda: encoded + b"A",
    )
    return random.choice(choices)()


def _next_letter(letter: bytes) -> bytes:
    place = _ALPHABET.find(letter) if letter else -1
    return _ALPHABET[(place + 1) % 64 : (place + 1) % 64 + 1] if place >= 0 else letter


def padless(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def unpadded(text: bytes) -> bytes:
    """What a base64 text of either alphabet holds; empty if it is none."""
    try:
        standard = text.translate(bytes.maketrans(b"-_", b"+/")).rstrip(b"=")
        return base64.b64decode(standard + b"=" * (-len(standard) % 4))
    except ValueError:
        return b""


def _loads(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _dumps(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")
