"""`engine`: what the units of the data engines run.

Invariant: an engine is prepared, started and settled from the same spec as under `run`; only who
watches the process differs.
"""

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from appliance.base.errors import MisconfiguredError, TimedOutError, UnavailableError
from appliance.base.files import ensure_folder, write_atomic
from appliance.base.tasks import poll
from appliance.cli.options import Sources, read_settings, sources_options
from appliance.config.endpoints import load_ports
from appliance.config.sources import (
    CREDENTIAL_CONFIG,
    CREDENTIALS_COPY,
    CREDENTIALS_VARIABLE,
    RUNTIME_VARIABLE,
    credentials_folder,
    process_environment,
)
from appliance.engines.place import Place
from appliance.supervisor.become import become
from appliance.supervisor.life import PREPARE_SECONDS_MAX
from appliance.supervisor.probe import Questioner, ask
from appliance.supervisor.spec import ProcessSpec
from appliance.topology import ENGINES, engine_specs

_PAUSE_SECONDS: Final = 0.02


@click.command()
@click.argument("name", type=click.Choice(ENGINES))
@click.argument("action", type=click.Choice(("exec", "settle", "probe")))
@sources_options
def engine(sources: Sources, name: str, action: str) -> None:
    """Used by the units: prepare an engine and become it, settle it, or ask whether it answers.

    `exec` runs as the engine's account and never returns; `settle` waits until the engine answers
    and makes what must exist in it; `probe` asks once.
    """
    if action == "settle":
        asyncio.run(_await_credentials(process_environment()))
    settings = read_settings(sources)
    # This very account runs the engine, so there is nobody to hand anything to.
    place = Place(settings=settings, ports=load_ports(settings), account=None)
    spec = engine_specs(place, environment={}, names=(name,))[0]
    match action:
        case "exec":
            asyncio.run(_prepare(spec))
            _lend_credentials(process_environment())
            become(spec, inherited=process_environment())
        case "settle":
            try:
                asyncio.run(_settle(spec))
            finally:
                _forget_credentials(process_environment())
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


def _lend_credentials(environment: Mapping[str, str]) -> None:
    """Copy the unit's credentials to where its `settle` finds them, in memory and for a moment."""
    given, own = environment.get(CREDENTIALS_VARIABLE), environment.get(RUNTIME_VARIABLE)
    if not given or not own:
        return
    folder = ensure_folder(Path(own, CREDENTIALS_COPY))
    # The settings come last: with them the copy is whole.
    for source in sorted(Path(given).iterdir(), key=lambda path: path.name == CREDENTIAL_CONFIG):
        write_atomic(folder / source.name, source.read_bytes())


async def _await_credentials(environment: Mapping[str, str]) -> None:
    """Wait for the copy, because systemd starts `settle` beside the preparation of `exec`."""
    if not environment.get(CREDENTIALS_VARIABLE):
        return

    async def found() -> bool | None:
        return credentials_folder(environment) is not None or None

    if not await poll(found, every_seconds=_PAUSE_SECONDS, timeout_seconds=PREPARE_SECONDS_MAX):
        raise TimedOutError("ENGINE_SLOW", "the engine is not prepared in time")


def _forget_credentials(environment: Mapping[str, str]) -> None:
    own = environment.get(RUNTIME_VARIABLE)
    if own:
        shutil.rmtree(Path(own, CREDENTIALS_COPY), ignore_errors=True)
