from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from gateway.operator import document as editing
from gateway.operator.desk import OVERLAP, START_DELAY, Desk
from gateway.operator.enrolment import PartyFolder
from gateway.party.keyfiles import load_sealing_keys, load_signing_keys, newest_usable
from gateway.party.registry_keeper import operator_key
from gateway.protocol.digests import Kind
from gateway.protocol.errors import ConflictError, ForgedError, HeyanError, MalformedError, NotFoundError
from gateway.protocol.registry import open_registry
from gateway.protocol.registry_terms import Coverage, KeyUse
from tests.party.conftest import AUDITOR, ENROL, GATEWAY, POLICE, entry_of

NOW = 1_800_000_000.0
replace = msgspec.structs.replace


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk.create(tmp_path / "desk", "test", NOW)
    for identity in (GATEWAY, POLICE, ENROL, AUDITOR):
        made.enrol(entry_of(identity), folder(tmp_path, identity), NOW)
    made.sign(NOW)
    return made


def folder(root: Path, identity) -> PartyFolder:
    return PartyFolder(root / identity.role.value)


def modes(root: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in root.rglob("*") if path.is_file()}


def test_private_files_of_desk_and_parties_are_0600(desk, tmp_path):
    found = modes(desk.folder)
    assert (found["operator.key"], found["ca.key"], found["registry.jws"]) == (0o600, 0o600, 0o644)
    place = folder(tmp_path, POLICE)
    private = [place.tls.key, *place.keys.iterdir(), *place.sealing.iterdir()]
    assert len(private) == 3
    assert {path.stat().st_mode & 0o777 for path in private} == {0o600}


def test_desk_comes_back_and_is_not_made_twice(desk):
    assert Desk.open(desk.folder).vkey == desk.vkey
    with pytest.raises(ConflictError):
        Desk.create(desk.folder, "test", NOW)
    (desk.folder / "operator.key").chmod(0o644)
    with pytest.raises(MalformedError, match="chmod 600"):
        Desk.open(desk.folder)


def test_missing_desk_says_how_to_make_one(tmp_path):
    with pytest.raises(MalformedError, match="registry init"):
        Desk.open(tmp_path)


def test_two_commands_on_one_desk_exclude_each_other(desk):
    with desk.alone(), pytest.raises(ConflictError), Desk.open(desk.folder).alone():
        pass


def test_enrolled_parties_sign_and_open_with_what_the_registry_lists(desk, tmp_path):
    registry = desk.published()
    for identity, use in ((GATEWAY, KeyUse.LOG), (POLICE, KeyUse.ANSWER), (ENROL, KeyUse.QUERY)):
        keys = load_signing_keys(folder(tmp_path, identity).keys)
        key = newest_usable(keys, registry, identity.uri, use, NOW)
        listed = registry.key(identity.uri, use, key.key_id, NOW)
        listed.verify(key.sign(Kind.QUERY, b"x"), Kind.QUERY, b"x")
    (terms,) = registry.sealing_keys(POLICE.uri, NOW)
    assert terms.kid in load_sealing_keys(folder(tmp_path, POLICE).sealing)
    assert not registry.party(AUDITOR.uri).keys


def test_rotated_key_takes_over_and_old_signatures_stay_verifiable(desk, tmp_path):
    place = folder(tmp_path, POLICE)
    old = newest_usable(load_signing_keys(place.keys), desk.published(), POLICE.uri, KeyUse.ANSWER, NOW)
    signature = old.sign(Kind.STATEMENT_BATCH, b"answered before")
    rotated = NOW + 1000
    new = desk.rotate_signing_key(POLICE.uri, KeyUse.ANSWER, place, rotated)
    begins, ends = rotated + START_DELAY, rotated + START_DELAY + OVERLAP

    def signer(registry, at: float) -> str:
        return newest_usable(load_signing_keys(place.keys), registry, POLICE.uri, KeyUse.ANSWER, at).key_id

    assert signer(desk.published(), begins) == old.key_id  # not signed yet: nobody knows the new key
    registry = desk.sign(rotated)
    assert signer(registry, rotated) == old.key_id
    assert signer(registry, begins) == new.kid
    for at in (NOW, rotated, begins, ends):
        registry.key(POLICE.uri, KeyUse.ANSWER, old.key_id, at).verify(
            signature, Kind.STATEMENT_BATCH, b"answered before"
        )
    with pytest.raises(ForgedError):
        registry.key(POLICE.uri, KeyUse.ANSWER, old.key_id, ends + 1)
    # years later, a receipt of that time is still judged by the key of that time
    assert registry.key(POLICE.uri, KeyUse.ANSWER, old.key_id, NOW).public == old.public_key().public


