"""`heyan doctor`: what keeps a party, or a whole local federation, from working, and what to do about it.

The checks stand in gateway.party.diagnosis; this module chooses them, gives them `now`, and prints.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from cyclopts import App
from rich.console import Console

from gateway.backups.manifest import LAST_BACKUP_FILE
from gateway.cli.endpoints import Endpoints, read_endpoints
from gateway.cli.json_output import print_json
from gateway.cli.options import FolderOption, JsonOption, usage_error
from gateway.party.config import Address, TlsFiles
from gateway.party.diagnosis import (
    AnyPartyConfig,
    Finding,
    Level,
    check_certificate,
    check_modes,
    check_peer,
    check_registry,
    check_signing_keys,
    peers_of,
)
from gateway.party.diagnosis_ports import check_https_port, check_ports
from gateway.party.keyfiles import Watched
from gateway.party.tls import TlsMaterial, watch_tls
from gateway.protocol.errors import HeyanError
from gateway.protocol.identities import Identity, PartyRole
from gateway.rules.shelf import all_rules, open_shelf
from gateway.static_log.folder import PublishedFolder, newest_folder

BACKUP_DAYS = 2.0
"""Age of the last backup from which it is told as a warning: one night was missed."""

_MARKS = {Level.OK: ("ok", "green"), Level.WARNING: ("warning", "yellow"), Level.PROBLEM: ("problem", "bold red")}

app = App(name="doctor")


@app.default
def doctor(
    *,
    config: Path | None = None,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> int:
    """Explain bad settings and packs, a failing handshake, a skewed clock, an expired key, a dead node, a busy port.

    Looks at files and certificates, and reaches the servers that the party calls; it changes nothing. Exit code 0 if
    there is no problem (warnings allowed), 1 if there is one, 2 if neither a file nor a folder was named.

    Examples: `heyan doctor --config run/gateway/settings.toml`, `heyan doctor --dir demo --json`

    Parameters
    ----------
    config
        A party's configuration file.
    folder
        The folder of `heyan up`: every party in it, and what endpoints.json names.
    """
    if (config is None) == (folder is None):
        raise usage_error("--config", "give either --config or --dir")
    if config is not None:
        findings = asyncio.run(examine_party(config, time.time))
    else:
        assert folder is not None  # noqa: S101 - one of the two is given
        findings = asyncio.run(examine_folder(folder, time.time))
    _print_json(findings) if as_json else _print(findings)
    return int(any(finding.level is Level.PROBLEM for _, finding in findings))


class _GatewayConfig(AnyPartyConfig):
    """Where a gateway's settings say that its rule packs are, and where its log is published."""

    rules: Path | None = None
    published: Path | None = None
    log_listen: Address = "127.0.0.1:0"


Findings = list[tuple[str, Finding]]
"""Each finding with the party that it is about."""


async def examine_party(path: Path, clock: Callable[[], float]) -> Findings:
    """Everything that can be found of the party of one configuration file."""
    try:
        config = AnyPartyConfig.from_file(path)
        us = config.identity
    except HeyanError as error:
        remedy = "correct the file as named; docs: heyan <party> serve --help"
        return [(str(path), Finding(Level.PROBLEM, "configuration", error.detail, remedy))]
    folder, now = path.parent, clock()
    findings = [*check_modes(folder), *check_certificate(config, now)]
    registry, found = check_registry(config, now)
    findings += found
    if registry is not None and any(party.id == us.uri for party in registry.document.parties):
        findings += check_signing_keys(config, folder, registry, now)
    tls = _watch(config.tls)
    findings += await check_ports(config, tls)
    if us.role is PartyRole.GATEWAY:
        findings.append(_check_rules(path))
        findings += await _check_log(path, us, tls)
        findings += _check_backup(config, now)
    if tls is not None and registry is not None:
        peers = (check_peer(target, peer, tls, clock(), registry) for target, peer in peers_of(registry, us))
        for reached in await asyncio.gather(*peers):
            findings += reached
    return [(us.uri, finding) for finding in findings]


async def examine_folder(folder: Path, clock: Callable[[], float]) -> Findings:
    """Every party of a folder of `heyan up`, then its servers as each requester of endpoints.json reaches them."""
    findings: Findings = []
    for path in _configurations(folder):
        findings += await examine_party(path, clock)
    try:
        endpoints = read_endpoints(folder)
    except HeyanError as error:
        remedy = f"start the federation once: heyan up {folder}"
        return [*findings, (str(folder), Finding(Level.PROBLEM, "endpoints", error.detail, remedy))]
    return findings + await _examine_endpoints(folder, endpoints, clock)


