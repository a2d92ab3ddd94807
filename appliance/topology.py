"""Which processes this installation has, who waits for whom, and on which ports.

Invariant: everything the supervisor runs is listed here once; systemd units are rendered from the
same specs. A port that only we use is replaced when it is taken; the public one never is.
"""

import errno
import math
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from appliance.base.errors import (
    ApplianceError,
    ConflictError,
    MisconfiguredError,
    UnavailableError,
)
from appliance.base.ready import (
    GRPC_DESCRIPTOR_VARIABLE,
    LISTEN_DESCRIPTOR_VARIABLE,
    systemd_listeners,
)
from appliance.config.endpoints import LOOPBACK, Ports, default_ports, load_ports
from appliance.config.model import Settings
from appliance.config.tls import find_tls
from appliance.engines.clickhouse import clickhouse_spec
from appliance.engines.http_door import HTTP_OK, http_get
from appliance.engines.nats import nats_spec
from appliance.engines.place import Place
from appliance.engines.postgres import postgres_spec
from appliance.supervisor.environment import self_argv
from appliance.supervisor.spec import Descriptor, Kind, ProcessSpec, StopStep
from appliance.version import RELEASE

ENGINES: Final = ("postgres", "nats", "clickhouse")
OOM_SCORE_ADJUST: Final = -100
"""Of our own processes: after queries, before the stores of what was acknowledged."""
_MIGRATION_SECONDS_MAX: Final = 600.0
_ANY_ADDRESS: Final = {"0.0.0.0": LOOPBACK, "::": "::1"}  # noqa: S104 compared, not bound
_BACKLOG: Final = 1024
_OWN_PORT_MIN: Final = 15_000
_LENT_PORTS: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")


def engine_specs(
    place: Place, *, environment: Mapping[str, str], names: tuple[str, ...] = ENGINES
) -> tuple[ProcessSpec, ...]:
    """The data engines; external ones are only asked."""
    makers = {
        "postgres": lambda: postgres_spec(place),
        "nats": lambda: nats_spec(place),
        "clickhouse": lambda: clickhouse_spec(place, environment=dict(environment)),
    }
    return tuple(makers[name]() for name in names)


def asked(engine: ProcessSpec) -> ProcessSpec:
    """An engine that a unit of systemd runs, as the supervisor sees it: it is only asked."""
    return ProcessSpec(
        name=engine.name,
        kind=Kind.EXTERNAL,
        probe=engine.probe,
        ready_seconds_max=engine.ready_seconds_max,
        version=engine.version,
    )


def processes(
    place: Place, *, environment: Mapping[str, str], listening: int, grpc: int | None = None
) -> tuple[ProcessSpec, ...]:
    """Every process of this installation.

    `environment` tells our own programs where their settings are; `listening` is the descriptor of
    the public socket, which outlives the API process, so that a restart refuses nobody; `grpc` is
    that of the gRPC port, where somebody holds it.
    """
    ours = dict(environment)
    migrations = tuple(
        ProcessSpec(
            name=f"{engine}-migrate",
            kind=Kind.ONESHOT,
            argv=self_argv(engine, "migrate"),
            environment=ours,
            needs=(engine,),
            own=True,
            ready_seconds_max=_MIGRATION_SECONDS_MAX,
            version=RELEASE,
        )
        for engine in ENGINES
    )
    migrated = tuple(spec.name for spec in migrations)
    api = ProcessSpec(
        name="api",
        argv=self_argv("server"),
        environment=ours,
        descriptors=(
            Descriptor(variable=LISTEN_DESCRIPTOR_VARIABLE, number=listening),
            *(
                ()
                if grpc is None
                else (Descriptor(variable=GRPC_DESCRIPTOR_VARIABLE, number=grpc),)
            ),
        ),
        needs=migrated,
        own=True,
        announces=True,
        probe=lambda: _check_api(place),
        # Busy is not dead: an API that is slow to answer is shown, never ended for it.
        hang_seconds_max=math.inf,
        stop=(StopStep(signal=signal.SIGTERM, budget_seconds=15.0),),
        oom_score_adjust=OOM_SCORE_ADJUST,
        version=RELEASE,
    )
    workers = (
        _worker("events", ours, needs=("nats-migrate", "clickhouse-migrate"), stop_seconds=20.0),
        # A mail under way gets its time; a job that is cut off comes again.
        _worker("background", ours, needs=migrated, stop_seconds=15.0),
    )
    engines = engine_specs(place, environment=ours)
    if place.settings.installed:
        engines = tuple(map(asked, engines))
    return (*engines, *migrations, api, *workers)


