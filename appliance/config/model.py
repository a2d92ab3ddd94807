"""Settings: everything an operator can decide, as one frozen tree.

Invariant: every field has a default that works on a laptop, a description, and, where the contract
or its self-hosting guides name one, the environment names that set it (`extra["env"]`, the first
name is the preferred one). There is no default secret. Read once in `cli`, handed down in parts.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

from msgspec import Meta

from appliance.base.units import Bytes, Seconds
from appliance.config.alerts import AlertSettings
from appliance.config.folders import Folders
from appliance.config.insights import InsightSettings
from appliance.config.oidc import OidcSettings
from appliance.config.people import EmailSettings, SessionSettings
from appliance.config.secrets import Secret
from appliance.config.section import Name, Section, env_names

DEFAULT_DATA_DIR: Final = Path("~/.local/share/pug-appliance")
DEFAULT_CONFIG_FILE: Final = Path("/etc/pug/appliance.toml")
SYSTEMD_SOCKET_DIR: Final = Path("/run/pug-postgres")
"""Where PostgreSQL's unit has its Unix socket."""


class LogForm(StrEnum):
    """How log lines look."""

    AUTO = "auto"
    JSON = "json"
    READABLE = "readable"


class LogLevel(StrEnum):
    """The least severe line that is kept."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class TlsMode(StrEnum):
    """Whether the public door speaks HTTPS itself."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class TlsVersion(StrEnum):
    """The oldest TLS that is spoken."""

    V1_2 = "1.2"
    V1_3 = "1.3"


class Supervision(StrEnum):
    """Who starts the engines and starts them again."""

    OWN = "own"
    SYSTEMD = "systemd"


class ApiSettings(Section, frozen=True, kw_only=True):
    """The only public door."""

    host: Annotated[
        str,
        Meta(min_length=1, description="address to listen on", extra=env_names("PUG_SERVER_HOST")),
    ] = "127.0.0.1"
    port: Annotated[
        int,
        Meta(
            ge=0,
            le=65535,
            description="public TCP port; 0 lets the system choose",
            extra=env_names("PUG_SERVER_PORT"),
        ),
    ] = 8080
    grpc_port: Annotated[
        int | None,
        Meta(
            description="TCP port of native gRPC (HTTP/2 without TLS); unset: none, "
            "0 lets the system choose",
            extra=env_names("PUG_GRPC_PORT"),
        ),
    ] = None
    cors_origins: Annotated[
        tuple[Annotated[str, Meta(min_length=1)], ...],
        Meta(
            description="origins that dashboards may call from; entries may hold one *",
            extra=env_names("PUG_CORS_ORIGINS"),
        ),
    ] = ("*",)
    body_bytes_max: Annotated[
        Bytes,
        Meta(description="largest request body, also after decompression"),
    ] = Bytes(16 << 20)
    bodies_bytes_max: Annotated[
        Bytes,
        Meta(
            description="bytes of request bodies in work at once, beside those under 64KiB; more "
            "are refused for a second (503)"
        ),
    ] = Bytes(64 << 20)
    requests_max: Annotated[
        int, Meta(ge=1, le=65536, description="requests in work at once; more wait")
    ] = 1024
    dashboard: Annotated[bool, Meta(description="serve the web pages under /")] = True
    development: Annotated[
        bool,
        Meta(
            description="for people who write clients: /graphql tells its schema and has a page to "
            "try questions on"
        ),
    ] = False


class TlsSettings(Section, frozen=True, kw_only=True):
    """HTTPS at the public door, for installations without a proxy."""

    mode: Annotated[
        TlsMode,
        Meta(
            description="auto: HTTPS as soon as there is a certificate; on: never without; "
            "off: plain HTTP"
        ),
    ] = TlsMode.AUTO
    certificate: Annotated[
        Path | None,
        Meta(description="PEM file with certificate and chain; unset: what `tls import` installed"),
    ] = None
    key: Annotated[
        Path | None,
        Meta(description="PEM file with the private key; unset: it is in the certificate's file"),
    ] = None
    version_min: Annotated[TlsVersion, Meta(description="oldest TLS that is spoken")] = (
        TlsVersion.V1_2
    )


