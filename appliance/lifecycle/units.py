"""The systemd units of an installation, made from the same specs that `run` supervises.

Invariant: stop signal, stop budget, open files, out-of-memory score and folders of an engine's unit
are those of its ProcessSpec; `tests/architecture/test_units.py` compares. Units are a function of
layout and settings, so installing again writes the same bytes. The sandbox: `unit_limits.py`.
"""

import math
from pathlib import Path
from typing import Final

import msgspec

from appliance.config.endpoints import LOOPBACK, default_ports
from appliance.config.model import Settings, Supervision
from appliance.config.secrets import SecretName
from appliance.engines.place import Place
from appliance.engines.postgres import SUPERUSER_SECRET
from appliance.lifecycle.layout import (
    APPLIANCE_USER,
    BINARY_NAME,
    CLICKHOUSE_USER,
    NATS_USER,
    POSTGRES_USER,
    Layout,
)
from appliance.lifecycle.unit_file import UnitFile, Value
from appliance.lifecycle.unit_limits import (
    NO_NETWORK,
    SANDBOX,
    appliance_share,
    engine_share,
    loopback_only,
    own_root,
    root_tool,
)
from appliance.supervisor.life import PREPARE_SECONDS_MAX
from appliance.supervisor.spec import ProcessSpec
from appliance.topology import ENGINES, OOM_SCORE_ADJUST, engine_specs, processes

TARGET: Final = "pug.target"
APPLIANCE: Final = "pug-appliance.service"
RECOVER: Final = "pug-recover.service"
HOLD_FILE: Final = Path("/run/pug-hold")
"""While it exists the appliance does not start, whoever connects. A reboot forgets it."""

_USERS: Final = {"postgres": POSTGRES_USER, "nats": NATS_USER, "clickhouse": CLICKHOUSE_USER}
_DESCRIPTIONS: Final = {
    "postgres": "Pug Appliance: relational store (PostgreSQL)",
    "nats": "Pug Appliance: queue (NATS JetStream)",
    "clickhouse": "Pug Appliance: event store (ClickHouse)",
}
_MARGIN_SECONDS: Final = 10
_WATCHDOG_SECONDS: Final = 30
_OPEN_FILES_MAX: Final = 262144
# A service that fails at once would cost its socket, and with it the port, for ever.
_NEVER_GIVEN_UP: Final[dict[str, Value]] = {"TriggerLimitIntervalSec": 0}
_BACKUP_TIME: Final = "*-*-* 02:15:00"
_RECOVER_CAPABILITIES: Final = (
    "CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID "
    "CAP_SETUID"
)


def render_units(layout: Layout, settings: Settings) -> dict[str, str]:
    """The content of every unit file, by name. Those with an Install section are to be enabled."""
    return {unit.name: unit.render() for unit in plan_units(layout, settings)}


def plan_units(layout: Layout, settings: Settings) -> tuple[UnitFile, ...]:
    """Every unit of an installation; an engine that is external has none."""
    settings = installed_settings(layout, settings)
    makers = _Units(layout, settings)
    services = (
        *(unit for spec in makers.engines.values() for unit in makers.engine_units(spec)),
        makers.public_socket(),
        makers.appliance(),
        makers.bridge(),
        makers.recover(),
        makers.backup(),
        makers.backup_timer(),
    )
    on_demand = {"pug-bridge.service", "pug-backup.service"}
    wanted = [unit.name for unit in services if unit.name not in on_demand]
    return (makers.target(wanted), *services)


def installed_settings(layout: Layout, settings: Settings) -> Settings:
    """The settings as the units will see them."""
    return msgspec.structs.replace(
        settings,
        supervision=Supervision.SYSTEMD,
        data_dir=layout.data_dir,
        secrets_dir=layout.secrets,
    )


def installed_specs(settings: Settings) -> dict[str, ProcessSpec]:
    """The specs of the engines that have a unit, by name."""
    place = Place(settings=settings, ports=default_ports(settings), account=None)
    specs = engine_specs(place, environment={}, names=ENGINES)
    return {spec.name: spec for spec in specs if spec.argv}


