"""What handlers are given: requests of gateway, node, log and issuer, carried as far as rules go without a network."""

from __future__ import annotations

import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import msgspec

from consent.issuer.requests import ApprovalBody, DraftBody, RevocationBody, read_body
from consent.passkey import assertion_from_json
from consent.revocation import open_revocation
from consent.selection import presentations_for
from consent.verification import authorize, open_grant
from gateway.asking import Envelope, Question, make_submission
from gateway.audit.journals import read_journal
from gateway.audit.tally_sheet import TallySheet
from gateway.log import Log
from gateway.plans import make_plan
from gateway.protocol.attestation import open_batch, open_statement, read_proof, read_signed_batch, require_in_batch
from gateway.protocol.codec import encode, parse
from gateway.protocol.identities import parse_identity
from gateway.protocol.journal import read_header, read_signed_head
from gateway.protocol.limits import MAX_ASKS_PER_BATCH, MAX_MESSAGE
from gateway.protocol.presentation import read_submission, write_submission
from gateway.protocol.query_rules import check_policy, match_parts, open_query, require_unexpired
from gateway.protocol.receipt import MAX_RECEIPT
from gateway.protocol.statistics import StatisticKey, read_rows, write_statistic
from gateway.rulebook import Rulebook
from gateway.services import LogMethods
from gateway.stores.records import Entry
from gateway.stores.sqlite import SqliteStore
from gateway.verify_stream import open_item
from heyan.v1 import department_service_pb2, gateway_service_pb2, log_service_pb2
from sandbox_departments.answering import Situation, admit, open_subjects
from sandbox_departments.asks import read_ask, received_of
from sandbox_departments.journal_entries import read_entry, write_entry
from tests.fakes import sign
from tests.federation import AUDITOR, FAMILY, GATEWAY, REGION, REQUESTER
from tests.fuzz.target import DEEP, Target
from tests.mutations import journal_exports
from tests.mutations.consent_messages import withdrawal
from tests.mutations.journal_messages import acknowledgement, journal_entries
from tests.protocol.casework import FEDERATION, NOW, SIGNED_AT, genuine, log_signer
from tests.sandbox.asking import GATEWAY as HUNAN
from tests.sandbox.asking import POLICE, World

_REGISTRY = FEDERATION.registry
_RULEBOOK = Rulebook(None)
_FOLDER = tempfile.TemporaryDirectory(prefix="heyan-fuzz-")  # removed when the process ends
_WORLD = World()
_SITUATION = Situation(POLICE.uri, _WORLD.registry, _WORLD.now)
_AUDITOR = parse_identity(AUDITOR)


def _verify_request(data: bytes) -> object:
    """The way of a query up to where departments are asked."""
    submission = read_submission(parse(gateway_service_pb2.VerifyRequest, data, MAX_MESSAGE))
    query = open_query(submission.signed, requester=REQUESTER, gateway=GATEWAY, registry=_REGISTRY, now=NOW)
    require_unexpired(query, NOW)
    grants = {
        shown.digest: open_grant(shown, requester=REQUESTER, gateway=GATEWAY, registry=_REGISTRY, now=NOW)
        for shown in submission.grants
    }
    for part in match_parts(query, [part.part for part in submission.parts]):
        check_policy(query, part.part, _REGISTRY)
        for check in part.part.checks:
            authorize(check, query=query, grants=grants, registry=_REGISTRY)
        presentations_for(part.part, query, submission.grants)
    return query


def _plan_request(data: bytes) -> object:
    return make_plan(parse(gateway_service_pb2.GetPlanRequest, data, MAX_MESSAGE), _RULEBOOK, _REGISTRY, NOW)


def _revocation_request(data: bytes) -> object:
    request = parse(gateway_service_pb2.ReportRevocationRequest, data, MAX_MESSAGE)
    return open_revocation(request.statement, _REGISTRY, NOW)


def _answer_request(data: bytes) -> object:
    """Asks as a node takes them, up to the register."""
    message = parse(department_service_pb2.AnswerRequest, data, MAX_MESSAGE)
    for ask in message.asks[:MAX_ASKS_PER_BATCH]:
        received_of(ask)  # never raises: by it a refusal is signed
        admitted = admit(read_ask(ask), HUNAN.uri, _SITUATION)
        open_subjects(admitted, _WORLD.opening, _SITUATION)
    return message


def _received(data: bytes) -> object:
    return received_of(parse(department_service_pb2.Ask, data, MAX_MESSAGE))


def _answer_response(data: bytes) -> object:
    """A reply batch as a gateway takes it."""
    message = parse(department_service_pb2.AnswerResponse, data, MAX_RECEIPT)
    batch = open_batch(read_signed_batch(message.batch), _REGISTRY, SIGNED_AT)
    for reply in message.replies:
        for proof in map(read_proof, reply.statements):
            require_in_batch(proof, batch)
            open_statement(proof, batch)
    return message


class _LogRequests:
    """`LogService` over a log of a few leaves."""

    def __init__(self) -> None:
        store = SqliteStore(Path(_FOLDER.name) / "store.db")
        log = Log(store, log_signer().verifier.name, log_signer())
        store.commit([Entry(b"leaf %d" % number) for number in range(5)], sign)
        self.methods = {method.name: method.handler for method in LogMethods(log, store).methods()}

    def target(self, name: str, *seeds: bytes) -> Target:
        def call(data: bytes) -> object:
            return _at_once(self.methods[name](data, _AUDITOR, None))  # type: ignore[arg-type]

        return Target(name, call, seeds)


