"""Whether the machine around us is hardened, and lets us work."""

from collections.abc import Iterator
from typing import Final

from appliance.lifecycle.doctor.check import Check, Verdict, advice, failed, note, ok, warning
from appliance.lifecycle.doctor.facts import Facts, HostFacts, Mode, Subject

PUBLIC_EXPOSURE_MAX: Final = 1.2
ENGINE_EXPOSURE_MAX: Final = 0.5
MAP_COUNT_MIN: Final = 65530
OPEN_FILES_MIN: Final = 4096
OPEN_FILES_SYSTEM_MIN: Final = 200_000
BACKLOG_MIN: Final = 1024
_EXPOSURE_MAX: Final = {
    "pug-appliance.service": PUBLIC_EXPOSURE_MAX,
    "pug-bridge.service": PUBLIC_EXPOSURE_MAX,
    "pug-postgres.service": ENGINE_EXPOSURE_MAX,
    "pug-nats.service": ENGINE_EXPOSURE_MAX,
    "pug-clickhouse.service": ENGINE_EXPOSURE_MAX,
}


def judge_firewall(facts: Facts) -> Iterator[Verdict]:
    host = facts.host
    if host is None or not host.firewall_seen:
        return
    if host.firewalls:
        yield ok(f"packets are filtered by {', '.join(host.firewalls)}")
    elif facts.exposed:
        yield advice(
            facts,
            "no packet filter chooses who reaches this machine",
            f"let only clients and administrators in (port {facts.settings.api.port}, SSH); see "
            "docs/hardening.md",
        )
    else:
        yield note(
            "no packet filter is active; the appliance itself is reached from this machine only",
            "filter what else listens here; see docs/hardening.md",
        )


def judge_exposure(facts: Facts) -> Iterator[Verdict]:
    if facts.services is None:
        return
    measured = [
        (unit.name, unit.exposure)
        for unit in facts.services.units
        if unit.exposure is not None and unit.name in _EXPOSURE_MAX
    ]
    for name, exposure in measured:
        if exposure > _EXPOSURE_MAX[name]:
            yield warning(
                f"{name} could do more than it needs: {exposure} instead of {_EXPOSURE_MAX[name]}",
                f"look for a drop-in that loosens it: `systemctl cat {name}`",
            )
    if measured and all(exposure <= _EXPOSURE_MAX[name] for name, exposure in measured):
        worst = max(exposure for _, exposure in measured)
        yield ok(f"the units are locked in (systemd's exposure {worst} at most)")


def judge_core_dumps(facts: Facts) -> Iterator[Verdict]:
    host = facts.host
    if host is None:
        return
    if host.core_pattern and not host.core_pattern.startswith("|/bin/false"):
        yield advice(
            facts,
            "a crash writes memory to disk (core dump), with personal data and secrets in it",
            "set Storage=none in /etc/systemd/coredump.conf, or `ulimit -c 0`",
        )
    elif host.suid_dumpable == 1:
        yield advice(facts, "fs.suid_dumpable is 1", "run `sysctl fs.suid_dumpable=0`")
    else:
        yield ok("a crash writes no memory to disk")


def judge_ptrace(facts: Facts) -> Iterator[Verdict]:
    host = facts.host
    if host is None or host.ptrace_scope is None:
        return
    if host.ptrace_scope == 0:
        yield note(
            "kernel.yama.ptrace_scope is 0: an account may read the memory of its own processes",
            "run `sysctl kernel.yama.ptrace_scope=1` and keep it in /etc/sysctl.d",
        )
    else:
        yield ok(f"kernel.yama.ptrace_scope is {host.ptrace_scope}")


def judge_confinement(facts: Facts) -> Iterator[Verdict]:
    host = facts.host
    if host is None:
        return
    if host.fapolicyd and facts.place.mode is Mode.INSTALLED:
        yield failed(
            "fapolicyd runs and does not know our programs",
            "run `fapolicyd-cli --file add /opt/pug/releases/ && fapolicyd-cli --update`",
        )
    if host.selinux == "enforcing" or host.apparmor:
        yield ok(f"{'SELinux' if host.selinux else 'AppArmor'} is active")
    elif host.selinux == "permissive":
        yield note(
            "SELinux only reports and forbids nothing", "run `setenforce 1` if it was meant to"
        )
    elif facts.place.mode is Mode.INSTALLED:
        yield note(
            "neither SELinux nor AppArmor is active",
            "enable the one of your distribution; our units are locked in by themselves",
        )


