"""A sandbox's folder: made whole, refused with other values, and fresh again however long it was left."""

from __future__ import annotations

import io
import shutil
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from cryptography import x509
from rich.console import Console

from gateway.cli import sandbox_make
from gateway.cli.endpoints import read_endpoints
from gateway.cli.guardians import Guardians
from gateway.cli.sandbox import GATEWAY, ISSUER, LOG_ORIGIN, POLICY_FILE, Asked, Sandbox, held, settle
from gateway.cli.sandbox_begin import being_made
from gateway.cli.sandbox_make import make
from gateway.cli.sandbox_renew import renew
from gateway.cli.sandbox_witnesses import tell_witnesses
from gateway.cli.supervisor import free_port_base
from gateway.cli.up import _Follower, _renew, _summary, open_sandbox
from gateway.config import GatewayConfig
from gateway.log_signers import LogSigners
from gateway.operator.desk import Desk
from gateway.operator.document import go_on_as
from gateway.operator.enrolment import USE_OF_ROLE, PartyFolder
from gateway.party.keyfiles import load_signing_keys, newest_usable
from gateway.protocol.claims import claim_named
from gateway.protocol.divisions import counties_of
from gateway.protocol.errors import MalformedError
from gateway.protocol.identities import PartyRole
from gateway.protocol.keys import Algorithm
from gateway.protocol.matrix import Group
from gateway.protocol.note import ED25519, ML_DSA_44, VerifierKey
from gateway.protocol.registry_terms import KeyUse
from gateway.rules.layering import rules_of
from gateway.rules.shelf import open_shelf
from gateway.rules.windows import window_at
from gateway.witness.config import WitnessConfig
from gateway.witness.files import read_logs
from gateway.witnessing.policy_file import read_policy
from sandbox_departments.truth import read_truth

DAY = 86_400
CONSOLE = Console(file=StringIO())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sandbox") / "run"
    asked = Asked(seed=3, population=20, prefectures=("4301",), port_base=free_port_base())
    make(Sandbox(folder, settle(folder, asked)))
    return folder


def sandbox_of(folder: Path) -> Sandbox:
    return Sandbox(folder, settle(folder, Asked()))


def test_every_file_of_endpoints_exists_and_secrets_are_private(folder: Path) -> None:
    endpoints = read_endpoints(folder)
    files = [endpoints.ca, endpoints.registry, endpoints.truth, endpoints.guardians, f"{endpoints.rules}/43.toml"]
    for requester in endpoints.requesters.values():
        assert requester.staff_key is not None
        files += [requester.cert, requester.key, requester.signing_key, requester.staff_key]
    for auditor in endpoints.auditors.values():
        files += [auditor.cert, auditor.key]
    assert [file for file in files if not (folder / file).is_file()] == []
    assert endpoints.gateway.log_url == f"https://localhost:{sandbox_of(folder).log_port}/0"
    secrets = [
        *folder.rglob("*.key"),
        *folder.rglob("key.pem"),
        *folder.rglob("keys/*.pem"),
        *folder.rglob("staff/*.pem"),
    ]
    secrets.append(folder / "gateway/kek")
    assert len(secrets) > 20
    assert [path.name for path in secrets if path.stat().st_mode & 0o077] == []


def test_gateway_serves_by_the_sandboxes_rules_and_nobody_lives_in_the_closed_county(folder: Path) -> None:
    endpoints = read_endpoints(folder)
    config = GatewayConfig.from_file(folder / "gateway/settings.toml")
    assert config.rules is not None
    assert config.rules.resolve() == (folder / endpoints.rules).resolve()
    assert endpoints.closed == settle(folder, Asked()).closed == "430182"
    truths = list(read_truth(folder / endpoints.truth))
    assert len(truths) == 20
    assert endpoints.closed not in {truth.application.region for truth in truths}
    packs, now = open_shelf(folder / endpoints.rules), time.time()
    for county in counties_of("4301"):
        is_open = window_at(rules_of(county, packs).windows, now) is not None
        assert is_open == (county != endpoints.closed)


def test_continuing_a_sandbox_moves_its_windows_along(folder: Path, tmp_path: Path) -> None:
    copied = tmp_path / "run"
    shutil.copytree(folder, copied)
    later = time.time() + 45 * DAY
    assert "rehearsal window of 430103" in renew(sandbox_of(copied), later)
    packs = open_shelf(copied / "rules")
    assert window_at(rules_of("430103", packs).windows, later)
    assert not window_at(rules_of("430182", packs).windows, later)


