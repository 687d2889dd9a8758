"""The journals of a sandbox's nodes, exported as each department would, running or not."""

from __future__ import annotations

from pathlib import Path

from gateway.cli.department_journal import seal_of
from gateway.cli.journal_files import SUFFIX
from gateway.cli.options import usage_error
from gateway.cli.progress import Tell
from gateway.cli.sandbox import Asked, Sandbox, held, settle
from gateway.party.keyfiles import FOLDER_MODE, writing
from sandbox_departments.config import NodeConfig
from sandbox_departments.journal_export import export_lines


def export_all(folder: Path, out: Path, tell: Tell) -> tuple[Path, ...]:
    """Export every journal of the sandbox in `folder` into `out`, made if it is not there; the files.

    MalformedError (CONFIGURATION_INVALID) if there is no sandbox: real departments send their exports.
    """
    if not folder.exists() or held(folder) is None:
        raise usage_error("--journal", f"must name the exports of departments: {folder} holds no sandbox's")
    sandbox = Sandbox(folder, settle(folder, Asked()))
    out.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    files = []
    for number, node in enumerate(sandbox.nodes.values(), 1):
        settings = NodeConfig.from_file(sandbox.folder_of(node) / "settings.toml")
        if settings.journal.exists():
            file = out / f"{node.name}{SUFFIX}"
            with writing(file) as stream:
                for line in export_lines(settings.journal, seal_of(settings)):
                    stream.write(line + b"\n")
            files.append(file)
        tell(number, len(sandbox.nodes))
    return tuple(files)
