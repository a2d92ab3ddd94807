"""Judge a machine before anything on it is changed.

Invariant: pure. All findings are told at once, each with its cause and one line of remedy; with one
fatal finding among them nothing is changed. The list is in `docs/install.md`.
"""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from appliance.base.errors import UnmetError
from appliance.base.units import Bytes
from appliance.lifecycle.facts import FileSystemFacts, HostFacts, PortFacts

SYSTEMD_MIN: Final = 247
"""The first one with LoadCredential=, by which secrets reach the units."""
MEMORY_BYTES_MIN: Final = Bytes(1 << 30)
MEMORY_BYTES_ADVISED: Final = Bytes(2 << 30)
DATA_BYTES_MIN: Final = Bytes(1536 << 20)
"""Empty engines, the reserve and the ballast of a full disk, and some events."""
DATA_BYTES_ADVISED: Final = Bytes(10 << 30)
FILES_MIN: Final = 20_000
CPU_FLAGS: Final = frozenset({"ssse3", "sse4_1", "sse4_2", "popcnt", "pclmulqdq"})
"""What the event store's engine is compiled for; without them it dies of an illegal instruction."""
CLOCK_YEARS_MAX: Final = 20
_PERSONS_FROM_UID: Final = 1000
_SECONDS_OF_YEAR: Final = 365 * 86400
_NETWORK_KINDS: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "glusterfs"})
_VOLATILE_KINDS: Final = frozenset({"tmpfs", "ramfs"})
_PRIVATE_UMASK: Final = 0o077
_OUR_OWNERS: Final = ("(systemd)", "(systemd-", "(pug-")


class Severity(StrEnum):
    """How bad a finding is."""

    FATAL = "fatal"
    WARNING = "warning"
    NOTE = "note"


