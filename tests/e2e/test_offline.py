"""Paper, as a school types it, against real processes: asked for only where nothing could be told online."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.protocol.matrix import Group, School
from gateway.protocol.outcomes import Outcome
from tests.e2e.conftest import Running, heyan

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def verified(running: Running, outcome: Outcome) -> tuple[str, str]:
    """A family one of whose checks has this outcome: the request_id, and that check's id."""
    likely = [truth for truth in running.families if any(answer.outcome is outcome for answer in truth.answers)]
    for truth in likely[:5]:
        done = heyan(
            "verify",
            *("--dir", str(running.folder), "--requester", running.requester),
            *("--family", truth.application.family, "--json"),
        )
        assert done.returncode == 0, done.stderr
        row = json.loads(done.stdout)
        found = [answer["check_id"] for answer in row["answers"] if answer["outcome"] == outcome.name]
        if found:
            return row["request_id"], found[0]
    pytest.fail(f"no family with {outcome.name}")


def offline(running: Running, *words: str, requester: str | None = None) -> Any:
    return heyan("offline", *words, "--dir", str(running.folder), "--requester", requester or running.requester)


def test_undetermined_is_verified_on_paper_and_the_receipt_shows_it(running: Running, tmp_path: Path) -> None:
    request_id, check = verified(running, Outcome.UNDETERMINED)
    words = ("--request-id", request_id, "--check", check)
    opened = offline(running, "open", *words, "--json")
    assert opened.returncode == 0, opened.stderr
    row = json.loads(opened.stdout)
    assert (row["check_id"], row["ground"], row["result"]) == (check, "UNDETERMINED", None)
    listed = [json.loads(line) for line in offline(running, "list", "--json").stdout.splitlines()]
    assert row["ticket_id"] in {item["ticket_id"] for item in listed}
    file = tmp_path / "receipt.json"
    resolved = offline(running, "resolve", "certificate_called_up", *words, "--receipt", str(file))
    assert resolved.returncode == 0, resolved.stderr
    assert "ACCEPTED" in resolved.stdout
    assert row["ticket_id"] not in offline(running, "list", "--json").stdout
    checked = heyan("log", "verify-receipt", str(file), "--dir", str(running.folder), "--json")
    assert checked.returncode == 0, checked.stderr
    (ticket,) = json.loads(checked.stdout)["tickets"]
    assert ticket["result"]["reason"] == "CERTIFICATE_CALLED_UP"
    assert ticket["result"]["signed_by"].startswith("staff-0001-")
    shown = heyan("log", "verify-receipt", str(file), "--dir", str(running.folder))
    assert "; on paper ACCEPTED 已调取电子证照" in shown.stdout
    other = offline(running, "resolve", "not_presented", *words)
    assert other.returncode == 1
    assert "OFFLINE_RESULT_CONFLICT" in other.stderr


@pytest.mark.parametrize("outcome", [Outcome.YES, Outcome.NO])
def test_paper_for_what_was_told_online_is_refused_on_one_line(running: Running, outcome: Outcome) -> None:
    request_id, check = verified(running, outcome)
    refused = offline(running, "open", "--request-id", request_id, "--check", check)
    assert refused.returncode == 1
    assert "OFFLINE_ANSWERED" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_paper_for_another_systems_request_or_none_is_refused(running: Running) -> None:
    request_id, check = verified(running, Outcome.UNDETERMINED)
    other = running.sandbox.requesters[1].name
    for words, requester in (((request_id, check), other), (("ab" * 16, check), None)):
        refused = offline(running, "open", "--request-id", words[0], "--check", words[1], requester=requester)
        assert refused.returncode == 1
        assert "OFFLINE_NOT_ATTEMPTED" in refused.stderr


def test_material_that_no_department_can_verify_is_verified_on_paper(running: Running, tmp_path: Path) -> None:
    """A statement that families of one sample county sign; what can be verified online is refused beside it."""
    applications = [truth.application for truth in running.families]
    family = next(
        item.family
        for item in applications
        if (item.region, item.school, item.group) == ("430302", School.PUBLIC_PRIMARY, Group.HUKOU_SHARED_HOME)
    )
    words = ("--dir", str(running.folder), "--requester", running.requester, "--family", family, "--json")
    done = heyan("verify", *words)
    assert done.returncode == 0, done.stderr
    request = ("--request-id", json.loads(done.stdout)["request_id"])
    refused = offline(running, "open", *request, "--material", "hukou_book")
    assert refused.returncode == 1
    assert "OFFLINE_MATERIAL_ONLINE" in refused.stderr
    file = tmp_path / "receipt.json"
    opened = offline(running, "open", *request, "--material", "co_residence_statement", "--receipt", str(file))
    assert opened.returncode == 0, opened.stderr
    assert "OFFLINE_ONLY" in opened.stdout
    checked = heyan("log", "verify-receipt", str(file), "--dir", str(running.folder))
    assert checked.returncode == 0, checked.stderr
    assert "co_residence_statement" in checked.stdout
