"""Whom each finding convicts or asks: nobody by the word of the one who gains by it."""

from __future__ import annotations

import pytest

from gateway.audit.findings import Disagreement
from gateway.audit.weights import MEANINGS, TEXTS, WEIGHTS, Weight


@pytest.mark.parametrize("kind", Disagreement)
def test_every_finding_has_a_weight_and_says_so_in_both_languages(kind: Disagreement) -> None:
    assert WEIGHTS[kind] in MEANINGS
    assert TEXTS[kind].zh != TEXTS[kind].en
    assert TEXTS[kind].zh
    assert TEXTS[kind].en


def test_only_own_signatures_convict() -> None:
    """What rests on a journal alone is its department's word, what rests on a reading alone its auditor's."""
    of_gateway = {kind for kind, weight in WEIGHTS.items() if weight is Weight.CONVICTS_GATEWAY}
    of_department = {kind for kind, weight in WEIGHTS.items() if weight is Weight.CONVICTS_DEPARTMENT}
    assert {kind.value for kind in of_gateway} == {"FORKED", "REUSED", "WITHDRAWN", "AFTER_END", "MISJOINED"}
    assert {kind.value for kind in of_department} == {"SHORTENED", "REWRITTEN"}
