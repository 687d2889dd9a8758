"""What commands say of witnesses: which cosigned a receipt's checkpoint, when, and whether that is enough."""

from __future__ import annotations

import sys

from gateway.cli.answers import iso_time
from gateway.cli.printing import printable
from gateway.protocol.policy import Cosigned, Policy
from gateway.protocol.receipt import VerifiedReceipt

LAST_SECOND = 253_402_300_799
"""Of the year 9999: a witness may say any time up to 2^63 - 1, and no calendar has them all."""


def witness_row(each: Cosigned) -> dict[str, object]:
    """A cosignature for JSON."""
    key = each.witness.key
    return {"name": each.witness.name, "key": f"{key.name}+{key.key_id.hex()}", "time": _when(each)}


def print_witnesses(verified: VerifiedReceipt, policy: Policy | None) -> None:
    """One line: WITNESSED or UNWITNESSED, by whom and when."""
    if policy is None:
        sys.stdout.write("UNWITNESSED: no policy says whose word would count (--policy FILE)\n")
        return
    who = ", ".join(f"{printable(each.witness.name)} {_when(each)}" for each in verified.cosigned)
    if verified.witnessed:
        sys.stdout.write(f"WITNESSED by {who}\n")
    elif policy.quorum is None:
        sys.stdout.write("UNWITNESSED: the policy asks for no witness\n")
    else:
        sys.stdout.write(f"UNWITNESSED: cosigned by {who or 'nobody of the policy'}, which is no quorum of it\n")


def _when(each: Cosigned) -> str:
    return iso_time(float(each.time)) if each.time <= LAST_SECOND else str(each.time)