def test_guardians_consent_to_whatever_their_county_may_ask_them_for_the_school(folder: Path) -> None:
    guardians = Guardians(folder)
    for truth in read_truth(folder / "truth.jsonl"):
        application = truth.application
        details = guardians.details(application)
        assert {claim for detail in details for claim in detail.claims} == {claim for claim, *_ in truth.outcomes}
        assert {detail.regions for detail in details} == {(application.region,)}
        kinds = [{claim_named(claim).department for claim in detail.claims} for detail in details]
        assert len(set().union(*kinds)) == sum(map(len, kinds)) == len(details)  # no department is shown another's


def test_families_of_4301_consent_to_insurance_and_to_fields_whatever_their_group(folder: Path) -> None:
    guardians = Guardians(folder)
    public = [truth.application for truth in read_truth(folder / "truth.jsonl") if truth.application.school.is_public]
    assert {application.group for application in public} > {Group.HOME_AND_HUKOU, Group.NEITHER}
    for application in public:
        claims = {claim for detail in guardians.details(application) for claim in detail.claims}
        assert claims >= {"insurance.paid_months@1", "hukou.guardian_registered@1", "enrolment.field_on_file@1"}


async def test_pack_that_is_being_edited_stops_no_running_federation(folder: Path, tmp_path: Path) -> None:
    copied = tmp_path / "run"
    shutil.copytree(folder, copied)
    with (copied / "rules/430103.toml").open("a", encoding="utf-8") as pack:
        pack.write("[[windows]]\nname = half a sent")
    said = io.StringIO()
    await _renew(sandbox_of(copied), Console(file=said, width=200))
    assert "not renewed: RULES_INVALID" in said.getvalue()


def test_pack_that_is_wrong_at_start_is_told_by_file_and_line(folder: Path, tmp_path: Path) -> None:
    copied = tmp_path / "run"
    shutil.copytree(folder, copied)
    wrong = copied / "rules/430103.toml"
    wrong.write_text("format = 1\n", encoding="utf-8")
    with pytest.raises(MalformedError) as refused:
        open_sandbox(copied, Asked(), CONSOLE)
    assert refused.value.violations[0].field.startswith(f"{wrong}:1: region")


def test_summary_names_the_county_that_is_closed(folder: Path) -> None:
    assert "enrolment is open everywhere but in 430182 (宁乡市)" in _summary(sandbox_of(folder))


def test_sandbox_goes_on_with_what_it_was_made_with(folder: Path) -> None:
    made = settle(folder, Asked())
    assert (made.seed, made.population, made.prefectures) == (3, 20, ("4301",))
    assert settle(folder, Asked(seed=3)) == made


@pytest.mark.parametrize(
    "asked", [Asked(seed=4), Asked(population=21), Asked(prefectures=("4303",)), Asked(port_base=1)]
)
def test_sandbox_of_other_values_is_refused(folder: Path, asked: Asked) -> None:
    with pytest.raises(MalformedError):
        settle(folder, asked)


def test_folder_that_is_no_sandbox_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(MalformedError):
        held(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


ASKED = Asked(seed=3, population=5, prefectures=("4301",), port_base=free_port_base())


@pytest.mark.parametrize("cut", ["_make_secrets", "write_truth", "write_endpoints"])
def test_making_cut_short_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: str) -> None:
    def interrupted(*_arguments: object) -> None:
        raise KeyboardInterrupt

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(sandbox_make, cut, interrupted)
        with pytest.raises(KeyboardInterrupt):
            open_sandbox(folder, ASKED, CONSOLE)
    assert (folder / "operator/operator.key").exists()
    assert held(folder) is None
    open_sandbox(folder, replace(ASKED, seed=4), CONSOLE)  # what was not made binds nobody
    made = held(folder)
    assert made is not None
    assert made.seed == 4
    assert not (folder / ".making").exists()


def test_folder_that_another_process_makes_is_left_alone(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path / "run", settle(tmp_path / "run", ASKED))
    with being_made(sandbox):
        (sandbox.folder / "operator").mkdir()
        with pytest.raises(MalformedError, match="being made"), being_made(sandbox):
            pytest.fail("two make one folder")
        assert (sandbox.folder / "operator").is_dir()


