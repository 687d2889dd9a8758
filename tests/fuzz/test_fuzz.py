"""A smoke of the fuzz targets, without a fuzzer: seeds, arbitrary bytes, mutated seeds; and every crash ever found.

`make fuzz` does it in earnest. A target lets domain errors pass and nothing else, so each of these tests fails on any
other exception, and where a parser accepts what it would not write.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from gateway.protocol.errors import HeyanError, MalformedError
from gateway.protocol.reasons import Reason
from tests.fuzz.engine import genuine_inputs, input_of, run_input, simple_inputs
from tests.fuzz.groups import MODULES, targets_of
from tests.fuzz.target import Target, written_again

COUNT = 120
"""Mutated inputs for each target."""

CRASHES = sorted(Path(__file__).parent.glob("crashes/*"))
targets = cache(targets_of)


@pytest.mark.parametrize("group", MODULES)
def test_hostile_input_raises_domain_errors_only(group):
    for target in targets(group):
        for data in simple_inputs(target, "smoke", COUNT):
            target(data)


@pytest.mark.parametrize("group", MODULES)
def test_every_target_accepts_a_genuine_message(group):
    """Else fuzzing would begin, and end, at the door."""
    refused = [target.name for target in targets(group) if not any(map(_accepts(target), target.seeds))]
    assert set(refused) <= NEVER_ACCEPTED


NEVER_ACCEPTED = {"inclusion path", "consistency path"}
"""What is proven by no seed: any path that is accepted would be a forgery."""


def _accepts(target):
    def accepts(data):
        try:
            target.parse(data)
        except HeyanError:
            return False
        return True

    return accepts


@pytest.mark.parametrize("path", CRASHES, ids=lambda path: path.name)
def test_input_that_crashed_once_does_not_any_more(path):
    for target in targets(path.name.partition("-")[0]):  # all of them: the targets may have changed their order
        target(path.read_bytes()[1:])


def test_names_of_targets_are_told_apart():
    for group in MODULES:
        names = [target.name for target in targets(group)]
        assert len(set(names)) == len(names)


# -- the harness itself ---------------------------------------------------------------------------------------


def _raise(error):
    def parse(data):
        raise error

    return parse


def test_exception_that_is_no_domain_error_is_a_crash():
    with pytest.raises(KeyError):
        Target("broken", _raise(KeyError("x")), (b"",))(b"")
    Target("sound", _raise(MalformedError(Reason.MESSAGE_MALFORMED)), (b"",))(b"")


def test_other_bytes_than_would_be_written_are_a_crash():
    lenient = Target("lenient", bytes.strip, (b"a",), written_again(lambda value: value))
    lenient(b"a")
    with pytest.raises(AssertionError):
        lenient(b" a")


def test_input_reaches_the_target_that_it_names():
    seen = []
    both = tuple(Target(name, lambda data, name=name: seen.append((name, data)), (b"x",)) for name in ("a", "b"))
    for data in (*genuine_inputs(both), input_of(both, 1, b"y"), b""):
        run_input(both, data)
    assert seen == [("a", b"x"), ("b", b"x"), ("b", b"y")]
