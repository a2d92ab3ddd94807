"""The doctor on a real stack: content at first, and each illness is found and gone when healed."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path

import psutil
import pytest

from appliance.base.clock import SystemClock
from appliance.config.endpoints import Ports
from appliance.config.secrets import SecretName, load_secret
from appliance.engines.nats_wire import NatsDoor, ask_nats
from appliance.lifecycle.tls import install, make_self_signed
from tests.support.clocks import FixedClock
from tests.support.stack import Json, Stack, make_event, pug, running_stack, until

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]

NOBODY = 65534
WAIT_SECONDS = 90


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stack]:
    with running_stack(tmp_path_factory.mktemp("doctor") / "stack") as running:
        running.post([make_event("checked", distinct_id="customer-4711")])
        running.trend_reaches("checked", 1)
        yield running


def ask(data_dir: Path, *options: str) -> tuple[int, dict[str, list[Json]]]:
    """Exit status, and what the doctor says that is graver than a note, by check; without the
    warning that the disk of this machine gets full.
    """
    told = pug("doctor", "--json", *options, data_dir=data_dir)
    assert told.stderr == ""
    found: dict[str, list[Json]] = {}
    for one in json.loads(told.stdout)["findings"]:
        of_machine = (one["check"], one["severity"]) == ("disk-free", "warning")
        if one["severity"] in {"failed", "warning"} and not of_machine:
            found.setdefault(one["check"], []).append(one)
    return told.returncode, found


def causes(found: list[Json]) -> str:
    return " ".join(f"{one['severity']}: {one['cause']}" for one in found)


@contextmanager
def ill(stack: Stack, check: str) -> Generator[None]:
    """The control arm around every case: the finding is there inside the block only."""
    passes(stack, check)
    yield
    passes(stack, check)


def answers(
    stack: Stack, holds: Callable[[int, dict[str, list[Json]]], bool], *options: str, what: str
) -> dict[str, list[Json]]:
    """Ask until status and findings are as wanted: one late answer of a store is a finding, too."""
    found: dict[str, list[Json]] = {}

    def asked() -> bool | None:
        nonlocal found
        status, found = ask(stack.data_dir, *options)
        return holds(status, found) or None

    try:
        until(asked, what=what, seconds=WAIT_SECONDS)
    finally:
        print(found)
    return found


def passes(stack: Stack, check: str, *options: str) -> None:
    """A check that finds nothing."""
    answers(stack, lambda _, found: check not in found, *options, what=f"no {check}")


def expect(stack: Stack, check: str, *options: str, status: int = 1) -> str:
    """The causes of a check that must have found something."""
    found = answers(
        stack,
        lambda returned, found: check in found and returned == status,
        *options,
        what=f"{check} with status {status}",
    )
    for one in found[check]:
        assert one["remedy"]
    return causes(found[check])


def test_a_healthy_stack_has_nothing_but_notes(stack: Stack) -> None:
    answers(stack, lambda status, found: (status, found) == (0, {}), what="health")


def test_people_read_it_too(stack: Stack) -> None:

    def read(*options: str) -> str | None:
        told = pug("doctor", *options, data_dir=stack.data_dir)
        return told.stdout if told.returncode == 0 else None

    whole = until(lambda: read("-v"), what="health", seconds=WAIT_SECONDS)
    assert re.search(r"all \d+ components are ready", whole)
    assert "0 failed" in whole
    short = until(lambda: read("--only", "queue"), what="a healthy queue", seconds=WAIT_SECONDS)
    assert short.splitlines()[-1] == "0 failed, 0 warnings, 0 notes, 6 ok (-v shows them)"


def test_an_exposed_secret_is_found(stack: Stack) -> None:
    path = stack.data_dir / "secrets" / "nats-password"
    with ill(stack, "private-files"):
        path.chmod(0o644)
        try:
            told = expect(stack, "private-files")
        finally:
            path.chmod(0o600)
        assert f"failed: {path} has mode 0644" in told


def test_a_missing_folder_is_found(stack: Stack) -> None:
    folder = stack.data_dir / "logs"
    with ill(stack, "folders"):
        folder.rename(folder.with_name("gone"))
        try:
            told = expect(stack, "folders")
        finally:
            folder.with_name("gone").rename(folder)
        assert f"failed: the folder {folder} is missing" in told


@pytest.mark.parametrize(
    ("component", "check", "said"),
    [
        ("postgres", "databases", "PostgreSQL does not answer"),
        ("nats", "queue", "the queue does not answer"),
        ("clickhouse", "databases", "the event store does not answer"),
    ],
)
def test_an_engine_that_hangs_is_found(stack: Stack, component: str, check: str, said: str) -> None:
    """It is stopped, not ended, so that its supervisor cannot heal it before the doctor looks."""
    process = psutil.Process(stack.pid(component))
    with ill(stack, check):
        process.send_signal(signal.SIGSTOP)
        try:
            told = expect(stack, check)
        finally:
            process.send_signal(signal.SIGCONT)
            stack.wait_ready()
            until(
                lambda: api_is_ready(stack), what="stores that answer the API", seconds=WAIT_SECONDS
            )
        assert said in told


def api_is_ready(stack: Stack) -> bool | None:
    return True if stack.client.get("/readyz").status_code == HTTPStatus.OK else None


def test_dead_letters_are_found(stack: Stack) -> None:
    with ill(stack, "dead-letters"):
        ask_queue(stack, "dlq.events.ingest", b"{}")
        told = expect(stack, "dead-letters", status=0)
        ask_queue(stack, "$JS.API.STREAM.PURGE.dlq-events", b"")
        assert "warning: 1 dead letters of events" in told


def ask_queue(stack: Stack, subject: str, payload: bytes) -> None:
    ports = json.loads((stack.data_dir / "run" / "ports.json").read_bytes())
    door = NatsDoor(
        host="127.0.0.1",
        port=Ports(**ports).nats,
        user="pug",
        password=load_secret(stack.data_dir / "secrets", SecretName.NATS),
    )
    asyncio.run(ask_nats(door, subject, payload))


def test_wrong_settings_are_found(stack: Stack, tmp_path: Path) -> None:
    passes(stack, "settings")
    told = expect(stack, "settings", "--set", "nats.port=many", "--set", "api.prot=1")
    assert "nats.port" in told
    assert "perhaps api.port" in told
    file = tmp_path / "appliance.toml"
    file.write_text("[api\nport = 1\n")
    assert "is not TOML" in expect(stack, "settings", "--config", str(file))
    file.write_text("[api]\nbody_bytes_max = '1MiB'\n")
    passes(stack, "settings", "--config", str(file))


@pytest.mark.parametrize(
    ("days_ago", "said"), [(400, "failed: the certificate of"), (340, "warning: the certificate")]
)
def test_an_expired_certificate_is_found(
    stack: Stack, tmp_path: Path, days_ago: int, said: str
) -> None:
    """One of 365 days, made long ago; the control arm is one made now."""
    clock = FixedClock(SystemClock().now() - timedelta(days=days_ago))
    options = ("--only", "certificate", "--set", f"tls.certificate={tmp_path / 'tls' / 'c.pem'}")
    place = tmp_path / "tls" / "c.pem"
    install(make_self_signed(["pug.example"], days=365, clock=SystemClock()), place)
    passes(stack, "certificate", *options)
    install(make_self_signed(["pug.example"], days=365, clock=clock), place)
    status = 1 if said.startswith("failed") else 0
    assert said in expect(stack, "certificate", *options, status=status)


def test_a_full_disk_is_found(stack: Stack) -> None:
    passes(stack, "disk-free")
    assert "events are refused" in expect(stack, "disk-free", "--set", "disk.reserve=900TiB")


def test_a_clock_that_went_back_is_found(stack: Stack) -> None:
    mark = stack.data_dir / "run" / "written-tomorrow"
    with ill(stack, "clock-jump"):
        mark.touch()
        tomorrow = SystemClock().now().timestamp() + 86400
        os.utime(mark, (tomorrow, tomorrow))
        try:
            told = expect(stack, "clock-jump")
        finally:
            mark.unlink()
        assert "the clock went back" in told


def test_somebody_who_may_see_nothing_is_told_so(stack: Stack) -> None:
    """Another user gets notes about what he cannot see, and no false alarm about it."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    # Everything is imported first, because this Python may be run by its owner only.
    program = (
        "import os, appliance.cli.doctor\n"
        "from appliance.cli.main import main\n"
        f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        f"main(['doctor', '--json', '--data-dir', {str(stack.data_dir)!r}])"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=120
    )
    assert told.stderr == ""
    findings = json.loads(told.stdout)["findings"]
    unseen = {one["subject"] for one in findings if one["check"] == "unseen"}
    assert {"services", "secrets", "host"} <= unseen
    alarms = {one["check"] for one in findings if one["severity"] == "failed"}
    assert alarms <= {"folders"}, findings


