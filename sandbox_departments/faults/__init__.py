"""Faults of a sandbox's department nodes, to learn what they cost everybody else. No real department has them.

A fault acts at one of three places, never inside the honest node: on the bytes of its streams (`wire`, `forgeries`),
on what its register says (`register`), or on whether it serves at all (`process`). `kinds` lists them, `switch` is
the file by which one is set and lifted while the node runs.
"""