class PostgresSettings(Section, frozen=True, kw_only=True):
    """Accounts, projects, keys, dashboards, the write side of profiles."""

    url: Annotated[
        Secret | None,
        Meta(
            description="URL of an external PostgreSQL; then none is started here",
            extra=env_names("DATABASE_URL"),
        ),
    ] = None
    port: Annotated[
        int,
        Meta(
            ge=0,
            le=65535,
            description="loopback port of the engine; another is chosen when it is taken",
            extra=env_names("DB_PORT"),
        ),
    ] = 5432
    socket_dir: Annotated[
        Path | None,
        Meta(
            description="folder of the engine's Unix socket; then it has no TCP port. Unset: TCP "
            "on loopback, but /run/pug-postgres under systemd"
        ),
    ] = None
    database: Annotated[
        Name, Meta(description="database of the engine", extra=env_names("DB_NAME"))
    ] = "pug"
    user: Annotated[Name, Meta(description="role of the appliance", extra=env_names("DB_USER"))] = (
        "pug"
    )
    connections_max: Annotated[
        int, Meta(ge=4, le=1000, description="connections the engine accepts")
    ] = 60
    pool_size_max: Annotated[int, Meta(ge=1, le=200, description="connections of one process")] = 8


class NatsSettings(Section, frozen=True, kw_only=True):
    """The hand-over between API and workers."""

    url: Annotated[
        Secret | None,
        Meta(
            description="URL of an external NATS server or cluster; then none is started here",
            extra=env_names("NATS_URL"),
        ),
    ] = None
    creds_file: Annotated[
        Path | None,
        Meta(
            description="credentials file for the external server",
            extra=env_names("NATS_CREDS_FILE"),
        ),
    ] = None
    jwt: Annotated[
        Secret | None,
        Meta(
            description="user JWT for the external server; needs seed", extra=env_names("NATS_JWT")
        ),
    ] = None
    seed: Annotated[
        Secret | None,
        Meta(description="seed of the user JWT; needs jwt", extra=env_names("NATS_SEED")),
    ] = None
    port: Annotated[
        int,
        Meta(
            ge=0,
            le=65535,
            description="loopback port of the engine; another is chosen when it is taken",
        ),
    ] = 4222
    monitor_port: Annotated[
        int, Meta(ge=0, le=65535, description="loopback port of its monitoring")
    ] = 8222
    replicas: Annotated[
        int, Meta(ge=1, le=5, description="copies of every stream; 3 for an external cluster")
    ] = 1
    store_bytes_max: Annotated[
        Bytes | None,
        Meta(description="disk that streams may take; unset: sized from the free disk"),
    ] = None
    events_bytes_max: Annotated[
        Bytes | None,
        Meta(
            description="size of the queue of events at which more are refused for a while (503); "
            "unset: half of what streams may take"
        ),
    ] = None
    retention: Annotated[Seconds, Meta(description="how long a stored message can be replayed")] = (
        Seconds(30 * 86400)
    )


class ClickHouseSettings(Section, frozen=True, kw_only=True):
    """The event store."""

    url: Annotated[
        Secret | None,
        Meta(
            description="URL of an external ClickHouse (http, https or clickhouse scheme); "
            "then none is started here",
            extra=env_names("CLICKHOUSE_URL"),
        ),
    ] = None
    port: Annotated[
        int,
        Meta(
            ge=0,
            le=65535,
            description="loopback port of the engine; another is chosen when it is taken",
            extra=env_names("CLICKHOUSE_HTTP_PORT"),
        ),
    ] = 8123
    database: Annotated[
        Name, Meta(description="database of the event store", extra=env_names("CLICKHOUSE_DB"))
    ] = "pug"
    user: Annotated[
        Name, Meta(description="user of the event store", extra=env_names("CLICKHOUSE_USER"))
    ] = "pug"
    memory_bytes_max: Annotated[
        Bytes | None,
        Meta(description="memory all queries may take; unset: half of the machine's"),
    ] = None
    queries_max: Annotated[int, Meta(ge=1, le=1000, description="queries that run at once")] = 16


