"""Measurements on one machine, of functions, of the gateway, of whole federations and of their peers.

`suite` runs those that have targets, one after the other (`make bench`); `targets` says what they are held against,
`report` and `charts` tell how they stand, `capacity` what follows for a place. Each is a script of its own, prints a
table and writes JSON, and fails where an answer is not right; none judges a time. Apart from the suite, for questions
of their own: `answering` (what a part costs a department's node), `committing` (what recording a request costs),
`coalescing` (messages for each application, idle to saturation), `hanging` (what a hanging department costs the
others), `publishing` (what the published log costs) and `dictionaries` (which trains, and measures nothing).
"""
