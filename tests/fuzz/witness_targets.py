"""What logs and witnesses read of each other, and policies of witnesses."""

from __future__ import annotations

from gateway.protocol.cosignature import CosignerKey
from gateway.protocol.note import sign_note
from gateway.protocol.policy import Policy, parse_policy
from gateway.protocol.witness_wire import AddCheckpoint, parse_add_checkpoint, read_answer
from tests.federation import LOG_ORIGIN
from tests.fuzz.target import Target
from tests.protocol.casework import log_signer

_LOG = log_signer()
_WITNESS = CosignerKey.from_seed("witness.test/w1", bytes(32))
_TEXT = f"{LOG_ORIGIN}\n7\n{'A' * 43}=\n"
_NOTE = sign_note(_TEXT, [_LOG, _WITNESS.at(1_800_000_000)])
_FILE = (
    f"log {_LOG.verifier.format()} https://log.test\nwitness w {_WITNESS.verifier.format()}\n"
    "# ours\n\ngroup g any w\nquorum g\n"
)
_POLICY = parse_policy(_FILE.encode())


def _policy_is_written_again(_data: bytes, value: object) -> bool:
    assert isinstance(value, Policy)
    return parse_policy(value.format().encode("utf-8", errors="surrogateescape")) == value


def _request_is_written_again(data: bytes, value: object) -> bool:
    assert isinstance(value, AddCheckpoint)
    return value.format() == data


def targets() -> tuple[Target, ...]:
    request = AddCheckpoint(3, (bytes(32),) * 2, _NOTE).format()
    line = _NOTE.splitlines()[-1].encode() + b"\n"
    return (
        Target("policy", parse_policy, (_FILE.encode(),), _policy_is_written_again),
        Target("judged checkpoint", _POLICY.judge, (_NOTE.encode(),)),
        Target("add-checkpoint", parse_add_checkpoint, (request,), _request_is_written_again),
        Target("cosignatures", lambda data: read_answer(200, {}, data), (line,)),
        Target("witness's size", lambda data: read_answer(409, {}, data), (b"17\n",)),
    )
