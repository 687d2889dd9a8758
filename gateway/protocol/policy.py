"""Trust policies of a log (C2SP tlog-policy): which logs count, which witnesses, and how many of them suffice.

    log <vkey> [<url>]
    witness <name> <vkey> [<url>]
    group <name> any|all|<k> <name>…
    quorum <name>|none

Invariants of a parsed policy:

- groups and quorum name only what stands above them, and no name is a member twice: so every witness counts in one
  way, and whether a quorum is met is decided in one pass, without recursion;
- no public key stands twice among the logs or among the witnesses, whatever it is called: one key is one witness;
- names are octets: two that look alike are two.

A policy judges one checkpoint, whose signatures it verifies itself. Where witnesses are asked is `witness_wire`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import NoReturn

from gateway.protocol.cosignature import cosigned_at
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.note import COSIGNATURE, ED25519, ML_DSA_44, VerifierKey, open_note
from gateway.protocol.reasons import Reason

MAX_POLICY_BYTES = 524_288
"""Bytes of a file: 2 * MAX_ENTRIES verifier keys, at 1.8 kB for the longest (ML-DSA-44), and room for comments."""
MAX_ENTRIES = 64
"""Logs, witnesses and groups, each: twice what every reader should take."""
NO_QUORUM = "none"
LOG_ALGORITHMS = frozenset({ED25519, ML_DSA_44})
WITNESS_ALGORITHMS = frozenset({COSIGNATURE, ML_DSA_44})

_FORBIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_SPACES = re.compile(r"[ \t]+")
_COUNT = re.compile(r"[1-9][0-9]{0,3}")


@dataclass(frozen=True, slots=True)
class PolicyLog:
    """A log: its key's name is its origin."""

    key: VerifierKey
    url: str = ""


@dataclass(frozen=True, slots=True)
class PolicyWitness:
    """A witness under the name that the policy gives it; `url` is its submission prefix, empty if not told."""

    name: str
    key: VerifierKey
    url: str = ""


