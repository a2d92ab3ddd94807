"""Where the three stores answer right now.

Invariant: an external URL wins; else the store is ours, on loopback, at the port the supervisor
wrote to `run/ports.json`, with the password of its secret file. Nobody else puts these together.
"""

from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

import msgspec

from appliance.base.errors import MisconfiguredError
from appliance.base.files import write_atomic
from appliance.config.model import Settings
from appliance.config.secrets import Secret, SecretName, load_secret

LOOPBACK: Final = "127.0.0.1"
_NATIVE_TO_HTTP_PORT: Final = {9000: 8123, 9440: 8443}
_SECURE_SCHEMES: Final = frozenset({"https", "clickhouses"})
_CLICKHOUSE_SCHEMES: Final = frozenset({"http", "https", "clickhouse", "clickhouses"})
_POOL_SIZE_PARAMETER: Final = "pool_max_conns"


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """The loopback ports this installation really uses."""

    api: int
    postgres: int
    nats: int
    nats_monitor: int
    clickhouse: int


class PostgresEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A PostgreSQL server: a URL with everything in it."""

    url: Secret
    pool_size_max: int
    external: bool


class NatsEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A NATS server or cluster and one way to authenticate, or none."""

    url: Secret
    user: str | None = None
    password: Secret | None = None
    creds_file: Path | None = None
    jwt: Secret | None = None
    seed: Secret | None = None
    replicas: int = 1
    external: bool


class ClickHouseEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A ClickHouse HTTP interface."""

    host: str
    port: int
    user: str
    password: Secret | None
    database: str
    secure: bool
    external: bool


class Endpoints(msgspec.Struct, frozen=True, kw_only=True):
    """The three stores."""

    postgres: PostgresEndpoint
    nats: NatsEndpoint
    clickhouse: ClickHouseEndpoint


def default_ports(settings: Settings) -> Ports:
    """The ports the settings ask for."""
    return Ports(
        api=settings.api.port,
        postgres=settings.postgres.port,
        nats=settings.nats.port,
        nats_monitor=settings.nats.monitor_port,
        clickhouse=settings.clickhouse.port,
    )


def load_ports(settings: Settings) -> Ports:
    """The ports in use: those the supervisor wrote, or those the settings ask for.

    Under systemd the units hold the ports of the settings, and not every account may read the file.
    """
    if settings.installed:
        return default_ports(settings)
    try:
        content = settings.folders.ports_file.read_bytes()
    except OSError:
        return default_ports(settings)
    return msgspec.json.decode(content, type=Ports)


def save_ports(settings: Settings, ports: Ports) -> None:
    """Record the ports in use for every other process of the installation."""
    write_atomic(settings.folders.ports_file, msgspec.json.encode(ports))


def resolve_endpoints(settings: Settings) -> Endpoints:
    """Where the three stores answer now.

    Raises MisconfiguredError when a URL cannot be used or a secret file is missing.
    """
    ports = load_ports(settings)
    secrets = settings.folders.secrets
    return Endpoints(
        postgres=resolve_postgres(settings, ports.postgres, secrets),
        nats=resolve_nats(settings, ports.nats, secrets),
        clickhouse=resolve_clickhouse(settings, ports.clickhouse, secrets),
    )


def resolve_postgres(settings: Settings, port: int, secrets: Path) -> PostgresEndpoint:
    """The PostgreSQL of these settings; `port` and `secrets` are used for our own engine."""
    chosen = settings.postgres
    if chosen.url is not None:
        return _external_postgres(chosen.url, chosen.pool_size_max)
    password = load_secret(secrets, SecretName.POSTGRES).reveal()
    url = own_postgres_url(settings, port, chosen.user, password, chosen.database)
    return PostgresEndpoint(url=Secret(url), pool_size_max=chosen.pool_size_max, external=False)


def own_postgres_url(settings: Settings, port: int, user: str, password: str, database: str) -> str:
    """The URL of our own PostgreSQL for one of its roles."""
    head = f"postgresql://{user}:{quote(password)}@"
    folder = settings.postgres_socket_dir
    if folder is None:
        return f"{head}{LOOPBACK}:{port}/{database}"
    place = urlencode({"host": str(folder), "port": str(port)})
    return f"{head}/{database}?{place}"


def resolve_nats(settings: Settings, port: int, secrets: Path) -> NatsEndpoint:
    """The NATS of these settings; `port` and `secrets` are used for our own engine."""
    chosen = settings.nats
    if chosen.url is not None:
        return NatsEndpoint(
            url=chosen.url,
            creds_file=chosen.creds_file,
            jwt=chosen.jwt,
            seed=chosen.seed,
            replicas=chosen.replicas,
            external=True,
        )
    return NatsEndpoint(
        url=Secret(f"nats://{LOOPBACK}:{port}"),
        user="pug",
        password=load_secret(secrets, SecretName.NATS),
        external=False,
    )


def resolve_clickhouse(settings: Settings, port: int, secrets: Path) -> ClickHouseEndpoint:
    """The ClickHouse of these settings; `port` and `secrets` are used for our own engine."""
    chosen = settings.clickhouse
    if chosen.url is not None:
        return _external_clickhouse(chosen.url, chosen.database)
    return ClickHouseEndpoint(
        host=LOOPBACK,
        port=port,
        user=chosen.user,
        password=load_secret(secrets, SecretName.CLICKHOUSE),
        database=chosen.database,
        secure=False,
        external=False,
    )


def _external_postgres(url: Secret, pool_size_max: int) -> PostgresEndpoint:
    parts = urlsplit(url.reveal())
    if parts.scheme not in {"postgres", "postgresql"}:
        raise _bad_url("postgres.url", "postgresql://user:password@host:5432/database")
    kept: list[tuple[str, str]] = []
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name == _POOL_SIZE_PARAMETER and value.isdecimal():
            pool_size_max = int(value)
        elif not name.startswith("pool_"):
            kept.append((name, value))
    clean = urlunsplit(parts._replace(query=urlencode(kept)))
    return PostgresEndpoint(url=Secret(clean), pool_size_max=pool_size_max, external=True)


def _external_clickhouse(url: Secret, database: str) -> ClickHouseEndpoint:
    parts = urlsplit(url.reveal())
    if parts.scheme not in _CLICKHOUSE_SCHEMES or not parts.hostname:
        raise _bad_url("clickhouse.url", "https://user:password@host:8443/database")
    secure = parts.scheme in _SECURE_SCHEMES
    port = parts.port or (8443 if secure else 8123)
    if parts.scheme.startswith("clickhouse"):
        port = _NATIVE_TO_HTTP_PORT.get(port, port)
    return ClickHouseEndpoint(
        host=parts.hostname,
        port=port,
        user=unquote(parts.username or "default"),
        password=Secret(unquote(parts.password)) if parts.password else None,
        database=unquote(parts.path.strip("/")) or database,
        secure=secure,
        external=True,
    )


def _bad_url(key: str, example: str) -> MisconfiguredError:
    return MisconfiguredError(
        "URL_UNUSABLE", f"{key} is not a usable URL", hint=f"write it like {example}"
    )