def test_folder_that_another_process_has_just_made_is_left_alone(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path / "run", settle(tmp_path / "run", ASKED))
    make(sandbox)
    key = (sandbox.folder / "operator/operator.key").read_bytes()
    with pytest.raises(MalformedError, match="just been made"), being_made(sandbox):
        pytest.fail("made twice")
    assert (sandbox.folder / "operator/operator.key").read_bytes() == key


def test_letter_left_in_a_half_made_folder_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".making").touch()
    (folder / "letter.txt").write_text("dear")
    with pytest.raises(MalformedError, match="something else"):
        open_sandbox(folder, ASKED, CONSOLE)
    assert (folder / "letter.txt").read_text() == "dear"


def test_what_making_leaves_is_known(folder: Path) -> None:
    known = {path.name for path in sandbox_of(folder).parts} | {"sandbox.json"}
    assert {path.name for path in folder.iterdir()} <= known


@pytest.mark.parametrize("codes", [("9999",), ("4301", "4301"), ("430102",)])
def test_unknown_prefectures_are_refused(tmp_path: Path, codes: tuple[str, ...]) -> None:
    with pytest.raises(MalformedError):
        settle(tmp_path / "run", Asked(prefectures=codes))


def test_sandbox_with_a_second_log_key_signs_with_it_and_renews_it(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    asked = Asked(seed=3, population=5, prefectures=("4301",), port_base=free_port_base(), post_quantum=True)
    sandbox = Sandbox(folder, settle(folder, asked))
    make(sandbox)
    assert settle(folder, Asked()).post_quantum
    with pytest.raises(MalformedError, match="--post-quantum"):
        settle(folder, Asked(post_quantum=False))
    vkey = VerifierKey.parse(read_endpoints(folder).gateway.log_vkey)
    now = time.time()
    for moment in (now, now + 360 * DAY):
        renewed = renew(sandbox, moment)
        assert ("ML-DSA-44 log key of main" in renewed) == (moment != now)
        registry = Desk.open(sandbox.desk_folder).published()
        assert registry is not None
        signers = LogSigners(
            gateway=GATEWAY.uri,
            keys=lambda: load_signing_keys(sandbox.folder_of(GATEWAY) / "keys"),
            registry=lambda held=registry: held,
            clock=lambda at=moment: at + 60,
        )(LOG_ORIGIN)
        assert {signer.verifier.algorithm for signer in signers} == {ED25519, ML_DSA_44}
        assert renew(sandbox, moment) == []
    assert vkey.algorithm == ED25519


def test_fresh_sandbox_needs_no_renewal(folder: Path) -> None:
    assert renew(sandbox_of(folder), time.time()) == []


@pytest.mark.parametrize("days", [8, 26, 60, 500])
def test_sandbox_left_alone_for_days_is_fresh_at_once(tmp_path: Path, days: int) -> None:
    folder = tmp_path / "run"
    asked = Asked(seed=3, population=5, prefectures=("4301",), port_base=free_port_base())
    sandbox = Sandbox(folder, settle(folder, asked))
    make(sandbox)
    now = time.time() + days * DAY
    assert renew(sandbox, now)
    registry = Desk.open(sandbox.desk_folder).published()
    assert registry is not None
    registry.require_current(now)
    for identity in (GATEWAY, ISSUER, *sandbox.nodes.values(), *sandbox.requesters):
        own = PartyFolder(sandbox.folder_of(identity))
        assert newest_usable(load_signing_keys(own.keys), registry, identity.uri, USE_OF_ROLE[identity.role], now)
        certificate = x509.load_pem_x509_certificate(own.tls.certificate.read_bytes())
        assert certificate.not_valid_after_utc.timestamp() > now
        if identity.role is PartyRole.DEPARTMENT:
            assert registry.sealing_keys(identity.uri, now)
    assert renew(sandbox, now) == []


def with_witnesses(folder: Path, witnesses: int) -> Sandbox:
    asked = Asked(seed=3, population=5, prefectures=("4301",), port_base=free_port_base(), witnesses=witnesses)
    return Sandbox(folder, settle(folder, asked))


def test_witnesses_are_made_with_keys_and_settings_of_their_own(tmp_path: Path) -> None:
    sandbox = with_witnesses(tmp_path / "run", 3)
    make(sandbox)
    endpoints = read_endpoints(sandbox.folder)
    assert endpoints.policy is not None
    policy = read_policy(sandbox.folder / endpoints.policy)
    assert policy.groups[0].threshold == 2
    assert {each.name: (each.url, each.key.format()) for each in policy.witnesses} == {
        name: (each.url, each.vkey) for name, each in endpoints.witnesses.items()
    }
    assert [log.key.format() for log in policy.logs] == [endpoints.gateway.log_vkey]
    gateway = GatewayConfig.from_file(sandbox.folder_of(GATEWAY) / "settings.toml")
    assert gateway.witness_policy is not None
    assert read_policy(gateway.witness_policy) == policy
    for process in (each for each in sandbox.processes() if each.name in endpoints.witnesses):
        config = WitnessConfig.from_file(process.folder / "witness.toml")
        assert (config.listen, config.probes) == (f"127.0.0.1:{process.port}", f"127.0.0.1:{process.probes}")
        assert (process.folder / "key").stat().st_mode & 0o077 == 0
        (keys,) = read_logs(config.logs).values()
        assert [key.format() for key in keys] == [endpoints.gateway.log_vkey]
    ports = [port for each in sandbox.processes() for port in (each.port, each.probes, each.log_port) if port]
    assert len(set(ports)) == len(ports)
    assert renew(sandbox, time.time()) == []


def test_sandbox_without_witnesses_has_no_policy(folder: Path) -> None:
    endpoints = read_endpoints(folder)
    assert (endpoints.policy, endpoints.witnesses) == (None, {})
    assert GatewayConfig.from_file(sandbox_of(folder).folder_of(GATEWAY) / "settings.toml").witness_policy is None
    for count in (2, -1, 99):
        with pytest.raises(MalformedError):
            settle(folder, Asked(witnesses=count))


async def test_witnesses_are_told_of_a_rotated_log_key_before_it_signs(tmp_path: Path) -> None:
    """By an operator's hand, while everything runs: nothing is renewed meanwhile."""
    sandbox = with_witnesses(tmp_path / "run", 1)
    make(sandbox)
    follower = _Follower(sandbox)
    await follower.look()
    logs, policy = sandbox.witness_folder("witness-1") / "logs", sandbox.folder / POLICY_FILE
    before = logs.read_bytes(), policy.read_bytes()
    await follower.look()
    desk, now = Desk.open(sandbox.desk_folder), time.time()
    desk.rotate_signing_key(GATEWAY.uri, KeyUse.LOG, PartyFolder(sandbox.folder_of(GATEWAY)), now)
    desk.rotate_signing_key(
        GATEWAY.uri, KeyUse.LOG, PartyFolder(sandbox.folder_of(GATEWAY)), now, algorithm=Algorithm.ML_DSA_44
    )
    await follower.look()
    assert (logs.read_bytes(), policy.read_bytes()) == before  # a draft is nobody's word
    desk.sign(now)
    await follower.look()
    (keys,) = read_logs(logs).values()
    assert [key.algorithm for key in keys] == [ED25519, ED25519, ML_DSA_44]
    assert len(read_policy(policy).logs) == 2
    assert logs.read_bytes().startswith(before[0])  # the old key counts on


def test_policy_of_logs_that_follow_each_other_under_one_key_leaves_them_to_the_registry(tmp_path: Path) -> None:
    sandbox = with_witnesses(tmp_path / "run", 1)
    make(sandbox)
    desk, now = Desk.open(sandbox.desk_folder), time.time()
    desk.save(go_on_as(desk.draft(), GATEWAY.uri, "log.main.heyan.internal/2028"))
    assert tell_witnesses(sandbox, desk.sign(now)) == ["log keys of witness-1", "policy of witnesses"]
    assert list(read_logs(sandbox.witness_folder("witness-1") / "logs")) == [LOG_ORIGIN, "log.main.heyan.internal/2028"]
    policy = read_policy(sandbox.folder / POLICY_FILE)
    assert policy.logs == ()
    assert len(policy.witnesses) == 1


def test_gateway_has_as_many_workers_as_this_run_asks_for(folder: Path) -> None:
    made = settle(folder, Asked(gateway_workers=3))  # a folder is made with none, and refuses none
    words = [each.words for each in Sandbox(folder, made, 3).processes() if each.name == "gateway"]
    assert words[0][:4] == ("gateway", "serve", "--workers", "3")
    assert [each.words for each in Sandbox(folder, made).processes() if "--workers" in each.words] == []
