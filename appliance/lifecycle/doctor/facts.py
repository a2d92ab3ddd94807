"""What the doctor knows about a machine and an installation before it judges.

Invariant: plain values only, none of them a secret; None means that nobody could see it, and then
there is an `Unseen` that says why. Gathered by `gathering/`, judged by `subjects/`.
"""

from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from appliance.config.model import Settings
from appliance.supervisor.component import ComponentStatus

LOOPBACK_NAMES: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class Subject(StrEnum):
    """What a check is about, in the order of the report."""

    CONFIGURATION = "configuration"
    SERVICES = "services"
    PORTS = "ports"
    FILES = "files"
    SECRETS = "secrets"
    DISK = "disk"
    MEMORY = "memory"
    CLOCK = "clock"
    CERTIFICATE = "certificate"
    QUEUE = "queue"
    STORES = "stores"
    BACKUPS = "backups"
    RELEASE = "release"
    HOST = "host"
    OPERATION = "operation"


class Mode(StrEnum):
    """How the appliance is run."""

    INSTALLED = "installed"
    DEVELOPER = "developer"


class Unseen(msgspec.Struct, frozen=True, kw_only=True):
    """Something that could not be looked at."""

    subject: Subject
    what: str
    why: str


class PlaceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Which installation this is, and who looks at it."""

    mode: Mode
    data_dir: str
    config_file: str
    root: bool
    release: str
    release_number: int
    now: datetime


class ConfigFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What `config check` says, and the settings as far as they were understood."""

    error: str = ""
    hint: str = ""
    problems: tuple[str, ...] = ()
    without_effect: tuple[str, ...] = ()
    unreadable: str = ""


class UnitFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What systemd says about one of our units."""

    name: str
    load: str
    active: str
    sub: str
    enabled: str
    result: str
    restarts: int
    reload_needed: bool
    exposure: float | None = None


class ServicesFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Who runs; `error` says why the supervisor could not be asked."""

    running: bool
    hidden: bool = False
    error: str = ""
    stopping: bool = False
    supervisor_pid: int = 0
    components: tuple[ComponentStatus, ...] = ()
    units: tuple[UnitFacts, ...] = ()


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    """A listening TCP socket; `process` is empty when we may not know."""

    address: str
    port: int
    pid: int | None = None
    process: str = ""


class PublicAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the public port said; `error` when it said nothing."""

    scheme: str
    port: int
    status: int = 0
    seconds: float = 0.0
    error: str = ""
    not_ready: tuple[str, ...] = ()
    ready_status: int = 0


class PortsFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Who listens where. `engine_ports` maps the ports that are ours alone to their engine."""

    public: PublicAnswer
    listeners: tuple[Listener, ...] | None
    engine_ports: dict[int, str]
    engine_pids: dict[int, str]


class PathFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One path, as it should be and as it is. Modes are permission bits; `exact` forbids both more
    and fewer, else only more is wrong.
    """

    path: str
    mode: int
    owner: str = ""
    exact: bool = False
    required: bool = False
    folder: bool = False
    found: bool = True
    found_mode: int = 0
    found_owner: str = ""
    found_folder: bool = False
    link: bool = False


class FilesFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Every path of the installation. `barred` names folders above the data directory that an
    account which owns something in it cannot pass through, with that account.
    """

    paths: tuple[PathFacts, ...]
    barred: tuple[tuple[str, str], ...] = ()


class SecretFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One secret, without itself. `bits` is how much guessing it takes, at most."""

    name: str
    path: str
    found: bool
    bits: int = 0
    own: bool = True


class SecretsFacts(msgspec.Struct, frozen=True, kw_only=True):
    """All secrets, those made here and those of the settings."""

    secrets: tuple[SecretFacts, ...]


class DiskFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One file system we write to. `growth_bytes` is what a day adds, None when unknown."""

    holds: tuple[str, ...]
    mount: str
    kind: str
    total_bytes: int
    free_bytes: int
    inodes_total: int
    inodes_free: int
    read_only: bool


class DisksFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Every file system we write to, and the ballast that is given up on a full disk."""

    disks: tuple[DiskFacts, ...]
    ballast_wanted_bytes: int
    ballast_bytes: int | None


class MemoryFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The machine's memory. `unit_kills` counts what the kernel killed in each of our units."""

    total_bytes: int
    available_bytes: int
    swap_total_bytes: int
    swap_free_bytes: int
    swap_devices: tuple[str, ...]
    swap_encrypted: bool | None
    overcommit: int
    kernel_kills: int
    unit_kills: dict[str, int] = {}


class ClockFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What this machine thinks the time is. `newest_mark` is the latest instant that something of
    ours wrote down; `built_at` is when the release was made.
    """

    synchronised: bool | None
    error_seconds: float | None
    zone: str
    newest_mark: datetime | None
    newest_mark_path: str
    built_at: datetime | None


class CertificateFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The certificate of the public port; `found` is false for plain HTTP."""

    found: bool
    error: str = ""
    hint: str = ""
    expires_at: datetime | None = None
    days_left: int = 0
    self_signed: bool = False
    issuer: str = ""
    names: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


class StreamFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One stream of the queue."""

    name: str
    messages: int
    bytes: int
    bytes_max: int
    replicas: int


class QueueFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The queue; `error` says why it could not be asked. Ages are in seconds."""

    error: str = ""
    external: bool = False
    streams: tuple[StreamFacts, ...] = ()
    waiting: int | None = None
    in_work: int = 0
    redelivered: int = 0
    oldest_seconds: float | None = None
    worker_connected: bool | None = None
    store_bytes: int = 0
    store_bytes_max: int = 0
    synced_always: bool | None = None


class StoresFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The two databases. `future_events` counts those of a later time than a day ahead;
    `day_bytes` is what the last week's events took on disk in a day. `postgres_jobs_led` is None
    where there are no jobs yet.
    """

    postgres_error: str = ""
    postgres_external: bool = False
    postgres_secure: bool = True
    postgres_unsafe: tuple[str, ...] = ()
    postgres_connections: int = 0
    postgres_connections_max: int = 0
    postgres_wraparound: int = 0
    postgres_longest_seconds: float = 0.0
    postgres_jobs_led: bool | None = None
    postgres_jobs_failed: tuple[str, ...] = ()
    clickhouse_error: str = ""
    clickhouse_external: bool = False
    clickhouse_secure: bool = True
    clickhouse_unsafe: tuple[str, ...] = ()
    events: int | None = None
    event_bytes: int | None = None
    day_bytes: int | None = None
    future_events: int | None = None
    parts_most: int | None = None


class BackupFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One backup of a target."""

    id: str
    point: datetime | None
    reason: str
    encrypted: bool
    release_number: int = 0
    verified: bool | None = None
    verified_at: datetime | None = None


class TargetFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A place that backups go to; `error` when it could not be looked at."""

    path: str
    error: str = ""
    missing: bool = False
    same_disk: bool = False
    backups: tuple[BackupFacts, ...] = ()
    damaged: tuple[str, ...] = ()


class BackupsFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that could be restored; restore points lie beside the live data."""

    targets: tuple[TargetFacts, ...]
    restore_points: int = 0
    restore_points_damaged: tuple[str, ...] = ()
    first_use: datetime | None = None
    passphrase_problem: str = ""


class ReleaseFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is installed, and what an unfinished operation left behind."""

    version: str = ""
    previous: str = ""
    installed: tuple[str, ...] = ()
    current_problem: str = ""
    open_operation: str = ""
    open_since: str = ""
    staged: tuple[str, ...] = ()
    trusted_keys: tuple[str, ...] = ()
    bad_keys: tuple[str, ...] = ()
    signed_by: str = ""
    signature_error: str = ""
    differing: tuple[str, ...] = ()
    compared: int = 0


class HostFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The operating system around us; None and empty where nobody could look."""

    kernel: str
    distribution: str
    systemd: bool
    container: bool
    core_pattern: str
    suid_dumpable: int | None
    ptrace_scope: int | None
    user_namespaces_max: int | None
    map_count_max: int | None
    huge_pages: str
    open_files_max: int
    open_files_system: int | None
    file_descriptors_max: int | None
    somaxconn: int | None
    umask: int | None
    noexec: tuple[str, ...]
    data_noexec: bool
    selinux: str
    apparmor: bool
    fapolicyd: bool
    fips: bool
    firewalls: tuple[str, ...]
    firewall_seen: bool
    data_encrypted: bool | None


class OperationFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Who watches: scrapes of `/metrics`, where logs are carried, what clients' addresses say."""

    metrics_error: str = ""
    scrapes: int | None = None
    address_sources: dict[str, int] = {}
    log_carriers: tuple[str, ...] = ()
    journal_persistent: bool | None = None
    log_bytes: int | None = None
    errors_logged: dict[str, int] = {}


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything; a subject that is None is among `unseen`."""

    place: PlaceFacts
    settings: Settings
    config: ConfigFacts
    unseen: tuple[Unseen, ...] = ()
    services: ServicesFacts | None = None
    ports: PortsFacts | None = None
    files: FilesFacts | None = None
    secrets: SecretsFacts | None = None
    disks: DisksFacts | None = None
    memory: MemoryFacts | None = None
    clock: ClockFacts | None = None
    certificate: CertificateFacts | None = None
    queue: QueueFacts | None = None
    stores: StoresFacts | None = None
    backups: BackupsFacts | None = None
    release: ReleaseFacts | None = None
    host: HostFacts | None = None
    operation: OperationFacts | None = None

    @property
    def running(self) -> bool:
        """Whether an appliance runs here."""
        return self.services is not None and self.services.running

    @property
    def exposed(self) -> bool:
        """Whether others than this machine can reach the public port."""
        return self.settings.api.host not in LOOPBACK_NAMES
