"""What a witness does with an `add-checkpoint` request. The order of the checks, and the status of each refusal:

1. the request can be read, and old is not above the checkpoint's size            400
2. the log is one of those that the witness was told                              404
3. a trusted key of that log signed, and no trusted key's signature is wrong      403
4. an empty tree has the empty root                                               422
5. old is the size that the witness holds of that log, or 0 if it holds none      409, with that size
6. the checkpoint extends what is held: equal sizes have equal roots and no proof,
   everything extends the empty tree without a proof, all else has a proof        422
7. a log moves on no more often than it may                                       429

5 to 7 are decided while nobody else can move the row (`WitnessStore.advance`). The time of a cosignature is the
clock's, but never before an earlier one of the same log: whoever sets the clock back gets no older word.

The errors are domain errors, which `server` maps: reasons tell the statuses apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from gateway.allowance import Allowance
from gateway.protocol.checkpoint import Checkpoint, checkpoint_of, parse_checkpoint
from gateway.protocol.cosignature import CosignerKey
from gateway.protocol.errors import ConflictError, ForgedError, MalformedError, NotFoundError
from gateway.protocol.merkle import EMPTY_ROOT, verify_consistency
from gateway.protocol.note import Note, Signature, VerifierKey, encode_base64, open_note, parse_note
from gateway.protocol.reasons import Reason
from gateway.protocol.witness_wire import AddCheckpoint, parse_add_checkpoint
from gateway.witness.store import Fork, Held, WitnessStore

KnownLogs = Mapping[str, Sequence[VerifierKey]]
"""The keys by which each log's checkpoints count, by origin; several while a key is rotated."""

_log = structlog.get_logger(__name__)
_EMPTY_TREE = ["0", encode_base64(EMPTY_ROOT)]


class OtherSizeError(ConflictError):
    """The witness holds `size`, not what was said."""

    def __init__(self, size: int) -> None:
        super().__init__(Reason.PROOF_INVALID, "the old size is not the one held")
        self.size = size


@dataclass(frozen=True, slots=True)
class _Submitted:
    """A request whose signatures hold."""

    request: AddCheckpoint
    note: Note
    checkpoint: Checkpoint


class Cosigning:
    """One witness. Synchronous; `add_checkpoint` is called from one thread at a time."""

    def __init__(
        self,
        *,
        keys: Sequence[CosignerKey],
        logs: Callable[[], KnownLogs],
        store: WitnessStore,
        clock: Callable[[], float],
        allowance: Allowance,
    ) -> None:
        self._keys = keys
        self._logs = logs
        self._store = store
        self._clock = clock
        self._allowance = allowance

    def add_checkpoint(self, body: bytes) -> str:
        """The witness's signature lines for the checkpoint of a request, which is durable as the newest of its log.

        Raises as the module's text says; LogUnavailableError if it cannot be remembered, and then nothing is signed.
        """
        submitted = self._submitted(body)
        checkpoint = submitted.checkpoint
        try:
            held = self._store.advance(checkpoint.origin, lambda held: self._decide(held, submitted))
        except ForgedError as error:
            if error.reason is Reason.LOG_FORKED:
                self._keep(submitted)
            raise
        own = {(key.verifier.name, key.verifier.key_id) for key in self._keys}
        signatures = parse_note(held.note.encode()).unverified
        return "".join(each.format() + "\n" for each in signatures if (each.name, each.key_id) in own)

    def checkpoint(self, digest: str) -> str:
        """The newest checkpoint cosigned of the log whose origin has this SHA-256; NotFoundError."""
        held = self._store.by_digest(digest)
        if held is None:
            raise NotFoundError(Reason.NOT_FOUND, "no checkpoint of that log was cosigned")
        return held.note

    def sizes(self) -> Mapping[str, int]:
        """The size that is held of each log, by origin."""
        return {held.origin: held.size for held in self._store.newest()}

    def _submitted(self, body: bytes) -> _Submitted:
        request = parse_add_checkpoint(body)
        note = request.note
        origin, *rest = note.text.split("\n")
        is_wrong_empty = rest[:1] == _EMPTY_TREE[:1] and rest[:2] != _EMPTY_TREE
        if not is_wrong_empty and request.old > parse_checkpoint(note.text).size:
            raise MalformedError.at("old", "must not be above the checkpoint's size")
        keys = self._logs().get(origin)
        if keys is None:
            raise NotFoundError(Reason.NOT_FOUND, "a log that this witness was not told of")
        note = open_note(request.checkpoint.encode(), keys)
        if is_wrong_empty:
            raise ForgedError(Reason.PROOF_INVALID, "the empty tree has another root")
        return _Submitted(request, note, checkpoint_of(note, origin))

    def _decide(self, held: Held | None, submitted: _Submitted) -> Held:
        request, checkpoint = submitted.request, submitted.checkpoint
        size = held.size if held is not None else 0
        if request.old != size:
            raise OtherSizeError(size)
        if size == 0 or held is None:
            if request.proof:
                raise ForgedError(Reason.PROOF_INVALID, "everything extends the empty tree without a proof")
        elif size == checkpoint.size and held.root != checkpoint.root:
            raise ForgedError(Reason.LOG_FORKED, "another root of the size that is held")
        else:
            verify_consistency(size, held.root, checkpoint.size, checkpoint.root, request.proof)
        now = self._clock()
        time = max(int(now), held.time if held is not None else 1)
        if held is not None and held.size == checkpoint.size:
            if held.time == time:
                return held  # said in this very second; so asking again and again writes once a second
        else:
            self._allowance.require(checkpoint.origin, now)
            self._allowance.spend(checkpoint.origin, now)
        own = [_cosign(key, submitted.note.text, time) for key in self._keys]
        note = _written(submitted.note.text, (*submitted.note.verified, *own))
        return Held(checkpoint.origin, checkpoint.size, checkpoint.root, time, note)

    def _keep(self, submitted: _Submitted) -> None:
        """Two roots of one size, both signed by the log: that is proof, whoever brought it here."""
        checkpoint = submitted.checkpoint
        note = _written(submitted.note.text, submitted.note.verified)
        self._store.keep_fork(checkpoint.origin, Fork(checkpoint.size, checkpoint.root, note))
        _log.error("log_forked", origin=checkpoint.origin, size=checkpoint.size)


def _cosign(key: CosignerKey, text: str, time: int) -> Signature:
    return Signature(key.verifier.name, key.verifier.key_id, key.at(time).sign(text))


def _written(text: str, signatures: Iterable[Signature]) -> str:
    return f"{text}\n" + "".join(signature.format() + "\n" for signature in signatures)
