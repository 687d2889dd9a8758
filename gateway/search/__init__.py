"""An auditor's search of a log: the `index`, a file of his own that is derived from the leaves, and `hits` with proofs.

What the index says is believed by nobody: each hit is fetched again and proven under the log's signed checkpoint.
"""
