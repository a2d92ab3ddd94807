"""Who watches the appliance, and what its own numbers and logs say.

Invariant: `/metrics` is read once; log files are read from their ends, within a limit.
"""

import asyncio
import os
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Final

import psutil

from appliance.base.errors import ApplianceError, UnavailableError
from appliance.engines.http_door import HTTP_OK, http_get
from appliance.lifecycle.doctor.facts import OperationFacts
from appliance.lifecycle.doctor.gathering.probing import in_thread
from appliance.lifecycle.doctor.gathering.scene import Scene
from appliance.supervisor.lines import decode_entry
from appliance.supervisor.output import log_path, logged_components

DOCTOR_AGENT: Final = "pug-appliance-doctor"
"""How the doctor names itself, so that its own question is not counted as monitoring."""
_METRICS_BYTES_MAX: Final = 4 << 20
_SOURCES: Final = "events_cookieless_identity_source_total"
_SCRAPES: Final = "metrics_scrapes_total"
_ANY_ADDRESS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 compared, not listened on
_TAIL_BYTES: Final = 256 << 10
_GRAVE: Final = frozenset({"error", "critical"})
_DAY_SECONDS: Final = 86400
_CARRIERS: Final = frozenset(
    {
        *("rsyslogd", "syslog-ng", "syslogd", "vector", "fluent-bit", "fluentd", "td-agent-bit"),
        *("promtail", "alloy", "filebeat", "otelcol", "otelcol-contrib", "splunkd", "nxlog"),
        "systemd-journal-upload",
    }
)
_KERNEL_NAME_LETTERS: Final = 15


async def gather_operation(scene: Scene) -> OperationFacts:
    """Numbers, carriers of logs, and the errors of the last day."""
    metrics, error = await _metrics(scene)
    carriers, errors = await asyncio.gather(
        in_thread(_carriers), in_thread(lambda: _errors_logged(scene))
    )
    return OperationFacts(
        metrics_error=error,
        scrapes=metrics.scrapes if not error else None,
        address_sources=metrics.sources,
        log_carriers=carriers,
        journal_persistent=await in_thread(lambda: Path("/var/log/journal").is_dir()),
        log_bytes=await in_thread(lambda: _log_bytes(scene.folders.logs)),
        errors_logged=errors,
    )


class _Numbers:
    """What is taken out of `/metrics`."""

    def __init__(self, text: str) -> None:
        self.scrapes: int | None = None
        self.sources: dict[str, int] = {}
        for line in text.splitlines():
            name, _, rest = line.partition("{")
            if name == _SOURCES:
                labels, _, value = rest.partition("} ")
                source = labels.partition('source="')[2].partition('"')[0]
                self.sources[source] = int(float(value or 0))
            elif line.startswith(f"{_SCRAPES} "):
                self.scrapes = int(float(line.split()[1]))


async def read_metrics(scene: Scene) -> bytes:
    """What `/metrics` says.

    Raises OSError, EOFError or UnavailableError when it does not answer.
    """
    host = scene.settings.api.host
    answer = await http_get(
        "127.0.0.1" if host in _ANY_ADDRESS else host,
        (await scene.ports()).api,
        "/metrics",
        headers={"User-Agent": DOCTOR_AGENT},
        secure=await scene.is_secure(),
        verify=False,
        bytes_max=_METRICS_BYTES_MAX,
    )
    if answer.status != HTTP_OK:
        raise UnavailableError("METRICS_REFUSED", f"/metrics answers {answer.status}")
    return answer.body


async def _metrics(scene: Scene) -> tuple[_Numbers, str]:
    try:
        return _Numbers((await read_metrics(scene)).decode("utf-8", "replace")), ""
    except (OSError, EOFError, ApplianceError) as error:
        return _Numbers(""), str(error) or type(error).__name__


def _carriers() -> tuple[str, ...]:
    """The programs that carry logs elsewhere, by the names the kernel keeps."""
    names = {name[:_KERNEL_NAME_LETTERS]: name for name in _CARRIERS}
    running = {process.info["name"] for process in psutil.process_iter(["name"])}
    return tuple(sorted(names[name] for name in running if name in names))


def _log_bytes(folder: Path) -> int | None:
    try:
        return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    except OSError:
        return None


def _errors_logged(scene: Scene) -> dict[str, int]:
    """How many grave lines each component wrote in the last day, as far as the tails reach."""
    found: Counter[str] = Counter()
    folder = scene.folders.logs
    now = scene.clock.now()
    try:
        components = logged_components(folder)
    except OSError:
        return {}
    for name in components:
        for line in _tail(log_path(folder, name)):
            entry = decode_entry(line)
            if entry is not None and entry.level in _GRAVE:
                since = now - _log_time(entry.timestamp, now)
                found[name] += since.total_seconds() < _DAY_SECONDS
    return {name: count for name, count in found.items() if count}


def _log_time(text: str, now: datetime) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return now


def _tail(path: Path) -> list[bytes]:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - _TAIL_BYTES, 0))
            return file.read(_TAIL_BYTES).splitlines()
    except OSError:
        return []
