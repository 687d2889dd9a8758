"""Whether a party can listen where its settings say, and whether it does: seen from outside its process."""

from __future__ import annotations

from gateway.party.addresses import Bind, split_address, try_bind
from gateway.party.config import PartyConfig
from gateway.party.diagnosis import Finding, Level
from gateway.party.keyfiles import Watched
from gateway.party.tls import TlsMaterial, check_server
from gateway.protocol.errors import HeyanError
from gateway.protocol.identities import Identity, PartyRole


async def check_ports(config: PartyConfig, tls: Watched[TlsMaterial] | None) -> tuple[Finding, Finding]:
    """The party's own addresses, `probes` and `listen`: free, or served by the party itself, and both alike.

    Without `tls` nobody can be asked who listens.
    """
    speaks_first = config.identity.role is not PartyRole.ISSUER
    listen, runs = await _check_listen("listen", config.listen, config.identity, tls, speaks_first=speaks_first)
    return _check_probes(config.probes, runs=runs), listen


async def check_https_port(setting: str, address: str, us: Identity, tls: Watched[TlsMaterial] | None) -> Finding:
    """A further address of the party, of an HTTPS server: free, or served by the party itself."""
    finding, _ = await _check_listen(setting, address, us, tls, speaks_first=False)
    return finding


async def _check_listen(
    setting: str, address: str, us: Identity, tls: Watched[TlsMaterial] | None, *, speaks_first: bool
) -> tuple[Finding, bool | None]:
    """What is found, and whether the party runs; None if that cannot be told."""
    host, port = split_address(address)
    if port == 0:
        return _chosen_at_start(setting, address), None
    found, words = try_bind(host, port)
    if found is Bind.IMPOSSIBLE:
        return _impossible(setting, address, words), False
    if found is Bind.FREE:
        return Finding(Level.OK, setting, f"{address} is free: the party does not run"), False
    if tls is None:
        text = f"{address} is in use; by whom cannot be asked without a certificate"
        return Finding(Level.WARNING, setting, text, "mend the certificate first"), None
    try:
        await check_server(address, us, tls, speaks_first=speaks_first)
    except HeyanError as error:
        text = f"{address} is busy, not with {us.uri}: {error.detail}"
        return Finding(Level.PROBLEM, setting, text, _stop_it(port)), False
    return Finding(Level.OK, setting, f"{address} is {us.uri} itself"), True


def _check_probes(address: str, *, runs: bool | None) -> Finding:
    host, port = split_address(address)
    if port == 0:
        return _chosen_at_start("probes", address)
    found, words = try_bind(host, port)
    if found is Bind.IMPOSSIBLE:
        return _impossible("probes", address, words)
    if found is Bind.FREE:
        if runs:
            text = f"{address} is free, though the party runs: it was started with other settings"
            return Finding(Level.WARNING, "probes", text, "restart the party, or look where its probes listen now")
        return Finding(Level.OK, "probes", f"{address} is free")
    if runs is False:
        text = f"{address} is busy, and not with this party, which does not run"
        return Finding(Level.PROBLEM, "probes", text, _stop_it(port))
    return Finding(Level.OK, "probes", f"{address} is in use, by this party" + ("" if runs else " if it runs"))


def _chosen_at_start(topic: str, address: str) -> Finding:
    return Finding(Level.OK, topic, f"{address}: the system chooses a port at start")


def _impossible(topic: str, address: str, words: str) -> Finding:
    return Finding(Level.PROBLEM, topic, f"{address} cannot be listened on: {words}", "choose another address")


def _stop_it(port: int) -> str:
    return f"see who listens (ss -ltnp 'sport = :{port}'), stop it, or choose another port"
