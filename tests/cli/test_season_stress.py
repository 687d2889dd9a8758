"""`heyan season stress` as a person types it, up to the federation; and what it shows while it runs."""

from __future__ import annotations

import asyncio
import io
import json
from datetime import date
from pathlib import Path
from random import Random

import pytest
from rich.console import Console

from gateway.cli import main
from gateway.cli.endpoints import read_endpoints
from gateway.cli.stress_families import choose_families, requester_of, uses_of
from gateway.cli.stress_live import show_progress, status_line
from gateway.cli.stress_print import print_report
from gateway.protocol.errors import MalformedError
from gateway.season.arrivals import Arrival
from gateway.season.profile import Profile, Shape, make_profile, read_values
from gateway.season.rehearsal import End, Tally
from gateway.season.rehearsal_page import rehearsal_html
from gateway.season.rehearsal_report import to_json
from sandbox_departments.people import FICTIONAL_AREA
from sandbox_departments.population import generate_families
from sandbox_departments.truth import write_truth
from tests import federation as fed
from tests.cli.stress_fakes import TimelessLoop, receipt_of, rehearse
from tests.county_rules import SHIPPED_RULES

ENDPOINTS = {
    "gateway": {"id": "main", "grpc": "127.0.0.1:1", "log_url": None, "log_vkey": "none"},
    "ca": "ca.pem",
    "registry": "registry.jws",
    "operator_vkey": "none",
    "consent": {"id": "citizen-app", "url": "https://127.0.0.1:1"},
    "departments": {},
    "requesters": {name: {"cert": "c", "key": "k", "signing_key": "s"} for name in ("edu-4301", "edu-4302")},
    "auditors": {},
    "truth": "truth.jsonl",
    "guardians": "guardians",
    "rules": "rules",
    "closed": "4301",
}


def ended(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["season", *words])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def federation(folder: Path, *, grpc: str = "127.0.0.1:1") -> Path:
    """The files of a federation that does not run."""
    made = ENDPOINTS | {"gateway": ENDPOINTS["gateway"] | {"grpc": grpc}}
    (folder / "endpoints.json").write_text(json.dumps(made), encoding="utf-8")
    return folder


def test_the_profile_that_is_written_is_one(tmp_path, capsys) -> None:
    out = tmp_path / "opening.toml"
    assert ended("profile", "--out", str(out)) == 0
    assert "heyan season stress" in capsys.readouterr().out
    assert make_profile(read_values(out.read_text(encoding="utf-8"))).shape is Shape.OPENING


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--profile", "peaky"), "--profile peaky is no file"),
        (("--seconds", "0"), "--seconds must be a number"),
        (("--goal", "p99<2s,refsed<1%"), "--goal, term 2"),
        (("--rate", "3", "--applicants", "3"), "--rate must not be given beside"),
        (("--in-flight", "0"), "--in-flight must be"),
        (("--html", "no-such-folder/x.html"), "--html"),
        ((), "holds no endpoints.json"),
    ],
)
def test_a_usage_error_is_located_before_anything_is_asked(words, says, tmp_path, capsys) -> None:
    assert ended("stress", "--dir", str(tmp_path), *words) == 2
    assert says in capsys.readouterr().err.replace("\n", " ")


def test_a_gateway_on_another_machine_is_not_put_under_load(tmp_path, capsys) -> None:
    for grpc in ("10.0.0.7:18400", "gateway.example:18400", "127.0.0.1.example:18400"):
        assert ended("stress", "--dir", str(federation(tmp_path, grpc=grpc))) == 2
        assert "only one on this machine" in capsys.readouterr().err


def test_families_are_drawn_by_the_seed_and_apply_where_they_live(tmp_path) -> None:
    endpoints = read_endpoints(federation(tmp_path))
    families = generate_families(
        Random(1), 30, today=date(2027, 6, 21), rules=SHIPPED_RULES, prefectures=("4301", "4303")
    )
    write_truth(tmp_path / "truth.jsonl", families, SHIPPED_RULES)
    one, same, other = (choose_families(tmp_path, endpoints, 10, seed) for seed in (1, 1, 2))
    assert one == same != other
    assert len({truth.application.family for truth in one}) == 10
    assert len(choose_families(tmp_path, endpoints, 100, 1)) == 30
    for truth in choose_families(tmp_path, endpoints, 30, 1):
        assert requester_of(truth, endpoints) == "edu-4301"  # 4303 has no system of its own here


def test_consents_have_as_many_uses_as_their_families_apply() -> None:
    arrivals = [Arrival(0.0, number) for number in range(7)] + [Arrival(5.0, 3)]
    assert uses_of(arrivals, 7) == 2
    assert uses_of(arrivals, 3) == 4  # applicants 0, 3 and 6, and 3 again
    with pytest.raises(MalformedError):
        uses_of([Arrival(0.0, 0)] * 1001, 1)


# -- what is shown ------------------------------------------------------------------------------------------


async def answered(submission):
    await asyncio.sleep(0.02)
    return receipt_of(submission)


def test_no_output_names_a_person() -> None:
    async def wrong(submission):
        return receipt_of(submission, refuses="police")

    for answer in (answered, wrong):
        run, _ = rehearse(Profile(shape=Shape.STEADY, applicants=20, seconds=5, again_percent=0), answer)
        shown = io.StringIO()
        print_report(Console(file=shown, width=200), run)
        texts = [shown.getvalue(), json.dumps(to_json(run)), rehearsal_html(run), status_line(run.tally, (20,), 5.0)]
        for subject in fed.FAMILY.values():
            assert not any(subject.id_number in text or subject.name in text for text in texts)
        assert not any(FICTIONAL_AREA in text for text in texts)


def test_the_report_fits_a_terminal_and_ends_with_the_verdict() -> None:
    run, _ = rehearse(Profile(shape=Shape.STEADY, applicants=20, seconds=5, again_percent=0), answered, goal="p99<1s")
    shown = io.StringIO()
    print_report(Console(file=shown, width=80), run)
    lines = shown.getvalue().rstrip().splitlines()
    assert lines[-1].startswith("PASSED")
    assert any(line.startswith("police") for line in lines)


def test_the_status_tells_the_rate_against_the_profiles() -> None:
    tally = Tally()
    for number in range(30):
        tally.start(number / 10)
        tally.finish(number / 10, number / 10 + 0.05, End.ANSWERED if number else End.REFUSED, None if number else "X")
    line = status_line(tally, (20, 20, 20), 3.4)
    assert "sent 30/60  10.0/s of 20.0/s" in line
    assert "answered 29" in line
    assert "refused 1" in line
    assert "p99 50" in line


def test_where_nobody_watches_a_plain_line_comes_now_and_then() -> None:
    shown = io.StringIO()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        showing = asyncio.create_task(show_progress(Console(file=shown), Tally(), (1, 1), loop.time))
        await asyncio.sleep(11)
        showing.cancel()

    with asyncio.Runner(loop_factory=TimelessLoop) as runner:
        runner.run(run())
    assert [line.split()[0] for line in shown.getvalue().splitlines()] == ["5", "10"]
    assert "\x1b" not in shown.getvalue()
