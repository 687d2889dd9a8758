"""What every party runs: configuration, key files, mTLS, keeping the registry, serving, statuses, logging.

Stands above `gateway.protocol` and below `consent`, so that a node, an issuer and a gateway share one way of
doing these. It knows nothing of grants, answers or logs.
"""
