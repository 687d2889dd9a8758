"""What is said of reasons about records: receipts, log, evidence, witnesses, backups, registry (see `reason_texts`)."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.protocol.reasons import Reason, Text

RECORD_TEXTS: Mapping[Reason, Text] = {
    Reason.RECEIPT_INVALID: Text(
        "回执验证失败：内容被更改或不完整。请保留该文件并联系审计人员。",
        "The receipt does not verify: changed or incomplete. Keep the file and call an auditor.",
    ),
    Reason.PROOF_INVALID: Text(
        "日志证明验证失败。",
        "The log proof does not verify.",
    ),
    Reason.STATISTICS_INVALID: Text(
        "网关提供的统计数据自相矛盾，不予采信。请联系网关运营方说明原因。",
        "The gateway's statistics contradict themselves and are not believed. Ask its operator why.",
    ),
    Reason.TILE_INVALID: Text(
        "日志的数据块与检查点不符。请核对来源，并通知审计人员。",
        "A tile of the log does not fit its checkpoint. Check where it came from, and tell an auditor.",
    ),
    Reason.JOURNAL_INVALID: Text(
        "部门台账不完整或签名无效。请向部门重新索取。",
        "The department's journal is incomplete, or its signature does not hold. Ask the department for it again.",
    ),
    Reason.LOG_UNAVAILABLE: Text(
        "日志暂时无法记录，因此不予答复。请稍后重试。",
        "The log cannot record now, so nothing is answered. Try again later.",
    ),
    Reason.POST_QUANTUM_MISSING: Text(
        "日志检查点缺少所要求的抗量子签名。请向网关重新获取，或核对所固定的密钥。",
        "The checkpoint lacks the post-quantum signature that was asked for. Obtain it anew, or check the pinned key.",
    ),
    Reason.LOG_ENDED: Text(
        "该日志已经封存，不再追加；后续日志见登记册。",
        "This log has ended and takes no more entries; the registry names the one that goes on.",
    ),
    Reason.LOG_FORKED: Text(
        "日志出现分叉：同一大小有两个不同的根。请保留两个检查点并通知审计人员。",
        "The log is forked: it shows two roots of one size. Keep both checkpoints and tell an auditor.",
    ),
    Reason.LOG_ROLLED_BACK: Text(
        "日志被回退：此前出示过更大的检查点。请保留该检查点并通知审计人员。",
        "The log was rolled back: a larger checkpoint was shown before. Keep it and tell an auditor.",
    ),
    Reason.EVIDENCE_ERASED: Text(
        "该笔证据已按保存期限或依法删除，无法恢复；日志记录仍然有效。",
        "The evidence was destroyed, by retention or by law, and cannot be had again; the log's record stands.",
    ),
    Reason.WITNESS_REFUSED: Text(
        "见证方拒绝签署该检查点。请查明日志是否分叉或被回退。",
        "The witness refused to cosign the checkpoint. Find out whether the log forked or was rolled back.",
    ),
    Reason.WITNESS_UNREACHABLE: Text(
        "见证方暂时无法连接。请稍后重试。",
        "The witness cannot be reached. Try again later.",
    ),
    Reason.BACKUP_INVALID: Text(
        "备份不完整或与日志不符，不能用于恢复。",
        "The backup is incomplete or does not fit the log, and cannot be restored.",
    ),
    Reason.REGISTRY_INVALID: Text(
        "联邦登记册无效。请从联邦运营方重新获取。",
        "The federation registry is invalid. Obtain it again from the operator.",
    ),
    Reason.REGISTRY_ROLLED_BACK: Text(
        "联邦登记册比已见过的版本旧，已拒绝。",
        "The federation registry is older than one seen before, and is refused.",
    ),
    Reason.REGISTRY_EXPIRED: Text(
        "联邦登记册已过期，暂停新业务。请获取新版本。",
        "The federation registry has expired; new work stops. Obtain a newer version.",
    ),
    Reason.REGISTRY_FORKED: Text(
        "同一版本号的联邦登记册出现了不同内容，已拒绝。请立即联系联邦运营方。",
        "Two different registries bear the same version; refused. Call the operator at once.",
    ),
}
