"""Settings that cannot serve are refused before anything listens, each where it stands."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from gateway.party.addresses import require_free, split_address
from gateway.party.config import PartyConfig
from gateway.protocol.errors import MalformedError
from gateway.protocol.reasons import Reason

SETTINGS = """spiffe_id = "spiffe://heyan/department/police"
{}
[tls]
certificate = "certificate.pem"
key = "key.pem"
ca = "ca.pem"
[registry]
source = "registry.jws"
operator_vkey = "operator"
seen = "seen.jws"
"""


def read(folder: Path, line: str) -> PartyConfig:
    path = folder / "settings.toml"
    path.write_text(SETTINGS.format(line), encoding="utf-8")
    return PartyConfig.from_file(path)


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "127.0.0.1:",
            ":8443",
            "127.0.0.1:99999",
            "127.0.0.1:-1",
            "127.0.0.1:http",
            "127.0.0.1:８４４３",
        ),
        *(
            "127.0.0.1:８４４３",
            "::1:8443",
            "[::1:8443",
            "::1]:8443",
            "[]:8443",
            "unix:/run/heyan",
            "https://localhost:8443",
            "",
        ),
    ],
)
@pytest.mark.parametrize("setting", ["listen", "probes"])
def test_what_is_no_address_is_refused_by_its_setting(tmp_path: Path, setting: str, address: str) -> None:
    with pytest.raises(MalformedError) as caught:
        read(tmp_path, f'{setting} = "{address}"')
    assert caught.value.reason is Reason.CONFIGURATION_INVALID
    (found,) = caught.value.violations
    assert found.field == f"{tmp_path / 'settings.toml'}: {setting}"
    assert "must be host:port" in found.description


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("gateway.example:65535", ("gateway.example", 65535)),
        ("[::1]:8443", ("::1", 8443)),
    ],
)
def test_address_is_read(address: str, parts: tuple[str, int]) -> None:
    assert split_address(address) == parts


def test_level_that_nobody_knows_is_refused_and_one_in_capitals_is_not(tmp_path: Path) -> None:
    with pytest.raises(MalformedError, match="log_level"):
        read(tmp_path, 'log_level = "loud"')
    assert read(tmp_path, 'log_level = "WARNING"').log_level == "warning"


def test_two_servers_of_a_party_do_not_share_a_port(tmp_path: Path) -> None:
    with pytest.raises(MalformedError, match="must differ"):
        read(tmp_path, 'listen = "127.0.0.1:8443"\nprobes = "127.0.0.1:8443"')
    assert read(tmp_path, 'listen = "127.0.0.1:0"\nprobes = "127.0.0.1:0"').listen == "127.0.0.1:0"


def test_bad_value_from_the_environment_is_told_of_its_variable(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HEYAN_LISTEN", "443")
    with pytest.raises(MalformedError) as caught:
        read(tmp_path, 'log_level = "loud"')
    assert [found.field for found in caught.value.violations] == [
        "HEYAN_LISTEN",
        f"{tmp_path / 'settings.toml'}: log_level",
    ]


def test_number_that_python_does_not_read_is_an_error_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(MalformedError, match="cannot be read"):
        read(tmp_path, "listen = " + "9" * 5000)


def test_variable_that_looks_like_a_setting_and_is_none_is_told_with_the_nearest() -> None:
    names = ["HEYAN_LISTN", "HEYAN_LISTEN", "heyan_log_level", "HEYAN_TLS__KEY", "HEYAN_SUPERVISOR_PID", "HOME"]
    assert PartyConfig.unknown_variables([*names, "HEYAN_QQQQ"]) == {"HEYAN_LISTN": "HEYAN_LISTEN", "HEYAN_QQQQ": ""}


def test_busy_port_is_refused_by_its_setting() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(MalformedError) as caught:
            require_free(address, "probes")
    (found,) = caught.value.violations
    assert found.field == f"probes {address}"
    assert "is busy" in found.description
    require_free(address, "probes")


def test_address_of_another_machine_is_refused_by_its_setting() -> None:
    with pytest.raises(MalformedError, match="address of this machine"):
        require_free("192.0.2.1:0", "listen")
    with pytest.raises(MalformedError, match="cannot be listened on"):
        require_free("nowhere.invalid:0", "listen")
