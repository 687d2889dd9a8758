"""`heyan log verify-receipt` on the log's second signature: what it says, and what it refuses where it is asked to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import mldsa

from gateway.cli import main
from gateway.protocol.cosignature import CosignerKey
from gateway.protocol.keys import SigningKey
from gateway.protocol.note import ML_DSA_44, Signer
from gateway.protocol.receipt_file import receipt_to_json
from gateway.protocol.registry_terms import KeyUse
from tests.federation import GATEWAY, LOG_ORIGIN, edit_party, key_terms
from tests.protocol.casework import FEDERATION, LOGGED_AT, NOW, genuine, log_signer

SEED = bytes(range(32))
COSIGNER = CosignerKey.from_seed(LOG_ORIGIN, SEED, ML_DSA_44)
STRANGER = CosignerKey.from_seed(LOG_ORIGIN, bytes(32), ML_DSA_44)
SECOND = SigningKey("log-pq-1", mldsa.MLDSA44PrivateKey.from_seed_bytes(SEED))
TERMS = (key_terms(FEDERATION.signing_keys[GATEWAY], KeyUse.LOG, NOW), key_terms(SECOND, KeyUse.LOG, NOW))
NAMED = FEDERATION.changed(lambda document: edit_party(document, GATEWAY, keys=TERMS)).registry
AT = int(LOGGED_AT) + 1


def receipt_file(folder: Path, *beside: Signer, registry: str = NAMED.token) -> Path:
    pieces = genuine()
    leaves = pieces.case.record(pieces.leaf(), beside=beside)
    path = folder / "receipt.json"
    path.write_text(receipt_to_json(pieces.receipt(leaves=leaves, registry=registry)))
    return path


def run(file: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["log", "verify-receipt", str(file), "--operator-vkey", FEDERATION.operator_vkey, *words])
    shown = capsys.readouterr()
    return int(ended.value.code or 0), shown.out, shown.err


@pytest.mark.parametrize(
    ("beside", "registry", "said", "signed", "expected"),
    [
        ((COSIGNER.at(AT),), NAMED.token, "yes", True, True),
        ((), NAMED.token, "no, although the registry names a key for it", False, True),
        ((), FEDERATION.registry.token, "no", False, False),
    ],
    ids=["there", "left out", "none"],
)
def test_it_is_said_whether_the_second_signature_is_there(
    tmp_path: Path, capsys: Any, beside: Any, registry: str, said: str, signed: bool, expected: bool
) -> None:
    file = receipt_file(tmp_path, *beside, registry=registry)
    code, out, _ = run(file, capsys)
    assert (code, out.splitlines()[-1]) == (0, f"post-quantum signature: {said}")
    code, out, _ = run(file, capsys, "--json")
    shown = json.loads(out)
    assert (code, shown["post_quantum"], shown["post_quantum_expected"]) == (0, signed, expected)


def test_required_signature_that_was_left_out_is_refused_in_one_line(tmp_path: Path, capsys: Any) -> None:
    assert run(receipt_file(tmp_path, COSIGNER.at(AT)), capsys, "--require-pq")[0] == 0
    code, out, err = run(receipt_file(tmp_path), capsys, "--require-pq")
    assert (code, out) == (1, "")
    assert "POST_QUANTUM_MISSING" in err
    assert "Traceback" not in err


def test_pinned_key_refuses_what_another_registry_vouches_for(tmp_path: Path, capsys: Any) -> None:
    """Whoever can forge the registry brings a second key of his own: `--require-pq` alone believes it."""
    own = SigningKey("log-pq-9", mldsa.MLDSA44PrivateKey.from_seed_bytes(bytes(32)))
    keys = (TERMS[0], key_terms(own, KeyUse.LOG, NOW))
    forged = FEDERATION.changed(lambda document: edit_party(document, GATEWAY, keys=keys)).registry
    file = receipt_file(tmp_path, STRANGER.at(AT), registry=forged.token)
    assert run(file, capsys, "--require-pq")[0] == 0
    assert run(file, capsys, "--pq-vkey", COSIGNER.verifier.format())[0] == 1
    assert run(receipt_file(tmp_path, COSIGNER.at(AT)), capsys, "--pq-vkey", COSIGNER.verifier.format())[0] == 0


@pytest.mark.parametrize("vkey", ["", "nonsense", log_signer().verifier.format()], ids=["empty", "text", "Ed25519"])
def test_key_that_is_no_ml_dsa_key_cannot_be_pinned(tmp_path: Path, capsys: Any, vkey: str) -> None:
    code, _, err = run(receipt_file(tmp_path, COSIGNER.at(AT)), capsys, "--pq-vkey", vkey)
    assert code == 2
    assert "--pq-vkey" in err


def test_log_names_its_second_key_for_pinning(tmp_path: Path, capsys: Any) -> None:
    registry = tmp_path / "registry.jws"
    registry.write_text(NAMED.token)
    with pytest.raises(SystemExit) as ended:
        main(["registry", "show", "--file", str(registry), "--vkey", FEDERATION.operator_vkey])
    assert not ended.value.code
    assert COSIGNER.verifier.format() in capsys.readouterr().out
