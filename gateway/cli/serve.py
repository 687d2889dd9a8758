"""`heyan gateway serve`: one gateway alone, until SIGTERM or Ctrl-C."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

gateway = App(name="gateway", help="Run a gateway; copy and restore its store; erase its evidence, rotate its key.")
gateway.command("gateway.cli.gateway_backup:backup", name="backup", help="Copy a gateway's store, while it serves.")
gateway.command("gateway.cli.gateway_restore:restore", name="restore", help="Restore a stopped gateway's store.")
gateway.command(
    "gateway.cli.gateway_evidence:erase", name="erase", help="Destroy evidence, because the law asks for it."
)
gateway.command("gateway.cli.gateway_evidence:rewrap_keys", name="rewrap", help="Rotate the key-encryption key.")


@gateway.command(name="serve")
def serve_gateway(*, config: Path) -> None:
    """Serve one gateway until SIGTERM or Ctrl-C; work under way is finished first.

    Example: `heyan gateway serve --config run/gateway/settings.toml`

    Parameters
    ----------
    config
        TOML file with the gateway's settings.
    """
    from gateway.config import GatewayConfig  # noqa: PLC0415 - each process imports its own party only
    from gateway.party.process import begin, run_until_signal  # noqa: PLC0415
    from gateway.serve import serve  # noqa: PLC0415

    settings = GatewayConfig.from_file(config)
    begin(settings)
    run_until_signal(lambda stop: serve(settings, stop))
