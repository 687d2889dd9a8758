"""What is said of each reason, in both languages: what happened, and what to do.

A text holds no value that was sent: it is the same for everybody who meets the reason. A test holds that each has one.
"""

from __future__ import annotations

from gateway.protocol.reasons import Reason, Text
from gateway.protocol.record_texts import RECORD_TEXTS

_TEXTS: dict[Reason, Text] = {
    **RECORD_TEXTS,
    Reason.PEER_UNAUTHENTICATED: Text(
        "连接未出示有效的客户端证书。请使用登记在册的证书重新连接。",
        "The connection shows no valid client certificate. Connect with a registered certificate.",
    ),
    Reason.PEER_UNKNOWN: Text(
        "联邦登记册中没有该证书的身份。请联系联邦运营方登记。",
        "The federation registry does not know this certificate's identity. Ask the operator to register it.",
    ),
    Reason.PEER_ROLE_NOT_ALLOWED: Text(
        "该身份的角色不能调用此方法。请使用相应角色的证书。",
        "This identity's role may not call this method. Use a certificate of the right role.",
    ),
    Reason.PEER_IDENTITY_MISMATCH: Text(
        "对方证书的身份与登记册不符。请核对地址和证书。",
        "The peer's certificate names another party than the registry. Check the address and the certificate.",
    ),
    Reason.PEER_UNREACHABLE: Text(
        "无法连接对方。请检查网络和地址后重试。",
        "The other party cannot be reached. Check network and address, and try again.",
    ),
    Reason.MESSAGE_MALFORMED: Text(
        "消息格式不正确。请按字段说明修改后重发。",
        "The message is malformed. Mend the named fields and send it again.",
    ),
    Reason.MESSAGE_TOO_LARGE: Text(
        "消息过大。请减少核验项目后重发。",
        "The message is too large. Send fewer checks.",
    ),
    Reason.TOO_MANY_CHECKS: Text(
        "一次请求的核验项目过多。请分批发送。",
        "Too many checks in one request. Split them.",
    ),
    Reason.ASKED_TWICE: Text(
        "同一查询对同一人的同一事项只能核验一次，不得以多个参数或行政区逐一试探。请只保留需要的一项。",
        "A query asks a claim of the same subjects once, not with several parameters or regions side by side. Keep the "
        "one that is needed.",
    ),
    Reason.IDENTIFIER_MALFORMED: Text(
        "证件号码格式不正确。请核对后重新填写。",
        "The identifier is malformed. Check it and enter it again.",
    ),
    Reason.SIGNATURE_INVALID: Text(
        "签名验证失败。请用登记在册的密钥重新签名。",
        "The signature does not verify. Sign again with a registered key.",
    ),
    Reason.KEY_UNKNOWN: Text(
        "登记册中没有该密钥，或该密钥当时无效。请更新登记册或密钥。",
        "The registry has no such key, or it was not valid at that time. Update the registry or the key.",
    ),
    Reason.QUERY_SIGNATURE_INVALID: Text(
        "查询签名验证失败。请用登记在册的查询密钥签名。",
        "The query's signature does not verify. Sign it with a registered query key.",
    ),
    Reason.QUERY_OTHER_REQUESTER: Text(
        "查询署名的请求方与连接证书不一致。请用自己的身份查询。",
        "The query names another requester than the connection's certificate. Ask under your own identity.",
    ),
    Reason.QUERY_OTHER_GATEWAY: Text(
        "查询是发给另一个网关的。请发往查询中写明的网关。",
        "The query is addressed to another gateway. Send it to the gateway that it names.",
    ),
    Reason.QUERY_EXPIRED: Text(
        "查询已过期。请重新签发后再发送。",
        "The query has expired. Make and sign a new one.",
    ),
    Reason.QUERY_NOT_YET_VALID: Text(
        "查询的签发时间晚于当前时间。请校准时钟。",
        "The query is not valid yet. Set the clock right.",
    ),
    Reason.QUERY_PARTS_MISMATCH: Text(
        "随附的部分与已签名查询中的摘要不符。请重新生成查询。",
        "The parts do not match the digests in the signed query. Build the query again.",
    ),
    Reason.PART_OTHER_DEPARTMENT: Text(
        "该部分是发给另一个部门的。",
        "This part is addressed to another department.",
    ),
    Reason.REQUEST_ID_CONFLICT: Text(
        "同一请求编号已用于不同内容。请使用新的随机编号。",
        "The request_id was used for other content. Use a fresh random one.",
    ),
    Reason.NOT_FOUND: Text(
        "没有找到所指的内容。请核对后重试。",
        "What was named does not exist. Check it.",
    ),
    Reason.REQUEST_NOT_FOUND: Text(
        "没有找到该请求编号。请核对编号。",
        "There is no such request_id. Check it.",
    ),
    Reason.GRANT_OTHER_REQUESTER: Text(
        "该授权不是给此请求方的。请取得给本系统的授权。",
        "The grant is for another requester. Obtain a grant made out to your system.",
    ),
    Reason.GRANT_INVALID: Text(
        "授权无效。请重新取得监护人的授权。",
        "The grant is invalid. Obtain the guardian's consent again.",
    ),
    Reason.GRANT_EXPIRED: Text(
        "授权已过期。请重新取得监护人的授权。",
        "The grant has expired. Obtain the guardian's consent again.",
    ),
    Reason.GRANT_NOT_YET_VALID: Text(
        "授权尚未生效。请稍后再试。",
        "The grant is not valid yet. Try again later.",
    ),
    Reason.GRANT_REVOKED: Text(
        "授权已被撤回。如仍需核验，请重新征得监护人同意。",
        "The grant has been withdrawn. If the check is still needed, ask the guardian again.",
    ),
    Reason.GRANT_USED_UP: Text(
        "授权的使用次数已用完。请重新取得授权。",
        "The grant's uses are spent. Obtain a new grant.",
    ),
    Reason.GRANT_OTHER_GATEWAY: Text(
        "该授权不能在此网关使用。",
        "The grant may not be spent at this gateway.",
    ),
    Reason.GRANT_OTHER_CHILD: Text(
        "共同居住人的授权针对另一名儿童或另一次申请。",
        "The co-resident's grant is for another child or another application.",
    ),
    Reason.GRANT_SUBJECT_MISSING: Text(
        "所查询的人不在所依据的授权之中。",
        "A subject of the check does not stand in the grants that it rests on.",
    ),
    Reason.CLAIM_NOT_GRANTED: Text(
        "授权不包括该核验事项。",
        "The grant does not cover this claim.",
    ),
    Reason.REGION_NOT_GRANTED: Text(
        "授权不包括该行政区。",
        "The grant does not cover this region.",
    ),
    Reason.PURPOSE_NOT_GRANTED: Text(
        "授权不包括该用途。",
        "The grant does not cover this purpose.",
    ),
    Reason.AUTHORIZATION_NOT_DISCLOSED: Text(
        "未出示该核验事项所依据的授权内容。",
        "The authorization that a check rests on was not disclosed.",
    ),
    Reason.ASSURANCE_TOO_LOW: Text(
        "授权时的身份认证级别不足。请以更高级别认证后重新授权。",
        "The identity assurance of the grant is too low. Consent again with a stronger sign-in.",
    ),
    Reason.EVIDENCE_MISSING: Text(
        "缺少监护人同意的凭证（通行密钥断言）。",
        "The evidence of the guardian's approval (passkey assertion) is missing.",
    ),
    Reason.EVIDENCE_INVALID: Text(
        "监护人同意的凭证验证失败。",
        "The evidence of the guardian's approval does not verify.",
    ),
    Reason.STATUS_UNAVAILABLE: Text(
        "暂时无法确认授权是否已撤回。请稍后重试。",
        "Whether the grant was withdrawn cannot be determined now. Try again shortly.",
    ),
    Reason.CLAIM_UNKNOWN: Text(
        "没有该核验事项或参数不在允许范围内。请参照事项词汇表。",
        "No such claim, or a parameter outside its allow-list. See the vocabulary.",
    ),
    Reason.CLAIM_NOT_ALLOWED: Text(
        "登记册不允许该请求方核验此事项或此行政区。",
        "The registry does not allow this requester this claim or region.",
    ),
    Reason.PURPOSE_NOT_ALLOWED: Text(
        "登记册不允许该请求方用于此用途。",
        "The registry does not allow this requester this purpose.",
    ),
    Reason.REGION_NOT_SERVED: Text(
        "没有部门节点负责该行政区的此核验事项。",
        "No department node answers this claim in this region.",
    ),
    Reason.WINDOW_CLOSED: Text(
        "当前不在报名时间段内。请在下一个报名时间段内提交。",
        "Enrolment is closed now. Come back when the next window opens.",
    ),
    Reason.RULES_CHANGED: Text(
        "该县（市、区）的规则已更新。请重新获取核验方案后再提交。",
        "The county's rules have changed. Get the plan again and submit by it.",
    ),
    Reason.NOT_PLANNED: Text(
        "有核验项不在该申请的核验方案内。请只提交方案列出的核验项。",
        "A check is not in the plan of this application. Ask only what the plan lists.",
    ),
    Reason.BUDGET_EXHAUSTED: Text(
        "对同一人的查询过于频繁。请稍后再试。",
        "Too many questions about the same person. Try again later.",
    ),
    Reason.OVERLOADED: Text(
        "系统繁忙。请在提示的时间后重试。",
        "The system is busy. Retry after the stated delay.",
    ),
    Reason.TOO_MANY_UNANSWERED: Text(
        "短时间内未获答复的请求过多。请先查明被拒绝或不可用的原因，并在提示的时间后重试。",
        "Too many requests that no department answered. Find out why they are refused or unavailable, and retry after "
        "the stated delay.",
    ),
    Reason.SHUTTING_DOWN: Text(
        "服务正在重启。请重试。",
        "The service is restarting. Try again.",
    ),
    Reason.OFFLINE_ANSWERED: Text(
        "该事项已有线上核验结果，不得改由线下核验代替。请采用线上结果；如认为结果有误，请提出异议。",
        "This was verified online, and paper does not replace the answer. Take it; if it is wrong, dispute it.",
    ),
    Reason.OFFLINE_NOT_ATTEMPTED: Text(
        "该请求中没有对此事项的线上核验记录。应核尽核：请先线上核验。",
        "No online attempt at this is on record under that request_id. Verify it online first.",
    ),
    Reason.OFFLINE_DEPARTMENT_REFUSED: Text(
        "部门拒绝了该事项的查询，并未表示无法核验。请按拒绝的原因更正后重新线上核验。",
        "The department refused to be asked, which does not say that it cannot tell. Mend what it refused, and verify "
        "online again.",
    ),
    Reason.OFFLINE_TOO_EARLY: Text(
        "部门未答复的时间尚短。请先重新线上核验；到提示的时间仍无答复的，可开具线下核验单。",
        "The department has not been silent for long. Ask online again; if nothing comes, open the ticket after the "
        "stated delay.",
    ),
    Reason.OFFLINE_DEFERRED: Text(
        "网关仍在等待部门的答复。请查询结果；到提示的时间仍无答复的，可开具线下核验单。",
        "The gateway is still asking the department. Fetch the result; if none comes, open the ticket after the stated "
        "delay.",
    ),
    Reason.OFFLINE_MATERIAL_ONLINE: Text(
        "该材料可以线上核验，或不在本次申请的材料之中，不得要求提交纸质材料。请就未能线上核验的具体事项开具线下核验单。",
        "This material can be verified online, or the application does not owe it: paper must not be asked for. Name "
        "the check that could not be told.",
    ),
    Reason.OFFLINE_TICKET_NOT_FOUND: Text(
        "没有找到该线下核验单。请先为该事项开具线下核验单。",
        "There is no such offline ticket. Open it first.",
    ),
    Reason.OFFLINE_RESULT_INVALID: Text(
        "线下核验结果验证失败。请由登记在册的工作人员就该核验单重新签名。",
        "The offline result does not verify. Have a registered staff member sign one for this very ticket.",
    ),
    Reason.OFFLINE_RESULT_NOT_CURRENT: Text(
        "线下核验结果的签署时间早于开单时间、距今过久或晚于当前时间。请校准时钟后重新签署。",
        "The offline result was signed before its ticket was opened, too long ago, or in the future. Set the clock "
        "right and sign again.",
    ),
    Reason.OFFLINE_RESULT_CONFLICT: Text(
        "该线下核验单已有不同的核验结果，不能更改。如该结果有误，请联系审计人员。",
        "This ticket has another result already, which stands. If it is wrong, call an auditor.",
    ),
    Reason.DISPUTE_INVALID: Text(
        "异议的签名或内容验证失败。请由请求方或监护人重新提出。",
        "The dispute does not verify. Have the requester or the guardian open it again.",
    ),
    Reason.ANSWER_NOT_DISPUTABLE: Text(
        "没有您可以提出异议的此项答复。只能对本方获得的、或依据您的授权作出的“是”“否”“无法线上判断”的答复提出异议。",
        "There is no such answer that you may dispute. Only answers of yes, no or undetermined that you were given, or "
        "that rest on your consent, can be disputed.",
    ),
    Reason.TOO_MANY_DISPUTES: Text(
        "短时间内提出的异议过多。请在提示的时间后重试。",
        "Too many disputes in a short time. Retry after the stated delay.",
    ),
    Reason.DISPUTE_UNKNOWN: Text(
        "该部门没有此请求方的这项异议。请核对异议编号。",
        "This department has no such dispute of this requester. Check the dispute's id.",
    ),
    Reason.DISPUTE_OTHER_QUESTION: Text(
        "更正后的重新核验须与被提出异议的核验完全相同：事项、行政区、参数、人员和授权均须一致。请使用同一授权。",
        "What is asked again after a correction must be just what was disputed: the same claim, region, parameters, "
        "subjects and grants. Use the same consent.",
    ),
    Reason.DISPUTE_NOT_CORRECTED: Text(
        "部门尚未更正该答复，不能免扣次数重新核验。处理情况见原请求的回执。",
        "The department has not corrected the answer, so it is not asked again without a use. What became of the "
        "dispute so far is in the receipt of the disputed query.",
    ),
    Reason.DISPUTE_SPENT: Text(
        "该异议更正后的重新核验机会已经用过。",
        "The verification that this dispute allowed was made already.",
    ),
    Reason.DISPUTE_RESOLVED: Text(
        "该异议已经处理完毕，不能更改。",
        "The dispute is resolved already, and stays so.",
    ),
    Reason.SUBJECT_UNDECIPHERABLE: Text(
        "密封内容无法解开。请用登记册中的现行密钥重新密封。",
        "The sealed subject cannot be opened. Seal again with a current key of the registry.",
    ),
    Reason.COMMITMENT_MISMATCH: Text(
        "密封内容与授权中的承诺值不符。",
        "The sealed subject does not match the commitment in the grant.",
    ),
    Reason.ATTESTATION_INVALID: Text(
        "部门的答复验证失败，已按不可用处理。请稍后重试。",
        "The department's answer does not verify and counts as unavailable. Try again later.",
    ),
    Reason.ANSWERS_CONTRADICT: Text(
        "部门对同一核验事项给出了互相矛盾的答复，均不采用。请线下核验，并通知审计人员。",
        "The department contradicted itself about this check, so neither answer counts. Verify offline, and tell an "
        "auditor.",
    ),
    Reason.DEPARTMENT_UNREACHABLE: Text(
        "部门节点暂时无法连接。请稍后重试。",
        "The department node cannot be reached. Try again later.",
    ),
    Reason.DEPARTMENT_TIMED_OUT: Text(
        "部门节点未在时限内答复。请稍后重试。",
        "The department node did not answer in time. Try again later.",
    ),
    Reason.GATEWAY_OWES_ACKNOWLEDGEMENTS: Text(
        "网关欠交的日志确认过多，部门节点暂停服务。",
        "The gateway owes too many log acknowledgements; the department node pauses.",
    ),
    Reason.CONFIGURATION_INVALID: Text(
        "配置不正确。请按提示修改。",
        "The configuration is wrong. Mend what is named.",
    ),
    Reason.RULES_INVALID: Text(
        "规则包有误。请按所列文件、行号和路径修改。",
        "The rule pack is wrong. Mend it at the named file, line and path.",
    ),
    Reason.INTERNAL: Text(
        "内部错误。请稍后重试；如持续出现请联系运维。",
        "An internal error. Try again; if it lasts, call the operator.",
    ),
}


def text_of(reason: Reason) -> Text:
    """The localized text of `reason`; every reason has one (a test holds the table complete)."""
    return _TEXTS[reason]
