"""`heyan log`: what an auditor or the holder of a receipt checks, offline."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from cyclopts import App

from gateway.cli.answers import answer_row, iso_time, print_answers, print_tickets, ticket_row
from gateway.cli.exit_codes import EXIT_REFUSED
from gateway.cli.json_output import print_json
from gateway.cli.leaf_files import extract_leaves
from gateway.cli.options import FolderOption, JsonOption, Switch, usage_error
from gateway.cli.trusted_registry import operator_of
from gateway.cli.verdicts import print_verdict, verdict_in, verdict_row
from gateway.cli.witnessed import print_witnesses, witness_row
from gateway.party.keyfiles import read_public
from gateway.protocol.errors import MalformedError
from gateway.protocol.note import VerifierKey
from gateway.protocol.post_quantum import PostQuantum, pinned_key, post_quantum_of
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt import VerifiedReceipt, verify_receipt
from gateway.protocol.receipt_file import receipt_from_json
from gateway.protocol.registry import open_registry
from gateway.witnessing.policy_file import read_policy
from heyan.v1 import receipt_pb2

app = App(name="log")
app.command("gateway.cli.log_fsck:fsck", name="fsck", help="Check a whole log, and name the first bad place.")
app.command("gateway.cli.log_policy:app", name="policy", help="Make, check and show the policy of witnesses.")
app.command("gateway.cli.log_witness:witness", name="witness", help="Serve a witness of logs.")
app.command("gateway.cli.log_witness:witness_key", name="witness-key", help="Make a witness's key.")
app.command("gateway.cli.log_export:export_log", name="export", help="Copy a log as plain files, verified on its way.")
app.command("gateway.cli.log_monitor:monitor", name="monitor", help="Follow a log, and raise alarms.")
app.command("gateway.cli.log_freeze:freeze", name="freeze", help="End a log for good, and let it go on as another.")


@app.command(name="verify-receipt")
def verify_receipt_file(  # noqa: PLR0913 - each is an option of the command
    file: Path,
    *,
    operator_vkey: str | None = None,
    folder: FolderOption = None,
    registry: Path | None = None,
    packs: Path | None = None,
    require_pq: Switch = False,
    pq_vkey: str | None = None,
    policy: Path | None = None,
    require_witnessed: Switch = False,
    extract: Path | None = None,
    as_json: JsonOption = False,
) -> int:
    """Check a receipt offline: who asked, on whose consent, what the departments signed, and that the log has it.

    Needs the file and the operator's verifier key, nothing else; a newer registry judges by what is known since. Then
    computes the verdict again: from the answers, by the rules that the receipt carries.
    Says WITNESSED, by whom and when, if a quorum of the policy cosigned the checkpoint, UNWITNESSED if not; and whether
    it carries the log's post-quantum signature. Exit code 0 if everything holds, 1 if anything does not, or if nobody
    has witnessed what must be.

    Examples: `heyan log verify-receipt receipt.json --dir run`,
    `heyan log verify-receipt receipt.json --operator-vkey registry.sandbox+c0ffee00+AWFi… --policy policy`,
    `heyan log verify-receipt receipt.json --dir run --require-witnessed --extract leaves`,
    `heyan log verify-receipt receipt.json --dir run --require-pq`

    Parameters
    ----------
    file
        The receipt, as `heyan verify --receipt` writes it.
    operator_vkey
        The federation operator's key as a C2SP verifier key, which you pin.
    folder
        A federation's folder to take that key from instead, and its registry.
    registry
        A newer registry than the receipt brings, as published: it may know of a key that was compromised since.
    packs
        A folder of rule packs (REGION.toml) to judge by instead of those in the receipt; they must be the same rules.
    require_pq
        Refuse a checkpoint without the log's ML-DSA-44 signature, by a key that the registry names.
    pq_vkey
        The log's ML-DSA-44 key as a C2SP verifier key, pinned while Ed25519 stood: its signature is required, and no
        other will do, whatever the registry names.
    policy
        Whose cosignatures count (C2SP tlog-policy); with --dir the federation's, if it has witnesses.
    require_witnessed
        End with exit code 1 if the receipt is UNWITNESSED.
    extract
        Folder for every leaf and its C2SP tlog-proof, leaf-INDEX.bin and leaf-INDEX.tlog-proof, for tools of others.
    """
    if folder is not None:
        from gateway.cli.endpoints import read_endpoints  # noqa: PLC0415 - brings in gRPC, which a pinned key needs not

        endpoints = read_endpoints(folder)
        registry = registry or folder / endpoints.registry
        if policy is None and endpoints.policy is not None:
            policy = folder / endpoints.policy
    operator, pinned = operator_of(folder, operator_vkey), _pinned(pq_vkey)
    receipt = _read_receipt(file)
    if registry is not None:
        receipt.registry = read_public(registry).decode("ascii", errors="replace").strip()
    trusted = read_policy(policy) if policy is not None else None
    verified = verify_receipt(receipt, operator, policy=trusted)
    listed = open_registry(receipt.registry, operator)
    post_quantum = post_quantum_of(receipt, listed, verified.query.gateway, max(verified.log_times), pinned)
    if require_pq or pinned:
        post_quantum.require()
    if extract is not None:
        extract_leaves(receipt, extract)
    verdict = verdict_in(verified, receipt.rules, packs)
    if as_json:
        second = {"post_quantum": post_quantum.signed, "post_quantum_expected": post_quantum.expected}
        summary = {**_summary(verified), **second, "verdict": verdict_row(verdict) if verdict is not None else None}
        print_json(summary)
        return EXIT_REFUSED if require_witnessed and not verified.witnessed else 0
    print_answers(verified)
    print_tickets(verified.tickets)
    if verdict is not None:
        print_verdict(verdict, tickets=verified.tickets)
    elif verified.application is not None:
        sys.stdout.write("no verdict: the receipt carries no rules; name them with --packs FOLDER\n")
    logged = ", ".join(iso_time(at) for at in verified.log_times)
    trees = "; ".join(f"{tree.origin}, tree of {tree.size}" for tree in verified.checkpoints)
    sys.stdout.write(
        f"receipt holds: {len(verified.answers)} checks, asked by {verified.query.requester}\n"
        f"logged {logged} in {trees}\n"
    )
    print_witnesses(verified, trusted)
    sys.stdout.write(f"post-quantum signature: {_said(post_quantum)}\n")
    return EXIT_REFUSED if require_witnessed and not verified.witnessed else 0


def _pinned(vkey: str | None) -> tuple[VerifierKey, ...]:
    try:
        return () if vkey is None else (pinned_key(vkey),)
    except MalformedError as error:
        raise usage_error("--pq-vkey", error.detail) from None


def _said(post_quantum: PostQuantum) -> str:
    if post_quantum.signed:
        return "yes"
    return "no, although the registry names a key for it" if post_quantum.expected else "no"


def _read_receipt(file: Path) -> receipt_pb2.Receipt:
    data = read_public(file)
    try:
        return receipt_from_json(data.decode())
    except (MalformedError, UnicodeDecodeError):
        description = f"is not a whole receipt ({len(data)} bytes): ask for it again with heyan verify --receipt"
        raise MalformedError.at(str(file), description, Reason.RECEIPT_INVALID) from None


def _summary(verified: VerifiedReceipt) -> dict[str, object]:
    return {
        "valid": True,
        "request_id": verified.query.request_id.hex(),
        "requester": verified.query.requester,
        "gateway": verified.query.gateway,
        "purpose": verified.query.purpose,
        "answers": [answer_row(answer) for answer in verified.answers],
        "tickets": [ticket_row(ticket, verified.answers) for ticket in verified.tickets],
        "log": {
            "origin": verified.checkpoint.origin,
            "size": verified.checkpoint.size,
            "earlier": [{"origin": tree.origin, "size": tree.size} for tree in verified.checkpoints[:-1]],
            "times": [datetime.fromtimestamp(at, UTC).isoformat() for at in verified.log_times],
        },
        "registry_version": verified.registry_version,
        "witnessed": verified.witnessed,
        "witnesses": [witness_row(each) for each in verified.cosigned],
    }
