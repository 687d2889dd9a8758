"""`heyan gateway backup` and `restore` as a person runs them: from settings, with what they name."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gateway.cli.doctor import examine_party
from gateway.cli.gateway_backup import backup
from gateway.cli.gateway_restore import Sayings, restore
from gateway.cli.log_freeze import freeze
from gateway.log_marks import SEEN_FILE
from gateway.party.diagnosis import Level
from gateway.party.keyfiles import save_signing_key, write_private
from gateway.protocol.errors import ForgedError, MalformedError, UnreachableError
from gateway.protocol.note import COSIGNATURE, VerifierKey
from gateway.protocol.reasons import Reason
from gateway.protocol.witness_wire import checkpoint_path
from tests import federation as fed
from tests.backups.keepers import Keeper
from tests.static_logs import write_log


class Desk:
    """A gateway's folder as it is on disk, and its store while it is open."""

    def __init__(self, folder: Path) -> None:
        federation = fed.Federation.create(time.time())
        self.keeper = Keeper(federation, folder / "gateway")
        self.folder, self.backup = folder / "gateway", folder / "backup"
        save_signing_key(self.folder / "keys", federation.signing_keys[fed.GATEWAY])
        write_private(self.folder / "kek", bytes(32))
        (self.folder / "registry.jws").write_text(federation.registry.token)
        self.config = self.folder / "settings.toml"
        self.config.write_text(
            f"""spiffe_id = "{fed.GATEWAY}"
store = "store.db"
log_keys = "keys"
kek = "kek"
published = "published"
[tls]
certificate = "c"
key = "k"
ca = "a"
[registry]
source = "registry.jws"
operator_vkey = "{federation.operator_vkey}"
seen = "own/registry.seen"
"""
        )

    def publish(self) -> None:
        self.write(self.folder / "published" / "0")

    def write(self, folder: Path) -> None:
        """A static log of what the store has now."""
        folder.mkdir(parents=True)
        write_log(folder, list(self.keeper.store.leaves(0, 10_000)))
        (folder / "checkpoint").write_text(self.keeper.head.checkpoint)

    def lose(self) -> None:
        self.keeper.store.close()
        for file in self.folder.glob("store.db*"):
            file.unlink()

    def restored(self, capsys: pytest.CaptureFixture[str], sayings: Sayings | None = None) -> dict[str, object]:
        capsys.readouterr()
        restore(self.backup, config=self.config, sayings=sayings or Sayings(), as_json=True)
        told: dict[str, object] = json.loads(capsys.readouterr().out)
        return told


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    made.keeper.grow(5)
    backup(config=made.config, out=made.backup)
    yield made
    made.keeper.store.close()


