"""What is read from a machine means what it says, and nothing that is looked at is changed."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from appliance.lifecycle.backup.verdict import note_verdict
from appliance.lifecycle.doctor.facts import Mode, Subject
from appliance.lifecycle.doctor.gathering.backups import gather_backups
from appliance.lifecycle.doctor.gathering.files import gather_files, gather_secrets, guessing_bits
from appliance.lifecycle.doctor.gathering.machine import (
    filters_input,
    gather_clock,
    parse_counters,
    parse_meminfo,
)
from appliance.lifecycle.doctor.gathering.queue import parse_instant
from appliance.lifecycle.doctor.gathering.release import gather_release
from appliance.lifecycle.doctor.gathering.run import gather
from appliance.lifecycle.doctor.gathering.scene import Scene, Wanted, find_scene
from appliance.lifecycle.doctor.gathering.services import (
    gather_services,
    parse_exposures,
    parse_unit,
)
from appliance.lifecycle.doctor.gathering.signature import choose_sample
from appliance.lifecycle.host import CommandResult
from appliance.lifecycle.layout import Layout
from appliance.lifecycle.manifest import encode_manifest
from appliance.lifecycle.signature import public_half, sign
from tests.support.bundles import FILES, KEY, LINKS, STRANGER, manifest_of
from tests.support.clocks import FixedClock
from tests.support.doctor_facts import NOW
from tests.support.recording_host import RecordingHost

pytestmark = pytest.mark.anyio

SHOW = """Id=pug-nats.service
LoadState=loaded
ActiveState=failed
SubState=failed
UnitFileState=enabled
Result=oom-kill
NRestarts=3
NeedDaemonReload=no
"""


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """An installed release, signed and whole."""
    made = Layout(
        prefix=tmp_path / "opt",
        config_file=tmp_path / "etc" / "appliance.toml",
        data_dir=tmp_path / "data",
        unit_dir=tmp_path / "units",
    )
    folder = made.release("0.1.0")
    for name, content in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o644 if name.endswith(("zip", "json")) else 0o755)
    for name, target in LINKS.items():
        (folder / name).symlink_to(target)
    manifest = encode_manifest(manifest_of())
    (folder / "manifest.json").write_bytes(manifest)
    (folder / "manifest.sig").write_bytes(sign(KEY, manifest))
    made.current.symlink_to("releases/0.1.0")
    for path in (*(made.trusted_keys, made.secrets, made.journal, made.staging), made.unit_dir):
        path.mkdir(parents=True)
    made.data_dir.mkdir()
    (made.trusted_keys / "vendor.pub").write_text(public_half(KEY).text + "\n")
    made.config_file.write_text(
        f'data_dir = "{made.data_dir}"\nsecrets_dir = "{made.secrets}"\nsupervision = "systemd"\n'
    )
    made.save()
    return made


def scene_of(layout: Layout, host: RecordingHost | None = None) -> Scene:
    wanted = Wanted(prefix=layout.prefix)
    return find_scene(wanted, host=host or RecordingHost(), clock=FixedClock(NOW))


async def test_a_signed_release_is_whole(layout: Layout) -> None:
    facts = await gather_release(scene_of(layout))
    assert facts.signed_by
    assert facts.compared == len(FILES) + len(LINKS)
    assert (facts.differing, facts.signature_error, facts.bad_keys) == ((), "", ())
    assert facts.version == "0.1.0"


async def test_a_changed_program_is_named(layout: Layout) -> None:
    program = layout.release("0.1.0") / "engines/nats/nats-server"
    program.write_bytes(program.read_bytes().replace(b"queue", b"qveue", 1))
    assert (await gather_release(scene_of(layout))).differing == ("engines/nats/nats-server",)


async def test_a_manifest_of_somebody_else_is_not_believed(layout: Layout) -> None:
    folder = layout.release("0.1.0")
    (folder / "manifest.sig").write_bytes(sign(STRANGER, (folder / "manifest.json").read_bytes()))
    facts = await gather_release(scene_of(layout))
    assert "not trusted" in facts.signature_error
    assert facts.compared == 0


async def test_a_file_that_is_no_key_is_named(layout: Layout) -> None:
    (layout.trusted_keys / "broken.pub").write_text("no key")
    facts = await gather_release(scene_of(layout))
    assert facts.bad_keys == ("broken.pub",)
    assert facts.signed_by


async def test_an_open_operation_is_read_and_left_as_it_is(layout: Layout) -> None:
    """The journal's own reader cuts off an unfinished line; the doctor must not."""
    content = b'{"kind":"upgrade","started_at":"20260510T090000Z"}\n{"step":"st'
    layout.open_journal.write_bytes(content)
    (layout.staging / "0.2.0").mkdir()
    facts = await gather_release(scene_of(layout))
    assert (facts.open_operation, facts.open_since) == ("upgrade", "20260510T090000Z")
    assert facts.staged == ("0.2.0",)
    assert layout.open_journal.read_bytes() == content