@pytest.mark.parametrize("timing", [{"delay": -60}, {"overlap": -60}])
def test_rotation_that_would_void_signatures_already_made_is_refused(desk, tmp_path, timing):
    with pytest.raises(MalformedError):
        desk.rotate_signing_key(POLICE.uri, KeyUse.ANSWER, folder(tmp_path, POLICE), NOW, **timing)


def test_compromise_voids_what_came_after_it_and_nothing_before(desk, tmp_path):
    (key,) = load_signing_keys(folder(tmp_path, GATEWAY).keys)
    at, stated = int(NOW) + 500, NOW + 1000
    desk.save(editing.compromise_key(desk.draft(), GATEWAY.uri, key.key_id, at, stated))
    registry = desk.sign(stated)
    assert registry.key(GATEWAY.uri, KeyUse.LOG, key.key_id, at - 1)
    for later in (at, stated, stated + 1000):
        with pytest.raises(ForgedError):
            registry.key(GATEWAY.uri, KeyUse.LOG, key.key_id, later)
    assert not registry.log_keys(GATEWAY.uri, stated)


def test_compromise_is_neither_taken_back_nor_moved_later_nor_foretold(desk, tmp_path):
    (key,) = load_signing_keys(folder(tmp_path, GATEWAY).keys)
    once = editing.compromise_key(desk.draft(), GATEWAY.uri, key.key_id, int(NOW), NOW)
    with pytest.raises(ConflictError):
        editing.compromise_key(once, GATEWAY.uri, key.key_id, int(NOW) + 1, NOW + 10)
    earlier = editing.compromise_key(once, GATEWAY.uri, key.key_id, int(NOW) - 100, NOW)
    assert editing.find_party(earlier, GATEWAY.uri).keys[0].compromised == int(NOW) - 100
    with pytest.raises(MalformedError):
        editing.compromise_key(desk.draft(), GATEWAY.uri, key.key_id, int(NOW) + 1, NOW)


def edit_first_key(draft, **changes):
    party = draft.parties[0]
    keys = (replace(party.keys[0], **changes), *party.keys[1:])
    return replace(draft, parties=(replace(party, keys=keys), *draft.parties[1:]))


def test_draft_edited_by_hand_cannot_void_published_signatures(desk):
    draft = desk.draft()
    first = draft.parties[0].keys[0]
    other_key = draft.parties[0].keys[0]
    bad = [
        replace(draft, parties=draft.parties[1:]),
        replace(draft, parties=(replace(draft.parties[0], keys=()), *draft.parties[1:])),
        edit_first_key(draft, not_after=int(NOW) + 5),
        edit_first_key(draft, not_before=int(NOW) + 5),
        edit_first_key(draft, kid=other_key.kid + "x"),
    ]
    for edited in bad:
        desk.save(edited)
        with pytest.raises(ConflictError):
            desk.sign(NOW + 100)
    desk.save(edit_first_key(draft, compromised=int(NOW)))
    desk.sign(NOW + 100)
    desk.save(edit_first_key(desk.draft(), compromised=None))
    with pytest.raises(ConflictError):
        desk.sign(NOW + 100)
    assert first.not_after > NOW + 100


