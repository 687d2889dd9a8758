"""`heyan department dispute`: the list of a node's disputes, and how its staff work them off."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from gateway.cli.json_output import print_json
from gateway.cli.options import FolderOption, JsonOption, usage_error
from gateway.cli.sandbox import Asked, Sandbox, held, settle
from gateway.protocol.beijing import BEIJING
from gateway.protocol.errors import ConflictError, MalformedError
from gateway.protocol.identities import parse_identity
from gateway.protocol.reasons import Reason
from gateway.protocol.resolutions import ResolutionOutcome, ResolutionReason
from sandbox_departments.config import NodeConfig
from sandbox_departments.corrections import correct
from sandbox_departments.dispute_ledger import ListedDispute
from sandbox_departments.disputes import decide, listed
from sandbox_departments.journal import Journal
from sandbox_departments.working_days import due_time

app = App(name="dispute")

AllOption = Annotated[bool, Parameter(name="--all", negative="")]

LEAST_PREFIX = 8
"""Characters of a dispute's id that must be typed at least."""


class RightAnswer(StrEnum):
    """What the register shall answer from now on."""

    YES = "yes"
    NO = "no"


@app.command(name="list")
def list_disputes(
    node: str,
    *,
    folder: FolderOption = None,
    config: Path | None = None,
    everything: AllOption = False,
    as_json: JsonOption = False,
) -> None:
    """List the disputes that await a decision, the oldest first, with when each is due; OVERDUE where that has passed.

    Examples: `heyan department dispute list police-4301 --dir run`,
    `heyan department dispute list police-4301 --config settings.toml --all --json`

    Parameters
    ----------
    node
        A department node, such as police-4301.
    folder
        A sandbox's folder; it need not be running.
    config
        The node's settings, where there is no sandbox.
    everything
        Also list those that are decided.
    """
    settings = _settings(node, folder, config)
    with _journal(settings) as journal:
        rows = [_row(dispute, settings) for dispute in listed(journal) if everything or dispute.reason is None]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        state = "OVERDUE" if row["overdue"] else row["outcome"] or "open"
        sys.stdout.write(
            f"{row['dispute']}  {state}\n"
            f"  {row['claim']} in {row['region']} was answered {row['answer']}; {row['ground']}\n"
            f"  by {row['opener']}, received {row['received']}, due {row['due']}\n"
        )
    if not rows:
        sys.stdout.write("no dispute awaits a decision\n")


@app.command
def resolve(
    node: str,
    dispute: str,
    *,
    folder: FolderOption = None,
    config: Path | None = None,
    reason: ResolutionReason,
    answer: RightAnswer | None = None,
) -> None:
    """Decide a dispute for good. The running node signs the resolution and sends it to the gateway.

    In a sandbox (--dir) a reason that corrects needs the right answer: the simulated register then answers so, whoever
    asks the same of the same persons. A real department (--config) corrects its own register first.

    Examples: `heyan department dispute resolve police-4301 3f9c01ab --dir run --reason record-updated --answer yes`,
    `heyan department dispute resolve police-4301 3f9c01ab --dir run --reason record-confirmed`

    Parameters
    ----------
    node
        A department node.
    dispute
        Its id, or how that begins (8 characters at least).
    folder
        A sandbox's folder; it need not be running.
    config
        The node's settings, where there is no sandbox.
    reason
        record-updated, record-added and person-separated correct; record-confirmed and kept-elsewhere uphold.
    answer
        The right answer, for a reason that corrects a sandbox's register.
    """
    corrects = folder is not None and reason.outcome is ResolutionOutcome.CORRECTED
    if corrects != (answer is not None):
        expected = "must say the right answer" if corrects else "goes only with --dir and a reason that corrects"
        raise usage_error("--answer", expected)
    settings = _settings(node, folder, config)
    with _journal(settings) as journal:
        found = _named(dispute, listed(journal))
        if found.reason not in (None, reason):
            raise ConflictError(Reason.DISPUTE_RESOLVED)
        if answer is not None:  # first the register: nothing is called corrected that is not
            correct(settings.register_file, found.case, answer=answer is RightAnswer.YES)
        decide(journal, found.dispute_id, reason, time.time())
    sys.stdout.write(f"{found.dispute_id.hex()}: {reason.outcome.name} ({reason.name}); the node signs and sends it\n")


def _named(text: str, disputes: Sequence[ListedDispute]) -> ListedDispute:
    found = [dispute for dispute in disputes if dispute.dispute_id.hex().startswith(text.lower())]
    if len(text) < LEAST_PREFIX or len(found) != 1:
        raise MalformedError.at(
            "DISPUTE",
            f"must be the id of one dispute of the list, or its first {LEAST_PREFIX} characters or more",
            Reason.CONFIGURATION_INVALID,
        )
    return found[0]


def _row(dispute: ListedDispute, config: NodeConfig) -> dict[str, str | bool | None]:
    due = due_time(dispute.received, config.calendar)
    return {
        "dispute": dispute.dispute_id.hex(),
        "claim": dispute.claim,
        "region": dispute.region,
        "answer": dispute.outcome.name,
        "ground": dispute.ground.name,
        "opener": parse_identity(dispute.opener).name,
        "requester": parse_identity(dispute.requester).name,
        "received": _text(dispute.received),
        "due": _text(due),
        "overdue": dispute.reason is None and time.time() >= due,
        "outcome": dispute.reason.outcome.name if dispute.reason is not None else None,
        "reason": dispute.reason.name if dispute.reason is not None else None,
        "signed": dispute.signed,
    }


def _settings(node: str, folder: Path | None, config: Path | None) -> NodeConfig:
    """The settings of a sandbox's node, or of the file that is named."""
    if config is not None and folder is None:
        settings = NodeConfig.from_file(config)
        if settings.identity.name != node:
            expected = f"must be {settings.identity.name}, as in {config}"
            raise MalformedError.at("NODE", expected, Reason.CONFIGURATION_INVALID)
        return settings
    if folder is None or config is not None:
        expected = "or --config, one of them, must say where the node is"
        raise usage_error("--dir", expected)
    if held(folder) is None:
        raise usage_error("--dir", f"holds no sandbox: make one with heyan up {folder}")
    sandbox = Sandbox(folder, settle(folder, Asked()))
    folders = {identity.name: sandbox.folder_of(identity) for identity in sandbox.nodes.values()}
    if node not in folders:
        raise MalformedError.at("NODE", f"must be one of {', '.join(folders)}", Reason.CONFIGURATION_INVALID)
    return NodeConfig.from_file(folders[node] / "settings.toml")


@contextmanager
def _journal(config: NodeConfig) -> Iterator[Journal]:
    if not config.journal.exists():
        raise MalformedError.at("NODE", "has no journal yet: it was never started", Reason.CONFIGURATION_INVALID)
    with closing(Journal(config.journal)) as journal:
        yield journal


def _text(seconds: float) -> str:
    """Beijing time, in which the days are counted."""
    return datetime.fromtimestamp(seconds, BEIJING).isoformat(timespec="minutes")
