"""A witness (C2SP tlog-witness): cosigns checkpoints of logs that it knows, each only if it extends the one before."""
