"""Who runs, and who listens where.

Invariant: the supervisor, systemd and the public port are only asked; each question has an end.
"""

from typing import Final

import msgspec
import psutil

from appliance.base.errors import ApplianceError
from appliance.engines.http_door import HTTP_OK, HttpAnswer, http_get
from appliance.lifecycle.doctor.facts import (
    Listener,
    PortsFacts,
    PublicAnswer,
    ServicesFacts,
    Subject,
    UnitFacts,
)
from appliance.lifecycle.doctor.gathering.probing import in_thread, look_again, parse_pairs
from appliance.lifecycle.doctor.gathering.scene import ROOT_ONLY, Scene
from appliance.supervisor.control import Command, Request, ask_supervisor

_ENGINES: Final = ("postgres", "nats", "clickhouse")
_ANY_ADDRESS: Final = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 compared, not listened on
_UNIT_PROPERTIES: Final = (
    "Id,LoadState,ActiveState,SubState,UnitFileState,Result,NRestarts,NeedDaemonReload"
)
_SYSTEMCTL_SECONDS_MAX: Final = 4.0
_EXPOSURE_SECONDS_MAX: Final = 8.0
_READY_LOOKS_MAX: Final = 3
_READY_LOOK_SECONDS: Final = 1.0
"""One answer that came too late on a busy machine is no illness."""


class _Readiness(msgspec.Struct, frozen=True, kw_only=True):
    ready: bool = False
    dependencies: dict[str, str] = {}


async def gather_services(scene: Scene) -> ServicesFacts:
    """The components, as their supervisor sees them, and our units, as systemd sees them."""
    units = await _units(scene)
    try:
        answer = await in_thread(
            lambda: ask_supervisor(scene.folders.control_socket, Request(command=Command.STATUS))
        )
    except ApplianceError as error:
        hidden = isinstance(error.__cause__, PermissionError)
        if hidden:
            scene.blind(Subject.SERVICES, "the components", ROOT_ONLY)
        return ServicesFacts(running=False, hidden=hidden, error=error.message, units=units)
    return ServicesFacts(
        running=True,
        stopping=answer.stopping,
        supervisor_pid=answer.pid,
        components=answer.components,
        units=units,
    )


async def _units(scene: Scene) -> tuple[UnitFacts, ...]:
    if scene.layout is None or not scene.systemd:
        return ()
    names = sorted(
        path.name
        for path in scene.layout.unit_dir.glob("pug*")
        if path.suffix in {".target", ".service", ".socket", ".timer"} and "@" not in path.name
    )
    if not names:
        return ()
    told = await scene.host.run(
        *("systemctl", "show", f"--property={_UNIT_PROPERTIES}", *names),
        timeout_seconds=_SYSTEMCTL_SECONDS_MAX,
        check=False,
    )
    exposures = await _exposures(scene, [name for name in names if name.endswith(".service")])
    return tuple(
        parse_unit(block, exposures) for block in told.output.split("\n\n") if block.strip()
    )


def parse_unit(block: str, exposures: dict[str, float]) -> UnitFacts:
    """One block of `systemctl show`."""
    pairs = parse_pairs(block.strip().splitlines())
    name = pairs.get("Id", "")
    return UnitFacts(
        name=name,
        load=pairs.get("LoadState", ""),
        active=pairs.get("ActiveState", ""),
        sub=pairs.get("SubState", ""),
        enabled=pairs.get("UnitFileState", ""),
        result=pairs.get("Result", ""),
        restarts=int(pairs.get("NRestarts") or 0),
        reload_needed=pairs.get("NeedDaemonReload") == "yes",
        exposure=exposures.get(name),
    )


async def _exposures(scene: Scene, names: list[str]) -> dict[str, float]:
    """How much each service could do to the machine, 0 (nothing) to 10, by systemd's measure."""
    try:
        told = await scene.host.run(
            "systemd-analyze",
            "security",
            "--no-pager",
            *names,
            timeout_seconds=_EXPOSURE_SECONDS_MAX,
            check=False,
        )
    except ApplianceError:
        scene.blind(Subject.HOST, "the exposure of the units", "systemd-analyze is not there")
        return {}
    return parse_exposures(told.output)