def test_a_sample_takes_what_fits() -> None:
    entries = manifest_of().files
    assert set(choose_sample(entries)) == set(entries)


def test_the_installation_is_found(layout: Layout) -> None:
    scene = scene_of(layout)
    assert scene.place.mode is Mode.INSTALLED
    assert scene.settings.folders.secrets == layout.secrets


@pytest.mark.parametrize(
    "broken", ["[api\n", "api.port = 'many'\n", 'data_dir = "/elsewhere"\nno.such = 1\n']
)
def test_a_broken_configuration_ends_nothing(layout: Layout, broken: str) -> None:
    layout.config_file.write_text(broken)
    config = scene_of(layout).config
    assert config.error or config.problems


def test_an_unusable_file_leaves_the_installations_own_places(layout: Layout) -> None:
    layout.config_file.write_text("[api\n")
    scene = scene_of(layout)
    assert scene.settings.data_dir == layout.data_dir
    assert scene.place.mode is Mode.INSTALLED


async def test_modes_and_owners_are_compared(layout: Layout) -> None:
    secret = layout.secrets / "nats-password"
    secret.write_text("x" * 40)
    secret.chmod(0o644)
    found = {one.path: one for one in (await gather_files(scene_of(layout))).paths}
    assert found[str(secret)].found_mode == 0o644
    assert found[str(secret)].mode == 0o600
    assert not found[str(layout.backups)].found
    assert found[str(layout.release("0.1.0") / "pug-appliance")].found


