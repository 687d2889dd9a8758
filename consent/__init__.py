"""What a person allowed: the grant, its signing and verification, passkey evidence, status lists, and the issuer.

Stands on two floors of the gateway, and knows nothing else of it: `gateway.protocol`, the pure rules and formats;
and `gateway.party`, what every process needs, where a process is run or a file kept.

`disclosures`, `grant`, `drafting`, `passkey`, `authenticator`, `status_list`, `revocation`, `dispute`, `selection`,
`verified` and `verification` are pure: time, nonces and keys are arguments.
"""