class WorkerSettings(Section, frozen=True, kw_only=True):
    """Queue workers."""

    insert_rows_max: Annotated[
        int, Meta(ge=1, le=1_000_000, description="rows of one insert into the event store")
    ] = 50_000
    insert_wait: Annotated[
        Seconds, Meta(description="longest time an event waits for company before its insert")
    ] = Seconds(0.1)
    health_addr: Annotated[
        str,
        Meta(
            description="address of the workers' /healthz and /readyz; `off` for none, "
            "port 0 for any",
            extra=env_names("PUG_WORKER_HEALTH_ADDR"),
        ),
    ] = "127.0.0.1:0"


class NetworkSettings(Section, frozen=True, kw_only=True):
    """Whom the appliance may talk to; enforced by the kernel, see docs/hardening.md."""

    outgoing: Annotated[
        tuple[Annotated[str, Meta(min_length=1)], ...],
        Meta(
            description="networks (CIDR) that installed services may reach beside loopback, "
            "like those of external stores or of a mail provider; needs `install` again"
        ),
    ] = ()
    trusted_proxies: Annotated[
        tuple[Annotated[str, Meta(min_length=1)], ...],
        Meta(
            description="networks (CIDR) of reverse proxies whose X-Forwarded-For is believed: by "
            "sign-in limits, the audit log, places and cookieless identity"
        ),
    ] = ("127.0.0.0/8", "::1/128")
    cdn_headers: Annotated[
        bool,
        Meta(
            description="believe what a content network's headers (CF-*, True-Client-IP) say about "
            "a visitor, from trusted proxies"
        ),
    ] = False


class DiskSettings(Section, frozen=True, kw_only=True):
    """What happens when the disk gets full."""

    reserve: Annotated[
        Bytes,
        Meta(
            description="free disk below which no events are taken, so that the engines can finish "
            "what was taken and answer questions"
        ),
    ] = Bytes(512 << 20)
    ballast: Annotated[
        Bytes,
        Meta(
            description="size of a file that is given up when the disk is full all the same; "
            "0B for none"
        ),
    ] = Bytes(256 << 20)


class LogSettings(Section, frozen=True, kw_only=True):
    """What is logged, and how much of it is kept."""

    form: Annotated[
        LogForm, Meta(description="json, readable, or auto: readable on a terminal")
    ] = LogForm.AUTO
    level: Annotated[LogLevel, Meta(description="least severe line that is kept")] = LogLevel.INFO
    file_bytes_max: Annotated[
        Bytes, Meta(description="size at which a component's log file is turned over")
    ] = Bytes(16 << 20)
    files_max: Annotated[
        int, Meta(ge=1, le=100, description="log files kept for each component")
    ] = 4
    syslog: Annotated[
        str,
        Meta(
            description="server that gets every line too (RFC 5424): udp://host:514, tcp://host, "
            "tls://host:6514 or unix:///dev/log; empty for none"
        ),
    ] = ""
    syslog_ca: Annotated[
        Path | None,
        Meta(description="PEM file of the authorities for tls://; unset: those of the machine"),
    ] = None


class DemoSettings(Section, frozen=True, kw_only=True):
    """Invented traffic for trying the product out."""

    enabled: Annotated[
        bool, Meta(description="produce demo traffic", extra=env_names("PUG_DEMO_ENABLED"))
    ] = False
    viewer_email: Annotated[
        str, Meta(description="the account that anybody may look around with")
    ] = "snoop@pug.sh"
    peak_sessions_per_minute: Annotated[
        float,
        Meta(
            gt=0,
            description="sessions a minute in the busiest hour",
            extra=env_names("PUG_DEMO_PEAK_SESSIONS_PER_MIN"),
        ),
    ] = 6.0
    seed_events: Annotated[
        int,
        Meta(
            ge=1,
            description="events of the one-time back-fill",
            extra=env_names("PUG_DEMO_SEED_COUNT"),
        ),
    ] = 500_000
    seed_batch_events: Annotated[
        int,
        Meta(
            ge=1,
            description="events of one back-fill insert",
            extra=env_names("PUG_DEMO_SEED_BATCH"),
        ),
    ] = 10_000