def _check_rules(settings: Path) -> Finding:
    """Whether a gateway could take up the rule packs of its settings now; a running one keeps those before."""
    try:
        folder = _GatewayConfig.from_file(settings).rules
        rules = all_rules(open_shelf(folder and folder.resolve()))
    except HeyanError as error:
        text = "; ".join(f"{each.field}: {each.description}" for each in error.violations) or error.detail
        remedy = "mend them, heyan rules check shows each; the rules before them stay in force, a restart would fail"
        return Finding(Level.PROBLEM, "rules", text, remedy)
    return Finding(Level.OK, "rules", f"{len(rules)} rule packs of {folder or 'Heyan itself'} hold")


async def _check_log(settings: Path, us: Identity, tls: Watched[TlsMaterial] | None) -> list[Finding]:
    """Whether a gateway can serve its published log, and how far it is published."""
    try:
        config = _GatewayConfig.from_file(settings)
    except HeyanError as error:
        return [Finding(Level.PROBLEM, "log", error.detail, "correct the setting as named")]
    if config.published is None:
        return [Finding(Level.OK, "log", "is not published: the settings name no folder for it (published)")]
    found = [await check_https_port("log_listen", config.log_listen, us, tls)]
    try:
        shown = PublishedFolder(newest_folder(config.published)).read()
    except HeyanError as error:
        remedy = "restore the folder from a copy: the gateway refuses to record until it is right"
        return [*found, Finding(Level.PROBLEM, "log", error.detail, remedy)]
    text = f"{shown[0].size} leaves of {shown[0].origin} are published" if shown is not None else "nothing is published"
    return [*found, Finding(Level.OK, "log", text)]


def _check_backup(config: AnyPartyConfig, now: float) -> list[Finding]:
    """When a gateway's store was last backed up by `heyan gateway backup`; nothing if it never was."""
    file = config.registry.seen.with_name(LAST_BACKUP_FILE)
    if not file.exists():
        return []
    days = (now - file.stat().st_mtime) / 86_400
    if days > BACKUP_DAYS:
        remedy = "heyan gateway backup, each night: docs/operations.md"
        return [Finding(Level.WARNING, "backup", f"the last backup was made {days:.0f} days ago", remedy)]
    return [Finding(Level.OK, "backup", f"the last backup was made {days:.1f} days ago")]


def _configurations(folder: Path) -> list[Path]:
    """The settings of parties; other TOML files of the folder are rule packs."""
    return sorted(folder.rglob("settings.toml"))


async def _examine_endpoints(folder: Path, endpoints: Endpoints, clock: Callable[[], float]) -> Findings:
    servers = [(endpoints.gateway.grpc, Identity(PartyRole.GATEWAY, endpoints.gateway.id))]
    servers += [(node.grpc, Identity(PartyRole.DEPARTMENT, name)) for name, node in endpoints.departments.items()]
    findings: Findings = []
    for name, files in endpoints.requesters.items():
        us = Identity(PartyRole.REQUESTER, name).uri
        tls_files = TlsFiles(certificate=folder / files.cert, key=folder / files.key, ca=folder / endpoints.ca)
        try:
            tls = watch_tls(tls_files)
        except HeyanError as error:
            remedy = f"have its certificate issued anew: heyan up {folder}"
            findings.append((us, Finding(Level.PROBLEM, "certificate", error.detail, remedy)))
            continue
        for reached in await asyncio.gather(*(check_peer(target, peer, tls, clock()) for target, peer in servers)):
            findings += [(us, finding) for finding in reached]
    return findings


def _watch(files: TlsFiles) -> Watched[TlsMaterial] | None:
    try:
        return watch_tls(files)
    except HeyanError:
        return None  # check_certificate has said why


def _print(findings: Findings) -> None:
    console = Console()
    shown = None
    for party, finding in findings:
        if party != shown:
            console.print(party, style="bold", markup=False, highlight=False, soft_wrap=True)
            shown = party
        mark, style = _MARKS[finding.level]
        console.print(f"  {mark:8}", style=style, end="")
        console.print(f" {finding.topic}: {finding.text}", markup=False, highlight=False, soft_wrap=True)
        if finding.remedy:
            console.print(f"           -> {finding.remedy}", markup=False, highlight=False, soft_wrap=True)
    problems = sum(finding.level is Level.PROBLEM for _, finding in findings)
    warnings = sum(finding.level is Level.WARNING for _, finding in findings)
    console.print(f"{len(findings)} checks: {problems} problem(s), {warnings} warning(s).", highlight=False)


def _print_json(findings: Findings) -> None:
    rows = [{"party": party, **asdict(finding)} for party, finding in findings]
    ok = all(finding.level is not Level.PROBLEM for _, finding in findings)
    print_json({"ok": ok, "findings": rows})
