"""The commands as a person types them, against the real clock."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.cli.registry import app
from gateway.operator.authority import request_certificate
from gateway.operator.desk import Desk
from gateway.operator.document import add_key, find_party
from gateway.operator.enrolment import PartyFolder
from gateway.party.config import RegistryFiles
from gateway.party.keyfiles import Watched, load_signing_keys, newest_usable
from gateway.party.registry_keeper import RegistryKeeper
from gateway.party.tls import load_material
from gateway.protocol.errors import ConflictError, HeyanError, MalformedError, NotFoundError
from gateway.protocol.registry_terms import Document, KeyUse
from tests.party.conftest import AUDITOR, ENROL, GATEWAY, POLICE, entry_of


def run(*arguments: object) -> object:
    return app([str(argument) for argument in arguments], result_action="return_value", exit_on_error=False)


@pytest.fixture
def desk(tmp_path: Path, capsys) -> Path:
    path = tmp_path / "desk"
    run("init", "test", "--desk", path)
    for identity in (GATEWAY, POLICE):
        entry = tmp_path / f"{identity.name}.json"
        entry.write_bytes(msgspec.json.encode(entry_of(identity)))
        run("add", entry, "--desk", path, "--folder", tmp_path / identity.name)
    run("sign", "--desk", path)
    capsys.readouterr()
    return path


def shown(desk: Path, capsys) -> dict:
    run("show", "--desk", desk, "--json")
    return json.loads(capsys.readouterr().out)


def keys_of(show: dict, identity) -> list[dict]:
    return next(party["keys"] for party in show["document"]["parties"] if party["id"] == identity.uri)


def test_init_prints_the_key_to_pin(tmp_path, capsys):
    run("init", "test", "--desk", tmp_path / "desk")
    assert Desk.open(tmp_path / "desk").vkey in capsys.readouterr().out.replace("\n", " ").split()
    with pytest.raises(ConflictError):
        run("init", "test", "--desk", tmp_path / "desk")


def test_show_verifies_and_lists_for_people_and_programs(desk, capsys):
    show = shown(desk, capsys)
    assert (show["version"], show["expired"]) == (1, False)
    assert len(keys_of(show, POLICE)) == 1
    run("show", "--desk", desk)
    assert "version 1" in capsys.readouterr().out
    registry = desk / "registry.jws"
    run("show", "--file", registry, "--vkey", Desk.open(desk).vkey, "--json")
    assert json.loads(capsys.readouterr().out) == show
    with pytest.raises(MalformedError, match="--vkey"):
        run("show", "--file", registry)


def test_show_refuses_a_tampered_registry(desk):
    path = desk / "registry.jws"
    path.write_text(path.read_text()[:-8] + "AAAAAAAA")
    with pytest.raises(HeyanError):
        run("show", "--desk", desk)


@pytest.mark.parametrize(("what", "identity"), [("answer", POLICE), ("log", GATEWAY), ("sealing", POLICE)])
def test_rotate_writes_the_key_and_signs_the_registry(desk, tmp_path, capsys, what, identity):
    place = PartyFolder(tmp_path / identity.name)
    files = place.sealing if what == "sealing" else place.keys
    run("rotate", what, identity.uri, "--desk", desk, "--folder", place.path, "--delay", 0)
    assert len(list(files.iterdir())) == 2
    capsys.readouterr()
    assert shown(desk, capsys)["version"] == 2


def test_running_party_signs_with_the_rotated_key_without_restart(desk, tmp_path):
    place = PartyFolder(tmp_path / POLICE.name)
    opened = Desk.open(desk)
    files = RegistryFiles(source=opened.registry_file, operator_vkey=opened.vkey, seen=place.path / "seen")
    keeper = RegistryKeeper(files, time.time)
    keys = Watched((place.keys,), lambda: load_signing_keys(place.keys))

    def signer() -> str:
        return newest_usable(keys.value, keeper.current(), POLICE.uri, KeyUse.ANSWER, time.time()).key_id

    old = signer()
    run("rotate", "answer", POLICE.uri, "--desk", desk, "--folder", place.path, "--delay", 0)
    assert keeper.refresh()
    assert signer() == old  # the registry came first: the party goes on with what it holds
    assert keys.refresh()
    assert signer() != old
    assert keeper.current().key(POLICE.uri, KeyUse.ANSWER, old, time.time())


def test_rotate_certificate_leaves_a_matching_pair(desk, tmp_path):
    place = PartyFolder(tmp_path / POLICE.name)
    before = load_material(place.tls)
    run("rotate", "certificate", POLICE.uri, "--desk", desk, "--folder", place.path)
    after = load_material(place.tls)
    assert after.identity == POLICE
    assert after.certificate != before.certificate


def test_compromise_takes_a_time_with_its_offset_only(desk, capsys):
    kid = keys_of(shown(desk, capsys), POLICE)[0]["kid"]
    with pytest.raises(MalformedError, match="offset"):
        run("compromise", POLICE.uri, kid, "--desk", desk, "--at", "2026-01-01T00:00:00")
    with pytest.raises(MalformedError, match="ISO 8601"):
        run("compromise", POLICE.uri, kid, "--desk", desk, "--at", "yesterday")
    with pytest.raises(NotFoundError):
        run("compromise", POLICE.uri, "no-such", "--desk", desk, "--at", "2026-01-01T08:00:00+08:00")
    run("compromise", POLICE.uri, kid, "--desk", desk, "--at", "2026-01-01T08:00:00+08:00")
    capsys.readouterr()
    assert keys_of(shown(desk, capsys), POLICE)[0]["compromised"] == 1767225600


def test_certificate_from_a_request_is_the_stated_partys(desk, tmp_path, capsys):
    request = tmp_path / "police.csr"
    request.write_bytes(request_certificate(GATEWAY, ec.generate_private_key(ec.SECP256R1())))
    run("certificate", POLICE.uri, request, "--desk", desk, "--out", tmp_path / "police.pem")
    certificate = x509.load_pem_x509_certificate((tmp_path / "police.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [POLICE.uri]
    capsys.readouterr()
    run("certificate", POLICE.uri, request, "--desk", desk)
    assert x509.load_pem_x509_certificate(capsys.readouterr().out.encode())
    with pytest.raises(NotFoundError):
        run("certificate", AUDITOR.uri, request, "--desk", desk)


def test_request_made_with_openssl_is_served(desk, tmp_path):
    command = (
        "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=any -keyout k.pem -out r.csr"
    )
    try:
        subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no openssl here")
    run("certificate", POLICE.uri, tmp_path / "r.csr", "--desk", desk, "--out", tmp_path / "c.pem")
    assert (tmp_path / "c.pem").exists()


def test_desk_may_come_from_the_environment(desk, capsys, monkeypatch):
    monkeypatch.setenv("HEYAN_DESK", str(desk))
    run("show", "--json")
    assert json.loads(capsys.readouterr().out)["version"] == 1


@pytest.mark.parametrize(
    "command", ["init", "add", "sign", "rotate", "show", "certificate", "compromise", "staff", "retire"]
)
def test_every_command_explains_itself_with_an_example(command, capsys):
    run(command, "--help")
    out = capsys.readouterr().out
    assert f"heyan registry {command}" in " ".join(out.split())


# -- staff ----------------------------------------------------------------------------------------------------


@pytest.fixture
def school(desk: Path, tmp_path: Path, capsys) -> PartyFolder:
    entry = tmp_path / "enrol.json"
    entry.write_bytes(msgspec.json.encode(entry_of(ENROL)))
    place = PartyFolder(tmp_path / ENROL.name)
    run("add", entry, "--desk", desk, "--folder", place.path)
    run("staff", ENROL.uri, "0042", "--desk", desk, "--folder", place.path)
    capsys.readouterr()
    return place


def staff_of(desk: Path, capsys) -> list[dict]:
    return [key for key in keys_of(shown(desk, capsys), ENROL) if key["use"] == "staff"]


def test_staff_member_gets_a_private_key_that_the_registry_lists(desk, school, capsys):
    (key,) = staff_of(desk, capsys)
    assert key["kid"].startswith("staff-0042-")
    (file,) = school.staff.iterdir()
    assert (file.stem, file.stat().st_mode & 0o777) == (key["kid"], 0o600)
    registry = Desk.open(desk).published()
    assert newest_usable(load_signing_keys(school.staff), registry, ENROL.uri, KeyUse.STAFF, time.time())
    assert file.stem not in {path.stem for path in school.keys.iterdir()}  # the query service never loads it


def test_several_members_have_keys_of_their_own_and_one_leaves(desk, school, capsys):
    run("staff", ENROL.uri, "0043", "--desk", desk, "--folder", school.path)
    capsys.readouterr()
    one, other = staff_of(desk, capsys)
    run("retire", ENROL.uri, one["kid"], "--desk", desk)
    registry, later = Desk.open(desk).published(), time.time() + 2
    assert [key.key_id for key in registry.keys(ENROL.uri, KeyUse.STAFF, later)] == [other["kid"]]
    assert registry.key(ENROL.uri, KeyUse.STAFF, one["kid"], time.time() - 60)  # what it signed stays good


def test_staff_key_of_no_requester_or_of_a_persons_name_is_refused(desk, school):
    with pytest.raises(MalformedError, match="requester"):
        run("staff", POLICE.uri, "0042", "--desk", desk, "--folder", school.path)
    with pytest.raises(MalformedError, match="staff number"):
        run("staff", ENROL.uri, "Zhang San", "--desk", desk, "--folder", school.path)


def test_draft_with_a_staff_key_of_a_department_is_refused(desk, school):
    opened = Desk.open(desk)
    (staff,) = (key for key in find_party(opened.draft(), ENROL.uri).keys if key.use is KeyUse.STAFF)
    with pytest.raises(MalformedError, match="requester"):
        add_key(remove_keys(opened.draft(), ENROL.uri), POLICE.uri, staff)


def remove_keys(document: Document, party: str) -> Document:
    parties = tuple(
        msgspec.structs.replace(entry, keys=()) if entry.id == party else entry for entry in document.parties
    )
    return msgspec.structs.replace(document, parties=parties)


def test_only_key_of_its_use_is_not_retired(desk, school, capsys):
    (query,) = (key for key in keys_of(shown(desk, capsys), ENROL) if key["use"] == "query")
    with pytest.raises(MalformedError, match="rotate"):
        run("retire", ENROL.uri, query["kid"], "--desk", desk)
    with pytest.raises(NotFoundError):
        run("retire", ENROL.uri, "no-such", "--desk", desk)


def test_next_log_is_signed_at_once_and_says_what_to_do_where_the_gateway_runs(desk, capsys):
    run("next-log", GATEWAY.uri, "log.hunan.example/2", "--desk", desk)
    said = capsys.readouterr().out
    assert "heyan log freeze --config SETTINGS.toml --next-origin log.hunan.example/2" in said
    parties = shown(desk, capsys)["document"]["parties"]
    terms = next(party["gateway"] for party in parties if party["id"] == GATEWAY.uri)
    assert terms["log_origin"] == "log.hunan.example/2"
    assert len(terms["ended_origins"]) == 1
