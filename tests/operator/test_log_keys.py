"""The keys of a log at the operator's desk: an Ed25519 key after another, and an ML-DSA-44 key beside them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import msgspec
import pytest

from gateway.cli.registry import app
from gateway.operator import document as editing
from gateway.operator.desk import OVERLAP, START_DELAY, Desk
from gateway.operator.enrolment import PartyFolder
from gateway.party.config import PartyConfig
from gateway.party.diagnosis import check_signing_keys
from gateway.party.keyfiles import load_signing_keys, usable
from gateway.protocol.errors import ConflictError, MalformedError
from gateway.protocol.keys import Algorithm
from gateway.protocol.reasons import Reason
from gateway.protocol.registry_terms import KeyUse
from tests.party.conftest import ENROL, GATEWAY, POLICE, entry_of

NOW = 1_800_000_000
ML_DSA = Algorithm.ML_DSA_44


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return made_at(tmp_path, NOW)


def made_at(folder: Path, now: float) -> Desk:
    made = Desk.create(folder / "desk", "test", now)
    for identity in (GATEWAY, POLICE, ENROL):
        made.enrol(entry_of(identity), PartyFolder(folder / identity.name), now)
    made.sign(now)
    return made


def place(desk: Desk, identity=GATEWAY) -> PartyFolder:
    return PartyFolder(desk.folder.parent / identity.name)


def signers(desk: Desk, at: float) -> list[tuple[Algorithm, str]]:
    keys = usable(load_signing_keys(place(desk).keys), desk.published(), GATEWAY.uri, KeyUse.LOG, at)
    return [(key.algorithm, key.key_id) for key in keys]


def add_second(desk: Desk, now: float = NOW) -> str:
    key = desk.rotate_signing_key(GATEWAY.uri, KeyUse.LOG, place(desk), now, algorithm=ML_DSA)
    desk.sign(now)
    return key.kid


def test_second_key_begins_beside_the_first_and_ends_nothing(desk):
    ((_, first),) = signers(desk, NOW)
    second = add_second(desk)
    assert second.startswith("log-pq-")
    assert signers(desk, NOW) == [(Algorithm.ED25519, first)]
    for at in (NOW + START_DELAY, NOW + START_DELAY + OVERLAP + 1, NOW + 300 * 86_400):
        assert signers(desk, at) == [(Algorithm.ED25519, first), (ML_DSA, second)]
    path = place(desk).keys / f"{second}.pem"
    assert path.stat().st_mode & 0o777 == 0o600


def test_each_key_is_followed_by_one_of_its_algorithm(desk):
    ((_, first),) = signers(desk, NOW)
    second = add_second(desk)
    fresh = desk.rotate_signing_key(GATEWAY.uri, KeyUse.LOG, place(desk), NOW + 100).kid
    fresh_second = desk.rotate_signing_key(GATEWAY.uri, KeyUse.LOG, place(desk), NOW + 100, algorithm=ML_DSA).kid
    desk.sign(NOW + 100)
    begins = NOW + 100 + START_DELAY
    assert {kid for _, kid in signers(desk, begins - 1)} == {first, second}
    assert {kid for _, kid in signers(desk, begins + OVERLAP)} == {first, second, fresh, fresh_second}
    assert {kid for _, kid in signers(desk, begins + OVERLAP + 1)} == {fresh, fresh_second}


@pytest.mark.parametrize(
    ("identity", "use", "algorithm"),
    [
        (POLICE, KeyUse.ANSWER, ML_DSA),
        (ENROL, KeyUse.QUERY, ML_DSA),
        (POLICE, KeyUse.ANSWER, Algorithm.ED25519),
        (GATEWAY, KeyUse.LOG, Algorithm.ES256),
    ],
)
def test_key_of_an_algorithm_that_its_use_does_not_have_is_refused_and_not_made(desk, identity, use, algorithm):
    before = set(place(desk, identity).keys.iterdir())
    with pytest.raises(MalformedError) as refusal:
        desk.rotate_signing_key(identity.uri, use, place(desk, identity), NOW, algorithm=algorithm)
    assert refusal.value.reason is Reason.CONFIGURATION_INVALID
    assert "--algorithm" in str(refusal.value)
    assert set(place(desk, identity).keys.iterdir()) == before


def test_second_key_cannot_be_the_only_one(desk):
    add_second(desk)
    draft = desk.draft()
    second_only = tuple(
        msgspec.structs.replace(party, keys=tuple(key for key in party.keys if key.alg is ML_DSA))
        if party.id == GATEWAY.uri
        else party
        for party in draft.parties
    )
    desk.save(msgspec.structs.replace(draft, parties=second_only))
    with pytest.raises(MalformedError):
        desk.draft()


def test_second_key_once_published_does_not_vanish(desk):
    add_second(desk)
    draft = desk.draft()
    without = tuple(
        msgspec.structs.replace(party, keys=tuple(key for key in party.keys if key.alg is not ML_DSA))
        for party in draft.parties
    )
    desk.save(msgspec.structs.replace(draft, parties=without))
    with pytest.raises(ConflictError, match="vanish"):
        desk.sign(NOW + 1)


def test_only_plain_key_is_not_retired_for_the_second_ones_sake(tmp_path, capsys):
    desk = made_at(tmp_path, time.time() - 100)
    second = add_second(desk, time.time() - 50)
    ((_, first), *_) = signers(desk, time.time())

    def retire(kid: str) -> None:
        app(["retire", GATEWAY.uri, kid, "--desk", str(desk.folder)], result_action="return_value", exit_on_error=False)

    with pytest.raises(MalformedError, match="only log key"):
        retire(first)
    retire(second)  # a log may go on without it
    assert "counts no more" in capsys.readouterr().out


def test_commands_make_and_show_the_second_key(desk, capsys):
    words = ["rotate", "log", GATEWAY.uri, "--algorithm", "ML-DSA-44", "--desk", str(desk.folder)]
    app([*words, "--folder", str(place(desk).path)], result_action="return_value", exit_on_error=False)
    assert "ML-DSA-44" in capsys.readouterr().out
    app(["show", "--desk", str(desk.folder)], result_action="return_value", exit_on_error=False)
    assert "log, ML-DSA-44" in capsys.readouterr().out
    app(["show", "--desk", str(desk.folder), "--json"], result_action="return_value", exit_on_error=False)
    parties = json.loads(capsys.readouterr().out)["document"]["parties"]
    assert [key["alg"] for party in parties for key in party["keys"] if key["use"] == "log"] == ["Ed25519", "ML-DSA-44"]


def test_doctor_looks_after_each_key_of_a_log(desk):
    add_second(desk)
    config = PartyConfig.model_construct(spiffe_id=GATEWAY.uri)

    def said(at: float) -> list[str]:
        found = check_signing_keys(config, place(desk).path, desk.published(), at)
        return [f"{item.level.name} {item.text} {item.remedy}" for item in found]

    fine = said(NOW + START_DELAY)
    assert len(fine) == 2
    late = said(NOW + 360 * 86_400)
    assert "--algorithm ML-DSA-44" in late[1]
    assert "--algorithm" not in late[0]


def test_draft_lists_the_key_whole(desk):
    second = add_second(desk)
    (terms,) = (key for key in editing.find_party(desk.draft(), GATEWAY.uri).keys if key.kid == second)
    assert (terms.use, terms.alg, len(terms.public)) == (KeyUse.LOG, ML_DSA, 1750)  # 1,312 bytes in base64url