def parse_exposures(text: str) -> dict[str, float]:
    """The figures of `systemd-analyze security`, whether of one unit or of several."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        words = line.replace("→", " ").split()
        if "Overall exposure level for" in line:
            name = words[words.index("for") + 1].rstrip(":")
            found[name] = float(words[words.index("for") + 2])
        elif len(words) > 1 and words[0].endswith(".service") and _is_number(words[1]):
            found[words[0]] = float(words[1])
    return found


def _is_number(word: str) -> bool:
    return word.replace(".", "", 1).isdecimal()


async def gather_ports(scene: Scene) -> PortsFacts:
    """What the public port answers, and every listening socket of the machine."""
    ports = await scene.ports()
    listeners = await in_thread(_listeners)
    if any(one.pid is None for one in listeners) and not scene.place.root:
        scene.blind(Subject.PORTS, "whose some listening sockets are", ROOT_ONLY)
    wanted = {
        ports.postgres: (scene.settings.postgres.url, "postgres"),
        ports.nats: (scene.settings.nats.url, "nats"),
        ports.nats_monitor: (scene.settings.nats.url, "nats"),
        ports.clickhouse: (scene.settings.clickhouse.url, "clickhouse"),
    }
    return PortsFacts(
        public=await _ask_public(scene),
        listeners=listeners,
        engine_ports={port: name for port, (url, name) in wanted.items() if port and url is None},
        engine_pids=await in_thread(lambda: _engine_pids(scene)),
    )


def _listeners() -> tuple[Listener, ...]:
    found: dict[tuple[str, int], Listener] = {}
    for one in psutil.net_connections(kind="tcp"):
        if one.status == psutil.CONN_LISTEN and one.laddr:
            place = (one.laddr.ip, one.laddr.port)
            found[place] = Listener(
                address=place[0], port=place[1], pid=one.pid, process=_process_name(one.pid)
            )
    return tuple(found[place] for place in sorted(found))


def _process_name(pid: int | None) -> str:
    try:
        return psutil.Process(pid).name() if pid else ""
    except psutil.Error:
        return ""


def _engine_pids(scene: Scene) -> dict[int, str]:
    try:
        answer = ask_supervisor(scene.folders.control_socket, Request(command=Command.STATUS))
    except ApplianceError:
        return {}
    return {one.pid: one.name for one in answer.components if one.pid and one.name in _ENGINES}


async def _ask_public(scene: Scene) -> PublicAnswer:
    secure = await scene.is_secure()
    host = scene.settings.api.host
    address = "127.0.0.1" if host in _ANY_ADDRESS else host
    port = (await scene.ports()).api
    scheme = "https" if secure else "http"
    begun = scene.clock.monotonic_seconds()
    try:
        alive = await http_get(address, port, "/healthz", secure=secure, verify=False)
        seconds = scene.clock.monotonic_seconds() - begun
        ready = await _readiness(address, port, secure=secure)
    except (OSError, EOFError, ApplianceError) as error:
        said = str(error.strerror or error) if isinstance(error, OSError) else str(error)
        return PublicAnswer(scheme=scheme, port=port, error=said or type(error).__name__)
    try:
        state = msgspec.json.decode(ready.body, type=_Readiness)
    except msgspec.DecodeError:
        state = _Readiness()
    return PublicAnswer(
        scheme=scheme,
        port=port,
        status=alive.status,
        seconds=seconds,
        ready_status=ready.status,
        not_ready=tuple(name for name, word in state.dependencies.items() if word != "ok")
        if ready.status != HTTP_OK
        else (),
    )


async def _readiness(address: str, port: int, *, secure: bool) -> HttpAnswer:
    """What the API says of its stores; asked again while it says that one does not answer."""
    return await look_again(
        lambda: http_get(address, port, "/readyz", secure=secure, verify=False),
        lambda answer: answer.status == HTTP_OK,
        looks_max=_READY_LOOKS_MAX,
        pause_seconds=_READY_LOOK_SECONDS,
    )
