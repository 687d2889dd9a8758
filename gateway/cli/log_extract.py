"""The leaves of a receipt as files that tools of others check: the leaf, and its C2SP tlog-proof."""

from __future__ import annotations

from pathlib import Path

from gateway.party.keyfiles import write_private
from gateway.protocol.proof import parse_proof
from gateway.protocol.receipt_leaves import leaf_proofs
from heyan.v1 import receipt_pb2


def extract_leaves(receipt: receipt_pb2.Receipt, folder: Path) -> int:
    """Write `leaf-<index>.bin` and `leaf-<index>.tlog-proof` of every leaf of a verified receipt; how many leaves.

    The files are for their owner's eyes alone, as the receipt is.
    """
    leaves = {parse_proof(item.proof.encode()).index: item for item in leaf_proofs(receipt)}
    for index, item in leaves.items():
        write_private(folder / f"leaf-{index}.bin", item.leaf)
        write_private(folder / f"leaf-{index}.tlog-proof", item.proof.encode())
    return len(leaves)
