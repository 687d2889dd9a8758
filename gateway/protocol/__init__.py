"""The ground floor: pure rules and formats that every party shares.

Functions here take bytes, values and `now` (seconds since the epoch, UTC). They read no clock, draw no
randomness and do no I/O; keys and nonces are arguments. Nothing here imports grpc, aiohttp, asyncio,
sqlite3, time or random (an import contract keeps it so).
"""
