"""`server`: the HTTP API as a process."""

import click

from appliance.base.log import configure_logging
from appliance.cli.options import log_level, settings_options
from appliance.config.model import Settings
from appliance.config.sources import process_environment
from appliance.supervisor.notify import Notifier


@click.command()
@settings_options
def server(settings: Settings) -> None:
    """Serve the HTTP API in the foreground (started by `run`)."""
    from appliance.api.server import run  # noqa: PLC0415 after the log is set up
    from appliance.services.wiring import build_services  # noqa: PLC0415 after the log is set up

    configure_logging(component="api", readable=False, level=log_level(settings))
    notifier = Notifier(process_environment())
    # Under our own supervisor there is nobody to notify, and nothing happens.
    run(
        settings,
        build_services(settings),
        on_ready=lambda port: notifier.ready(f"answers on port {port}"),
    )
