"""One witness, as the gateway asks it: a cosignature of a tree's head, or why there is none.

The witness is believed in nothing that it does not prove. Its cosignature counts only if its own key made it, over this
very checkpoint, at about this time. A size that it claims is only where the consistency proof begins; one beyond the
log, or a refusal of the proof, makes the gateway look at what the witness shows: a checkpoint that the log's own key
signed and the log does not extend is proof against the log (`ContradictedError`), whoever brings it, and nothing here
mends it. A claim without that proof is a fault of the witness.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

import aiohttp

from gateway.protocol.checkpoint import open_checkpoint
from gateway.protocol.cosignature import cosigned_at
from gateway.protocol.errors import BadDataError, ForgedError, UnreachableError
from gateway.protocol.note import MAX_NOTE_BYTES, Signature, VerifierKey, parse_note
from gateway.protocol.policy import PolicyWitness
from gateway.protocol.reasons import Reason
from gateway.protocol.witness_wire import (
    ADD_CHECKPOINT,
    MAX_ANSWER_BYTES,
    AddCheckpoint,
    Answer,
    ComeBack,
    Cosignatures,
    HoldsSize,
    Refused,
    checkpoint_path,
    read_answer,
)
from gateway.stores.records import Head

ATTEMPTS = 3
"""Requests for one cosignature: what the witness was thought to hold, what it says that it holds, and once more if
another process of ours came between."""
TIMEOUT = 5.0
"""Seconds for one request, connecting included."""
CLOCK_TOLERANCE = 60.0
"""Seconds by which a witness's time may differ from ours: beyond it the cosignature says something of another time."""


