"""What simulated families of tests are asked: by the packs that come with Heyan."""

from __future__ import annotations

from gateway.cli.sandbox_rules import SandboxRules

SHIPPED_RULES = SandboxRules()
"""Of every county; the province's own rules hold in all prefectures but 4301 and 4303."""
