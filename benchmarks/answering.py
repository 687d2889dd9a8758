"""What a part costs a department's node: CPU time by the size of a batch, over mutual TLS, and step by step.

    python -m benchmarks.answering [--quick] [--results DIR]

Every ask has a query and a grant that the node has never seen, as in a season; of four asks one has two checks, as in
an application of five checks at four departments. A node in a process of its own answers them in turn over the
`Answer` stream, in messages of 1, 8 and 32 asks, each acknowledged, and over `AnswerOne`; reported is that process's
CPU for each part, system time included. A node in this process answers the same batches without a network while its
steps are timed.

Rounds are interleaved, and beside each the signature check that nobody can leave out is timed (one ES256 verification;
a part needs three, and one HPKE opening): the machine may be shared, so compare the ratios to it. All outcomes are held
against the register, and each batch's signature and every hundredth part's proof are verified.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

import grpc
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks.answering_node import GATEWAY, KIND, POLICE, PoliceNode, node_process
from benchmarks.answering_parts import TWO_CHECKS_EVERY, Parts
from benchmarks.answering_steps import Meter
from benchmarks.bounds import count
from benchmarks.crypto_floor import floor_seconds
from benchmarks.processes import cpu_seconds
from benchmarks.setting import RESULTS, table, write_results
from gateway.operator.enrolment import PartyFolder
from gateway.party.service import CLIENT_OPTIONS
from gateway.party.tls import open_channel, watch_tls
from gateway.protocol.attestation import read_signed_batch
from gateway.protocol.checkpoint import Checkpoint, sign_checkpoint
from gateway.protocol.codec import encode
from gateway.protocol.note import SignerKey
from heyan.v1 import department_service_pb2 as pb
from sandbox_departments.node import SERVICE
from sandbox_departments.replies import Incoming
from tests import federation as fed
from tests.nodes import families, open_registers

SIZES = (1, 8, 32)
ONE = "AnswerOne"
FAMILIES = 200
_FLOOR_SECONDS = 0.02


def verification() -> float:
    """Seconds of CPU of one ES256 verification, now."""
    key = ec.generate_private_key(ec.SECP256R1())
    data = bytes(500)
    signature, public = key.sign(data, ec.ECDSA(hashes.SHA256())), key.public_key()
    return floor_seconds([((public, signature, data),)], _FLOOR_SECONDS)


# -- over mutual TLS --------------------------------------------------------------------------------------------


class Gateway:
    """The gateway's end: one channel to the node, and acknowledgements by a log that grows."""

    def __init__(self, channel: grpc.aio.Channel, federation: fed.Federation, parts: Parts) -> None:
        self._channel = channel
        self._parts = parts
        key = federation.signing_keys[fed.GATEWAY].private
        self._signer = SignerKey.from_seed(fed.LOG_ORIGIN, key.private_bytes_raw())  # type: ignore[union-attr]
        self._logged = 0

    async def batches(self, asks: Sequence[pb.Ask], size: int) -> None:
        """Ask over the stream, `size` in a message; the next when all of it is answered, with its acknowledgement."""
        call = self._channel.stream_stream(f"/{SERVICE}/Answer")()
        acknowledgements: list[pb.Acknowledgement] = []
        for start in range(0, len(asks), size):
            message = pb.AnswerRequest(asks=asks[start : start + size], acknowledgements=acknowledgements)
            await call.write(encode(message))
            acknowledgements, waiting = [], len(message.asks)
            while waiting:
                response = pb.AnswerResponse.FromString(await call.read())
                self._parts.judge(response)
                waiting -= len(response.replies)
                acknowledgements.append(self._acknowledge(response))
        await call.write(encode(pb.AnswerRequest(acknowledgements=acknowledgements)))
        await call.done_writing()
        while isinstance(await call.read(), bytes):
            pass

    async def one_by_one(self, asks: Sequence[pb.Ask]) -> None:
        """Ask by unary calls, one after the other; their batches are acknowledged by `settle`."""
        call = self._channel.unary_unary(f"/{SERVICE}/AnswerOne")
        for ask in asks:
            answered = pb.AnswerOneResponse.FromString(await call(encode(pb.AnswerOneRequest(ask=ask))))
            reply = pb.Reply(ask_id=ask.ask_id, statements=answered.statements)
            self._parts.judge(pb.AnswerResponse(batch=answered.batch, replies=[reply]))

    async def settle(self, amount: int) -> None:
        """Acknowledge so many batches of unary calls, which a stream that opens sends again."""
        call = self._channel.stream_stream(f"/{SERVICE}/Answer")()
        for _ in range(amount):
            response = pb.AnswerResponse.FromString(await call.read())
            assert response.recovered
            await call.write(encode(pb.AnswerRequest(acknowledgements=[self._acknowledge(response)])))
        await call.done_writing()
        while isinstance(await call.read(), bytes):
            pass

    def _acknowledge(self, response: pb.AnswerResponse) -> pb.Acknowledgement:
        statements = sum(len(reply.statements) for reply in response.replies)
        first, self._logged = self._logged, self._logged + statements
        note = sign_checkpoint(Checkpoint(fed.LOG_ORIGIN, self._logged, bytes(32)), (self._signer,))
        digest = read_signed_batch(response.batch).digest
        return pb.Acknowledgement(batch_digest=digest, leaf_indexes=range(first, self._logged), checkpoint=note)


