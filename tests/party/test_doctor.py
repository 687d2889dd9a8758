from __future__ import annotations

import asyncio
import json
import re
import socket
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from gateway.cli.doctor import app, examine_folder, examine_party
from gateway.operator import document as editing
from gateway.operator.authority import Authority
from gateway.operator.enrolment import enrol_certificate
from gateway.party.config import PartyConfig
from gateway.party.diagnosis import Level
from gateway.party.diagnosis_ports import check_ports
from gateway.party.tls import server_credentials
from gateway.protocol.codec import to_timestamp
from gateway.protocol.errors import MalformedError
from heyan.v1 import department_service_pb2 as wire
from tests.party.conftest import ENROL, GATEWAY, POLICE
from tests.static_logs import leaves, write_log

DAY = 86_400


class Node(grpc.GenericRpcHandler):
    """A department that only describes itself, with a clock that may be wrong."""

    def __init__(self, clock, skew: float, version: int) -> None:
        self.answer = lambda: wire.DescribeResponse(
            department=POLICE.uri, clock_time=to_timestamp(clock() + skew), registry_version=version
        )

    def service(self, handler_call_details):
        if not handler_call_details.method.endswith("/Describe"):
            return None

        async def call(request, context):
            return self.answer().SerializeToString()

        return grpc.unary_unary_rpc_method_handler(call)


def write_config(federation, identity, listen="127.0.0.1:0") -> Path:
    place, files = federation.folder(identity), federation.registry_files(identity)
    path = place.path / "settings.toml"
    path.write_text(
        f'spiffe_id = "{identity.uri}"\nlisten = "{listen}"\nsomething_else = 1\n'
        '[tls]\ncertificate = "tls/certificate.pem"\nkey = "tls/key.pem"\nca = "tls/ca.pem"\n'
        f'[registry]\nsource = "{files.source}"\noperator_vkey = "{files.operator_vkey}"\nseen = "registry.seen"\n'
    )
    return path


@pytest.fixture
async def node(federation):
    """Starts the department (or another party) at a free port and lists it in the registry; its host:port."""
    servers = []

    async def start(skew: float = 0.0, version: int = 2, of=POLICE) -> str:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((Node(federation.clock, skew, version),))
        target = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', server_credentials(federation.watch(of)))}"
        await server.start()
        servers.append(server)
        federation.desk.save(editing.set_channels(federation.desk.draft(), of.uri, [target]))
        federation.desk.sign(federation.clock())
        return target

    yield start
    for server in servers:
        await server.stop(None)


def problems(findings) -> list[str]:
    return [f"{finding.topic}: {finding.text}" for _, finding in findings if finding.level is Level.PROBLEM]


async def test_all_well_is_said_without_problem(federation, node):
    await node()
    findings = await examine_party(write_config(federation, GATEWAY), federation.clock)
    assert {finding.level for _, finding in findings} == {Level.OK}
    assert any("clock differs" in finding.text for _, finding in findings)


@pytest.mark.parametrize(("skew", "words"), [(60.0, "ahead of"), (-60.0, "behind")])
async def test_skewed_clock_of_a_node_is_found(federation, node, skew, words):
    await node(skew)
    (problem,) = problems(await examine_party(write_config(federation, GATEWAY), federation.clock))
    told = re.search(rf"its clock is ([0-9.]+) s {words} ours", problem)
    assert told is not None
    assert float(told[1]) == pytest.approx(60.0, abs=5.0)  # less what the call took


async def test_node_with_an_old_registry_is_a_warning(federation, node):
    await node(version=1)
    findings = await examine_party(write_config(federation, GATEWAY), federation.clock)
    (warning,) = [finding for _, finding in findings if finding.level is Level.WARNING]
    assert "registry version 1, we 2" in warning.text


async def test_rule_packs_that_do_not_hold_are_named_by_file_and_line(federation, node, tmp_path):
    await node()
    config = write_config(federation, GATEWAY)
    pack = tmp_path / "packs" / "430102.toml"
    pack.parent.mkdir()
    pack.write_text("format = 1\n", encoding="utf-8")
    config.write_text(f'rules = "{pack.parent}"\n{config.read_text()}')
    (problem,) = problems(await examine_party(config, federation.clock))
    assert problem.startswith(f"rules: {pack}:1: region: must be there")


async def test_unreachable_node_is_found(federation):
    (problem,) = problems(await examine_party(write_config(federation, GATEWAY), federation.clock))
    assert POLICE.uri in problem
    assert "127.0.0.1:1" in problem


