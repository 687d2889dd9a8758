"""The SQLite schema of the gateway's store, as numbered migrations that are applied at start."""

from __future__ import annotations

from sqlite_utils import Database, Migrations

from gateway.stores.sqlite_key_slots import to_slot

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


_COMPACT = """
CREATE TABLE peers (id INTEGER PRIMARY KEY, uri TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE grants (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, kept_day INTEGER NOT NULL, wrapped_key BLOB,
    ciphertext BLOB, erased_until REAL) STRICT;
CREATE TABLE request_rows (id INTEGER PRIMARY KEY, peer INTEGER NOT NULL, request_id BLOB NOT NULL,
    query_digest BLOB NOT NULL, answer_until REAL NOT NULL, grant_id INTEGER NOT NULL, state BLOB NOT NULL,
    UNIQUE (request_id, peer)) STRICT;
CREATE TABLE request_leaf_rows (request INTEGER NOT NULL, leaf_index INTEGER NOT NULL,
    PRIMARY KEY (request, leaf_index)) STRICT, WITHOUT ROWID;
CREATE TABLE further_grants (grant_id INTEGER NOT NULL, request INTEGER NOT NULL,
    PRIMARY KEY (grant_id, request)) STRICT, WITHOUT ROWID;
CREATE TABLE use_counts (grant_id INTEGER NOT NULL, authorization INTEGER NOT NULL, spent INTEGER NOT NULL,
    expire_time REAL NOT NULL, PRIMARY KEY (grant_id, authorization)) STRICT, WITHOUT ROWID;
CREATE TABLE request_use_rows (request INTEGER NOT NULL, grant_id INTEGER NOT NULL, authorization INTEGER NOT NULL,
    PRIMARY KEY (request, grant_id, authorization)) STRICT, WITHOUT ROWID;
CREATE TABLE marks (name TEXT PRIMARY KEY, value REAL NOT NULL) STRICT, WITHOUT ROWID;

INSERT INTO peers (uri) SELECT DISTINCT requester FROM requests;
INSERT INTO grants (digest, kept_day, wrapped_key, ciphertext)
    SELECT digest, max(CAST(strftime('%s', 'now') AS INTEGER) / 86400, coalesce((SELECT CAST(max(expire_time) / 86400
    AS INTEGER) FROM uses WHERE grant_digest = digest), 0)), wrapped_key, ciphertext
    FROM (SELECT grant_digest AS digest, wrapped_key, ciphertext, rowid AS at FROM evidence UNION ALL
    SELECT DISTINCT grant_digest, NULL, NULL, 1 << 62 FROM (SELECT grant_digest FROM uses UNION
    SELECT grant_digest FROM requests) WHERE grant_digest NOT IN (SELECT grant_digest FROM evidence)) ORDER BY at;
INSERT INTO request_rows SELECT r.rowid, p.id, r.request_id, r.query_digest, r.answer_until, g.id, r.state
    FROM requests r JOIN peers p ON p.uri = r.requester JOIN grants g ON g.digest = r.grant_digest ORDER BY r.rowid;
INSERT INTO request_leaf_rows SELECT r.id, l.leaf_index FROM request_leaves l JOIN peers p ON p.uri = l.requester
    JOIN request_rows r ON r.peer = p.id AND r.request_id = l.request_id;
INSERT INTO request_use_rows SELECT r.id, g.id, u.authorization FROM request_uses u JOIN peers p ON p.uri = u.requester
    JOIN request_rows r ON r.peer = p.id AND r.request_id = u.request_id JOIN grants g ON g.digest = u.grant_digest;
INSERT INTO further_grants SELECT DISTINCT u.grant_id, u.request FROM request_use_rows u
    JOIN request_rows r ON r.id = u.request WHERE u.grant_id <> r.grant_id;
INSERT INTO use_counts SELECT g.id, u.authorization, u.spent, u.expire_time
    FROM uses u JOIN grants g ON g.digest = u.grant_digest;
DROP TABLE request_uses;
DROP TABLE uses;
DROP TABLE request_leaves;
DROP TABLE requests;
DROP TABLE evidence;
CREATE INDEX grants_kept ON grants (kept_day);
CREATE INDEX grants_erased ON grants (erased_until) WHERE erased_until IS NOT NULL;
CREATE INDEX request_rows_by_grant ON request_rows (grant_id);
CREATE INDEX disputes_by_request ON disputes (request_id);
CREATE VIEW requests AS SELECT uri AS requester, request_id, query_digest, answer_until, digest AS grant_digest, state
    FROM request_rows r JOIN peers p ON p.id = r.peer JOIN grants g ON g.id = r.grant_id;
CREATE VIEW uses AS SELECT digest AS grant_digest, authorization, spent, expire_time
    FROM use_counts u JOIN grants g ON g.id = u.grant_id;
CREATE VIEW request_uses AS SELECT uri AS requester, request_id, digest AS grant_digest, authorization
    FROM request_use_rows u JOIN request_rows r ON r.id = u.request JOIN peers p ON p.id = r.peer
    JOIN grants g ON g.id = u.grant_id;
"""


@migrations()
def compact_requests(db: Database) -> None:
    """Requesters and grants by number, and the days from which retention counts: for what was there, from now on.

    The views show what is kept under the names of whom it is about, for people; nothing here reads them.
    """
    _execute(db, _COMPACT)


_RESTING = """
INSERT OR IGNORE INTO further_grants
    WITH RECURSIVE places(at) AS (SELECT 0 UNION ALL SELECT at + 32 FROM places WHERE at < 2048)
    SELECT g.id, r.id FROM deferrals d JOIN places ON at < length(d.grants)
    JOIN grants g ON g.digest = substr(d.grants, at + 1, 32) JOIN peers p ON p.uri = d.requester
    JOIN request_rows r ON r.peer = p.id AND r.request_id = d.request_id WHERE g.id <> r.grant_id
"""


@migrations()
def rest_on_what_waits(db: Database) -> None:
    """All grants of a request that waited before grants had numbers, also those of which it had spent no use yet."""
    _execute(db, _RESTING)


_SLOTS = """
CREATE TABLE grant_keys (grant_id INTEGER PRIMARY KEY, wrapped BLOB NOT NULL) STRICT;
INSERT INTO grant_keys SELECT id, slot(wrapped_key) FROM grants WHERE wrapped_key IS NOT NULL ORDER BY id;
UPDATE grants SET wrapped_key = x'01' WHERE wrapped_key <> x'';
"""


@migrations()
def put_keys_into_slots(db: Database) -> None:
    """Wrapped keys stand where they are never moved (`gateway.stores.sqlite_key_slots`)."""
    db.conn.create_function("slot", 1, to_slot, deterministic=True)
    _execute(db, _SLOTS)


@migrations(transactional=False)
def leave_no_key_behind(db: Database) -> None:
    """Write all pages anew: keys that were moved or destroyed before may stand in the gaps of old ones."""
    if db.execute("SELECT 1 FROM leaves LIMIT 1").fetchone() is not None:
        db.execute("VACUUM")


def _execute(db: Database, schema: str) -> None:
    for statement in schema.split(";"):
        if statement.strip():
            db.execute(statement)
