"""How many bytes an application of five checks puts on each wire, as messages, without TLS's and HTTP/2's framing.

    python -m benchmarks.wire

The requester's messages are real ones. What departments state is of the same shape, and signed over the statements of
one application alone: under load a batch is shared, and its signature and paths with it, so that this is the most. The
receipt is measured by `benchmarks.gateway_core`, which has a log.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.messages import FIVE, NOW, federation, submission
from benchmarks.setting import RESULTS, table, write_results
from consent.selection import presentations_for
from gateway.protocol.attestation import (
    Asked,
    Attestation,
    sealed_digest,
    sign_batch,
    write_proof,
    write_signed_batch,
    write_statement,
)
from gateway.protocol.outcomes import Outcome
from gateway.protocol.presentation import (
    PresentedPart,
    Submission,
    write_presentation,
    write_presented_part,
    write_signed_query,
    write_submission,
)
from gateway.protocol.query import OpenedPart, Query, open_part, read_query
from heyan.v1 import department_service_pb2 as pb
from tests.federation import Federation

MONTH = 2_592_000.0


def wire_bytes() -> dict[str, int]:
    """Bytes of the request, and of all asks and replies of its departments together; how many departments."""
    made = federation()
    sent = submission(made, FIVE)
    query = read_query(sent.signed.query)
    asks = replies = 0
    for presented in sent.parts:
        opened = open_part(presented.part)
        asks += pb.AnswerRequest(asks=[_ask(sent, query, opened, presented)]).ByteSize()
        replies += _reply(made, sent, query, opened, presented).ByteSize()
    return {
        "request": write_submission(sent).ByteSize(),
        "asks": asks,
        "replies": replies,
        "departments": len(sent.parts),
    }


def _ask(sent: Submission, query: Query, opened: OpenedPart, presented: PresentedPart) -> pb.Ask:
    shown = presentations_for(opened.part, query, sent.grants)
    return pb.Ask(
        ask_id=1,
        query=write_signed_query(sent.signed),
        part=write_presented_part(presented),
        grants=[write_presentation(grant) for grant in shown],
    )


def _reply(
    made: Federation, sent: Submission, query: Query, opened: OpenedPart, presented: PresentedPart
) -> pb.AnswerResponse:
    department = opened.part.department
    statements = [
        write_statement(
            Attestation(
                Asked(
                    query_digest=sent.signed.digest,
                    part_digest=opened.digest,
                    sealed_digest=sealed_digest(presented.sealed.ciphertext),
                    check=check,
                    requester=query.requester,
                    department=department,
                    purpose=query.purpose,
                ),
                Outcome.YES,
                "2027-01-15",
                NOW,
                NOW + MONTH,
                bytes(16),
            )
        )
        for check in opened.part.checks
    ]
    signed, proofs = sign_batch(statements, department, made.signing_keys[department], NOW)
    reply = pb.Reply(ask_id=1, statements=[write_proof(proof) for proof in proofs])
    return pb.AnswerResponse(batch=write_signed_batch(signed), replies=[reply])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the same: nothing is timed")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON file")
    options = parser.parse_args()
    found = wire_bytes()
    print(table(tuple(found), [tuple(found.values())]))
    print(write_results("wire", {"application": found, "targets": {}}, options.results))


if __name__ == "__main__":
    main()
