"""What a node takes as its gateway's word while the keys of the log follow each other, and with a second one beside."""

from __future__ import annotations

import msgspec
from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa

from gateway.protocol.attestation import read_signed_batch
from gateway.protocol.checkpoint import Checkpoint
from gateway.protocol.cosignature import CosignerKey
from gateway.protocol.keys import SigningKey
from gateway.protocol.note import ML_DSA_44, SignerKey, sign_note
from gateway.protocol.reasons import Reason
from gateway.protocol.registry import Registry
from gateway.protocol.registry_terms import KeyUse
from sandbox_departments.acknowledgements import read_acknowledgement
from tests.sandbox.asking import GATEWAY, NOW, ORIGIN, terms_of

SECOND = SigningKey("log-pq-1", mldsa.MLDSA44PrivateKey.from_seed_bytes(bytes(32)))
NEXT = SigningKey("log-2", ed25519.Ed25519PrivateKey.from_private_bytes(bytes([2]) * 32))


def list_log_keys(world, *keys):
    """Have the registry list these keys of the gateway, each with its changes."""
    gateway = world.registry.party(GATEWAY.uri)
    listed = tuple(msgspec.structs.replace(terms_of(key, KeyUse.LOG), **changes) for key, changes in keys)
    parties = tuple(
        msgspec.structs.replace(party, keys=listed) if party is gateway else party
        for party in world.registry.document.parties
    )
    world.registry = Registry(msgspec.structs.replace(world.registry.document, parties=parties), "other log keys")


BODY = Checkpoint(ORIGIN, 100, b"r" * 32).encode()


def signed_with(*keys, text=BODY):
    """A checkpoint's note by these keys, under one name."""
    plain = [SignerKey.from_seed(ORIGIN, key.private.private_bytes_raw()) for key in keys if key.algorithm == "Ed25519"]
    second = [CosignerKey.of(ORIGIN, key.private).at(int(NOW)) for key in keys if key.algorithm == "ML-DSA-44"]
    return sign_note(text, [*plain, *second])


def refusals(settlement) -> list[Reason]:
    assert settlement.settled == ()
    return [error.reason for error in settlement.refused]


async def acknowledge_with(desk, note):
    (message,) = await desk.answer(desk.world.ask())
    batch = read_signed_batch(message.batch).digest
    size = sum(len(reply.statements) for reply in message.replies)
    item = desk.world.acknowledgement(batch, size)
    item.checkpoint = note
    return await desk.answerer.acknowledge(GATEWAY.uri, [read_acknowledgement(item)])


async def test_checkpoint_of_the_overlap_is_taken_by_a_node_that_knows_either_key(world, desk):
    old = world.log_key
    for known in ([(old, {})], [(NEXT, {})], [(old, {}), (NEXT, {})]):
        list_log_keys(world, *known)
        assert len((await acknowledge_with(desk, signed_with(old, NEXT))).settled) == 1


async def test_checkpoint_that_only_a_retired_key_signed_is_refused_and_one_with_its_successor_taken(world, desk):
    list_log_keys(world, (world.log_key, {"not_after": int(NOW) - 1}), (NEXT, {}))
    assert refusals(await acknowledge_with(desk, signed_with(world.log_key))) == [Reason.KEY_UNKNOWN]
    assert len((await acknowledge_with(desk, signed_with(world.log_key, NEXT))).settled) == 1


async def test_second_key_acknowledges_nothing_without_the_first_and_spoils_what_it_did_not_sign(world, desk):
    list_log_keys(world, (world.log_key, {}), (SECOND, {}))
    assert refusals(await acknowledge_with(desk, signed_with(SECOND))) == [Reason.KEY_UNKNOWN]
    assert len((await acknowledge_with(desk, signed_with(world.log_key, SECOND))).settled) == 1
    assert len((await acknowledge_with(desk, signed_with(world.log_key))).settled) == 1  # left out: not required
    other = signed_with(world.log_key, SECOND, text=Checkpoint(ORIGIN, 100, b"f" * 32).encode())
    lifted = signed_with(world.log_key) + other.splitlines(keepends=True)[-1]
    assert refusals(await acknowledge_with(desk, lifted)) == [Reason.SIGNATURE_INVALID]


async def test_checkpoint_with_sixteen_post_quantum_witnesses_acknowledges(world, desk):
    witnesses = [CosignerKey.from_seed(f"w.example/{number}", bytes([number]) * 32, ML_DSA_44) for number in range(16)]
    list_log_keys(world, (world.log_key, {}), (SECOND, {}))
    note = signed_with(world.log_key, SECOND)
    note += "".join(sign_note(BODY, [key.at(int(NOW))]).splitlines(keepends=True)[-1] for key in witnesses)
    assert len((await acknowledge_with(desk, note)).settled) == 1
