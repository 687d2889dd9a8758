"""Places for requests: bounded, shared fairly, and closed when the process drains."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from gateway.admission import Admission
from gateway.protocol.errors import OverloadedError, UnreachableError
from gateway.protocol.identities import Identity, PartyRole
from gateway.protocol.reasons import Reason

ONE, OTHER = Identity(PartyRole.REQUESTER, "one"), Identity(PartyRole.REQUESTER, "other")


def test_one_requester_cannot_take_all_places() -> None:
    admission = Admission(total=4, share=2)
    with ExitStack() as held:
        for _ in range(2):
            held.enter_context(admission.place(ONE))
        with pytest.raises(OverloadedError) as caught, admission.place(ONE):
            pass
        assert caught.value.retry_after
        held.enter_context(admission.place(OTHER))
        assert admission.under_way == 3


def test_full_house_tells_everybody_to_come_back() -> None:
    admission = Admission(total=1, share=1)
    with admission.place(ONE), pytest.raises(OverloadedError), admission.place(OTHER):
        pass
    with admission.place(OTHER):
        assert admission.under_way == 1


def test_place_is_given_back_when_a_request_fails() -> None:
    admission = Admission(total=1, share=1)
    with pytest.raises(ZeroDivisionError), admission.place(ONE):
        raise ZeroDivisionError
    assert admission.under_way == 0


def test_draining_gateway_lets_nobody_in() -> None:
    admission = Admission(total=1, share=1)
    admission.close()
    with pytest.raises(UnreachableError) as caught, admission.place(ONE):
        pass
    assert caught.value.reason is Reason.SHUTTING_DOWN
