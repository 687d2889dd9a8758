"""`heyan audit search` as an auditor types it, over a static log in a folder."""

from __future__ import annotations

import base64
import csv
import json
import sqlite3
from hashlib import sha256
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.cli.audit_search import index_beside
from gateway.cli.log_sources import LogOptions, OpenedLog
from gateway.protocol.note import VerifierKey
from gateway.protocol.proof import parse_proof
from gateway.static_log.tile_source import FolderSource
from heyan.v1 import log_pb2
from tests import federation as fed
from tests.audit.logs import DAY_1, LAND, MIDNIGHT, Books, little_log, signer
from tests.static_logs import write_log

GRANT = sha256(b"grant").digest()


def publish(books: Books, folder: Path) -> Path:
    write_log(folder, books.leaves_)
    (folder / "checkpoint").write_text(books.note(), encoding="utf-8")
    return folder


@pytest.fixture
def books() -> Books:
    return little_log()


@pytest.fixture
def log(books: Books, tmp_path: Path) -> Path:
    return publish(books, tmp_path / "log")


def search(log: Path, *words: object) -> int:
    where = (str(log), "--vkey", signer().verifier.format(), "--index", str(log.parent / "index.db"))
    with pytest.raises(SystemExit) as ended:
        main(["audit", "search", *where, *map(str, words)])
    return int(ended.value.code or 0)


def test_hits_are_shown_with_who_what_and_why(log: Path, capsys) -> None:
    assert search(log, "--department", "land", "--status", "refused") == 0
    shown = capsys.readouterr().out
    assert "BUDGET_EXHAUSTED" in shown
    assert "  REFUSED  BUDGET_EXHAUSTED  land  " in shown
    assert "1 leaves match" in shown
    assert "as signed" in shown


def test_every_hit_in_json_is_proven_by_what_stands_with_it(log: Path, books: Books, capsys) -> None:
    assert search(log, "--event", "verification", "--from", DAY_1, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert [hit["index"] for hit in document["hits"]] == [2, 3, 4, 10, 11]
    for hit in document["hits"]:
        leaf = base64.b64decode(hit["leaf"])
        assert leaf == books.leaves_[hit["index"]]
        checkpoint = parse_proof(hit["proof"].encode()).verify(leaf, [signer().verifier], fed.LOG_ORIGIN)
        assert checkpoint.size == document["log"]["size"] == 12
    assert document["hits"][0]["pseudonyms"]["query"] == [bytes(32).hex()]


def test_proofs_are_written_as_files_for_other_tools(log: Path, books: Books, tmp_path: Path) -> None:
    assert search(log, "--reason", "GRANT_REVOKED", "--out", tmp_path / "proofs") == 0
    assert sorted(path.name for path in (tmp_path / "proofs").iterdir()) == [
        "leaf-5.bin",
        "leaf-5.tlog-proof",
        "leaf-6.bin",
        "leaf-6.tlog-proof",
    ]
    proof = parse_proof((tmp_path / "proofs/leaf-6.tlog-proof").read_bytes())
    proof.verify((tmp_path / "proofs/leaf-6.bin").read_bytes(), [signer().verifier], fed.LOG_ORIGIN)


def test_spreadsheet_has_a_line_for_each_row_and_runs_nothing(log: Path, books: Books, tmp_path: Path) -> None:
    event = log_pb2.EvidenceAccessEvent(auditor="spiffe://heyan/auditor/a", case_reference="-1.2")
    books.append(log_pb2.LogLeaf(evidence_access=event))
    publish(books, log)
    assert search(log, "--csv", tmp_path / "hits.csv", "--region", "43") == 0
    with (tmp_path / "hits.csv").open(encoding="utf-8-sig", newline="") as file:
        assert len(list(csv.reader(file))) == 1 + 11
    assert search(log, "--csv", tmp_path / "hits.csv", "--event", "evidence_access") == 0
    with (tmp_path / "hits.csv").open(encoding="utf-8-sig", newline="") as file:
        assert list(csv.reader(file))[1][8] == "'-1.2"


def test_everything_about_one_consent_is_found(log: Path, books: Books, capsys) -> None:
    event = log_pb2.VerificationEvent(requester=fed.REQUESTER, query_tag=bytes(32), grant_tags=[GRANT])
    books.append(log_pb2.LogLeaf(verification=event))
    books.append(log_pb2.LogLeaf(revocation=log_pb2.RevocationEvent(issuer="i", grant_tag=GRANT)))
    publish(books, log)
    assert search(log, "--grant", GRANT.hex(), "--json") == 0
    assert [hit["event"] for hit in json.loads(capsys.readouterr().out)["hits"]] == ["verification", "revocation"]


def test_receipt_that_is_not_there_is_told_from_a_file_that_is_none(log: Path, tmp_path: Path, capsys) -> None:
    assert search(log, "--receipt", tmp_path / "gone.json") == 2
    assert "gone.json cannot be read" in capsys.readouterr().err
    assert search(log, "--receipt", log / "checkpoint") == 2
    assert "is no receipt" in capsys.readouterr().err


def test_log_that_follows_another_has_an_index_of_its_own() -> None:
    options = LogOptions(folder=Path("run"), auditor="auditor")
    files = {index_beside(options, origin) for origin in ("log.test/2027", "log.test/2028", "log.test%2F2027")}
    assert len(files) == 3
    assert {file.parent for file in files} == {Path("run/auditors/auditor")}


def test_checks_that_ended_alike_stand_on_one_line(log: Path, capsys) -> None:
    assert search(log, "--event", "verification") == 0
    leaves = capsys.readouterr().out.split("leaf ")[1:]
    assert len(leaves) > 1
    for lines in map(str.splitlines, leaves):
        assert len(lines) == len(set(lines))


def test_more_hits_than_are_shown_are_counted(log: Path, capsys) -> None:
    assert search(log, "--limit", "2") == 0
    assert "12 leaves match 条目, 2 shown; 10 more" in capsys.readouterr().out


def test_index_is_read_on_and_made_anew_to_the_same(log: Path, books: Books, capsys) -> None:
    assert search(log, "--json") == 0
    first = capsys.readouterr().out
    assert search(log, "--json", "--rebuild") == 0
    assert capsys.readouterr().out == first
    books.refuse("OVERLOADED")
    publish(books, log)
    assert search(log, "--reason", "OVERLOADED", "--json") == 0
    assert [hit["index"] for hit in json.loads(capsys.readouterr().out)["hits"]] == [8, 12]


@pytest.mark.parametrize(("keep", "words"), [(11, "LOG_ROLLED_BACK"), (13, "LOG_FORKED")])
def test_log_that_is_not_what_it_was_is_told(log: Path, books: Books, capsys, keep: int, words: str) -> None:
    assert search(log) == 0
    books.refuse("OVERLOADED")
    books.leaves_ = [*books.leaves_[:-2], books.leaves_[-1], books.leaves_[-2]][:keep]
    publish(books, log)
    capsys.readouterr()
    assert search(log) == 1
    assert words in capsys.readouterr().err


def test_leaf_of_a_newer_contract_is_told_and_not_passed_over(log: Path, books: Books, capsys) -> None:
    books.leaves_.append(b"\x08\x02")
    publish(books, log)
    assert search(log) == 1
    assert "1 leaves cannot be read" in capsys.readouterr().out


def test_flipped_byte_of_a_bundle_is_found_before_it_is_indexed(log: Path, capsys) -> None:
    (bundle,) = (log / "tile/entries").rglob("*.p/12")
    data = bytearray(bundle.read_bytes())
    data[40] ^= 1
    bundle.write_bytes(data)
    assert search(log) == 1
    assert "TILE_INVALID" in capsys.readouterr().err


def test_checkpoint_of_a_key_that_ended_before_the_newest_leaf_is_refused(log: Path, monkeypatch, capsys) -> None:
    key = signer().verifier
    ended = MIDNIGHT + 86_400

    def verifiers(leaf_time: float = 0.0) -> tuple[VerifierKey, ...]:
        return (key,) if leaf_time < ended else ()

    opened = OpenedLog(FolderSource(log), fed.LOG_ORIGIN, verifiers, str(log))
    monkeypatch.setattr("gateway.cli.audit_search.open_log", lambda _where, _options: opened)
    assert search(log) == 1
    assert "KEY_UNKNOWN" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--grant", "abc"), "--grant"),
        (("--from", "yesterday"), "--from"),
        (("--requester", "a", "--actor", "b"), "--actor"),
        (("--receipt", "nothing.json"), "nothing.json"),
    ],
)
def test_wrong_words_are_told_before_anything_is_read(log: Path, capsys, words: tuple[str, ...], told: str) -> None:
    assert search(log, *words) == 2
    assert told in capsys.readouterr().err


