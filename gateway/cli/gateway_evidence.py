"""`heyan gateway erase` and `heyan gateway rewrap`: what an operator does with evidence, while the gateway serves."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from consent.consent_file import read_consent_file
from gateway.beside import beside, open_store, sweep_beside
from gateway.cli.exit_codes import EXIT_REFUSED
from gateway.cli.json_output import print_json
from gateway.cli.options import JsonOption, Several, read_party, read_request_id, usage_error
from gateway.cli.progress import counting
from gateway.config import GatewayConfig
from gateway.evidence.erasing import Erased, Ground
from gateway.evidence.key_settings import open_keks
from gateway.evidence.rewrapping import Rotation, rewrap
from gateway.protocol.digests import DIGEST_BYTES
from gateway.protocol.identities import PartyRole
from gateway.stores.records import RequestKey
from gateway.stores.sqlite_keeping import SqliteKeeping


def erase(
    *,
    config: Path,
    grant: Several = (),
    consent: Path | None = None,
    request: tuple[str, str] | None = None,
    yes: Annotated[bool, Parameter(name="--yes", negative="")] = False,
    as_json: JsonOption = False,
) -> int:
    """Destroy the evidence of consents, because the law asks for it. It cannot be undone.

    Destroys the keys under which grants, answers, messages that wait, offline tickets and disputes are kept, and logs
    that it was done. The log stays as it was, and every receipt that somebody holds still verifies. A consent that is
    still valid cannot be used any more. Departments and issuers keep what is theirs: ask them too. Older backups hold
    the keys until the key-encryption key is rotated (heyan gateway rewrap) and the old one destroyed. Works while the
    gateway serves. Exit code 1 if there was nothing to erase.

    Examples: `heyan gateway erase --config run/gateway/settings.toml --consent consent.json`,
    `heyan gateway erase --config run/gateway/settings.toml --request edu-4301 00112233445566778899aabbccddeeff --yes`

    Parameters
    ----------
    config
        TOML file with the gateway's settings.
    grant
        Digest of a grant, in hexadecimal; may be given several times.
    consent
        A consent file: each grant in it.
    request
        A requester (its id or SPIFFE ID) and its request_id: each grant that the request rests on.
    yes
        Do it without asking.
    """
    if sum((bool(grant), consent is not None, request is not None)) != 1:
        raise usage_error("--grant", "or --consent or --request must say what to erase, one of them")
    settings = GatewayConfig.from_file(config)
    digests = tuple(_digest(text) for text in grant)
    if consent is not None:
        digests = tuple(item.digest for item in read_consent_file(consent).grants)
    key = _request_key(*request) if request is not None else None
    if not yes:
        _require_confirmed()
    erased, asked, swept = asyncio.run(_erase(settings, digests, key))
    _print_erased(erased, asked, swept, as_json=as_json)
    return 0 if erased.grants else EXIT_REFUSED


def rewrap_keys(*, config: Path, as_json: JsonOption = False) -> int:
    """Rotate the key-encryption key: wrap every evidence key under the one that the settings name now.

    First name the new key in the settings (kek, or token.key) and the old one as retired (retired_keks, or
    token.retired_keys), and restart every gateway of the store: one that was not restarted goes on wrapping under the
    old key. Then run this, while they serve; it may be interrupted and run again. Once all run with the new settings
    and it says that nothing is left, the old key can be taken from them and destroyed. Exit code 1 if keys are left
    that no configured key unwraps.

    Example: `heyan gateway rewrap --config run/gateway/settings.toml`

    Parameters
    ----------
    config
        TOML file with the gateway's settings.
    """
    settings = GatewayConfig.from_file(config)
    keks = open_keks(settings)
    with closing(open_store(settings)) as store, counting("evidence keys 证据密钥") as tell:
        looked = 0

        def count(keys: int) -> None:
            nonlocal looked
            looked += keys
            tell(looked, looked)

        keeping = SqliteKeeping(store)
        rotation = rewrap(keeping, keks, count)
        if not rotation.swept:
            rotation = replace(rotation, swept=sweep_beside(keeping))
    _print_rotation(rotation, as_json=as_json)
    return EXIT_REFUSED if rotation.unreadable else 0


async def _erase(settings: GatewayConfig, digests: Sequence[bytes], key: RequestKey | None) -> tuple[Erased, int, bool]:
    """What was erased, how many grants were asked for, and whether the write-ahead log is empty."""
    async with beside(settings) as opened:
        if key is not None:
            digests = opened.keeping.grants_of(key)
        erased = await opened.eraser.erase(digests, Ground.LAWFUL_REQUEST)
        return erased, len(digests), await opened.log.run(lambda: sweep_beside(opened.keeping))


def _digest(text: str) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != DIGEST_BYTES:
        raise usage_error("--grant", f"must be {DIGEST_BYTES} bytes in hexadecimal")
    return found


def _request_key(requester: str, request_id: str) -> RequestKey:
    identity = read_party(requester, PartyRole.REQUESTER)
    return RequestKey(identity.uri, read_request_id(request_id))


def _require_confirmed() -> None:
    if not sys.stdin.isatty():
        raise usage_error("--yes", "must confirm that evidence is to be destroyed for good")
    sys.stderr.write("This destroys evidence for good 此操作将永久删除证据. Type yes to go on 输入 yes 继续: ")
    sys.stderr.flush()
    if sys.stdin.readline().strip() != "yes":
        raise usage_error("--yes", "was not confirmed: nothing was erased")


def _print_erased(erased: Erased, asked: int, swept: bool, *, as_json: bool) -> None:
    if as_json:
        row = {
            "erased": erased.grants,
            "asked": asked,
            "leaf_indexes": list(erased.leaf_indexes),
            "write_ahead_log_emptied": swept,
        }
        print_json(row)
    elif erased.grants:
        leaves = ", ".join(map(str, erased.leaf_indexes))
        sys.stdout.write(f"erased the evidence of {erased.grants} grants 已删除; logged as leaf {leaves}\n")
    else:
        sys.stdout.write("nothing to erase: no evidence is held of that, or it was erased before 无可删除\n")
    if not as_json and not swept:
        sys.stdout.write("the write-ahead log is in use: the gateway that serves empties it within the hour\n")


def _print_rotation(rotation: Rotation, *, as_json: bool) -> None:
    if as_json:
        row = {
            "rewrapped": rotation.rewrapped,
            "current": rotation.current,
            "unreadable": rotation.unreadable,
            "write_ahead_log_emptied": rotation.swept,
        }
        print_json(row)
        return
    sys.stdout.write(f"rewrapped {rotation.rewrapped} keys 已换封; {rotation.current} were wrapped by the newest key\n")
    if rotation.unreadable:
        sys.stdout.write(f"{rotation.unreadable} keys cannot be unwrapped: name the key that wrapped them as retired\n")
    elif rotation.swept:
        told = "nothing is left under older keys: they can be destroyed once every gateway was restarted"
        sys.stdout.write(f"{told} 各网关均重启后，旧密钥即可销毁\n")
    else:
        sys.stdout.write("the write-ahead log is in use: run this again before an older key is destroyed\n")