class PreflightFinding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing the operator should know; `check` is its name in the manual."""

    severity: Severity
    check: str
    cause: str
    remedy: str = ""


class Requirements(msgspec.Struct, frozen=True, kw_only=True):
    """What a release needs, from its manifest, and what the operator asked for."""

    version: str
    architecture: str
    glibc: str
    size_bytes: int
    source_date: int
    prefix: Path
    command: Path
    config_file: Path
    systemd: bool = True
    options_given: tuple[str, ...] = ()
    """Options that only shape a new configuration, like `--port`."""


def judge(facts: HostFacts, wanted: Requirements) -> tuple[PreflightFinding, ...]:
    """Every finding, the worst first."""
    found = [
        *_judge_machine(facts, wanted),
        *_judge_service_manager(facts, wanted),
        *_judge_folders(facts, wanted),
        *(_judge_port(port, facts) for port in facts.ports),
        *_judge_earlier(facts, wanted),
        *_judge_hardening(facts, wanted),
        *_judge_clock(facts, wanted),
    ]
    order = list(Severity)
    kept = [finding for finding in found if finding is not None]
    return tuple(sorted(kept, key=lambda finding: order.index(finding.severity)))


def refuse(findings: tuple[PreflightFinding, ...]) -> None:
    """Raise UnmetError (exit status 4) when a finding is fatal."""
    fatal = [finding for finding in findings if finding.severity is Severity.FATAL]
    if fatal:
        count = "1 finding is" if len(fatal) == 1 else f"{len(fatal)} findings are"
        raise UnmetError(
            "PREFLIGHT_FAILED",
            f"this machine is not ready: {count} fatal; nothing was changed",
            hint=fatal[0].remedy if len(fatal) == 1 else "see the remedies above",
        )


def _fatal(check: str, cause: str, remedy: str) -> PreflightFinding:
    return PreflightFinding(severity=Severity.FATAL, check=check, cause=cause, remedy=remedy)


def _warning(check: str, cause: str, remedy: str) -> PreflightFinding:
    return PreflightFinding(severity=Severity.WARNING, check=check, cause=cause, remedy=remedy)


def _note(check: str, cause: str) -> PreflightFinding:
    return PreflightFinding(severity=Severity.NOTE, check=check, cause=cause)


def _judge_machine(facts: HostFacts, wanted: Requirements) -> Iterator[PreflightFinding]:
    if facts.architecture != wanted.architecture:
        yield _fatal(
            "architecture",
            f"this bundle is for {wanted.architecture}, this machine is {facts.architecture}",
            "get the bundle for this architecture",
        )
    if not facts.glibc:
        yield _fatal(
            "glibc",
            "this machine's C library is not glibc",
            f"use a distribution with glibc {wanted.glibc} or newer",
        )
    elif _version(facts.glibc) < _version(wanted.glibc):
        yield _fatal(
            "glibc",
            f"glibc {facts.glibc} is too old, {wanted.glibc} is needed",
            "use a newer release of the distribution",
        )
    missing = sorted(CPU_FLAGS - facts.cpu_flags)
    if facts.cpu_flags and missing and wanted.architecture == "x86_64":
        yield _fatal(
            "cpu",
            f"the processor lacks {', '.join(missing)}",
            "in a virtual machine choose a newer CPU model, like x86-64-v2 or host",
        )
    if facts.memory_bytes < MEMORY_BYTES_MIN:
        yield _fatal(
            "memory",
            f"{facts.memory_bytes >> 20} MiB of memory, {MEMORY_BYTES_MIN >> 20} MiB are needed",
            "give the machine more memory",
        )
    elif facts.memory_bytes < MEMORY_BYTES_ADVISED:
        yield _warning(
            "memory",
            f"{facts.memory_bytes >> 20} MiB of memory are enough for small loads only",
            f"give the machine {MEMORY_BYTES_ADVISED >> 20} MiB or more, see docs/sizing.md",
        )


def _judge_service_manager(facts: HostFacts, wanted: Requirements) -> Iterator[PreflightFinding]:
    if not facts.root:
        yield _fatal(
            "root",
            "only root can install",
            "run it with sudo, or run `./pug-appliance run` to use it without installing",
        )
    if not wanted.systemd:
        return
    without = "run `./pug-appliance run` from this folder to use it without systemd"
    if not facts.systemd_runs:
        yield _fatal("systemd", "systemd does not manage this machine", without)
    elif facts.systemd < SYSTEMD_MIN:
        yield _fatal(
            "systemd", f"systemd {facts.systemd} is too old, {SYSTEMD_MIN} is needed", without
        )
    tools = [tool for tool in facts.missing_tools if tool != "systemctl" or facts.systemd_runs]
    if tools:
        yield _fatal(
            "tools",
            f"missing: {', '.join(tools)}",
            "install them from the distribution's medium (package passwd or shadow-utils)",
        )


def _judge_folders(facts: HostFacts, wanted: Requirements) -> Iterator[PreflightFinding]:
    if "noexec" in facts.prefix.options:
        yield _fatal(
            "noexec",
            f"programs cannot run from {facts.prefix.path}: {facts.prefix.mount_point} is "
            "mounted noexec",
            "choose another place with --prefix, or remount it with exec",
        )
    together = facts.prefix.device == facts.data.device
    program_bytes = 0 if facts.installed.version == wanted.version else wanted.size_bytes
    yield from _judge_space(
        facts.prefix, program_bytes + (DATA_BYTES_MIN if together else 0), "--prefix"
    )
    if not together:
        yield from _judge_space(facts.data, DATA_BYTES_MIN, "--data-dir")
    if facts.data.free_bytes < DATA_BYTES_ADVISED:
        yield _warning(
            "disk",
            f"only {facts.data.free_bytes >> 20} MiB are free for data in {facts.data.path}",
            "see docs/sizing.md; when the disk is full no more events are taken",
        )
    if facts.data.kind in _NETWORK_KINDS:
        yield _warning(
            "network file system",
            f"{facts.data.path} is on {facts.data.kind}; a lost connection stops every engine",
            "choose a local disk with --data-dir",
        )
    if facts.data.kind in _VOLATILE_KINDS:
        yield _warning(
            "memory file system",
            f"{facts.data.path} is on {facts.data.kind}; all data is lost at the next boot",
            "choose a disk with --data-dir",
        )


def _judge_space(place: FileSystemFacts, needed: int, option: str) -> Iterator[PreflightFinding]:
    if "ro" in place.options:
        yield _fatal(
            "read-only",
            f"{place.path} cannot be written: {place.mount_point} is mounted read-only",
            f"remount it read-write, or choose another place with {option}",
        )
    elif place.free_bytes < needed:
        yield _fatal(
            "disk",
            f"{place.free_bytes >> 20} MiB are free for {place.path}, {needed >> 20} MiB are "
            "needed",
            f"free space on {place.mount_point}, or choose another place with {option}",
        )
    if place.free_files is not None and place.free_files < FILES_MIN:
        yield _fatal(
            "files",
            f"only {place.free_files} more files fit on {place.mount_point}",
            f"remove small files there, or choose another place with {option}",
        )


def _judge_port(port: PortFacts, facts: HostFacts) -> PreflightFinding | None:
    # The ports of an earlier installation are held by systemd or by ourselves.
    installed = any(unit.endswith(".socket") for unit in facts.installed.units)
    ours = installed and any(name in port.owner for name in _OUR_OWNERS)
    if port.owner and not ours:
        return _fatal(
            "port",
            f"port {port.port} ({port.purpose}) is in use by {port.owner}",
            f"stop it, or choose another port with {port.setting}",
        )
    if port.problem:
        return _fatal(
            "port",
            f"{port.host} port {port.port} ({port.purpose}) cannot be used: {port.problem}",
            f"choose an address and a port of this machine with {port.setting}",
        )
    return None


def _judge_earlier(facts: HostFacts, wanted: Requirements) -> Iterator[PreflightFinding]:
    earlier = facts.installed
    if earlier.version and earlier.version != wanted.version:
        yield _fatal(
            "release",
            f"release {earlier.version} is installed in {wanted.prefix}, this is {wanted.version}",
            "use `pug-appliance upgrade BUNDLE` with the tarball",
        )
    if earlier.prefix is not None and earlier.prefix != wanted.prefix:
        yield _fatal(
            "prefix",
            f"an appliance is installed in {earlier.prefix} already",
            f"name --prefix {earlier.prefix}, or run its `uninstall` first",
        )
    if earlier.command_taken:
        yield _fatal(
            "command",
            f"{wanted.command} exists and is not ours",
            "move it away",
        )
    if earlier.operation not in {"", "install"}:
        yield _fatal(
            "unfinished operation",
            f"an earlier operation ({earlier.operation}) has not ended",
            "run `pug-appliance recover`",
        )
    if earlier.operation == "install":
        yield _note("unfinished operation", "an interrupted install is finished now")
    if earlier.config and wanted.options_given:
        yield _warning(
            "configuration",
            f"a configuration exists and is kept; {', '.join(wanted.options_given)} has no effect",
            f"edit {wanted.config_file} and run `install` again",
        )
    for account in facts.accounts:
        if account.uid >= _PERSONS_FROM_UID:
            yield _warning(
                "account",
                f"the account {account.name} (uid {account.uid}) exists and looks like a person's",
                "rename it; everything of the appliance will be readable by whoever uses it",
            )


def _judge_hardening(facts: HostFacts, wanted: Requirements) -> Iterator[PreflightFinding]:
    if facts.fapolicyd and not facts.fapolicyd_trusts:
        yield _warning(
            "fapolicyd",
            "fapolicyd runs and does not know the programs of the appliance",
            "after the files are copied run: fapolicyd-cli --file add "
            f"{wanted.prefix}/ --trust-file pug && fapolicyd-cli --update; then repeat `install`",
        )
    if facts.selinux:
        yield _note(
            "selinux",
            f"SELinux is {facts.selinux}; labels are set by restorecon after the files are copied",
        )
    if "noexec" in facts.temporary.options:
        yield _note("noexec", f"{facts.temporary.path} is noexec; nothing of ours runs there")
    if facts.umask & _PRIVATE_UMASK == _PRIVATE_UMASK:
        yield _note("umask", f"the umask is {facts.umask:04o}; all modes are set explicitly")
    if facts.user_namespaces_max == 0:
        yield _note("namespaces", "user namespaces are switched off; none are needed")


def _judge_clock(facts: HostFacts, wanted: Requirements) -> Iterator[PreflightFinding]:
    now = facts.now.timestamp()
    if wanted.source_date <= now <= wanted.source_date + CLOCK_YEARS_MAX * _SECONDS_OF_YEAR:
        return
    side = "before this release was made" if now < wanted.source_date else "far in the future"
    yield _warning(
        "clock",
        f"the clock says {facts.now:%Y-%m-%d %H:%M} UTC, which is {side}; events are dated by it",
        "set it, for example: timedatectl set-time '2026-01-31 12:00:00'",
    )


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdecimal())
