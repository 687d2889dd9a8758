"""What the documentation names is there: commands, settings, metrics, links, decisions, tests; its snippets run."""

from __future__ import annotations

import ast
import contextlib
import importlib
import io
import json
import os
import random
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from consent.issuer.config import IssuerConfig
from gateway.cli import app, main
from gateway.config import GatewayConfig
from gateway.party.config import PartyConfig
from gateway.protocol.presentation import read_signed_query
from gateway.protocol.query import read_query
from gateway.protocol.receipt_file import receipt_from_json
from gateway.witness.config import WitnessConfig
from sandbox_departments.config import NodeConfig

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SOURCES = ("gateway", "consent", "sandbox_departments")
NOT_YET = {"protos/baseline.binpb"}
"""Files that the documentation announces for the first release."""

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_REPOSITORY_PATH = re.compile(r"(?:gateway|consent|sandbox_departments|protos|tests|docs)/[\w./-]*")
_SAMPLES = ("_bucket", "_count", "_sum", "_total")


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


every_page = pytest.mark.parametrize("page", PAGES, ids=page_id)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    return [body for found, body in _BLOCK.findall(text_of(page)) if found == language]


def shell_lines(page: Path) -> list[str]:
    joined = "".join(blocks(page, "sh")).replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.strip()]


def prose(page: Path) -> str:
    return _BLOCK.sub("", text_of(page))


def help_of(command: tuple[str, ...]) -> str:
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0, command
    return shown.getvalue()


# -- commands -----------------------------------------------------------------------------------------------


@every_page
def test_every_command_line_of_a_block_is_one(page: Path) -> None:
    for line in shell_lines(page):
        words = shlex.split(line, comments=True)
        if words[0] == "heyan":
            app.parse_args(words[1:], exit_on_error=False, print_error=False)


@every_page
def test_every_command_named_in_the_text_exists(page: Path) -> None:
    for span in _SPAN.findall(prose(page)):
        if not span.startswith("heyan "):
            continue
        words = span.split()[1:]
        command, apps, rest = app.parse_commands(words)
        assert command or all(word.startswith("--") for word in rest), span
        is_group = apps[-1].default_command is None
        assert not (command and is_group and rest and not rest[0].startswith("-")), span
        shown = help_of(command)
        for option in (word for word in rest if word.startswith("--")):
            assert option in shown, span


@every_page
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    named = [*shell_lines(page), *_SPAN.findall(prose(page))]
    for line in named:
        words = line.split()
        if len(words) > 1 and words[0] == "make" and re.fullmatch(r"[a-z-]+", words[1]):
            assert words[1] in targets, line


# -- settings and metrics -----------------------------------------------------------------------------------


def settings_of(model: type[BaseModel], prefix: str = "") -> dict[str, str]:
    """Each setting with its default as the tables write it."""
    found: dict[str, str] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= settings_of(field.annotation, f"{prefix}{name}.")
        elif field.default is PydanticUndefined:
            found[prefix + name] = "—"
        else:
            default = str(field.default)
            found[prefix + name] = f"`{default.lower() if isinstance(field.default, bool) else default}`"
    return found


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("Every party", PartyConfig),
        ("Gateway", GatewayConfig),
        ("Consent issuer", IssuerConfig),
        ("Department node", NodeConfig),
        ("Witness", WitnessConfig),
    ],
)
def test_tables_of_settings_are_the_settings(heading: str, model: type[BaseModel]) -> None:
    section = text_of(ROOT / "docs/operations.md").split(f"### {heading}\n")[1].split("\n#")[0]
    table = dict(re.findall(r"^\| `([a-z_.]+)` \| ([^|]+) \|", section, re.MULTILINE))
    common = {} if model is PartyConfig else settings_of(PartyConfig)
    expected = {name: default for name, default in settings_of(model).items() if name not in common}
    assert {name: default.strip() for name, default in table.items()} == expected


def test_metrics_are_documented_and_documented_metrics_exist() -> None:
    made = re.compile(r'(?:Counter|Gauge|Histogram)\(\s*"(heyan_\w+)"')
    exported = {
        name for folder in SOURCES for file in (ROOT / folder).rglob("*.py") for name in made.findall(text_of(file))
    }
    named = {name for page in PAGES for name in re.findall(r"\bheyan_[a-z_]+\b", text_of(page))}
    families = {next((name.removesuffix(end) for end in _SAMPLES if name.endswith(end)), name) for name in named}
    assert families == exported


# -- references ---------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(prose(page))}


@every_page
def test_relative_links_lead_somewhere(page: Path) -> None:
    for target in _LINK.findall(prose(page)):
        if target.startswith(("https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert file.is_relative_to(ROOT), target
        assert not anchor or anchor in anchors(file), target


@every_page
def test_files_named_in_the_text_exist(page: Path) -> None:
    for span in _SPAN.findall(prose(page)):
        if _REPOSITORY_PATH.fullmatch(span) and span not in NOT_YET:
            assert (ROOT / span).exists(), span


def test_tests_named_in_the_documentation_exist() -> None:
    defined = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)", file.read_text(encoding="utf-8"))
    }
    named = {span for page in PAGES for span in _SPAN.findall(prose(page)) if re.fullmatch(r"test_\w+", span)}
    assert named <= defined | {"test_replayed_grant_is_refused"}  # an example of a name, in CONTRIBUTING.md


