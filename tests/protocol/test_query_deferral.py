"""A deferred query is sealed to keys that last as long as it does, so that no node keeps one longer."""

import pytest

from gateway.protocol.errors import MalformedError
from gateway.protocol.query_rules import require_sealed_until_answered
from gateway.protocol.reasons import Reason
from tests.protocol.casework import FEDERATION, LAND, make_query, refused

REGISTRY = FEDERATION.registry
KEY_ENDS = max(key.not_after for key in REGISTRY.sealing_keys_of(LAND))


def sealed_until(until, key_id="seal-1", department=LAND):
    query = make_query(answer_until_time=until)
    require_sealed_until_answered(query, {department: key_id}, REGISTRY)


def test_deferral_to_the_end_of_the_sealing_key_is_accepted():
    sealed_until(KEY_ENDS)


@pytest.mark.parametrize("key_id", ["seal-1", "a key that nobody knows", ""])
def test_deferral_past_the_end_of_the_sealing_key_is_refused(key_id):
    with refused(MalformedError, Reason.MESSAGE_MALFORMED):
        sealed_until(KEY_ENDS + 1, key_id)


def test_what_is_not_deferred_may_be_sealed_to_a_key_that_ends_soon():
    sealed_until(make_query().expire_time, "a key that was rotated out")