def test_events_do_not_leave_in_a_support_bundle(stack: Stack, tmp_path: Path) -> None:
    """The keys and the distinct id that this stack really has do not get into the bundle."""
    output = tmp_path / "bundle.tar.gz"
    told = pug("support-bundle", "--json", "--output", str(output), data_dir=stack.data_dir)
    assert told.returncode == 0, told.stderr
    content = subprocess.run(["tar", "xzOf", output], check=True, capture_output=True).stdout
    assert b"engine_ready" in content or b"component_ready" in content
    assert b"0001_create_events" in content
    secrets = [path.read_bytes().strip() for path in (stack.data_dir / "secrets").iterdir()]
    for secret in (
        *secrets,
        stack.connection.public_key.encode(),
        stack.connection.private_key.encode(),
        b"customer-4711",
    ):
        assert secret not in content


def test_a_stopped_appliance_is_still_looked_at(tmp_path: Path) -> None:
    with running_stack(tmp_path / "stack") as own:
        pug("stop", data_dir=own.data_dir)
        answers(
            own,
            lambda status, found: (status, set(found)) == (1, {"running"}),
            what="nothing wrong but that it does not run",
        )
        (own.data_dir / "secrets" / "nats-password").rename(tmp_path / "away")
        told = expect(own, "secrets-present")
        assert "nats-password is missing" in told
