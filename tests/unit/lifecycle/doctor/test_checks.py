"""Every check is silent or content on a healthy machine, and finds what it is for."""

from datetime import timedelta

import pytest

from appliance.config.model import LogLevel
from appliance.config.secrets import Secret
from appliance.lifecycle.doctor.catalogue import CHECKS, examine
from appliance.lifecycle.doctor.check import Check, Severity
from appliance.lifecycle.doctor.facts import Facts, Listener, Mode, Subject, Unseen
from appliance.supervisor.state import State
from tests.support.doctor_facts import GIB, NOW, certificate, changed, component, healthy, put

FAILED, WARNING, NOTE = Severity.FAILED, Severity.WARNING, Severity.NOTE
BY_NAME = {check.name: check for check in CHECKS}
DISK = "disks__disks__0__"
BACKUP = "backups__targets__0__backups__0__"
UNIT = "services__units__1__"
FOLDER, PRIVATE = "files__paths__0__", "files__paths__1__"
DEVELOPER = {"place__mode": Mode.DEVELOPER}

CASES: list[tuple[str, Severity, dict[str, object]]] = [
    ("settings", FAILED, {"config__error": "line 3 is not TOML"}),
    ("settings", FAILED, {"config__problems": ("api.port: found 'x'",)}),
    ("settings", NOTE, {"config__unreadable": "/etc/pug/appliance.toml"}),
    ("settings-without-effect", NOTE, {"config__without_effect": ("REDIS_URL",)}),
    ("origins", WARNING, {"settings__api__cors_origins": ("*",)}),
    ("origins", NOTE, {"settings__api__cors_origins": ("*",), **DEVELOPER}),
    ("demo", WARNING, {"settings__demo__enabled": True}),
    ("log-level", WARNING, {"settings__logs__level": LogLevel.DEBUG}),
    ("running", FAILED, {"services__running": False}),
    ("running", WARNING, {"services__stopping": True}),
    ("components", FAILED, {"services__components__0": component("api", State.QUARANTINED)}),
    ("components", FAILED, {"services__components__0": component("api", State.BACKING_OFF)}),
    ("components", WARNING, {"services__components__0": component("api", State.STARTING)}),
    ("components", FAILED, {"services__components__0__ready": False}),
    (
        "components",
        NOTE,
        {"services__components__0__ready": False, "services__components__0__held": True},
    ),
    ("restarts", WARNING, {"services__components__0__restarts": 5}),
    ("restarts", WARNING, {UNIT + "restarts": 9}),
    ("units", FAILED, {UNIT + "load": "not-found"}),
    ("units", FAILED, {UNIT + "load": "masked"}),
    ("units", FAILED, {UNIT + "active": "failed", UNIT + "result": "exit-code"}),
    ("units", FAILED, {UNIT + "active": "inactive"}),
    ("units", FAILED, {UNIT + "active": "inactive", "services__units__0__active": "inactive"}),
    ("units", WARNING, {UNIT + "enabled": "disabled"}),
    ("units", WARNING, {UNIT + "reload_needed": True}),
    ("public-port", FAILED, {"ports__public__error": "Connection refused"}),
    ("public-port", FAILED, {"ports__public__status": 404}),
    ("public-port", WARNING, {"ports__public__seconds": 3.0}),
    (
        "api-ready",
        FAILED,
        {"ports__public__ready_status": 503, "ports__public__not_ready": ("nats",)},
    ),
    (
        "port-taken",
        FAILED,
        {
            "services__running": False,
            "ports__listeners__0": Listener(address="::", port=8080, pid=7, process="nginx"),
        },
    ),
    (
        "engines-on-loopback",
        FAILED,
        {"ports__listeners__1": Listener(address="0.0.0.0", port=8123, pid=1, process="x")},
    ),
    (
        "engines-on-loopback",
        FAILED,
        {"ports__listeners__1": Listener(address="10.0.0.1", port=7777, pid=30, process="x")},
    ),
    ("folders", FAILED, {FOLDER + "found": False}),
    ("private-files", FAILED, {PRIVATE + "found_mode": 0o640}),
    ("modes", WARNING, {FOLDER + "found_mode": 0o755}),
    ("modes", WARNING, {FOLDER + "found_mode": 0o500}),
    ("modes", FAILED, {FOLDER + "found_mode": 0o777}),
    ("owners", FAILED, {PRIVATE + "found_owner": "nobody"}),
    ("passage", FAILED, {"files__barred": (("/home/ada", "pug-nats"),)}),
    ("secrets-present", FAILED, {"secrets__secrets__0__found": False}),
    ("secrets-strong", FAILED, {"secrets__secrets__0__bits": 40}),
    ("secrets-strong", FAILED, {"secrets__secrets__1__bits": 0}),
    ("secrets-strong", WARNING, {"secrets__secrets__1__bits": 40}),
    ("disk-free", FAILED, {DISK + "free_bytes": 100 << 20}),
    ("disk-free", WARNING, {DISK + "free_bytes": 2 * GIB}),
    ("disk-growth", WARNING, {"stores__day_bytes": 50 * GIB}),
    ("disk-growth", NOTE, {"stores__day_bytes": 10 * GIB}),
    ("disk-inodes", FAILED, {DISK + "inodes_free": 0}),
    ("disk-inodes", WARNING, {DISK + "inodes_free": 10}),
    ("disk-writable", FAILED, {DISK + "read_only": True}),
    ("disk-kind", WARNING, {DISK + "kind": "tmpfs"}),
    ("disk-kind", NOTE, {DISK + "kind": "tmpfs", **DEVELOPER}),
    ("disk-kind", WARNING, {DISK + "kind": "nfs4"}),
    ("disk-ballast", WARNING, {"disks__ballast_bytes": 0}),
    ("memory-available", FAILED, {"memory__available_bytes": 100 << 20}),
    ("memory-available", WARNING, {"memory__available_bytes": 1 * GIB}),
    (
        "memory-available",
        WARNING,
        {"memory__available_bytes": 900 << 20, "memory__total_bytes": 1 * GIB},
    ),
    ("memory-kills", WARNING, {"memory__unit_kills": {"pug-clickhouse.service": 1}}),
    ("memory-kills", NOTE, {"memory__kernel_kills": 1}),
    (
        "swap",
        WARNING,
        {
            "memory__swap_total_bytes": GIB,
            "memory__swap_free_bytes": GIB,
            "memory__swap_encrypted": False,
        },
    ),
    ("swap", WARNING, {"memory__swap_total_bytes": GIB, "memory__swap_free_bytes": 0}),
    ("overcommit", WARNING, {"memory__overcommit": 2}),
    ("clock-kept", WARNING, {"clock__synchronised": False}),
    ("clock-jump", FAILED, {"clock__newest_mark": NOW + timedelta(hours=2)}),
    ("clock-jump", FAILED, {"clock__built_at": NOW + timedelta(days=1)}),
    ("future-events", WARNING, {"stores__future_events": 3}),
    ("certificate", FAILED, {"certificate": certificate(problem="it expired")}),
    ("certificate", FAILED, {"certificate__error": "no certificate"}),
    ("certificate", WARNING, {"certificate": certificate(days=20)}),
    ("encrypted", WARNING, {"certificate__found": False}),
    ("grpc-encrypted", WARNING, {"settings__api__grpc_port": 9090}),
    ("self-signed", NOTE, {"certificate": certificate(self_signed=True)}),
    (
        "client-addresses",
        WARNING,
        {"operation__address_sources": {"x_forwarded_for": 50, "peer_no_header": 50}},
    ),
    (
        "client-addresses",
        WARNING,
        {"operation__address_sources": {"peer_after_rejected_header": 50, "peer_no_header": 50}},
    ),
    ("client-addresses", WARNING, {"settings__api__host": "127.0.0.1"}),
    ("queue", FAILED, {"queue__error": "Connection refused"}),
    ("queue-lag", FAILED, {"queue__oldest_seconds": 2000.0}),
    ("queue-lag", WARNING, {"queue__oldest_seconds": 100.0}),
    ("queue-worker", WARNING, {"queue__worker_connected": False}),
    ("dead-letters", WARNING, {"queue__streams__1__messages": 3}),
    (
        "dead-letters",
        FAILED,
        {"queue__streams__1__messages": 3, "queue__streams__1__bytes": 900},
    ),
    ("queue-room", WARNING, {"queue__store_bytes": 7 * GIB}),
    ("queue-room", FAILED, {"queue__store_bytes": 8 * GIB}),
    ("queue-durable", FAILED, {"queue__synced_always": False}),
    ("queue-durable", NOTE, {"queue__synced_always": None}),
    ("queue-external", WARNING, {"settings__nats__url": Secret("nats://10.0.0.1:4222")}),
    ("queue-external", NOTE, {"settings__nats__replicas": 1}),
    ("databases", FAILED, {"stores__postgres_error": "Connection refused"}),
    ("databases", FAILED, {"stores__clickhouse_error": "it does not answer in time"}),
    ("databases-durable", FAILED, {"stores__postgres_unsafe": ("fsync = off",)}),
    ("databases-durable", FAILED, {"stores__clickhouse_unsafe": ("fsync_after_insert = 0",)}),
    ("databases-external", WARNING, {"stores__postgres_secure": False}),
    ("databases-external", WARNING, {"stores__clickhouse_secure": False}),
    ("connections", WARNING, {"stores__postgres_connections": 58}),
    ("jobs", WARNING, {"stores__postgres_jobs_led": False}),
    ("jobs", WARNING, {"stores__postgres_jobs_failed": ("retention: ROLLUPS_DIFFER: p1",)}),
    ("transactions", FAILED, {"stores__postgres_wraparound": 2_000_000_000}),
    ("transactions", WARNING, {"stores__postgres_wraparound": 1_200_000_000}),
    ("transactions", WARNING, {"stores__postgres_longest_seconds": 7200.0}),
    ("parts", WARNING, {"stores__parts_most": 2000}),
    ("backup-age", FAILED, {BACKUP + "point": NOW - timedelta(days=9)}),
    ("backup-age", WARNING, {BACKUP + "point": NOW - timedelta(days=3)}),
    ("backup-age", WARNING, {BACKUP + "point": NOW + timedelta(days=2000)}),
    ("backup-age", FAILED, {"backups__targets": ()}),
    ("backup-age", WARNING, {"backups__targets": (), "backups__first_use": NOW}),
    ("backup-age", NOTE, {"backups__targets": (), **DEVELOPER}),
    ("backup-verified", WARNING, {BACKUP + "verified": None}),
    ("backup-verified", FAILED, {BACKUP + "verified": False}),
    ("backup-verified", WARNING, {BACKUP + "verified_at": NOW - timedelta(days=40)}),
    ("backup-elsewhere", WARNING, {"backups__targets__0__same_disk": True}),
    ("backup-whole", FAILED, {"backups__targets__0__damaged": ("20260509T020000Z",)}),
    ("backup-targets", WARNING, {"backups__targets__0__error": "Input/output error"}),
    ("backup-targets", FAILED, {"backups__targets__0__missing": True}),
    ("backup-targets", FAILED, {"backups__passphrase_problem": "/root/phrase is empty"}),
    ("backup-sealed", NOTE, {BACKUP + "encrypted": False}),
    ("restore-points", NOTE, {"backups__restore_points": 0}),
    ("restore-points", WARNING, {"backups__restore_points_damaged": ("20260509T020000Z",)}),
    ("release", FAILED, {"release__current_problem": "/opt/pug/current is no link"}),
    ("operation", FAILED, {"release__open_operation": "upgrade"}),
    ("operation", WARNING, {"release__staged": ("1.1.0",)}),
    ("signature", FAILED, {"release__signature_error": "no trusted key signed it"}),
    ("release-files", FAILED, {"release__differing": ("pug-appliance",)}),
    ("trusted-keys", WARNING, {"release__trusted_keys": ()}),
    ("trusted-keys", WARNING, {"release__bad_keys": ("x.pub",)}),
    ("releases-kept", NOTE, {"release__installed": ("1", "2", "3", "4", "5")}),
    ("firewall", WARNING, {"host__firewalls": ()}),
    ("firewall", NOTE, {"host__firewalls": (), "settings__api__host": "127.0.0.1"}),
    ("exposure", WARNING, {UNIT + "exposure": 5.0}),
    ("core-dumps", WARNING, {"host__core_pattern": "core"}),
    ("core-dumps", WARNING, {"host__suid_dumpable": 1}),
    ("ptrace", NOTE, {"host__ptrace_scope": 0}),
    ("confinement", NOTE, {"host__selinux": ""}),
    ("confinement", NOTE, {"host__selinux": "permissive"}),
    ("confinement", FAILED, {"host__fapolicyd": True}),
    ("noexec", FAILED, {"host__noexec": ("/opt/pug",)}),
    ("kernel-limits", WARNING, {"host__map_count_max": 1000}),
    ("kernel-limits", WARNING, {"host__open_files_system": 1000}),
    ("kernel-limits", WARNING, {"host__somaxconn": 128}),
    ("kernel-limits", NOTE, {"host__open_files_max": 1024, **DEVELOPER}),
    ("huge-pages", NOTE, {"host__huge_pages": "always"}),
    ("encrypted-disk", NOTE, {"host__data_encrypted": False}),
    ("monitored", WARNING, {"operation__metrics_error": "Connection refused"}),
    ("monitored", WARNING, {"operation__scrapes": 10}),
    ("logs-forwarded", WARNING, {"operation__log_carriers": ()}),
    ("logs-forwarded", NOTE, {"settings__logs__syslog": "udp://10.0.0.1:514"}),
    ("journal-kept", WARNING, {"operation__journal_persistent": False}),
    ("errors-logged", NOTE, {"operation__errors_logged": {"events": 1}}),
    ("errors-logged", WARNING, {"operation__errors_logged": {"events": 100}}),
]