def judge_mounts(facts: Facts) -> Iterator[Verdict]:
    host = facts.host
    if host is None or facts.place.mode is not Mode.INSTALLED:
        return
    barred = [path for path in host.noexec if path != "/tmp"]  # noqa: S108 compared, never used
    if barred:
        yield failed(
            f"programs may not run from {', '.join(barred)} (noexec)",
            "mount it without noexec, or install with another --prefix",
        )
    else:
        yield ok("programs may run where they are installed; nothing runs from /tmp or the data")


def judge_limits(facts: Facts) -> Iterator[Verdict]:
    host = facts.host
    if host is None:
        return
    causes = list(_tight_limits(host, facts.place.mode))
    for cause, remedy in causes:
        yield advice(facts, cause, remedy)
    if not causes:
        yield ok("limits of the kernel leave room")


def _tight_limits(host: HostFacts, mode: Mode) -> Iterator[tuple[str, str]]:
    keep = "and keep it in /etc/sysctl.d"
    if host.map_count_max is not None and host.map_count_max < MAP_COUNT_MIN:
        yield (
            f"vm.max_map_count is {host.map_count_max}: the event store may not map its files",
            f"run `sysctl vm.max_map_count=262144` {keep}",
        )
    if host.open_files_system is not None and host.open_files_system < OPEN_FILES_SYSTEM_MIN:
        yield (
            f"the kernel allows {host.open_files_system} open files in all",
            f"run `sysctl fs.file-max=1000000` {keep}",
        )
    if mode is Mode.DEVELOPER and host.open_files_max < OPEN_FILES_MIN:
        yield (
            f"this shell allows {host.open_files_max} open files",
            "run `ulimit -n 65536` before `pug-appliance run`",
        )
    if host.somaxconn is not None and host.somaxconn < BACKLOG_MIN:
        yield (
            f"net.core.somaxconn is {host.somaxconn}: a burst of connections is refused",
            f"run `sysctl net.core.somaxconn=4096` {keep}",
        )


def judge_huge_pages(facts: Facts) -> Iterator[Verdict]:
    if facts.host is None or not facts.host.huge_pages:
        return
    if facts.host.huge_pages == "always":
        yield note(
            "transparent huge pages are always on: the engines take more memory and pause longer",
            "write madvise to /sys/kernel/mm/transparent_hugepage/enabled",
        )
    else:
        yield ok(f"transparent huge pages: {facts.host.huge_pages}")


def judge_encrypted_disk(facts: Facts) -> Iterator[Verdict]:
    if facts.host is None or facts.host.data_encrypted is None:
        return
    if facts.host.data_encrypted:
        yield ok("the data lies on an encrypted disk")
    elif facts.place.mode is Mode.INSTALLED:
        yield note(
            "the data lies on a disk that is not encrypted by this machine",
            "use LUKS, or be sure that the disk cannot be carried away",
        )


CHECKS: Final = (
    Check(
        name="firewall",
        subject=Subject.HOST,
        question="Does a packet filter choose who reaches this machine?",
        judge=judge_firewall,
    ),
    Check(
        name="exposure",
        subject=Subject.HOST,
        question="Are the units locked in as they were written?",
        judge=judge_exposure,
    ),
    Check(
        name="core-dumps",
        subject=Subject.HOST,
        question="Does a crash write memory to disk?",
        judge=judge_core_dumps,
    ),
    Check(
        name="ptrace",
        subject=Subject.HOST,
        question="Can processes read each other's memory?",
        judge=judge_ptrace,
    ),
    Check(
        name="confinement",
        subject=Subject.HOST,
        question="Is SELinux or AppArmor active, and does fapolicyd know us?",
        judge=judge_confinement,
    ),
    Check(
        name="noexec",
        subject=Subject.HOST,
        question="May programs run from where they are installed?",
        judge=judge_mounts,
    ),
    Check(
        name="kernel-limits",
        subject=Subject.HOST,
        question="Do limits of the kernel leave room?",
        judge=judge_limits,
    ),
    Check(
        name="huge-pages",
        subject=Subject.HOST,
        question="Are transparent huge pages out of the way?",
        judge=judge_huge_pages,
    ),
    Check(
        name="encrypted-disk",
        subject=Subject.HOST,
        question="Does the data lie on an encrypted disk?",
        judge=judge_encrypted_disk,
    ),
)
