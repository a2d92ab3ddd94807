"""What this machine is: measured, never judged, and nothing is changed by looking.

Invariant: a fact that cannot be found out is said to be unknown (None, empty, 0), never guessed.
`preflight.py` and the doctor judge; `docs/install.md` lists what is looked at.
"""

import errno
import os
import platform
import pwd
import re
import socket
import subprocess  # noqa: TID251 systemd's version is asked once, before anything exists to supervise
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from appliance.base.clock import Clock
from appliance.lifecycle.layout import USERS, Layout
from appliance.topology import owner_of

_TOOL_FOLDERS: Final = (
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
)
_TOOLS: Final = ("systemctl", "useradd", "usermod", "userdel", "groupdel")
_SYSTEMD_SECONDS_MAX: Final = 10
_OCTAL_ESCAPE: Final = re.compile(r"\\([0-7]{3})")


class FileSystemFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The file system a path is on, or would be on when it is made."""

    path: Path
    mount_point: Path
    kind: str
    device: int
    options: tuple[str, ...]
    free_bytes: int
    free_files: int | None
    """None when the file system has no fixed number of files."""


class PortFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One TCP port we want: `owner` is who listens there, empty when nobody does.

    `problem` is the system's word when the address itself cannot be listened on.
    """

    purpose: str
    setting: str
    host: str
    port: int
    owner: str = ""
    problem: str = ""


class InstalledFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is there of an earlier installation."""

    version: str = ""
    """The release in use below the prefix; empty when there is none."""
    prefix: Path | None = None
    """The prefix the command on the search path belongs to; None when there is no such command."""
    command_taken: bool = False
    """Something that is not ours stands where our command goes."""
    units: tuple[str, ...] = ()
    operation: str = ""
    """The kind of an operation that was begun and has not ended."""
    config: bool = False


class AccountFacts(msgspec.Struct, frozen=True, kw_only=True):
    """An account of ours that exists already."""

    name: str
    uid: int
    shell: str


class HostFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One machine at one moment."""

    hostname: str
    kernel: str
    architecture: str
    glibc: str
    cpu_flags: frozenset[str]
    cpus: int
    memory_bytes: int
    root: bool
    umask: int
    now: datetime
    clock_synchronized: bool | None
    systemd: int
    """The version of systemd; 0 when there is none."""
    systemd_runs: bool
    missing_tools: tuple[str, ...]
    prefix: FileSystemFacts
    data: FileSystemFacts
    temporary: FileSystemFacts
    ports: tuple[PortFacts, ...]
    installed: InstalledFacts
    accounts: tuple[AccountFacts, ...]
    selinux: str
    """`enforcing`, `permissive`, or empty when there is none."""
    apparmor: bool
    fapolicyd: bool
    fapolicyd_trusts: bool
    user_namespaces_max: int | None


class WantedPort(msgspec.Struct, frozen=True, kw_only=True):
    """A port an installation is going to listen on."""

    purpose: str
    setting: str
    host: str
    port: int


def gather_facts(layout: Layout, ports: tuple[WantedPort, ...], *, clock: Clock) -> HostFacts:
    """Look at everything an installation in these places depends on."""
    return HostFacts(
        hostname=socket.gethostname(),
        kernel=platform.release(),
        architecture=platform.machine(),
        glibc=find_glibc(),
        cpu_flags=_cpu_flags(),
        cpus=len(os.sched_getaffinity(0)),
        memory_bytes=_memory_bytes(),
        root=os.geteuid() == 0,
        umask=_umask(),
        now=clock.now(),
        clock_synchronized=_clock_synchronized(),
        systemd=_systemd_version(),
        systemd_runs=Path("/run/systemd/system").is_dir(),
        missing_tools=tuple(tool for tool in _TOOLS if find_tool(tool) is None),
        prefix=look_at_file_system(layout.prefix),
        data=look_at_file_system(layout.data_dir),
        temporary=look_at_file_system(Path("/tmp")),  # noqa: S108 looked at, never used
        ports=tuple(map(_look_at_port, ports)),
        installed=_look_at_installed(layout),
        accounts=tuple(_existing_accounts()),
        selinux=_selinux(),
        apparmor=Path("/sys/kernel/security/apparmor").exists(),
        fapolicyd=_runs("fapolicyd"),
        fapolicyd_trusts=_fapolicyd_trusts(layout.prefix),
        user_namespaces_max=_number_in(Path("/proc/sys/user/max_user_namespaces")),
    )


def find_tool(name: str) -> str | None:
    """The full path of a system tool; the caller's search path does not count."""
    places = (f"{folder}/{name}" for folder in _TOOL_FOLDERS)
    return next((place for place in places if os.access(place, os.X_OK)), None)


def look_at_file_system(path: Path) -> FileSystemFacts:
    """The file system of a path, or of its nearest parent that exists."""
    existing = next(folder for folder in (path, *path.parents) if folder.exists()).resolve()
    state = os.statvfs(existing)
    device = existing.stat().st_dev
    mount_point, kind, options = _mount_of(existing)
    read_only = bool(state.f_flag & os.ST_RDONLY)
    # What the kernel enforces comes first; a mount table can be that of another namespace.
    flags = {"ro": read_only, "noexec": bool(state.f_flag & os.ST_NOEXEC)}
    said = {option for option in options if option not in {"ro", "rw", "noexec"}}
    said |= {name for name, holds in flags.items() if holds}
    return FileSystemFacts(
        path=path,
        mount_point=mount_point,
        kind=kind,
        device=device,
        options=tuple(sorted(said)),
        free_bytes=state.f_bavail * state.f_frsize,
        free_files=state.f_favail if state.f_files else None,
    )


