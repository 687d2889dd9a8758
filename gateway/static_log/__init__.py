"""A log as files of C2SP tlog-tiles: how its gateway publishes it, and how anybody reads, checks and copies it.

`publishing`, `publishing_logs` and `publication` write what the store has durably into a `folder`, and `server` serves
it. `tile_source` reads from a folder or a web server and believes nothing, `tile_proofs` holds what came against a
signed checkpoint; `checked_log`, `kept_checkpoints`, `fsck` and `exporting` rest on these two, and are for people who
run no gateway.
"""
