"""A store that was put back to an older copy signs nothing, whoever asks it to: a command, or a gateway anew."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gateway.cli import log_freeze, main
from gateway.cli.sandbox import GATEWAY
from gateway.log_marks import PROOF_FILES, SEEN_FILE
from gateway.protocol.errors import LogUnavailableError
from gateway.stores.port import Entry, Head
from gateway.stores.sqlite import SqliteStore
from tests.static_log.test_publication import database, folder, gateway, made, readiness  # noqa: F401 - fixtures

NEXT = "heyan.test/next"


def head_of(run: Path) -> Head | None:
    store = SqliteStore(run / "gateway/store.db")
    try:
        return store.head()
    finally:
        store.close()


async def rolled_back(run: Path) -> tuple[Head, Head]:
    """A gateway's store, stopped and put back to an older copy: what it is now, and what it was."""
    async with gateway(run) as (process, _):
        await process.parts.log.append(Entry(b"one"))
    older = [shutil.copy(file, run) for file in database(run)]
    before = head_of(run)
    async with gateway(run) as (process, _):
        await process.parts.log.append(Entry(b"a leaf that somebody was shown"))
    newest = head_of(run)
    for file in database(run):
        file.unlink()
    for file in older:
        shutil.move(file, run / "gateway")
    assert before is not None
    assert newest is not None
    return before, newest


def forget(run: Path, *kept: str) -> None:
    """Of what shows how far the log was seen, leave `kept` only."""
    if "seen" not in kept:
        next(run.glob(f"gateway/**/{SEEN_FILE}")).unlink()
    if "published" not in kept:
        shutil.rmtree(run / "gateway/published")


def freeze(run: Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["log", "freeze", "--config", str(run / "gateway/settings.toml"), "--next-origin", NEXT])
    return int(ended.value.code or 0)


@pytest.mark.parametrize("kept", ["seen", "published"])
async def test_store_that_was_rolled_back_is_not_ended_by_a_command(
    folder: Path,  # noqa: F811 - pytest's way
    kept: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The end of a log is a leaf like others: signed by a store that went back, it is a second tree, for good."""
    before, _ = await rolled_back(folder)
    forget(folder, kept)
    monkeypatch.setattr(log_freeze, "_wait_for", lambda _instant: None)
    with pytest.raises(SystemExit):
        main(["registry", "next-log", GATEWAY.uri, NEXT, "--desk", str(folder / "operator")])
    capsys.readouterr()
    assert freeze(folder) == 1
    assert "LOG_ROLLED_BACK" in capsys.readouterr().err
    assert head_of(folder) == before


@pytest.mark.parametrize("name", PROOF_FILES)
async def test_proof_against_a_log_outlives_the_process_that_was_shown_it(folder: Path, name: str) -> None:  # noqa: F811
    """Who restarts a halted gateway has mended nothing: it signs no second tree until a witness is asked again."""
    before, newest = await rolled_back(folder)
    forget(folder)
    (folder / "gateway" / name).write_text(newest.checkpoint)
    async with gateway(folder) as (process, ports):
        assert "LOG_ROLLED_BACK" in await readiness(ports)
        with pytest.raises(LogUnavailableError):
            await process.parts.log.append(Entry(b"another history"))
        assert process.parts.store.head() == before
