"""The machine: disks, memory, clock, and what its administrator decided.

Invariant: read from the kernel's files; a tool of the system is asked only where there is no file.
"""

import ctypes
import os
import resource
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from appliance.base.errors import ApplianceError
from appliance.lifecycle.doctor.facts import (
    ClockFacts,
    DiskFacts,
    DisksFacts,
    HostFacts,
    MemoryFacts,
    Subject,
)
from appliance.lifecycle.doctor.gathering.probing import in_thread, read_number, read_text
from appliance.lifecycle.doctor.gathering.scene import ROOT_ONLY, Scene
from appliance.lifecycle.facts import find_tool, gather_facts, look_at_file_system
from appliance.lifecycle.layout import Layout

_PROC: Final = Path("/proc")
_KERNEL: Final = Path("/proc/sys/kernel")
_VM: Final = Path("/proc/sys/vm")
_GROUPS: Final = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/memory"))
_KIB: Final = 1024
_CLOCK_BYTES: Final = 512
_CLOCK_UNSYNCHRONISED: Final = 0x40
_CLOCK_MICROSECONDS: Final = 1e6
_MARKS_MAX: Final = 2000
_TOOL_SECONDS_MAX: Final = 3.0


async def gather_disks(scene: Scene) -> DisksFacts:
    """Every file system we write to."""
    return await in_thread(lambda: _disks(scene))


def _disks(scene: Scene) -> DisksFacts:
    by_mount: dict[str, DiskFacts] = {}
    for name, path in _places(scene):
        try:
            found = _look_at_disk(name, path)
        except OSError as error:
            scene.blind(Subject.DISK, str(path), error.strerror or str(error))
            continue
        before = by_mount.get(found.mount)
        holds = (*before.holds, name) if before is not None else (name,)
        by_mount[found.mount] = DiskFacts(
            holds=holds,
            mount=found.mount,
            kind=found.kind,
            total_bytes=found.total_bytes,
            free_bytes=found.free_bytes,
            inodes_total=found.inodes_total,
            inodes_free=found.inodes_free,
            read_only=found.read_only,
        )
    ballast: int | None = 0
    try:
        ballast = scene.folders.ballast_file.stat().st_size
    except PermissionError:
        ballast = None
    except OSError:
        pass
    return DisksFacts(
        disks=tuple(by_mount.values()),
        ballast_wanted_bytes=int(scene.settings.disk.ballast),
        ballast_bytes=ballast,
    )


def _places(scene: Scene) -> Iterator[tuple[str, Path]]:
    folders, settings = scene.folders, scene.settings
    yield "data", folders.root
    for name, url, path in (
        ("PostgreSQL", settings.postgres.url, folders.postgres),
        ("the queue", settings.nats.url, folders.nats),
        ("events", settings.clickhouse.url, folders.clickhouse),
    ):
        if url is None:
            yield name, path
    yield "logs", folders.logs
    for target in settings.backup.targets or (folders.backups,):
        yield "backups", target
    if scene.layout is not None:
        yield "releases", scene.layout.prefix


def _look_at_disk(name: str, path: Path) -> DiskFacts:
    facts = look_at_file_system(_reachable(path))
    state = os.statvfs(facts.mount_point)
    return DiskFacts(
        holds=(name,),
        mount=str(facts.mount_point),
        kind=facts.kind,
        total_bytes=state.f_blocks * state.f_frsize,
        free_bytes=facts.free_bytes,
        inodes_total=state.f_files,
        inodes_free=state.f_favail,
        read_only="ro" in facts.options,
    )


def _reachable(path: Path) -> Path:
    """The path, or the nearest folder above it that we may look at."""
    for candidate in (path, *path.parents):
        with suppress(OSError):
            candidate.stat()
            return candidate
    return Path("/")


async def gather_memory(scene: Scene) -> MemoryFacts:
    """Memory, swap, and whom the kernel killed for lack of it."""
    sizes = parse_meminfo(read_text(_PROC / "meminfo"))
    devices = tuple(
        line.split()[0] for line in read_text(_PROC / "swaps").splitlines()[1:] if line.strip()
    )
    return MemoryFacts(
        total_bytes=sizes.get("MemTotal", 0),
        available_bytes=sizes.get("MemAvailable", 0),
        swap_total_bytes=sizes.get("SwapTotal", 0),
        swap_free_bytes=sizes.get("SwapFree", 0),
        swap_devices=devices,
        swap_encrypted=all(map(_is_encrypted, devices)) if devices else None,
        overcommit=read_number(_VM / "overcommit_memory") or 0,
        kernel_kills=parse_counters(read_text(_PROC / "vmstat")).get("oom_kill", 0),
        unit_kills=await in_thread(lambda: dict(_unit_kills(scene.layout))),
    )


