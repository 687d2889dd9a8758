"""`heyan verify`: one application, as an education system would send it."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from consent.consent_file import ConsentFile, read_consent_file
from gateway.cli.answers import answer_row, exit_code_of_outcomes, print_answers, print_tickets, ticket_row
from gateway.cli.deferred import deferred_until, fetch, print_deferred, require_one_of
from gateway.cli.endpoints import open_client
from gateway.cli.exit_codes import EXIT_UNREACHABLE
from gateway.cli.guardians import Guardians, find_family
from gateway.cli.json_output import print_json
from gateway.cli.options import JsonOption, RequiredFolder, read_request_id, require_writable, usage_error
from gateway.cli.receipts import write_receipt
from gateway.cli.verdicts import print_verdict, verdict_row
from gateway.cli.verify_batch import Paths, verify_batch
from gateway.cli.witness_wait import fetch_witnessed, policy_of
from gateway.cli.witnessed import print_witnesses, witness_row
from gateway.client import Client, Verification
from gateway.protocol.errors import MalformedError
from gateway.protocol.policy import Policy
from sandbox_departments.people import Application


def verify(  # noqa: PLR0913 - each is an option of the command
    *,
    folder: RequiredFolder,
    requester: str,
    family: str | None = None,
    consent: Path | None = None,
    receipt: Path | None = None,
    open_group: bool = False,
    defer: float | None = None,
    request_id: str | None = None,
    wait: float = 0.0,
    witnessed: float | None = None,
    batch: Path | None = None,
    results: Path | None = None,
    as_json: JsonOption = False,
) -> int:
    """Verify one family's application as a requester, or a whole batch of them, and check the receipts.

    Plans, has the family consent (unless --consent brings its consent), seals, signs, asks, and verifies every
    signature and the log's proof before it prints anything: the answers, the verdict on each material, and what of the
    student record is still to collect. Exit code 0 if every check was answered, whatever the answers are, 1 if a
    department refused one, else 3 if one is unavailable for now. With --request-id it asks nothing, but fetches what
    became of an earlier request.

    A batch is a CSV file with the columns `family` and, where wanted, `consent` (a consent file) and `group`; or
    truth.jsonl itself. Its results are a CSV file without any name or number of a person. What is asked is kept beside
    it first (.state), so that the same command goes on after any interruption and spends no use twice. Exit code 3 if
    another run may bring more, else 1 if any application was refused.

    Examples: `heyan verify --dir run --requester edu-4301 --family F000001`,
    `heyan verify --dir run --requester edu-4301 --family F000001 --consent consent.json --receipt receipt.json --json`,
    `heyan verify --dir run --requester edu-4301 --family F000001 --defer 86400`,
    `heyan verify --dir run --requester edu-4301 --request-id 00112233445566778899aabbccddeeff --wait 600`,
    `heyan verify --dir run --requester edu-4301 --family F000001 --witnessed 30 --receipt receipt.json`,
    `heyan verify --dir run --requester edu-4301 --batch applications.csv --results results.csv`

    Parameters
    ----------
    folder
        A running federation's folder.
    requester
        The education system that asks, an id of endpoints.json.
    family
        A family of truth.jsonl.
    consent
        Its consent file; without it the sandbox issuer issues one.
    open_group
        Leave the group open: ask for every group of the school, and learn which of them the answers support.
    receipt
        File to write the receipt to, for `heyan log verify-receipt`.
    defer
        For how many seconds the gateway may go on asking departments that cannot be reached now.
    request_id
        An earlier request of the requester's, in hexadecimal, as this command printed it.
    wait
        For how many seconds to wait for deferred answers of --request-id.
    witnessed
        For how many seconds to wait, once answered, until a quorum of witnesses has cosigned the log; exit code 3 if
        none has by then.
    batch
        File with the families to verify, instead of --family.
    results
        File to write a batch's results to.
    """
    if batch is not None:
        others = (family, consent, receipt, request_id, witnessed)
        if results is None or open_group or any(each is not None for each in others):
            raise usage_error("--batch", "goes with --results, and with no option of one family")
        return verify_batch(Paths(folder, batch, results), requester, defer=defer, as_json=as_json)
    if results is not None:
        raise usage_error("--results", "goes with --batch")
    require_writable(receipt, "--receipt")
    require_one_of(family, request_id)
    policy = policy_of(folder) if witnessed is not None else None
    if request_id is None and wait:
        raise usage_error("--wait", "goes with --request-id")
    if request_id is not None:
        result = asyncio.run(fetch(folder, requester, read_request_id(request_id), wait))
    else:
        application = find_family(folder, family or "").application
        held = read_consent_file(consent) if consent is not None else None
        result = asyncio.run(_ask(folder, requester, application, held, open_group=open_group, defer=defer))
    if policy is not None and witnessed is not None:
        request_id_of = result.verified.query.request_id
        result = asyncio.run(fetch_witnessed(folder, requester, request_id_of, policy, witnessed))
    write_receipt(receipt, result.receipt)
    if as_json:
        row = {
            "request_id": result.verified.query.request_id.hex(),
            "answers": [answer_row(answer) for answer in result.verified.answers],
            "verdict": verdict_row(result.verdict) if result.verdict is not None else None,
            "receipt": str(receipt) if receipt is not None else None,
            "deferred_until": deferred_until(result),
            "tickets": [ticket_row(ticket, result.verified.answers) for ticket in result.verified.tickets],
            "witnessed": result.verified.witnessed,
            "witnesses": [witness_row(each) for each in result.verified.cosigned],
        }
        print_json(row)
        return _exit_code(result, policy)
    print_answers(result.verified)
    print_tickets(result.verified.tickets)
    if result.verdict is not None:
        print_verdict(result.verdict, tickets=result.verified.tickets)
    where = f", written to {receipt}" if receipt is not None else ""
    sys.stdout.write(f"receipt verified{where}; request_id {result.verified.query.request_id.hex()}\n")
    if policy is not None:
        print_witnesses(result.verified, policy)
    print_deferred(result, folder, requester)
    return _exit_code(result, policy)


def _exit_code(result: Verification, policy: Policy | None) -> int:
    code = exit_code_of_outcomes(answer.outcome for answer in result.verified.answers)
    is_missed = policy is not None and not result.verified.witnessed
    return code or (EXIT_UNREACHABLE if is_missed else 0)


async def _ask(
    folder: Path,
    requester: str,
    application: Application,
    consent: ConsentFile | None,
    *,
    open_group: bool,
    defer: float | None,
) -> Verification:
    async with open_client(folder, requester) as client:
        if consent is None:
            async with Guardians(folder) as guardians:
                consent = await guardians.consent(application, requester)
        return await ask(client, application, consent, open_group=open_group, defer=defer)


async def ask(
    client: Client,
    application: Application,
    consent: ConsentFile,
    *,
    open_group: bool = False,
    defer: float | None = None,
) -> Verification:
    """Plan and ask one application on the strength of a consent, the fields of the student record too.

    With `defer` the gateway may go on asking for so many seconds.
    """
    group = None if open_group else application.group
    plan = await client.plan(application.region, application.school, group, consent.roles)
    questions = plan.questions(consent.roles, fields=True)
    answer_until = time.time() + defer if defer is not None else None
    try:
        submission = client.prepare(questions, consent, plan, answer_until)
    except MalformedError as error:
        if [each.field for each in error.violations] == ["answer_until"]:
            raise usage_error("--defer", error.violations[0].description) from None
        raise
    return await client.send(submission)