GOOD_ELSEWHERE: dict[str, dict[str, object]] = {
    "port-taken": {"services__running": False},
    "grpc-encrypted": {"settings__api__grpc_port": 9090, "settings__api__host": "127.0.0.1"},
}
"""Checks that say nothing about the healthy installation, and where they are content."""


@pytest.mark.parametrize(
    ("name", "severity", "values"), CASES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_check_finds_what_it_is_for(
    name: str, severity: Severity, values: dict[str, object]
) -> None:
    """One change to a healthy machine gives exactly this severity, with cause and remedy."""
    found = [one for one in BY_NAME[name].judge(changed(**values)) if one.severity != Severity.OK]
    assert [one.severity for one in found] == [severity]
    for one in found:
        assert one.cause
        assert one.remedy
        assert "\n" not in one.cause + one.remedy


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_a_check_is_content_with_a_healthy_machine(check: Check) -> None:
    """The control arm: without the change there is an ok and nothing graver."""
    facts = changed(**GOOD_ELSEWHERE.get(check.name, {}))
    assert {one.severity for one in check.judge(facts)} == {Severity.OK}


def test_every_check_has_a_failing_case() -> None:
    assert {name for name, _, _ in CASES} == set(BY_NAME)


def test_names_are_unique() -> None:
    assert len(BY_NAME) == len(CHECKS)


def test_a_healthy_machine_has_nothing_to_read() -> None:
    report = examine(healthy())
    assert report.healthy
    assert (report.failed, report.warnings, report.notes) == (0, 0, 0)


def test_the_gravest_come_first_and_what_was_unseen_is_said() -> None:
    facts = changed(
        memory__overcommit=2,
        queue__synced_always=False,
        unseen=(Unseen(subject=Subject.HOST, what="the packet filter", why="only root may look"),),
    )
    found = [one for one in examine(facts).findings if one.severity is not Severity.OK]
    assert [one.check for one in found] == ["queue-durable", "overcommit", "unseen"]
    assert not examine(facts).healthy
    assert examine(facts, only=[Subject.MEMORY]).healthy


@pytest.mark.parametrize("subject", [name for name in Facts.__struct_fields__ if name != "unseen"])
def test_nothing_is_judged_that_nobody_saw(subject: str) -> None:
    """A probe that failed leaves None; no check may stumble over it."""
    if subject in {"place", "settings", "config"}:
        return
    for facts in (put(healthy(), subject, None), put(_developer(), subject, None)):
        examine(facts)


def _developer() -> Facts:
    return changed(**DEVELOPER)