def test_version_is_never_signed_twice_even_if_the_draft_fell_behind(desk):
    before = desk.draft()
    assert desk.sign(NOW + 1).version == 2
    desk.save(before)  # as after a crash between publishing and saving the draft, or a restored backup
    assert desk.sign(NOW + 2).version == 3


def test_published_registry_changed_on_disk_stops_signing(desk):
    token = desk.registry_file.read_text()
    desk.registry_file.write_text(token[:-8] + "AAAAAAAA")
    with pytest.raises(HeyanError):
        desk.sign(NOW)


def test_retired_key_ends_now_or_later_never_in_the_past(desk):
    kid = editing.find_party(desk.draft(), GATEWAY.uri).keys[0].kid
    with pytest.raises(MalformedError):
        editing.retire_key(desk.draft(), GATEWAY.uri, kid, int(NOW) - 1, NOW)
    desk.save(editing.retire_key(desk.draft(), GATEWAY.uri, kid, int(NOW) + 10, NOW))
    registry = desk.sign(NOW)
    assert registry.log_keys(GATEWAY.uri, NOW + 10)
    assert not registry.log_keys(GATEWAY.uri, NOW + 11)


def test_key_of_one_party_is_not_listed_for_another(desk):
    stolen = editing.find_party(desk.draft(), ENROL.uri).keys[0]
    with pytest.raises(ConflictError):
        editing.add_key(desk.draft(), POLICE.uri, replace(stolen, kid="mine", use=KeyUse.ANSWER))


def test_party_is_listed_once_and_one_that_signed_stays(desk):
    with pytest.raises(ConflictError):
        editing.add_party(desk.draft(), entry_of(POLICE))
    with pytest.raises(ConflictError):
        editing.remove_party(desk.draft(), POLICE.uri)
    desk.save(editing.remove_party(desk.draft(), AUDITOR.uri))
    assert AUDITOR.uri not in {party.id for party in desk.sign(NOW).document.parties}
    with pytest.raises(NotFoundError):
        editing.find_party(desk.draft(), AUDITOR.uri)


def test_rotated_sealing_key_is_preferred_and_the_old_one_opens_until_its_end(desk, tmp_path):
    place = folder(tmp_path, POLICE)
    (old,) = desk.published().sealing_keys(POLICE.uri, NOW)
    week = NOW + 7 * 86_400
    new, destroyed = desk.rotate_sealing_key(POLICE.uri, place, week)
    registry = desk.sign(week)
    assert destroyed == ()
    assert [key.kid for key in registry.sealing_keys(POLICE.uri, week + START_DELAY)] == [new.kid, old.kid]
    assert registry.sealing_keys(POLICE.uri, week + START_DELAY)[1].not_after == old.not_after
    later = old.not_after + 86_401
    _, destroyed = desk.rotate_sealing_key(POLICE.uri, place, later)
    assert destroyed == (old.kid,)
    assert old.kid not in load_sealing_keys(place.sealing)
    assert new.kid in load_sealing_keys(place.sealing)
    _, destroyed = desk.rotate_sealing_key(POLICE.uri, place, later + 60 * 86_400)
    assert old.kid not in {key.kid for key in editing.find_party(desk.draft(), POLICE.uri).department.sealing_keys}


def test_rotation_of_what_the_party_does_not_have_is_refused(desk, tmp_path):
    with pytest.raises(MalformedError):
        desk.rotate_signing_key(POLICE.uri, KeyUse.LOG, folder(tmp_path, POLICE), NOW)
    with pytest.raises(MalformedError):
        desk.rotate_sealing_key(GATEWAY.uri, folder(tmp_path, GATEWAY), NOW)
    with pytest.raises(NotFoundError):
        desk.renew_certificate("spiffe://heyan/gateway/other", folder(tmp_path, GATEWAY), NOW)


