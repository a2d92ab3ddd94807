"""Killed between the decision and the sending, or in the middle of sending.

Claim: a change that was decided is told: by mail once, to a webhook at least once under one
delivery id. The control arm decides first and tells from memory; killed, it never tells.
"""

import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from appliance.base.ready import READY_DESCRIPTOR_VARIABLE, parse_ready
from appliance.base.tasks import poll
from appliance.config.model import Settings
from appliance.gen.appliance.alerts.v1 import alerts_pb as pb
from appliance.services.alerts.delivery import HOLD
from tests.support.alert_process import Arguments
from tests.support.alert_stage import AlertStage, alert_settings, alert_stage
from tests.support.mail_stage import relay_settings
from tests.support.smtp_server import SmtpServerProcess, smtp_server
from tests.support.webhook_receiver import HANG, Receiver, receiver

pytestmark = [pytest.mark.anyio, pytest.mark.integration, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[3]
WAIT_SECONDS = 60.0
LEASE_SECONDS_MAX = 60.0
WAITING = """
SELECT count(*) AS waiting FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%FROM alerts%'
"""


class Scene:
    """A stage with an alert about to fire, a mail server, and processes to kill."""

    def __init__(self, stage: AlertStage, relay: SmtpServerProcess, folder: Path) -> None:
        self.stage = stage
        self.relay = relay
        self._log = folder / "alerts.out"

    @contextmanager
    def process(self, mode: str, *, ready: bool = True) -> Generator[subprocess.Popen[bytes]]:
        """A process that has decided, or begins to send; killed with the block.

        Without `ready` nobody waits until it is so far.
        """
        stores = self.stage.control.services.stores
        url = stores.postgres._endpoint.url.reveal()  # pyright: ignore[reportPrivateUsage] the schema of this test
        arguments = Arguments(
            data_dir=str(self.stage.settings.data_dir),
            schema=url.rpartition("search_path=")[2],
            event_database=stores.clickhouse._endpoint.database,  # pyright: ignore[reportPrivateUsage] the database of this test
            now=self.stage.clock.now(),
            smtp_port=self.relay.port,
            hosts=("127.0.0.1",),
        )
        reading, writing = os.pipe()
        text = msgspec.json.encode(arguments).decode()
        with self._log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.alert_process", text, mode],
                cwd=ROOT,
                stdout=output,
                stderr=output,
                pass_fds=[writing],
                env={**os.environ, READY_DESCRIPTOR_VARIABLE: str(writing)},
            )
        os.close(writing)
        try:
            with os.fdopen(reading, "rb") as pipe:
                assert not ready or parse_ready(pipe.readline()), self._log.read_text()
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.fixture
async def scene(engines: Settings, tmp_path: Path, anyio_backend: str) -> AsyncGenerator[Scene]:
    with smtp_server(tmp_path / "relay") as relay:
        settings = alert_settings(engines, "127.0.0.1", email=relay_settings(relay))
        async with alert_stage(engines, settings) as stage:
            await stage.store(11, datetime(2026, 5, 9, 12, tzinfo=UTC))
            yield Scene(stage, relay, tmp_path)


async def make(scene: Scene, taken: Receiver) -> None:
    webhook = pb.Webhook(url=f"http://127.0.0.1:{taken.port}/")
    await scene.stage.make(member_ids=[scene.stage.member.id], webhooks=[webhook])


@pytest.mark.parametrize("mode", ["queued", "unqueued"])
async def test_killed_after_the_decision(scene: Scene, mode: str) -> None:
    """What was decided is told by whoever comes next; from memory it would be lost for good."""
    with receiver() as taken:
        await make(scene, taken)
        with scene.process(mode) as deciding:
            deciding.kill()
            deciding.wait()
        assert (scene.relay.mails(), taken.posts) == ([], [])
        await scene.stage.deliver()
        scene.stage.clock.advance(3600)
        assert await scene.stage.evaluate() == "evaluated 1 alerts"
        await scene.stage.deliver()
        told = 1 if mode == "queued" else 0
        assert len(scene.relay.mails()) == told
        assert [post.told()["event"] for post in taken.posts] == ["alert.fired"] * told
        (firing,) = await scene.stage.firings()
        assert [one.state for one in firing.deliveries] == [pb.DeliveryState.SENT] * 2 * told


async def test_killed_before_the_decision_is_committed(scene: Scene) -> None:
    """Nothing was decided, so the next run decides, and tells once."""
    with receiver() as taken:
        await make(scene, taken)
        database = scene.stage.control.database

        async def waits() -> bool | None:
            (row,) = await database.rows(WAITING)
            return bool(row["waiting"]) or None

        async with database.transaction() as holding:
            await holding.execute("SELECT 1 FROM alerts FOR UPDATE")
            with scene.process("queued", ready=False) as deciding:
                assert await poll(waits, every_seconds=0.05, timeout_seconds=WAIT_SECONDS)
                deciding.kill()
                deciding.wait()
        assert await scene.stage.firings() == []
        scene.stage.clock.advance(LEASE_SECONDS_MAX)
        assert await scene.stage.evaluate() == "evaluated 1 alerts: 1 fired"
        await scene.stage.deliver()
        assert (len(scene.relay.mails()), len(taken.posts)) == (1, 1)


async def test_killed_while_sending(scene: Scene) -> None:
    """The receiver has the request, the sender never learns it: it comes again, the same."""
    with receiver(HANG, 204) as taken:
        await make(scene, taken)
        assert await scene.stage.evaluate() == "evaluated 1 alerts: 1 fired"
        with scene.process("send") as sending:

            async def both() -> bool | None:
                return (len(taken.posts) == 1 and len(scene.relay.mails()) == 1) or None

            assert await poll(both, every_seconds=0.05, timeout_seconds=WAIT_SECONDS)

            async def settled() -> bool | None:
                (firing,) = await scene.stage.firings()
                states = {bool(one.member_id): one.state for one in firing.deliveries}
                return states[True] is pb.DeliveryState.SENT or None

            assert await poll(settled, every_seconds=0.05, timeout_seconds=WAIT_SECONDS)
            sending.kill()
            sending.wait()
        assert await scene.stage.deliver() == 0, "it is left alone for a while"
        scene.stage.clock.advance(HOLD.total_seconds())
        assert await scene.stage.deliver() == 1
        first, second = taken.posts
        assert first.headers["x-pug-delivery"] == second.headers["x-pug-delivery"]
        assert first.body == second.body
        assert len(scene.relay.mails()) == 1
