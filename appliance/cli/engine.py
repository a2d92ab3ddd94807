"""`engine`: what the units of the data engines run.

Invariant: an engine is prepared, started and settled from the same spec as under `run`; only who
watches the process differs.
"""

import asyncio

import click

from appliance.base.errors import MisconfiguredError, TimedOutError, UnavailableError
from appliance.cli.options import settings_options
from appliance.config.endpoints import load_ports
from appliance.config.model import Settings
from appliance.config.sources import process_environment
from appliance.engines.place import Place
from appliance.supervisor.become import become
from appliance.supervisor.probe import Questioner, ask
from appliance.supervisor.spec import ProcessSpec
from appliance.topology import ENGINES, engine_specs


@click.command()
@click.argument("name", type=click.Choice(ENGINES))
@click.argument("action", type=click.Choice(("exec", "settle", "probe")))
@settings_options
def engine(settings: Settings, name: str, action: str) -> None:
    """Used by the units: prepare an engine and become it, settle it, or ask whether it answers.

    `exec` runs as the engine's account and never returns; `settle` waits until the engine answers
    and makes what must exist in it; `probe` asks once.
    """
    # This very account runs the engine, so there is nobody to hand anything to.
    place = Place(settings=settings, ports=load_ports(settings), account=None)
    spec = engine_specs(place, environment={}, names=(name,))[0]
    match action:
        case "exec":
            asyncio.run(_prepare(spec))
            become(spec, inherited=process_environment())
        case "settle":
            asyncio.run(_settle(spec))
        case _:
            asyncio.run(_probe(spec))


async def _prepare(spec: ProcessSpec) -> None:
    if not spec.argv:
        raise MisconfiguredError(
            "ENGINE_EXTERNAL",
            f"{spec.name} is not run here, its url names an external one",
            hint="run `pug-appliance install` again; it removes the unit",
        )
    if spec.prepare is not None:
        await spec.prepare()


async def _settle(spec: ProcessSpec) -> None:
    assert spec.probe is not None, "every engine can be asked"
    questioner = Questioner(spec.probe)
    try:
        async with asyncio.timeout(spec.ready_seconds_max):
            await questioner.until_answered()
    except TimeoutError as error:
        raise TimedOutError(
            "ENGINE_SLOW",
            f"{spec.name} does not answer after {spec.ready_seconds_max:.0f} s: "
            f"{questioner.reason}",
            hint=f"see `journalctl -u pug-{spec.name}`",
        ) from error
    if spec.settle is not None:
        await spec.settle()


async def _probe(spec: ProcessSpec) -> None:
    assert spec.probe is not None, "every engine can be asked"
    reason = await ask(spec.probe)
    if reason:
        raise UnavailableError("ENGINE_SILENT", f"{spec.name} does not answer: {reason}")