def _at_once(call: Coroutine[Any, Any, bytes]) -> bytes:
    """The result of a coroutine that waits for nothing."""
    try:
        call.send(None)
    except StopIteration as end:
        result: bytes = end.value
        return result
    raise AssertionError("it waits")


def _statistics_response(data: bytes) -> object:
    """What an auditor reads of it."""
    message = parse(log_service_pb2.ListStatisticsResponse, data, MAX_MESSAGE)
    sheet = TallySheet()
    sheet.add_day("2027-06-01", read_rows(message.rows), message.tree_size)
    return sheet.differences()


def _approval(data: bytes) -> object:
    return assertion_from_json(read_body(ApprovalBody, data).assertion)


def _withdrawal_body(data: bytes) -> object:
    return assertion_from_json(read_body(RevocationBody, data).assertion)


def _entry_is_written_again(_data: bytes, value: object) -> bool:
    return read_entry(write_entry(value)) == value  # type: ignore[arg-type]


def _journal(data: bytes) -> object:
    """A journal of one entry for each line."""
    return read_journal(POLICE.uri, data.split(b"\n"), NOW)


def _exported() -> tuple[bytes, ...]:
    with tempfile.TemporaryDirectory() as folder:
        return journal_exports.exported(Path(folder))


def _submission() -> bytes:
    questions = (
        Question("c1", "hukou.child_registered@1", REGION, {}),
        Question("c2", "insurance.paid_months@1", REGION, {"months": "12"}),
    )
    key = FEDERATION.signing_keys[REQUESTER]
    envelope = Envelope(REQUESTER, GATEWAY, "enrolment", NOW)
    made = make_submission(questions, FEDERATION.issue(FAMILY), envelope, _REGISTRY, key, FEDERATION.random.randbytes)
    return encode(write_submission(made))


def targets() -> tuple[Target, ...]:
    folder, log = Path(_FOLDER.name), _LogRequests()
    ask = _WORLD.ask()
    owed = acknowledgement(folder)
    plan = encode(gateway_service_pb2.GetPlanRequest(region=REGION, school="public_primary", group="home_and_hukou"))
    item = gateway_service_pb2.VerifyStreamRequest(item=1)
    item.request.ParseFromString(_submission())
    report = gateway_service_pb2.ReportRevocationRequest(statement=withdrawal().samples[0].decode())
    first, *_ = genuine().receipt().statements
    response = department_service_pb2.AnswerResponse(batch=first.batch)
    response.replies.add(ask_id=1, statements=[first.proof])
    draft = {
        "account": "a",
        "child": "43",
        "requester": REQUESTER,
        "gateway": GATEWAY,
        "purpose": "enrolment",
        "details": [{"claims": ["identity.valid@1"], "regions": ["43"], "max_uses": 1}],
    }
    response_json = {"clientDataJSON": "e30", "authenticatorData": "AQ", "signature": "AQ"}
    assertion = {"id": "AQ", "type": "public-key", "response": response_json}
    withdrawn = msgspec.json.encode({"jti": "j", "assertion": assertion})
    row = write_statistic(StatisticKey(REGION, POLICE.uri, "hukou.child_registered@1", 1, True), 7)
    statistics = log_service_pb2.ListStatisticsRequest(day="2027-06-01", page_size=2, after=row)
    counted = log_service_pb2.ListStatisticsResponse(rows=[row], tree_size=5, changed_size=3)
    numbers = log_service_pb2.GetConsistencyProofRequest(old_size=2, new_size=5)
    return (
        Target("Verify", _verify_request, (_submission(),)),
        Target("VerifyStream", open_item, (encode(item),)),
        Target("GetPlan", _plan_request, (plan,)),
        Target(
            "ReportRevocation",
            _revocation_request,
            (encode(report),),
        ),
        Target("AnswerRequest", _answer_request, (encode(department_service_pb2.AnswerRequest(asks=[ask])),)),
        Target("what was received", _received, (encode(ask),)),
        Target("Acknowledgement", lambda data: owed.judge(0, data), owed.samples),
        Target("AnswerResponse", _answer_response, (encode(response),)),
        log.target("GetCheckpoint", b""),
        log.target("ListLeaves", encode(log_service_pb2.ListLeavesRequest(start_index=1, page_size=2))),
        log.target("ListStatistics", encode(statistics)),
        Target("ListStatisticsResponse", _statistics_response, (encode(counted),)),
        log.target("GetInclusionProof", encode(log_service_pb2.GetInclusionProofRequest(leaf_index=1, tree_size=5))),
        log.target("GetConsistencyProof", encode(numbers)),
        Target("draft of a consent", lambda data: read_body(DraftBody, data), (msgspec.json.encode(draft), *DEEP)),
        Target("approval", _approval, (msgspec.json.encode({"assertion": assertion}), *DEEP)),
        Target("withdrawal by a person", _withdrawal_body, (withdrawn, *DEEP)),
        Target("journal for an auditor", _journal, (b"\n".join(map(write_entry, journal_entries())), b"", *DEEP)),
        Target("journal export", journal_exports.read, _exported()),
        Target("journal header", read_header, tuple(each.split(b"\n")[0] for each in _exported())),
        Target("journal head", read_signed_head, tuple(each.split(b"\n")[-1] for each in _exported())),
        Target("journal entry", read_entry, (*map(write_entry, journal_entries()), *DEEP), _entry_is_written_again),
    )
