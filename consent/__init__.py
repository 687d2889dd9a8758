"""What a person allowed: the grant, its signing and verification, passkey evidence, status lists, and the issuer.

Imports `gateway.protocol` (the ground floor) and, where a process is run or a file kept, `gateway.party`; nothing
else of the gateway. `disclosures`, `grant`, `drafting`, `passkey`, `authenticator`, `status_list`, `revocation` and
`verification` are pure: time, nonces and keys are arguments.
"""