def test_coverage_and_channels_are_edited_where_they_exist(desk):
    draft = editing.set_channels(desk.draft(), POLICE.uri, ["a:1", "b:2"])
    draft = editing.set_channels(draft, GATEWAY.uri, ["c:3"])
    draft = editing.set_coverage(draft, POLICE.uri, [Coverage(("identity.valid@1",), ("4301",))])
    desk.save(draft)
    registry = desk.sign(NOW)
    assert registry.node_for("identity.valid@1", "430102").department.channels == ("a:1", "b:2")
    assert registry.party(GATEWAY.uri).gateway.channels == ("c:3",)
    with pytest.raises(MalformedError):
        editing.set_channels(draft, ENROL.uri, ["d:4"])
    with pytest.raises(MalformedError):
        editing.set_coverage(draft, POLICE.uri, [Coverage(("property.owns_home@1",), ("43",))])


@pytest.mark.parametrize(
    "damage",
    [
        lambda value: value.update(surprise=1),
        lambda value: value["parties"][0].update(id="spiffe://elsewhere/gateway/x"),
        lambda value: value["parties"][1].pop("department"),
        lambda value: value["claims"][0].update(claim="no.such@1"),
        lambda value: value.pop("parties"),
    ],
)
def test_draft_edited_into_nonsense_is_refused_with_its_place(desk, damage):
    path = desk.folder / "draft.json"
    value = json.loads(path.read_bytes())
    damage(value)
    path.write_text(json.dumps(value))
    with pytest.raises(MalformedError) as refused:
        desk.draft()
    assert refused.value.violations


def test_parties_read_what_the_desk_signs_with_the_pinned_key_only(desk, tmp_path):
    other = Desk.create(tmp_path / "other", "test", NOW)
    assert open_registry(desk.published().token, operator_key(desk.vkey), NOW).version == 1
    with pytest.raises(ForgedError):
        open_registry(desk.published().token, operator_key(other.vkey), NOW)


NEXT_LOG = "log.hunan.example/2"


def test_log_that_goes_on_is_listed_behind_those_that_ended(desk):
    first = desk.published().party(GATEWAY.uri).gateway.log_origin
    for number, origin in enumerate((NEXT_LOG, "log.hunan.example/3"), 2):
        desk.save(editing.go_on_as(desk.draft(), GATEWAY.uri, origin))
        assert desk.sign(NOW).version == number
    terms = desk.published().party(GATEWAY.uri).gateway
    assert terms.origins == (first, NEXT_LOG, "log.hunan.example/3")


@pytest.mark.parametrize("origin", ["", "two words", "plus+sign", "line\nbreak"])
def test_origin_that_no_key_could_bear_is_refused(desk, origin):
    with pytest.raises(MalformedError):
        editing.go_on_as(desk.draft(), GATEWAY.uri, origin)


def test_origin_of_a_log_that_is_or_was_is_refused(desk):
    first = desk.draft()
    origin = editing.find_party(first, GATEWAY.uri).gateway.log_origin
    second = editing.go_on_as(first, GATEWAY.uri, NEXT_LOG)
    for taken in (origin, NEXT_LOG):
        with pytest.raises(ConflictError):
            editing.go_on_as(second, GATEWAY.uri, taken)
    with pytest.raises(MalformedError):
        editing.go_on_as(first, POLICE.uri, "log.police.example")


@pytest.mark.parametrize("change", [{"ended_origins": ()}, {"log_origin": "log.x", "ended_origins": ("log.y",)}])
def test_log_that_was_published_does_not_vanish_from_the_registry(desk, change):
    desk.save(editing.go_on_as(desk.draft(), GATEWAY.uri, NEXT_LOG))
    desk.sign(NOW)
    draft = desk.draft()
    terms = editing.find_party(draft, GATEWAY.uri).gateway
    parties = tuple(
        replace(party, gateway=replace(terms, **change)) if party.gateway is not None else party
        for party in draft.parties
    )
    desk.save(replace(draft, parties=parties))
    with pytest.raises(ConflictError):
        desk.sign(NOW)
