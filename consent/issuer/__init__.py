"""The consent issuer: it shows a person what is asked, has it approved with their passkey, and signs the grant.

config          settings of the process
accounts        who is enrolled, as values
notices         the texts that are shown
requests        what clients send, bounded
store           accounts, drafts and grants, in SQLite
draft_content   a draft as the bytes of its row
lists           status indexes and the signed lists
service         the rules: drafts, approvals, withdrawals
app             the same over HTTPS
reports         withdrawals brought to gateways at once
disputes        disputes of guardians, signed and kept
dispute_reports and brought to gateways until they have them
server          wiring, start and stop
"""
