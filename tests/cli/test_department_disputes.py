"""`heyan department dispute` on a node's own settings: the list, its clock, and decisions that cannot be taken back."""

from __future__ import annotations

import json
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.protocol.disputes import DisputeGround
from gateway.protocol.outcomes import Outcome
from gateway.protocol.resolutions import ResolutionReason
from sandbox_departments.dispute_ledger import ListedDispute
from sandbox_departments.journal import Journal

NODE = "police-4301"
SETTINGS = """
spiffe_id = "spiffe://heyan/department/police-4301"
listen = "127.0.0.1:1"
register_file = "register.db"
journal = "journal.db"
answer_keys = "keys"
sealing_keys = "sealing"
secret = "secret"
holidays = [{holidays}]
[tls]
certificate = "c"
key = "k"
ca = "a"
[registry]
source = "r"
operator_vkey = "v"
seen = "s"
"""


class Office:
    """A node's folder with disputes of some ages, and its staff at the command line."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.config = folder / "settings.toml"
        self.journal = folder / "journal.db"
        self._capsys = capsys
        self.set_holidays()
        self.add(b"a" * 32, days=1)
        self.add(b"b" * 32, days=40)

    def set_holidays(self, *days: date) -> None:
        self.config.write_text(SETTINGS.format(holidays=", ".join(f'"{day.isoformat()}"' for day in days)))

    def add(self, dispute_id: bytes, *, days: float) -> None:
        dispute = ListedDispute(
            dispute_id,
            gateway="spiffe://heyan/gateway/main",
            requester="spiffe://heyan/requester/edu-4301",
            opener="spiffe://heyan/issuer/citizen-app",
            ground=DisputeGround.RECORD_MISSING,
            claim="hukou.child_registered@1",
            region="430102",
            outcome=Outcome.UNDETERMINED,
            question=b"q" * 32,
            case=b"c" * 32,
            received=time.time() - days * 86_400,
        )
        journal = Journal(self.journal)
        with journal.transaction() as ledger:
            ledger.disputes.add(dispute)
        journal.close()

    def heyan(self, *words: str, node: str = NODE) -> tuple[int, str]:
        command, *rest = words
        with pytest.raises(SystemExit) as ended:
            main(["department", "dispute", command, node, *rest, "--config", str(self.config)])
        shown = self._capsys.readouterr()
        return int(ended.value.code or 0), shown.out + shown.err

    def listed(self, *words: str) -> list[dict[str, Any]]:
        code, output = self.heyan("list", *words, "--json")
        assert code == 0, output
        rows: list[dict[str, Any]] = json.loads(output)
        return rows


@pytest.fixture
def office(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Office:
    return Office(tmp_path, capsys)


def test_overdue_disputes_are_flagged_oldest_first(office: Office) -> None:
    assert [(row["dispute"][:2], row["overdue"]) for row in office.listed()] == [("62", True), ("61", False)]
    code, output = office.heyan("list")
    assert (code, output.count("OVERDUE")) == (0, 1)


def test_holidays_of_the_settings_move_the_due_time(office: Office) -> None:
    today = datetime.now(UTC).date()
    office.set_holidays(*(today + timedelta(days=offset) for offset in range(-60, 60)))
    assert not any(row["overdue"] for row in office.listed())


def test_decision_is_recorded_once_and_stands(office: Office) -> None:
    name = (b"a" * 32).hex()
    assert office.heyan("resolve", name[:12], "--reason", "record-added")[0] == 0
    assert [row["dispute"][:2] for row in office.listed()] == ["62"]
    (row,) = (row for row in office.listed("--all") if row["dispute"] == name)
    assert (row["outcome"], row["reason"], row["signed"]) == ("CORRECTED", "RECORD_ADDED", False)
    assert office.heyan("resolve", name, "--reason", "record-added")[0] == 0
    code, output = office.heyan("resolve", name, "--reason", "record-confirmed")
    assert (code, "DISPUTE_RESOLVED" in output) == (1, True)


@pytest.mark.parametrize(
    "words",
    [
        ("resolve", "61616161", "--reason", "record-added", "--answer", "yes"),  # of a simulated register only
        ("resolve", "6161", "--reason", "record-added"),  # too short to be sure
        ("resolve", "ffffffff", "--reason", "record-added"),
        ("resolve", "61616161", "--reason", "because"),
        ("list", "--dir", "run"),
    ],
)
def test_what_is_not_meant_is_a_usage_error_and_changes_nothing(office: Office, words: tuple[str, ...]) -> None:
    assert office.heyan(*words)[0] == 2
    assert len(office.listed()) == 2


def test_settings_of_another_node_are_refused(office: Office) -> None:
    code, output = office.heyan("list", node="land-4301")
    assert (code, "police-4301" in output) == (2, True)


def test_node_that_was_never_started_has_no_list(office: Office) -> None:
    for file in office.journal.parent.glob("journal.db*"):
        file.unlink()
    assert office.heyan("list")[0] == 2
    assert not office.journal.exists()


def test_two_disputes_that_begin_alike_need_more_of_the_id(office: Office) -> None:
    office.add(b"a" * 16 + b"z" * 16, days=2)
    assert office.heyan("resolve", "61" * 8, "--reason", ResolutionReason.RECORD_ADDED.name.lower())[0] == 2
