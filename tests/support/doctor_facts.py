"""The facts of a healthy installed appliance, and how to make them ill.

Invariant: `healthy()` has no finding graver than ok; every case of a test is one change to it.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import msgspec

from appliance.config.model import (
    ApiSettings,
    BackupSettings,
    NatsSettings,
    Settings,
    Supervision,
)
from appliance.config.secrets import Secret
from appliance.lifecycle.doctor.facts import (
    BackupFacts,
    BackupsFacts,
    CertificateFacts,
    ClockFacts,
    ConfigFacts,
    DiskFacts,
    DisksFacts,
    Facts,
    FilesFacts,
    HostFacts,
    Listener,
    MemoryFacts,
    Mode,
    OperationFacts,
    PathFacts,
    PlaceFacts,
    PortsFacts,
    PublicAnswer,
    QueueFacts,
    ReleaseFacts,
    SecretFacts,
    SecretsFacts,
    ServicesFacts,
    StoresFacts,
    StreamFacts,
    TargetFacts,
    UnitFacts,
)
from appliance.supervisor.component import ComponentStatus
from appliance.supervisor.spec import Kind
from appliance.supervisor.state import State

NOW = datetime(2026, 5, 10, 9, 30, tzinfo=UTC)
GIB = 1 << 30

Tree = TypeVar("Tree", bound=msgspec.Struct)


def put(tree: Tree, path: str, value: object) -> Tree:
    """A copy with another value at a dotted path; a number in it is an index of a tuple."""
    name, _, rest = path.partition(".")
    if not rest:
        return msgspec.structs.replace(tree, **{name: value})
    inside = getattr(tree, name)
    number, _, below = rest.partition(".")
    if number.isdecimal():
        items = list(inside)
        items[int(number)] = put(items[int(number)], below, value) if below else value
        return msgspec.structs.replace(tree, **{name: tuple(items)})
    return msgspec.structs.replace(tree, **{name: put(inside, rest, value)})


def changed(**values: object) -> Facts:
    """Healthy facts with other values; a double underscore in a name stands for a dot."""
    facts = healthy()
    for path, value in values.items():
        facts = put(facts, path.replace("__", "."), value)
    return facts


def component(name: str, state: State = State.READY) -> ComponentStatus:
    """One component of a running appliance."""
    return ComponentStatus(
        name=name,
        kind=Kind.SERVICE,
        state=state,
        ready=state is State.READY,
        pid=100,
        uptime_seconds=86400.0,
        restarts=0,
        memory_bytes=1 << 20,
        version="1",
        cause="",
        external=False,
    )


def unit(name: str, *, exposure: float | None = None) -> UnitFacts:
    """One unit of systemd that is as it should be."""
    return UnitFacts(
        name=name,
        load="loaded",
        active="active",
        sub="running",
        enabled="enabled",
        result="success",
        restarts=0,
        reload_needed=False,
        exposure=exposure,
    )


def folder(path: str, mode: int = 0o700, owner: str = "pug") -> PathFacts:
    """A folder that is as it should be."""
    return PathFacts(
        path=path,
        mode=mode,
        owner=owner,
        exact=True,
        required=True,
        folder=True,
        found_mode=mode,
        found_owner=owner,
        found_folder=True,
    )


def private_file(path: str) -> PathFacts:
    """A file that only root reads."""
    return PathFacts(
        path=path, mode=0o600, owner="root", found_mode=0o600, found_owner="root", required=True
    )


def certificate(
    *, days: int = 200, self_signed: bool = False, problem: str = ""
) -> CertificateFacts:
    """A certificate of the public port."""
    return CertificateFacts(
        found=True,
        expires_at=NOW + timedelta(days=days),
        days_left=days,
        self_signed=self_signed,
        issuer="CN=Authority",
        problems=(problem,) if problem else (),
    )


def healthy() -> Facts:
    """An installed appliance with HTTPS, backups on another disk, monitoring and a firewall."""
    return Facts(
        place=PlaceFacts(
            mode=Mode.INSTALLED,
            data_dir="/var/lib/pug",
            config_file="/etc/pug/appliance.toml",
            root=True,
            release="1.0.0",
            release_number=10,
            now=NOW,
        ),
        settings=Settings(
            data_dir=Path("/var/lib/pug"),
            supervision=Supervision.SYSTEMD,
            api=ApiSettings(host="0.0.0.0", cors_origins=("https://pug.example",)),
            nats=NatsSettings(url=Secret("tls://queue.example:4222"), replicas=3),
            backup=BackupSettings(targets=(Path("/mnt/backups"),)),
        ),
        config=ConfigFacts(),
        services=ServicesFacts(
            running=True,
            supervisor_pid=10,
            components=(component("api"), component("events")),
            units=(
                unit("pug.target"),
                unit("pug-appliance.service", exposure=1.1),
                unit("pug-postgres.service", exposure=0.4),
            ),
        ),
        ports=PortsFacts(
            public=PublicAnswer(
                scheme="https", port=8080, status=200, seconds=0.01, ready_status=200
            ),
            listeners=(
                Listener(address="0.0.0.0", port=8080, pid=1, process="systemd"),
                Listener(address="127.0.0.1", port=8123, pid=1, process="systemd"),
                Listener(address="::1", port=9999, pid=12, process="other"),
            ),
            engine_ports={8123: "clickhouse"},
            engine_pids={30: "postgres"},
        ),
        files=FilesFacts(
            paths=(folder("/var/lib/pug/nats"), private_file("/etc/pug/secrets/nats-password"))
        ),
        secrets=SecretsFacts(
            secrets=(
                SecretFacts(name="nats-password", path="/etc/pug/secrets/x", found=True, bits=256),
                SecretFacts(name="postgres.url", path="", found=True, bits=150, own=False),
            )
        ),
        disks=DisksFacts(
            disks=(
                DiskFacts(
                    holds=("data", "events"),
                    mount="/var",
                    kind="xfs",
                    total_bytes=500 * GIB,
                    free_bytes=400 * GIB,
                    inodes_total=1000,
                    inodes_free=900,
                    read_only=False,
                ),
            ),
            ballast_wanted_bytes=256 << 20,
            ballast_bytes=256 << 20,
        ),
        memory=MemoryFacts(
            total_bytes=24 * GIB,
            available_bytes=20 * GIB,
            swap_total_bytes=0,
            swap_free_bytes=0,
            swap_devices=(),
            swap_encrypted=None,
            overcommit=0,
            kernel_kills=0,
        ),
        clock=ClockFacts(
            synchronised=True,
            error_seconds=0.01,
            zone="Etc/UTC",
            newest_mark=NOW,
            newest_mark_path="/var/lib/pug/logs",
            built_at=NOW - timedelta(days=30),
        ),
        certificate=certificate(),
        queue=QueueFacts(
            streams=(
                StreamFacts(name="events", messages=5, bytes=500, bytes_max=0, replicas=1),
                StreamFacts(name="dlq-events", messages=0, bytes=0, bytes_max=1000, replicas=1),
            ),
            waiting=2,
            in_work=1,
            oldest_seconds=0.2,
            worker_connected=True,
            store_bytes=1 * GIB,
            store_bytes_max=8 * GIB,
            synced_always=True,
        ),
        stores=StoresFacts(
            postgres_connections=5,
            postgres_connections_max=60,
            postgres_wraparound=1000,
            postgres_jobs_led=True,
            events=1_000_000,
            event_bytes=100_000_000,
            day_bytes=1 * GIB,
            future_events=0,
            parts_most=20,
            postgres_external=True,
        ),
        backups=BackupsFacts(
            targets=(
                TargetFacts(
                    path="/mnt/backups",
                    backups=(
                        BackupFacts(
                            id="20260510T020000Z",
                            point=NOW - timedelta(hours=7),
                            reason="scheduled",
                            encrypted=True,
                            verified=True,
                            verified_at=NOW - timedelta(hours=6),
                        ),
                    ),
                ),
            ),
            first_use=NOW - timedelta(days=100),
            restore_points=1,
        ),
        release=ReleaseFacts(
            version="1.0.0",
            previous="0.9.0",
            installed=("0.9.0", "1.0.0"),
            trusted_keys=("vendor.pub",),
            signed_by="abcd",
            compared=50,
        ),
        host=HostFacts(
            kernel="6.1",
            distribution="Debian",
            systemd=True,
            container=False,
            core_pattern="",
            suid_dumpable=0,
            ptrace_scope=1,
            user_namespaces_max=0,
            map_count_max=262144,
            huge_pages="madvise",
            open_files_max=65536,
            open_files_system=1_000_000,
            file_descriptors_max=1 << 20,
            somaxconn=4096,
            umask=0o22,
            noexec=("/tmp",),
            data_noexec=True,
            selinux="enforcing",
            apparmor=False,
            fapolicyd=False,
            fips=False,
            firewalls=("nftables",),
            firewall_seen=True,
            data_encrypted=True,
        ),
        operation=OperationFacts(
            scrapes=1000,
            address_sources={"x_forwarded_for": 0, "peer_no_header": 500},
            log_carriers=("rsyslogd",),
            journal_persistent=True,
            log_bytes=1 << 20,
        ),
    )
