"""Taking compact JWS apart and putting them together again, as an attacker would."""

from __future__ import annotations

import base64
import json
from typing import Any

from gateway.protocol.codec import b64url


def segments(token: str) -> tuple[dict[str, Any], bytes, bytes]:
    """Header, payload bytes and signature of a compact JWS."""
    header, payload, signature = (base64.urlsafe_b64decode(part + "==") for part in token.split("."))
    return json.loads(header), payload, signature


def compact(header: dict[str, Any] | bytes, payload: bytes, signature: bytes) -> str:
    data = header if isinstance(header, bytes) else json.dumps(header).encode()
    return ".".join(map(b64url, (data, payload, signature)))
