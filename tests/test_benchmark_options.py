"""Options of benchmarks are bounded before a federation is started."""

from __future__ import annotations

import asyncio
import sys

import pytest

from benchmarks import coalescing, fsck, hanging
from benchmarks.peers import __main__ as peers


@pytest.mark.parametrize("measuring", [coalescing, hanging, peers])
@pytest.mark.parametrize(
    ("option", "value"),
    [("--families", "0"), ("--population", "-1"), ("--seconds", "0"), ("--seconds", "nan"), ("--seconds", "inf")],
)
def test_option_out_of_bounds_ends_with_2(measuring, option, value, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmark", option, value])
    with pytest.raises(SystemExit) as ended:
        measuring.main()
    assert ended.value.code == 2
    assert f"argument {option}: must be" in capsys.readouterr().err


def test_no_rounds_at_all_are_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["hanging", "--rounds", "0"])
    with pytest.raises(SystemExit) as ended:
        hanging.main()
    assert ended.value.code == 2
    assert "--rounds" in capsys.readouterr().err


def test_fsck_of_no_leaves_or_in_no_rounds_is_refused(monkeypatch, capsys):
    for option in ("--leaves", "--rounds"):
        monkeypatch.setattr(sys, "argv", ["fsck", option, "0"])
        with pytest.raises(SystemExit) as ended:
            fsck.main()
        assert ended.value.code == 2
        assert option in capsys.readouterr().err


def test_fsck_benchmark_makes_a_sound_log(tmp_path):
    fsck.make(tmp_path, 700)
    assert asyncio.run(fsck.check(tmp_path, "with leaves")) == 700
