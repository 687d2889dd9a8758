"""What witnesses sign, and what `heyan log verify-receipt --extract` writes, as a reader sees it that was not written
here: tlog-scales of PyPI.
"""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from tlog_scales.signing import Vkey
from tlog_scales.tiles import leaf_hash
from tlog_scales.tlog import Checkpoint, InclusionProof, InclusionProofInvalid

from gateway.cli.leaf_files import extract_leaves
from gateway.protocol.cosignature import CosignerKey
from gateway.protocol.note import ML_DSA_44
from tests.fakes import Clock
from tests.protocol.casework import genuine, log_signer
from tests.witness.conftest import KEY, NOW, open_witness
from tests.witness.signed_log import SIGNER, SignedLog


def test_cosignatures_of_both_kinds_hold_and_over_nothing_else(tmp_path: Path) -> None:
    pq = CosignerKey.from_seed("witness.test/pq", bytes(32), ML_DSA_44)
    witness = open_witness(tmp_path / "w.db", Clock(NOW), keys=(KEY, pq))
    log = SignedLog.of(9)
    lines = witness.cosigning.add_checkpoint(log.request(0))
    note = log.note() + lines
    for key in (SIGNER.verifier, KEY.verifier, pq.verifier):
        vkey = Vkey.from_string(key.format())
        Checkpoint.from_text(note).verify(vkey)
        with pytest.raises(InvalidSignature):
            Checkpoint.from_text(note.replace("\n9\n", "\n8\n", 1)).verify(vkey)
    (held,) = witness.store.newest()
    Checkpoint.from_text(held.note).verify(Vkey.from_string(KEY.verifier.format()))
    witness.store.close()


def test_extracted_leaf_is_in_the_log_by_its_proof_file(tmp_path: Path) -> None:
    extract_leaves(genuine().receipt(), tmp_path)
    (file,) = tmp_path.glob("*.tlog-proof")
    head, _, note = file.read_text().partition("\n\n")
    header, index, *path = head.splitlines()
    assert header == "c2sp.org/tlog-proof@v1"
    checkpoint = Checkpoint.from_text(note)
    checkpoint.verify(Vkey.from_string(log_signer().verifier.format()))
    number = int(index.removeprefix("index "))
    proof = InclusionProof(number, checkpoint.size, [base64.b64decode(line) for line in path])
    leaf = (tmp_path / f"leaf-{number}.bin").read_bytes()
    proof.check(leaf_hash(leaf), checkpoint.root_hash)
    with pytest.raises(InclusionProofInvalid):
        proof.check(leaf_hash(leaf + b"\0"), checkpoint.root_hash)