def parse_meminfo(text: str) -> dict[str, int]:
    """The sizes of /proc/meminfo in bytes."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        words = line.replace(":", " ").split()
        if len(words) > 1 and words[1].isdecimal():
            found[words[0]] = int(words[1]) * _KIB
    return found


def parse_counters(text: str) -> dict[str, int]:
    """Lines of a name and a number."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) > 1 and pair[1].isdecimal()}


def _is_encrypted(device: str) -> bool:
    """Whether a block device is a mapping of dm-crypt, or memory itself (zram)."""
    name = Path(device).resolve().name
    if name.startswith("zram"):
        return True
    return read_text(Path("/sys/class/block") / name / "dm/uuid").startswith("CRYPT-")


def _unit_kills(layout: Layout | None) -> Iterator[tuple[str, int]]:
    if layout is None:
        return
    for group in _GROUPS:
        for folder in (group / "system.slice").glob("pug*.service"):
            for file in ("memory.events", "memory.oom_control"):
                kills = parse_counters(read_text(folder / file)).get("oom_kill", 0)
                if kills:
                    yield folder.name, kills


async def gather_clock(scene: Scene) -> ClockFacts:
    """What this machine thinks the time is, and what contradicts it."""
    synchronised, error = _kernel_clock()
    mark, path = await in_thread(lambda: _newest_mark(scene))
    return ClockFacts(
        synchronised=synchronised,
        error_seconds=error,
        zone=_zone(),
        newest_mark=mark,
        newest_mark_path=path,
        built_at=await in_thread(lambda: _built_at(scene.layout)),
    )


def _kernel_clock() -> tuple[bool | None, float | None]:
    """Whether something disciplines the kernel's clock, and how wrong it may be."""
    # struct timex begins: unsigned modes; long offset, freq, maxerror, esterror; int status.
    buffer = ctypes.create_string_buffer(_CLOCK_BYTES)
    try:
        told = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
    except (OSError, AttributeError):
        return None, None
    if told < 0:
        return None, None
    _, _, _, error, _, status = struct.unpack_from("@Illlli", buffer.raw)
    return not status & _CLOCK_UNSYNCHRONISED, error / _CLOCK_MICROSECONDS


def _zone() -> str:
    name = read_text("/etc/timezone")
    if name:
        return name
    try:
        target = str(Path("/etc/localtime").readlink())
    except OSError:
        return "UTC"
    return target.partition("zoneinfo/")[2] or target


def _newest_mark(scene: Scene) -> tuple[datetime | None, str]:
    """The latest time that a file of ours carries; a clock that is behind it went back."""
    newest, where = 0.0, ""
    for count, path in enumerate(_marks(scene)):
        if count >= _MARKS_MAX:
            break
        with suppress(OSError):
            changed = path.lstat().st_mtime
            if changed > newest:
                newest, where = changed, str(path)
    return (datetime.fromtimestamp(newest, tz=UTC), where) if newest else (None, "")


def _marks(scene: Scene) -> Iterator[Path]:
    folders = scene.folders
    yield folders.root
    engines = (folders.postgres, folders.nats, folders.clickhouse)
    for folder in (folders.logs, folders.run, folders.backups, *engines):
        yield folder
        with suppress(OSError):
            yield from folder.iterdir()


def _built_at(layout: Layout | None) -> datetime | None:
    if layout is None:
        return None
    # The modification times of a release are those of its sources, so only our own stamp counts.
    from appliance.lifecycle.doctor.gathering.release import manifest_date  # noqa: PLC0415

    return manifest_date(layout)


