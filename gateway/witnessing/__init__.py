"""The gateway's side of witnessing: whom it asks for cosignatures, what it makes of them, and what it hands out.

`link` asks one witness and believes nothing that is not proven; `circle` holds those of a policy, `rounds` a head that
is being cosigned; `heads` follows one log, `witnesses` all logs of a gateway. `alarms` and `traffic` tell of it. The
witness itself, which others run, is `gateway.witness`; the rules of a policy are `gateway.protocol.policy`.
"""
