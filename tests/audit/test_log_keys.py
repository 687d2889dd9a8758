"""An auditor reads a log whose keys followed each other: the newest key's word holds, a retired one's does not."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import mldsa

from gateway.auditing import LogAudit
from gateway.protocol.checkpoint import Checkpoint, sign_checkpoint
from gateway.protocol.cosignature import CosignerKey
from gateway.protocol.errors import ForgedError
from gateway.protocol.keys import SigningKey
from gateway.protocol.merkle import leaf_hash, root_of
from gateway.protocol.note import Signer, SignerKey
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.protocol.registry_terms import KeyTerms, KeyUse
from tests import federation as fed
from tests.audit.logs import MIDNIGHT, WINDOW, Books, federation, little_log, signer

NEW = fed.ed25519_key(b"", "the next log key", "log-2")
SECOND = SigningKey("log-pq-1", mldsa.MLDSA44PrivateKey.from_seed_bytes(bytes(32)))
NEW_SIGNER = SignerKey.from_seed(fed.LOG_ORIGIN, NEW.private.private_bytes_raw())  # type: ignore[union-attr]
SECOND_SIGNER = CosignerKey.of(fed.LOG_ORIGIN, SECOND.private).at(MIDNIGHT)  # type: ignore[arg-type]


def terms(key: SigningKey, **changes: int) -> KeyTerms:
    return msgspec.structs.replace(fed.key_terms(key, KeyUse.LOG, MIDNIGHT), **changes)


def listing(*keys: KeyTerms) -> Registry:
    return federation().changed(lambda document: fed.edit_party(document, fed.GATEWAY, keys=keys)).registry


OLD = federation().signing_keys[fed.GATEWAY]


class Signed(Books):
    """The little log, whose checkpoints these sign."""

    signers: Sequence[Signer] = ()

    def note(self, size: int | None = None) -> str:
        some = self.leaves_[: len(self.leaves_) if size is None else size]
        root = root_of([leaf_hash(leaf) for leaf in some])
        return sign_checkpoint(Checkpoint(fed.LOG_ORIGIN, len(some), root), self.signers)


async def read(registry: Registry, *signers: Signer) -> None:
    little = little_log()
    books = Signed(little.leaves_, little.counts)
    books.signers = signers
    await LogAudit(books, registry, fed.GATEWAY).read(WINDOW)


@pytest.mark.parametrize("known", [(terms(OLD),), (terms(NEW),), (terms(OLD), terms(NEW))], ids=["old", "new", "both"])
async def test_checkpoint_of_the_overlap_is_read_by_who_knows_either_key(known: tuple[KeyTerms, ...]) -> None:
    await read(listing(*known), signer(), NEW_SIGNER)


async def test_checkpoint_that_only_a_retired_key_signed_covers_no_later_leaf() -> None:
    retired = listing(terms(OLD, not_after=MIDNIGHT + 10), terms(NEW))
    with pytest.raises(ForgedError) as refusal:
        await read(retired, signer())
    assert refusal.value.reason is Reason.KEY_UNKNOWN
    await read(retired, NEW_SIGNER)
    await read(retired, signer(), NEW_SIGNER)  # as an idle log bears both


async def test_second_key_is_read_past_by_who_does_not_know_it_and_held_by_who_does() -> None:
    await read(listing(terms(OLD)), signer(), SECOND_SIGNER)
    known = listing(terms(OLD), terms(SECOND))
    await read(known, signer(), SECOND_SIGNER)
    await read(known, signer())
    with pytest.raises(ForgedError) as refusal:
        await read(known, SECOND_SIGNER)
    assert refusal.value.reason is Reason.KEY_UNKNOWN


class Lifted:
    """Signs with the second key, whatever it is given, another tree."""

    verifier = SECOND_SIGNER.verifier

    def sign(self, _text: str) -> bytes:
        return SECOND_SIGNER.sign(Checkpoint(fed.LOG_ORIGIN, 3, bytes(32)).encode())


async def test_second_signature_of_another_tree_spoils_the_reading() -> None:
    with pytest.raises(ForgedError) as refusal:
        await read(listing(terms(OLD), terms(SECOND)), signer(), Lifted())
    assert refusal.value.reason is Reason.SIGNATURE_INVALID
