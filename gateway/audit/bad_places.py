"""What can be wrong with a log as it lies there, where, and what that means to whoever runs or audits it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, unique

from gateway.protocol.reasons import Text

MAX_TOLD = 100
"""Bad places that are kept to be told; further ones are counted."""


@unique
class Wrong(StrEnum):
    """What is wrong with a place of a log. Names are part of the command's JSON: added, never renamed."""

    ENTRY_CHANGED = "ENTRY_CHANGED"
    TILE_CHANGED = "TILE_CHANGED"
    ENTRY_OR_TILE = "ENTRY_OR_TILE"
    MISSING = "MISSING"
    KEPT_BACK = "KEPT_BACK"
    UNREADABLE = "UNREADABLE"
    OTHER_TREE = "OTHER_TREE"
    FORKED = "FORKED"
    ROLLED_BACK = "ROLLED_BACK"
    NOT_SIGNED = "NOT_SIGNED"
    NO_CHECKPOINT = "NO_CHECKPOINT"
    LEAF_NOT_LOGGED = "LEAF_NOT_LOGGED"
    LEAF_UNREADABLE = "LEAF_UNREADABLE"
    LEAF_OF_OTHER_GATEWAY = "LEAF_OF_OTHER_GATEWAY"
    LEAF_BACKWARDS = "LEAF_BACKWARDS"
    START_WITHIN = "START_WITHIN"
    AFTER_END = "AFTER_END"


MEANINGS: Mapping[Wrong, Text] = {
    Wrong.ENTRY_CHANGED: Text(
        "该条目不是日志当时登记的内容：已被改动、删去、重复或调换；哈希数据块与签名一致。请保留此副本，并从别处取回该条目。",
        "This entry is not what was logged: it was changed, removed, repeated or moved; the tiles fit the signature. "
        "Keep this copy as evidence and get the entry from elsewhere.",
    ),
    Wrong.TILE_CHANGED: Text(
        "该哈希数据块与其下的条目不符，而条目与签名一致：数据块损坏或被改动。从条目重新导出即可修复。",
        "This tile is not what the entries make, and the entries fit the signature: it is damaged or was changed. "
        "Export the log again to repair it.",
    ),
    Wrong.ENTRY_OR_TILE: Text(
        "条目与哈希数据块互不相符，且二者都得不出已签名的根：损坏不止一处。请从别处取回整个日志。",
        "Entry and tile contradict each other, and neither leads to the signed root: more than one place is wrong. "
        "Get the whole log from elsewhere.",
    ),
    Wrong.MISSING: Text(
        "检查点所称大小的日志应有此文件，但没有：日志不完整，或其大小不实。",
        "A log of the size that the checkpoint states has this file, and it is not there: the log is incomplete, or "
        "states a size that it has not.",
    ),
    Wrong.KEPT_BACK: Text(
        "日志拒绝向审计人员提供此文件。请核对证书；若确为审计人员证书，则日志有所隐瞒。"
        "无证书者用 heyan log fsck --no-entries。",
        "The log keeps this file back. Check the certificate that you read with; if that is an auditor's, the log "
        "hides what it must show. Without one, check the hashes alone: heyan log fsck --no-entries.",
    ),
    Wrong.UNREADABLE: Text(
        "该文件不可能是其名称所指的内容：被截断、加长或损坏。",
        "This file cannot be what its name says: it is cut short, too long or damaged.",
    ),
    Wrong.OTHER_TREE: Text(
        "条目与数据块彼此一致，却得不出检查点的根：这是另一份历史。请保留二者并通知审计人员。",
        "Entries and tiles agree with each other and do not lead to the checkpoint's root: this is another history "
        "than the signed one. Keep both and tell an auditor.",
    ),
    Wrong.FORKED: Text(
        "日志曾在此大小签署过另一个根：日志分叉，或历史已被改写。请保留两个检查点并通知审计人员。",
        "The log signed another root at this size: it is forked, or its history was rewritten. Keep both "
        "checkpoints and tell an auditor.",
    ),
    Wrong.ROLLED_BACK: Text(
        "日志曾签署过更大的检查点：日志被回退，或尚未全部发布。请保留该检查点并通知审计人员。",
        "The log signed a larger checkpoint than it shows: it was rolled back, or is not published whole yet. Keep the "
        "larger checkpoint and tell an auditor.",
    ),
    Wrong.NOT_SIGNED: Text(
        "检查点没有日志有效密钥的签名：签名不符，或密钥未知、已停用、已失密。",
        "No key that counts signed this checkpoint: the signature does not hold, or its key is unknown, retired or "
        "compromised.",
    ),
    Wrong.NO_CHECKPOINT: Text(
        "没有该日志的检查点：缺失、无法读取，或属于另一个日志。请指明单个日志的网址或目录，例如 published/0。",
        "There is no checkpoint of the log: it is missing, cannot be read, or is of another log. Name the URL or "
        "folder of one log, such as published/0.",
    ),
    Wrong.LEAF_NOT_LOGGED: Text(
        "回执所示的记录不在日志的该位置：记录已被改动，或回执出自另一份历史。",
        "The log does not hold at this index what the receipt shows: the entry was changed, or the receipt is of "
        "another history.",
    ),
    Wrong.LEAF_UNREADABLE: Text(
        "该条目不是任何已知版本的规范记录。请更新 heyan 后重试；若仍如此，则网关写入了无法解读的内容。",
        "This entry is no canonical leaf of a known version. Update heyan and try again; if it stays so, the gateway "
        "logged what nobody can read.",
    ),
    Wrong.LEAF_OF_OTHER_GATEWAY: Text(
        "该条目以另一网关的名义写入。",
        "This entry bears the name of another gateway than the log's.",
    ),
    Wrong.LEAF_BACKWARDS: Text(
        "该条目的时间早于其前面的条目，超出容差：时钟被拨回，或条目系事后补入。",
        "This entry bears an earlier time than one before it, beyond the tolerance: a clock was set back, or the entry "
        "was made up later.",
    ),
    Wrong.START_WITHIN: Text(
        "日志的起始记录出现在日志中间：它只能是首条。",
        "The entry that begins a log stands within one; it can only be the first.",
    ),
    Wrong.AFTER_END: Text(
        "日志已以终结记录封存，其后不应再有条目。",
        "The log had ended; nothing may follow its final entry.",
    ),
}
"""What each means and what to do, in both languages."""


@dataclass(frozen=True, slots=True)
class BadPlace:
    """One thing wrong: `place` is a path below the log, a file of the auditor's, or where a checkpoint was seen.

    `entry` is an index in the log, `offset` the first wrong byte in the file of that path. `detail` says more, in
    technical terms; of an entry it tells no content.
    """

    wrong: Wrong
    place: str
    entry: int | None = None
    offset: int | None = None
    detail: str = ""

    @property
    def meaning(self) -> Text:
        """What it means, and what to do."""
        return MEANINGS[self.wrong]


@dataclass(slots=True)
class BadPlaces:
    """What was found, in the order of finding: the first MAX_TOLD, and how many there were."""

    told: list[BadPlace] = field(default_factory=list)
    count: int = 0

    def add(self, place: BadPlace) -> None:
        """Note one more."""
        self.count += 1
        if len(self.told) < MAX_TOLD:
            self.told.append(place)

    def extend(self, others: BadPlaces) -> None:
        """Note all of others, also those that were only counted."""
        for place in others.told:
            self.add(place)
        self.count += others.count - len(others.told)
