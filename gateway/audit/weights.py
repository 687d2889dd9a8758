"""What each kind of finding means to whom: whom it convicts or asks, said in both languages."""

from __future__ import annotations

from enum import StrEnum, unique

from gateway.audit.findings import Disagreement
from gateway.protocol.reasons import Text


@unique
class Weight(StrEnum):
    """What a finding proves."""

    CONVICTS_GATEWAY = "CONVICTS_GATEWAY"
    """The gateway's own signature contradicts itself, or what it was given."""
    CONVICTS_DEPARTMENT = "CONVICTS_DEPARTMENT"
    """The department's own signatures contradict each other."""
    ONE_OF_TWO = "ONE_OF_TWO"
    """Gateway or department: the signed statement, which one of them must be able to show, says which."""
    ASKS = "ASKS"
    """Somebody owes an explanation; an accident may be one."""


MEANINGS: dict[Weight, Text] = {
    Weight.CONVICTS_GATEWAY: Text("网关自己的签名即可证明", "the gateway is convicted by its own signature"),
    Weight.CONVICTS_DEPARTMENT: Text("部门自己的签名即可证明", "the department is convicted by its own signatures"),
    Weight.ONE_OF_TWO: Text("网关或部门之一不实", "gateway or department: ask both for the signed statement"),
    Weight.ASKS: Text("需要说明", "an explanation is asked for"),
}

_GATEWAY = {
    Disagreement.FORKED: Text("同一日志出现相互矛盾的检查点", "parties were shown checkpoints that are not of one log"),
    Disagreement.REUSED: Text("同一陈述被用于两次查询", "one statement is logged as the answer to two queries"),
    Disagreement.WITHDRAWN: Text("撤回之后仍据以答复", "answers were logged on a consent after its withdrawal was"),
    Disagreement.AFTER_END: Text("日志终止之后仍有条目", "a leaf stands after the one that ended its log"),
    Disagreement.MISJOINED: Text(
        "后续日志未如实承接前一日志", "a log does not go on from where the one before it ended"
    ),
}
_DEPARTMENT = {
    Disagreement.SHORTENED: Text(
        "部门台账短于其曾签署的末端", "a journal ends before an end that its department signed"
    ),
    Disagreement.REWRITTEN: Text("部门台账与其曾签署的末端不符", "a journal is another than its department had signed"),
}
_ONE_OF_TWO = {
    Disagreement.WRONG_LEAF: Text(
        "确认函指明的条目并不记载该陈述", "the leaf by which a statement was acknowledged does not name it"
    ),
    Disagreement.MISREPORTED: Text("日志所述与部门台账不同", "log and journal tell a statement differently"),
    Disagreement.UNLOGGED: Text(
        "部门已作出陈述而日志未按期记载", "a department stated it, and no leaf names it in time"
    ),
    Disagreement.UNKNOWN: Text("日志有记载而部门台账没有", "the log names a statement that the journal does not have"),
}
_ASKS = {
    Disagreement.CONTESTED: Text(
        "相互矛盾的检查点之一仅由已泄露的密钥签名",
        "checkpoints are not of one log, and one bears only a key that was compromised: its gateway's, or a thief's",
    ),
    Disagreement.CUT_OFF: Text(
        "有人持有的检查点大于所读日志：请索取其余部分",
        "somebody holds a checkpoint of a larger log than was read: ask for the rest",
    ),
    Disagreement.UNACKNOWLEDGED: Text(
        "已记载而未在期限内向部门确认", "logged, and not acknowledged to the department in time"
    ),
    Disagreement.UNPROVEN: Text(
        "台账中的确认函没有日志签名", "an acknowledgement in the journal bears no signature of the log"
    ),
    Disagreement.MISDATED: Text("条目时间与陈述或确认时间不符", "a leaf is dated before its statement, or late"),
    Disagreement.BACKWARDS: Text("条目时间倒退", "a leaf is dated well before the ones ahead of it"),
    Disagreement.REINSTATED: Text(
        "同意撤回后又被恢复：请询问签发方", "answered on a consent refused as withdrawn before: ask its issuer"
    ),
    Disagreement.SUPPRESSED: Text("部门已答复而日志称其无答复", "logged as unavailable, though it was answered"),
    Disagreement.DROPPED: Text("回执缺少日志中的线下核验单", "a receipt leaves out a ticket on paper that the log has"),
    Disagreement.NOT_BROUGHT: Text("日志记载的异议未送达部门", "a logged dispute is not in the department's journal"),
    Disagreement.UNVERIFIED: Text(
        "文件未能通过部门台账验证：请重新导出", "a file does not verify as a journal: have it exported anew"
    ),
}

WEIGHTS: dict[Disagreement, Weight] = {
    **dict.fromkeys(_GATEWAY, Weight.CONVICTS_GATEWAY),
    **dict.fromkeys(_DEPARTMENT, Weight.CONVICTS_DEPARTMENT),
    **dict.fromkeys(_ONE_OF_TWO, Weight.ONE_OF_TWO),
    **dict.fromkeys(_ASKS, Weight.ASKS),
}
"""The weight of every kind."""

TEXTS: dict[Disagreement, Text] = {**_GATEWAY, **_DEPARTMENT, **_ONE_OF_TWO, **_ASKS}
"""What every kind says."""
