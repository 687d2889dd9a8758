"""`heyan department`: one department node alone, and the fault switch of a sandbox's nodes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from cyclopts import App

from gateway.cli.json_output import print_json
from gateway.cli.options import JsonOption, RequiredFolder, usage_error
from gateway.cli.sandbox import STANDBYS, Asked, Process, Sandbox, held, settle
from gateway.protocol.errors import MalformedError
from gateway.protocol.reasons import Reason
from sandbox_departments.faults.kinds import KINDS, Fault, Kind, make_fault
from sandbox_departments.faults.switch import FILE, lift_fault, read_fault, set_fault

app = App(name="department")
app.command(
    "gateway.cli.department_disputes:app",
    name="dispute",
    help="See and resolve the disputes of a department's answers.",
)
app.command(
    "gateway.cli.department_journal:app",
    name="journal",
    help="Hand a node's journal to auditors, note its end, check such files.",
)

OFF = "off"
STANDBY_FILE = "fault-standby.json"
"""The switch of a standby, which has its primary's folder: a fault is one process's."""

_FAULT_HELP = (
    "Set a fault of a sandbox's department node, lift it (`off`), or show what is set.\n\n"
    "The running node notices within a second, without a restart. "
    "Each fault costs that department's own checks only.\n\n"
    "Examples: `heyan department fault --dir run police-4301 slow --seconds 3`, "
    "`heyan department fault --dir run police-4301 off`, `heyan department fault --dir run`\n\n"
    "Faults:\n\n" + "\n".join(f"- `{kind.value}`: {terms.text}" for kind, terms in KINDS.items())
)


@app.command
def serve(*, config: Path, faults: Path | None = None) -> None:
    """Serve one department node until SIGTERM or Ctrl-C; what was asked is answered first.

    Example: `heyan department serve --config run/departments/police-4301/settings.toml`

    Parameters
    ----------
    config
        TOML file with the node's settings.
    faults
        The fault switch of a sandbox's node, a file that need not be there. A real department names none.
    """
    from gateway.party.process import begin, run_until_signal  # noqa: PLC0415 - only this runs a node
    from sandbox_departments.config import NodeConfig  # noqa: PLC0415

    settings = NodeConfig.from_file(config)
    begin(settings)
    if faults is None:
        from sandbox_departments.serve import serve as serve_node  # noqa: PLC0415

        run_until_signal(lambda stop: serve_node(settings, stop))
    else:
        from sandbox_departments.faults.process import serve_with_faults  # noqa: PLC0415

        run_until_signal(lambda stop: serve_with_faults(settings, stop, faults))


@app.command(name="fault", help=_FAULT_HELP)
def switch(
    node: str | None = None,
    fault: str | None = None,
    *,
    folder: RequiredFolder,
    seconds: float | None = None,
    days: int | None = None,
    after: int | None = None,
    as_json: JsonOption = False,
) -> None:
    """Set, lift or show faults.

    Parameters
    ----------
    node
        A department node, such as police-4301, or its standby, police-4301-standby; without it, every fault that is
        set is shown.
    fault
        Its name, or off; without it, the node's is shown.
    folder
        The federation's folder, as `heyan up` made it; it need not be running.
    seconds
        How long `slow`, `late` and `out-of-order` take.
    days
        How old `stale-snapshot` makes the register.
    after
        How many messages still pass before the fault sets in (default 0).
    """
    found = switches(folder)
    if node is not None and node not in found:
        raise MalformedError.at("NODE", f"must be one of {', '.join(found)}", Reason.CONFIGURATION_INVALID)
    if node is None or fault is None:
        _refuse_options(seconds, days, after)
        asked = found if node is None else {node: found[node]}
        _show({name: fault_set for name, file in asked.items() if (fault_set := read_fault(file)) is not None}, as_json)
        return
    if fault == OFF:
        _refuse_options(seconds, days, after)
        lifted = lift_fault(found[node])
        line = f"{node}: fault lifted\n" if lifted else f"{node}: no fault was set\n"
    else:
        chosen = make_fault(fault, seconds=seconds, days=days, after=after)
        set_fault(found[node], chosen)
        line = f"{node}: {KINDS[chosen.kind].text}; lift it with heyan department fault --dir {folder} {node} {OFF}\n"
    sys.stdout.write(line)


def switchable(process: Process) -> Process:
    """A process of the sandbox, started so that it can be given faults if it is a department node's."""
    if not _is_node(process):
        return process
    return replace(process, words=(*process.words, "--faults", str(_switch_of(process))))


def is_down(process: Process) -> bool:
    """Whether the process is a node that its switch keeps from serving."""
    if not _is_node(process):
        return False
    fault = read_fault(_switch_of(process))
    return fault is not None and fault.kind is Kind.DOWN


def faulty(processes: Iterable[Process]) -> Iterator[str]:
    """A line for each node with a fault that is set."""
    for process in filter(_is_node, processes):
        fault = read_fault(_switch_of(process))
        if fault is not None:
            yield f"{process.name} has the fault {fault.kind.value}: {KINDS[fault.kind].text}"


def _switch_of(process: Process) -> Path:
    return process.folder / (STANDBY_FILE if process.wave == STANDBYS else FILE)


def _is_node(process: Process) -> bool:
    return process.words[0] == app.name[0]


def switches(folder: Path) -> Mapping[str, Path]:
    """The switch of each node of the sandbox in `folder`, by the node's name."""
    if held(folder) is None:
        raise usage_error("--dir", f"holds no sandbox: make one with heyan up {folder}")
    processes = Sandbox(folder, settle(folder, Asked())).processes()
    return {process.name: _switch_of(process) for process in processes if _is_node(process)}


def _refuse_options(*options: object) -> None:
    if any(option is not None for option in options):
        raise MalformedError.at("FAULT", "must be named to set something of it", Reason.CONFIGURATION_INVALID)


def _show(found: Mapping[str, Fault], as_json: bool) -> None:
    if as_json:
        rows = [{"department": name, **_row(each)} for name, each in found.items()]
        print_json(rows)
        return
    for name, each in found.items():
        settings = ", ".join(f"{key} {value}" for key, value in _row(each).items() if key != "fault" and value)
        sys.stdout.write(f"{name:16} {each.kind.value:16} {settings}".rstrip() + "\n")
    if not found:
        sys.stdout.write("no fault is set\n")


def _row(each: Fault) -> dict[str, object]:
    return {"fault": each.kind.value, "seconds": each.seconds, "days": each.days, "after": each.after}
