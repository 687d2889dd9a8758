"""The federation operator's desk: the CA of the transport certificates, and the registry that the operator signs.

Stands beside the parties' code and imports only the ground floor and gateway.party. It runs where the operator
sits, not in any service: no service holds the CA's key or the operator's.
"""
