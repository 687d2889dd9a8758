"""The whole system against its peers: applications of five checks, each on a fresh consent, over loopback.

    python -m benchmarks.peers

Ways, interleaved in each round, all processes sharing all cores, mutual TLS on every connection:

- `heyan`: one `Verify` call to the gateway of a running federation (processes of `heyan up`, with logs and journals);
- `direct`: the same department nodes called by the client, a unary `AnswerOne` for each check, all at once;
- `envoy`, `nginx`: the same calls through a proxy that routes by header, with mutual TLS on both sides;
- `envoy, in one call a department`: the same for checks that are asked together, which is less work for all.

Measured: saturation (closed loop, concurrency and the proxies' threads found by a short search); latency of each
application at a share of Envoy's saturation (open loop); and idle, one application in flight, against one unary call.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.bounds import amount, count
from benchmarks.clients import clients
from benchmarks.peers import envoy, nginx
from benchmarks.peers.calls import LEFT_OUT
from benchmarks.peers.comparing import compare
from benchmarks.peers.doors import Doors, open_doors
from benchmarks.peers.measuring import Measuring
from benchmarks.peers.place import enrol_peer, peer_tls
from benchmarks.peers.proxies import Setup, Upstream, free_port
from benchmarks.peers.report import report
from benchmarks.setting import RESULTS, Measured, federation, write_results
from gateway.cli.endpoints import read_endpoints
from gateway.protocol.identities import Identity, PartyRole

QUICK = {"rounds": 1, "seconds": 1.0, "levels": (64,), "threads": (2,), "families": 12, "population": 200}


Running = dict[str, tuple[int, tuple[int, ...]]]
"""Port and process ids of each proxy, by its name."""


@asynccontextmanager
async def proxies(folder: Path, measured: Measured, tried: Sequence[int]) -> AsyncIterator[Running]:
    """Every proxy that is measured, running with each number of threads that is tried."""
    endpoints = read_endpoints(measured.folder)
    upstreams = {}
    for name, department in endpoints.departments.items():
        identity = Identity(PartyRole.DEPARTMENT, name)
        upstreams[identity.uri] = Upstream(name, int(department.grpc.rpartition(":")[2]), identity.dns_name)
    kinds = {"envoy": envoy.envoy}
    program = nginx.find_nginx()
    if program is not None:
        kinds["nginx"] = partial(nginx.nginx, program)
    async with AsyncExitStack() as stack:
        found = {}
        for kind, run in kinds.items():
            for threads in tried:
                name = f"{kind}-{threads}"
                place = folder / name
                place.mkdir()
                setup = Setup(free_port(), threads, peer_tls(measured.folder), upstreams, place)
                found[name] = setup.port, await stack.enter_async_context(run(setup))
        yield found


async def run(options: argparse.Namespace) -> int:
    """Measure, print, write; the exit code."""
    async with AsyncExitStack() as stack:
        before = partial(enrol_peer, port=free_port())
        measured = await stack.enter_async_context(federation(options.population, before))
        place = measured.folder.parent / "proxies"
        place.mkdir()
        found = await stack.enter_async_context(proxies(place, measured, options.threads))
        ports = {name: port for name, (port, _) in found.items()}
        doors = Doors(measured.folder, measured.requester, options.families, options.channels, ports)
        started = await stack.enter_async_context(clients(partial(open_doors, doors), options.processes))
        measuring = Measuring(measured, started, {name: pids for name, (_, pids) in found.items()})
        results = await compare(measuring, list(found), options)
    if measuring.unexplained:
        sys.stderr.write("not all was answered rightly:\n" + "\n".join(measuring.unexplained) + "\n")
        return 1
    versions, missing = {"envoy": envoy.version()}, {}
    if (program := nginx.find_nginx()) is not None:
        versions["nginx"] = nginx.version(program)
    else:
        missing["nginx"] = nginx.MISSING
    written: dict[str, Any] = {"versions": versions, "missing": missing, "peers_leave_out": LEFT_OUT, **results}
    print(report(written))
    print(write_results("peers", written, options.results))
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round: that it runs, not how fast it is")
    parser.add_argument("--rounds", type=count, default=5)
    parser.add_argument("--seconds", type=amount, default=3.5, help="of each run, at most 20")
    parser.add_argument("--search-seconds", type=amount, default=1.5, help="of each run of the search")
    parser.add_argument("--levels", type=count, nargs="+", default=(32, 96), help="applications under way")
    parser.add_argument("--threads", type=count, nargs="+", default=(1, 2), help="worker threads of a proxy")
    parser.add_argument("--share", type=amount, default=0.8, help="of Envoy's saturation that is offered to each")
    parser.add_argument("--families", type=count, default=100, help="that applications are made for, in turn")
    parser.add_argument("--population", type=count, default=2_000, help="families in the registers")
    parser.add_argument("--processes", type=count, default=2, help="client processes")
    parser.add_argument("--channels", type=count, default=2, help="connections of each client process")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON file")
    options = parser.parse_args()
    if options.quick:
        vars(options).update(QUICK)
    sys.exit(asyncio.run(run(options)))


if __name__ == "__main__":
    main()
