"""The receipt file that several commands write, for `heyan log verify-receipt`."""

from __future__ import annotations

from pathlib import Path

from gateway.party.keyfiles import write_private
from gateway.protocol.receipt_file import receipt_to_json
from heyan.v1 import receipt_pb2


def write_receipt(file: Path | None, receipt: receipt_pb2.Receipt) -> None:
    """Write a verified receipt, for its owner's eyes alone; nothing if no file was named."""
    if file is not None:
        write_private(file, receipt_to_json(receipt).encode())
