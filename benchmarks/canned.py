"""Canned departments: one process that stands in for all department nodes of a federation, so that the gateway is what
a benchmark measures.

    python -m benchmarks.canned --dir FOLDER        prints "ready" once all nodes' ports are served; SIGTERM ends it

It speaks the real Answer stream over mutual TLS, with the nodes' own certificates and answer keys, at their own
addresses; the gateway verifies, logs and acknowledges its answers as any others. What it leaves out, and why its
answers are right nevertheless, stands in `canned_replies`. Acknowledgements are read and dropped.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
from rich.console import Console

from benchmarks.canned_replies import CannedDepartment, agreeing
from benchmarks.processes import on_core, serving
from benchmarks.setting import PREFECTURE, Measured
from gateway.cli.endpoints import read_endpoints
from gateway.cli.sandbox import Asked, Sandbox, held
from gateway.cli.supervisor import Supervisor, free_port_base
from gateway.cli.up import open_sandbox
from gateway.party.keyfiles import load_signing_keys, newest_usable
from gateway.party.process import configure_logging, run_until_signal
from gateway.party.registry_keeper import RegistryKeeper
from gateway.party.service import SERVER_OPTIONS, Context, Guard, StreamMethod, stream_handlers
from gateway.party.tls import server_credentials, watch_tls
from gateway.protocol.identities import Identity, PartyRole
from gateway.protocol.outcomes import Outcome
from gateway.protocol.registry_terms import KeyUse
from sandbox_departments.config import NodeConfig
from sandbox_departments.node import GATEWAYS, SERVICE
from sandbox_departments.truth import Asking, Truth, read_truth

READY = b"ready\n"


def known(folder: Path) -> tuple[list[Truth], dict[Asking, Outcome]]:
    """The families of a federation that canned departments can answer about, and what they answer."""
    return agreeing(read_truth(folder / read_endpoints(folder).truth))


async def serve(folder: Path, stop: asyncio.Event) -> None:
    """Serve all department nodes of the federation in `folder` until `stop` is set."""
    made = held(folder)
    assert made is not None, f"no federation in {folder}"
    sandbox = Sandbox(folder, made)
    _, outcomes = known(folder)
    servers = [_server(sandbox, node, outcomes) for node in sandbox.nodes.values()]
    for server in servers:
        await server.start()
    gc.collect()
    gc.freeze()
    sys.stdout.buffer.write(READY)
    sys.stdout.flush()
    await stop.wait()
    await asyncio.gather(*(server.stop(1.0) for server in servers))


def _server(sandbox: Sandbox, node: Identity, outcomes: dict[Asking, Outcome]) -> grpc.aio.Server:
    config = NodeConfig.from_file(sandbox.folder_of(node) / "settings.toml")
    keeper = RegistryKeeper(config.registry, time.time)
    keys = load_signing_keys(config.answer_keys)
    key = newest_usable(keys, keeper.current(), node.uri, KeyUse.ANSWER, time.time())
    department = CannedDepartment(node.uri, key, outcomes)

    async def answer(_peer: Identity, context: Context) -> None:
        while isinstance(message := await context.read(), bytes):  # else EOF: the gateway closed its side
            reply = department.answer(message, time.time())
            if reply is not None:
                await context.write(reply)

    server = grpc.aio.server(options=SERVER_OPTIONS)
    methods = (StreamMethod("Answer", GATEWAYS, answer),)
    server.add_generic_rpc_handlers((stream_handlers(SERVICE, methods, Guard(keeper.current)),))
    server.add_secure_port(config.listen, server_credentials(watch_tls(config.tls)))
    return server


# -- beside a gateway -------------------------------------------------------------------------------------------


@asynccontextmanager
async def canned_departments(folder: Path, core: int | None = None) -> AsyncIterator[int]:
    """The canned departments of the federation in `folder`, on `core`, as long as entered; the process's id."""
    async with serving("canned", "--dir", str(folder), core=core) as (pid, said):
        assert said == READY, f"the canned departments did not start: {said!r}"
        yield pid


def make_sandbox(folder: Path, population: int, prefectures: tuple[str, ...] = (PREFECTURE,)) -> Sandbox:
    """A federation with `population` families and a requester in each prefecture, at free ports; nothing runs yet."""
    asked = Asked(population=population, prefectures=prefectures, port_base=free_port_base())
    return open_sandbox(folder, asked, Console(stderr=True))


@asynccontextmanager
async def canned_federation(
    population: int,
    *,
    gateway_core: int | None = None,
    other_core: int | None = None,
    prefectures: tuple[str, ...] = (PREFECTURE,),
) -> AsyncIterator[tuple[Measured, int]]:
    """A running federation whose departments are canned, and their process id.

    The gateway runs on `gateway_core`, the consent issuer and the canned departments on `other_core`.
    """
    with tempfile.TemporaryDirectory(prefix="heyan-bench-") as made:
        sandbox = make_sandbox(Path(made) / "run", population, prefectures)
        console = Console(stderr=True)
        by_name = {process.name: process for process in sandbox.processes()}
        issuer = Supervisor((by_name["consent"],), console.print)
        gateway = Supervisor((by_name[PartyRole.GATEWAY.value],), console.print)
        try:
            with on_core(other_core):
                await issuer.start()
            async with canned_departments(sandbox.folder, other_core) as pid:
                try:
                    with on_core(gateway_core):
                        await gateway.start()
                    yield Measured(sandbox.folder, sandbox, gateway), pid
                finally:
                    await gateway.stop()
        finally:
            await issuer.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, required=True, help="the federation's folder")
    folder = parser.parse_args().dir
    configure_logging("warning", for_good=True)  # to stderr: stdout says when it is ready
    run_until_signal(lambda stop: serve(folder, stop))


if __name__ == "__main__":
    main()