@dataclass(frozen=True, slots=True)
class PolicyGroup:
    """Cosigns where at least `threshold` of its members do."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cosigned:
    """A verified cosignature: by which witness, and when (whole seconds since the epoch, as the witness says)."""

    witness: PolicyWitness
    time: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a policy finds in a checkpoint: who cosigned it, each witness once.

    `is_logged`: a log of the policy signed it, or the policy names none. `is_met`: the quorum did. A policy without a
    quorum accepts every checkpoint and so calls none witnessed.
    """

    cosigned: tuple[Cosigned, ...]
    is_logged: bool
    is_met: bool
    asks_for_witnesses: bool

    @property
    def is_accepted(self) -> bool:
        """Whether the checkpoint is valid by the policy."""
        return self.is_logged and self.is_met

    @property
    def is_witnessed(self) -> bool:
        """Whether a quorum of witnesses cosigned it: never without a quorum line that asks for some."""
        return self.is_accepted and self.asks_for_witnesses


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy; `quorum` is the name of a witness or group, None for `quorum none`. See `parse_policy`."""

    logs: tuple[PolicyLog, ...]
    witnesses: tuple[PolicyWitness, ...]
    groups: tuple[PolicyGroup, ...]
    quorum: str | None

    def is_met_by(self, names: Collection[str]) -> bool:
        """Whether the witnesses of these names (the policy's) are a quorum."""
        if self.quorum is None:
            return True
        cosigned = {witness.name for witness in self.witnesses}.intersection(names)
        for group in self.groups:  # in the order of definition: members are decided before
            if len(cosigned.intersection(group.members)) >= group.threshold:
                cosigned.add(group.name)
        return self.quorum in cosigned

    def judge(self, checkpoint: bytes) -> Judgement:
        """What is to be said of a signed checkpoint.

        Raises MalformedError if it cannot be read, ForgedError (SIGNATURE_INVALID) if the signature of a log or witness
        of the policy does not verify: such a note is refused whole.
        """
        keys = [*(log.key for log in self.logs), *(witness.key for witness in self.witnesses)]
        try:
            signatures = open_note(checkpoint, keys).verified
        except ForgedError as error:
            if error.reason is not Reason.KEY_UNKNOWN:
                raise
            signatures = ()
        verified = {(signature.name, signature.key_id): signature for signature in signatures}
        origin = checkpoint.partition(b"\n")[0].decode()
        cosigned = []
        for witness in self.witnesses:
            signature = verified.get((witness.key.name, witness.key.key_id))
            # A time of zero would leave open whether the witness has seen a larger tree.
            if signature is not None and (time := cosigned_at(signature)):
                cosigned.append(Cosigned(witness, time))
        is_logged = not self.logs or any(
            log.key.name == origin and (log.key.name, log.key.key_id) in verified for log in self.logs
        )
        is_met = self.is_met_by([each.witness.name for each in cosigned])
        return Judgement(tuple(cosigned), is_logged, is_met, self.quorum is not None)

    def format(self) -> str:
        """The lines of the file, which `parse_policy` reads; octets that are no UTF-8 as surrogate escapes."""
        logs = (f"log {log.key.format()} {log.url}" for log in self.logs)
        witnesses = (f"witness {each.name} {each.key.format()} {each.url}" for each in self.witnesses)
        groups = (f"group {each.name} {each.threshold} {' '.join(each.members)}" for each in self.groups)
        lines = [*logs, *witnesses, *groups, f"quorum {self.quorum or NO_QUORUM}"]
        return "".join(line.rstrip() + "\n" for line in lines)


def parse_policy(data: bytes) -> Policy:
    """Read a policy file; MalformedError (CONFIGURATION_INVALID) at the line that is wrong, in both languages."""
    if len(data) > MAX_POLICY_BYTES:
        _refuse(1, f"a policy must not exceed {MAX_POLICY_BYTES} bytes", f"策略文件不得超过 {MAX_POLICY_BYTES} 字节")
    lines = data.decode("utf-8", errors="surrogateescape").split("\n")
    if lines.pop():
        _refuse(len(lines) + 1, "the last line must end in a newline", "最后一行必须以换行符结束")
    reading = _Reading()
    for number, line in enumerate(lines, start=1):
        if _FORBIDDEN.search(line):
            _refuse(number, "holds a control character other than tab", "含有制表符以外的控制字符")
        items = _SPACES.split(line.strip(" \t"))
        if items[0] and not items[0].startswith("#"):
            reading.take(number, items[0], items[1:])
    return reading.policy(len(lines))


class _Reading:
    """What the lines so far have defined."""

    def __init__(self) -> None:
        self._logs: list[PolicyLog] = []
        self._witnesses: list[PolicyWitness] = []
        self._groups: list[PolicyGroup] = []
        self._free: dict[str, bool] = {}
        """Names defined so far, and whether each may still become a member of a group."""
        self._keys: set[tuple[str, bytes]] = set()
        """Kind of line and public key."""
        self._ids: set[tuple[str, bytes]] = set()
        self._quorum: tuple[str | None] | None = None

    def take(self, number: int, keyword: str, items: list[str]) -> None:
        """Read the items of one line."""
        if keyword == "log" and len(items) in (1, 2):
            key = self._key(number, keyword, items[0], LOG_ALGORITHMS)
            self._logs.append(PolicyLog(key, *items[1:]))
        elif keyword == "witness" and len(items) in (2, 3):
            self._define(number, items[0])
            key = self._key(number, keyword, items[1], WITNESS_ALGORITHMS)
            self._witnesses.append(PolicyWitness(items[0], key, *items[2:]))
        elif keyword == "group" and len(items) > 2:  # noqa: PLR2004 - a name, a rule and at least one member
            self._group(number, *items)
        elif keyword == "quorum" and len(items) == 1:
            self._set_quorum(number, items[0])
        else:
            _refuse(
                number,
                "must be: log VKEY [URL], witness NAME VKEY [URL], group NAME any|all|K NAME…, or quorum NAME|none",
                "应为 log VKEY [URL]、witness 名称 VKEY [URL]、group 名称 any|all|K 成员… 或 quorum 名称|none",
            )
        if max(len(self._logs), len(self._witnesses), len(self._groups)) > MAX_ENTRIES:
            _refuse(number, f"more than {MAX_ENTRIES} of a kind", f"同类条目不得超过 {MAX_ENTRIES} 个")

    def policy(self, lines: int) -> Policy:
        """What was read, at the end of the file."""
        if self._quorum is None:
            _refuse(max(lines, 1), "a policy needs a quorum line (quorum none, if any will do)", "缺少 quorum 行")
        return Policy(tuple(self._logs), tuple(self._witnesses), tuple(self._groups), self._quorum[0])

    def _key(self, number: int, kind: str, vkey: str, algorithms: frozenset[int]) -> VerifierKey:
        try:
            key = VerifierKey.parse(vkey)
        except MalformedError as error:
            _refuse(number, f"no verifier key: {error.detail}", "验证公钥（vkey）无效")
        if key.algorithm not in algorithms:
            remedy = "; heyan log policy make writes it as one" if key.algorithm == ED25519 else ""
            _refuse(number, f"the key's type is not one of a {kind}{remedy}", "公钥的签名类型与该行不符")
        if (kind, key.public_key) in self._keys or (key.name, key.key_id) in self._ids:
            _refuse(number, f"the key of another {kind} line", "公钥重复")
        self._keys.add((kind, key.public_key))
        self._ids.add((key.name, key.key_id))
        return key

    def _define(self, number: int, name: str) -> None:
        if name in self._free or name == NO_QUORUM:
            _refuse(number, "a name that is taken", "名称已被使用")
        self._free[name] = True

    def _group(self, number: int, name: str, rule: str, *members: str) -> None:
        for member in members:
            if member not in self._free:
                _refuse(number, "a member that no line above defines", "成员未在前面定义")
            if not self._free[member]:
                _refuse(number, "a member that was a member already", "成员重复")
            self._free[member] = False
        if rule in ("any", "all"):
            threshold = 1 if rule == "any" else len(members)
        elif _COUNT.fullmatch(rule) and int(rule) <= len(members):
            threshold = int(rule)
        else:
            _refuse(
                number,
                f"must ask for any, all, or 1 to {len(members)} of its members",
                f"应为 any、all 或 1 至 {len(members)}",
            )
        self._define(number, name)
        self._groups.append(PolicyGroup(name, threshold, members))

    def _set_quorum(self, number: int, name: str) -> None:
        if self._quorum is not None:
            _refuse(number, "a second quorum line", "quorum 行只能有一行")
        if name != NO_QUORUM and name not in self._free:
            _refuse(number, "a quorum that no line above defines", "quorum 所指的名称未在前面定义")
        self._quorum = (None if name == NO_QUORUM else name,)


def _refuse(number: int, en: str, zh: str) -> NoReturn:
    """The text says what is expected and repeats nothing of the file, which may come from anybody."""
    raise MalformedError.at(f"line {number}", f"{en} / {zh}", Reason.CONFIGURATION_INVALID)
