"""What is found on a machine before anything on it is changed."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from appliance.base.errors import UnmetError
from appliance.lifecycle.facts import (
    AccountFacts,
    FileSystemFacts,
    HostFacts,
    InstalledFacts,
    PortFacts,
)
from appliance.lifecycle.preflight import (
    CPU_FLAGS,
    DATA_BYTES_MIN,
    PreflightFinding,
    Requirements,
    Severity,
    judge,
    refuse,
)

PREFIX = Path("/opt/pug")
WANTED = Requirements(
    version="1.2.0",
    architecture="x86_64",
    glibc="2.31",
    size_bytes=700 << 20,
    source_date=int(datetime(2026, 5, 1, tzinfo=UTC).timestamp()),
    prefix=PREFIX,
    command=Path("/usr/local/bin/pug-appliance"),
    config_file=Path("/etc/pug/appliance.toml"),
)


def file_system(path: str, *, device: int = 1, **changes: object) -> FileSystemFacts:
    plain = FileSystemFacts(
        path=Path(path),
        mount_point=Path("/"),
        kind="ext4",
        device=device,
        options=("relatime",),
        free_bytes=100 << 30,
        free_files=10**6,
    )
    return msgspec.structs.replace(plain, **changes)


def machine(**changes: object) -> HostFacts:
    plain = HostFacts(
        hostname="box",
        kernel="6.1.0",
        architecture="x86_64",
        glibc="2.36",
        cpu_flags=CPU_FLAGS,
        cpus=2,
        memory_bytes=24 << 30,
        root=True,
        umask=0o022,
        now=datetime(2026, 5, 10, tzinfo=UTC),
        clock_synchronized=None,
        systemd=252,
        systemd_runs=True,
        missing_tools=(),
        prefix=file_system("/opt/pug"),
        data=file_system("/var/lib/pug"),
        temporary=file_system("/tmp"),
        ports=(),
        installed=InstalledFacts(),
        accounts=(),
        selinux="",
        apparmor=False,
        fapolicyd=False,
        fapolicyd_trusts=False,
        user_namespaces_max=1000,
    )
    return msgspec.structs.replace(plain, **changes)


def port(number: int, **changes: object) -> PortFacts:
    plain = PortFacts(purpose="public", setting="--port", host="0.0.0.0", port=number)
    return msgspec.structs.replace(plain, **changes)


def only(facts: HostFacts, wanted: Requirements = WANTED) -> PreflightFinding:
    (finding,) = judge(facts, wanted)
    return finding


def test_a_good_machine_has_no_findings() -> None:
    assert judge(machine(ports=(port(8080),)), WANTED) == ()
    refuse(())


FATAL: dict[str, tuple[dict[str, object], str]] = {
    "architecture": ({"architecture": "aarch64"}, "is for x86_64, this machine is aarch64"),
    "glibc": ({"glibc": "2.28"}, "glibc 2.28 is too old, 2.31 is needed"),
    "no glibc": ({"glibc": ""}, "not glibc"),
    "cpu": ({"cpu_flags": CPU_FLAGS - {"sse4_2", "popcnt"}}, "lacks popcnt, sse4_2"),
    "memory": ({"memory_bytes": 512 << 20}, "512 MiB of memory"),
    "root": ({"root": False}, "only root"),
    "no systemd": ({"systemd_runs": False, "systemd": 0}, "does not manage"),
    "old systemd": ({"systemd": 239}, "systemd 239 is too old, 247"),
    "tools": ({"missing_tools": ("useradd",)}, "missing: useradd"),
    "noexec": ({"prefix": file_system("/opt/pug", options=("noexec",))}, "mounted noexec"),
    "read-only": ({"data": file_system("/var/lib/pug", device=2, options=("ro",))}, "read-only"),
    "disk": ({"prefix": file_system("/opt/pug", device=2, free_bytes=1 << 20)}, "700 MiB are"),
    "files": ({"prefix": file_system("/opt/pug", free_files=5)}, "only 5 more files"),
    "port": ({"ports": (port(8080, owner="pid 812 (nginx)"),)}, "in use by pid 812"),
    "address": ({"ports": (port(80, problem="Cannot assign"),)}, "cannot be used"),
    "release": ({"installed": InstalledFacts(version="1.1.0")}, "release 1.1.0 is installed"),
    "prefix": ({"installed": InstalledFacts(prefix=Path("/srv/pug"))}, "installed in /srv/pug"),
    "command": ({"installed": InstalledFacts(command_taken=True)}, "is not ours"),
    "operation": ({"installed": InstalledFacts(operation="upgrade")}, "(upgrade) has not ended"),
}


@pytest.mark.parametrize("case", FATAL)
def test_what_is_fatal_has_a_cause_and_a_remedy(case: str) -> None:
    changes, cause = FATAL[case]
    finding = only(machine(**changes))
    assert finding.severity is Severity.FATAL
    assert cause in finding.cause
    assert finding.remedy
    with pytest.raises(UnmetError) as caught:
        refuse((finding,))
    assert caught.value.exit_status == 4
    assert caught.value.hint == finding.remedy


WARNINGS: dict[str, tuple[dict[str, object], str]] = {
    "memory": ({"memory_bytes": 1500 << 20}, "small loads"),
    "disk": ({"data": file_system("/var/lib/pug", free_bytes=5 << 30)}, "5120 MiB are free"),
    "network": ({"data": file_system("/var/lib/pug", kind="nfs4")}, "is on nfs4"),
    "memory disk": ({"data": file_system("/var/lib/pug", kind="tmpfs")}, "all data is lost"),
    "slow clock": ({"now": datetime(1970, 1, 1, tzinfo=UTC)}, "before this release was made"),
    "fast clock": ({"now": datetime(2077, 1, 1, tzinfo=UTC)}, "far in the future"),
    "fapolicyd": ({"fapolicyd": True}, "does not know the programs"),
    "account": ({"accounts": (AccountFacts(name="pug", uid=1001, shell="/bin/sh"),)}, "person"),
}


@pytest.mark.parametrize("case", WARNINGS)
def test_a_warning_stops_nothing(case: str) -> None:
    changes, cause = WARNINGS[case]
    finding = only(machine(**changes))
    assert finding.severity is Severity.WARNING
    assert cause in finding.cause
    assert finding.remedy
    refuse((finding,))


NOTES: dict[str, dict[str, object]] = {
    "SELinux is enforcing": {"selinux": "enforcing"},
    "/tmp is noexec": {"temporary": file_system("/tmp", options=("noexec",))},
    "umask is 0077": {"umask": 0o077},
    "user namespaces": {"user_namespaces_max": 0},
    "interrupted install": {"installed": InstalledFacts(operation="install")},
}


@pytest.mark.parametrize("case", NOTES)
def test_hardened_hosts_are_noted(case: str) -> None:
    finding = only(machine(**NOTES[case]))
    assert finding.severity is Severity.NOTE
    assert case in finding.cause


def test_all_findings_come_at_once_the_worst_first() -> None:
    facts = machine(
        umask=0o077, memory_bytes=1500 << 20, glibc="2.17", systemd=219, root=False, cpus=1
    )
    severities = [finding.severity for finding in judge(facts, WANTED)]
    assert severities == [Severity.FATAL] * 3 + [Severity.WARNING, Severity.NOTE]
    with pytest.raises(UnmetError, match="3 findings are fatal; nothing was changed"):
        refuse(judge(facts, WANTED))


def test_one_disk_for_everything_needs_room_for_everything() -> None:
    both = (700 << 20) + DATA_BYTES_MIN
    small = file_system("/opt/pug", free_bytes=both - 1)
    findings = judge(machine(prefix=small, data=file_system("/var/lib/pug")), WANTED)
    assert [finding.check for finding in findings] == ["disk"]
    enough = file_system("/opt/pug", free_bytes=both)
    assert judge(machine(prefix=enough), WANTED) == ()


def test_ports_and_release_of_our_own_are_no_hindrance() -> None:
    """Installing the same release again repairs it, while it runs."""
    installed = InstalledFacts(version="1.2.0", prefix=PREFIX, units=("pug-appliance.socket",))
    owners = ("pid 1 (systemd)", "pid 9 (pug-appliance)", "pid 8 (systemd-socket-)")
    ours = tuple(port(8080 + number, owner=owner) for number, owner in enumerate(owners))
    assert judge(machine(ports=ours, installed=installed), WANTED) == ()
    foreign = machine(ports=(port(80, owner="pid 7 (nginx)"),), installed=installed)
    assert "in use by pid 7 (nginx)" in only(foreign).cause


def test_options_that_cannot_have_an_effect_are_said() -> None:
    wanted = msgspec.structs.replace(WANTED, options_given=("--port",))
    finding = only(machine(installed=InstalledFacts(config=True)), wanted)
    assert "--port has no effect" in finding.cause
    assert judge(machine(installed=InstalledFacts(config=True)), WANTED) == ()
