"""The state of a batch: whole or absent, of one batch only, private, and empty of persons once all is answered."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.cli.batch_file import Line
from gateway.cli.batch_state import BatchIdentity, BatchOutcome, BatchState, Item, Prepared
from gateway.protocol.errors import MalformedError

WHOSE = BatchIdentity("0" * 64, "operator", "/run", "edu-4301")
SECRET = b"sealed bytes of a person" * 40


def fill(state: BatchState, count: int = 5) -> None:
    with state.filling(WHOSE):
        for number in range(1, count + 1):
            assert state.add(Line(number, f"F{number}", None, "")) is None
            state.locate(f"F{number}", 100 * number)


def items(state: BatchState) -> list[Item]:
    return [item for chunk in state.open_items(2) for item in chunk]


def prepared(line: int, submission: bytes = SECRET) -> Prepared:
    return Prepared(line, b"consent of a person" * 40, submission, bytes([line]) * 16)


def test_batch_is_there_again_as_it_was_left(tmp_path: Path) -> None:
    file = tmp_path / "out.csv.state"
    with BatchState(file, WHOSE) as state:
        assert not state.is_filled
        fill(state)
        state.save_prepared([prepared(1), prepared(2), prepared(3)])
        state.save_outcomes(
            [BatchOutcome(1, "OK", is_open=False, result="{}"), BatchOutcome(2, "UNAVAILABLE", is_open=True)]
        )
    assert file.stat().st_mode & 0o777 == 0o600
    with BatchState(file, WHOSE) as state:
        assert state.is_filled
        assert [item.line for item in items(state)] == [2, 3, 4, 5]
        assert [item.submission for item in items(state)] == [SECRET, SECRET, None, None]
        assert state.statuses() == {("OK", False): 1, ("UNAVAILABLE", True): 1, ("", True): 3}
        assert [row.status for row in state.rows()] == ["OK", "UNAVAILABLE", "", "", ""]


def test_family_twice_is_told_with_its_first_line(tmp_path: Path) -> None:
    with BatchState(tmp_path / "state", WHOSE) as state, state.filling(WHOSE):
        assert state.add(Line(2, "F1", None, "")) is None
        assert state.add(Line(9, "F1", None, "")) == 2


def test_filling_that_is_cut_short_leaves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "state"
    with BatchState(file, WHOSE) as state:
        with suppress(KeyError), state.filling(WHOSE):
            state.add(Line(2, "F1", None, ""))
            raise KeyError
        assert not state.is_filled
    assert not file.exists()


def test_process_killed_while_it_fills_leaves_an_empty_state(tmp_path: Path) -> None:
    file = tmp_path / "state"
    kill_in(file, "with state.filling(WHOSE):\n  state.add(Line(2, 'F1', None, ''))\n  die()")
    with BatchState(file, WHOSE) as state:
        assert not state.is_filled
        fill(state)
        assert len(items(state)) == 5


def test_query_that_a_killed_process_was_about_to_send_is_there(tmp_path: Path) -> None:
    file = tmp_path / "state"
    with BatchState(file, WHOSE) as state:
        fill(state)
    kill_in(file, "state.save_prepared([Prepared(3, b'consent', b'submission', b'3' * 16)])\ndie()")
    with BatchState(file, WHOSE) as state:
        kept = next(item for item in items(state) if item.line == 3)
        assert (kept.consent, kept.submission, kept.request_id, kept.asked) == (b"consent", b"submission", b"3" * 16, 1)


def kill_in(file: Path, steps: str) -> None:
    """Take steps on the state of `file` in a process that kills itself."""
    script = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from gateway.cli.batch_file import Line\n"
        "from gateway.cli.batch_state import BatchState, BatchIdentity, Prepared\n"
        f"WHOSE = BatchIdentity({WHOSE.input!r}, {WHOSE.federation!r}, {WHOSE.folder!r}, {WHOSE.requester!r})\n"
        "def die(): os.kill(os.getpid(), signal.SIGKILL)\n"
        f"state = BatchState(Path({str(file)!r}), WHOSE)\n"
    )
    command = [sys.executable, "-c", script + steps]
    ended = subprocess.run(command, check=False, capture_output=True, timeout=60)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def test_answered_application_leaves_nothing_of_a_person(tmp_path: Path) -> None:
    file = tmp_path / "state"
    with BatchState(file, WHOSE) as state:
        fill(state, 2)
        state.save_prepared([prepared(1), prepared(2)])
        state.save_outcomes([BatchOutcome(line, "OK", is_open=False) for line in (1, 2)])
    data = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"F1" in data
    assert b"of a person" not in data


def test_answered_application_leaves_nothing_of_a_person_in_the_side_file_of_a_run_that_goes_on(tmp_path: Path) -> None:
    """Nor in that of one that is killed then: nobody closes the file."""
    with BatchState(tmp_path / "state", WHOSE) as state:
        fill(state)
        state.save_prepared([prepared(1)])
        state.save_outcomes([BatchOutcome(1, "OK", is_open=False)])
        for file in tmp_path.iterdir():
            assert b"of a person" not in file.read_bytes()


@pytest.mark.parametrize("field", ["input", "federation", "folder", "requester"])
def test_state_of_another_batch_is_refused(tmp_path: Path, field: str) -> None:
    file = tmp_path / "state"
    with BatchState(file, WHOSE) as state:
        fill(state)
    before = file.read_bytes()
    with pytest.raises(MalformedError) as caught:
        BatchState(file, replace(WHOSE, **{field: "other"}))
    assert "another" in str(caught.value)
    assert file.read_bytes() == before
    BatchState(file, WHOSE).__exit__(None, None, None)


def test_second_run_beside_the_first_is_refused(tmp_path: Path) -> None:
    with BatchState(tmp_path / "state", WHOSE) as state:
        fill(state)
        with pytest.raises(MalformedError) as caught:
            BatchState(tmp_path / "state", WHOSE)
        assert "another run" in str(caught.value)
        state.save_prepared([prepared(1)])


def test_state_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "state"
    with BatchState(file, WHOSE) as state:
        fill(state)
    file.chmod(0o640)
    with pytest.raises(MalformedError) as caught:
        BatchState(file, WHOSE)
    assert "chmod" in str(caught.value)


def test_link_in_the_place_of_a_state_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "state").symlink_to(elsewhere)
    with pytest.raises((MalformedError, OSError)):
        BatchState(tmp_path / "state", WHOSE)
    assert not elsewhere.exists()


def test_torn_state_is_never_taken_for_a_new_one(tmp_path: Path) -> None:
    """Cut off anywhere, or with a page of zeros: it is refused as damaged, or still says all that it said."""
    file = tmp_path / "state"
    with BatchState(file, WHOSE) as state:
        fill(state, 200)
        state.save_prepared([prepared(line) for line in range(1, 200)])
    whole = file.read_bytes()
    torn = [whole[:size] for size in range(1, len(whole), len(whole) // 12)]
    torn += [whole[:start] + bytes(4096) + whole[start + 4096 :] for start in range(0, len(whole), len(whole) // 12)]
    refused = 0
    for data in torn:
        file.write_bytes(data)
        try:
            with BatchState(file, WHOSE) as state:
                assert state.is_filled
                found = {item.line: item.submission for item in items(state)}
                assert all(found[line] == SECRET for line in range(1, 200))
        except MalformedError:
            refused += 1
        assert file.read_bytes()[: len(data) // 2] == data[: len(data) // 2], "what may be mended is left alone"
    assert refused > len(torn) // 2


def test_state_of_a_later_version_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "state"
    with BatchState(file, WHOSE) as state:
        fill(state)
        state._connection.execute("PRAGMA user_version = 2")
    with pytest.raises(MalformedError) as caught:
        BatchState(file, WHOSE)
    assert "version" in str(caught.value)
