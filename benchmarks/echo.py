"""The bare echo that a gateway is measured against: what grpc.aio and mutual TLS cost by themselves.

    python -m benchmarks.echo --dir FOLDER --reply-bytes N        prints "ready PORT"; SIGTERM ends it

One unary method behind a generic handler: bytes in, bytes out, nothing parsed. All else is as a gateway has it: its
certificate and CA, the client's certificate demanded, the same options of server and channels, uvloop, a process of
its own. Requests have the size of a Verify request, replies that of its response.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from benchmarks.processes import serving
from gateway.config import GatewayConfig
from gateway.party.process import configure_logging, run_until_signal
from gateway.party.service import SERVER_OPTIONS
from gateway.party.tls import server_credentials, watch_tls

SERVICE = "heyan.benchmark.Echo"
METHOD = f"/{SERVICE}/Echo"
_READY = b"ready"


async def serve(folder: Path, reply_bytes: int, stop: asyncio.Event) -> None:
    """Serve as the gateway of the federation in `folder` would, at a port that the system chooses."""
    config = GatewayConfig.from_file(folder / "gateway" / "settings.toml")
    reply = reply_of(reply_bytes)

    async def echo(_message: bytes, _context: object) -> bytes:
        return reply

    server = grpc.aio.server(options=SERVER_OPTIONS)
    handler = grpc.unary_unary_rpc_method_handler(echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Echo": handler}),))
    port = server.add_secure_port("127.0.0.1:0", server_credentials(watch_tls(config.tls)))
    await server.start()
    sys.stdout.buffer.write(b"%s %d\n" % (_READY, port))
    sys.stdout.flush()
    await stop.wait()
    await server.stop(1.0)


def reply_of(size: int) -> bytes:
    """What every call is answered with: `size` bytes."""
    return b"\xa5" * size


@dataclass(frozen=True)
class EchoServer:
    """A running echo: where it listens (host:port), and its process id."""

    target: str
    pid: int


@asynccontextmanager
async def echo_server(folder: Path, reply_bytes: int, core: int | None = None) -> AsyncIterator[EchoServer]:
    """An echo server with the certificates of the federation in `folder`, on `core`, as long as entered."""
    words = ("--dir", str(folder), "--reply-bytes", str(reply_bytes))
    async with serving("echo", *words, core=core) as (pid, line):
        said = line.split()
        assert said[:1] == [_READY], f"the echo server did not start: {said!r}"
        yield EchoServer(f"127.0.0.1:{int(said[1])}", pid)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, required=True, help="the federation's folder")
    parser.add_argument("--reply-bytes", type=int, required=True, help="size of every reply")
    options = parser.parse_args()
    configure_logging("warning", for_good=True)  # to stderr: stdout says where it listens
    run_until_signal(lambda stop: serve(options.dir, options.reply_bytes, stop))


if __name__ == "__main__":
    main()
