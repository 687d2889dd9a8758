"""Every answer is right, and nobody but the right department learns whom it is about."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from gateway.cli.correctness import is_right, outcomes_of
from gateway.cli.endpoints import open_client
from gateway.cli.guardians import Guardians
from gateway.cli.rehearsals import MARK
from gateway.cli.verify import ask
from gateway.party.keyfiles import write_atomic
from gateway.protocol.claims import CLAIMS, FIELD_ON_FILE, Role
from gateway.protocol.errors import NotCurrentError
from gateway.protocol.outcomes import Outcome
from gateway.protocol.reasons import Reason
from gateway.protocol.subjects import Subject
from sandbox_departments.truth import Truth, asking
from tests.e2e.conftest import Running

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

FAMILIES = 500
FIELDS = {"name", "nationality", "birthplace", "native_place", "address", "guardian_phone", "health"}
AT_ONCE = 8


async def test_all_answers_of_500_random_families_equal_truth(running: Running) -> None:
    chosen = Random(7).sample(running.families, FAMILIES)
    places = asyncio.Semaphore(AT_ONCE)
    wrong: list[tuple[str, list[str]]] = []
    seen: set[Outcome] = set()

    async with open_client(running.folder, running.requester) as client, Guardians(running.folder) as guardians:

        async def check(truth: Truth) -> None:
            async with places:
                consent = await guardians.consent(truth.application, running.requester)
                result = await ask(client, truth.application, consent)
            said = [
                (answer.check.claim, answer.check.region, dict(answer.check.parameters), answer.outcome)
                for answer in result.verified.answers
            ]
            expected = [
                (answer.claim, answer.region, dict(answer.parameters), answer.outcome) for answer in truth.answers
            ]
            seen.update(answer.outcome for answer in result.verified.answers)
            if sorted(said, key=str) != sorted(expected, key=str):
                told = [
                    f"{answer.check.claim} {answer.outcome.name} {answer.reason}" for answer in result.verified.answers
                ]
                wrong.append((truth.application.family, told))
            assert is_right(result, truth), truth.application.family
            on_file = {name for name in FIELDS if right_of(truth, name) is Outcome.YES}
            assert result.verdict is not None
            assert set(result.verdict.to_collect) == FIELDS - on_file

        await asyncio.gather(*(check(truth) for truth in chosen))
    assert wrong == []
    assert seen == {Outcome.YES, Outcome.NO, Outcome.UNDETERMINED}


def right_of(truth: Truth, field: str) -> Outcome:
    return truth.outcomes[asking(FIELD_ON_FILE, truth.application.region, {"field": field})]


async def test_families_that_leave_their_group_open_learn_the_groups_that_all_true_answers_support(
    running: Running,
) -> None:
    """On the strength of the same consent; those whose facts make another group of theirs among them."""
    elsewhere = [truth for truth in running.families if set(truth.supported) - {truth.application.group}]
    chosen = [*Random(9).sample(running.families, 40), *elsewhere[:20]]
    assert len(elsewhere) >= 5
    async with open_client(running.folder, running.requester) as client, Guardians(running.folder) as guardians:
        for truth in chosen:
            consent = await guardians.consent(truth.application, running.requester)
            result = await ask(client, truth.application, consent, open_group=True)
            assert is_right(result, truth), truth.application.family
            assert outcomes_of(result.verified) == truth.outcomes


async def test_family_of_the_closed_county_is_told_when_it_opens(running: Running) -> None:
    """Nobody of the truth lives there, so somebody applies who does not."""
    truth = running.families[500]
    stranger = replace(truth.application, region=running.endpoints.closed)
    async with open_client(running.folder, running.requester) as client, Guardians(running.folder) as guardians:
        consent = await guardians.consent(stranger, running.requester)
        with pytest.raises(NotCurrentError) as caught:
            await ask(client, stranger, consent)
    assert caught.value.reason is Reason.WINDOW_CLOSED


EVERYTHING = """
[materials.everything]
name = {{ zh = "全部", en = "everything" }}
exemption = "verified_by_sharing"
replaced_by = {{ any = [{first}] }}

[materials.everything_else]
name = {{ zh = "其他", en = "everything else" }}
exemption = "verified_by_sharing"
replaced_by = {{ any = [{second}] }}

[[rows]]
schools = ["public_primary", "public_junior"]
group = "hukou_shared_home"
materials = ["everything", "everything_else"]

