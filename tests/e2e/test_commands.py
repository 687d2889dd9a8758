"""What a person types: verify, the receipt checked offline, consent given and withdrawn."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

import pytest
from google.protobuf import json_format

from gateway.protocol.codec import encode
from heyan.v1 import attestation_pb2, check_pb2, receipt_pb2
from tests.e2e.conftest import Running, heyan

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

FAMILY = "F000001"


@pytest.fixture(scope="module")
def receipt_file(running: Running, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("receipts") / "receipt.json"
    done = verify(running, "--receipt", str(path))
    assert done["receipt"] == str(path)
    return path


def verify(running: Running, *words: str, family: str = FAMILY) -> dict[str, object]:
    done = heyan(
        "verify", "--dir", str(running.folder), "--requester", running.requester, "--family", family, "--json", *words
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, object] = json.loads(done.stdout)
    return result


def check(running: Running, file: Path) -> tuple[int, str]:
    done = heyan("log", "verify-receipt", str(file), "--operator-vkey", running.endpoints.operator_vkey)
    return done.returncode, done.stdout + done.stderr


def test_verify_prints_the_documented_json(running: Running) -> None:
    result = verify(running)
    told = {"request_id", "answers", "verdict", "receipt", "deferred_until", "tickets", "witnessed", "witnesses"}
    assert result.keys() == told
    assert (result["witnessed"], result["witnesses"]) == (False, [])
    assert (result["deferred_until"], result["tickets"]) == (None, [])
    assert result["receipt"] is None
    truth = next(truth for truth in running.families if truth.application.family == FAMILY)
    answers = result["answers"]
    assert isinstance(answers, list)
    for answer in answers:
        assert answer.keys() >= {"check_id", "claim", "region", "parameters", "outcome", "next", "department"}
    said = [(row["claim"], row["region"], row["parameters"], row["outcome"]) for row in answers]
    expected = [(row.claim, row.region, dict(row.parameters), row.outcome.name) for row in truth.answers]
    assert sorted(said, key=str) == sorted(expected, key=str)


def test_genuine_receipt_holds_offline(running: Running, receipt_file: Path) -> None:
    code, output = check(running, receipt_file)
    assert code == 0, output
    assert "receipt holds" in output
    assert "UNWITNESSED" in output


def test_receipt_file_is_private_and_names_nobody(running: Running, receipt_file: Path) -> None:
    assert receipt_file.stat().st_mode & 0o077 == 0
    text = receipt_file.read_text()
    decoded = text.encode() + b"".join(_bytes_of(json.loads(text)))
    truth = next(truth for truth in running.families if truth.application.family == FAMILY)
    for subject in truth.application.subjects.values():
        assert subject.id_number.encode() not in decoded
        assert subject.name.encode() not in decoded


def test_wrong_outcome_is_caught(running: Running, receipt_file: Path, tmp_path: Path) -> None:
    receipt = load(receipt_file)
    statement = attestation_pb2.Statement.FromString(receipt.statements[0].proof.statement)
    assert statement.attestation.outcome == check_pb2.OUTCOME_YES
    statement.attestation.outcome = check_pb2.OUTCOME_NO
    receipt.statements[0].proof.statement = encode(statement)
    assert_caught(running, receipt, tmp_path)


def test_skipped_department_is_caught(running: Running, receipt_file: Path, tmp_path: Path) -> None:
    receipt = load(receipt_file)
    skipped = receipt.parts[0]
    del receipt.parts[0]
    assert_caught(running, receipt, tmp_path)
    receipt.parts.insert(0, skipped)
    department = attestation_pb2.Statement.FromString(receipt.statements[0].proof.statement).attestation.department
    kept = [
        item
        for item in receipt.statements
        if attestation_pb2.Statement.FromString(item.proof.statement).attestation.department != department
    ]
    assert 0 < len(kept) < len(receipt.statements)
    del receipt.statements[:]
    receipt.statements.extend(kept)
    assert_caught(running, receipt, tmp_path)


def test_changed_receipt_is_caught_wherever_it_is_changed(running: Running, receipt_file: Path, tmp_path: Path) -> None:
    receipt = load(receipt_file)
    changes = {
        "query": ("query.query",),
        "signature": ("query.signature.value",),
        "part": ("parts",),
        "batch": ("statements.batch.batch",),
        "leaf": ("leaves.leaf",),
        "leaf key": ("leaf_key",),
    }
    for name in changes:
        altered = receipt_pb2.Receipt()
        altered.CopyFrom(receipt)
        if name == "query":
            altered.query.query = flip(altered.query.query)
        elif name == "signature":
            altered.query.signature.value = flip(altered.query.signature.value)
        elif name == "part":
            altered.parts[0] = flip(altered.parts[0])
        elif name == "batch":
            altered.statements[0].batch.batch = flip(altered.statements[0].batch.batch)
        elif name == "leaf":
            altered.leaves[0].leaf = flip(altered.leaves[0].leaf)
        else:
            altered.leaf_key = flip(altered.leaf_key)
        assert_caught(running, altered, tmp_path)


def test_truncated_and_foreign_files_are_no_receipts(running: Running, receipt_file: Path, tmp_path: Path) -> None:
    text = receipt_file.read_text()
    for content in (text[: len(text) // 2], "", "{}", "[]", "\x00\xff", '{"version": 1}'):
        file = tmp_path / "receipt.json"
        file.write_text(content)
        code, output = check(running, file)
        assert code != 0
        assert len(output.strip().splitlines()) == 1
        assert "Traceback" not in output


def test_receipt_does_not_hold_for_another_operator(running: Running, receipt_file: Path) -> None:
    done = heyan("log", "verify-receipt", str(receipt_file), "--operator-vkey", running.endpoints.gateway.log_vkey)
    assert done.returncode == 1
    assert "REGISTRY_INVALID" in done.stderr


def test_consent_is_given_looked_at_and_withdrawn(running: Running, tmp_path: Path) -> None:
    folder, file = str(running.folder), tmp_path / "consent.json"
    words = ("--dir", folder, "--family", FAMILY)
    issued = heyan("consent", "issue", *words, "--requester", running.requester, "--out", str(file))
    assert issued.returncode == 0, issued.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    shown = heyan("consent", "inspect", str(file))
    assert running.requester in shown.stdout
    truth = next(truth for truth in running.families if truth.application.family == FAMILY)
    for subject in truth.application.subjects.values():
        assert subject.id_number not in shown.stdout
        assert subject.name not in shown.stdout
    verify(running, "--consent", str(file))
    revoked = heyan("consent", "revoke", str(file), *words)
    assert revoked.returncode == 0, revoked.stderr
    began = time.monotonic()
    refused = heyan("verify", *words, "--requester", running.requester, "--consent", str(file))
    assert refused.returncode == 1
    assert "GRANT_REVOKED" in refused.stderr
    assert time.monotonic() - began < 60


def test_consent_file_that_others_can_read_is_refused(running: Running, tmp_path: Path) -> None:
    words = ("--dir", str(running.folder), "--family", FAMILY, "--requester", running.requester)
    file = tmp_path / "consent.json"
    heyan("consent", "issue", *words, "--out", str(file))
    file.chmod(0o644)
    refused = heyan("verify", *words, "--consent", str(file))
    assert refused.returncode != 0
    assert "chmod 600" in refused.stderr or "mode" in refused.stderr


def test_other_seed_is_refused_and_a_busy_port_is_named(running: Running) -> None:
    other_seed = heyan("up", str(running.folder), "--seed", "99")
    assert other_seed.returncode == 2
    assert "--seed" in other_seed.stderr
    busy = heyan("up", str(running.folder))
    assert busy.returncode == 2
    assert f"port {running.sandbox.made.port_base}" in busy.stderr or "is busy" in busy.stderr


def test_unknown_family_and_requester_say_what_to_do(running: Running) -> None:
    for words in (("--family", "F999999"), ("--requester", "nobody")):
        options = {"--family": FAMILY, "--requester": running.requester} | {words[0]: words[1]}
        done = heyan("verify", "--dir", str(running.folder), *(item for pair in options.items() for item in pair))
        assert done.returncode == 2
        assert words[0] in done.stderr
        assert "Traceback" not in done.stderr


def test_doctor_finds_a_healthy_federation_healthy(running: Running) -> None:
    done = heyan("doctor", "--dir", str(running.folder), "--json")
    found = [row for row in json.loads(done.stdout)["findings"] if row["level"] != "ok"]
    assert found == []
    assert done.returncode == 0


def load(file: Path) -> receipt_pb2.Receipt:
    return json_format.Parse(file.read_text(), receipt_pb2.Receipt())


def flip(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def assert_caught(running: Running, receipt: receipt_pb2.Receipt, tmp_path: Path) -> None:
    file = tmp_path / "altered.json"
    file.write_text(json_format.MessageToJson(receipt, preserving_proto_field_name=True))
    code, output = check(running, file)
    assert code == 1, output
    assert "Traceback" not in output


def _bytes_of(value: object) -> list[bytes]:
    if isinstance(value, dict):
        return [found for item in value.values() for found in _bytes_of(item)]
    if isinstance(value, list):
        return [found for item in value for found in _bytes_of(item)]
    if isinstance(value, str):
        try:
            return [base64.b64decode(value, validate=True)]
        except ValueError:
            return []
    return []
