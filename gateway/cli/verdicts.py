"""Showing a verdict: material by material, in both languages, as text for a person and rows for a program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from gateway.protocol.claims import REGISTRY_FIELDS
from gateway.protocol.errors import ForgedError
from gateway.protocol.matrix import GROUP_NAMES
from gateway.protocol.offline import OFFLINE_REASON_TEXTS
from gateway.protocol.reasons import Reason, Text
from gateway.protocol.receipt import VerifiedReceipt
from gateway.protocol.receipt_tickets import Ticket
from gateway.rules.bundle import write_bundle
from gateway.rules.layering import rules_of
from gateway.rules.pack import EXEMPTION_TEXTS, SCHOOL_NAMES
from gateway.rules.shelf import open_shelf
from gateway.rules.verdict import GroupVerdict, MaterialVerdict, Standing
from gateway.verdicts import Verdict, verdict_of

STANDING_TEXTS: Mapping[Standing, Text] = {
    Standing.EXEMPT: Text("免于提交", "nothing to hand in"),
    Standing.OFFLINE: Text("线下核验", "to be checked offline"),
    Standing.OPEN: Text("尚待核验", "not known yet: ask again"),
    Standing.OWED: Text("仍需提交", "still owed"),
}
_STYLES = {Standing.EXEMPT: "green", Standing.OFFLINE: "yellow", Standing.OPEN: "magenta", Standing.OWED: "red"}
_WHOLE: dict[str, Any] = {"soft_wrap": True, "highlight": False}


def verdict_in(verified: VerifiedReceipt, bundle: bytes, packs: Path | None) -> Verdict | None:
    """The verdict of a receipt by the rules that it carries, or by a folder of packs; None if nobody has its rules.

    Raises BadDataError if the rules are not those that the requester signed.
    """
    application = verified.application
    if application is None or not (bundle or packs):
        return None
    if packs is None:
        return verdict_of(verified, bundle)
    shelf = open_shelf(packs)
    if rules_of(application.region, shelf).digest() != application.rules_digest:
        raise ForgedError(Reason.RECEIPT_INVALID, f"{packs} holds other rules than the requester signed")
    return verdict_of(verified, write_bundle(application.region, shelf))


def print_verdict(verdict: Verdict, console: Console | None = None, tickets: Sequence[Ticket] = ()) -> None:
    """What the answers make of the application, and what `tickets` found beside it; nothing is cut."""
    shown = console or Console()
    application = verdict.application
    school = SCHOOL_NAMES[application.school]
    shown.print(f"\nVerdict 核验结论: {application.region}, {school.zh} {school.en}", **_WHOLE)
    for group in verdict.groups:
        _print_group(group, shown, lambda material: _found(material, verdict, tickets))
    names = [f"{GROUP_NAMES[group].zh} {group.value}" for group in verdict.supported]
    shown.print(f"supported 符合: {', '.join(names) or '无 none'}", **_WHOLE)
    on_paper = [
        f"{GROUP_NAMES[group].zh} {group.value}" for group in verdict.with_paper if group not in verdict.supported
    ]
    if on_paper:
        shown.print(f"supported with paper 含线下核验后符合: {', '.join(on_paper)}", **_WHOLE)
    if verdict.to_collect:
        fields = [f"{REGISTRY_FIELDS[name].zh} {REGISTRY_FIELDS[name].en}" for name in verdict.to_collect]
        shown.print(f"still to collect 仍需采集: {', '.join(fields)}", **_WHOLE)
    elif verdict.rules.fields:
        shown.print("still to collect 仍需采集: 无 nothing", **_WHOLE)


def _print_group(group: GroupVerdict, shown: Console, found: Callable[[MaterialVerdict], str]) -> None:
    shown.print(f"{GROUP_NAMES[group.group].zh} {group.group.value}: {_standing(group.standing)}", **_WHOLE)
    for material in group.materials:
        text = material.material.name
        shown.print(f"  {_standing(material.standing)}  {text.zh} {text.en}{_why(material)}{found(material)}", **_WHOLE)


def _standing(standing: Standing) -> str:
    return f"[{_STYLES[standing]}]{standing.name:7}[/] {STANDING_TEXTS[standing].zh}"


def _why(material: MaterialVerdict) -> str:
    if material.exemption is not None:
        return f" ({EXEMPTION_TEXTS[material.exemption].zh})"
    return f" ({', '.join(map(str, material.grounds))})" if material.grounds else ""


def _found(material: MaterialVerdict, verdict: Verdict, tickets: Sequence[Ticket]) -> str:
    """What staff found on paper about a material; the verdict itself is of the answers alone."""
    checks = {verdict.asked[question] for question in material.grounds if question in verdict.asked}
    results = [
        ticket.resolution.result
        for ticket in tickets
        if ticket.resolution is not None
        and (ticket.opened.subject.check_id in checks or ticket.opened.subject.material == material.material.key)
    ]
    return "".join(f"; on paper {each.outcome.name} {OFFLINE_REASON_TEXTS[each.reason].zh}" for each in results)


def verdict_row(verdict: Verdict) -> dict[str, object]:
    """A verdict as `--json` prints it."""
    application = verdict.application
    return {
        "region": application.region,
        "school": application.school.value,
        "group": application.group.value if application.group is not None else None,
        "rules_digest": application.rules_digest.hex(),
        "supported": [group.value for group in verdict.supported],
        "supported_with_paper": [group.value for group in verdict.with_paper],
        "groups": [
            {
                "group": group.group.value,
                "standing": group.standing.name,
                "materials": [_material_row(material, verdict) for material in group.materials],
            }
            for group in verdict.groups
        ],
        "to_collect": list(verdict.to_collect),
    }


def _material_row(material: MaterialVerdict, verdict: Verdict) -> dict[str, object]:
    return {
        "material": material.material.key,
        "name": material.material.name.zh,
        "standing": material.standing.name,
        "exemption": material.exemption.value if material.exemption is not None else None,
        "checks": [verdict.asked[question] for question in material.grounds if question in verdict.asked],
    }
