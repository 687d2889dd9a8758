"""Which checks are deferred, and how a request is kept: bounded, and unreadable."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from gateway.protocol.attestation import Attestation, Statement
from gateway.protocol.errors import (
    HeyanError,
    LogUnavailableError,
    MalformedError,
    NotCurrentError,
    OverloadedError,
    UnreachableError,
)
from gateway.protocol.presentation import write_submission
from gateway.protocol.query import open_part
from gateway.protocol.reasons import Reason
from gateway.protocol.registry_terms import Document
from tests import federation as fed
from tests.fakes import FakeDepartment
from tests.gateway.conftest import NOW, Gateway, department_of
from tests.gateway.deferrals import (
    ANSWERED,
    DEFERRED,
    DOWN,
    LAND,
    POLICE,
    RETRY,
    deferrable,
    fetched,
    reasons,
    steps,
)


async def test_check_whose_department_cannot_be_had_is_deferred_and_answered_when_it_returns(
    gateway: Gateway, land: FakeDepartment
) -> None:
    consent = gateway.federation.issue(max_uses=1)
    verified = await gateway.verify(deferrable(gateway, consent=consent))
    assert steps(verified) == [ANSWERED, ANSWERED, DEFERRED]
    (waiting,) = gateway.kept()
    assert waiting.departments == (land.department,)
    land.failure = None
    await gateway.tick()
    assert steps(fetched(gateway, verified)) == [ANSWERED] * 3
    assert gateway.kept() == []
    assert gateway.gone == [None]
    assert max(gateway.used(consent)) == 1
    assert len(department_of(gateway, POLICE).asks) == 1


async def test_query_that_allows_no_deferral_is_not_kept(gateway: Gateway, land: FakeDepartment) -> None:
    assert steps(await gateway.verify(gateway.submission()))[2] == RETRY
    assert gateway.kept() == []
    assert land.asks


@pytest.mark.parametrize(
    "failure",
    [
        OverloadedError(Reason.GATEWAY_OWES_ACKNOWLEDGEMENTS),
        UnreachableError(Reason.DEPARTMENT_TIMED_OUT),
        UnreachableError(Reason.STATUS_UNAVAILABLE),
    ],
)
async def test_whatever_fault_a_department_has_defers(
    gateway: Gateway, land: FakeDepartment, failure: HeyanError
) -> None:
    land.failure = failure
    assert steps(await gateway.verify(deferrable(gateway)))[2] == DEFERRED


async def test_department_that_lies_is_not_asked_again_by_itself(gateway: Gateway, land: FakeDepartment) -> None:
    def of_another(statement: Statement) -> Statement:
        assert isinstance(statement, Attestation)
        return replace(statement, asked=replace(statement.asked, requester=fed.OTHER_REQUESTER))

    land.failure, land.bend = None, of_another
    verified = await gateway.verify(deferrable(gateway))
    assert (steps(verified)[2], reasons(verified)) == (RETRY, {Reason.ATTESTATION_INVALID})
    assert gateway.kept() == []


async def test_nothing_more_than_there_is_room_for_is_kept(gateway: Gateway, land: FakeDepartment) -> None:
    gateway.room._limits = replace(gateway.room._limits, requests_each=2)
    ends = [steps(await gateway.verify(deferrable(gateway)))[2] for _ in range(3)]
    assert ends == [DEFERRED, DEFERRED, RETRY]
    land.failure = None
    await gateway.tick()
    land.failure = DOWN
    assert steps(await gateway.verify(deferrable(gateway)))[2] == DEFERRED  # there is room again


async def test_room_is_given_back_when_a_deferral_could_not_be_recorded(gateway: Gateway, land: FakeDepartment) -> None:
    gateway.room._limits = replace(gateway.room._limits, requests_each=1)
    gateway.store.fail_before = True
    for _ in range(3):
        with pytest.raises(LogUnavailableError):
            await gateway.verify(deferrable(gateway))
    gateway.store.fail_before = False
    submission = deferrable(gateway)
    assert steps(await gateway.verify(submission))[2] == DEFERRED
    assert steps(await gateway.verify(submission))[2] == DEFERRED  # asked again by its requester: it has its room
    assert gateway.room._reserved == {}


async def test_deferral_past_the_end_of_a_sealing_key_is_refused(gateway: Gateway) -> None:
    """By the client, and by the gateway, which does not trust it."""
    ends = min(key.not_after for uri in gateway.departments for key in gateway.federation.registry.sealing_keys_of(uri))
    with pytest.raises(MalformedError, match="must be at most"):
        gateway.submission(answer_until=ends + 1.0)
    with pytest.raises(MalformedError, match="must be at least"):
        gateway.submission(answer_until=gateway.clock.now + 59.0)
    submission = deferrable(gateway)

    def shortened(document: Document) -> Document:
        uri = department_of(gateway, LAND).department
        terms = gateway.federation.registry.party(uri).department
        assert terms is not None
        keys = tuple(msgspec.structs.replace(key, not_after=int(NOW) + 60) for key in terms.sealing_keys)
        return fed.edit_party(document, uri, department=msgspec.structs.replace(terms, sealing_keys=keys))

    gateway.federation = gateway.federation.changed(shortened)
    with pytest.raises(MalformedError):
        await gateway.send(submission)
    assert gateway.leaves() == []


async def test_deferral_past_the_end_of_the_grant_is_refused(gateway: Gateway) -> None:
    consent = gateway.federation.issue(expires=int(gateway.clock.now) + 600)
    with pytest.raises(NotCurrentError) as caught:
        await gateway.send(deferrable(gateway, consent=consent))
    assert caught.value.reason is Reason.GRANT_EXPIRED


def bytes_of(folder: Path) -> bytes:
    """What whoever takes the store's files away has."""
    return b"".join(path.read_bytes() for path in folder.glob("store.db*"))


