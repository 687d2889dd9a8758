"""The gateway: it brokers consent-signed queries to departments, refuses, records, and cannot read the subjects."""
