"""`heyan log`: what an auditor or the holder of a receipt checks, offline."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from cyclopts import App

from gateway.cli.answers import answer_row, print_answers
from gateway.cli.options import FolderOption, JsonOption
from gateway.party.registry_keeper import operator_key
from gateway.protocol.errors import MalformedError
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt import VerifiedReceipt, verify_receipt
from gateway.protocol.receipt_file import receipt_from_json

app = App(name="log", help="Check receipts and the log.")


@app.command(name="verify-receipt")
def verify_receipt_file(
    file: Path, *, operator_vkey: str | None = None, folder: FolderOption = None, as_json: JsonOption = False
) -> None:
    """Check a receipt offline: who asked, on whose consent, what the departments signed, and that the log has it.

    Needs the file and the operator's verifier key, nothing else. Says WITNESSED if the checkpoint carries the
    cosignatures of a quorum, UNWITNESSED if not. Exit code 0 if everything holds, 1 if anything does not.

    Examples: `heyan log verify-receipt receipt.json --dir run`,
    `heyan log verify-receipt receipt.json --operator-vkey registry.sandbox+c0ffee00+AWFi…`

    Parameters
    ----------
    file
        The receipt, as `heyan verify --receipt` writes it.
    operator_vkey
        The federation operator's key as a C2SP verifier key, which you pin.
    folder
        A federation's folder to take that key from instead.
    """
    verified = verify_receipt(receipt_from_json(_read(file)), operator_key(_operator_vkey(operator_vkey, folder)))
    if as_json:
        sys.stdout.write(json.dumps(_summary(verified), ensure_ascii=False, indent=2) + "\n")
        return
    print_answers(verified)
    logged = ", ".join(datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds") for at in verified.log_times)
    sys.stdout.write(
        f"receipt holds: {len(verified.answers)} checks, asked by {verified.query.requester}\n"
        f"logged {logged} in {verified.checkpoint.origin}, tree of {verified.checkpoint.size}\n"
        f"{'WITNESSED' if verified.witnessed else 'UNWITNESSED'}\n"
    )


def _operator_vkey(operator_vkey: str | None, folder: Path | None) -> str:
    if operator_vkey is not None:
        return operator_vkey
    if folder is None:
        raise MalformedError.at("--operator-vkey", "or --dir must say whom to trust", Reason.CONFIGURATION_INVALID)
    from gateway.cli.endpoints import read_endpoints  # noqa: PLC0415 - brings in gRPC, which a pinned key does without

    return read_endpoints(folder).operator_vkey


def _summary(verified: VerifiedReceipt) -> dict[str, object]:
    return {
        "valid": True,
        "request_id": verified.query.request_id.hex(),
        "requester": verified.query.requester,
        "gateway": verified.query.gateway,
        "purpose": verified.query.purpose,
        "answers": [answer_row(answer) for answer in verified.answers],
        "log": {
            "origin": verified.checkpoint.origin,
            "size": verified.checkpoint.size,
            "times": [datetime.fromtimestamp(at, UTC).isoformat() for at in verified.log_times],
        },
        "registry_version": verified.registry_version,
        "witnessed": verified.witnessed,
    }


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MalformedError.at(str(file), f"cannot be read: {error}", Reason.CONFIGURATION_INVALID) from error
