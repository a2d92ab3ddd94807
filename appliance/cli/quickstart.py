"""`quickstart`: run everything, with a first project and demo traffic to look at.

Invariant: what a newcomer sees is made through the same doors that everybody uses: the command
line makes the project, the HTTP API takes the events, `connection.json` tells scripts the rest.
"""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from appliance.base.errors import UnavailableError
from appliance.base.ready import announce_ready
from appliance.cli.options import Sources, json_option, print_json, read_settings, sources_options
from appliance.cli.run import run_appliance
from appliance.config.connection import Connection, load_connection
from appliance.config.effective import save_effective
from appliance.config.endpoints import Ports
from appliance.config.model import Settings
from appliance.config.tls import find_tls
from appliance.supervisor.environment import self_argv

DEMO_EVENTS = 5000
DEMO_DAYS = 14


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), help="Public port; 0 for any free one.")
@click.option("--demo/--no-demo", default=True, help="Send demo traffic at the first start.")
@click.option("--dashboard/--no-dashboard", default=True, help="Serve web pages under /.")
@json_option
@sources_options
def quickstart(
    sources: Sources, *, port: int | None, demo: bool, dashboard: bool, as_json: bool
) -> int:
    """Run everything in the foreground, make a first project and send demo traffic to it.

    Prints the URL, the project, its keys and two curl lines. Ctrl-C stops everything; the next
    start goes on with the same data.
    """
    if port is not None:
        sources.flags["api.port"] = str(port)
    if not dashboard:
        sources.flags["api.dashboard"] = "false"
    settings = read_settings(sources)

    async def ready(ports: Ports) -> None:
        connection = await _welcome(settings, ports, demo=demo)
        if as_json:
            print_json(connection)
        else:
            print(render_summary(connection))
        sys.stdout.flush()
        announce_ready(port=ports.api)

    return run_appliance(settings, ready=ready, as_json=as_json)


async def _welcome(settings: Settings, ports: Ports, *, demo: bool) -> Connection:
    """Make sure that there is a first project, fill it once, and tell how to reach it."""
    path = settings.folders.connection_file
    config = save_effective(settings)
    first_time = not path.exists()
    host = "127.0.0.1" if settings.api.host in {"0.0.0.0", "::"} else settings.api.host  # noqa: S104 compared, not bound
    scheme = "http" if find_tls(settings) is None else "https"
    shown = f"[{host}]" if ":" in host else host
    url = f"{scheme}://{shown}:{ports.api}"
    await _run_own(("project", "first", "--url", url), config)
    if demo and first_time:
        _say(f"sending about {DEMO_EVENTS} demo events through {url}")
        await _run_own(("seed", "--events", str(DEMO_EVENTS), "--days", str(DEMO_DAYS)), config)
    return load_connection(path)


async def _run_own(arguments: Sequence[str], config: Path) -> None:
    """Run one of our own commands to its end; its error line is already on standard error."""
    process = await asyncio.create_subprocess_exec(
        *self_argv(*arguments), "--config", str(config), stdout=asyncio.subprocess.DEVNULL
    )
    try:
        await process.wait()
    finally:
        # Ctrl-C while it runs: what we started ends before we do.
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise UnavailableError(
            "QUICKSTART_FAILED",
            f"`pug-appliance {' '.join(arguments[:2])}` ended with status {process.returncode}",
            hint="see the line above and `pug-appliance logs`",
        )


def render_summary(connection: Connection) -> str:
    """What a newcomer wants to copy: the URL, the keys, one event, one question."""
    return f"""
  Pug Appliance answers at {connection.url}

  project      {connection.project_id}
  public key   {connection.public_key}    (sends events)
  private key  {connection.private_key}    (also asks questions)

  Post one event:

    curl {connection.url}/sdk.events.v1.EventsService/BatchCreate \\
      -H 'content-type: application/json' -H 'x-api-key: {connection.public_key}' \\
      -d '{{"events":[{{"eventId":"'$(cat /proc/sys/kernel/random/uuid)'","kind":"page_view",
           "occurTime":"'$(date -u +%FT%TZ)'","distinctId":"anon-1",
           "sessionId":"00000000-0000-4000-8000-000000000001"}}]}}'

  Ask for its trend:

    curl {connection.url}/shared.insights.v1.InsightsService/Query \\
      -H 'content-type: application/json' -H 'x-api-key: {connection.private_key}' \\
      -d '{{"spec":{{"insightType":"INSIGHT_TYPE_TRENDS",
           "events":[{{"event":{{"kind":"page_view"}}}}]}},"granularity":"GRANULARITY_DAY",
           "timeRange":{{"from":"'$(date -u -d '-7 days' +%FT00:00:00Z)'",
                        "to":"'$(date -u -d '+1 day' +%FT00:00:00Z)'"}}}}'

  Ctrl-C stops everything.
"""


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
