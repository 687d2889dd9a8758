"""Several processes that are one gateway: one port, one store, one log (`heyan gateway serve --workers N`).

    supervisor ── starts, watches, replaces ──► worker 0 … N-1, each a whole `gateway.serve.GatewayProcess`
        │ probes and metrics of all                 │ one of them leads: it holds `<store>.lead` (`gateway.duties`)
        └──────────── a socket pair each (`wire`) ──┘

See docs/adr/0031. Without `--workers`, or with 1, nothing of this is used but `membership.ALONE`.
"""
