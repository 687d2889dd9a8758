"""`heyan log policy`: makes, checks and shows the policy file by which checkpoints count as witnessed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from gateway.cli.json_output import print_json
from gateway.cli.options import JsonOption, usage_error
from gateway.party.keyfiles import write_atomic
from gateway.protocol.cosignature import as_cosigner
from gateway.protocol.errors import MalformedError
from gateway.protocol.note import VerifierKey
from gateway.protocol.policy import NO_QUORUM, Policy, PolicyGroup, PolicyLog, PolicyWitness, parse_policy
from gateway.witnessing.policy_file import read_policy

app = App(name="policy", help="Make, check and show the policy by which checkpoints count as witnessed.")

_GROUP = "witnesses"
_PAIR = 2


@app.command(name="make")
def make_policy(
    *,
    log: Annotated[list[str] | None, Parameter(negative="")] = None,
    witness: Annotated[list[str] | None, Parameter(negative="")] = None,
    quorum: str = "all",
    out: Path | None = None,
) -> None:
    """Make a policy (C2SP tlog-policy) from verifier keys, and print it or write it to a file.

    Published keys of witnesses often have type 01, under which nothing is cosigned: they are written as type 04.

    Examples: `heyan log policy make --log log.main.heyan.internal/2027+c0ffee00+AWFi… --quorum none`,
    `heyan log policy make --log "$LOG" --witness "$W1 https://w1.example" --witness "$W2" --quorum 1 --out policy`

    Parameters
    ----------
    log
        Verifier key of a log, and after a space its URL if wanted; again for each.
    witness
        Verifier key of a witness, and after a space its URL if the policy is for a log; again for each.
    quorum
        How many of the witnesses must have cosigned: a number, all, any or none.
    out
        File to write instead of printing.
    """
    logs = tuple(PolicyLog(*_line("--log", each, VerifierKey.parse)) for each in log or ())
    witnesses = [_line("--witness", each, as_cosigner) for each in witness or ()]
    named = tuple(PolicyWitness(name, *line) for name, line in zip(_names(witnesses), witnesses, strict=True))
    text = _with_quorum(logs, named, quorum).format()
    try:
        parse_policy(text.encode())
    except MalformedError as error:
        raise usage_error("--log or --witness", error.violations[0].description) from None
    if out is None:
        sys.stdout.write(text)
    else:
        write_atomic(out, text.encode())


@app.command(name="check")
def check_policy(file: Path, *, as_json: JsonOption = False) -> None:
    """Check a policy file, and show whom it trusts; exit code 2 and the line of what is wrong, if anything is.

    Example: `heyan log policy check run/policy`

    Parameters
    ----------
    file
        The policy.
    """
    policy = read_policy(file)
    if as_json:
        print_json(_document(policy))
        return
    for log in policy.logs:
        sys.stdout.write(f"log {_printable(log.key.name)} {log.key.key_id.hex()} {_printable(log.url)}".rstrip() + "\n")
    for each in policy.witnesses:
        key, url = f"{each.key.name}+{each.key.key_id.hex()}", _printable(each.url)
        sys.stdout.write(f"witness {_printable(each.name)} {key} {url}".rstrip() + "\n")
    for group in policy.groups:
        members = ", ".join(map(_printable, group.members))
        sys.stdout.write(f"group {_printable(group.name)}: {group.threshold} of {members}\n")
    sys.stdout.write(f"quorum {_printable(policy.quorum or NO_QUORUM)}\n")


def _line(option: str, text: str, read: Callable[[str], VerifierKey]) -> tuple[VerifierKey, str]:
    """A verifier key and a URL."""
    parts = text.split()
    if not 1 <= len(parts) <= _PAIR:
        raise usage_error(option, "must be a verifier key, and after a space its URL")
    try:
        key = read(parts[0])
    except MalformedError as error:
        raise usage_error(option, error.detail) from None
    return key, "".join(parts[1:])


def _names(witnesses: Sequence[tuple[VerifierKey, str]]) -> list[str]:
    """The key's name, numbered where two keys have one."""
    names: list[str] = []
    for key, _ in witnesses:
        taken = sum(name == key.name or name.startswith(f"{key.name}#") for name in names)
        names.append(f"{key.name}#{taken + 1}" if taken else key.name)
    return names


def _with_quorum(logs: tuple[PolicyLog, ...], witnesses: tuple[PolicyWitness, ...], quorum: str) -> Policy:
    if quorum == NO_QUORUM:
        return Policy(logs, witnesses, (), None)
    counts = {"all": len(witnesses), "any": 1}
    threshold = counts[quorum] if quorum in counts else int(quorum) if quorum.isascii() and quorum.isdecimal() else 0
    if not 1 <= threshold <= len(witnesses):
        raise usage_error("--quorum", f"must be all, any, none, or 1 to the number of witnesses ({len(witnesses)})")
    members = tuple(witness.name for witness in witnesses)
    return Policy(logs, witnesses, (PolicyGroup(_GROUP, threshold, members),), _GROUP)


def _document(policy: Policy) -> dict[str, object]:
    return {
        "logs": [{"vkey": log.key.format(), "url": _printable(log.url) or None} for log in policy.logs],
        "witnesses": [
            {"name": _printable(each.name), "vkey": each.key.format(), "url": _printable(each.url) or None}
            for each in policy.witnesses
        ],
        "groups": [
            {
                "name": _printable(group.name),
                "threshold": group.threshold,
                "members": list(map(_printable, group.members)),
            }
            for group in policy.groups
        ],
        "quorum": _printable(policy.quorum) if policy.quorum is not None else None,
    }


def _printable(text: str) -> str:
    """Names and URLs may hold any octets."""
    return text.encode("utf-8", errors="surrogateescape").decode("utf-8", errors="backslashreplace")
