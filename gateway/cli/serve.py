"""`heyan gateway serve`: one gateway alone, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from cyclopts import App

from gateway.cli.options import Workers

gateway = App(name="gateway", help="Run a gateway; copy and restore its store; erase its evidence, rotate its key.")
gateway.command("gateway.cli.gateway_backup:backup", name="backup", help="Copy a gateway's store, while it serves.")
gateway.command("gateway.cli.gateway_restore:restore", name="restore", help="Restore a stopped gateway's store.")
gateway.command(
    "gateway.cli.gateway_evidence:erase", name="erase", help="Destroy evidence, because the law asks for it."
)
gateway.command("gateway.cli.gateway_evidence:rewrap_keys", name="rewrap", help="Rotate the key-encryption key.")


@gateway.command(name="serve")
def serve_gateway(*, config: Path, workers: Workers = 1) -> int:
    """Serve one gateway until SIGTERM or Ctrl-C; work under way is finished first.

    Examples: `heyan gateway serve --config run/gateway/settings.toml`,
    `heyan gateway serve --config run/gateway/settings.toml --workers 4`

    Parameters
    ----------
    config
        TOML file with the gateway's settings.
    workers
        Processes that serve together, one for each core to be used: one port, one store, one log. One that ends is
        replaced.
    """
    from gateway.config import GatewayConfig  # noqa: PLC0415 - each process imports its own party only
    from gateway.party.process import begin, run_until_signal  # noqa: PLC0415

    settings = GatewayConfig.from_file(config)
    begin(settings)
    if workers == 1:
        from gateway.serve import serve  # noqa: PLC0415

        run_until_signal(lambda stop: serve(settings, stop))
        return 0
    from gateway.workers.group import serve_group  # noqa: PLC0415
    from gateway.workers.supervisor import StartFailedError  # noqa: PLC0415

    def words(number: int, control: int) -> list[str]:
        which = ["--number", str(number), "--workers", str(workers), "--control", str(control)]
        return [sys.executable, "-m", "gateway.cli", "gateway", "work", "--config", str(config), *which]

    try:
        run_until_signal(lambda stop: serve_group(settings, workers, words, stop))
    except StartFailedError as failed:  # the worker has said why
        return failed.code
    return 0


@gateway.command(name="work")
def work_in_gateway(*, config: Path, number: int, workers: Workers, control: int) -> None:
    """Serve as one of a gateway's workers; started by `heyan gateway serve --workers`, and by nobody else.

    Example: `heyan gateway work --config run/gateway/settings.toml --number 0 --workers 2 --control 17`

    Parameters
    ----------
    config
        TOML file with the gateway's settings.
    number
        Which of the workers, for the log's lines.
    workers
        How many there are.
    control
        Descriptor of this end of the line to the supervisor.
    """
    import structlog  # noqa: PLC0415

    from gateway.config import GatewayConfig  # noqa: PLC0415
    from gateway.party.process import configure_logging, run_until_signal  # noqa: PLC0415
    from gateway.workers.worker import work  # noqa: PLC0415

    settings = GatewayConfig.from_file(config)
    configure_logging(settings.log_level, for_good=True)
    structlog.contextvars.bind_contextvars(worker=number)
    line = socket.socket(fileno=control)
    run_until_signal(lambda stop: work(settings, workers, line, stop))
