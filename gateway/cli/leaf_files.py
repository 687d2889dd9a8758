"""Leaves as files that tools of others check: the leaf, and its C2SP tlog-proof.

They are for their owner's eyes alone: what a leaf says of a query is nobody else's business.
"""

from __future__ import annotations

from pathlib import Path

from gateway.party.keyfiles import write_private
from gateway.protocol.proof import parse_proof
from gateway.protocol.receipt_leaves import leaf_proofs
from heyan.v1 import receipt_pb2


def write_leaf(folder: Path, index: int, leaf: bytes, proof: str) -> None:
    """Write `leaf-<index>.bin` and `leaf-<index>.tlog-proof` into a folder, made if need be. Raises OSError."""
    write_private(folder / f"leaf-{index}.bin", leaf)
    write_private(folder / f"leaf-{index}.tlog-proof", proof.encode())


def extract_leaves(receipt: receipt_pb2.Receipt, folder: Path) -> int:
    """Write every leaf of a verified receipt with its proof; how many there are. Raises OSError."""
    leaves = {parse_proof(item.proof.encode()).index: item for item in leaf_proofs(receipt)}
    for index, item in leaves.items():
        write_leaf(folder, index, item.leaf, item.proof)
    return len(leaves)