class _Units:
    """Makes each unit of one installation."""

    def __init__(self, layout: Layout, settings: Settings) -> None:
        self._layout = layout
        self._settings = settings
        self.engines = installed_specs(settings)

    def target(self, wanted: list[str]) -> UnitFile:
        return UnitFile(
            name=TARGET,
            unit={
                "Description": "Pug Appliance",
                "Documentation": f"file://{self._layout.current}/docs/",
                "Wants": " ".join(wanted),
                "After": "network.target",
            },
            install={"WantedBy": "multi-user.target"},
        )

    def engine_units(self, spec: ProcessSpec) -> tuple[UnitFile, ...]:
        match spec.name:
            case "postgres":
                return (self._postgres(spec),)
            case "nats":
                return (self._nats(spec), self._door("nats", "queue", self._settings.nats.port))
            case _:
                door = self._door("clickhouse", "event store", self._settings.clickhouse.port)
                return (self._clickhouse(spec), door)

    def _postgres(self, spec: ProcessSpec) -> UnitFile:
        return self._engine(
            spec,
            secrets=(SecretName.POSTGRES, SUPERUSER_SECRET),
            more={
                "RuntimeDirectory": self._layout.postgres_socket.name,
                "RuntimeDirectoryMode": "0750",
                "ExecStartPost": f"{self._layout.binary} engine postgres settle",
                # Our own preparation, stopped by the engine's signal.
                "SuccessExitStatus": 130,
                **NO_NETWORK,
            },
        )

    def _nats(self, spec: ProcessSpec) -> UnitFile:
        return self._engine(
            spec,
            secrets=(SecretName.NATS,),
            needs=("pug-nats.socket",),
            # Releases before had it as the socket's service; both would take the connections.
            conflicts="pug-nats-proxy.service",
            more={"Type": "notify", "NotifyAccess": "main", **NO_NETWORK},
        )

    def _clickhouse(self, spec: ProcessSpec) -> UnitFile:
        return self._engine(
            spec,
            secrets=(SecretName.CLICKHOUSE,),
            needs=("pug-clickhouse.socket",),
            # It has a socket but no network, so it cannot ask itself and tells instead.
            more={"Type": "notify", "NotifyAccess": "main", **NO_NETWORK},
        )

    def _door(self, name: str, store: str, port: int) -> UnitFile:
        """The socket that an engine inherits; who connects while it restarts waits here."""
        return UnitFile(
            name=f"pug-{name}.socket",
            unit=self._about(f"Pug Appliance: door of the {store}"),
            main={
                "ListenStream": f"{LOOPBACK}:{port}",
                "Backlog": 1024,
                "NoDelay": True,
                **_NEVER_GIVEN_UP,
                **loopback_only(),
            },
        )

    def _engine(
        self,
        spec: ProcessSpec,
        *,
        secrets: tuple[str, ...],
        more: dict[str, Value],
        needs: tuple[str, ...] = (),
        conflicts: str = "",
    ) -> UnitFile:
        user = _USERS[spec.name]
        limits: dict[str, Value] = (
            {"LimitNOFILE": spec.open_files_max} if spec.open_files_max is not None else {}
        )
        return UnitFile(
            name=f"pug-{spec.name}.service",
            unit=self._about(
                _DESCRIPTIONS[spec.name],
                requires=needs,
                **(
                    {"After": f"{RECOVER} {conflicts}", "Conflicts": conflicts} if conflicts else {}
                ),
            ),
            main={
                "Type": "exec",
                "User": user,
                "Group": user,
                "ExecStart": f"{self._layout.binary} engine {spec.name} exec",
                "SyslogIdentifier": f"pug-{spec.name}",
                "TimeoutStartSec": math.ceil(spec.ready_seconds_max)
                + math.ceil(PREPARE_SECONDS_MAX),
                **_ending(spec.stop[0].signal.name, spec.stop_seconds_max),
                **self._credentials(secrets),
                **own_root(self._layout, self._layout.data_dir / spec.name),
                **limits,
                "OOMScoreAdjust": spec.oom_score_adjust,
                **engine_share(spec.name, self._settings),
                **SANDBOX,
                **more,
            },
        )

    def public_socket(self) -> UnitFile:
        api = self._settings.api
        shown = f"[{api.host}]" if ":" in api.host else api.host
        # In this order: the second is that of gRPC.
        ports = (api.port, *(() if api.grpc_port is None else (api.grpc_port,)))
        return UnitFile(
            name="pug-appliance.socket",
            unit=self._about("Pug Appliance: public port"),
            main={
                "ListenStream": tuple(f"{shown}:{port}" for port in ports),
                # Whoever connects while the service is away waits here.
                "Backlog": 4096,
                "FreeBind": True,
                "NoDelay": True,
                **_NEVER_GIVEN_UP,
            },
        )

    def appliance(self) -> UnitFile:
        # Ordered only: whoever connects must not start an engine that was stopped on purpose.
        engines = " ".join(f"pug-{name}.service" for name in self.engines)
        ours = processes(
            Place(settings=self._settings, ports=default_ports(self._settings), account=None),
            environment={},
            listening=0,
        )
        start_seconds = sum(spec.ready_seconds_max for spec in ours)
        stop_seconds = sum(spec.stop_seconds_max for spec in ours if spec.argv)
        return UnitFile(
            name=APPLIANCE,
            unit=self._about(
                "Pug Appliance: API and workers",
                After=f"{RECOVER} {engines}",
                requires=("pug-appliance.socket",),
            ),
            main={
                "Type": "notify",
                "NotifyAccess": "main",
                # A connection may start it at any time; an operation that cannot have that makes
                # the file, and then both wait.
                "ExecStartPre": f"/bin/sh -c 'while [ -e {HOLD_FILE} ]; do sleep 0.1; done'",
                "ExecStart": f"{self._layout.binary} run",
                "WatchdogSec": _WATCHDOG_SECONDS,
                "TimeoutStartSec": math.ceil(start_seconds),
                **_ending("SIGTERM", stop_seconds + _MARGIN_SECONDS),
                **self._public_process(),
            },
        )

    def bridge(self) -> UnitFile:
        """The API of another release on the same public socket, while the service is replaced."""
        return UnitFile(
            name="pug-bridge.service",
            unit=self._about("Pug Appliance: API during an upgrade"),
            main={
                "Type": "notify",
                "NotifyAccess": "main",
                "ExecStart": f"{self._layout.bridge / BINARY_NAME} server",
                "Sockets": "pug-appliance.socket",
                "TimeoutStartSec": 60,
                **_ending("SIGTERM", 15.0 + _MARGIN_SECONDS),
                **self._public_process(),
                # It alone answers while the other starts everything anew beside it.
                "CPUWeight": 2000,
            },
        )

    def _public_process(self) -> dict[str, Value]:
        data_dir = self._layout.data_dir
        return {
            "User": APPLIANCE_USER,
            "Group": APPLIANCE_USER,
            # The flag belongs to the socket both services share: without this, starting the one
            # makes the other's accept block, and all of it with that.
            "NonBlocking": True,
            **self._credentials(tuple(SecretName), tls=True),
            "ReadWritePaths": " ".join(str(data_dir / name) for name in ("run", "logs", "spool")),
            "LimitNOFILE": _OPEN_FILES_MAX,
            "OOMScoreAdjust": OOM_SCORE_ADJUST,
            **appliance_share(),
            **SANDBOX,
            "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6",
            **loopback_only(self._settings.network.outgoing),
        }

    def recover(self) -> UnitFile:
        """Ends what a power cut interrupted, before anything of ours runs."""
        services = " ".join(
            f"pug-{name}.service" for name in (*self.engines, "appliance", "bridge")
        )
        return UnitFile(
            name=RECOVER,
            unit={
                "Description": "Pug Appliance: finish or undo an interrupted operation",
                "PartOf": TARGET,
                # By default it would wait for basic.target, that for every socket, and our sockets
                # for it: systemd breaks such a circle by starting one of them not at all.
                "DefaultDependencies": False,
                "Conflicts": "shutdown.target",
                "After": "sysinit.target",
                "Before": f"{services} shutdown.target",
                "RequiresMountsFor": f"{self._layout.prefix} {self._layout.data_dir}",
                "ConditionPathExists": str(self._layout.open_journal),
            },
            main={
                "Type": "oneshot",
                "ExecStart": f"{self._layout.binary} recover",
                "TimeoutStartSec": "infinity",
                **root_tool(_RECOVER_CAPABILITIES),
                "ProtectSystem": False,
                "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6",
                **loopback_only(),
            },
        )

    def backup(self) -> UnitFile:
        targets = (self._layout.data_dir, *self._settings.backup.targets)
        return UnitFile(
            name="pug-backup.service",
            unit={
                "Description": "Pug Appliance: backup",
                "After": TARGET,
                "RequiresMountsFor": " ".join(map(str, targets)),
            },
            main={
                "Type": "oneshot",
                "ExecStart": f"{self._layout.binary} backup create --scheduled",
                "TimeoutStartSec": "infinity",
                "Nice": 10,
                "IOSchedulingClass": "idle",
                "CPUWeight": 50,
                "IOWeight": 50,
                "MemoryMax": "50%",
                "OOMScoreAdjust": 200,
                **root_tool(_RECOVER_CAPABILITIES),
                # A target that is not there is reported by the command, not by systemd.
                "ReadWritePaths": " ".join(f"-{path}" for path in (*targets, self._layout.journal)),
                "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6",
                **loopback_only(self._settings.network.outgoing),
            },
        )

    def backup_timer(self) -> UnitFile:
        return UnitFile(
            name="pug-backup.timer",
            unit={"Description": "Pug Appliance: daily backup", "PartOf": TARGET},
            main={"OnCalendar": _BACKUP_TIME, "Persistent": True},
        )

    def _about(
        self, description: str, *, requires: tuple[str, ...] = (), **more: str
    ) -> dict[str, Value]:
        """The Unit section that our units share: they stop with the target and never give up."""
        needed: dict[str, Value] = {"Requires": " ".join(requires)} if requires else {}
        after = " ".join(dict.fromkeys((*more.pop("After", RECOVER).split(), *requires)))
        return {
            "Description": description,
            "PartOf": TARGET,
            **needed,
            "After": after,
            **more,
            "RequiresMountsFor": str(self._layout.data_dir),
            "StartLimitIntervalSec": 0,
        }

    def _credentials(self, secrets: tuple[str, ...], *, tls: bool = False) -> dict[str, Value]:
        """Root's files, opened to this unit alone."""
        files = [f"appliance.toml:{self._layout.config_file}"]
        files += [f"{name}:{self._layout.secrets / name}" for name in secrets]
        if tls:
            files.append(f"tls:{self._layout.tls}")
        return {"LoadCredential": tuple(files)}


def _ending(stop_signal: str, seconds: float) -> dict[str, Value]:
    """How a service ends, and that it begins again whatever ended it."""
    return {
        "KillMode": "mixed",
        "KillSignal": stop_signal,
        "TimeoutStopSec": math.ceil(seconds),
        "Restart": "always",
        "RestartSec": "500ms",
    }
