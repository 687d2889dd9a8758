"""Evidence shown while the log ends: whatever log has the access, it verifies, and was logged before it was shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.audit.evidence_view import verify_evidence
from gateway.evidence.desk import EvidenceDesk, evidence_allowance
from tests import federation as fed
from tests.evidence.erasures import request_id_of
from tests.evidence.test_desk import look, operator, wanted
from tests.gateway.conftest import Gateway
from tests.gateway.shards import NEXT, announce, freeze

THIRD = "heyan.test/log/3"


@pytest.mark.parametrize("frozen_before", [False, True])
async def test_log_that_ends_between_the_record_and_the_look_leaves_evidence_that_verifies(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, frozen_before: bool
) -> None:
    desk = EvidenceDesk(
        store=gateway.store,
        log=gateway.log,
        requests=gateway.requests,
        disputes=gateway.disputes,
        stamp=gateway.stamp,
        allowance=evidence_allowance(),
    )
    submission = gateway.submission()
    await gateway.verify(submission)
    if frozen_before:
        announce(gateway)
        freeze(gateway, tmp_path)
        await gateway.verify(gateway.submission())
    append = gateway.log.append

    async def append_and_freeze(entry: Any) -> Any:
        committed = await append(entry)
        if frozen_before:
            announce(gateway, fed.LOG_ORIGIN, NEXT, THIRD)
            freeze(gateway, tmp_path, THIRD)
        else:
            announce(gateway)
            freeze(gateway, tmp_path)
        return committed

    monkeypatch.setattr(gateway.log, "append", append_and_freeze)
    request_id = request_id_of(submission)
    response = await look(desk, request_id)
    monkeypatch.undo()
    assert verify_evidence(response, wanted(request_id), gateway.federation.registry, operator(gateway)).grants