def test_decisions_are_numbered_without_gaps_and_listed() -> None:
    folder = ROOT / "docs/adr"
    records = sorted(folder.glob("[0-9]*.md"))
    index = text_of(folder / "README.md")
    assert [record.name[:4] for record in records] == [f"{number:04}" for number in range(1, len(records) + 1)]
    for record in records:
        headings = _HEADING.findall(text_of(record))
        assert headings[0].startswith(f"{record.name[:4]}: "), record.name
        assert headings[1:] == ["Context", "Decision", "Consequences"], record.name
        assert f"[{headings[0]}]({record.name})" in index


# -- snippets -----------------------------------------------------------------------------------------------


@every_page
def test_snippets_import_what_exists(page: Path) -> None:
    for snippet in blocks(page, "python"):
        for node in ast.walk(ast.parse(snippet)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module or "")
                for alias in node.names:
                    if not hasattr(module, alias.name):
                        importlib.import_module(f"{node.module}.{alias.name}")


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_readme_runs_as_written(tmp_path: Path) -> None:
    """And the auditors' guide after it: the log that it leads through is the one that the README made."""
    readme, guide = ROOT / "README.md", ROOT / "docs/auditing.md"
    for page in (readme, guide):
        for snippet in blocks(page, "python"):
            name = re.search(r"python (\w+\.py)", snippet)
            assert name is not None
            (tmp_path / name[1]).write_text(snippet, encoding="utf-8")
    (tmp_path / "protos").symlink_to(ROOT / "protos")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    base = free_ports(40)
    lines = shell_lines(readme)
    (up,) = (line for line in lines if line.startswith("heyan up "))
    words = [*shlex.split(up.replace("30000", str(base))), "--population", "32", "--prefectures", "4301"]
    log = tmp_path / "up.log"
    with log.open("w") as out:
        federation = subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=out, stderr=out)
    try:
        wait_for(log, "Ctrl-C stops everything", federation)
        broken = False
        for line in lines[lines.index(up) + 1 :]:
            broken = line.endswith(" hangs") or (broken and not line.endswith(" off"))
            unavailable = broken and line.startswith("heyan verify")
            expected = 1 if "forged.json --dir" in line else 3 if unavailable else 0
            type_line(
                line.replace("https://127.0.0.1:30000/", f"https://127.0.0.1:{base}/"), tmp_path, environment, expected
            )
        environment |= pinned(tmp_path)
        for line in shell_lines(guide):
            type_line(line, tmp_path, environment)
    finally:
        federation.terminate()
        federation.wait(60)


def type_line(line: str, folder: Path, environment: dict[str, str], expected: int = 0) -> None:
    """Run a line of a page in its reader's folder."""
    if not can_run(line):
        return
    done = subprocess.run(
        ["/bin/sh", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == expected, (line, done.stdout, done.stderr)


def pinned(folder: Path) -> dict[str, str]:
    """What the auditors' guide takes from the paper on which it was noted, and from the receipt of the case.

    And the files that an auditor has on another machine.
    """
    endpoints = json.loads((folder / "run/endpoints.json").read_text(encoding="utf-8"))
    (auditor,) = endpoints["auditors"].values()
    for name, source in (("ca.pem", endpoints["ca"]), ("me.pem", auditor["cert"]), ("me.key", auditor["key"])):
        shutil.copy2(folder / "run" / source, folder / name)
    receipt = receipt_from_json((folder / "receipt.json").read_text(encoding="utf-8"))
    query = read_query(read_signed_query(receipt.query).query)
    gateway = endpoints["gateway"]
    return {
        "LOG_URL": gateway["log_url"],
        "LOG_VKEY": gateway["log_vkey"],
        "REQUEST_ID": query.request_id.hex(),
    }


def can_run(line: str) -> bool:
    if line.startswith("protos/"):
        return (ROOT / line.split(maxsplit=1)[0]).exists()  # buf is installed by `make buf` only
    return line.startswith(("heyan ", "python ", "printf "))


def wait_for(log: Path, text: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(900):
        if text in log.read_text(encoding="utf-8"):
            return
        assert process.poll() is None, log.read_text(encoding="utf-8")
        time.sleep(0.1)
    pytest.fail(log.read_text(encoding="utf-8"))


def free_ports(count: int) -> int:
    """The first of `count` ports in a row that are free now, drawn so that tests in parallel rarely meet."""
    draw = random.Random(os.getpid())
    for _ in range(100):
        base = draw.randrange(20_000, 31_000, 2)
        if all(is_free(port) for port in range(base, base + count)):
            return base
    pytest.fail("no free ports")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
