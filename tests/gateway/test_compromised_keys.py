"""Whoever took a log key that the registry calls compromised says nothing for the log, at whatever time he signs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from gateway.audit.bad_places import Wrong
from gateway.cli import log_export
from gateway.cli.log_sources import OpenedLog
from gateway.protocol.errors import ForgedError, HeyanError
from gateway.protocol.keys import SigningKey
from gateway.protocol.log_keys import UNKNOWN_TIME, proof_verifiers
from gateway.protocol.reasons import Reason
from gateway.protocol.registry_terms import KeyUse
from gateway.static_log.checked_log import LogToCheck
from gateway.static_log.fsck import Wanted, check_log
from gateway.static_log.tile_source import FolderSource
from gateway.stores.port import Head
from gateway.witnessing import witnesses
from gateway.witnessing.witnesses import witnesses_of
from tests import federation as fed
from tests.audit.logs import MIDNIGHT, little_log
from tests.audit.test_log_keys import NEW, NEW_SIGNER, OLD, listing, terms
from tests.backups.conftest import desk  # noqa: F401 - a fixture
from tests.backups.desks import Desk
from tests.cli.test_audit_search import publish
from tests.witness.conftest import NOW
from tests.witness.signed_log import ORIGIN, SIGNER, SignedLog
from tests.witnessing.asked import Asked, FakeTransport

TAKEN = listing(terms(OLD, compromised=MIDNIGHT + 500), terms(NEW))


def keys(leaf_time: float = 0.0) -> tuple:
    return proof_verifiers(TAKEN, fed.GATEWAY, fed.LOG_ORIGIN, leaf_time)


def test_where_nobody_knows_the_newest_leaf_only_keys_that_were_never_compromised_count() -> None:
    ended = listing(terms(OLD, not_after=MIDNIGHT), terms(NEW))
    assert keys(UNKNOWN_TIME) == (NEW_SIGNER.verifier,)
    assert len(proof_verifiers(ended, fed.GATEWAY, fed.LOG_ORIGIN, UNKNOWN_TIME)) == 2, "what had ended was its own"


async def test_log_whose_entries_are_kept_back_is_not_sound_by_a_compromised_key(tmp_path: Path) -> None:
    log = publish(little_log(), tmp_path / "log")
    checked = await check_log(
        LogToCheck(FolderSource(log), fed.LOG_ORIGIN, keys, frozenset({fed.GATEWAY})), Wanted(entries=False)
    )
    assert [each.wrong for each in checked.found.told] == [Wrong.NOT_SIGNED]


@pytest.mark.parametrize("words", [(), ("--no-entries",)], ids=["entries", "hashes"])
def test_log_that_a_compromised_key_signed_is_not_copied(
    tmp_path: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = publish(little_log(), tmp_path / "log")
    opened = OpenedLog(FolderSource(log), fed.LOG_ORIGIN, keys, str(log))
    monkeypatch.setattr(log_export, "open_log", lambda *_: opened)
    with pytest.raises(ForgedError) as refused:
        log_export.export_log(tmp_path / "copy", place=str(log), entries=not words)
    assert refused.value.reason is Reason.KEY_UNKNOWN
    assert not (tmp_path / "copy").exists()


# -- the gateway, which its own checkpoints convict ----------------------------------------------------------------


@pytest.mark.parametrize(("compromised", "halts"), [(None, True), (int(NOW) - 5, False)])
async def test_tree_of_a_thief_at_a_witness_does_not_halt_the_gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compromised: int | None, *, halts: bool
) -> None:
    """Whoever has the key may give a witness a tree of his own; only a key that is the log's alone convicts the log."""
    asked = Asked(tmp_path, 1, log=SignedLog.of(3))
    asked.witnesses["w1"].honest.add(asked.log.fork(2, 9), 0)
    old = SigningKey("log-1", SIGNER.private_key)
    registry = listing(terms(old, compromised=compromised), terms(NEW))
    monkeypatch.setattr(witnesses, "HttpTransport", lambda: FakeTransport(asked.witnesses))
    halted: list[HeyanError] = []
    made = witnesses_of(
        SimpleNamespace(
            witness_policy=asked.policy_file,
            witness_interval=1.0,
            witness_patience=30.0,
            witness_max_age=300.0,
            spiffe_id=fed.GATEWAY,
            store=tmp_path / "store.db",
        ),
        log=SimpleNamespace(origin=ORIGIN, of=lambda _origin: asked.log),
        store=SimpleNamespace(shards=list, head=lambda: Head(3, b"", "", ORIGIN)),
        watchers=SimpleNamespace(),
        registry=lambda: registry,
        clock=asked.clock,
        metrics=CollectorRegistry(),
        on_contradiction=halted.append,
    )
    made.load()
    await made.run_once()
    for witnessing in made._logs.values():
        await witnessing.settle()
        assert witnessing.witnessed() is None
    assert bool(halted) is halts
    asked.close()


# -- restores ------------------------------------------------------------------------------------------------------


@pytest.fixture
def taken(desk: Desk) -> Iterator[Desk]:  # noqa: F811 - pytest's way
    """A gateway whose store is lost, and whose key was taken: the published log is a thief's from size 3 on."""
    desk.keeper.grow(3)
    desk.keeper.backup(desk.backup)
    desk.keeper.grow(4)
    desk.publish()
    desk.lose()
    return desk


def compromise(desk: Desk, at: float) -> None:  # noqa: F811
    federation = desk.keeper.federation
    mine = federation.signing_keys[fed.GATEWAY]
    others = [fed.key_terms(mine, KeyUse.LOG, at, compromised=int(at)), fed.key_terms(NEW, KeyUse.LOG, at)]
    desk.keeper.federation = federation.changed(lambda document: fed.edit_party(document, fed.GATEWAY, keys=others))


async def test_leaves_under_a_compromised_key_alone_are_not_brought_into_the_log(taken: Desk) -> None:
    compromise(taken, taken.keeper.clock.now + 50)
    with pytest.raises(ForgedError, match="a key that was compromised") as refused:
        await taken.restore()
    assert refused.value.reason is Reason.KEY_UNKNOWN
    assert taken.signed == []
    assert not taken.keeper.path.exists()


async def test_backup_that_a_key_signed_after_it_was_compromised_is_none(taken: Desk) -> None:
    compromise(taken, taken.keeper.clock.now - 50)
    with pytest.raises(ForgedError) as refused:
        await taken.restore()
    assert refused.value.reason is Reason.BACKUP_INVALID
    assert taken.signed == []