class ContradictedError(ForgedError):
    """Proof against the log: `note` is a checkpoint that its key signed and that it does not extend.

    LOG_ROLLED_BACK if it is larger than the log, LOG_FORKED if it has another root.
    """

    def __init__(self, reason: Reason, note: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.note = note


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """Speaks HTTP; UnreachableError (WITNESS_UNREACHABLE) if no whole answer comes in time."""

    async def exchange(self, url: str, body: bytes | None) -> Reply:
        """POST `body`, or GET where there is none."""
        ...


class Tree(Protocol):
    """What the log proves; see `gateway.log.Log`."""

    def head(self) -> Head:
        """The newest durable tree."""
        ...

    def root(self, size: int) -> bytes:
        """The root of an earlier tree."""
        ...

    def consistency(self, old: int, new: int) -> Sequence[bytes]:
        """The proof between two sizes."""
        ...


@dataclass(frozen=True, slots=True)
class LogIdentity:
    """The log's origin, and the keys by which a checkpoint is its own: every one that was not compromised."""

    origin: str
    verifiers: Callable[[], Sequence[VerifierKey]]


class WitnessLink:
    """One witness of a policy. One `cosign` at a time."""

    def __init__(
        self,
        witness: PolicyWitness,
        *,
        tree: Tree,
        log: LogIdentity,
        transport: Transport,
        clock: Callable[[], float],
        held: int = 0,
    ) -> None:
        self.witness = witness
        self._tree = tree
        self._log = log
        self._transport = transport
        self._clock = clock
        self._held = held

    async def cosign(self, head: Head) -> Signature | None:
        """The witness's verified cosignature of `head`; None if it holds a later tree of this very log already.

        Raises ContradictedError, another ForgedError or MalformedError for a lie or a refusal, UnreachableError.
        """
        text = parse_note(head.checkpoint.encode()).text
        for _ in range(ATTEMPTS):
            if self._held > head.size:
                await self._require_grown(head)
                return None
            answer = await self._ask(head)
            match answer:
                case Cosignatures(signatures):
                    signature = self._own(text, signatures)
                    self._held = head.size
                    return signature
                case HoldsSize(size) if size != self._held:
                    self._held = size
                case HoldsSize() | Refused(HTTPStatus.UNPROCESSABLE_ENTITY):
                    await self._examine()
                    raise ForgedError(Reason.WITNESS_REFUSED, f"{self.witness.name}: the proof did not convince it")
                case ComeBack(status, retry_after):
                    detail = f"{self.witness.name}: HTTP {status}"
                    raise UnreachableError(Reason.WITNESS_UNREACHABLE, detail, retry_after=retry_after)
                case Refused(status):
                    raise ForgedError(Reason.WITNESS_REFUSED, f"{self.witness.name}: HTTP {status}")
        raise ForgedError(Reason.WITNESS_REFUSED, f"{self.witness.name}: holds another size each time")

    async def _require_grown(self, head: Head) -> None:
        """The witness claims a tree beyond `head`: fine if the log has grown so far, to be proven if not."""
        if self._held <= self._tree.head().size:
            return
        claimed, self._held = self._held, head.size  # the next time it is asked from where we are
        await self._examine()
        raise ForgedError(Reason.WITNESS_REFUSED, f"{self.witness.name}: claims {claimed} leaves and shows none of it")

    async def _ask(self, head: Head) -> Answer:
        old = self._held
        proof = tuple(self._tree.consistency(old, head.size)) if 0 < old < head.size else ()
        request = AddCheckpoint(old, proof, head.checkpoint)
        reply = await self._transport.exchange(self._url(ADD_CHECKPOINT), request.format())
        return read_answer(reply.status, reply.headers, reply.body)

    def _own(self, text: str, signatures: Sequence[Signature]) -> Signature:
        """The cosignature by the witness's own key; those of others count for nothing, a wrong one spoils all."""
        key = self.witness.key
        own = [each for each in signatures if (each.name, each.key_id) == (key.name, key.key_id)]
        for signature in own:
            key.verify(text, signature.value)
            if abs(cosigned_at(signature) - self._clock()) > CLOCK_TOLERANCE:
                raise ForgedError(Reason.WITNESS_REFUSED, f"{self.witness.name}: cosigned at another time than now")
        if not own:
            raise ForgedError(Reason.KEY_UNKNOWN, f"{self.witness.name}: no cosignature by its key")
        return own[0]

    async def _examine(self) -> None:
        """Look at what the witness holds of the log; ContradictedError if that is proof against the log."""
        try:
            reply = await self._transport.exchange(self._url(checkpoint_path(self._log.origin)), None)
            if reply.status != HTTPStatus.OK:
                return
            shown = open_checkpoint(reply.body, self._log.verifiers(), self._log.origin)
        except (BadDataError, UnreachableError):
            return  # it shows nothing that the log signed
        note, size = reply.body.decode(), self._tree.head().size  # after the answer: the log may have grown meanwhile
        if shown.size > size:
            detail = f"{self.witness.name} shows {shown.size} leaves, signed by this log of {size}"
            raise ContradictedError(Reason.LOG_ROLLED_BACK, note, detail)
        if shown.size and shown.root != self._tree.root(shown.size):
            detail = f"{self.witness.name} shows another root of {shown.size} leaves, signed by this log"
            raise ContradictedError(Reason.LOG_FORKED, note, detail)

    def _url(self, path: str) -> str:
        return self.witness.url.rstrip("/") + path


class HttpTransport:
    """The transport over aiohttp: the system's trust in certificates, no redirects, bounded answers. `close` it."""

    def __init__(self, timeout: float = TIMEOUT) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._session: aiohttp.ClientSession | None = None

    async def exchange(self, url: str, body: bytes | None) -> Reply:
        """See the port."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=self._timeout, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
            )
        method = "GET" if body is None else "POST"
        headers = {"Accept-Encoding": "identity"}
        try:
            async with self._session.request(
                method, url, data=body, headers=headers, allow_redirects=False
            ) as response:
                limit = max(MAX_ANSWER_BYTES, MAX_NOTE_BYTES) + 1
                parts, size = [], 0
                while size < limit and (part := await response.content.read(limit - size)):
                    parts.append(part)
                    size += len(part)
                return Reply(response.status, response.headers, b"".join(parts))
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
            # A ValueError is a URL that aiohttp cannot use.
            raise UnreachableError(Reason.WITNESS_UNREACHABLE, type(error).__name__) from error

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
