"""`heyan department journal` on a node's own settings: what it writes is private, whole, and verified by anybody."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.cli import main
from gateway.party.keyfiles import save_signing_key
from sandbox_departments.journal import Journal
from sandbox_departments.journal_entries import Answered, BatchSigned
from sandbox_departments.register import Standing
from tests import federation as fed

POLICE = fed.DEPARTMENTS[fed.DepartmentKind.POLICE]
SETTINGS = """
spiffe_id = "{department}"
listen = "127.0.0.1:1"
register_file = "register.db"
journal = "journal.db"
answer_keys = "keys"
sealing_keys = "sealing"
secret = "secret"
[tls]
certificate = "c"
key = "k"
ca = "a"
[registry]
source = "registry.jws"
operator_vkey = "{vkey}"
seen = "seen.jws"
"""


class Office:
    """A node's folder, with a journal that grows, and whoever sits at the command line."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.federation = fed.Federation.create(int(time.time()))
        self._capsys = capsys
        (folder / "sealing").mkdir()
        (folder / "keys").mkdir(mode=0o700)
        save_signing_key(folder / "keys", self.federation.signing_keys[POLICE])
        (folder / "registry.jws").write_text(self.federation.registry.token)
        settings = SETTINGS.format(department=POLICE, vkey=self.federation.operator_vkey)
        (folder / "settings.toml").write_text(settings)

    def grow(self, count: int = 3) -> None:
        journal = Journal(self.folder / "journal.db")
        with journal.transaction() as ledger:
            start = journal.verify_chain().sequence
            for number in range(start, start + count):
                name = bytes([number]) * 32
                part = Answered(name, name, fed.REQUESTER, (name,), (b"pseudonym" * 3,), (Standing.PROTECTED,))
                ledger.append([BatchSigned(time.time(), fed.GATEWAY, name, (part,))])
        journal.close()

    def heyan(self, *words: object, code: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["department", "journal", *map(str, words)])
        shown = self._capsys.readouterr()
        assert (ended.value.code or 0) == code, shown.out + shown.err
        return shown.out + shown.err

    def export(self, name: str, *words: object, code: int = 0) -> Path:
        out = self.folder / f"{name}.journal"
        self.heyan("export", "--config", self.folder / "settings.toml", "--out", out, *words, code=code)
        return out

    def verify(self, *words: object, code: int = 0) -> str:
        trust = ("--registry", self.folder / "registry.jws", "--operator-vkey", self.federation.operator_vkey)
        return self.heyan("verify", *words, *trust, code=code)


@pytest.fixture
def office(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Office:
    made = Office(tmp_path, capsys)
    made.grow()
    return made


def test_export_is_private_whole_and_verified(office: Office) -> None:
    file = office.export("june")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert b"protected" not in file.read_bytes()
    assert "journal holds: 3 entries" in office.verify(file)
    shown: dict[str, Any] = json.loads(office.verify(file, "--json"))
    assert (shown["valid"], shown["sequence"], shown["department"]) == (True, 3, POLICE)


def test_exports_go_on_from_each_other_and_keep_a_noted_head(office: Office) -> None:
    june = office.export("june")
    head = office.folder / "june.head"
    office.heyan("head", "--config", office.folder / "settings.toml", "--out", head)
    office.grow()
    july = office.export("july", "--after", 3)
    assert "6 entries" in office.verify(june, july, "--head", head)
    assert "first entry" in office.verify(july, code=1)
    assert len(july.read_bytes().splitlines()) == 5


def test_folder_of_exports_is_one_journal(office: Office) -> None:
    office.export("june")
    office.grow(1)
    office.export("july", "--after", 3)
    assert "4 entries" in office.verify(office.folder)


def test_journal_that_lost_what_its_head_noted_is_refused(office: Office) -> None:
    office.grow()
    head = office.folder / "noted.head"
    office.heyan("head", "--config", office.folder / "settings.toml", "--out", head)
    (office.folder / "journal.db").unlink()
    office.grow()
    said = office.verify(office.export("again"), "--head", head, code=1)
    assert said.startswith("SHORTENED")
    office.grow(9)
    assert office.verify(office.export("later"), "--head", head, code=1).startswith("REWRITTEN")


def another_signature(lines: list[bytes]) -> list[bytes]:
    head = json.loads(lines[-1])
    first = "B" if head["signature"][0] == "A" else "A"
    return [*lines[:-1], json.dumps(head | {"signature": first + head["signature"][1:]}).encode()]


@pytest.mark.parametrize(
    ("bend", "code"),
    [
        (lambda lines: lines[:-1], 2),  # it is no export at all
        (lambda lines: [lines[0], *lines[2:]], 1),
        (another_signature, 1),
    ],
    ids=["cut", "an entry left out", "another signature"],
)
def test_bent_file_is_refused_by_its_name(
    office: Office, bend: Callable[[list[bytes]], list[bytes]], code: int
) -> None:
    file = office.export("june")
    file.write_bytes(b"\n".join(bend(file.read_bytes().splitlines())) + b"\n")
    said = office.verify(file, code=code)
    assert str(file) in said
    assert said.count("\n") == 1


def test_failed_export_leaves_the_earlier_file(office: Office) -> None:
    file = office.export("june")
    before = file.read_bytes()
    office.export("june", "--after", 9, code=2)
    assert file.read_bytes() == before
    assert [path.name for path in office.folder.iterdir() if path.name.startswith(".june")] == []


def test_key_that_the_registry_does_not_list_signs_nothing(office: Office) -> None:
    changed = office.federation.changed(
        lambda document: msgspec.structs.replace(
            document,
            parties=tuple(
                msgspec.structs.replace(party, keys=()) if party.id == POLICE else party for party in document.parties
            ),
        )
    )
    (office.folder / "registry.jws").write_text(changed.registry.token)
    out = office.export("june", code=1)
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("export", "--out", "x.journal", "--after", "-1"), "--after"),
        (("export", "--out", "/nowhere/x.journal"), "--out"),
        (("head", "--out", "/nowhere/x.head"), "--out"),
    ],
)
def test_what_cannot_be_exported_is_said_on_one_line(office: Office, words: tuple[str, ...], said: str) -> None:
    told = office.heyan(*words, "--config", office.folder / "settings.toml", code=2)
    assert said in told
    assert told.count("\n") == 1


def test_node_that_was_never_started_has_no_journal(office: Office) -> None:
    (office.folder / "journal.db").unlink()
    assert "never started" in office.heyan("head", "--config", office.folder / "settings.toml", code=2)
    assert not (office.folder / "journal.db").exists()


def test_nothing_to_verify_and_nobody_to_trust_are_told(office: Office) -> None:
    assert "FILES" in office.verify(code=2)
    assert "--registry" in office.heyan("verify", office.export("june"), code=2)
