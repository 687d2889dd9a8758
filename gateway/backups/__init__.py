"""Backups of the gateway's store, and what a restore may do to the log: docs/adr/0030."""
