"""The whole system measured against its peers in one run; `python -m benchmarks.peers` (see `__main__`)."""
