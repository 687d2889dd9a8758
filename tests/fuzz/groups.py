"""The groups of targets, by name; each is made when it is asked for, so that a process instruments what it needs."""

from __future__ import annotations

from importlib import import_module

from tests.fuzz.target import Target

MODULES = {
    "protocol": ("protocol_targets", "dispute_targets"),
    "notes": ("notes_targets", "witness_targets"),
    "jose": ("jose_targets",),
    "webauthn": ("webauthn_targets",),
    "names": ("names_targets",),
    "sealed": ("sealed_targets",),
    "service": ("service_targets", "file_targets"),
}


def targets_of(group: str) -> tuple[Target, ...]:
    """The targets of a group."""
    modules = [import_module(f"tests.fuzz.{name}") for name in MODULES[group]]
    return tuple(target for module in modules for target in module.targets())