async def test_node_that_answers_as_another_is_found(federation, node):
    await node()
    enrol_certificate(federation.desk.authority, GATEWAY, federation.folder(POLICE), federation.clock())
    (problem,) = problems(await examine_party(write_config(federation, GATEWAY), federation.clock))
    assert "is not spiffe://heyan/department/police" in problem
    assert "ostname mismatch" in problem


async def test_certificate_of_another_ca_is_explained_on_our_side_and_in_the_handshake(federation, node):
    await node()
    stranger = Authority.create("stranger", federation.clock())
    enrol_certificate(stranger, GATEWAY, federation.folder(GATEWAY), federation.clock())
    federation.folder(GATEWAY).tls.ca.write_bytes(federation.desk.authority.pem)
    found = problems(await examine_party(write_config(federation, GATEWAY), federation.clock))
    assert "was not issued by" in found[0]
    assert "refuses the certificate" in found[1]


async def test_expired_certificate_keys_and_registry_are_found_with_what_to_do(federation):
    config = write_config(federation, POLICE)
    federation.clock.now += 400 * DAY
    findings = await examine_party(config, federation.clock)
    found = " ".join(problems(findings))
    assert "certificate of spiffe://heyan/department/police expired 370.0 days ago" in found
    assert "registry version 1 expired" in found
    assert "no signature key" in found
    assert all(finding.remedy for _, finding in findings if finding.level is Level.PROBLEM)


async def test_end_within_a_week_is_a_warning(federation):
    federation.clock.now += 25 * DAY
    findings = await examine_party(write_config(federation, POLICE), federation.clock)
    assert {finding.topic for _, finding in findings if finding.level is Level.WARNING} == {"certificate", "registry"}
    assert not problems(findings)


async def test_rolled_back_and_forked_registry_are_found(federation):
    config = write_config(federation, POLICE)
    seen = federation.registry_files(POLICE).seen
    first = federation.desk.registry_file.read_text()
    seen.write_text(federation.desk.sign(federation.clock()).token)
    federation.desk.registry_file.write_text(first)
    (problem,) = problems(await examine_party(config, federation.clock))
    assert "rolled back: version 1, but 2 was seen" in problem
    federation.desk.registry_file.write_text("unsigned")
    (problem,) = problems(await examine_party(config, federation.clock))
    assert "is refused" in problem


async def test_readable_private_files_are_found(federation):
    config = write_config(federation, POLICE)
    place = federation.folder(POLICE)
    for path in (*place.keys.iterdir(), *place.sealing.iterdir()):
        path.chmod(0o644)
    found = problems(await examine_party(config, federation.clock))
    assert sum(problem.startswith("files:") and "has mode 0644" in problem for problem in found) == 2


async def test_party_missing_in_the_registry_is_found(federation):
    config = write_config(federation, POLICE)
    config.write_text(config.read_text().replace("department/police", "department/nobody"))
    found = " ".join(problems(await examine_party(config, federation.clock)))
    assert "spiffe://heyan/department/nobody is not in the registry" in found
    assert "is of spiffe://heyan/department/police" in found


def police_at(federation, listen: str, probes: str = "127.0.0.1:0") -> PartyConfig:
    return PartyConfig(
        spiffe_id=POLICE.uri,
        listen=listen,
        probes=probes,
        tls=federation.folder(POLICE).tls,
        registry=federation.registry_files(POLICE),
    )


