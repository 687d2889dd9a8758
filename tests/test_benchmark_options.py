"""Options of benchmarks are bounded before a federation is started."""

from __future__ import annotations

import sys

import pytest

from benchmarks import coalescing, hanging


@pytest.mark.parametrize("measuring", [coalescing, hanging])
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
