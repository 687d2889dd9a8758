"""The gateway's end of a client's `VerifyStream`, as a script says: for tests of the client."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

import grpc

from gateway.client import Client
from gateway.party.statuses import DETAILS_KEY, code_of, to_status
from gateway.plans import make_plan
from gateway.protocol.errors import HeyanError
from gateway.rulebook import Rulebook
from heyan.v1 import gateway_service_pb2 as pb
from tests.gateway.conftest import PEER, Gateway, client_over

RULEBOOK = Rulebook(None)
"""The packs that are shipped."""


def rpc_error(error: HeyanError) -> grpc.aio.AioRpcError:
    """What a client's call raises for a status of ours."""
    status = to_status(error)
    trailing = grpc.aio.Metadata((DETAILS_KEY, status.SerializeToString()))
    return grpc.aio.AioRpcError(code_of(error), grpc.aio.Metadata(), trailing, status.message)


Script = Callable[["StreamCall"], Awaitable[None]]


class StreamCall:
    """One open stream: what the client sent is in `incoming` (None: its side is closed), answers go by `answer`."""

    def __init__(self, script: Script) -> None:
        self.incoming: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._outgoing: asyncio.Queue[bytes | BaseException | None] = asyncio.Queue()
        self._serving = asyncio.create_task(self._serve(script))
        self.cancelled = False

    async def _serve(self, script: Script) -> None:
        try:
            await script(self)
        except HeyanError as error:
            self._outgoing.put_nowait(rpc_error(error))
        else:
            self._outgoing.put_nowait(None)

    # -- the gateway's side -------------------------------------------------------------------------------------

    async def next(self) -> pb.VerifyStreamRequest | None:
        data = await self.incoming.get()
        return None if data is None else pb.VerifyStreamRequest.FromString(data)

    def answer(self, answer: pb.VerifyStreamResponse) -> None:
        self._outgoing.put_nowait(answer.SerializeToString())

    def send(self, data: bytes) -> None:
        self._outgoing.put_nowait(data)

    def close_channel(self) -> None:
        """What the client sees of a channel that is closed under it."""
        self._outgoing.put_nowait(asyncio.CancelledError())

    # -- the client's side --------------------------------------------------------------------------------------

    async def write(self, message: bytes) -> None:
        self.incoming.put_nowait(message)

    async def done_writing(self) -> None:
        self.incoming.put_nowait(None)

    async def read(self) -> object:
        found = await self._outgoing.get()
        if isinstance(found, BaseException):
            raise found
        return grpc.aio.EOF if found is None else found

    def cancel(self) -> None:
        self.cancelled = True
        self._serving.cancel()


class StreamGateway:
    """A gateway that answers each stream by the next script (the last one for ever), over a real pipeline."""

    def __init__(self, gateway: Gateway, *scripts: Script) -> None:
        self.gateway = gateway
        self._scripts = list(scripts)
        self.calls: list[StreamCall] = []
        self.received: Counter[bytes] = Counter()
        """How often each request came, over all streams."""
        self.looked_up = 0

    def renew(self) -> None:
        """It is the connection of its client."""

    @property
    def channel(self) -> StreamGateway:
        return self

    def stream_stream(self, _path: str) -> Callable[[], StreamCall]:
        def call() -> StreamCall:
            script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
            self.calls.append(StreamCall(script))
            return self.calls[-1]

        return call

    def unary_unary(self, path: str) -> Callable[..., Awaitable[bytes]]:
        """`GetPlan` by the packs that are shipped, and `GetVerification`."""

        async def call(message: bytes, timeout: float) -> bytes:  # noqa: ASYNC109
            try:
                if path.endswith("GetPlan"):
                    request = pb.GetPlanRequest.FromString(message)
                    return make_plan(
                        request, RULEBOOK, self.gateway.federation.registry, self.gateway.clock.now
                    ).SerializeToString()
                self.looked_up += 1
                receipt = self.gateway.pipeline.get(pb.GetVerificationRequest.FromString(message).request_id, PEER)
                return pb.GetVerificationResponse(receipt=receipt).SerializeToString()
            except HeyanError as error:
                raise rpc_error(error) from None

        return call

    async def take(self, call: StreamCall) -> pb.VerifyStreamRequest | None:
        request = await call.next()
        if request is not None:
            self.received[request.request.SerializeToString()] += 1
        return request

    async def answered(self, request: pb.VerifyStreamRequest) -> pb.VerifyStreamResponse:
        """What an honest gateway answers."""
        message = request.request.SerializeToString()
        try:
            receipt = await self.gateway.pipeline.verify(message, PEER, None)
        except HeyanError as error:
            return pb.VerifyStreamResponse(item=request.item, error=to_status(error))
        return pb.VerifyStreamResponse(item=request.item, response=pb.VerifyResponse(receipt=receipt))

    async def honest(self, call: StreamCall) -> None:
        """The script of an honest gateway."""
        while (request := await self.take(call)) is not None:
            call.answer(await self.answered(request))

    def client(self) -> Client:
        return client_over(self, self.gateway)

    async def close(self) -> None:
        for call in self.calls:
            call.cancel()
            with suppress(asyncio.CancelledError):
                await call._serving
