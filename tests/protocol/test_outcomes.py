"""The closed sets of answers: the numbers of the contract, and the step that follows each."""

import pytest

from gateway.protocol.leaf import CheckStatus
from gateway.protocol.outcomes import ATTESTABLE, NextStep, Outcome, next_step_of
from heyan.v1 import check_pb2, log_pb2


@pytest.mark.parametrize(
    ("ours", "contract", "prefix"),
    [
        (Outcome, check_pb2.Outcome, "OUTCOME_"),
        (NextStep, check_pb2.NextStep, "NEXT_STEP_"),
        (CheckStatus, log_pb2.CheckStatus, "CHECK_STATUS_"),
    ],
)
def test_numbers_are_those_of_the_contract(ours, contract, prefix):
    listed = {name.removeprefix(prefix): number for name, number in contract.items()}
    assert listed.pop("UNSPECIFIED") == 0
    assert {member.name: member.value for member in ours} == listed


def test_only_yes_no_and_undetermined_are_a_departments_to_say():
    assert {Outcome.YES, Outcome.NO, Outcome.UNDETERMINED} == ATTESTABLE


def test_paper_is_asked_only_where_online_could_not_tell():
    assert {outcome: next_step_of(outcome) for outcome in ATTESTABLE} == {
        Outcome.YES: NextStep.NONE,
        Outcome.NO: NextStep.NONE,
        Outcome.UNDETERMINED: NextStep.OFFLINE,
    }


def test_all_numbers_encode_to_one_byte():
    assert all(0 < member < 128 for kind in (Outcome, NextStep, CheckStatus) for member in kind)
