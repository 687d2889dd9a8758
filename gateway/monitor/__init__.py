"""Following a log: what a monitor keeps, when it goes on, and what it raises alarms about.

`alarms`, `rates`, `rules`, `rules_file`, `watching` and `state` are pure. `store` keeps what must survive, `cycle` is
one look at the log and at the places that saw it, `delivery` brings alarms to a webhook.
"""
