"""What is kept of timed functions: medians and quartiles in microseconds, shared out over what a call handles."""

from __future__ import annotations

from benchmarks.functions.__main__ import rows_of


def test_a_row_tells_microseconds_of_a_call_and_of_an_item() -> None:
    stats = {"median": 2e-3, "q1": 1e-3, "q3": 4e-3, "rounds": 7}
    raw = {"benchmarks": [{"name": "test_batch_sign[8]", "stats": stats, "extra_info": {"items": 8}}]}
    (row,) = rows_of(raw)
    assert row == {
        "function": "batch_sign[8]",
        "us": 2000.0,
        "quartile_1_us": 1000.0,
        "quartile_3_us": 4000.0,
        "items": 8,
        "us_per_item": 250.0,
        "rounds": 7,
    }


def test_a_function_without_a_group_is_its_own_item() -> None:
    stats = {"median": 1e-6, "q1": 1e-6, "q3": 1e-6, "rounds": 1}
    (row,) = rows_of({"benchmarks": [{"name": "test_leaf_read", "stats": stats, "extra_info": {}}]})
    assert (row["function"], row["us_per_item"]) == ("leaf_read", 1.0)
