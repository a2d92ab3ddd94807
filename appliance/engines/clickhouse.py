"""The ClickHouse engine: our own process around chDB, asked over HTTP like any ClickHouse.

Invariant: only that process opens the data directory. It gets its settings and its password as
files of its own, because its account reads nothing else. External servers are only asked.
"""

import base64
import importlib.util
import os
import signal
import sys
from pathlib import Path
from typing import Final

import msgspec

import appliance.version as appliance_version
from appliance.base.errors import UnavailableError
from appliance.config.effective import render_settings
from appliance.config.endpoints import ClickHouseEndpoint, resolve_clickhouse
from appliance.config.model import Settings
from appliance.config.secrets import SecretName, load_secret
from appliance.engines.http_door import HTTP_OK, http_get
from appliance.engines.place import Place, engine_folder, write_private
from appliance.engines.programs import package_version, release_folder
from appliance.supervisor.account import grant_passage, may_read
from appliance.supervisor.environment import self_argv
from appliance.supervisor.spec import Account, Kind, ProcessSpec, StopStep

NAME: Final = "clickhouse"
OWN_PASSWORD_FILE: Final = "password"  # noqa: S105 the name of a file
"""The copy of its password in the engine's folder, for an account that reads nothing else."""
_OPEN_FILES_MAX: Final = 262144
_OOM_SCORE_ADJUST: Final = 300
"""A query that eats all memory is the first to die; its engine loses nothing acknowledged."""


def clickhouse_spec(place: Place, *, environment: dict[str, str]) -> ProcessSpec:
    """The ClickHouse process of an installation, or the question to an external server.

    `environment` tells our own program where its settings are, when it runs as ourselves.
    """
    settings = place.settings
    if settings.clickhouse.url is not None:
        return _external_spec(settings)
    folder = place.folders.clickhouse
    account = _usable_account(place)
    own_config = folder / "settings.toml"

    async def prepare() -> None:
        engine_folder(folder, account)
        if settings.installed:
            return  # its unit hands over settings and password
        password = load_secret(place.folders.secrets, SecretName.CLICKHOUSE)
        write_private(folder / OWN_PASSWORD_FILE, password.reveal(), account)
        write_private(own_config, _render_settings(place), account)

    async def probe() -> None:
        endpoint = resolve_clickhouse(settings, place.ports.clickhouse, place.folders.secrets)
        await check_clickhouse(endpoint)

    return ProcessSpec(
        name=NAME,
        argv=self_argv("clickhouse", "serve"),
        environment=environment | ({"PUG_CONFIG": str(own_config)} if account else {}),
        directory=folder,
        account=account,
        own=True,
        announces=True,
        prepare=prepare,
        probe=probe,
        ready_seconds_max=600.0,  # loading of many parts after a crash
        stop=(StopStep(signal=signal.SIGTERM, budget_seconds=20.0),),
        data_directory=folder,
        open_files_max=_OPEN_FILES_MAX,
        oom_score_adjust=_OOM_SCORE_ADJUST,
        version=package_version("chdb-core"),
    )


def _usable_account(place: Place) -> Account | None:
    """The engines' account when it can run our own program, else None: then we run it ourselves.

    An interpreter or package that only root may read (installed under a umask of 077) cannot be
    copied like a single program.
    """
    account = place.account
    if account is None:
        return None
    needed = _needed_to_run()
    for path in needed:
        grant_passage(path, account)
    return account if all(may_read(path, account) for path in needed) else None


def _needed_to_run() -> tuple[Path, ...]:
    release = release_folder()
    if release is not None:
        return (Path(sys.executable), release / "_internal" / "base_library.zip")
    needed = (Path(sys.executable), Path(os.__file__), Path(appliance_version.__file__))
    chdb = importlib.util.find_spec("chdb")
    if chdb is not None and chdb.origin is not None:
        needed = (*needed, Path(chdb.origin))
    return needed


def _render_settings(place: Place) -> str:
    """What the process may know: its own section, the logs, and the port that was chosen."""
    chosen = msgspec.structs.replace(
        place.settings.clickhouse, port=place.ports.clickhouse, url=None
    )
    return render_settings(
        Settings(
            data_dir=place.settings.data_dir,
            clickhouse=chosen,
            disk=place.settings.disk,
            logs=place.settings.logs,
        )
    )


async def check_clickhouse(endpoint: ClickHouseEndpoint) -> None:
    """Ask `/ping` and then `SELECT 1` with our user.

    Raises UnavailableError or OSError when it does not answer as it should.
    """
    if (await _get(endpoint, "/ping", authorised=False)).strip() != b"Ok.":
        raise UnavailableError("CLICKHOUSE_UNREADY", "ClickHouse: /ping is not answered with Ok.")
    if (await _get(endpoint, "/?query=SELECT%201", authorised=True)).strip() != b"1":
        raise UnavailableError("CLICKHOUSE_UNREADY", "ClickHouse: SELECT 1 is not answered with 1")


async def _get(endpoint: ClickHouseEndpoint, target: str, *, authorised: bool) -> bytes:
    headers: dict[str, str] = {}
    if authorised:
        password = endpoint.password.reveal() if endpoint.password else ""
        word = base64.b64encode(f"{endpoint.user}:{password}".encode()).decode()
        headers["Authorization"] = f"Basic {word}"
    answer = await http_get(
        endpoint.host, endpoint.port, target, headers=headers, secure=endpoint.secure
    )
    if answer.status != HTTP_OK:
        said = answer.body.decode("utf-8", "replace").strip().splitlines()[:1]
        raise UnavailableError("CLICKHOUSE_REFUSED", f"ClickHouse: {' '.join(said)[:200]}")
    return answer.body


def _external_spec(settings: Settings) -> ProcessSpec:
    endpoint = resolve_clickhouse(settings, 0, settings.data_dir)

    async def probe() -> None:
        await check_clickhouse(endpoint)

    return ProcessSpec(
        name=NAME, kind=Kind.EXTERNAL, probe=probe, ready_seconds_max=5.0, version="external"
    )
