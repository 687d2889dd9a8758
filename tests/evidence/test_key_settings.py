"""The key-encryption keys of a settings file: which wraps, which only unwraps, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import GatewayConfig
from gateway.evidence.keks import FileKek, Keks
from gateway.evidence.key_settings import open_keks
from gateway.party.keyfiles import write_private
from gateway.protocol.errors import MalformedError
from gateway.protocol.reasons import Reason

GRANT, KEY = bytes([7]) * 32, bytes(range(32))
OLD, NEW = bytes(32), bytes([1]) * 32


def settings(folder: Path, keys: str) -> GatewayConfig:
    """The settings of a gateway in a folder of its own, with these lines of keys."""
    write_private(folder / "old", OLD)
    write_private(folder / "new", NEW)
    text = f"""
        spiffe_id = "spiffe://heyan/gateway/main"
        store = "store.db"
        log_keys = "keys"
        {keys}
        [tls]
        certificate = "c"
        key = "k"
        ca = "a"
        [registry]
        source = "s"
        operator_vkey = "v"
        seen = "r"
    """
    (folder / "settings.toml").write_text(text, "utf-8")
    return GatewayConfig.from_file(folder / "settings.toml")


def test_named_key_wraps_and_retired_ones_only_unwrap(tmp_path: Path) -> None:
    keks = open_keks(settings(tmp_path, 'kek = "new"\nretired_keks = ["old"]'))
    before = Keks([FileKek(OLD)]).wrap(KEY, GRANT)
    assert keks.unwrap(before, GRANT) == KEY
    assert not keks.is_current(before)
    assert Keks([FileKek(NEW)]).unwrap(keks.wrap(KEY, GRANT), GRANT) == KEY
    assert not keks.waits


@pytest.mark.parametrize(
    "keys", ["", 'kek = "nowhere"', 'kek = "new"\nretired_keks = ["new"]', 'kek = "new"\nretired_keks = ["nowhere"]']
)
def test_keys_that_cannot_serve_are_a_mistake_of_the_settings(tmp_path: Path, keys: str) -> None:
    with pytest.raises(MalformedError) as refused:
        open_keks(settings(tmp_path, keys))
    assert refused.value.reason is Reason.CONFIGURATION_INVALID


def test_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    config = settings(tmp_path, 'kek = "new"')
    (tmp_path / "new").chmod(0o640)
    with pytest.raises(MalformedError):
        open_keks(config)


def test_files_of_a_token_are_beside_the_settings(tmp_path: Path) -> None:
    keys = 'token = { module = "/usr/lib/m.so", label = "t", pin = "pin", key = "k2", retired_keys = ["k1"] }'
    token = settings(tmp_path, keys).token
    assert token is not None
    assert (token.module, token.pin) == (Path("/usr/lib/m.so"), tmp_path / "pin")
    assert token.retired_keys == ("k1",)
