"""A closed loop of unary calls over several channels: so many under way at all times, until all are answered.

It does as little as it can while it runs, because it shares the machine with what it measures: messages are made
before, replies are looked at afterwards.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from benchmarks.load import pause_of
from gateway.cli.endpoints import read_endpoints
from gateway.party.config import TlsFiles
from gateway.party.service import CLIENT_OPTIONS
from gateway.party.statuses import from_rpc_error
from gateway.party.tls import open_channel, watch_tls
from gateway.protocol.errors import OverloadedError
from gateway.protocol.identities import Identity, PartyRole
from gateway.protocol.reasons import Reason

CHANNELS = 4
DEADLINE = 30.0
"""Seconds of a call, and for which one that is refused as too much is sent again."""

Call = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]


@dataclass(frozen=True)
class Run:
    """What came of a loop: wall-clock seconds, the CPU seconds of this process, and for each message, in order, its
    reply, or the reason that it was refused with, and how long it took (seconds). `retries` were refused at first.
    """

    seconds: float
    cpu_seconds: float
    replies: list[bytes | Reason]
    latencies: list[float]
    retries: int


@asynccontextmanager
async def open_calls(
    folder: Path, requester: str, target: str, method: str, channels: int = CHANNELS
) -> AsyncIterator[list[Call]]:
    """The method at `target`, over channels of their own connections, with a requester's certificate.

    Whoever serves there must have the certificate of the federation's gateway.
    """
    endpoints = read_endpoints(folder)
    files = endpoints.requesters[requester]
    tls = watch_tls(TlsFiles(certificate=folder / files.cert, key=folder / files.key, ca=folder / endpoints.ca))
    gateway = Identity(PartyRole.GATEWAY, endpoints.gateway.id)
    opened = [open_channel(target, gateway, tls, CLIENT_OPTIONS) for _ in range(channels)]
    try:
        for channel in opened:
            await channel.channel_ready()
        yield [channel.unary_unary(method) for channel in opened]  # type: ignore[call-arg]
    finally:
        await asyncio.gather(*(channel.close(None) for channel in opened))


async def closed_loop(calls: Sequence[Call], messages: Sequence[bytes], concurrency: int) -> Run:
    """Send all messages, `concurrency` of them under way, each through the next of `calls`."""
    replies: list[bytes | Reason] = [Reason.INTERNAL] * len(messages)
    latencies = [0.0] * len(messages)
    waiting = iter(enumerate(messages))
    retries = 0

    async def work(call: Call) -> None:
        nonlocal retries
        for place, message in waiting:
            began = time.perf_counter()
            while True:
                try:
                    replies[place] = await call(message, timeout=DEADLINE)
                except grpc.aio.AioRpcError as error:
                    refused = from_rpc_error(error)
                    if isinstance(refused, OverloadedError) and time.perf_counter() - began < DEADLINE:
                        retries += 1
                        await asyncio.sleep(pause_of(refused))
                        continue
                    replies[place] = refused.reason
                break
            latencies[place] = time.perf_counter() - began

    gc.collect()
    gc.freeze()
    began, cpu_began = time.perf_counter(), time.process_time()
    await asyncio.gather(*(work(calls[number % len(calls)]) for number in range(concurrency)))
    run = Run(time.perf_counter() - began, time.process_time() - cpu_began, replies, latencies, retries)
    gc.unfreeze()
    return run
