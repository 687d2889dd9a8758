"""How long the stateful tests run: the same few hundred steps in each run, or many more with HEYAN_STATEFUL=long.

HEYAN_STATEFUL=long pytest tests/stateful
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

_LONG = os.environ.get("HEYAN_STATEFUL") == "long"


def profile(examples: int, steps: int) -> settings:
    """`examples` sequences of at most `steps` steps; twenty times as many, freshly drawn and longer, if asked for."""
    return settings(
        max_examples=examples * (20 if _LONG else 1),
        stateful_step_count=steps * (2 if _LONG else 1),
        derandomize=not _LONG,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink) if _LONG else (Phase.generate,),  # shrinking takes minutes
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
