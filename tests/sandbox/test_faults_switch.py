"""The switch: what may be set and what is refused, noticed while the node runs; a stale register, a node kept down."""

from __future__ import annotations

import ast
import asyncio
import inspect
from contextlib import nullcontext
from datetime import date
from pathlib import Path

import pytest

import sandbox_departments
from gateway.protocol.claims import Role
from gateway.protocol.errors import MalformedError
from gateway.protocol.reasons import Reason
from sandbox_departments.faults.kinds import KINDS, Fault, Kind, make_fault
from sandbox_departments.faults.register import SwitchedRegister
from sandbox_departments.faults.switch import Switch, lift_fault, read_fault, set_fault
from sandbox_departments.register import Finding, Question, Standing
from sandbox_departments.serve import NodeProcess, serve
from tests.fakes_register import FakeRegister
from tests.sandbox.asking import CHILD, GUARDIAN, REGION, REGISTERED


@pytest.fixture
def file(tmp_path):
    return tmp_path / "fault.json"


def test_every_fault_has_its_line() -> None:
    assert set(KINDS) == set(Kind)
    assert all(terms.text for terms in KINDS.values())


@pytest.mark.parametrize("kind", list(Kind))
def test_every_fault_is_read_as_it_was_set(file, kind) -> None:
    fault = make_fault(kind.value)
    set_fault(file, fault)
    assert read_fault(file) == fault
    assert lift_fault(file)
    assert read_fault(file) is None
    assert not lift_fault(file)


def test_unknown_fault_is_refused_with_the_names_of_the_known() -> None:
    with pytest.raises(MalformedError) as refused:
        make_fault("moody")
    assert refused.value.reason is Reason.CONFIGURATION_INVALID
    assert all(kind.value in refused.value.violations[0].description for kind in Kind)


@pytest.mark.parametrize(
    ("kind", "options", "named"),
    [
        ("garbage", {"seconds": 1.0}, "--seconds"),
        ("slow", {"days": 3}, "--days"),
        ("down", {"after": 1}, "--after"),
        ("stale-snapshot", {"after": 1}, "--after"),
        ("slow", {"seconds": 0.0}, "--seconds"),
        ("slow", {"seconds": -1.0}, "--seconds"),
        ("slow", {"seconds": float("nan")}, "--seconds"),
        ("slow", {"seconds": 3_601.0}, "--seconds"),
        ("stale-snapshot", {"days": 0}, "--days"),
        ("stale-snapshot", {"days": 36_501}, "--days"),
        ("twice", {"after": -1}, "--after"),
    ],
)
def test_value_out_of_bounds_or_of_another_fault_is_refused(kind, options, named) -> None:
    with pytest.raises(MalformedError) as refused:
        make_fault(kind, **options)
    assert refused.value.violations[0].field == named


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"kind":"moody"}', b'{"kind":"slow","mood":1}', b'{"kind":"slow","seconds":-4}', b"\xff"],
)
def test_node_does_not_start_under_a_switch_that_cannot_be_read(file, content) -> None:
    file.write_bytes(content)
    with pytest.raises(MalformedError) as refused:
        Switch(file)
    assert refused.value.reason is Reason.CONFIGURATION_INVALID


def test_change_is_noticed_at_the_next_look_and_a_bad_one_changes_nothing(file) -> None:
    switch = Switch(file)
    assert switch.fault() is None
    set_fault(file, make_fault("slow", seconds=3))
    assert switch.fault() == Fault(Kind.SLOW, seconds=3.0)
    file.write_bytes(b"{")
    assert switch.fault() == Fault(Kind.SLOW, seconds=3.0)
    lift_fault(file)
    assert switch.fault() is None


async def test_wait_ends_with_the_fault_or_with_its_time(file) -> None:
    switch, fault = Switch(file), make_fault("hangs")
    set_fault(file, fault)
    waiting = asyncio.create_task(switch.outlast(fault))
    await asyncio.sleep(0)
    assert not waiting.done()
    await asyncio.wait_for(switch.outlast(fault, 0.01), 10)
    set_fault(file, make_fault("garbage"))
    await asyncio.wait_for(waiting, 10)


async def test_node_learns_when_it_shall_be_down_and_when_no_more(file) -> None:
    switch = Switch(file)
    falling = asyncio.create_task(switch.until_down(down=True))
    set_fault(file, make_fault("garbage"))
    await asyncio.sleep(0)
    assert not falling.done()
    set_fault(file, make_fault("down"))
    await asyncio.wait_for(falling, 10)
    rising = asyncio.create_task(switch.until_down(down=False))
    await asyncio.sleep(0)
    assert not rising.done()
    lift_fault(file)
    await asyncio.wait_for(rising, 10)


def test_stale_register_states_its_old_date_and_vouches_for_nobody(file) -> None:
    inner = FakeRegister(date(2027, 1, 31))
    inner.findings = {GUARDIAN.id_number: Finding(Standing.PROTECTED, True)}
    register = SwitchedRegister(inner, Switch(file))
    questions = [
        Question(REGISTERED, REGION, {}, {Role.CHILD: CHILD}),
        Question(REGISTERED, REGION, {}, {Role.CHILD: GUARDIAN}),
    ]
    right = [Finding(Standing.KNOWN, True), Finding(Standing.PROTECTED, True)]
    assert (register.snapshot_date, list(register.find(questions))) == (date(2027, 1, 31), right)
    set_fault(file, make_fault("stale-snapshot", days=30))
    assert register.snapshot_date == date(2027, 1, 1)
    assert [finding.standing for finding in register.find(questions)] == [Standing.STALE, Standing.PROTECTED]
    assert inner.asked == [tuple(questions)] * 2
    set_fault(file, make_fault("garbage"))
    assert (register.snapshot_date, list(register.find(questions))) == (date(2027, 1, 31), right)


async def test_answer_from_a_stale_register_is_undetermined(desk, file) -> None:
    set_fault(file, make_fault("stale-snapshot"))
    desk.answerer._sources = desk.answerer._sources.__class__(
        registry=desk.answerer._sources.registry,
        keys=desk.answerer._sources.keys,
        register=SwitchedRegister(desk.register, Switch(file)),
        standings=desk.standings,
    )
    statements = await desk.statements(desk.world.ask())
    assert [(item.outcome.name, item.snapshot_date) for item in statements] == [("UNDETERMINED", "2026-12-02")] * 2


# -- no part of a real department ---------------------------------------------------------------------------


def test_honest_node_imports_no_fault() -> None:
    """Whoever calls `serve` gets a straight wire: only the package of faults, and the command, know of them."""
    folder = Path(sandbox_departments.__file__).parent
    files = sorted(folder.glob("*.py"))
    assert folder / "serve.py" in files
    imported = {
        node.module
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module is not None
    }
    assert "sandbox_departments.streams" in imported
    assert [module for module in imported if "faults" in module] == []
    assert inspect.signature(serve).parameters["open_wire"].default is nullcontext
    assert inspect.signature(NodeProcess).parameters["open_wire"].default is nullcontext