@contextmanager
def stranger():
    """Something that listens and accepts nothing; its host:port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        yield f"127.0.0.1:{listener.getsockname()[1]}"


async def levels(config, tls) -> tuple[Level, Level]:
    probes, listen = await asyncio.wait_for(check_ports(config, tls), 20)
    return probes.level, listen.level


async def test_busy_port_is_told_from_our_own(federation, node):
    own = await node()
    tls = federation.watch(POLICE)
    assert await levels(police_at(federation, own), tls) == (Level.OK, Level.OK)
    with stranger() as address:
        probes, listen = await asyncio.wait_for(check_ports(police_at(federation, address), tls), 20)
    assert (probes.level, listen.level) == (Level.OK, Level.PROBLEM)
    assert "busy" in listen.text
    assert await levels(police_at(federation, address), tls) == (Level.OK, Level.OK)  # free again
    assert await levels(police_at(federation, "192.0.2.1:1"), tls) == (Level.OK, Level.PROBLEM)


async def test_busy_probes_are_a_problem_only_if_the_party_does_not_run(federation, node):
    own = await node()
    tls = federation.watch(POLICE)
    with stranger() as address:
        assert await levels(police_at(federation, own, address), tls) == (Level.OK, Level.OK)
        with stranger() as other:
            assert await levels(police_at(federation, other, address), tls) == (Level.PROBLEM, Level.PROBLEM)
            assert await levels(police_at(federation, other, address), None) == (Level.OK, Level.WARNING)
        assert await levels(police_at(federation, other, address), tls) == (Level.PROBLEM, Level.OK)
    probes, _ = await check_ports(police_at(federation, own, address), tls)
    assert "other settings" in probes.text


async def test_bad_configuration_file_is_a_finding_not_a_crash(federation, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text("spiffe_id = 1")
    ((_, finding),) = await examine_party(path, federation.clock)
    assert finding.level is Level.PROBLEM
    assert "tls" in finding.text


async def test_address_that_nobody_can_listen_on_is_found_in_the_settings(federation):
    config = write_config(federation, POLICE, listen="127.0.0.1")
    (problem,) = problems(await examine_party(config, federation.clock))
    assert f"{config}: listen must be host:port" in problem


async def test_rule_packs_beside_the_parties_are_no_settings(federation):
    (federation.root / "rules").mkdir()
    (federation.root / "rules/43.toml").write_text("format = 1\n")
    (problem,) = problems(await examine_folder(federation.root, federation.clock))
    assert problem.startswith("endpoints")


async def test_folder_of_up_is_examined_party_by_party_and_through_its_endpoints(federation, node):
    target, gateway = await node(), await node(of=GATEWAY)
    root = federation.root
    write_config(federation, GATEWAY)
    write_config(federation, POLICE)
    place = federation.folder(ENROL).path.relative_to(root)
    endpoints = {
        "gateway": {"id": "hunan", "grpc": gateway, "log_url": None, "log_vkey": ""},
        "ca": str((federation.folder(ENROL).tls.ca).relative_to(root)),
        "registry": "registry.jws",
        "operator_vkey": federation.desk.vkey,
        "consent": {"id": "citizen-app", "url": "https://127.0.0.1:1"},
        "departments": {"police": {"grpc": target}},
        "requesters": {
            "enrol": {
                "cert": f"{place}/tls/certificate.pem",
                "key": f"{place}/tls/key.pem",
                "signing_key": f"{place}/keys",
            }
        },
        "auditors": {},
        "truth": "truth.jsonl",
        "guardians": "guardians/secret",
        "rules": "rules",
        "closed": "430181",
    }
    (root / "endpoints.json").write_text(json.dumps(endpoints))
    findings = await examine_folder(root, federation.clock)
    assert not problems(findings)
    assert {party for party, _ in findings} == {GATEWAY.uri, POLICE.uri, ENROL.uri}
    (root / "endpoints.json").unlink()
    (problem,) = problems(await examine_folder(root, federation.clock))
    assert problem.startswith("endpoints")


def run(*arguments: object) -> object:
    return app([str(argument) for argument in arguments], result_action="return_value", exit_on_error=False)


def test_command_exits_by_what_it_found_and_speaks_json(federation, capsys):
    config = write_config(federation, POLICE)
    assert run("--config", config) == 0
    assert "0 problem(s)" in capsys.readouterr().out
    federation.folder(POLICE).tls.key.chmod(0o644)
    assert run("--config", config, "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    assert any("chmod 600" in finding["remedy"] for finding in report["findings"])
    with pytest.raises(MalformedError):
        run()


async def test_the_published_log_of_a_gateway_is_looked_at(federation, tmp_path) -> None:
    path = write_config(federation, GATEWAY)
    settings = path.read_text()

    def with_log(listen: str) -> None:
        path.write_text(f'published = "{tmp_path / "published"}"\nlog_listen = "{listen}"\n{settings}')

    assert "is not published" in texts(await examine_party(path, federation.clock), "log")
    with_log("127.0.0.1:0")
    assert "nothing is published" in texts(await examine_party(path, federation.clock), "log")
    write_log(tmp_path / "published/0", leaves(5))
    assert "5 leaves of log.test/gateway are published" in texts(await examine_party(path, federation.clock), "log")
    (tmp_path / "published/0/checkpoint").write_bytes(b"nonsense")
    assert "is no checkpoint" in texts(await examine_party(path, federation.clock), "log")
    with socket.create_server(("127.0.0.1", 0)) as other:
        with_log(f"127.0.0.1:{other.getsockname()[1]}")
        found = texts(await examine_party(path, federation.clock), "log_listen")
        assert "is busy, not with" in found
    with_log("nowhere")
    assert "log_listen" in texts(await examine_party(path, federation.clock), "log")


def texts(findings, topic: str) -> str:
    return "\n".join(finding.text for _, finding in findings if finding.topic == topic)
