"""Every bound that parties hold each other to, with its unit and its reason, in one place.

These are part of the contract: a tighter value is a breaking change. Bounds of one process (queues, rates)
are settings of that process.
"""

from __future__ import annotations

# -- time, in seconds ---------------------------------------------------------------------------------------

EARLY_TOLERANCE = 10.0
"""How far in the future a not-before may lie (DESIGN: clocks)."""

EXPIRY_TOLERANCE = 5.0
"""How long after its expiry a thing is still accepted."""

MAX_CLOCK_SKEW = 5.0
"""Beyond this a node reports itself unhealthy."""

MAX_QUERY_LIFETIME = 60.0
"""Longest time between a query's issue and its last first acceptance."""

STATUS_LIST_MAX_AGE = 5.0
"""Age at which a status list no longer proves that a grant stands."""

STATUS_LIST_GRACE = 30
"""Whole seconds for which an unreachable issuer's last status list still serves, where the registry sets no other."""

MAX_GRANT_LIFETIME = 400 * 86_400.0
"""Longest life of a grant: one enrolment year and its follow-up."""

ATTESTATION_LIFETIME = 30 * 86_400.0
"""For how long a requester may rely on an attestation."""

OFFLINE_RESULT_LIFETIME = 7 * 86_400.0
"""For how long a staff member's signed result may wait to be recorded: a week without network."""

SEALING_KEY_LIFETIME = 14 * 86_400.0
"""Sealing keys rotate weekly; each opens for two weeks and is then destroyed."""

# -- sizes, in bytes ----------------------------------------------------------------------------------------

MAX_MESSAGE = 1 << 20
"""Largest message that a handler accepts; above a full request of 16 parts (about 0.3 MiB)."""

TRANSPORT_MAX_MESSAGE = 2 << 20
"""Largest message that the transport hands over: above MAX_MESSAGE, so that oversized ones reach a handler
and their refusal is logged."""

ENVELOPE_SIZE = 3072
"""Fixed plaintext size of a sealed subject: three subjects (about 240 each) and the passkey evidence of two
grants (about 700 each with a browser's longest clientDataJSON)."""

MAX_GRANT = 16_384
"""A compact JWS of a grant; real ones are about 2,000."""

MAX_DISCLOSURE = 2_048
"""One SD-JWT disclosure; real ones are about 300."""

MIN_REQUEST_ID = 16
MAX_REQUEST_ID = 32
NONCE_SIZE = 16
PART_SALT_SIZE = 32
APPLICATION_SALT_SIZE = 32

# -- counts -------------------------------------------------------------------------------------------------

MAX_PARTS = 16
"""Departments of one query."""

MAX_CHECKS_PER_PART = 16
MAX_CHECKS = 32
"""Checks of one query; the largest plan of annex 2 has seven."""

MAX_GRANTS = 4
"""Grants of one query: the guardian's and up to three co-residents'."""

MAX_DISCLOSURES = 32
"""Disclosures shown with one grant."""

MAX_ASKS_PER_BATCH = 256
"""Parts that a gateway may put into one message to a department."""

MAX_USES = 1_000
"""Largest `max_uses` of an authorization."""

MAX_LEAVES_PER_PAGE = 1_000

MAX_STATISTICS_PER_PAGE = 1_000
"""Rows of statistics (about 70 bytes each): what the event loop of a busy gateway writes in some 25 ms."""