def find_glibc() -> str:
    """The version of the C library like `2.36`; empty on a machine with another one."""
    with suppress(OSError, ValueError):
        said = os.confstr("CS_GNU_LIBC_VERSION") or ""
        return said.rpartition(" ")[2]
    return ""


def _mount_of(path: Path) -> tuple[Path, str, tuple[str, ...]]:
    """Mount point, kind and options of the mount a path lies on; the last one mounted wins."""
    best: tuple[Path, str, tuple[str, ...]] = (Path("/"), "", ())
    for line in _lines_of(Path("/proc/self/mounts")):
        fields = line.split(" ")
        if len(fields) < 4:  # noqa: PLR2004 device, mount point, kind, options
            continue
        point = Path(_OCTAL_ESCAPE.sub(lambda match: chr(int(match[1], 8)), fields[1]))
        if path.is_relative_to(point) and len(point.parts) >= len(best[0].parts):
            best = point, fields[2], tuple(fields[3].split(","))
    return best


def _look_at_port(wanted: WantedPort) -> PortFacts:
    family = socket.AF_INET6 if ":" in wanted.host else socket.AF_INET
    owner = problem = ""
    with socket.socket(family) as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind((wanted.host, wanted.port))
            # Linux lets two sockets bind with SO_REUSEADDR; only one may listen.
            door.listen(1)
        except PermissionError as error:
            problem = error.strerror or str(error)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                owner = owner_of(wanted.port)
            else:
                problem = error.strerror or str(error)
    return PortFacts(
        purpose=wanted.purpose,
        setting=wanted.setting,
        host=wanted.host,
        port=wanted.port,
        owner=owner,
        problem=problem,
    )


def _look_at_installed(layout: Layout) -> InstalledFacts:
    command = layout.command
    prefix: Path | None = None
    if command.is_symlink():
        # <prefix>/current/pug-appliance, not resolved: the link may hang after half an uninstall.
        prefix = command.readlink().parent.parent
    version = ""
    with suppress(OSError):
        version = layout.current.readlink().name
    units = tuple(sorted(path.name for path in layout.unit_dir.glob("pug*.*") if path.is_file()))
    return InstalledFacts(
        version=version,
        prefix=prefix,
        command_taken=command.exists() and not command.is_symlink(),
        units=units,
        operation=_open_operation(layout),
        config=_exists(layout.config_file),
    )


class _OpenOperation(msgspec.Struct):
    kind: str


def _open_operation(layout: Layout) -> str:
    try:
        first = layout.open_journal.read_bytes().split(b"\n")[0]
        return msgspec.json.decode(first, type=_OpenOperation).kind
    except FileNotFoundError:
        return ""
    except (OSError, msgspec.DecodeError):
        return "unknown"


def _existing_accounts() -> list[AccountFacts]:
    found: list[AccountFacts] = []
    for name in USERS:
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            found.append(AccountFacts(name=name, uid=entry.pw_uid, shell=entry.pw_shell))
    return found


def _cpu_flags() -> frozenset[str]:
    for line in _lines_of(Path("/proc/cpuinfo")):
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            return frozenset(value.split())
    return frozenset()


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _umask() -> int:
    for line in _lines_of(Path("/proc/self/status")):
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    return 0


def _clock_synchronized() -> bool | None:
    """Whether a time service keeps the clock; None when systemd cannot tell."""
    if not Path("/run/systemd/timesync").is_dir():
        return None
    return Path("/run/systemd/timesync/synchronized").exists()


def _systemd_version() -> int:
    systemctl = find_tool("systemctl")
    if systemctl is None:
        return 0
    try:
        done = subprocess.run(  # noqa: S603 a fixed path, no input
            (systemctl, "--version"),
            capture_output=True,
            check=False,
            timeout=_SYSTEMD_SECONDS_MAX,
            env={"PATH": ":".join(_TOOL_FOLDERS), "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.match(rb"systemd (\d+)", done.stdout)
    return int(match[1]) if match else 0


def _selinux() -> str:
    state = _number_in(Path("/sys/fs/selinux/enforce"))
    return {None: "", 0: "permissive"}.get(state, "enforcing")


def _fapolicyd_trusts(prefix: Path) -> bool:
    """Whether the administrator has listed programs below the prefix."""
    folder = Path("/etc/fapolicyd")
    with suppress(OSError):
        for file in (folder / "fapolicyd.trust", *(folder / "trust.d").iterdir()):
            if any(line.startswith(f"{prefix}/") for line in _lines_of(file)):
                return True
    return False


def _runs(name: str) -> bool:
    """Whether a process of this name runs."""
    return any(_first_line(path / "comm") == name for path in Path("/proc").glob("[0-9]*"))


def _first_line(path: Path) -> str:
    return next(iter(_lines_of(path)), "")


def _lines_of(path: Path) -> list[str]:
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text(encoding="utf-8").splitlines()
    return []


def _number_in(path: Path) -> int | None:
    with suppress(ValueError):
        return int(_first_line(path) or "none")
    return None


def _exists(path: Path) -> bool:
    with suppress(OSError):
        return path.exists()
    return False