@asynccontextmanager
async def gateway(target: str, folder: Path, parts: Parts) -> AsyncIterator[Gateway]:
    """A gateway that is connected to the node at `target`."""
    tls = watch_tls(PartyFolder(folder / GATEWAY.name).tls)
    channel = open_channel(target, POLICE, tls, CLIENT_OPTIONS)
    try:
        yield Gateway(channel, parts.federation, parts)
    finally:
        await channel.close()


# -- in this process --------------------------------------------------------------------------------------------


async def step_by_step(node: PoliceNode, parts: Parts, asks: Sequence[pb.Ask], size: int, meter: Meter) -> float:
    """Answer batches of `size` without a network; seconds of CPU, of all threads, the steps' in `meter`."""
    messages = [encode(pb.AnswerRequest(asks=asks[start : start + size])) for start in range(0, len(asks), size)]
    responses = []
    node.thread.submit(meter.begin).result()
    began = time.process_time()
    for message in messages:
        incoming = [Incoming(1, fed.GATEWAY, ask) for ask in pb.AnswerRequest.FromString(message).asks]
        responses += [encode(batch.message) for batch in await node.answerer.answer(incoming)]
    spent = time.process_time() - began
    node.thread.submit(meter.end).result()
    for response in responses:
        parts.judge(pb.AnswerResponse.FromString(response))
    return spent


# -- the whole --------------------------------------------------------------------------------------------------


async def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All rounds."""
    now = float(int(time.time()))
    federation, people = fed.Federation.create(now), families(FAMILIES)
    registers = open_registers(people, folder)
    parts = Parts(federation, registers[KIND], people)
    (folder / "steps").mkdir()
    (folder / "steps" / KIND.value).symlink_to(folder / KIND.value)
    served: dict[str, list[tuple[float, float]]] = {}
    steps: dict[int, Meter] = {size: Meter() for size in SIZES}
    inside: dict[int, list[tuple[float, float]]] = {size: [] for size in SIZES}
    node = PoliceNode(federation, folder / "steps")
    with node_process(folder, now) as (pid, target):
        async with gateway(target, folder, parts) as asking:
            await asking.batches(parts.fresh(max(SIZES)), max(SIZES))
            for _ in range(options.rounds):
                for size in SIZES:
                    asks = parts.fresh(options.parts)
                    await _timed(
                        served.setdefault(f"Answer, {size} at once", []), pid, asking.batches(asks, size), asks
                    )
                asks = parts.fresh(options.parts)
                await _timed(served.setdefault(ONE, []), pid, asking.one_by_one(asks), asks)
                await asking.settle(len(asks))
                for size in SIZES:
                    asks = parts.fresh(options.parts)
                    floor = verification()
                    with steps[size].wrapped():
                        spent = await step_by_step(node, parts, asks, size, steps[size])
                    inside[size].append((spent / len(asks), floor))
    node.close()
    for register in registers.values():
        register.close()
    assert not parts.expected, "parts that were never answered"
    done = options.rounds * options.parts
    return {
        "targets": {},
        "parts_a_round": options.parts,
        "checks_a_part": 1 + 1 / TWO_CHECKS_EVERY,
        "statuses": dict(parts.seen),
        "served": {name: _figures(rounds) for name, rounds in served.items()},
        "in_process": {str(size): _figures(rounds) for size, rounds in inside.items()},
        "steps_us": {
            str(size): {name: 1e6 * seconds / done for name, seconds in meter.seconds.most_common()}
            for size, meter in steps.items()
        },
    }


async def _timed(rounds: list[tuple[float, float]], pid: int, work: Any, asks: Sequence[pb.Ask]) -> None:
    before, floor = cpu_seconds(pid), verification()
    await work
    rounds.append(((cpu_seconds(pid) - before) / len(asks), floor))


def _figures(rounds: Sequence[tuple[float, float]]) -> dict[str, float]:
    ratios = sorted(spent / floor for spent, floor in rounds)
    return {
        "us": 1e6 * median(spent for spent, _ in rounds),
        "verifications": median(ratios),
        "low": ratios[0],
        "high": ratios[-1],
    }


def report(results: dict[str, Any]) -> str:
    """Both tables."""
    headings = ("a part costs", "CPU us", "ES256 verifications", "least", "most")
    rows: list[tuple[Any, ...]] = [(name, *figures.values()) for name, figures in results["served"].items()]
    rows += [(f"in process, {size} at once", *figures.values()) for size, figures in results["in_process"].items()]
    names = {name: None for steps in results["steps_us"].values() for name in steps}
    steps = [(name, *(results["steps_us"][str(size)].get(name, 0.0) for size in SIZES)) for name in names]
    return "\n\n".join(
        (table(headings, rows), table(("step, us a part", *(f"{size} at once" for size in SIZES)), steps))
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2 rounds of 64 parts")
    parser.add_argument("--rounds", type=count, default=5)
    parser.add_argument("--parts", type=count, default=256, help="parts of each kind in a round")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.parts = 2, 64
    with tempfile.TemporaryDirectory(prefix="heyan-bench-") as folder:
        results = asyncio.run(measure(options, Path(folder)))
    print(report(results))
    print(f"\n{write_results('answering', results, options.results)}")


if __name__ == "__main__":
    main()