def test_backup_says_what_it_holds_and_what_it_does_not(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    backup(config=desk.config, out=desk.backup.with_name("second"))
    assert "kek and log_keys" in capsys.readouterr().out
    backup(config=desk.config, out=desk.backup.with_name("third"), verify=True, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["origin"], told["size"], told["logs"]) == (fed.LOG_ORIGIN, 5, 1)
    assert told["root"] == desk.keeper.head.root.hex()


def test_restore_takes_the_published_log_of_the_settings(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.keeper.grow(7)
    desk.publish()
    desk.lose()
    told = desk.restored(capsys)
    assert (told["backup_size"], told["restored_size"]) == (5, 12)
    assert told["seen_by"] == str(desk.folder / "published" / "0")


@pytest.mark.parametrize("below", [True, False], ids=["the folder of all logs", "the folder of one"])
def test_restore_takes_a_copy_of_the_log(desk: Desk, capsys: pytest.CaptureFixture[str], below: bool) -> None:
    desk.keeper.grow(7)
    copy = desk.backup.with_name("copy")
    desk.write(copy / "0")
    desk.lose()
    told = desk.restored(capsys, Sayings(log=(str(copy if below else copy / "0"),)))
    assert told["restored_size"] == 12


def test_copy_that_is_none_is_named(desk: Desk, tmp_path: Path) -> None:
    desk.lose()
    with pytest.raises(MalformedError) as refused:
        restore(desk.backup, config=desk.config, sayings=Sayings(log=(str(tmp_path),)))
    assert refused.value.violations[0].field == "--log"


def test_own_mark_stops_a_restore_to_less(desk: Desk) -> None:
    desk.publish()
    write_private(desk.folder / "own" / SEEN_FILE, desk.keeper.grow(1).checkpoint.encode())
    desk.lose()
    with pytest.raises(ForgedError) as refused:
        restore(desk.backup, config=desk.config)
    assert refused.value.reason is Reason.LOG_ROLLED_BACK
    assert SEEN_FILE in refused.value.detail


def test_checkpoint_that_somebody_was_shown_stops_a_restore_to_less(desk: Desk, tmp_path: Path) -> None:
    desk.publish()
    (tmp_path / "shown").write_text(desk.keeper.grow(1).checkpoint)
    desk.lose()
    with pytest.raises(ForgedError) as refused:
        restore(desk.backup, config=desk.config, sayings=Sayings(checkpoint=(tmp_path / "shown",)))
    assert refused.value.reason is Reason.LOG_ROLLED_BACK
    assert not (desk.folder / "store.db").exists()


@pytest.fixture
def witness() -> Iterator[dict[str, bytes]]:
    """What a witness serves, by path; its URL is `url`."""
    served: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = served.get(self.path)
            self.send_response(200 if body is not None else 404)
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    served["url"] = f"http://127.0.0.1:{server.server_port}/prefix".encode()
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


def test_witness_that_saw_more_stops_a_restore_to_less(
    desk: Desk, witness: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    url = witness["url"].decode()
    desk.publish()
    known = desk.keeper.head.checkpoint
    more = desk.keeper.grow(1).checkpoint
    desk.lose()
    path = f"/prefix{checkpoint_path(fed.LOG_ORIGIN)}"
    witness[path] = more.encode()
    with pytest.raises(ForgedError) as refused:
        restore(desk.backup, config=desk.config, sayings=Sayings(witness=(url,)))
    assert refused.value.reason is Reason.LOG_ROLLED_BACK
    assert url in refused.value.detail
    witness[path] = known.encode()
    assert desk.restored(capsys, Sayings(witness=(url,)))["restored_size"] == 5


def test_witnesses_of_the_settings_are_asked_unless_told_otherwise(
    desk: Desk, witness: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    key = VerifierKey.of("witness.test", COSIGNATURE, bytes(32)).format()
    policy = f"witness one {key} {witness['url'].decode()}\nquorum one\n"
    (desk.folder / "policy").write_text(policy)
    desk.config.write_text(f'witness_policy = "policy"\n{desk.config.read_text()}')
    desk.publish()
    witness[f"/prefix{checkpoint_path(fed.LOG_ORIGIN)}"] = desk.keeper.grow(1).checkpoint.encode()
    desk.lose()
    with pytest.raises(ForgedError) as refused:
        restore(desk.backup, config=desk.config)
    assert refused.value.reason is Reason.LOG_ROLLED_BACK
    assert desk.restored(capsys, Sayings(policy_witnesses=False))["restored_size"] == 5


def test_witness_that_does_not_answer_stops_the_restore(desk: Desk) -> None:
    """Left out, it would say nothing; whoever names it wants to know."""
    desk.publish()
    desk.lose()
    with pytest.raises(UnreachableError):
        restore(desk.backup, config=desk.config, sayings=Sayings(witness=("http://127.0.0.1:1",)))


def test_witness_of_the_policy_that_does_not_answer_is_told_with_the_way_around_it(desk: Desk) -> None:
    policy = desk.folder / "policy"
    key = VerifierKey.of("witness.test", COSIGNATURE, bytes(32))
    policy.write_text(f"witness w {key.format()} http://127.0.0.1:1\nquorum w\n", encoding="utf-8")
    desk.config.write_text(f'witness_policy = "policy"\n{desk.config.read_text(encoding="utf-8")}', encoding="utf-8")
    desk.publish()
    desk.lose()
    with pytest.raises(UnreachableError, match="--no-policy-witnesses"):
        restore(desk.backup, config=desk.config)


def test_backup_that_will_not_do_is_told_before_anybody_is_asked(desk: Desk, tmp_path: Path) -> None:
    desk.lose()
    with pytest.raises(ForgedError) as refused:
        restore(tmp_path / "none", config=desk.config, sayings=Sayings(witness=("http://127.0.0.1:1",)))
    assert refused.value.reason is Reason.BACKUP_INVALID


def test_witness_that_never_saw_the_log_says_nothing(
    desk: Desk, witness: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    desk.publish()
    desk.lose()
    assert desk.restored(capsys, Sayings(witness=(witness["url"].decode(),)))["restored_size"] == 5


def test_restore_says_what_was_lost_and_what_to_do(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.publish()
    desk.keeper.store.close()
    restore(desk.backup, config=desk.config, replace=True)
    told = capsys.readouterr().out
    assert "kept as" in told
    assert "uses and evidence since the backup are lost" in told
    assert list(desk.folder.glob("store.db.replaced-*"))


async def test_doctor_says_when_the_last_backup_was_made(desk: Desk) -> None:
    async def told(days: float) -> list[tuple[Level, str]]:
        found = await examine_party(desk.config, lambda: time.time() + 86_400 * days)
        return [(finding.level, finding.text) for _, finding in found if finding.topic == "backup"]

    assert await told(0) == [(Level.OK, "the last backup was made 0.0 days ago")]
    assert await told(9) == [(Level.WARNING, "the last backup was made 9 days ago")]
    (desk.folder / "own" / "last-backup").unlink()
    assert await told(9) == []


def test_log_of_a_rolled_back_store_is_not_ended(desk: Desk) -> None:
    """The command appends as the gateway does, so it looks as the gateway does."""
    desk.keeper.grow(1)
    desk.publish()
    desk.lose()
    shutil.copy(desk.backup / "store.db", desk.folder / "store.db")
    with pytest.raises(ForgedError) as refused:
        freeze(config=desk.config, next_origin="heyan.test/next")
    assert refused.value.reason is Reason.LOG_ROLLED_BACK