async def test_nothing_readable_is_stored(gateway: Gateway, land: FakeDepartment, tmp_path: Path) -> None:
    consent = gateway.federation.issue()
    submission = deferrable(gateway, consent=consent)
    await gateway.verify(submission)
    gateway.store._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    stored = bytes_of(tmp_path)
    message = write_submission(submission).SerializeToString()
    assert len(stored) > len(message)
    secrets: dict[str, bytes] = {
        "the message": message[:64],
        "the query": submission.signed.query[-64:],
        "its signature": submission.signed.signature,
        "the grant": submission.grants[0].grant.encode()[:64],
        "the grant's signature": submission.grants[0].grant.rpartition(".")[2].encode(),
        **{f"disclosure {text[:8]}": text.encode() for text in submission.grants[0].disclosures},
    }
    for part in submission.parts:
        secrets[f"sealed {len(secrets)}"] = part.sealed.ciphertext[:64]
        opened = open_part(part.part)
        secrets[f"part digest {len(secrets)}"] = opened.digest
        secrets[f"salt {len(secrets)}"] = opened.part.salt
        for check in opened.part.checks:
            for role, commitment in check.subjects:
                secrets[f"commitment of {role} {len(secrets)}"] = commitment
    for subject in fed.FAMILY.values():
        secrets[f"id {len(secrets)}"] = subject.id_number.encode()
        secrets[f"name {len(secrets)}"] = subject.name.encode()
    assert [name for name, secret in secrets.items() if secret in stored] == []


async def test_kept_request_that_was_moved_to_another_row_does_not_open(gateway: Gateway, land: FakeDepartment) -> None:
    """Whoever writes the file could otherwise have one requester's request asked under another's name."""
    consent = gateway.federation.issue()
    for _ in range(2):
        await gateway.verify(deferrable(gateway, consent=consent))
    first, second = gateway.kept()
    gateway.store._writer.execute(
        "UPDATE deferrals SET message = (SELECT message FROM deferrals WHERE request_id = ?) WHERE request_id = ?",
        (first.key.request_id, second.key.request_id),
    )
    with pytest.raises(LogUnavailableError):
        gateway.requests.deferred_message(second)
    assert gateway.requests.deferred_message(first)