"""


async def test_every_claim_of_the_vocabulary_is_answered_where_a_county_asks_it(running: Running) -> None:
    """Also those that no shipped pack asks; the gateway takes the county's new pack up while it runs."""
    application = next(
        truth.application
        for truth in running.families
        if Role.CO_RESIDENT in truth.application.subjects and truth.application.region == "430105"
    )
    file = running.folder / running.endpoints.rules / "430105.toml"
    before = file.read_text(encoding="utf-8")
    asked = [written(name) for name in CLAIMS if name != FIELD_ON_FILE]
    pack = EVERYTHING.format(first=", ".join(asked[:8]), second=", ".join(asked[8:]))
    try:
        write_atomic(file, before.replace(MARK, pack + MARK).encode())
        async with open_client(running.folder, running.requester) as client, Guardians(running.folder) as guardians:
            began = time.monotonic()
            while set((await client.plan(application.region, application.school, application.group)).claims) != set(
                CLAIMS
            ):
                assert time.monotonic() - began < 30, "the gateway did not take the pack up"
                await asyncio.sleep(0.2)
            consent = await guardians.consent(application, running.requester)
            verified = (await ask(client, application, consent)).verified
    finally:
        write_atomic(file, before.encode())
    assert {answer.check.claim for answer in verified.answers} == set(CLAIMS)
    assert all(answer.outcome in (Outcome.YES, Outcome.NO, Outcome.UNDETERMINED) for answer in verified.answers)


def written(claim: str) -> str:
    """A claim as a pack asks it."""
    values = {"level": "@level", "year": "@school_year", "months": "12"}
    return f'{{ claim = "{claim}"' + "".join(f', {name} = "{values[name]}"' for name in CLAIMS[claim].parameters) + " }"


# Both tests below rest on the applications that the first one sent; alone, they send some of their own.


@pytest.fixture
async def sent(running: Running) -> list[Subject]:
    """Subjects of applications that went through the gateway just now, and everybody's else besides."""
    async with open_client(running.folder, running.requester) as client, Guardians(running.folder) as guardians:
        for truth in running.families[:40]:
            consent = await guardians.consent(truth.application, running.requester)
            await ask(client, truth.application, consent)
    return [subject for truth in running.families for subject in truth.application.subjects.values()]


def test_no_file_or_log_line_of_the_gateway_holds_a_subject(running: Running, sent: list[Subject]) -> None:
    folder = running.folder / "gateway"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"store.db", "process.log", "settings.toml"}
    found = [path.name for path in files for _ in needles_in(path.read_bytes(), sent)]
    assert found == []


def test_no_log_line_of_any_party_holds_a_subject(running: Running, sent: list[Subject]) -> None:
    logs = list(running.folder.rglob("process.log"))
    assert len(logs) == 12
    assert [path.parent.name for path in logs for _ in needles_in(path.read_bytes(), sent)] == []


def test_no_byte_of_the_gateway_process_memory_holds_a_subject(running: Running, sent: list[Subject]) -> None:
    regions, size, hits = 0, 0, 0
    for chunk in memory_of(running.pid("gateway")):
        regions += 1
        size += len(chunk)
        hits += sum(1 for _ in needles_in(chunk, sent))
    assert regions > 100
    assert size > 20 << 20
    assert hits == 0


def test_the_search_finds_what_is_there(running: Running, sent: list[Subject]) -> None:
    """The tests above would find a subject: the same search does, by number or name, planted or in a register."""
    for text in (sent[0].id_number, next(subject.name for subject in sent if len(subject.name) == 2)):
        assert list(needles_in(b"\x00before" + text.encode() + b"after\xff", sent))
    assert any(True for chunk in memory_of(os.getpid()) for _ in needles_in(chunk, sent))
    register = next(running.folder.glob("departments/police-*/register.db"))
    assert any(True for _ in needles_in(register.read_bytes(), sent))


_NUMBER = re.compile(rb"439900\d{11}[\dX]")
_CHINESE = re.compile(rb"(?:[\xe4-\xe9][\x80-\xbf]{2}){2,}")
_NAME_LENGTHS = (2, 3, 4)
_CHARACTER = 3
"""Bytes of a Chinese character in UTF-8."""


def needles_in(data: bytes, subjects: list[Subject]) -> Iterator[bytes]:
    """Every subject's number or name in `data`: in UTF-8 all of them, in UTF-16 (how Python holds text) the first."""
    numbers = {subject.id_number.encode() for subject in subjects}
    names = {subject.name.encode() for subject in subjects}
    for match in _NUMBER.finditer(data):
        if match[0] in numbers:
            yield match[0]
    for match in _CHINESE.finditer(data):
        run = match[0]
        for start in range(0, len(run), _CHARACTER):
            if any(run[start : start + length * _CHARACTER] in names for length in _NAME_LENGTHS):
                yield run
    for subject in subjects[:30]:
        for text in (subject.id_number, subject.name):
            if len(text) > 2 and text.encode("utf-16-le") in data:
                yield text.encode("utf-16-le")


def memory_of(pid: int) -> Iterator[bytes]:
    """Every readable private region of a process's memory, in pieces that overlap by the longest needle."""
    with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in maps:
            fields = line.split()
            if "r" not in fields[1] or "p" not in fields[1] or fields[-1] in ("[vvar]", "[vsyscall]"):
                continue
            if len(fields) > 5 and fields[5].startswith("/") and "w" not in fields[1]:
                continue  # code and constants of libraries
            begin, end = (int(part, 16) for part in fields[0].split("-"))
            try:
                memory.seek(begin)
                yield memory.read(end - begin)
            except OSError:
                continue
