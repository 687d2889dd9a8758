"""Evidence: kept under a key for each grant, shown to auditors on the record, and ended with its keys (docs/adr/0027).

`keks` wraps those keys under key-encryption keys, in files or a token (`pkcs11_kek`), as the settings name them
(`key_settings`); `rewrapping` rotates them. `vault` uses the keys and `kept` hides vault and store from whoever keeps
something. `erasing` destroys keys, `retention` those whose time is over; `desk` shows what is kept; `keeping` wires it.
"""
