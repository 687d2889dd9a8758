"""The SQLite schema of the gateway's store, as numbered migrations that are applied at start."""

from __future__ import annotations

from sqlite_utils import Database, Migrations

migrations = Migrations("heyan.gateway")

_FIRST = """
CREATE TABLE tree (id INTEGER PRIMARY KEY CHECK (id = 1), size INTEGER NOT NULL, root BLOB NOT NULL,
    checkpoint TEXT NOT NULL) STRICT;
CREATE TABLE leaves (leaf_index INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
CREATE TABLE nodes (level INTEGER NOT NULL, node_index INTEGER NOT NULL, hash BLOB NOT NULL,
    PRIMARY KEY (level, node_index)) STRICT, WITHOUT ROWID;
CREATE TABLE statements (digest BLOB PRIMARY KEY, leaf_index INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE requests (requester TEXT NOT NULL, request_id BLOB NOT NULL, query_digest BLOB NOT NULL,
    answer_until REAL NOT NULL, grant_digest BLOB NOT NULL, state BLOB NOT NULL,
    PRIMARY KEY (requester, request_id)) STRICT;
CREATE TABLE request_leaves (requester TEXT NOT NULL, request_id BLOB NOT NULL, leaf_index INTEGER NOT NULL,
    PRIMARY KEY (requester, request_id, leaf_index)) STRICT, WITHOUT ROWID;
CREATE TABLE uses (grant_digest BLOB NOT NULL, authorization INTEGER NOT NULL, spent INTEGER NOT NULL,
    expire_time REAL NOT NULL, PRIMARY KEY (grant_digest, authorization)) STRICT, WITHOUT ROWID;
CREATE TABLE request_uses (requester TEXT NOT NULL, request_id BLOB NOT NULL, grant_digest BLOB NOT NULL,
    authorization INTEGER NOT NULL,
    PRIMARY KEY (requester, request_id, grant_digest, authorization)) STRICT, WITHOUT ROWID;
CREATE TABLE evidence (grant_digest BLOB PRIMARY KEY, wrapped_key BLOB NOT NULL, ciphertext BLOB NOT NULL) STRICT;
CREATE TABLE withdrawals (issuer TEXT NOT NULL, grant_digest BLOB NOT NULL, leaf_index INTEGER NOT NULL,
    PRIMARY KEY (issuer, grant_digest)) STRICT, WITHOUT ROWID;
CREATE TABLE registries (version INTEGER PRIMARY KEY, leaf_index INTEGER NOT NULL) STRICT;
"""


@migrations()
def create_store(db: Database) -> None:
    """The first schema."""
    _execute(db, _FIRST)


_TICKETS = """
CREATE TABLE tickets (requester TEXT NOT NULL, ticket_id BLOB NOT NULL, request_id BLOB NOT NULL,
    query_digest BLOB NOT NULL, grant_digest BLOB NOT NULL, state BLOB NOT NULL, opened_leaf INTEGER NOT NULL,
    resolved_leaf INTEGER, PRIMARY KEY (requester, ticket_id)) STRICT;
CREATE INDEX tickets_by_query ON tickets (query_digest);
CREATE UNIQUE INDEX open_tickets ON tickets (requester, opened_leaf) WHERE resolved_leaf IS NULL;
"""


@migrations()
def create_tickets(db: Database) -> None:
    """Offline tickets."""
    _execute(db, _TICKETS)


_DEFERRALS = """
CREATE TABLE deferrals (requester TEXT NOT NULL, request_id BLOB NOT NULL, departments TEXT NOT NULL,
    grants BLOB NOT NULL, answer_until REAL NOT NULL, message BLOB NOT NULL,
    PRIMARY KEY (requester, request_id)) STRICT
"""


@migrations()
def create_deferrals(db: Database) -> None:
    """What waits for departments."""
    _execute(db, _DEFERRALS)