class BackupSettings(Section, frozen=True, kw_only=True):
    """Where backups go, and how many are kept."""

    targets: Annotated[
        tuple[Path, ...],
        Meta(description="folders or mounts for backups; empty: `backups` in data_dir"),
    ] = ()
    keep: Annotated[
        int, Meta(ge=1, le=3650, description="days of which the newest backup is kept")
    ] = 30
    passphrase_file: Annotated[
        Path | None,
        Meta(description="file with the passphrase that encrypts backups; unset: not encrypted"),
    ] = None
    restore_points_max: Annotated[
        int, Meta(ge=1, le=100, description="restore points kept for rolling back")
    ] = 3


class AuditSettings(Section, frozen=True, kw_only=True):
    """The record of administrative acts."""

    retention: Annotated[
        Seconds, Meta(description="how long entries are kept; less than a day counts as one")
    ] = Seconds(400 * 86400)


class Settings(Section, frozen=True, kw_only=True):
    """The whole tree. `data_dir` holds everything the appliance writes."""

    data_dir: Annotated[
        Path,
        Meta(
            description="folder for everything the appliance writes",
            extra=env_names("PUG_DATA_DIR"),
        ),
    ] = DEFAULT_DATA_DIR
    secrets_dir: Annotated[
        Path | None,
        Meta(description="folder of the secret files; unset: <data_dir>/secrets"),
    ] = None
    supervision: Annotated[
        Supervision,
        Meta(description="own: `run` starts the engines; systemd: they are units, `run` asks them"),
    ] = Supervision.OWN
    api: ApiSettings = ApiSettings()
    tls: TlsSettings = TlsSettings()
    network: NetworkSettings = NetworkSettings()
    postgres: PostgresSettings = PostgresSettings()
    nats: NatsSettings = NatsSettings()
    clickhouse: ClickHouseSettings = ClickHouseSettings()
    worker: WorkerSettings = WorkerSettings()
    disk: DiskSettings = DiskSettings()
    logs: LogSettings = LogSettings()
    sessions: SessionSettings = SessionSettings()
    oidc: OidcSettings = OidcSettings()
    email: EmailSettings = EmailSettings()
    demo: DemoSettings = DemoSettings()
    backup: BackupSettings = BackupSettings()
    audit: AuditSettings = AuditSettings()
    alerts: AlertSettings = AlertSettings()
    insights: InsightSettings = InsightSettings()

    @property
    def installed(self) -> bool:
        """Whether systemd runs the engines: root owns the folders, secrets are only read."""
        return self.supervision is Supervision.SYSTEMD

    @property
    def folders(self) -> Folders:
        """Where everything lies."""
        return Folders(root=self.data_dir, secrets_dir=self.secrets_dir)

    @property
    def postgres_socket_dir(self) -> Path | None:
        """The folder of our PostgreSQL's Unix socket; None when it listens on loopback."""
        default = SYSTEMD_SOCKET_DIR if self.installed else None
        return self.postgres.socket_dir or default


NO_EFFECT: Final[dict[str, str]] = {
    "REDIS_URL": "there is no Redis; salts live in the memory of NATS",
    "NATS_STREAMS_CONFIG": "stream definitions are built in",
    "NATS_CONSUMERS_CONFIG": "consumer definitions are built in",
    "DB_PASSWORD": "the engine's password is made at first start",
    "CLICKHOUSE_PASSWORD": "the engine's password is made at first start",
    "CLICKHOUSE_NATIVE_PORT": "the engine speaks HTTP only",
    "CLICKHOUSE_TCP_PORT": "the engine speaks HTTP only",
    "DRAGONFLY_PORT": "there is no Redis; salts live in the memory of NATS",
    "PUG_OTEL": "a switch of older releases",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "telemetry export is not part of this release",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "telemetry export is not part of this release",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "telemetry export is not part of this release",
    "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "telemetry export is not part of this release",
    "OTEL_EXPORTER_OTLP_INSECURE": "telemetry export is not part of this release",
    "OTEL_SERVICE_NAME": "telemetry export is not part of this release",
}
"""Environment names of the original that set nothing here, and why [configuration 2-9]."""
