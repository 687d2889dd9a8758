"""An operator erases and rotates evidence, and an auditor reads it, by the commands, while a sandbox serves."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.evidence.keks import FileKek
from gateway.party.keyfiles import write_private
from gateway.stores.sqlite_key_slots import from_slot
from tests.e2e.conftest import Running, federation, heyan

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A federation of its own: its evidence is destroyed here."""
    with federation(tmp_path_factory.mktemp("evidence") / "run", 120) as started:
        yield started


def settings(running: Running) -> Path:
    return running.folder / "gateway/settings.toml"


def asked(running: Running, number: int, folder: Path) -> tuple[str, Path]:
    """A family's application, answered: its request_id and receipt."""
    prefecture = running.requester.rpartition("-")[2]
    families = [truth for truth in running.families if truth.application.region.startswith(prefecture)]
    receipt = folder / f"receipt-{number}.json"
    family = families[number].application.family
    told = running.heyan(
        *("verify", "--dir", str(running.folder), "--requester", running.requester, "--family", family),
        *("--receipt", str(receipt), "--json"),
    )
    assert told.returncode == 0, told.stderr
    request_id = json.loads(told.stdout)["request_id"]
    assert re.fullmatch("[0-9a-f]{32,}", request_id)
    return request_id, receipt


def look(running: Running, request_id: str, *more: str) -> tuple[int, str, str]:
    told = running.heyan(
        *("audit", "evidence", running.requester, request_id, "--dir", str(running.folder), "--auditor", "auditor"),
        *("--case", "2027-0042", *more),
    )
    return told.returncode, told.stdout, told.stderr


def test_auditor_reads_evidence_and_its_receipt_verifies_offline(running: Running, tmp_path: Path) -> None:
    request_id, _ = asked(running, 0, tmp_path)
    out, receipt = tmp_path / "evidence.json", tmp_path / "from-evidence.json"
    code, shown, told = look(running, request_id, "--out", str(out), "--receipt", str(receipt), "--json")
    assert code == 0, told
    row = json.loads(shown)
    assert row["valid"]
    assert row["answers"]
    assert out.stat().st_mode & 0o077 == 0
    assert heyan("log", "verify-receipt", str(receipt), "--dir", str(running.folder)).returncode == 0
    truth = running.families[0].application
    for subject in truth.subjects.values():
        assert subject.id_number not in out.read_text("utf-8") + shown
    code, shown, _ = look(running, request_id)
    assert code == 0
    assert "leaf" in shown


@pytest.mark.parametrize(("case", "code"), [("11010519491231002X", 2), ("two words", 2)])
def test_case_that_may_not_stand_in_the_log_is_a_mistake_of_usage(running: Running, case: str, code: int) -> None:
    told = running.heyan(
        *("audit", "evidence", running.requester, "00" * 16, "--dir", str(running.folder), "--auditor", "auditor"),
        *("--case", case),
    )
    assert told.returncode == code
    assert case not in told.stdout + told.stderr


def test_erased_while_the_gateway_serves_is_told_as_erased_to_everybody(running: Running, tmp_path: Path) -> None:
    request_id, receipt = asked(running, 1, tmp_path)
    config = ("--config", str(settings(running)))
    unconfirmed = running.heyan("gateway", "erase", *config, "--request", running.requester, request_id)
    assert unconfirmed.returncode == 2
    erased = running.heyan("gateway", "erase", *config, "--request", running.requester, request_id, "--yes", "--json")
    assert erased.returncode == 0, erased.stderr
    assert json.loads(erased.stdout)["erased"] >= 1
    code, _, told = look(running, request_id)
    assert code == 1
    assert "EVIDENCE_ERASED" in told
    fetched = running.heyan(
        *("verify", "--dir", str(running.folder), "--requester", running.requester, "--request-id", request_id)
    )
    assert fetched.returncode == 1
    assert "EVIDENCE_ERASED" in fetched.stderr
    assert heyan("log", "verify-receipt", str(receipt), "--dir", str(running.folder)).returncode == 0
    again = running.heyan("gateway", "erase", *config, "--request", running.requester, request_id, "--yes")
    assert again.returncode == 1
    asked(running, 2, tmp_path)  # the gateway goes on with the log that another process appended to


def test_key_is_rotated_while_the_gateway_serves_and_the_old_one_is_needed_no_more(
    running: Running, tmp_path: Path
) -> None:
    """The settings are those of the next start: what is rewrapped under a key that a gateway lacks, it cannot read."""
    request_id, _ = asked(running, 3, tmp_path)
    new = tmp_path / "kek-2"
    write_private(new, os.urandom(32))
    text = settings(running).read_text("utf-8")
    rotated = text.replace('kek = "kek"', f'kek = "{new}"\nretired_keks = ["{running.folder}/gateway/kek"]')
    assert rotated != text
    elsewhere = running.folder / "gateway/rotated.toml"
    elsewhere.write_text(rotated, "utf-8")
    told = running.heyan("gateway", "rewrap", "--config", str(elsewhere), "--json")
    assert told.returncode == 0, told.stderr
    rotation = json.loads(told.stdout)
    assert rotation["rewrapped"] >= 1
    assert rotation["unreadable"] == 0
    with closing(sqlite3.connect(running.folder / "gateway/store.db")) as connection:
        wrapped = [from_slot(slot) for (slot,) in connection.execute("SELECT wrapped FROM grant_keys")]
    assert {key[1:9] for key in wrapped if key} == {FileKek(new.read_bytes()).id}
    code, _, told_text = look(running, request_id)
    assert code == 3, told_text  # a gateway that was not restarted has not got the key: a fault, and no answer
    back = text.replace('kek = "kek"', f'kek = "kek"\nretired_keks = ["{new}"]')
    elsewhere.write_text(back, "utf-8")
    assert running.heyan("gateway", "rewrap", "--config", str(elsewhere)).returncode == 0
    assert look(running, request_id)[0] == 0