def _worker(
    name: str, environment: dict[str, str], *, needs: tuple[str, ...], stop_seconds: float
) -> ProcessSpec:
    """A process beside the API; one that keeps failing is set aside and takes nobody along."""
    return ProcessSpec(
        name=name,
        argv=self_argv("worker", name),
        environment=environment,
        needs=needs,
        own=True,
        announces=True,
        stop=(StopStep(signal=signal.SIGTERM, budget_seconds=stop_seconds),),
        quarantine=True,
        oom_score_adjust=OOM_SCORE_ADJUST,
        version=RELEASE,
    )


async def _check_api(place: Place) -> None:
    host = _ANY_ADDRESS.get(place.settings.api.host, place.settings.api.host)
    secure = find_tls(place.settings) is not None
    answer = await http_get(host, place.ports.api, "/healthz", secure=secure, verify=False)
    if answer.status != HTTP_OK:
        raise UnavailableError("API_UNWELL", f"/healthz is answered with {answer.status}")


def child_settings(settings: Settings, effective: Path) -> dict[str, str]:
    """The variables that tell our own programs where their settings are."""
    return {"PUG_DATA_DIR": str(settings.data_dir), "PUG_CONFIG": str(effective)}


def choose_ports(settings: Settings, *, api: int) -> Ports:
    """The ports of this run: as configured, else those of the last run, else any free ones.

    `api` is the port the public socket has already. Under systemd the units hold the others.
    """
    if settings.installed:
        return msgspec.structs.replace(default_ports(settings), api=api)
    before = load_ports(settings)
    taken = {api}
    chosen: dict[str, int] = {}
    for name, configured, last in (
        ("postgres", settings.postgres.port, before.postgres),
        ("nats", settings.nats.port, before.nats),
        ("nats_monitor", settings.nats.monitor_port, before.nats_monitor),
        ("clickhouse", settings.clickhouse.port, before.clickhouse),
    ):
        port = next(
            (one for one in (configured, last) if one and one not in taken and is_free(one)), 0
        )
        while not port or port in taken:
            port = _any_port()
        taken.add(port)
        chosen[name] = port
    return Ports(api=api, **chosen)


def is_free(port: int) -> bool:
    """Whether a loopback port can be listened on now."""
    with socket.socket() as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _any_port() -> int:
    """A free loopback port, below those that the kernel lends to whoever connects: an engine takes
    it seconds later.
    """
    with socket.socket() as door:
        door.bind((LOOPBACK, 0))
        lent: int = door.getsockname()[1]
    room = int(_LENT_PORTS.read_text("ascii").split()[0]) - _OWN_PORT_MIN
    own = _OWN_PORT_MIN + lent % room if room > 0 else lent
    return own if is_free(own) else lent


def open_public_socket(settings: Settings, *, inherited: Mapping[str, str]) -> socket.socket:
    """Listen on the public port; a port of 0 takes that of the last run when it is free.

    A socket that the service manager holds for us (`LISTEN_FDS`) is used as it is.

    Raises ConflictError naming the owner of a taken port and MisconfiguredError for an address
    this machine does not have.
    """
    for held in systemd_listeners(inherited):
        return socket.socket(fileno=held)
    port = settings.api.port
    if port:
        return _listen(settings.api.host, port)
    last = load_ports(settings).api
    if last:
        with suppress(ConflictError):
            return _listen(settings.api.host, last)
    return _listen(settings.api.host, 0)


def held_grpc_socket(settings: Settings, *, inherited: Mapping[str, str]) -> int | None:
    """The listening socket of the gRPC port that the service manager holds, the second of two."""
    held = systemd_listeners(inherited)[1:]
    return held[0] if held and settings.api.grpc_port is not None else None


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    door = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind((host, port))
        door.listen(_BACKLOG)
    except OSError as error:
        door.close()
        raise _cannot_listen(host, port, error) from error
    return door


def _cannot_listen(host: str, port: int, error: OSError) -> ApplianceError:
    if error.errno == errno.EADDRINUSE:
        return ConflictError(
            "PORT_TAKEN",
            f"port {port} is in use by {owner_of(port)}",
            hint="stop it or set api.port",
        )
    if error.errno == errno.EACCES:
        return MisconfiguredError(
            "PORT_FORBIDDEN",
            f"port {port} may only be opened by root",
            hint="set api.port to 1024 or more, or start as root",
        )
    return MisconfiguredError(
        "ADDRESS_UNUSABLE",
        f"cannot listen on {host}: {error.strerror or error}",
        hint="set api.host to an address of this machine",
    )


def owner_of(port: int) -> str:
    """Who listens on a TCP port, like `pid 812 (nginx)`, or `another process`."""
    # Imported here because it is needed only for this message.
    import psutil  # noqa: PLC0415

    try:
        for connection in psutil.net_connections(kind="tcp"):
            local = connection.laddr
            if local and local.port == port and connection.status == psutil.CONN_LISTEN:
                pid = connection.pid
                return f"pid {pid} ({psutil.Process(pid).name()})" if pid else "another process"
    except psutil.Error:
        pass
    return "another process"