_STATISTICS = """
CREATE TABLE statistics (day TEXT NOT NULL, region TEXT NOT NULL, department TEXT NOT NULL, claim TEXT NOT NULL,
    status INTEGER NOT NULL, verified INTEGER NOT NULL, reason TEXT NOT NULL, bucket INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (day, region, department, claim, status, verified, reason, bucket)) STRICT, WITHOUT ROWID;
CREATE TABLE statistics_days (day TEXT PRIMARY KEY, changed_size INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""


@migrations()
def create_statistics(db: Database) -> None:
    """Counts beside the log."""
    _execute(db, _STATISTICS)


_DISPUTES = """
CREATE TABLE disputes (dispute BLOB PRIMARY KEY, department TEXT NOT NULL, requester TEXT NOT NULL,
    request_id BLOB NOT NULL, grant_digest BLOB NOT NULL, question BLOB NOT NULL, relay BLOB NOT NULL,
    leaf_index INTEGER NOT NULL, corrected INTEGER, resolution BLOB, resolution_index INTEGER, reverified BLOB) STRICT;
CREATE INDEX disputes_open ON disputes (leaf_index) WHERE corrected IS NULL;
"""


@migrations()
def create_disputes(db: Database) -> None:
    """Disputes; `corrected` is NULL while one is open."""
    _execute(db, _DISPUTES)


_SHARDS = """
CREATE TABLE shards (number INTEGER PRIMARY KEY, origin TEXT NOT NULL UNIQUE, first_position INTEGER NOT NULL,
    size INTEGER NOT NULL, root BLOB NOT NULL, checkpoint TEXT NOT NULL,
    ended INTEGER NOT NULL CHECK (ended IN (0, 1))) STRICT;
CREATE UNIQUE INDEX growing_shard ON shards (ended) WHERE ended = 0;
INSERT INTO shards SELECT 0, substr(checkpoint, 1, instr(checkpoint || char(10), char(10)) - 1), 0, size, root,
    checkpoint, 0 FROM tree;
DROP TABLE tree;
ALTER TABLE statistics RENAME TO old_statistics;
ALTER TABLE statistics_days RENAME TO old_statistics_days;
CREATE TABLE statistics (shard INTEGER NOT NULL, day TEXT NOT NULL, region TEXT NOT NULL, department TEXT NOT NULL,
    claim TEXT NOT NULL, status INTEGER NOT NULL, verified INTEGER NOT NULL, reason TEXT NOT NULL,
    bucket INTEGER NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (shard, day, region, department, claim, status, verified, reason, bucket)) STRICT, WITHOUT ROWID;
CREATE TABLE statistics_days (shard INTEGER NOT NULL, day TEXT NOT NULL, changed_size INTEGER NOT NULL,
    PRIMARY KEY (shard, day)) STRICT, WITHOUT ROWID;
INSERT INTO statistics SELECT 0, * FROM old_statistics;
INSERT INTO statistics_days SELECT 0, * FROM old_statistics_days;
DROP TABLE old_statistics;
DROP TABLE old_statistics_days
"""

_SHARDS_STAND = (
    """
CREATE TRIGGER ended_shard_stands BEFORE UPDATE ON shards WHEN OLD.ended = 1
    AND (NEW.number, NEW.origin, NEW.first_position, NEW.size, NEW.root, NEW.ended)
    IS NOT (OLD.number, OLD.origin, OLD.first_position, OLD.size, OLD.root, 1)
    BEGIN SELECT RAISE(ABORT, 'LOG_ENDED'); END
""",
    """
CREATE TRIGGER shard_stays BEFORE DELETE ON shards BEGIN SELECT RAISE(ABORT, 'LOG_ENDED'); END
""",
    """
CREATE TRIGGER shard_follows BEFORE INSERT ON shards
    WHEN NEW.first_position IS NOT (SELECT coalesce(max(first_position + size), 0) FROM shards)
    BEGIN SELECT RAISE(ABORT, 'LOG_ENDED'); END
""",
)


@migrations()
def create_shards(db: Database) -> None:
    """Logs that end and go on as others: the one tree becomes the first.

    The rules stand in the database too, for whatever process writes to it. One that only knows the one tree finds
    none any more, and records nothing. Nodes of the log n stand at their level + 64 * n, so that none is rewritten.
    """
    _execute(db, _SHARDS)
    for trigger in _SHARDS_STAND:
        db.execute(trigger)


def _execute(db: Database, schema: str) -> None:
    for statement in schema.split(";"):
        if statement.strip():
            db.execute(statement)
