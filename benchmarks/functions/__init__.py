"""The costs of single functions, by pytest-benchmark: what a Verify is made of, in one process, without a wire.

    python -m benchmarks.functions

Not among the tests that `make test` collects. Each asserts that what it times does what it should.
"""