async def gather_host(scene: Scene) -> HostFacts:
    """What the administrator of the machine decided."""
    layout = scene.layout or Layout(data_dir=scene.settings.data_dir)
    machine = await in_thread(lambda: gather_facts(layout, (), clock=scene.clock))
    firewalls, seen = await _firewalls(scene)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    dumps, _ = resource.getrlimit(resource.RLIMIT_CORE)
    pattern = read_text(_KERNEL / "core_pattern")
    return HostFacts(
        kernel=machine.kernel,
        distribution=_distribution(),
        systemd=machine.systemd_runs,
        container=await in_thread(_in_container),
        core_pattern=pattern if dumps or pattern.startswith("|") else "",
        suid_dumpable=read_number("/proc/sys/fs/suid_dumpable"),
        ptrace_scope=read_number(_KERNEL / "yama/ptrace_scope"),
        user_namespaces_max=machine.user_namespaces_max,
        map_count_max=read_number(_VM / "max_map_count"),
        huge_pages=_chosen(read_text("/sys/kernel/mm/transparent_hugepage/enabled")),
        open_files_max=soft,
        open_files_system=read_number("/proc/sys/fs/file-max"),
        file_descriptors_max=read_number("/proc/sys/fs/nr_open"),
        somaxconn=read_number("/proc/sys/net/core/somaxconn"),
        umask=machine.umask,
        noexec=tuple(
            str(facts.path)
            for facts in (machine.temporary, machine.prefix)
            if "noexec" in facts.options
        ),
        data_noexec="noexec" in machine.data.options,
        selinux=machine.selinux,
        apparmor=machine.apparmor and read_text("/sys/module/apparmor/parameters/enabled") == "Y",
        fapolicyd=machine.fapolicyd and not machine.fapolicyd_trusts,
        fips=read_number("/proc/sys/crypto/fips_enabled") == 1,
        firewalls=firewalls,
        firewall_seen=seen,
        data_encrypted=await in_thread(lambda: _lies_encrypted(scene.settings.data_dir)),
    )


def _distribution() -> str:
    for line in read_text("/etc/os-release").splitlines():
        name, _, value = line.partition("=")
        if name == "PRETTY_NAME":
            return value.strip('"')
    return ""


def _in_container() -> bool:
    marks = (Path("/run/systemd/container"), Path("/.dockerenv"), Path("/run/.containerenv"))
    return any(mark.exists() for mark in marks)


def _chosen(text: str) -> str:
    """The word in brackets of a kernel file that lists what could be chosen."""
    return text.partition("[")[2].partition("]")[0]


def _lies_encrypted(path: Path) -> bool | None:
    try:
        device = _reachable(path).stat().st_dev
    except OSError:
        return None
    block = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    if not block.exists():
        return None
    return any(_crypts(block.resolve()))


def _crypts(block: Path) -> Iterator[bool]:
    yield read_text(block / "dm/uuid").startswith("CRYPT-")
    with suppress(OSError):
        for below in (block / "slaves").iterdir():
            yield from _crypts(below.resolve())


async def _firewalls(scene: Scene) -> tuple[tuple[str, ...], bool]:
    """What filters packets here, and whether we could look at all."""
    found: list[str] = []
    tools = [
        (name, argv)
        for name, argv in (
            ("nftables", ("nft", "list", "ruleset")),
            ("iptables", ("iptables-save",)),
            ("firewalld", ("firewall-cmd", "--state")),
            ("ufw", ("ufw", "status")),
        )
        if find_tool(argv[0]) is not None
    ]
    if not scene.place.root:
        scene.blind(Subject.HOST, "the packet filter", ROOT_ONLY)
        return (), False
    for name, argv in tools:
        with suppress(ApplianceError):
            told = await scene.host.run(*argv, timeout_seconds=_TOOL_SECONDS_MAX, check=False)
            if told.status == 0 and filters_input(name, told.output.splitlines()):
                found.append(name)
    return tuple(found), True


def filters_input(tool: str, lines: Iterable[str]) -> bool:
    """Whether what a tool prints means that arriving packets are chosen."""
    text = [line.strip() for line in lines]
    match tool:
        case "nftables":
            return any("hook input" in line for line in text) and any(
                "drop" in line.split() or "reject" in line.split() or "policy drop" in line
                for line in text
            )
        case "iptables":
            return any(
                line.startswith((":INPUT DROP", ":INPUT REJECT"))
                or (line.startswith("-A INPUT") and line.endswith(("DROP", "REJECT")))
                or (line.startswith("-A INPUT") and "-j REJECT" in line)
                for line in text
            )
        case "firewalld":
            return "running" in text
        case _:
            return "Status: active" in text
