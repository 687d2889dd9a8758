"""Alarms: what a monitor tells, each under an identity that stays the same however often it is told.

Delivery is at least once: a receiver drops what it has by `id`. No alarm holds more of a leaf than the leaf says, which
is no personal data: parties, counties, reasons, counts, indexes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, unique
from hashlib import sha256
from typing import Any

from gateway.audit.bad_places import MEANINGS, Wrong
from gateway.protocol.reasons import Text

ID_BYTES = 16


@unique
class Kind(StrEnum):
    """What an alarm is about. Names are part of the JSON: added, never renamed."""

    # of the log as a whole
    FORKED = "FORKED"
    ROLLED_BACK = "ROLLED_BACK"
    SPLIT_VIEW = "SPLIT_VIEW"
    NOT_SIGNED = "NOT_SIGNED"
    NO_CHECKPOINT = "NO_CHECKPOINT"
    TILES_INVALID = "TILES_INVALID"
    MISSING = "MISSING"
    KEPT_BACK = "KEPT_BACK"
    STALLED = "STALLED"
    # of single leaves
    LEAF_UNREADABLE = "LEAF_UNREADABLE"
    LEAF_OF_OTHER_GATEWAY = "LEAF_OF_OTHER_GATEWAY"
    LEAF_BACKWARDS = "LEAF_BACKWARDS"
    LEAF_AHEAD = "LEAF_AHEAD"
    START_WITHIN = "START_WITHIN"
    AFTER_END = "AFTER_END"
    # of rules
    QUERY_RATE = "QUERY_RATE"
    REFUSALS = "REFUSALS"
    OUTSIDE_WINDOW = "OUTSIDE_WINDOW"
    # to be known, nothing is wrong by itself
    EVIDENCE_ACCESSED = "EVIDENCE_ACCESSED"
    EVIDENCE_ERASED = "EVIDENCE_ERASED"
    RESTORED = "RESTORED"
    LOG_ENDED = "LOG_ENDED"


NOTICES = frozenset({Kind.EVIDENCE_ACCESSED, Kind.EVIDENCE_ERASED, Kind.RESTORED, Kind.LOG_ENDED})
"""What is told and leaves the exit code 0."""

TEXTS: Mapping[Kind, Text] = {
    Kind.FORKED: Text(
        "日志出现分叉：所示的树不包含此前所示的树。请保留两个检查点并停止信任该日志。",
        "The log is forked: the tree that it shows does not hold the one that it showed before. Keep both checkpoints "
        "and trust the log no further.",
    ),
    Kind.ROLLED_BACK: Text(
        "日志被回退：此前出示过更大的检查点。请保留该检查点并查明原因。",
        "The log was rolled back: it showed a larger checkpoint before. Keep that one and find out why.",
    ),
    Kind.SPLIT_VIEW: Text(
        "日志向不同的人出示不同的历史。请保留两个检查点：二者均有日志签名，足以定责。",
        "The log shows different histories to different parties. Keep both checkpoints: both bear its signature, which "
        "convicts it.",
    ),
    Kind.NOT_SIGNED: MEANINGS[Wrong.NOT_SIGNED],
    Kind.NO_CHECKPOINT: MEANINGS[Wrong.NO_CHECKPOINT],
    Kind.TILES_INVALID: Text(
        "数据块或条目与已签名的检查点不符。请运行 heyan log fsck 查明位置。",
        "A tile or an entry does not fit the signed checkpoint. Run heyan log fsck to find the place.",
    ),
    Kind.MISSING: MEANINGS[Wrong.MISSING],
    Kind.KEPT_BACK: MEANINGS[Wrong.KEPT_BACK],
    Kind.STALLED: Text(
        "日志停滞：应有而未见更新的检查点。请查明网关和发布进程是否运行。",
        "The log stands still: there is no newer checkpoint where there should be one. Find out whether gateway and "
        "publisher run.",
    ),
    Kind.LEAF_UNREADABLE: MEANINGS[Wrong.LEAF_UNREADABLE],
    Kind.LEAF_OF_OTHER_GATEWAY: MEANINGS[Wrong.LEAF_OF_OTHER_GATEWAY],
    Kind.LEAF_BACKWARDS: MEANINGS[Wrong.LEAF_BACKWARDS],
    Kind.LEAF_AHEAD: Text(
        "该条目的时间在未来：网关或监测方的时钟有误。",
        "This entry bears a time in the future: the gateway's clock is wrong, or the monitor's.",
    ),
    Kind.START_WITHIN: MEANINGS[Wrong.START_WITHIN],
    Kind.AFTER_END: MEANINGS[Wrong.AFTER_END],
    Kind.QUERY_RATE: Text(
        "某请求方的查询频率超过规则。请核实其业务量，或凭据是否被盗用。",
        "A requester asks more often than the rules allow. Find out whether it has that much to ask, or lost its keys.",
    ),
    Kind.REFUSALS: Text(
        "拒绝次数超过规则。请查明是误用、故障还是试探。",
        "More was refused than the rules allow. Find out whether that is misuse, a fault, or probing.",
    ),
    Kind.OUTSIDE_WINDOW: Text(
        "在该县区报名时间段之外进行了核验。请网关运营方说明。",
        "A verification for enrolment was logged while no enrolment window of the county was open. Ask the gateway's "
        "operator to explain.",
    ),
    Kind.EVIDENCE_ACCESSED: Text("审计人员调阅了证据。", "An auditor was given evidence."),
    Kind.EVIDENCE_ERASED: Text("证据密钥已被销毁。", "Keys of evidence were destroyed."),
    Kind.RESTORED: Text("网关从备份恢复。", "The gateway was restored from a backup."),
    Kind.LOG_ENDED: Text(
        "日志已封存，由下一日志接续。请改为监测后者。",
        "The log ended and another goes on. Monitor that one from now on.",
    ),
}

Facts = Mapping[str, Any]
"""What an alarm is about, as values of JSON: `entry`, `requester`, `region`, `count`, …"""


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm. `key` is what makes it this one and no other of its kind; `time` is when it was raised, in seconds.

    `evidence` holds signed notes, verbatim, by what they are.
    """

    origin: str
    kind: Kind
    key: str
    time: float
    facts: Facts = field(default_factory=dict)
    evidence: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """32 hexadecimal digits, the same whenever this is raised again."""
        text = "\x00".join((self.origin, self.kind.value, self.key))
        return sha256(b"heyan.monitor.Alarm\x00" + text.encode()).digest()[:ID_BYTES].hex()

    @property
    def is_notice(self) -> bool:
        """Whether it is only to be known."""
        return self.kind in NOTICES

    def document(self) -> dict[str, Any]:
        """The alarm as values of JSON."""
        text = TEXTS[self.kind]
        return {
            "id": self.id,
            "kind": self.kind.value,
            "level": "notice" if self.is_notice else "alarm",
            "origin": self.origin,
            "time": int(self.time),
            "facts": dict(self.facts),
            "text": {"zh": text.zh, "en": text.en},
            "evidence": dict(self.evidence),
        }

    def line(self) -> str:
        """The alarm on one line."""
        return line_of(self.document())


def line_of(document: Mapping[str, Any]) -> str:
    """An alarm's document on one line, without what a terminal would obey: parts of it come from the log."""
    level = "notice" if document["level"] == "notice" else "ALARM"
    facts = " ".join(f"{name}={value}" for name, value in document["facts"].items())
    text = document["text"]
    line = f"{level} {document['kind']} {facts} [{document['id']}] {text['en']} {text['zh']}"
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in line)


def encode_document(document: Mapping[str, Any]) -> str:
    """One line of JSON."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
