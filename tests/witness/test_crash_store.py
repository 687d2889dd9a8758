"""A witness that fails or dies at each step of a commit: it never signs two roots of one size, nor goes backwards."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.protocol.errors import ForgedError, HeyanError, LogUnavailableError
from gateway.protocol.reasons import Reason
from gateway.witness.cosigning import OtherSizeError
from tests.fakes import Clock
from tests.fakes_sqlite import Dead, How, TrippedConnection, When
from tests.witness.conftest import NOW, Witness, open_witness
from tests.witness.signed_log import ORIGIN, SignedLog

PROJECT = Path(__file__).parents[2]
STEPS = ("BEGIN IMMEDIATE", "SELECT origin, size,", "UPDATE heads SET", "COMMIT")


def tripped(witness: Witness, step: str, when: When, how: How) -> TrippedConnection:
    connection = TrippedConnection(witness.store._connection)
    witness.store._connection = connection  # type: ignore[assignment]
    connection.arm(step, when, how)
    return connection


@pytest.mark.parametrize("how", How)
@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("step", STEPS)
def test_fork_is_refused_whatever_became_of_the_commit_before_it(
    tmp_path: Path, step: str, when: When, how: How
) -> None:
    file = tmp_path / "witness.db"
    witness = open_witness(file, Clock(NOW))
    log = SignedLog.of(6)
    witness.add(log, 0, 4)
    connection = tripped(witness, step, when, how)
    with pytest.raises((LogUnavailableError, Dead)):
        witness.add(log, 4)
    assert step in connection.steps  # the step is one of the commit's
    connection.abandon()

    witness = open_witness(file, Clock(NOW))
    is_durable = (step, when) == ("COMMIT", When.AFTER)
    assert witness.size == (6 if is_durable else 4)
    fork = log.fork(4, 2)
    if is_durable:  # nobody has the cosignature; the log asks again, and gets one for the same root only
        with pytest.raises(ForgedError) as refusal:
            witness.add(fork, 6)
        assert refusal.value.reason is Reason.LOG_FORKED
        with pytest.raises(OtherSizeError) as told:
            witness.add(log, 4)
        assert told.value.size == 6
    witness.add(log, witness.size)
    assert witness.size == 6
    witness.store.close()


@pytest.mark.parametrize("step", STEPS)
def test_witness_goes_on_after_a_commit_that_failed(witness: Witness, step: str) -> None:
    log = SignedLog.of(6)
    witness.add(log, 0, 4)
    connection = tripped(witness, step, When.BEFORE, How.FAILS)
    with pytest.raises(LogUnavailableError):
        witness.add(log, 4)
    connection.arm(None)
    assert witness.size == 4
    witness.add(log, 4)


def raced(witness: Witness, side: SignedLog, old: int, gate: threading.Barrier) -> HeyanError | None:
    """Have a side cosigned at the same moment as the others; why not, if it was not."""
    gate.wait()
    try:
        witness.add(side, old)
    except HeyanError as error:
        return error
    return None


def test_racing_requests_of_a_log_and_its_fork_cannot_both_advance(tmp_path: Path) -> None:
    """Connections to one file, as of several processes, each with a proof that holds from where all of them stand."""
    file = tmp_path / "witness.db"
    log = SignedLog.of(4)
    sides = [open_witness(file, Clock(NOW)) for _ in range(4)]
    sides[0].add(log, 0)
    with ThreadPoolExecutor(len(sides)) as threads:
        for _ in range(10):
            old = len(log.leaves)
            fork = log.fork(old, 3)
            log.grow(2)
            shown, gate = (log, fork, log, fork), threading.Barrier(len(sides))
            outcomes = list(threads.map(raced, sides, shown, (old,) * 4, (gate,) * 4))
            (winner,) = [side for side, outcome in zip(shown, outcomes, strict=True) if outcome is None]
            assert sum(isinstance(outcome, OtherSizeError) for outcome in outcomes) == 3
            log = winner
            (held,) = sides[0].store.newest()
            assert (held.size, held.root) == (len(log.leaves), log.root(len(log.leaves)))
    for side in sides:
        side.store.close()


CHILD = """
import os, signal, sys
from pathlib import Path
from tests.fakes import Clock
from tests.witness.conftest import KEY, NOW, open_witness
from tests.witness.signed_log import SignedLog

class Killing:
    verifier = KEY.verifier
    def at(self, time):
        os.kill(os.getpid(), signal.SIGKILL)

where, file = sys.argv[1:]
witness = open_witness(Path(file), Clock(NOW), keys=(Killing(),) if where == "before" else (KEY,))
witness.cosigning.add_checkpoint(SignedLog.of(6).request(4))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("where", "size"), [("before", 4), ("after", 6)])
def test_killed_between_commit_and_reply_it_cosigns_the_same_again_and_no_fork(
    tmp_path: Path, where: str, size: int
) -> None:
    file = tmp_path / "witness.db"
    witness = open_witness(file, Clock(NOW))
    log = SignedLog.of(6)
    witness.add(log, 0, 4)
    witness.store.close()
    environment = {**os.environ, "PYTHONPATH": f"{PROJECT}:{PROJECT / 'protos' / 'gen'}"}
    command = [sys.executable, "-c", CHILD, where, str(file)]
    child = subprocess.run(command, cwd=PROJECT, env=environment, check=False, timeout=60, capture_output=True)
    assert child.returncode == -9, child.stderr
    witness = open_witness(file, Clock(NOW))
    assert witness.size == size
    if where == "after":
        with pytest.raises(ForgedError):
            witness.add(log.fork(4, 2), 6)
    witness.add(log, size)
    witness.store.close()


def test_evidence_of_a_fork_survives_a_restart(witness: Witness, tmp_path: Path) -> None:
    log = SignedLog.of(6)
    witness.add(log, 0)
    with pytest.raises(ForgedError):
        witness.add(log.fork(4, 2), 6)
    again = open_witness(tmp_path / "witness.db", Clock(NOW))
    assert len(again.store.forks(ORIGIN)) == 1
    again.store.close()


def copied(file: Path, to: Path) -> Path:
    """The database as it is now, in one file."""
    connection = sqlite3.connect(file)
    connection.execute("VACUUM INTO ?", (str(to),))
    connection.close()
    return to


@pytest.mark.parametrize("how", ["renamed", "written over"])
def test_database_put_back_while_the_witness_runs_signs_no_fork(tmp_path: Path, how: str) -> None:
    file = tmp_path / "witness.db"
    witness = open_witness(file, Clock(NOW))
    log = SignedLog.of(6)
    witness.add(log, 0, 2)
    older = copied(file, tmp_path / "older.db")
    witness.add(log, 2, 5)
    if how == "renamed":
        older.replace(file)
    else:  # by its own means, so that it is a database that any process reads
        connection = sqlite3.connect(file)
        with sqlite3.connect(older) as source:
            source.backup(connection)
        connection.close()
        assert witness.size == 2
    with pytest.raises(LogUnavailableError):
        witness.add(log.fork(3, 4), 2)
    with pytest.raises(LogUnavailableError):
        witness.add(log, 5)
    witness.store.close()