def test_rows_of_a_department_are_not_mixed_with_others(log: Path, capsys) -> None:
    assert search(log, "--department", LAND, "--event", "recovery", "--json") == 0
    (hit,) = json.loads(capsys.readouterr().out)["hits"]
    assert [row["department"] for row in hit["rows"]] == [LAND]


@pytest.mark.parametrize(
    "text", ["[red]gone[/red]", "[/]", "\x1b[2J\x1b]0;owned", "\u009b2J", "\u202eDEKOVER_TNARG", "two\nlines"]
)
def test_leaf_that_says_what_a_terminal_obeys_is_shown_and_not_obeyed(tmp_path: Path, capsys, text: str) -> None:
    """The log is whatever its gateway wrote there: no leaf may hide others, or itself, from the auditor."""
    books = little_log()
    books.refuse(text)
    log = publish(books, tmp_path / "log")
    assert search(log, "--event", "refusal") == 0
    shown = capsys.readouterr().out
    assert "GRANT_REVOKED" in shown
    assert "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text) in shown
    assert search(log, "--event", "refusal", "--json") == 0
    shown = capsys.readouterr().out
    assert all(each.isprintable() or each == "\n" for each in shown)
    assert json.loads(shown)["hits"][-1]["rows"][0]["reason"] == text


@pytest.mark.parametrize(
    "change",
    [
        (
            "UPDATE rows SET reason = (SELECT id FROM names WHERE name = 'GRANT_REVOKED') WHERE reason ="
            " (SELECT id FROM names WHERE name = 'BUDGET_EXHAUSTED')"
        ),
        "UPDATE leaves SET time = time - 3600",
        "UPDATE leaves SET event = (SELECT id FROM names WHERE name = 'refusal')",
    ],
    ids=["reason", "time", "event"],
)
def test_index_that_was_changed_shows_nothing_beside_a_proof_of_something_else(log: Path, capsys, change: str) -> None:
    """What is shown of a hit is the index's word, and the proof is of the leaf: they must say the same."""
    words = ("--department", "land", "--status", "refused")
    assert search(log, *words) == 0
    index = sqlite3.connect(log.parent / "index.db")
    assert index.execute(change).rowcount
    index.commit()
    index.close()
    capsys.readouterr()
    assert search(log, *words) == 1
    told = capsys.readouterr()
    assert "--rebuild" in told.err
    assert told.out == ""
    assert search(log, *words, "--rebuild") == 0
    assert "BUDGET_EXHAUSTED" in capsys.readouterr().out