async def test_secrets_are_measured_and_not_kept(layout: Layout) -> None:
    for name, text in (
        ("nats-password", "0123456789abcdef" * 4),
        ("postgres-password", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        ("clickhouse-password", "geheim"),
    ):
        (layout.secrets / name).write_text(text)
    facts = await gather_secrets(scene_of(layout))
    bits = {one.name: one.bits for one in facts.secrets if one.found}
    assert bits["nats-password"] == 256
    assert bits["postgres-password"] < 10
    assert bits["clickhouse-password"] < 40
    assert "geheim" not in repr(facts)


async def test_what_systemd_says_is_understood(layout: Layout) -> None:
    (layout.unit_dir / "pug-nats.service").touch()

    def answer(argv: tuple[str, ...]) -> CommandResult:
        told = {"systemctl": SHOW, "systemd-analyze": EXPOSURES}[argv[0]]
        return CommandResult(status=0, output=told, errors="")

    scene = scene_of(layout, RecordingHost(answer))
    scene.systemd = True
    (unit,) = (await gather_services(scene)).units
    assert (unit.name, unit.active, unit.result) == ("pug-nats.service", "failed", "oom-kill")
    assert (unit.restarts, unit.exposure, unit.reload_needed) == (3, 0.4, False)


EXPOSURES = """UNIT                  EXPOSURE PREDICATE HAPPY
pug-appliance.service      1.1 OK        😀
pug-nats.service           0.4 SAFE      😀
"""


def test_exposures_of_one_unit_are_told_otherwise() -> None:
    text = "→ Overall exposure level for pug-nats.service: 0.4 SAFE 😀"
    assert parse_exposures(text) == {"pug-nats.service": 0.4}
    assert parse_exposures(EXPOSURES)["pug-appliance.service"] == 1.1


def test_a_unit_that_systemd_does_not_know() -> None:
    unit = parse_unit("Id=pug.target\nLoadState=not-found\n", {})
    assert (unit.load, unit.restarts) == ("not-found", 0)


@pytest.mark.parametrize(
    ("tool", "text", "expected"),
    [
        ("nftables", "chain input {\n type filter hook input priority 0; policy drop;", True),
        ("nftables", "chain input {\n type filter hook input priority 0; policy accept;", False),
        ("nftables", "", False),
        ("iptables", ":INPUT DROP [0:0]", True),
        ("iptables", ":INPUT ACCEPT [0:0]\n-A INPUT -j REJECT --reject-with icmp", True),
        ("iptables", ":INPUT ACCEPT [0:0]", False),
        ("firewalld", "running", True),
        ("firewalld", "not running", False),
        ("ufw", "Status: active", True),
        ("ufw", "Status: inactive", False),
    ],
)
def test_packet_filters(tool: str, text: str, *, expected: bool) -> None:
    assert filters_input(tool, text.splitlines()) is expected


def test_numbers_of_the_kernel() -> None:
    assert parse_meminfo("MemTotal:  24 kB\nHugePages_Total: 0\n")["MemTotal"] == 24 * 1024
    assert parse_counters("oom_kill 3\nother x\n") == {"oom_kill": 3}


def test_instants_of_the_queue() -> None:
    assert parse_instant("2026-05-10T09:30:00.123456789Z") == datetime(
        2026, 5, 10, 9, 30, 0, 123456, tzinfo=UTC
    )
    assert parse_instant("2026-05-10T09:30:00Z") == NOW
    assert parse_instant("") is None


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("", 0, 0),
        ("0" * 64, 0, 8),
        ("password", 20, 45),
        ("ab" * 32, 0, 10),
        ("kR7!xQ2#mV9$wL4%", 90, 120),
    ],
)
def test_guessing(text: str, least: int, most: int) -> None:
    assert least <= guessing_bits(text) <= most


async def test_a_verdict_on_a_backup_is_read(layout: Layout) -> None:
    folder = layout.backups / "backups" / "20260510T020000Z"
    folder.mkdir(parents=True)
    (folder / "manifest").write_bytes(b"no manifest")
    note_verdict(folder, good=False, at=NOW)
    (target,) = (await gather_backups(scene_of(layout))).targets
    assert target.damaged == ("20260510T020000Z",)


async def test_the_newest_file_tells_the_time(layout: Layout) -> None:
    log = layout.data_dir / "logs" / "api.jsonl"
    log.parent.mkdir()
    log.touch()
    later = NOW.timestamp() + 3600
    os.utime(log, (later, later))
    facts = await gather_clock(scene_of(layout))
    assert facts.newest_mark_path
    assert facts.newest_mark is not None
    assert facts.newest_mark > NOW


@pytest.mark.timeout(30)
async def test_a_dead_mount_holds_nobody_up(layout: Layout) -> None:
    """A FIFO in place of a secret blocks whoever opens it; the doctor goes on without."""
    os.mkfifo(layout.secrets / "nats-password")
    facts = await gather(scene_of(layout), probe_seconds_max=0.5)
    assert facts.secrets is None
    assert facts.disks is not None
    told = {one.subject: one.why for one in facts.unseen}
    assert "did not end" in told[Subject.SECRETS]


async def test_looking_changes_nothing(layout: Layout) -> None:
    def picture() -> Iterator[tuple[str, int, int]]:
        for parent, folders, names in os.walk(layout.prefix.parent):
            for name in (*folders, *names):
                state = os.lstat(Path(parent, name))
                yield str(Path(parent, name)), state.st_mtime_ns, state.st_mode

    before = sorted(picture())
    await gather(scene_of(layout))
    assert sorted(picture()) == before
